"""The size and the depth of an expression's text, checked before DuckDB reads it.

DuckDB's parser takes time and memory that grow steeply with the depth: 5,000 open brackets, 10 KB,
took 26 s and 4.2 GB. So the depth is bounded from the tokens alone, in one pass:

    abs(width + 1) > 3 and case when nsfw = 'NSFW' then 1 else not not true end
    operators between two separators, plus those of the deepest bracket or CASE within

Separators are commas, AND, OR, WHEN, THEN and ELSE: what stands between them lies side by side in
the tree, however many there are. The bound may be higher than the depth of the tree, never lower.
"""

from __future__ import annotations

import re
from typing import Final

from webpairs.errors import ConfigError
from webpairs.quantities import counted

MAX_CHARS: Final = 100_000
"""Some thousand keys in a list."""
MAX_DEPTH: Final = 64
"""Written by hand, expressions stay below 20; orjson writes trees of 254 levels, 3 of ours each."""
_SHOWN: Final = 200
_TOKEN: Final = re.compile(
    r"""
    (?P<escaped>[eE]'(?:[^'\\]|\\.|'')*')
    |(?P<text>'(?:[^']|'')*')
    |(?P<name>"(?:[^"]|"")*")
    |(?P<comment>--[^\n]*)
    |(?P<refused>/\*|\$)
    |(?P<number>[0-9][\w.]*)
    |(?P<word>\w+)
    |(?P<open>[(\[{])
    |(?P<close>[)\]}])
    |(?P<dot>\.)
    |(?P<comma>,)
    |(?P<operator>[^\s\w'"()\[\]{},.$])
    |(?P<open_text>['"])
    """,
    re.VERBOSE | re.DOTALL,
)
_SEPARATORS: Final = frozenset(("AND", "OR", "WHEN", "THEN", "ELSE"))
_JOINING: Final = frozenset(("AND", "OR"))
"""Separators that make a node of what stands on both sides: one of ORs over one of ANDs."""
_NESTING: Final = frozenset(
    (
        *("NOT", "IS", "ISNULL", "NOTNULL", "IN", "BETWEEN", "LIKE", "ILIKE", "GLOB", "SIMILAR"),
        *("COLLATE", "AT", "ESCAPE", "LAMBDA", "INTERVAL", "DATE", "TIME", "TIMESTAMP"),
    )
)
"""Words that make a node of the tree with what stands beside them."""


def shown(text: str) -> str:
    """Return an expression as messages show it: quoted, a long one cut."""
    if len(text) <= _SHOWN:
        return repr(text)
    return f"{text[:_SHOWN]!r}... ({counted(len(text), 'character')})"


def check_size(text: str) -> None:
    """Raise ConfigError for an expression that is too long or too deep to be parsed."""
    if len(text) > MAX_CHARS:
        raise ConfigError(
            f"where {shown(text)} is too long: use at most {MAX_CHARS:,} characters, or a column "
            "file to join by"
        )
    if _depth(text) > MAX_DEPTH:
        raise ConfigError(
            f"where {shown(text)} is nested too deeply: use at most {MAX_DEPTH} brackets and "
            "operators within each other"
        )


def _depth(text: str) -> int:
    """Return a bound of the depth of an expression's tree."""
    levels = [_Level("")]
    deepest, after_dot = 0, False
    for token in _TOKEN.finditer(text):
        kind, value = token.lastgroup, token[0]
        if kind in ("refused", "open_text"):
            raise ConfigError(_NOT_READ[value].format(shown(text)))
        if kind == "comment" and "\r" in value:
            raise ConfigError(f"where {shown(text)}: a comment holds a carriage return")
        # A column or a field may be called like a keyword behind a dot.
        word = value.upper() if kind == "word" and not after_dot else ""
        after_dot = kind == "dot"
        if kind == "open" or word == "CASE":
            levels[-1].operators += 1
            levels.append(_Level(value.upper()))
        elif (kind == "close" or word == "END") and len(levels) > 1:
            if levels[-1].closed_by(value.upper()):
                inner = levels.pop()
                levels[-1].inner = max(levels[-1].inner, inner.depth)
        elif kind == "comma" or word in _SEPARATORS:
            levels[-1].separate(word)
        elif kind in ("operator", "dot") or word in _NESTING:
            levels[-1].operators += 1
        if len(levels) > MAX_DEPTH:
            return len(levels)
        deepest = max(deepest, levels[-1].depth)
    # What was not closed lies within each other, too.
    below = 0
    for level in reversed(levels):
        level.inner = max(level.inner, below)
        below = level.depth
    return max(deepest, below)


class _Level:
    """What was counted since a bracket or a CASE was opened."""

    def __init__(self, opened_by: str) -> None:
        self._opened_by = opened_by
        self._before = 0
        self._joined_by: set[str] = set()
        self.operators = 0
        """Operators since the last separator."""
        self.inner = 0
        """Depth of the deepest bracket since then."""

    @property
    def depth(self) -> int:
        """Return the depth of the deepest part so far, and of what joins the parts."""
        return self._deepest + len(self._joined_by)

    @property
    def _deepest(self) -> int:
        return max(self._before, self.operators + self.inner)

    def separate(self, word: str) -> None:
        """Begin another part."""
        self._before = self._deepest
        self.operators = self.inner = 0
        if word in _JOINING:
            self._joined_by.add(word)

    def closed_by(self, value: str) -> bool:
        """Tell whether a bracket or END closes the level."""
        return (self._opened_by == "CASE") == (value == "END")


_NOT_READ: Final = {
    "/*": "where {}: comments in /* */ are not possible here: write -- at the end of a line",
    "$": "where {}: $ is not possible here: write one expression, with values in '...'",
    "'": "where {}: a ' has no end; within a text it is written twice",
    '"': 'where {}: a " has no end; within a name it is written twice',
}
