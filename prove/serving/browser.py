"""A real browser at telephone and desk width: asking, stopping, contesting, both languages, no JavaScript, axe.

Needs Chromium (``CHROMIUM``, or the system's) and axe-core (see ``prove/serve.py``).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import results
from serving.world import javascript, service

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
AXE_RUN = "async (rules) => (await axe.run(document, {runOnly: rules})).violations.map((v) => v.id)"
SCREENS = results.ROOT / "build" / "screens"
SIZES = ((360, 740), (1280, 800))
FIGURE, TABLE = "Combien de communes ?", "Quelles communes ?"
NOTE = "[name=note]"


def prove(work: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Figures and bars; screenshots go to ``build/screens/``."""
    from playwright.sync_api import sync_playwright

    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    axe = (javascript("axe-core") / "axe.min.js").read_text()
    passed: list[str] = []
    failed: list[str] = []
    violations: list[str] = []
    outside: set[str] = set()
    sizes: list[int] = []
    SCREENS.mkdir(parents=True, exist_ok=True)
    with service(work / "browser", pause=0.05, think="hm") as running, sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for width, height in SIZES:
            for scheme in ("light", "dark"):
                context = browser.new_context(
                    viewport={"width": width, "height": height}, color_scheme=scheme, locale="fr-FR", bypass_csp=True
                )
                page = context.new_page()
                page.on("request", lambda request: outside.add(request.url) if running.url not in request.url else None)
                page.on("pageerror", lambda error: failed.append(f"script: {error}"))

                def look(name: str, page: Any = page, tag: str = f"{width}-{scheme}") -> None:
                    page.add_script_tag(content=axe)
                    violations.extend(f"{tag} {name}: {rule}" for rule in page.evaluate(AXE_RUN, RULES))
                    page.screenshot(path=str(SCREENS / f"{tag}-{name}.png"))

                _walk(page, running.url, look, passed, failed)
                context.close()
            plain = browser.new_context(viewport={"width": width, "height": height}, java_script_enabled=False)
            _without_script(plain.new_page(), running.url, passed, failed)
            plain.close()
        fresh = browser.new_context(viewport={"width": 360, "height": 740})
        page = fresh.new_page()
        page.on("response", lambda answer: sizes.append(len(answer.body())))
        page.goto(running.url)
        page.wait_for_timeout(500)
        browser.close()
    figures = {"steps passed": len(passed), "steps failed": ", ".join(failed), "axe": ", ".join(violations)}
    figures |= {"bytes of the page with all its files": sum(sizes)}
    bars = [
        results.bar("steps that failed", len(failed), 0, at_most=True),
        results.bar("violations found by axe", len(violations), 0, at_most=True),
        results.bar("requests that left the service", len(outside), 0, at_most=True),
        results.bar("bytes transferred for the page", sum(sizes), 100_000, at_most=True),
    ]
    return figures, bars


def _walk(page: Any, url: str, look: Callable[[str], None], passed: list[str], failed: list[str]) -> None:
    """The whole way of a person with JavaScript, by keyboard where a person would use it."""

    def step(name: str, right: object) -> None:
        (passed if right else failed).append(name)

    page.goto(url)
    look("empty")
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
    look("answers")
    page.fill("#question", "Encore")
    page.keyboard.press("Enter")
    page.wait_for_selector(".busy .raw:not(:empty)")
    page.click("#send")
    page.wait_for_selector(".turn:nth-child(3) .tools button")
    step("stops", "Arrêtée" in page.inner_text(".turn:nth-child(3)"))
    page.click(".turn:nth-child(2) .contest summary")
    page.fill(f".turn:nth-child(2) {NOTE}", "Faux")
    look("contest")
    page.click(".turn:nth-child(2) .contest button")
    page.wait_for_selector(".turn:nth-child(2) .contest a")
    step("contests", True)
    page.reload()
    page.click("#history summary")
    page.click("#conversations .open")
    page.wait_for_selector(".turn:nth-child(2) table")
    step("remembers in the browser", True)
    page.locator(".turn:nth-child(3) .tools button", has_text="Modifier").click()
    step("edits", page.input_value("#question") == "Encore")
    page.evaluate("scrollTo(0, 0)")
    page.click("#about summary")
    step("contact is one touch away", page.locator("#about a[href^=mailto]").is_visible())
    look("about")
    page.keyboard.press("Escape")
    page.click("nav a[hreflang]")
    step("speaks English", page.get_attribute("html", "lang") == "en")
    page.click("nav a[hreflang]")
    for path in ("record", "login"):
        page.goto(f"{url}/{path}")
        look(path)
    page.goto(url)
    page.evaluate("document.documentElement.style.fontSize = '200%'")
    step("200 % without sideways scrolling", page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
    page.keyboard.press("Tab")
    step("focus is seen", page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none")


def _without_script(page: Any, url: str, passed: list[str], failed: list[str]) -> None:
    page.goto(url)
    page.fill("#question", FIGURE)
    page.click("#send")
    right = page.inner_text(".figure strong") == "2"
    page.fill("#question", TABLE)
    page.click("#send")
    right = right and page.locator(".turn").count() == 2
    page.click(".turn:nth-child(2) .contest summary")
    page.fill(f".turn:nth-child(2) {NOTE}", "Faux")
    page.click(".turn:nth-child(2) .contest button")
    right = right and "/contest/" in page.url
    (passed if right else failed).append("without JavaScript")
