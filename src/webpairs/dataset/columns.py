"""Samples by column: numbers and embeddings as arrays (n,) and (n, d), all else as lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from webpairs.dataset.sources.source import Embeddings, Rows

Columns = dict[str, Any]


def of_piece(piece: Piece, names: Sequence[str]) -> Columns:
    """Return columns of a piece, images encoded."""
    columns: Columns = {}
    for name in names:
        if name == "image":
            columns[name] = piece.images
        elif name == "image_embedding":
            columns[name] = piece.image_embeddings
        elif name == "text_embedding":
            columns[name] = piece.text_embeddings
        else:
            columns[name] = _values(piece.table.column(name))
    return columns


def span(columns: Columns, start: int, end: int) -> Columns:
    """Return the samples from `start` to `end`: arrays as views."""
    return {name: column[start:end] for name, column in columns.items()}


def pick(columns: Columns, places: Sequence[int] | npt.NDArray[np.int64]) -> Columns:
    """Return the samples at `places`, in that order."""
    return {
        name: column[places] if isinstance(column, np.ndarray) else [column[p] for p in places]
        for name, column in columns.items()
    }


def join(parts: Sequence[Columns]) -> Columns:
    """Put the samples of several parts, one at least, one after the other."""
    if len(parts) == 1:
        return parts[0]
    joined: Columns = {}
    for name in parts[0]:
        columns = [part[name] for part in parts]
        if all(isinstance(column, np.ndarray) for column in columns):
            joined[name] = np.concatenate(columns)
        else:
            joined[name] = [one for column in columns for one in column]
    return joined


def merge(parts: Sequence[Columns], order: npt.NDArray[np.int64]) -> Columns:
    """Return `pick(join(parts), order)`, where `order` has each sample once, with a copy less."""
    if len(parts) == 1:
        return pick(parts[0], order)
    to = np.empty_like(order)
    to[order] = np.arange(len(order))
    merged: Columns = {}
    for name in parts[0]:
        columns = [part[name] for part in parts]
        if all(isinstance(column, np.ndarray) for column in columns):
            shape = (len(order), *columns[0].shape[1:])
            merged[name] = np.empty(shape, np.result_type(*columns))
            start = 0
            for column in columns:
                merged[name][to[start : start + len(column)]] = column
                start += len(column)
        else:
            flat = [one for column in columns for one in column]
            merged[name] = [flat[place] for place in order.tolist()]
    return merged


def _values(column: pa.ChunkedArray) -> Any:
    plain = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
    return column.to_numpy() if plain and not column.null_count else column.to_pylist()


@dataclass(frozen=True, slots=True)
class Piece:
    """The samples: row i of each part is the same one."""

    place: int
    """Number of the shard in the source."""
    rows: Rows
    """Their rows in the shard, rising."""
    table: pa.Table
    """The columns that were asked for."""
    images: list[bytes] | None = None
    """Encoded, none missing."""
    image_embeddings: Embeddings | None = None
    text_embeddings: Embeddings | None = None
    """Both (n, d) float16."""
