"""The pages without JavaScript: asking, contesting, the record, runs and administration."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest

from cornue.seal.runs import RunFolder
from cornue.serve.curves import curve
from cornue.serve.keys import Keys
from cornue.serve.pages import STATIC
from cornue.serve.settings import Offer
from cornue.serve.texts import TEXTS
from cornue.serve.view import brief, money
from cornue.sources.register import Register
from pretend.engine import FakeEngine

from .conftest import Open

pytestmark = pytest.mark.anyio
QUERY = "Counting.\n```sql\nSELECT COUNT(*) AS communes FROM communes\n```"
FRENCH = {"Accept-Language": "fr", "Accept": "text/html"}
ENGLISH = {"Accept-Language": "en", "Accept": "text/html"}


def hidden(page: str, name: str) -> str:
    found = re.search(f'name="{name}" value="([^"]*)"', page)
    assert found
    return html.unescape(found[1])


async def test_a_conversation_goes_on_without_javascript(service: Open) -> None:
    engine = FakeEngine()
    async with service(engine) as client:
        first = (await client.post("/", data={"question": "one", "history": "[]"}, headers=ENGLISH)).text
        second = await client.post("/", data={"question": "two", "history": hidden(first, "history")}, headers=ENGLISH)
        assert "You said: one" in second.text and "You said: two" in second.text
        assert [turn["content"] for turn in engine.asked[1]["messages"]] == ["one", "You said: one", "two"]
        retry = {"action": "retry", "history": hidden(second.text, "history")}
        await client.post("/", data=retry, headers=ENGLISH)
        assert engine.asked[2]["messages"][-1]["content"] == "two"


async def test_a_register_answers_with_figure_query_and_attribution(service: Open, register: Register) -> None:
    offer = Offer("student", table=register, attribution="Licence Ouverte")
    async with service(FakeEngine(speak=lambda _: QUERY), offer) as client:
        page = (await client.post("/", data={"question": "how many?"}, headers=FRENCH)).text
        assert "<strong>3</strong>" in page
        assert "SELECT COUNT(*)" in page
        assert "Licence Ouverte" in page


async def test_words_of_people_and_models_are_never_markup(service: Open, register: Register) -> None:
    evil = "<script>alert(1)</script>"
    offer = Offer("student", title=evil, purpose=evil, limits=evil, contact=evil, examples=(evil,))
    async with service(FakeEngine(speak=lambda _: evil), offer) as client:
        page = (await client.post("/", data={"question": evil}, headers=ENGLISH)).text
        assert "<script>alert" not in page
        note = {"receipt": hidden(page, "receipt"), "note": evil, "question": evil, "answer": evil, "public": "yes"}
        contest = await client.post("/contest", data=note, follow_redirects=True)
        assert "<script>alert" not in contest.text
        assert "<script>alert" not in (await client.get("/record")).text


async def test_a_contest_is_kept_answered_and_shown_if_allowed(service: Open) -> None:
    async with service(FakeEngine()) as client:
        page = (await client.post("/", data={"question": "one"}, headers=ENGLISH)).text
        form = {"receipt": hidden(page, "receipt"), "question": "one", "answer": "x", "public": "yes"}
        sent = await client.post("/contest", data=form | {"note": "this is wrong"})
        assert sent.status_code == 303
        _, key = Keys(client.desk.receipts.store).create("boss", "admin")  # type: ignore[attr-defined]
        await client.post("/login", data={"key": key})
        admin = (await client.get("/admin", headers=ENGLISH)).text
        assert "this is wrong" in admin
        identity = sent.headers["location"].rpartition("/")[2]
        await client.post("/admin/reply", data={"id": identity, "reply": "you are right"})
        assert "you are right" in (await client.get(sent.headers["location"])).text
        assert "you are right" in (await client.get("/record")).text


async def test_a_contest_needs_a_note_and_a_known_receipt(service: Open) -> None:
    async with service(FakeEngine()) as client:
        for form in ({"receipt": "r_unknown", "note": "x"}, {"receipt": "", "note": ""}):
            assert (await client.post("/contest", data=form)).status_code == 400


async def test_the_page_script_gets_its_events(service: Open, register: Register) -> None:
    async with service(FakeEngine(speak=lambda _: QUERY, think="hm"), Offer("student", table=register)) as client:
        text = (await client.post("/ask", json={"question": "how many?", "turns": []})).text
        names = [line[7:] for line in text.splitlines() if line.startswith("event: ")]
        assert names[0] == "job" and names[-1] == "end" and "reasoning_content" in names
        end = json.loads(text.strip().splitlines()[-1][6:])
        assert "<strong>3</strong>" in end["html"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"question": []}', b'{"turns": 3}', b'{"question": "", "turns": "x"}'])
async def test_a_strange_question_is_a_bad_request(service: Open, body: bytes) -> None:
    async with service(FakeEngine()) as client:
        assert (await client.post("/ask", content=body)).status_code in (200, 400)


async def test_both_languages_are_spoken(service: Open) -> None:
    async with service(FakeEngine()) as client:
        assert 'lang="fr"' in (await client.get("/", headers=FRENCH)).text
        assert 'lang="en"' in (await client.get("/", headers=ENGLISH)).text
        chosen = await client.get("/?lang=en", headers=FRENCH)
        assert 'lang="en"' in chosen.text and "lang=en" in chosen.headers["set-cookie"]


def test_every_text_stands_in_both_languages_with_the_same_gaps() -> None:
    for key, (english, french) in TEXTS.items():
        assert english and french, key
        assert sorted(re.findall(r"{\w}", english)) == sorted(re.findall(r"{\w}", french)), key


async def test_the_page_is_small_and_asks_nobody_else(service: Open, register: Register) -> None:
    async with service(FakeEngine(speak=lambda _: QUERY), Offer("student", table=register)) as client:
        page = (await client.post("/", data={"question": "x"}, headers=FRENCH)).text
        files = [path.read_text() for path in STATIC.iterdir()]
        assert len(page.encode()) + sum(len(text.encode()) for text in files) < 100_000
        for text in (page, *files):
            for address in re.findall(r"""(?:src|href|url|fetch|import)\W{1,3}(https?:)?//""", text):
                raise AssertionError(address)


async def test_runs_show_their_curves(service: Open, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "communes-1" / "4-train"
    folder.mkdir(parents=True)
    lines = [json.dumps({"step": step, "loss": 2 / step, "note": "x"}) for step in range(1, 50)]
    (folder / "progress.jsonl").write_text("\n".join(lines) + '\n{"step": 51, "lo')
    async with service(FakeEngine(), runs=tmp_path / "runs") as client:
        assert "communes-1" in (await client.get("/runs")).text
        page = (await client.get("/runs/communes-1")).text
        assert "<polyline" in page and "loss" in page
        for bad in ("/runs/..%2f..", "/runs/none"):
            assert (await client.get(bad)).status_code == 404


async def test_a_refusal_is_told_in_the_language_of_the_page(service: Open) -> None:
    french = {"accept-language": "fr", "accept": "text/html"}
    async with service(FakeEngine(), requests_per_minute=1) as client:
        assert "Cette adresse ne mène à rien." in (await client.get("/nowhere", headers=french)).text
        for sentence in ("", "Trop de demandes"):
            answer = await client.post("/ask", json={"question": "a"}, headers=french)
            assert sentence in answer.text
        assert answer.status_code == 429 and "retry-after" in answer.headers


async def test_a_run_is_running_only_while_a_process_holds_it(service: Open, tmp_path: Path) -> None:
    held = RunFolder(tmp_path / "runs" / "communes-1")
    async with service(FakeEngine(), runs=tmp_path / "runs") as client:
        assert ">running<" in (await client.get("/runs?lang=en")).text
        held.close()
        assert ">stopped" in (await client.get("/runs?lang=en")).text
        done = tmp_path / "runs" / "communes-1" / "6-pack"
        done.mkdir()
        (done / "manifest.json").write_text("{}")
        assert ">finished<" in (await client.get("/runs?lang=en")).text


def test_a_curve_says_its_values_in_words() -> None:
    assert 'aria-label="loss: 2 → 0.5"' in curve("loss", [(1, 2.0), (2, 0.5), (3, float("nan"))])
    assert curve("loss", [(1, 2.0)]) == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (7.146, "7,1"), (0.0123, "0,012"), (12345.6, "12\u202f346"), (100.0, "100")]
)
def test_numbers_are_written_as_people_write_them(value: float, text: str) -> None:
    assert brief(value, french=True) == text


def test_money_is_never_an_exponent() -> None:
    assert money(5e-7, french=True) == "moins de 0,001 centime"
    assert money(0.0002, french=False) == "0.02 cent"
    assert money(1.5, french=True) == "1,5\u00a0€"


@pytest.mark.parametrize("language, told", [("fr", "Le registre ne permet pas"), ("en", "The register cannot answer")])
async def test_a_refusal_is_said_in_the_readers_words(
    service: Open, register: Register, language: str, told: str
) -> None:
    async with service(FakeEngine(speak=lambda _: "-- hors registre"), Offer("student", table=register)) as client:
        page = await client.post("/", data={"question": "le maire ?"}, headers={"accept-language": language})
        assert told in page.text


async def test_a_page_says_why_a_question_was_put_again(service: Open, register: Register) -> None:
    engine = FakeEngine()
    engine.speak = lambda _: QUERY if len(engine.asked) > 1 else QUERY.replace("FROM communes", "FROM maires")
    async with service(engine, Offer("student", table=register)) as client:
        page = await client.post("/", data={"question": "which?"}, headers={"accept-language": "en"})
        assert "Asked again: the query failed" in page.text
        assert "FROM maires" not in page.text


async def test_only_the_query_that_was_run_is_shown(service: Open, register: Register) -> None:
    written = "counting\nSELECT COUNT(*) AS communes FROM communes WHERE departement = 'Morbian'"
    async with service(FakeEngine(speak=lambda _: written), Offer("student", table=register)) as client:
        page = await client.post("/", data={"question": "how many in Morbihan?"}, headers={"accept-language": "en"})
        assert "<p>counting</p>" in page.text
        assert "departement = &#39;Morbihan&#39;" in page.text
