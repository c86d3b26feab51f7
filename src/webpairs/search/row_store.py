"""Keeping what results show of every sample in one Arrow file that is mapped: no shard is opened.

    index/rows-0.arrow     key, uid and the page's tabular features, uncompressed, shard by shard

A record batch has at most 16,384 rows and never rows of two shards, so that a row's number says
where it is. Rows whose metadata cannot be read have no key. 200 to 300 bytes a sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from webpairs.dataset.bounded import LIST, Bounds, Row, bounded_rows
from webpairs.dataset.sources.source import Rows
from webpairs.dataset.where import Expression
from webpairs.files import require_regular
from webpairs.search.index.file import damaged

pc: Any = pyarrow.compute  # its functions are made at run time

BATCH_ROWS: Final = 16_384
SCHEMA: Final = pa.schema(
    [
        pa.field("key", pa.string()),
        pa.field("uid", pa.binary()),
        *(pa.field(name, pa.string()) for name in ("caption", "license", "nsfw")),
        *(pa.field(name, pa.int32()) for name in ("original_height", "original_width")),
        pa.field("similarity", pa.float64()),
        pa.field("url", pa.string()),
    ]
)
"""The tag by its name, everything else as `load` hands it out."""
COUNTED: Final = ("license_id", "language", "format", "text_source", "image_source")
"""Texts of run folders that stand in the file as well, for filters and counts."""
_KEPT_BATCHES: Final = 4_096
"""Batches that stay open: 3 kB each."""


class RowStore:
    """Read rows by their numbers in the dataset's order; takes no lock, any thread may read."""

    def __init__(self, path: Path, offsets: Rows) -> None:
        """`offsets` say where shards begin; raises OSError or ArrowException for another file."""
        require_regular(path)
        self._path = path
        self._file = pa.ipc.open_file(pa.memory_map(str(path)))
        self._starts = _batch_starts(offsets)
        self.offsets = offsets
        self._batches: dict[int, pa.RecordBatch] = {}
        self.schema: pa.Schema = self._file.schema
        num = len(SCHEMA)
        if (
            pa.schema(list(self.schema)[:num]) != SCHEMA
            or not set(self.schema.names[num:]) <= set(COUNTED)
            or self._file.num_record_batches != len(self._starts) - 1
        ):
            raise pa.ArrowInvalid(f"{path} has other rows than the dataset")
        if len(self._starts) > 1:
            self.batch(len(self._starts) - 2)  # what the reader does once it does here

    def __reduce__(self) -> tuple[type[RowStore], tuple[Path, Rows]]:
        return RowStore, (self._path, self.offsets)

    def rows(self, rows: Rows, bounds: Bounds = LIST) -> list[Row | None]:
        """Return what is known of `rows`, in this order, bounded; None: it could not be read."""
        if not len(rows):
            return []
        rows, which = np.unique(rows, return_inverse=True)
        numbers = np.searchsorted(self._starts, rows, "right") - 1
        places = (rows - self._starts[numbers]).tolist()
        picked = [
            self.batch(number).slice(place, 1)
            for number, place in zip(numbers.tolist(), places, strict=True)
        ]
        found = bounded_rows(
            pa.Table.from_batches(picked).select(SCHEMA.names), bounds.share(len(rows), len(which))
        )
        known = [None if one.values["key"] is None else one for one in found]
        return [known[place] for place in which.tolist()]

    def table(self, rows: Rows | None, names: Sequence[str], most: int) -> pa.Table:
        """Return columns of rising `rows`, None: of all, of at most `most`; those that are known.

        Rows that could not be read are left out.
        """
        parts: list[pa.RecordBatch] = []
        for number, (start, end) in enumerate(pairwise(self._starts.tolist())):
            here = None if rows is None else rows[slice(*np.searchsorted(rows, (start, end)))]
            if most <= 0:
                break
            if here is not None and not len(here):
                continue
            part = self.batch(number).select(["key", *names])
            part = part if here is None else part.take(pa.array(here - start))
            if part.column("key").null_count:
                part = part.filter(part.column("key").is_valid())
            parts.append(part.slice(0, most))
            most -= parts[-1].num_rows
        schema = pa.schema([self.schema.field(name) for name in ("key", *names)])
        return pa.Table.from_batches(parts, schema).select(list(names))

    def where(self, expression: Expression) -> Rows:
        """Return the rows for which an expression over columns of the file is true, rising."""
        found: list[Rows] = [np.zeros(0, np.int64)]
        for number, start in enumerate(self._starts[:-1].tolist()):
            batch = self.batch(number)
            rows = expression.rows_of(pa.Table.from_batches([batch]))
            if batch.column("key").null_count:
                rows = rows[batch.column("key").is_valid().to_numpy(zero_copy_only=False)[rows]]
            found.append(start + rows)
        return np.concatenate(found)

    @property
    def num_shards(self) -> int:
        """Return how many shards of the dataset the file has rows of: the first ones."""
        return len(self.offsets) - 1

    def row_of(self, key: str, place: int) -> int | None:
        """Return the number of the row of shard `place` that has this key."""
        for number in self._of_shard(place):
            row = pc.index(self.batch(number).column("key"), key).as_py()
            if row >= 0:
                return int(self._starts[number]) + row
        return None

    @property
    def num_unreadable(self) -> int:
        """Return how many rows could not be read."""
        return sum(keys.null_count for _, keys in self.column("key"))

    def column(self, name: str) -> Iterator[tuple[int, pa.Array]]:
        """Yield a column, batch after batch, with the number of the first row of each."""
        for number, start in enumerate(self._starts[:-1].tolist()):
            yield start, self.batch(number).column(name)

    def shard(self, place: int) -> list[pa.RecordBatch] | None:
        """Return the batches of a shard; None when some of its rows could not be read."""
        batches = [self.batch(number) for number in self._of_shard(place)]
        return None if any(one.column("key").null_count for one in batches) else batches

    def batch(self, number: int) -> pa.RecordBatch:
        """Return a batch by its number."""
        batch = self._batches.get(number)
        if batch is None:
            if len(self._batches) >= _KEPT_BATCHES:
                self._batches.clear()
            try:
                batch = self._file.get_batch(number)
                # Texts of a damaged file may lie outside of it, and reading them ends the process.
                batch.validate(full=True)
            except (OSError, ValueError, pa.ArrowException) as error:
                raise damaged(self._path, error) from error
            self._batches[number] = batch
        return batch

    def _of_shard(self, place: int) -> range:
        return range(*np.searchsorted(self._starts, self.offsets[place : place + 2]).tolist())


def _batch_starts(offsets: Rows) -> Rows:
    """Return the first row of every batch, and the number of rows."""
    pieces = [np.arange(start, end, BATCH_ROWS) for start, end in pairwise(offsets.tolist())]
    return np.concatenate([*pieces, offsets[-1:]])
