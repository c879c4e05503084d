"""Documents become passages that people could read with a question about them; menus and scripts are left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cornue.records.errors import BadInput
from cornue.sources.passages import MOST_WORDS, passages_of, read_passages

MARKDOWN = """---
title: not read
---
# Cantine

Les repas sont servis **à midi**. Voir le [règlement](https://example.org/reglement).

## Tarifs

Un repas coûte 3,20 €.

```
# no heading
```

Inscription
-----------
En mairie, avant le 15 août.
"""
PAGE = """<!doctype html><head><title>Mairie</title><style>p { color: red }</style>
<body><nav><ul><li>Accueil</li></ul></nav>
<header><h1>Déchets</h1></header>
<main><p>Les bacs jaunes sont relevés&nbsp;le <b>mardi</b>.<br>Les verts le jeudi.</p>
<h2>Encombrants</h2><p>Sur rendez-vous.</p><table><tr><td>lundi</td><td>9 h</td></tr></table>
<div hidden><p>caché</p></div><script>alert("non")</script></main><footer>Mentions légales</footer>
"""


def test_markdown_is_cut_at_its_headings() -> None:
    found = passages_of(MARKDOWN, ".md", "cantine.md")
    assert [(one.headings, one.text) for one in found] == [
        (("Cantine",), "Les repas sont servis à midi. Voir le règlement."),
        (("Cantine", "Tarifs"), "Un repas coûte 3,20 €.\n\n# no heading"),
        (("Cantine", "Inscription"), "En mairie, avant le 15 août."),
    ]


def test_a_web_page_gives_what_people_read() -> None:
    found = passages_of(PAGE, ".html", "dechets.html")
    assert [(one.headings, one.text) for one in found] == [
        (("Déchets",), "Les bacs jaunes sont relevés le mardi. Les verts le jeudi."),
        (("Déchets", "Encombrants"), "Sur rendez-vous.\n\nlundi 9 h"),
    ]


def test_a_long_text_is_cut_between_sentences() -> None:
    sentence = "Il y a douze mots dans cette phrase, qui parle de la commune."
    found = passages_of(" ".join([sentence] * 60), ".txt", "t")
    assert all(one.text.endswith("commune.") and len(one.text.split()) <= MOST_WORDS for one in found)
    assert sum(one.text.count("douze") for one in found) == 60


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=400), st.sampled_from([".txt", ".md", ".html"]))
def test_any_document_can_be_cut(text: str, kind: str) -> None:
    for passage in passages_of(text, kind, "d"):
        assert passage.text.strip() and len(passage.text.split()) < 2 * MOST_WORDS


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text("abc. \n", max_size=300), max_size=8))
def test_no_word_of_a_plain_text_is_lost(parts: list[str]) -> None:
    text = "\n\n".join(parts)
    assert " ".join(one.text for one in passages_of(text, ".txt", "d")).split() == text.split()


def test_a_folder_is_read_in_order_and_each_text_once(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name, text in (("b/a.txt", "Un."), ("a.md", "Deux."), ("c.html", "<p>Un.</p>"), (".git/x.txt", "Trois.")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "d.png").write_bytes(b"\x89PNG")
    assert [(one.document, one.text) for one in read_passages(tmp_path)] == [("a.md", "Deux."), ("b/a.txt", "Un.")]


@pytest.mark.parametrize(
    ("name", "data"), [("a.txt", b"\xff\xfe\x00"), ("a.pdf", b"%PDF"), ("a.txt", b" \n"), ("absent.txt", None)]
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(BadInput, match=name):
        read_passages(tmp_path / name)
