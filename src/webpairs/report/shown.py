"""Make texts of the web fit to be shown: nothing in them turns, hides or breaks what is around.

Markup is harmless once it is escaped, which the template does for every text. What is left are
characters that no escaping touches: controls, and marks that turn the direction of all that
follows. They are shown as what they are, `[U+202E]`, and the template keeps each text to itself
(`<bdi>`).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import Final

MAX_MARKS: Final = 4
"""Marks on one letter; no script needs more, stacks of a hundred cover the lines above."""
_KEPT: Final = frozenset("\u200c\u200d")
"""Joiners, which Persian, Hindi and emoji are written with."""
_UNSEEN: Final = frozenset(("Cc", "Cf", "Co", "Cs", "Zl", "Zp"))
_BLANK: Final = frozenset("\t\n\r\x0b\x0c\x85")


@dataclass(frozen=True, slots=True)
class Web:
    """Mark a text as the web's, already fit to be shown."""

    text: str


def inline(text: str) -> str:
    """Return a text of the web for the middle of a sentence of ours, whose direction it keeps."""
    return f"\u2068{web(text).text}\u2069"


def web(text: str, max_chars: int = 300) -> Web:
    """Return a text of the web as it is shown; what is longer than `max_chars` is cut."""
    cut = text if len(text) <= max_chars else text[:max_chars] + "…"
    shown: list[str] = []
    num_marks = 0
    for char in cut:
        category = unicodedata.category(char)
        num_marks = num_marks + 1 if category in ("Mn", "Me") else 0
        if char in _BLANK:
            shown.append(" ")
        elif category in _UNSEEN and char not in _KEPT:
            shown.append(f"[U+{ord(char):04X}]")
        elif num_marks <= MAX_MARKS:
            shown.append(char)
    return Web("".join(shown))
