"""A real browser at telephone and desk width: asking, stopping, contesting, both languages, no JavaScript, axe.

Needs Chromium (``CHROMIUM``, or the system's). The pictures that it takes go to
``build/screens/``: they are there to be looked at.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import results
from cornue.serve.keys import Keys
from cornue.serve.store import SqliteStore
from serving.world import service

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
AXE_RUN = "async (rules) => (await axe.run(document, {runOnly: rules})).violations"
AXE_RUN += ".map((v) => v.id + ' ' + v.nodes[0].html)"
NARROW = "document.documentElement.scrollWidth <= innerWidth"
SCREENS = results.ROOT / "build" / "screens"
SIZES = ((360, 740), (1280, 800))
FIGURE, TABLE, NOWHERE = "Combien de communes ?", "Quelles communes ?", "Les habitants d'Atlantis ?"
PATIENCE = 120_000
NOTE = "[name=note]"
Look = Callable[[Any, str], None]
Step = Callable[[str, object], None]


def prove(work: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    axe = files("axe_playwright_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    passed: list[str] = []
    failed: list[str] = []
    violations: list[str] = []
    outside: set[str] = set()
    checked = [0]
    key = _furnish(work / "browser", work / "runs")
    shutil.rmtree(SCREENS, ignore_errors=True)
    SCREENS.mkdir(parents=True)
    with (
        service(work / "browser", pause=0.05, think="hm", runs=work / "runs") as running,
        sync_playwright() as tool,
    ):
        browser = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, height in SIZES:
            size = {"width": width, "height": height}
            for scheme in ("light", "dark"):
                tag = f"{width}-{scheme}"

                def look(page: Any, name: str, tag: str = tag) -> None:
                    checked[0] += 1
                    page.add_script_tag(content=axe)
                    violations.extend(f"{tag} {name}: {rule}" for rule in page.evaluate(AXE_RUN, RULES))
                    page.screenshot(path=str(SCREENS / f"{tag}-{name}.png"))

                def step(name: str, right: object, tag: str = tag) -> None:
                    (passed if right else failed).append(f"{tag} {name}")

                context = browser.new_context(viewport=size, color_scheme=scheme, locale="fr-FR", bypass_csp=True)
                context.set_default_timeout(PATIENCE)
                page = context.new_page()
                page.on("request", lambda request: outside.add(request.url) if running.url not in request.url else None)
                page.on("pageerror", lambda error, tag=tag: failed.append(f"{tag} script: {error}"))
                _walk(page, running.url, look, step)
                _refused(page, running.url, look, step)
                _other_pages(page, running.url, key, look, step)
                context.close()
            # At 200 % a page has half the pixels of its window.
            half = {"width": width // 2, "height": height // 2}
            zoomed = browser.new_context(viewport=half, device_scale_factor=2, locale="fr-FR", bypass_csp=True)
            tag = f"{width}-zoomed"
            _zoomed(zoomed.new_page(), running.url, partial(look, tag=tag), partial(step, tag=tag))
            zoomed.close()
            plain = browser.new_context(viewport=size, java_script_enabled=False, locale="fr-FR")
            _without_script(plain.new_page(), running.url, step)
            plain.close()
        transferred = _weight(browser, running.url)
        browser.close()
    figures = {"steps passed": len(passed), "steps failed": ", ".join(failed) or "none"}
    figures |= {"axe": ", ".join(violations) or "nothing", "pages checked by axe": checked[0]}
    figures |= {"bytes of the page with all its files": transferred}
    bars = [
        results.bar("steps that failed", len(failed), 0, at_most=True),
        results.bar("violations found by axe", len(violations), 0, at_most=True),
        results.bar("requests that left the service", len(outside), 0, at_most=True),
        results.bar("bytes transferred for the page", transferred, 100_000, at_most=True),
    ]
    return figures, bars


def _furnish(data: Path, runs: Path) -> str:
    """An administrator's key, and a run with a curve."""
    data.mkdir(parents=True, exist_ok=True)
    store = SqliteStore(data / "serve.sqlite")
    key = Keys(store).create("administration", "admin")[1]
    store.close()
    stage = runs / "communes-1" / "4-train"
    stage.mkdir(parents=True)
    rows = [{"step": number, "loss": 2.0 / (1 + number)} for number in range(40)]
    (stage / "steps.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return key


def _walk(page: Any, url: str, look: Look, step: Step) -> None:
    """The whole way of a person with JavaScript, by keyboard where a person would use it."""
    page.goto(url)
    look(page, "empty")
    page.focus("#question")
    page.keyboard.type(FIGURE)
    page.keyboard.press("Enter")
    page.wait_for_selector(".busy .raw:not(:empty)")
    step("streams", page.get_attribute(".answer", "aria-busy") == "true")
    page.wait_for_selector(".figure")
    step("figure from the register", page.inner_text(".figure strong") == "2")
    step("status is told", "complète" in page.inner_text("#status"))
    step("reasoning is folded", not page.locator(".fold").first.get_attribute("open"))
    page.locator(".fold summary").first.focus()
    page.keyboard.press("Enter")
    step("reasoning unfolds by keyboard", page.inner_text(".thought") == "hm")
    page.fill("#question", TABLE)
    page.keyboard.press("Enter")
    page.wait_for_selector(".turn:nth-child(2) table")
    step("table of three rows", page.locator(".turn:nth-child(2) tbody tr").count() == 3)
    step("receipt is linked", page.locator(".turn:nth-child(2) .costs a").count() == 1)
    look(page, "answers")
    page.fill("#question", "Encore")
    page.keyboard.press("Enter")
    page.wait_for_selector(".busy .raw:not(:empty)")
    page.click("#send")
    page.wait_for_selector(".turn:nth-child(3) .tools button")
    step("stops", "Arrêtée" in page.inner_text(".turn:nth-child(3)"))
    page.click(".turn:nth-child(2) .contest summary")
    page.fill(f".turn:nth-child(2) {NOTE}", "Faux")
    # As the page itself scrolls to a turn: nothing of it lies half under the bar at the top.
    page.evaluate("document.querySelector('.turn:nth-child(2)').scrollIntoView()")
    look(page, "contest")
    page.click(".turn:nth-child(2) .contest button")
    page.wait_for_selector(".turn:nth-child(2) .contest a")
    step("contests", True)
    page.reload()
    page.click("#history summary")
    look(page, "history")
    with page.expect_download() as download:
        page.click("[data-do=export]")
    step("exports", download.value.suggested_filename == "conversation.md")
    page.click("#conversations .open")
    page.wait_for_selector(".turn:nth-child(2) table")
    step("remembers in the browser", True)
    page.locator(".turn:nth-child(3) .tools button", has_text="Modifier").click()
    step("edits", page.input_value("#question") == "Encore")
    page.locator(".turn:nth-child(2) .tools button", has_text="Redemander").click()
    page.wait_for_selector(".turn:nth-child(2) .tools button")
    step("asks again", page.locator(".turn").count() == 2)
    page.evaluate("scrollTo(0, 0)")
    page.click("#about summary")
    step("contact is one touch away", page.locator("#about a[href^=mailto]").is_visible())
    look(page, "about")
    page.keyboard.press("Escape")
    step("Escape closes", not page.locator("#about a[href^=mailto]").is_visible())
    page.click("nav a[hreflang]")
    step("speaks English", page.get_attribute("html", "lang") == "en")
    look(page, "english")
    page.click("nav a[hreflang]")
    page.keyboard.press("Tab")
    step("focus is seen", page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none")


def _refused(page: Any, url: str, look: Look, step: Step) -> None:
    """A name that the register does not hold: it is asked again, and then refused with the reason."""
    page.goto(url)
    page.fill("#question", NOWHERE)
    page.keyboard.press("Enter")
    page.wait_for_selector(".prose")
    step("says why it was asked again", "Atlantis" in page.inner_text(".said .fine"))
    step("refuses in words", "ne permet pas de répondre" in page.inner_text(".prose"))
    look(page, "refused")


def _other_pages(page: Any, url: str, key: str, look: Look, step: Step) -> None:
    """What lies around the conversation, each looked at once."""
    page.goto(url)
    page.fill("#question", TABLE)
    page.keyboard.press("Enter")
    page.wait_for_selector("table")
    page.click(".costs a")
    look(page, "receipt")
    step("receipt is told", "jetons" in page.inner_text("main").lower())
    for path in ("record", "login", "runs", "runs/communes-1", "nowhere"):
        page.goto(f"{url}/{path}", wait_until="load")
        look(page, path.replace("/", "-"))
        step(f"{path} without sideways scrolling", page.evaluate(NARROW))
    page.goto(f"{url}/login")
    page.fill("[name=key]", key)
    page.keyboard.press("Enter")
    page.wait_for_selector("#question")
    page.goto(f"{url}/admin")
    look(page, "admin")
    step("contests are there to be answered", page.locator(".case").count() > 0)
    step("admin without sideways scrolling", page.evaluate(NARROW))
    page.locator(".case textarea").first.fill("Merci, corrigé.")
    page.locator(".case button").first.click()
    page.wait_for_selector(".case")
    step("a contest is answered", "corrigé" in page.locator(".case textarea").first.input_value())


def _zoomed(page: Any, url: str, look: Look, step: Step) -> None:
    """At 200 %: nothing runs off sideways, and the conversation can still be read."""
    page.goto(url)
    page.fill("#question", TABLE)
    page.keyboard.press("Enter")
    page.wait_for_selector("table")
    step("200 % without sideways scrolling", page.evaluate(NARROW))
    look(page, "answers")
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    page.set_viewport_size({"width": 360, "height": 740})
    step("text of double size without sideways scrolling", page.evaluate(NARROW))


def _without_script(page: Any, url: str, step: Step) -> None:
    page.goto(url)
    page.fill("#question", FIGURE)
    page.click("#send")
    right = page.inner_text(".figure strong") == "2"
    page.fill("#question", TABLE)
    page.click("#send")
    right = right and page.locator(".turn").count() == 2
    page.screenshot(path=str(SCREENS / f"{page.viewport_size['width']}-without-script.png"))
    page.click(".turn:nth-child(2) .contest summary")
    page.fill(f".turn:nth-child(2) {NOTE}", "Faux")
    page.click(".turn:nth-child(2) .contest button")
    step("without JavaScript", right and "/contest/" in page.url)


def _weight(browser: Any, url: str) -> int:
    """Bytes of the page and all its files in a browser that knows none of them."""
    sizes: list[int] = []
    page = browser.new_context(viewport={"width": 360, "height": 740}).new_page()
    page.on("response", lambda answer: sizes.append(len(answer.body())))
    page.goto(url)
    page.wait_for_timeout(500)
    return sum(sizes)
