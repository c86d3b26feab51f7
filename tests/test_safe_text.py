"""Texts of the web are shown without what steers, hides or turns; the page has the same rules."""

from __future__ import annotations

import re
import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from support.paths import REPOSITORY

from webpairs import safe_text
from webpairs.safe_text import visible, web


@given(st.text())
def test_what_is_shown_neither_turns_nor_hides(text: str) -> None:
    shown = web(text).text
    for char in shown:
        kept = char in "\u200c\u200d"
        assert kept or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"), char


def test_texts_are_shown_as_they_are() -> None:
    assert web("plain <b>text</b> & 'quotes'").text == "plain <b>text</b> & 'quotes'"
    assert web("نص عربي, עברית, 日本語, é, 👩‍👩‍👧").text == "نص عربي, עברית, 日本語, é, 👩‍👩‍👧"
    assert (
        web("a\u202eb\u2066c\x00d\x1b[31m\ne").text == "a[U+202E]b[U+2066]c[U+0000]d[U+001B][31m e"
    )
    assert web("e" + "\u0301" * 50).text == "e" + "\u0301" * 4
    assert web("x" * 400).text == "x" * 300 + "…"


def test_joiners_of_scripts_stay() -> None:
    persian, hindi, emoji = "می\u200cخواهم", "क्\u200dष", "👩\u200d👩"
    assert [visible(one) for one in (persian, hindi, emoji)] == [persian, hindi, emoji]


def test_the_page_has_the_same_rules() -> None:
    script = (REPOSITORY / "src/webpairs/serve/page/show.js").read_text()
    body = script.partition("export function visible")[2].partition("\n}")[0]
    assert set(re.findall(r"p\{(C\w|Z\w)\}", body)) == safe_text._UNSEEN
    kept = re.search(r"\(\?!\[(.*?)\]\)", body)
    assert kept is not None
    assert set(kept[1].encode().decode("unicode_escape")) == safe_text._KEPT
    blank = re.search(r"replace\(/\[(.*?)\]/g, \" \"\)", body)
    assert blank is not None
    assert set(blank[1].encode().decode("unicode_escape")) == safe_text._BLANK
    marks = re.search(r"\[\\p\{Mn\}\\p\{Me\}\]\{(\d+)\}", body)
    assert marks is not None
    assert int(marks[1]) == safe_text.MAX_MARKS
