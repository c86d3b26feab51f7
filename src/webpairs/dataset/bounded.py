"""Making rows fit to be looked at: as Python values, of bounded size, without passwords in URLs.

A foreign folder's text may have 80 MB, and forty of them are a page. So the size is bounded in
Arrow, before any text becomes a Python value:

    each text     at most `Bounds.text_chars` characters, and a mark that says how large it is
    all texts     at most `Bounds.all_chars` together; the longest are cut first, so that
                  ordinary ones are whole however many rows there are
    bytes         at most `MAX_BINARY_BYTES` a value
    lists, structs, maps: at most `MAX_NESTED_BYTES` a value, else a text that says how large it is

Users and passwords of URLs are left out of every text (url_user.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from webpairs.quantities import size_of
from webpairs.url_user import without_user

pc: Any = pyarrow.compute  # its functions are made at run time

MAX_BINARY_BYTES: Final = 4_096
"""A hash has 64."""
MAX_NESTED_BYTES: Final = 20_000
"""An embedding of 4,096 numbers has 16,384."""
_SMALL_BYTES: Final = 1_000_000
"""Of a table whose rows may become Python values before they are looked at: about 4 MB of them."""
_UNFINISHED: Final = re.compile(r"(:[/\\]{2,})[^/\\?#\s\"<>]*\Z")
"""The begin of a URL that was cut before the @ that may follow a password."""

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much text rows may have, in characters: up to 4 bytes each."""

    text_chars: int = 10_000
    """Five times what a browser takes as an address, 100 times a usual caption."""
    all_chars: int = 4_000_000
    """10,000 results (MAX_K of search/options.py) with 400 characters each."""

    def share(self, num: int, num_all: int) -> Bounds:
        """Return the bounds of some rows that are read before or after the others."""
        return Bounds(self.text_chars, self.all_chars * num // max(num, num_all))


LIST: Final = Bounds()
"""Of results and of the facts of rows."""
PAGE: Final = Bounds(1_000, 400_000)
"""Of the results of a page, which holds each caption up to five times, some characters as eight."""
FILE: Final = Bounds(1_000_000, 16_000_000)
"""Of a file of picked samples, and of one row that is shown alone."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row's values, and which of them are not whole."""

    values: dict[str, Any]
    cut: tuple[str, ...] = ()


def bounded_rows(table: pa.Table, bounds: Bounds = LIST) -> list[Row]:
    """Return the rows of a table, none of them larger than it may be."""
    if (rows := _small_rows(table, bounds)) is not None:
        return rows
    names: list[str] = table.column_names
    sizes: dict[int, Counts] = {}
    lengths: dict[int, Counts] = {}
    arrays: list[Any] = []
    for place in range(len(names)):
        column = table.column(place)
        if _is_text(column.type):
            sizes[place] = _counts(pc.binary_length(column))
            if sizes[place].max(initial=0) > bounds.text_chars:
                # Before anything is copied: what is over is not even looked at.
                column = pc.utf8_slice_codeunits(column, 0, bounds.text_chars + 1)
            lengths[place] = _counts(pc.utf8_length(column))
        arrays.append(_one(column))
    most = _most(lengths.values(), bounds)
    columns: list[list[Any]] = []
    cut: dict[int, list[str]] = {}
    for place, (name, array) in enumerate(zip(names, arrays, strict=True)):
        if place in lengths:
            values, rows = _texts(array, lengths[place], sizes[place], most)
        elif pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):
            values, rows = _bytes(array)
        elif _is_small(array.type):
            values, rows = array.to_pylist(), ()
        else:
            values, rows = _others(array)
        columns.append(values)
        for row in rows:
            cut.setdefault(row, []).append(name)
    return [
        Row(dict(zip(names, values, strict=True)), tuple(cut.get(row, ())))
        for row, values in enumerate(zip(*columns, strict=True))
    ]


def _small_rows(table: pa.Table, bounds: Bounds) -> list[Row] | None:
    """Return the rows of a table that is small as a whole, as most are: a tenth of the time.

    None where it is not, or where something in it is to be cut.
    """
    if table.nbytes > _SMALL_BYTES or any(pa.types.is_nested(one) for one in table.schema.types):
        return None
    rows: list[dict[str, Any]] = table.to_pylist()
    num_chars = 0
    for row in rows:
        for name, value in row.items():
            if type(value) is str:
                if len(value) > bounds.text_chars:
                    return None
                num_chars += len(value)
                row[name] = without_user(value)
            elif type(value) is bytes and len(value) > MAX_BINARY_BYTES:
                return None
    return [Row(row) for row in rows] if num_chars <= bounds.all_chars else None


def _one(column: pa.ChunkedArray) -> Any:
    """Return a column in one piece; rows that were picked one by one are a chunk each."""
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_string(column.type):
        # 2 GB of text do not fit into one array of 32-bit offsets.
        column = column.cast(pa.large_string())
    elif pa.types.is_binary(column.type):
        column = column.cast(pa.large_binary())
    return column.combine_chunks()


def _counts(lengths: Any) -> Counts:
    return pc.fill_null(lengths, 0).to_numpy().astype(np.int64)


def _is_text(type: pa.DataType) -> bool:
    return pa.types.is_string(type) or pa.types.is_large_string(type)


def _is_small(type: pa.DataType) -> bool:
    """Tell whether a value of a type has a few bytes, whatever it is."""
    if pa.types.is_fixed_size_binary(type):
        return type.byte_width <= MAX_BINARY_BYTES
    return pa.types.is_primitive(type) or pa.types.is_null(type) or pa.types.is_decimal(type)


def _most(lengths: Iterable[Counts], bounds: Bounds) -> int:
    """Return the most characters that a text may have so that all have `bounds` together."""
    clipped = [np.minimum(one, bounds.text_chars) for one in lengths]
    if sum(int(one.sum()) for one in clipped) <= bounds.all_chars:
        return bounds.text_chars
    rising = np.sort(np.concatenate(clipped))
    # With the i shortest whole and all others cut to the i-th length, so much is shown:
    others = np.arange(len(rising) - 1, -1, -1)
    shown = np.cumsum(rising) + rising * others
    first_over = int(np.searchsorted(shown, bounds.all_chars, "right"))
    whole = int(rising[:first_over].sum())
    return (bounds.all_chars - whole) // (len(rising) - first_over)


def _texts(
    array: Any, lengths: Counts, sizes: Counts, most: int
) -> tuple[list[Any], Iterable[int]]:
    over = np.flatnonzero(lengths > most).tolist()
    if over:
        array = pc.utf8_slice_codeunits(array, 0, most)
    values: list[Any] = [text and without_user(text) for text in array.to_pylist()]
    for row in over:
        kept = _UNFINISHED.sub(r"\1", values[row])
        values[row] = f"{kept}… [cut: {size_of(int(sizes[row]))}]"
    return values, over


def _bytes(array: Any) -> tuple[list[Any], Iterable[int]]:
    lengths = pc.fill_null(pc.binary_length(array), 0).to_numpy()
    over = np.flatnonzero(lengths > MAX_BINARY_BYTES).tolist()
    if over:
        array = pc.binary_slice(array, 0, MAX_BINARY_BYTES)
    return array.to_pylist(), over


def _others(array: Any) -> tuple[list[Any], Iterable[int]]:
    values: list[Any] = []
    over: list[int] = []
    for row in range(len(array)):
        one = array.slice(row, 1)
        if pa.types.is_dictionary(one.type):
            one = one.dictionary_decode()
        if one.nbytes > MAX_NESTED_BYTES:
            over.append(row)
            values.append(f"[{size_of(one.nbytes)}, not shown]")
        else:
            values.append(_without_users(one.to_pylist()[0]))
    return values, over


def _without_users(value: Any) -> Any:
    if isinstance(value, str):
        return without_user(value)
    if isinstance(value, list):
        return [_without_users(one) for one in value]
    if isinstance(value, dict):
        return {name: _without_users(one) for name, one in value.items()}
    return value
