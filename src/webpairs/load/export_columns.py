"""Turn columns of a source into those that other tools read, and tables into row groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson
import pyarrow as pa

from webpairs.load.features import LABELS, one_array

ROW_GROUP_BYTES: Final = 32_000_000
"""Before compression. The Hub's viewer takes up to 300 MB and `datasets` aims at 100 (its
MAX_ROW_GROUP_SIZE), but reads a group as a whole, also for the first sample of a stream."""


def set_column(table: pa.Table, name: str, array: pa.Array) -> pa.Table:
    """Replace a column that is there."""
    return table.set_column(table.schema.get_field_index(name), name, array)


def with_label_names(table: pa.Table) -> pa.Table:
    """Replace the labels in the column nsfw, if it is there, by their names."""
    if "nsfw" not in table.column_names:
        return table
    return set_column(table, "nsfw", pa.array(LABELS).take(one_array(table.column("nsfw"))))


def is_bytes(type: pa.DataType) -> bool:
    """Say whether a column holds bytes: in a source's table these are ids and digests."""
    return (
        pa.types.is_binary(type)
        or pa.types.is_large_binary(type)
        or pa.types.is_fixed_size_binary(type)
    )


def as_text(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as text: bytes in hex, lists and structs as JSON; null stays null."""
    array = one_array(column)
    if is_bytes(array.type) or pa.types.is_nested(array.type):
        values = (None if value is None else _text(value) for value in array.to_pylist())
        return pa.array(values, pa.string())
    return array.cast(pa.string())


def json_default(value: Any) -> str:
    """Return as text what JSON has no word for: bytes in hex."""
    return value.hex() if isinstance(value, bytes) else str(value)


def row_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Put tables together to row groups of `ROW_GROUP_BYTES`, the last one smaller."""
    pending: list[pa.Table] = []
    num_bytes = 0
    for table in tables:
        pending.append(table)
        num_bytes += table.nbytes
        if num_bytes >= ROW_GROUP_BYTES:
            yield pa.concat_tables(pending)
            pending, num_bytes = [], 0
    if pending:
        yield pa.concat_tables(pending)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return orjson.dumps(value, default=json_default).decode()
