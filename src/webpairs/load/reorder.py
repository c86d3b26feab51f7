"""Put samples into another order in little memory: into buckets on disk, then each bucket alone.

    with reordering(folder, num_positions, bucket_rows) as reorder:
        reorder.add(batch, positions)        in any order, in batches of any size
        reorder.flush()
        reorder.between(start, end)          yields the samples at these positions, in order

What is added waits until `BUFFER_BYTES` of it are there, and goes to one file as a run, the samples
of each bucket together; to read a bucket is to read its part of each run. The file has no name: it
goes when the process does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from webpairs.load.exporter import Batch
from webpairs.load.source import Embeddings, Rows

BUFFER_BYTES: Final = 48_000_000
_IMAGE: Final = "\0image"
_PAIR: Final = ("\0image_embedding", "\0text_embedding")
_POSITION: Final = "\0position"
"""Names that no column of a source has."""


@contextmanager
def reordering(folder: Path, num_positions: int, bucket_rows: int) -> Generator[Reorder]:
    """Open a file in `folder` that grows as large as what is added."""
    with tempfile.TemporaryFile(dir=folder) as file:
        yield Reorder(file, num_positions, bucket_rows)


class Reorder:
    """Hold samples until they are asked for in their order."""

    def __init__(self, file: IO[bytes], num_positions: int, bucket_rows: int) -> None:
        self._file = file
        self._bucket_rows = bucket_rows
        self._num_buckets = -(-num_positions // bucket_rows)
        self._schema: pa.Schema | None = None
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0
        self._runs: list[npt.NDArray[np.int64]] = []
        """Of each run, where its part of each bucket begins: (buckets + 1,)."""

    def add(self, batch: Batch, positions: Rows) -> None:
        """Take samples that belong at `positions`."""
        table = _one_table(batch).append_column(_POSITION, pa.array(positions))
        self._waiting.append(table)
        self._num_waiting += table.nbytes
        if self._num_waiting >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits; to be called before anything is read."""
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting)
        self._waiting, self._num_waiting = [], 0
        self._schema = table.schema
        buckets = table.column(_POSITION).to_numpy() // self._bucket_rows
        order = np.argsort(buckets, kind="stable")
        bounds = np.searchsorted(buckets[order], np.arange(self._num_buckets + 1))
        starts = np.empty(self._num_buckets + 1, np.int64)
        end = self._file.seek(0, 2)
        for bucket, (first, last) in enumerate(pairwise(bounds)):
            starts[bucket] = end
            if first < last:
                part = table.take(pa.array(order[first:last]))
                (batch,) = part.combine_chunks().to_batches()
                end += self._file.write(batch.serialize())
        starts[-1] = end
        self._runs.append(starts)

    def between(self, start: int, end: int) -> Iterator[Batch]:
        """Yield the samples at positions from `start` to before `end`, a bucket at a time."""
        last = min(self._num_buckets, -(-end // self._bucket_rows))
        for bucket in range(start // self._bucket_rows, last):
            table = self._bucket(bucket)
            if table is None:
                continue
            positions = table.column(_POSITION).to_numpy()
            order = np.argsort(positions)
            order = order[(positions[order] >= start) & (positions[order] < end)]
            if len(order):
                yield _batch(table.take(pa.array(order)))

    def _bucket(self, bucket: int) -> pa.Table | None:
        """Return all samples of a bucket as they came."""
        batches: list[pa.RecordBatch] = []
        for starts in self._runs:
            size = int(starts[bucket + 1] - starts[bucket])
            if size:
                assert self._schema is not None
                self._file.seek(int(starts[bucket]))
                message = pa.ipc.read_message(pa.py_buffer(self._file.read(size)))
                batches.append(pa.ipc.read_record_batch(message, self._schema))
        return pa.Table.from_batches(batches) if batches else None


def _one_table(batch: Batch) -> pa.Table:
    """Return a batch with its images and embeddings as columns, nothing of it mapped."""
    table = batch.table
    if batch.images is not None:
        table = table.append_column(_IMAGE, pa.array(batch.images, pa.binary()))
    for name, rows in zip(_PAIR, (batch.image_embeddings, batch.text_embeddings), strict=True):
        if rows is not None:
            kind = pa.binary(rows.shape[1] * rows.itemsize)
            data = pa.py_buffer(rows.tobytes())
            column = pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, data])
            table = table.append_column(name, column)
    return table


def _batch(table: pa.Table) -> Batch:
    names = table.column_names
    images = table.column(_IMAGE).to_pylist() if _IMAGE in names else None
    pair = [_embeddings(table.column(name)) if name in names else None for name in _PAIR]
    extra = [name for name in (_IMAGE, *_PAIR, _POSITION) if name in names]
    return Batch(table.drop_columns(extra), images, *pair)


def _embeddings(column: pa.ChunkedArray) -> Embeddings:
    size = column.type.byte_width
    parts = [
        np.frombuffer(chunk.buffers()[1], np.uint8)[chunk.offset * size :][: len(chunk) * size]
        for chunk in column.chunks
    ]
    return np.concatenate(parts).view(np.float16).reshape(len(column), -1)
