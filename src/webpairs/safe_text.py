"""Texts of the web, made safe to show on a page, in a report and on a terminal.

Markup is harmless once it is escaped, which templates do for every text. Escaping does not touch
controls, which steer a terminal, and marks that turn the direction of all that follows. They are
shown by their number, `[U+202E]`. Pages also isolate each text (`<bdi>`). The server's page has the
same rules in JavaScript (`serve/page/show.js`); a test compares the two.
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
    """A text of the web that is already safe to show."""

    text: str


def inline(text: str) -> str:
    """Return a text of the web for the middle of a sentence of ours, whose direction it keeps."""
    return f"\u2068{web(text).text}\u2069"


def web(text: str, max_chars: int = 300) -> Web:
    """Return a text of the web as it is shown; what is longer than `max_chars` is cut."""
    return Web(visible(text, max_chars))


def visible(text: str, max_chars: int | None = None) -> str:
    """Return a text without characters that steer, hide or turn what is around it.

    The joiners U+200C and U+200D stay. A text longer than `max_chars` is cut there, and ends in an
    ellipsis. Escaping is left to the caller.
    """
    cut = text if max_chars is None or len(text) <= max_chars else text[:max_chars] + "…"
    if cut.isascii() and cut.isprintable():
        return cut
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
    return "".join(shown)
