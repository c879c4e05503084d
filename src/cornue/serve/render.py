"""Markdown of a model as HTML that cannot do harm: parsed on the server, sanitised, links without magic.

Formulas between dollar signs or ``\\( \\)`` become MathML, which browsers draw by themselves. Pictures are never
loaded, since an address in a picture can carry words away.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from html import escape
from typing import Any
from xml.etree import ElementTree

import nh3
from latex2mathml import exceptions
from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

TAGS = {"p", "br", "hr", "em", "strong", "s", "code", "pre", "blockquote", "ul", "ol", "li", "a", "span", "div"}
TAGS |= {"table", "thead", "tbody", "tr", "th", "td", "h3", "h4", "h5", "h6"}
BRACKETS = re.compile(r"\\\((.+?)\\\)|\\\[(.+?)\\\]", re.DOTALL)
MATHS = {"math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "mfrac", "msqrt", "mroot", "msub", "msup"}
MATHS |= {
    "msubsup",
    "munder",
    "mover",
    "munderover",
    "mtable",
    "mtr",
    "mtd",
    "mstyle",
    "mpadded",
    "mphantom",
    "menclose",
}
MATHS_ATTRIBUTES = {"display", "stretchy", "fence", "form", "mathvariant", "displaystyle", "scriptlevel", "width"}
MATHS_ATTRIBUTES |= {"columnalign", "rowspacing", "columnspacing", "linethickness", "accent", "notation", "separator"}
MATHS_ATTRIBUTES |= {"movablelimits", "symmetric", "lspace", "rspace", "minsize", "maxsize", "height", "depth"}
NAMESPACE = ' xmlns="http://www.w3.org/1998/Math/MathML"'
OWN_ERRORS = tuple(kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, Exception))
CANNOT_CONVERT: tuple[type[Exception], ...] = (ElementTree.ParseError, ValueError, LookupError, TypeError)
CANNOT_CONVERT += (AttributeError, RecursionError, *OWN_ERRORS)
LONGEST = 60_000
LONGEST_FORMULA = 2_000


def to_html(markdown: str) -> str:
    """Safe HTML for a text in Markdown; never raises, whatever the text."""
    nonce = secrets.token_hex(8)
    formulas: list[str] = []

    def formula(_: Any, tokens: Sequence[Token], place: int, *rest: Any) -> str:
        token = tokens[place]
        formulas.append(_mathml(token.content, token.type == "math_block"))
        return f"{nonce}m{len(formulas) - 1}m"

    parser = MarkdownIt("js-default", {"html": False, "linkify": False}).use(
        dollarmath_plugin, allow_space=False, double_inline=True, allow_digits=False
    )
    parser.disable("image")
    for kind in ("math_inline", "math_inline_double", "math_block"):
        parser.add_render_rule(kind, formula)
    text = BRACKETS.sub(lambda match: f"${match[1]}$" if match[1] else f"$${match[2]}$$", markdown[:LONGEST])
    html = parser.render(text)
    html = re.sub(r"<(/?)h([1-6])", lambda match: f"<{match[1]}h{min(6, int(match[2]) + 2)}", html)
    clean = nh3.clean(
        html,
        tags=TAGS,
        attributes={"a": {"href"}, "ol": {"start"}, "code": {"class"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    clean = clean.replace("<table>", '<div class="scroll" tabindex="0"><table>').replace("</table>", "</table></div>")
    clean = clean.replace("<pre>", '<pre tabindex="0">')
    return re.sub(f"{nonce}m(\\d+)m", lambda match: formulas[int(match[1])], clean)


def _mathml(tex: str, block: bool) -> str:
    if len(tex) <= LONGEST_FORMULA:
        try:
            made = convert(tex, display="block" if block else "inline").replace(NAMESPACE, "", 1)
            # The converter does not escape all that it is given, so its result is read and written again.
            tree = ElementTree.fromstring(made)
        except CANNOT_CONVERT:
            return f"<code>{escape(tex)}</code>"
        if all(node.tag in MATHS and set(node.attrib) <= MATHS_ATTRIBUTES for node in tree.iter()):
            return ElementTree.tostring(tree, encoding="unicode")
    return f"<code>{escape(tex)}</code>"
