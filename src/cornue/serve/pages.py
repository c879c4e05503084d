"""The pages for people: the conversation, receipts, contests and signing in. All of them work without JavaScript.

A conversation travels in the form, or lies in the browser; the service forgets it. The record and the administration
are pages of their own (``record``, ``admin``).
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from cornue.records.digests import digest_file
from cornue.serve.admin import Admin
from cornue.serve.api import EventResponse, WorkResponse
from cornue.serve.desk import Chunk, Desk, End, Job, Waiting
from cornue.serve.door import COOKIE, Door, read_body, read_form
from cornue.serve.errors import Refusal
from cornue.serve.keys import SESSION_SECONDS, Caller, Keys
from cornue.serve.lookup import Lookup, look_up
from cornue.serve.orders import CHARACTERS_PER_TOKEN, Order, order_from
from cornue.serve.record import Record
from cornue.serve.settings import default_title
from cornue.serve.sign_in import OpenId
from cornue.serve.texts import LANGUAGES, Words
from cornue.serve.view import AnswerView, view_answer

STATIC = Path(__file__).parent / "static"
TURNS = 20
LONGEST_NOTE = 4_000
LONGEST_QUESTION = 8_000


class Pages:
    """The pages of a service."""

    def __init__(self, desk: Desk, door: Door, keys: Keys, public_key: str) -> None:
        self.desk, self.door, self.keys = desk, door, keys
        self.offer, self.settings, self.store = desk.offer, desk.settings, desk.receipts.store
        self.public_key = public_key
        self.templates = Environment(
            loader=PackageLoader("cornue.serve"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.version = "".join(digest_file(path)[7:11] for path in sorted(STATIC.iterdir()))[:16]
        self.open_id = OpenId(self.settings.sign_in) if self.settings.sign_in.issuer else None

    def routes(self) -> list[BaseRoute]:
        """All of them."""
        return [
            Route("/", self.conversation, methods=["GET", "POST"]),
            Route("/ask", self.ask, methods=["POST"]),
            Route("/receipt/{id}", self.receipt),
            Route("/contest", self.contest, methods=["POST"]),
            Route("/contest/{id}", self.contested),
            Route("/login", self.login, methods=["GET", "POST"]),
            Route("/login/start", self.login_start),
            Route("/login/back", self.login_back),
            Route("/logout", self.logout, methods=["POST"]),
            *Record(self).routes(),
            *Admin(self).routes(),
            Route("/manifest.webmanifest", self.manifest),
            Route("/sw.js", self.worker),
            Route("/static/{name}", self.static),
        ]

    def show(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page in the reader's language."""
        language = self.language(request)
        words = Words(language)
        try:
            role = self.door.who(request).role
        except Refusal:
            role = "user"
        page = self.templates.get_template(template).render(
            t=words,
            lang=language,
            other="en" if language == "fr" else "fr",
            offer=self.offer,
            title=default_title(self.offer),
            version=self.version,
            path=request.url.path,
            signed_in=COOKIE in request.cookies,
            role=role,
            runs=self.settings.runs is not None,
            **values,
        )
        response = HTMLResponse(page, status)
        if request.query_params.get("lang") in LANGUAGES:
            response.set_cookie("lang", language, max_age=31_536_000, samesite="lax", secure=self.settings.https)
        return response

    def language(self, request: Request) -> str:
        """By choice, by cookie, by browser, or as the assistant's own."""
        accepted = [
            part.split(";")[0].strip()[:2].lower() for part in request.headers.get("accept-language", "").split(",")
        ]
        wishes = [request.query_params.get("lang"), request.cookies.get("lang"), *accepted, self.offer.language]
        return next((wish for wish in wishes if wish in LANGUAGES), "fr")

    def refusal(self, request: Request, refusal: Refusal) -> Response:
        """A refusal as a page; who is not known is led to the door."""
        if refusal.status == 401 and request.method == "GET":
            return RedirectResponse("/login", 303)
        kind = {404: "not_found", 429: "busy", 503: "busy"}.get(refusal.status, "refused")
        refusal = Words(self.language(request)).told(refusal)
        response = self.show(request, "refusal.html", refusal.status, refusal=refusal, kind=kind)
        response.headers.update(refusal.headers())
        return response

    async def conversation(self, request: Request) -> Response:
        """``/``: the conversation; with a form, its next turn without JavaScript."""
        caller = self.door.who(request)
        if request.method != "POST":
            return await self._conversation(request, [])
        form = await read_form(request, self.settings)
        turns = _turns(form.get("history"))
        question = str(form.get("question") or "").strip()[:LONGEST_QUESTION]
        if form.get("action") == "retry" and turns:
            question = turns.pop()["q"]
        if not question:
            return await self._conversation(request, turns, problem="empty")
        job = self.desk.admit(caller, self.order(turns, question))
        return WorkResponse(lambda: self._next_turn(request, turns, question, job))

    async def _next_turn(self, request: Request, turns: list[dict[str, str]], question: str, job: Job) -> Response:
        try:
            async with aclosing(self.desk.answer(job)) as pieces:
                async for piece in pieces:
                    if isinstance(piece, End):
                        turns.append({"q": question, "a": piece.text, "r": job.id})
                        return await self._conversation(request, turns, piece)
        except Refusal as refusal:
            return self.refusal(request, refusal)
        raise Refusal(503, "The engine said nothing.", "engine_silent", retry_after=2)

    async def _conversation(
        self, request: Request, turns: list[dict[str, str]], end: End | None = None, problem: str = ""
    ) -> Response:
        words = Words(self.language(request))
        drawn: list[tuple[str, AnswerView]] = []
        for place, turn in enumerate(turns):
            last = end if place == len(turns) - 1 else None
            lookup = last.lookup if last else await self._look_up_again(turn["a"], turn["q"])
            receipt, reasoning, doubt = (last.receipt, last.reasoning, last.doubt) if last else (None, "", None)
            view = view_answer(words, turn["a"], reasoning, lookup, receipt, turn["r"], doubt)
            drawn.append((turn["q"], view))
        history = json.dumps(turns[-TURNS:], ensure_ascii=False)
        client = {key: Words(words.language)(key) for key in CLIENT_WORDS} | {"language": words.language}
        return self.show(
            request,
            "conversation.html",
            turns=drawn,
            history=history,
            problem=problem,
            client=json.dumps(client),
            alone=self.offer.table is not None,
        )

    async def ask(self, request: Request) -> Response:
        """``POST /ask``: the next turn for the page's own script, as server-sent events."""
        caller = self.door.who(request)
        data = await read_body(request, self.settings)
        try:
            value = json.loads(data)
            turns, question = _turns(value.get("turns")), str(value["question"]).strip()[:LONGEST_QUESTION]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise Refusal(400, "This is no question.", "invalid_json") from None
        if not question:
            raise Refusal(400, Words(self.language(request))("empty"), "empty_question")
        job = self.desk.admit(caller, self.order(turns, question))
        words = Words(self.language(request))
        return EventResponse(lambda: self._in_words(words, self._events(words, job)), {"X-Receipt": job.id})

    async def _in_words(self, words: Words, events: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
        """The events, with a refusal in the reader's language."""
        try:
            async with aclosing(events):
                async for event in events:
                    yield event
        except Refusal as refusal:
            raise words.told(refusal) from refusal

    async def _events(self, words: Words, job: Job) -> AsyncGenerator[str, None]:
        yield _event("job", {"receipt": job.id})
        async with aclosing(self.desk.answer(job)) as pieces:
            async for piece in pieces:
                if isinstance(piece, Waiting):
                    text = words("next")
                    if piece.position:
                        text = words("waiting", n=piece.position, s=round(piece.seconds))
                    yield _event("wait", {"text": text})
                elif isinstance(piece, Chunk):
                    delta = piece.body["choices"][0].get("delta", {})
                    for name in ("content", "reasoning_content"):
                        if delta.get(name):
                            yield _event(name, {"text": delta[name]})
                else:
                    view = view_answer(
                        words, piece.text, piece.reasoning, piece.lookup, piece.receipt, doubt=piece.doubt
                    )
                    drawn = self.templates.get_template("answer.html").render(
                        t=words, a=view, q="", offer=self.offer, title=default_title(self.offer)
                    )
                    yield _event("end", {"html": drawn, "text": piece.text, "spoken": _spoken(view)})

    def order(self, turns: list[dict[str, str]], question: str) -> Order:
        """What the engine is asked for a page's turn; a register's assistant hears each question alone."""
        messages: list[dict[str, str]] = []
        room = (self.settings.context - self.settings.max_tokens) * CHARACTERS_PER_TOKEN - len(question)
        if self.offer.table is None:
            for turn in reversed(turns):
                room -= len(turn["q"]) + len(turn["a"])
                if room < 0:
                    break
                messages[:0] = [{"role": "user", "content": turn["q"]}, {"role": "assistant", "content": turn["a"]}]
        messages.append({"role": "user", "content": question})
        value: dict[str, Any] = {"model": self.offer.name, "messages": messages, "stream": True, "register": "field"}
        if self.offer.table is not None:
            value["temperature"] = 0
        return order_from(value, True, self.offer.name, self.settings.max_tokens, self.settings.context)

    async def _look_up_again(self, text: str, question: str) -> Lookup | None:
        if self.offer.table is None:
            return None
        return await asyncio.to_thread(look_up, self.offer.table, text, question)

    async def receipt(self, request: Request) -> Response:
        """``/receipt/ID``: a receipt for people; whoever holds its address may see it."""
        found = self.desk.receipts.find(request.path_params["id"], None)
        if found is None or found["receipt"] is None:
            raise Refusal(404, Words(self.language(request))("not_found") + ".", "receipt_not_found")
        return self.show(request, "receipt.html", receipt=found["receipt"], proof=found["proof"])

    async def contest(self, request: Request) -> Response:
        """``POST /contest``: keeps a person's note about an answer."""
        self.door.who(request)
        form = await read_form(request, self.settings)
        note = str(form.get("note") or "").strip()[:LONGEST_NOTE]
        receipt = str(form.get("receipt") or "")
        known = self.store.rows("SELECT 1 FROM answers WHERE id = ?", receipt)
        if not note or not known:
            raise Refusal(400, Words(self.language(request))("contest_note"), "empty_note")
        identity = "c_" + secrets.token_urlsafe(12)
        question, answer = (str(form.get(name) or "")[:LONGEST_QUESTION] for name in ("question", "answer"))
        self.store.do(
            "INSERT INTO contests VALUES (?, ?, ?, ?, ?, ?, ?, '', NULL)",
            *(identity, receipt, time.time(), note, question, answer, int(form.get("public") == "yes")),
        )
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse({"url": f"/contest/{identity}"})
        return RedirectResponse(f"/contest/{identity}", 303)

    async def contested(self, request: Request) -> Response:
        """``/contest/ID``: a note and its reply, for whoever holds the address."""
        sql = "SELECT receipt_id, created, note, question, answer, reply FROM contests WHERE id = ?"
        rows = self.store.rows(sql, request.path_params["id"])
        if not rows:
            raise Refusal(404, Words(self.language(request))("not_found") + ".", "contest_not_found")
        names = ("receipt_id", "created", "note", "question", "answer", "reply")
        return self.show(request, "contest.html", contest=dict(zip(names, rows[0], strict=True)), day=day)

    async def login(self, request: Request) -> Response:
        """``/login``: signing in with a key."""
        problem = ""
        if request.method == "POST":
            form = await read_form(request, self.settings)
            try:
                return self.welcome(self.keys.caller(str(form.get("key") or "").strip()))
            except Refusal as refusal:
                problem = Words(self.language(request)).told(refusal).message
        status = 401 if problem else 200
        return self.show(request, "login.html", status, problem=problem, open_id=self.open_id is not None)

    async def login_start(self, request: Request) -> Response:
        """``/login/start``: on to the organisation's own sign-in."""
        if self.open_id is None:
            raise Refusal(404, Words(self.language(request))("not_found") + ".", "no_such_route")
        return await self.open_id.start(str(request.url_for("login_back")), self.settings.https)

    async def login_back(self, request: Request) -> Response:
        """``/login/back``: back from there."""
        if self.open_id is None:
            raise Refusal(404, Words(self.language(request))("not_found") + ".", "no_such_route")
        person = await self.open_id.finish(request, str(request.url_for("login_back")))
        return self.welcome(self.door.person(person))

    async def logout(self, request: Request) -> Response:
        """``POST /logout``: forgets the cookie here and there."""
        self.keys.close_session(request.cookies.get(COOKIE, ""))
        response = RedirectResponse("/", 303)
        response.delete_cookie(COOKIE)
        return response

    def welcome(self, caller: Caller) -> Response:
        """Opens a session and leads to the conversation."""
        response = RedirectResponse("/", 303)
        response.set_cookie(
            COOKIE,
            self.keys.open_session(caller),
            max_age=int(SESSION_SECONDS),
            httponly=True,
            samesite="lax",
            secure=self.settings.https,
        )
        return response

    async def manifest(self, request: Request) -> Response:
        """``/manifest.webmanifest``: so that a telephone can keep it like an application."""
        title = default_title(self.offer)
        icons = [{"src": "/static/icon.svg", "sizes": "any", "type": "image/svg+xml", "purpose": "any maskable"}]
        body = {"name": title, "short_name": title[:24], "start_url": "/", "display": "standalone", "icons": icons}
        body |= {"background_color": "#fbfaf7", "theme_color": "#fbfaf7", "lang": self.offer.language}
        return JSONResponse(body, media_type="application/manifest+json")

    async def worker(self, request: Request) -> Response:
        """``/sw.js``: keeps the page's own files at hand; never a conversation."""
        return FileResponse(STATIC / "sw.js", media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    async def static(self, request: Request) -> Response:
        """``/static/NAME``: styles, script and icon."""
        name = request.path_params["name"]
        if name not in {path.name for path in STATIC.iterdir()}:
            raise Refusal(404, "There is nothing here.", "no_such_route")
        return FileResponse(STATIC / name, headers={"Cache-Control": "public, max-age=604800"})


CLIENT_WORDS = (
    "you",
    "thinking",
    "stop",
    "ask",
    "writing",
    "stopped",
    "done",
    "failed",
    "lost",
    "empty",
    "copy",
    "copied",
) + ("retry", "edit", "delete", "no_conversations", "contest_thanks", "contest_follow")


def day(moment: float) -> str:
    """A date as everybody reads it."""
    return time.strftime("%Y-%m-%d", time.gmtime(moment))


def _turns(value: Any) -> list[dict[str, str]]:
    """The turns that a browser sent along; whatever is not a turn is left out."""
    try:
        items = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return []
    if not isinstance(items, list):
        return []
    turns = [item for item in items[-TURNS:] if isinstance(item, dict)]
    return [{name: str(turn.get(name, ""))[:LONGEST_QUESTION] for name in ("q", "a", "r")} for turn in turns]


def _spoken(view: AnswerView) -> str:
    """What a screen reader says once the answer stands."""
    if view.lookup is None:
        return ""
    if view.figure:
        return f"{view.figure_name} : {view.figure}"
    return view.count


def _event(name: str, body: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(body, ensure_ascii=False, separators=(',', ':'))}\n\n"
