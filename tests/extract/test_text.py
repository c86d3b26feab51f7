"""Texts: cleaned once and for all, and left alone where they are right."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.extract import text as module
from webpairs.extract.text import MAX_TEXT_CHARS, clean_text, clean_texts, unescape_once

any_text = st.text(alphabet=st.characters(exclude_categories=()))  # surrogates, too
nasty = st.text(
    alphabet=st.sampled_from([*"aB é Ã©â€™œ&;#x3amp&lt;quot \t\n\0", "\u202e", "\xa0", "\u0301"])
)


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("a cat on a mat", "a cat on a mat"),
        ("  a \t\r\n cat\u3000\xa0 ", "a cat"),
        ("R&D by AT&T, fish&chips &copy 2024", "R&D by AT&T, fish&chips &copy 2024"),
        ("salt &amp; pepper", "salt & pepper"),
        ("&quot;x&quot; &#39;y&#x27; &eacute;", "\"x\" 'y' é"),
        ("&amp;amp;amp;quot;", '"'),
        ("&#38;#38;lt;b&gt;", "<b>"),
        ("&amp;nosuch;", "&nosuch;"),
        ("a&nbsp;&nbsp;b", "a b"),
        ("&#0;&#xD800;&#1114112;x", "\ufffd\ufffd\ufffdx"),
        ("cafÃ© crÃ¨me", "café crème"),
        ("itâ€™s", "it’s"),
        ("“typographic” ‘quotes’ – ﬁne", "“typographic” ‘quotes’ – ﬁne"),
        ("e\u0301", "é"),
        ("a\u202eb\u200ec\u2066d\u061ce", "abcde"),
        ("zero\u200bwidth\ufeff\u2060", "zerowidth"),
        ("می\u200cخواهم 👩\u200d🚀", "می\u200cخواهم 👩\u200d🚀"),  # joiners mean something
        ("a\x00b\x07c\x1bd\x7fe\x9f", "abcdeŸ"),
        ("soft\xadhyphen", "softhyphen"),
        ("\ud800x\udfff", "x"),
        ("\U000e0041tag\ufffe", "tag"),
        ("Фото дома", "Фото дома"),
        ("一张照片", "一张照片"),
        ("", ""),
        ("   ", ""),
        ("\u200b\n", ""),
    ],
)
def test_clean(raw: str, cleaned: str) -> None:
    assert clean_text(raw) == cleaned
    assert clean_text(cleaned) == cleaned


@given(any_text | nasty)
def test_cleaning_twice_is_cleaning_once(raw: str) -> None:
    cleaned = clean_text(raw)
    assert clean_text(cleaned) == cleaned
    cleaned.encode()
    assert unicodedata.is_normalized("NFC", cleaned)
    assert cleaned == " ".join(cleaned.split())
    assert "\0" not in cleaned


@given(any_text | nasty | st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_fast_way_is_the_long_way(raw: str) -> None:
    assert clean_texts([raw, raw]) == [module._clean(raw)] * 2


@given(st.lists(nasty))
def test_many_are_cleaned_as_one(raws: list[str]) -> None:
    assert clean_texts(raws) == [clean_text(raw) for raw in raws]


def test_the_memo_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MEMO_TEXTS", 10)
    raws = [f"é {number}" for number in range(100)]
    assert clean_texts(raws) == raws
    assert len(module._memo) <= 11
    clean_text("é")
    assert len(module._memo) <= 11


@pytest.mark.parametrize(
    "hostile",
    ["&amp;" * 50_000, "&" + "amp;" * 50_000, "é" * 100_000, "\u0958" * 9000, "Ã©" * 9000],
)
def test_length_is_bounded(hostile: str) -> None:
    cleaned = clean_text(hostile)
    assert len(cleaned) <= MAX_TEXT_CHARS
    assert clean_text(cleaned) == cleaned


def test_an_attribute_is_unescaped_once() -> None:
    assert unescape_once("/a?b=1&amp;copy=2&copy=3&amp;amp;x") == "/a?b=1&copy=2&copy=3&amp;x"
