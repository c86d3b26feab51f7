"""Cleaning the texts of pages: what a reader would see, in one line, in one form.

In this order, until nothing changes any more (so that cleaning twice is cleaning once):
character references, mojibake, control, bidi and other invisible characters, whitespace, NFC,
length. Typographic quotes, ligatures and full-width forms are what the author wrote and stay
(ftfy's `fix_text`, which LAION used, flattens them; so does CLIP's tokenizer when it reads them).
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable
from typing import Final

import ftfy
from ftfy.badness import is_bad

CLEANER_VERSION: Final = f"1+ftfy{ftfy.__version__}+unicode{unicodedata.unidata_version}"
"""Goes into the manifest: another cleaner means other uids."""

MAX_TEXT_CHARS: Final = 8192
"""Longer texts are cut here, before and after cleaning. CLIP reads 77 tokens; pages hold megabytes
on purpose. A bound on work and memory, not on taste (LAION-5B cut at 2,000)."""

_MEMO_TEXTS: Final = 65_536
_MEMO_CHARS: Final = 256
"""Repeated texts are cleaned once: at most this many are remembered, none longer than this."""

# Only references that end in a semicolon: "AT&T", "R&D" and "fish&chips" are not markup, and an
# attribute's "&copy=" is not one either (HTML, "named character reference state"). Repeated
# escaping ("&amp;amp;quot;") is undone at once, so that hostile nesting costs one pass.
_NESTED_AMPERSAND: Final = re.compile(r"&(?:(?:amp|AMP|#38|#x26|#X26);)+(?=#?\w)")
_REFERENCE: Final = re.compile(r"&(?:#[0-9]{1,8}|#[xX][0-9a-fA-F]{1,7}|[A-Za-z][A-Za-z0-9]{1,31});")

_INVISIBLE: Final = {
    code: None
    for codes in (
        range(0x09),  # C0 controls that are not whitespace (those become spaces)
        range(0x0E, 0x1C),
        range(0x7F, 0x85),  # DEL and C1 controls, next line (0x85) apart
        range(0x86, 0xA0),
        (0xAD,),  # soft hyphen
        (0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),  # bidi controls
        (0x200B, 0x2060, 0xFEFF),  # zero-width space, word joiner, byte order mark; joiners stay
        range(0xFFF9, 0xFFFC),  # interlinear annotation
        range(0xD800, 0xE000),  # surrogates: not encodable in UTF-8
        range(0xFDD0, 0xFDF0),  # noncharacters
        *((plane | 0xFFFE, plane | 0xFFFF) for plane in range(0, 0x110000, 0x10000)),
        range(0xE0000, 0xE0080),  # tags: text that only machines see
    )
    for code in codes
}
_HAS_INVISIBLE: Final = re.compile(
    "[" + "".join(f"\\U{code:08x}" for code in _INVISIBLE) + "]",
)

_memo: dict[str, str] = {}


def clean_text(text: str) -> str:
    """Return `text` cleaned; idempotent, never raises, encodable in UTF-8, perhaps empty."""
    return clean_texts((text,))[0]


def clean_texts(texts: Iterable[str]) -> list[str]:
    """Return each of `texts` cleaned as `clean_text` does."""
    memo = _memo
    if len(memo) > _MEMO_TEXTS:
        memo.clear()
    cleaned: list[str] = []
    add = cleaned.append
    for text in texts:
        # Most texts are plain ASCII and clean already. Tests hold this against the long way.
        if (
            text.isascii()
            and "&" not in text
            and "  " not in text
            and text.isprintable()
            and text[:1] != " "
            and text[-1:] != " "
            and len(text) <= MAX_TEXT_CHARS
        ):
            add(text)
            continue
        known = memo.get(text)
        if known is None:
            known = _clean(text)
            if len(text) <= _MEMO_CHARS and len(memo) <= _MEMO_TEXTS:
                memo[text] = known
        add(known)
    return cleaned


def _clean(text: str) -> str:
    """Take the long way. Every step shortens the text, or leaves it alone once it is NFC."""
    while True:
        before = text
        text = text[:MAX_TEXT_CHARS]
        if "&" in text:
            text = _REFERENCE.sub(_character, _NESTED_AMPERSAND.sub("&", text))
        if not text.isascii():
            if is_bad(text):
                text = ftfy.fix_encoding(text)
            text = unicodedata.normalize("NFC", text)
        if _HAS_INVISIBLE.search(text):
            text = text.translate(_INVISIBLE)
        text = " ".join(text.split())
        if text == before:
            return text


def _character(reference: re.Match[str]) -> str:
    return html.unescape(reference[0])


def unescape_once(text: str) -> str:
    """Resolve the character references of an attribute once, those that end in a semicolon."""
    return _REFERENCE.sub(_character, text) if "&" in text else text
