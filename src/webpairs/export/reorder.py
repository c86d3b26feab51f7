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
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from webpairs.dataset.sources.source import Embeddings, Rows
from webpairs.export.exporter import Batch

BUFFER_BYTES: Final = 24_000_000
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
    """Samples until they are asked for in their order."""

    def __init__(self, file: IO[bytes], num_positions: int, bucket_rows: int) -> None:
        self._file = file
        self._bucket_rows = bucket_rows
        self._num_buckets = -(-num_positions // bucket_rows)
        self._schema: pa.Schema | None = None
        self._waiting: list[tuple[Batch, Rows]] = []
        self._num_waiting = 0
        self._runs: list[npt.NDArray[np.int64]] = []
        """Of each run, where its part of each bucket begins: (buckets + 1,)."""

    def add(self, batch: Batch, positions: Rows) -> None:
        """Take samples that belong at `positions`."""
        # What is mapped is let go of when the next piece is read: a copy stays.
        image, text = batch.image_embeddings, batch.text_embeddings
        if image is not None and text is not None:
            batch = replace(batch, image_embeddings=image.copy(), text_embeddings=text.copy())
        self._waiting.append((batch, positions))
        self._num_waiting += _num_bytes(batch)
        if self._num_waiting >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits; to be called before anything is read."""
        if not self._waiting:
            return
        waiting = join_batches([batch for batch, _ in self._waiting])
        positions = np.concatenate([part for _, part in self._waiting])
        self._waiting, self._num_waiting = [], 0
        buckets = positions // self._bucket_rows
        order = np.argsort(buckets, kind="stable")
        bounds = np.searchsorted(buckets[order], np.arange(self._num_buckets + 1))
        starts = np.empty(self._num_buckets + 1, np.int64)
        end = self._file.seek(0, 2)
        for bucket, (first, last) in enumerate(pairwise(bounds)):
            starts[bucket] = end
            if first < last:
                part = order[first:last]
                table = _one_table(_taken(waiting, part))
                table = table.append_column(_POSITION, pa.array(positions[part]))
                (record,) = table.to_batches()
                self._schema = table.schema
                end += self._file.write(record.serialize())
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


def _num_bytes(batch: Batch) -> int:
    size = batch.table.nbytes + sum(map(len, batch.images or ()))
    for rows in (batch.image_embeddings, batch.text_embeddings):
        size += 0 if rows is None else rows.nbytes
    return size


def join_batches(batches: Sequence[Batch]) -> Batch:
    """Return several batches, one at least, as one."""
    image = [one.image_embeddings for one in batches if one.image_embeddings is not None]
    text = [one.text_embeddings for one in batches if one.text_embeddings is not None]
    no_images = batches[0].images is None
    return Batch(
        pa.concat_tables([one.table for one in batches]).combine_chunks(),
        None if no_images else [image for one in batches for image in one.images or ()],
        np.concatenate(image) if image else None,
        np.concatenate(text) if text else None,
    )


def _taken(batch: Batch, rows: Rows) -> Batch:
    images, image, text = batch.images, batch.image_embeddings, batch.text_embeddings
    return Batch(
        batch.table.take(pa.array(rows)),
        None if images is None else [images[row] for row in rows.tolist()],
        None if image is None else image[rows],
        None if text is None else text[rows],
    )


def _one_table(batch: Batch) -> pa.Table:
    """Return a batch with its images and embeddings as columns."""
    table = batch.table.combine_chunks()
    if batch.images is not None:
        table = table.append_column(_IMAGE, pa.array(batch.images, pa.binary()))
    for name, rows in zip(_PAIR, (batch.image_embeddings, batch.text_embeddings), strict=True):
        if rows is not None:
            kind = pa.binary(rows.shape[1] * rows.itemsize)
            buffers = [None, pa.py_buffer(rows)]
            column = pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), buffers)
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
