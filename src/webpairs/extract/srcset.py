"""Reading `srcset`: which of an image's URLs is the largest picture.

Source: HTML, "parsing a srcset attribute" (the steps are followed; `sizes` is not needed to find
the largest).
"""

from __future__ import annotations

import re
from typing import Final

_SPACE: Final = " \t\n\f\r"
_SPACES_OR_COMMAS: Final = re.compile(r"[ \t\n\f\r,]*")
_URL: Final = re.compile(r"[^ \t\n\f\r]+")
_INTEGER: Final = re.compile(r"[0-9]+\Z", re.ASCII)
_FLOAT: Final = re.compile(r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z", re.ASCII)


def parse_srcset(value: str) -> list[tuple[str, int | None, float | None]]:
    """Return (URL, width in pixels, density) of each valid candidate, in order.

    Of width and density one at most is given; neither means density 1.
    """
    candidates: list[tuple[str, int | None, float | None]] = []
    at = 0
    while True:
        spaces = _SPACES_OR_COMMAS.match(value, at)
        at = spaces.end() if spaces else at
        found = _URL.match(value, at)
        if found is None:
            return candidates
        url, at = found[0], found.end()
        descriptors: list[str] = []
        if url.endswith(","):
            url = url.rstrip(",")
        else:
            descriptors, at = _descriptors(value, at)
        parsed = _parse_descriptors(descriptors)
        if parsed is not None and url:
            candidates.append((url, *parsed))


def largest(value: str) -> str | None:
    """Return the URL with the greatest width or, when no width is given, density; None if none.

    The first of equals. Where widths and densities are mixed (no standard page does) the widths
    are believed.
    """
    return largest_of([value])


def largest_of(values: list[str]) -> str | None:
    """Return the largest URL of several `srcset` values taken together, as `largest` does."""
    candidates = [candidate for value in values for candidate in parse_srcset(value)]
    if not candidates:
        return None
    return max(candidates, key=_size)[0]


def _size(candidate: tuple[str, int | None, float | None]) -> tuple[bool, float]:
    _, width, density = candidate
    return (True, width) if width is not None else (False, 1.0 if density is None else density)


def _descriptors(value: str, at: int) -> tuple[list[str], int]:
    """Cut the descriptors behind a URL (the standard's tokenizer with its three states)."""
    descriptors: list[str] = []
    current = ""
    in_parentheses = False
    while at < len(value):
        char = value[at]
        at += 1
        if in_parentheses:
            current += char
            in_parentheses = char != ")"
        elif char in _SPACE:
            if current:
                descriptors.append(current)
                current = ""
        elif char == ",":
            break
        else:
            current += char
            in_parentheses = char == "("
    if current:
        descriptors.append(current)
    return descriptors, at


def _parse_descriptors(descriptors: list[str]) -> tuple[int | None, float | None] | None:
    """Return (width, density), or None when the standard throws the candidate away."""
    width: int | None = None
    density: float | None = None
    height: int | None = None
    for descriptor in descriptors:
        number, unit = descriptor[:-1], descriptor[-1]
        if unit == "w" and _INTEGER.match(number) and width is None and density is None:
            width = int(number[:18])
            if width == 0:
                return None
        elif unit == "x" and _FLOAT.match(number) and width is density is height is None:
            density = float(number)
            if density < 0:
                return None
        elif unit == "h" and _INTEGER.match(number) and height is None and density is None:
            height = int(number[:18])
            if height == 0:
                return None
        else:
            return None
    return None if height is not None and width is None else (width, density)
