"""Reading columns of a parquet file, or of one of its row groups, without keeping it open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.files import require_regular
from webpairs.parquet.file import open_parquet, reading, require_bounded


class ParquetRows:
    """The rows of a parquet file, or those of its row group `group`.

    Raises DamagedFile, also later, when the file cannot be read.
    """

    def __init__(self, path: Path, group: int | None = None) -> None:
        self.path = path
        self.group = group
        self._bounded: set[str] = set()
        """Columns that are known to be no larger than they may be."""
        with reading(path), open_parquet(path) as file:
            self.footer = file.metadata
            self.schema = file.schema_arrow
        self.num_rows: int = (
            self.footer.num_rows if group is None else self.footer.row_group(group).num_rows
        )

    def read(self, names: Sequence[str]) -> pa.Table:
        """Return columns, in this order."""
        with reading(self.path), self._open(names) as file:
            if self.group is None:
                table = file.read(list(names), use_threads=False)
            else:
                table = file.read_row_group(self.group, list(names), use_threads=False)
        return table.select(list(names))

    def batches(self, names: Sequence[str], num_rows: int) -> Iterator[pa.Table]:
        """Yield columns of at most `num_rows` rows at a time, the file's pages as they come."""
        groups = None if self.group is None else [self.group]
        with reading(self.path), self._open(names) as file:
            for batch in file.iter_batches(
                num_rows, row_groups=groups, columns=list(names), use_threads=False
            ):
                yield pa.Table.from_batches([batch]).select(list(names))

    def group_starts(self) -> npt.NDArray[np.int64]:
        """Return the row at which each row group starts, and the number of rows."""
        sizes = [self.footer.row_group(n).num_rows for n in range(self.footer.num_row_groups)]
        return np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))

    def read_groups(self, groups: Sequence[int], names: Sequence[str]) -> pa.Table:
        """Return columns of some row groups."""
        with reading(self.path), self._open(names) as file:
            return file.read_row_groups(list(groups), list(names), use_threads=False)

    def _open(self, names: Sequence[str]) -> pq.ParquetFile:
        new = set(names) - self._bounded
        if new:
            require_regular(self.path)
            require_bounded(self.path, self.footer, sorted(new), self.group)
            self._bounded |= new
        return open_parquet(self.path, metadata=self.footer, memory_map=True, pre_buffer=False)
