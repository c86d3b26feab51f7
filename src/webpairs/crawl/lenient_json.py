"""Reading JSON in spite of values that strict parsers refuse: one odd value costs itself alone.

Writers cut texts inside a surrogate pair, and write numbers that JSON does not have (NaN) or that
no double holds (1e999). RFC 8259 leaves such numbers and texts to the reader (6 and 8.2).
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final

import orjson

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_INT64: Final = range(-(1 << 63), 1 << 64)
_MAX_DIGITS: Final = 20
_BEYOND: Final = float(1 << 63)
_MANY_DIGITS: Final = re.compile(rb"[0-9]{19}")


def read_json_value(data: bytes) -> Any:
    """Return what JSON holds; raise ValueError for what is not JSON.

    Lone surrogates are removed; NaN, Infinity and numbers beyond a double are null; integers beyond
    64 bits are texts of their digits.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        return _slowly(data)
    if isinstance(value, dict) and any(
        type(member) is float and abs(member) >= _BEYOND
        for member in value.values()  # pyright: ignore[reportUnknownVariableType]
    ):
        # orjson rounds integers beyond 64 bits.
        return _slowly(data) if _MANY_DIGITS.search(data) else value
    return value  # pyright: ignore[reportUnknownVariableType]


def _slowly(data: bytes) -> Any:
    try:
        return _without_surrogates(
            json.loads(
                data, parse_constant=_null, parse_float=_float, parse_int=_integer, strict=False
            )
        )
    except RecursionError as error:
        raise ValueError("is nested too deep") from error


def _without_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATE.sub("", value)
    if isinstance(value, list):
        items: list[Any] = value
        return [_without_surrogates(item) for item in items]
    if isinstance(value, dict):
        members: dict[str, Any] = value
        return {
            _without_surrogates(name): _without_surrogates(one) for name, one in members.items()
        }
    return value


def _null(name: str) -> None:
    """Return null for NaN and infinities."""


def _float(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _integer(digits: str) -> int | str:
    if len(digits) > _MAX_DIGITS:
        return digits
    number = int(digits)
    return number if number in _INT64 else digits
