"""Mend JSON that strict parsers refuse for one odd value, so that the rest can be read.

Writers in Java and JavaScript cut texts inside a surrogate pair, and numbers know no bounds in JSON
(RFC 8259, 6 and 8.2). What is taken out belongs to one value; every other byte stays.
"""

from __future__ import annotations

import math
import re
from typing import Final

_STRING_OR_NUMBER: Final = re.compile(
    rb'"(?:[^"\\]++|\\.)*+"|-?+[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?+[0-9]++)?+', re.DOTALL
)
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\."
    rb"|(?P<control>[\x00-\x1f])",
    re.DOTALL,
)
_INTEGERS: Final = range(-(1 << 63), 1 << 64)
_MAX_DIGITS: Final = 20


def mended_json(data: bytes) -> bytes:
    """Return JSON without lone surrogates, bytes that are not UTF-8, and numbers beyond all bounds.

    Surrogates are removed, bare control characters in strings become spaces, other bytes U+FFFD,
    numbers null. What is not JSON for another reason is not JSON afterwards either. Never raises.
    """
    try:
        data.decode()
    except UnicodeDecodeError:
        data = data.decode("utf-8", "replace").encode()
    return _STRING_OR_NUMBER.sub(_mended, data)


def _mended(found: re.Match[bytes]) -> bytes:
    value = found[0]
    if value.startswith(b'"'):
        return _ESCAPE.sub(_mended_escape, value)
    if value.strip(b"-").isdigit():
        return value if len(value) <= _MAX_DIGITS and int(value) in _INTEGERS else b"null"
    return value if math.isfinite(float(value)) else b"null"


def _mended_escape(found: re.Match[bytes]) -> bytes:
    if found["lone"] is not None:
        return b""
    return b" " if found["control"] is not None else found[0]
