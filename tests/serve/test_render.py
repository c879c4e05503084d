"""A model's Markdown cannot do harm, and formulas, code and tables are drawn."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.serve.render import MATHS, TAGS, to_html

PIECES = st.lists(
    st.sampled_from(
        ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "![p](//evil/x.png)"]
        + ["$\\text{<img src=x onerror=1>}$", "$$", "`", "```\n", "<a href='data:text/html,x'>", "|a|\n|-|\n", "$x<y$"]
        + [
            "\\(\\href{javascript:1}{x}\\)",
            "<svg onload=1>",
            "</math><script>",
            "$\\text{</math><b onclick=1>}$",
            "\n\n",
        ]
    )
    | st.text(max_size=12),
    max_size=10,
).map("".join)


class Harmless(HTMLParser):
    """Fails on anything that a page must not hold."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in TAGS | MATHS
        for name, value in attrs:
            assert not name.startswith("on") and name not in ("style", "src")
            if name == "href":
                assert (value or "").startswith(("https:", "http:", "mailto:", "/", "#")) or ":" not in (value or "")


@settings(max_examples=60, deadline=None)
@given(PIECES)
def test_no_text_can_do_harm(text: str) -> None:
    Harmless().feed(to_html(text))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("$\\frac{a}{b}$", "<mfrac>"),
        ("\\(x^2\\)", "<msup>"),
        ("```python\nx = 1\n```", '<code class="language-python">'),
        ("| a |\n|---|\n| 1 |", "<table>"),
        ("# Title", "<h3>"),
        ("it costs 5$ and 6$", "5$ and 6$"),
        ("$a_b_c$", "<code>"),
    ],
)
def test_what_is_written_is_drawn(text: str, wanted: str) -> None:
    assert wanted in to_html(text)


def test_pictures_are_never_loaded() -> None:
    assert "<img" not in to_html("![secret](https://evil.example/?words)")
