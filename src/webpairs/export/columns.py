"""Turning columns of a source into those that other tools read, and batches into row groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute

from webpairs.dataset.features import LABELS, one_array
from webpairs.export.exporter import Batch
from webpairs.export.reorder import join_batches

pc: Any = pyarrow.compute  # its functions are made at run time

ROW_GROUP_BYTES: Final = 32_000_000
"""Before compression. The Hub's viewer takes up to 300 MB and `datasets` aims at 100 (its
MAX_ROW_GROUP_SIZE), but reads a group as a whole, also for the first sample of a stream."""
_NUMBER_BYTES: Final = 8


def set_column(table: pa.Table, name: str, array: pa.Array) -> pa.Table:
    """Replace a column that is there."""
    return table.set_column(table.schema.get_field_index(name), name, array)


def with_label_names(table: pa.Table) -> pa.Table:
    """Replace the labels in the column nsfw, if it is there, by their names."""
    if "nsfw" not in table.column_names or is_text(table.schema.field("nsfw").type):
        return table
    return set_column(table, "nsfw", pa.array(LABELS).take(one_array(table.column("nsfw"))))


def is_bytes(type: pa.DataType) -> bool:
    """Say whether a column holds bytes: in a source's table these are ids and digests."""
    return (
        pa.types.is_binary(type)
        or pa.types.is_large_binary(type)
        or pa.types.is_fixed_size_binary(type)
    )


def is_text(type: pa.DataType) -> bool:
    """Say whether a column holds text."""
    return pa.types.is_string(type) or pa.types.is_large_string(type)


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


def row_groups(batches: Iterable[Batch]) -> Iterator[tuple[Batch, int]]:
    """Put samples together to `ROW_GROUP_BYTES`, the last time fewer; yield how many bytes, too.

    A group ends with the sample that makes it full, however the samples come in batches.
    """
    waiting: list[Batch] = []
    num_waiting = 0
    for batch in batches:
        ends = np.concatenate(([0], np.cumsum(_bytes_of_rows(batch))))
        start = 0
        while start < batch.num_rows:
            full = ends[start] + ROW_GROUP_BYTES - num_waiting
            end = min(int(np.searchsorted(ends, full)), batch.num_rows)
            waiting.append(_rows(batch, start, end))
            num_waiting += int(ends[end] - ends[start])
            start = end
            if num_waiting >= ROW_GROUP_BYTES:
                yield join_batches(waiting), num_waiting
                waiting, num_waiting = [], 0
    if waiting:
        yield join_batches(waiting), num_waiting


def _rows(batch: Batch, start: int, end: int) -> Batch:
    image, text = batch.image_embeddings, batch.text_embeddings
    return Batch(
        batch.table.slice(start, end - start),
        None if batch.images is None else batch.images[start:end],
        None if image is None else image[start:end],
        None if text is None else text[start:end],
    )


def _bytes_of_rows(batch: Batch) -> npt.NDArray[np.int64]:
    """Return how many bytes each sample has; lists in the metadata count as one number."""
    sizes = np.zeros(batch.num_rows, np.int64)
    if batch.images is not None:
        sizes += [len(image) for image in batch.images]
    for rows in (batch.image_embeddings, batch.text_embeddings):
        if rows is not None:
            sizes += rows.shape[1] * rows.itemsize
    for column in batch.table.columns:
        if is_text(column.type) or is_bytes(column.type):
            sizes += pc.binary_length(one_array(column)).fill_null(0).to_numpy()
        else:
            sizes += _NUMBER_BYTES
    return sizes


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return orjson.dumps(value, default=json_default).decode()
