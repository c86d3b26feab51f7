"""Carrying a table's other columns: as JSON from extract on, as columns of their own at the end.

A type is a string: int64, uint64, double, bool, string, or list<...> of these. Dates and decimals
are strings as ISO 8601 and in full precision, bytes are hex, structs and mixtures are JSON text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from typing import Any, Final

import orjson
import pyarrow as pa

_MAX_DEPTH: Final = 4
"""Lists nested deeper than this are JSON text."""
_INT64: Final = range(-(2**63), 2**63)
_UINT64: Final = range(2**64)
_NOTHING: Final = ""
"""Type of what was null all along, until another is seen."""

_SIMPLE: Final = {
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "string": pa.string(),
}


def given_json(row: dict[str, Any]) -> str | None:
    """Return a row's other columns as a JSON object, None when there are none.

    Raises TypeError for what JSON cannot hold (an integer beyond 64 bits, nesting beyond 254).
    """
    return orjson.dumps(row, default=_json_value).decode() if row else None


def given_arrays(given: Sequence[str | None], columns: Sequence[tuple[str, str]]) -> list[pa.Array]:
    """Return the columns (name, type) out of JSON objects, one array each, a value a row.

    What does not fit is null, in a column of strings its JSON text.
    """
    rows: list[dict[str, Any]] = [{} if text is None else orjson.loads(text) for text in given]
    arrays: list[pa.Array] = []
    for name, kind in columns:
        fit = _fitter(kind)
        arrays.append(pa.array([fit(row.get(name)) for row in rows], arrow_type(kind)))
    return arrays


def arrow_type(kind: str) -> pa.DataType:
    """Return the arrow type that a type's name means."""
    if kind.startswith("list<"):
        return pa.list_(arrow_type(kind[5:-1]))
    return _SIMPLE[kind]


def type_of_arrow(kind: pa.DataType, depth: int = 0) -> str:
    """Name the type that a parquet column is carried as."""
    types = pa.types
    if types.is_dictionary(kind):
        return type_of_arrow(kind.value_type, depth)
    if types.is_boolean(kind):
        return "bool"
    if types.is_uint64(kind):
        return "uint64"
    if types.is_integer(kind):
        return "int64"
    if types.is_floating(kind):
        return "double"
    is_list = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if is_list and depth < _MAX_DEPTH:
        return f"list<{type_of_arrow(kind.value_type, depth + 1)}>"
    return "string"


def type_of_value(value: object, depth: int = 0) -> str:
    """Name the type that a JSON value is carried as; empty for null."""
    if value is None:
        return _NOTHING
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if value in _INT64 else "string"
    if isinstance(value, float):
        return "double"
    if isinstance(value, list) and depth < _MAX_DEPTH:
        items: list[Any] = value
        inner = reduce(_merge, (type_of_value(item, depth + 1) for item in items), _NOTHING)
        return f"list<{inner}>"
    return "string"


def merge_types(kinds: Iterable[str]) -> str:
    """Return the type that values of all these types are carried as; string when there is none."""
    return _settled(reduce(_merge, kinds, _NOTHING))


def _merge(one: str, other: str) -> str:
    if one == other or not other:
        return one
    if not one:
        return other
    if {one, other} in ({"int64", "double"}, {"uint64", "double"}):
        return "double"
    if one.startswith("list<") and other.startswith("list<"):
        return f"list<{_merge(one[5:-1], other[5:-1])}>"
    return "string"


def _settled(kind: str) -> str:
    if kind.startswith("list<"):
        return f"list<{_settled(kind[5:-1])}>"
    return kind or "string"


def _fitter(kind: str) -> Callable[[Any], Any]:
    """Return what turns a JSON value into one of the type, or None."""
    if kind.startswith("list<"):
        fit = _fitter(kind[5:-1])
        return lambda value: [fit(item) for item in value] if isinstance(value, list) else None
    return _FITTERS[kind]


def _fit_bool(value: Any) -> bool | None:
    return value if isinstance(value, bool) else None


def _fit_int64(value: Any) -> int | None:
    # Not isinstance: a bool is an int to it.
    return value if type(value) is int and value in _INT64 else None


def _fit_uint64(value: Any) -> int | None:
    return value if type(value) is int and value in _UINT64 else None


def _fit_double(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) else None


def _fit_string(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


_FITTERS: Final[dict[str, Callable[[Any], Any]]] = {
    "int64": _fit_int64,
    "uint64": _fit_uint64,
    "double": _fit_double,
    "bool": _fit_bool,
    "string": _fit_string,
}


def _json_value(value: Any) -> str:
    """Write what orjson does not know: bytes as hex, decimals and durations as text."""
    return value.hex() if isinstance(value, bytes) else str(value)
