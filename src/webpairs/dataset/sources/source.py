"""What every source of samples looks like from inside: shards whose rows are aligned.

    recognise(folder) -> Source          which kind it is, by content
    source.names                         its shards, in order; `len(source.names)` of them
    source.num_rows(place)               rows of a shard, from stats or footers
    source.open(place, problems)         -> Shard: what was found wrong goes into `problems`
    shard.table(names)                   features under the page's names, other columns under their
                                         own, all rows; `key` is unique in the dataset
    shard.stream(names, rows, num_rows)  the same in pieces: (rows, table)
    shard.images(rows)                   encoded bytes, None where there is none
    shard.embedded(rows)                 which rows have embeddings: all or none, unless joined
    shard.embeddings(rows)               ((n, d), (n, d)) float16 of image and text, memory-mapped
    shard.release(rows)                  what was read of these rows need not stay in memory

Row i of a table, of the images and of the embeddings is the same sample. A shard that cannot be
read has no rows. `Dataset` opens shards when they are needed and keeps the last ones open; its
`pieces` is the way for all that writes or trains: neighbouring rows of a shard, their columns as
an arrow table, encoded images and embeddings, after `where` and without what cannot be read.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from webpairs.dataset.features import (
    TABULAR,
    corrupt_rows,
    feature_array,
    one_array,
    raw_name,
    raw_needed,
)
from webpairs.dataset.problems import Problem, Problems

pc: Any = pyarrow.compute  # its functions are made at run time

Rows = npt.NDArray[np.int64]
Embeddings = npt.NDArray[np.float16]

PIECE_ROWS: Final = 4_096
_MANY_ROWS: Final = 100_000
"""From so many on keys are searched, without a dictionary of them."""


class Shard(ABC):
    """Reader of one open shard; `column_names` are the source's own, `key` always among them."""

    name: str
    num_rows: int
    column_names: tuple[str, ...]
    problems: Problems
    checks_rows: bool = False
    """Whether rows whose values cannot be meant are looked for, as they are read: others' rows."""

    def __init__(self) -> None:
        self._columns: dict[tuple[str, bool], pa.Array] = {}
        self._rows_of_keys: dict[str, int] | None = None

    @abstractmethod
    def read(self, raw_names: Sequence[str]) -> pa.Table:
        """Return these of the source's own columns, all rows."""

    def images(self, rows: Rows) -> list[bytes | None]:
        """Return the encoded images of rising `rows`, None where there is none."""
        return [None] * len(rows)

    def image(self, row: int) -> bytes | None:
        """Return the encoded image of one row."""
        return self.images(np.array([row]))[0]

    def embedded(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Say which of `rows` have embeddings: all or none, unless they come from elsewhere."""
        return np.full(len(rows), self.embeddings(rows[:1]) is not None)

    def embeddings(self, rows: Rows) -> tuple[Embeddings, Embeddings] | None:
        """Return image and text embeddings of rising `rows`, both (n, d) float16; None: none."""
        return None

    def embedding(self, row: int) -> tuple[Embeddings, Embeddings] | None:
        """Return image and text embedding of one row, both (d,) float16; None: none."""
        rows = np.array([row])
        pair = self.embeddings(rows) if self.embedded(rows)[0] else None
        return None if pair is None else (pair[0][0], pair[1][0])

    def release(self, rows: Rows) -> None:
        """Let go of what was read of `rows`: it need not stay in this process's memory."""
        return

    def table(self, names: Iterable[str], *, label_names: bool = False) -> pa.Table:
        """Return columns of all rows; they stay in memory as long as the shard is open.

        With `label_names` nsfw is the label's name instead of its index.
        """
        wanted = dict.fromkeys(names)
        missing = [name for name in wanted if (name, label_names) not in self._columns]
        if missing and self.checks_rows and set(TABULAR) <= set(wanted):
            missing = list(wanted)  # a row can be checked only as a whole
        if missing:
            raw = self.read(raw_needed(missing, self.column_names))
            self.check(missing, np.arange(self.num_rows), raw)
            for name in missing:
                if name in TABULAR:
                    there = raw_name(name, self.column_names)
                    column = None if there is None else raw.column(there)
                    array = feature_array(name, column, self.num_rows, label_names=label_names)
                else:
                    array = one_array(raw.column(name))
                self._columns[name, label_names] = array
        return pa.table({name: self._columns[name, label_names] for name in wanted})

    def stream(
        self, names: Sequence[str], rows: Rows | None, num_rows: int, *, label_names: bool = False
    ) -> Iterator[tuple[Rows, pa.Table]]:
        """Yield `rows` (rising; None: all) and their columns, at most `num_rows` at a time."""
        table = self.table(names, label_names=label_names)
        chosen = np.arange(self.num_rows) if rows is None else rows
        for start in range(0, len(chosen), num_rows):
            part = chosen[start : start + num_rows]
            yield part, take(table, part)

    def check(self, names: Iterable[str], rows: Rows, raw: pa.Table) -> None:
        """Note which rows cannot be meant as they are; looked for when all features are read."""
        if self.checks_rows and set(TABULAR) <= set(names):
            for row in np.flatnonzero(corrupt_rows(raw)).tolist():
                number = int(rows[row])
                self.problems.of_row(Problem.ROW_CORRUPT, self.name, number, f"row {number}")

    def row_of(self, key: str) -> int | None:
        """Return the row that has this key."""
        keys = self.table(["key"]).column("key")
        if self.num_rows > _MANY_ROWS:
            row = pc.index(keys, key).as_py()
            return None if row < 0 else row
        if self._rows_of_keys is None:
            self._rows_of_keys = {key: row for row, key in enumerate(keys.to_pylist())}
        return self._rows_of_keys.get(key)

    @property
    def num_bytes(self) -> int:
        """Return how much memory its columns take."""
        columns = list(self._columns.values())  # other threads may be adding some
        size = sum(column.nbytes for column in columns)
        return size + (0 if self._rows_of_keys is None else 150 * self.num_rows)


class Source(ABC):
    """The shards of a dataset, by number; pickles as paths and names."""

    kind: str
    """What it was recognised as, for people."""
    folder: Path
    names: tuple[str, ...]

    @cached_property
    @abstractmethod
    def column_names(self) -> tuple[str, ...]:
        """Return the source's own columns: those of its first shard that has any."""

    @property
    def has_keys(self) -> bool:
        """Say whether keys are the source's own; else they are given here, by place."""
        return True

    @cached_property
    @abstractmethod
    def has_images(self) -> bool:
        """Say whether its samples have images."""

    @cached_property
    @abstractmethod
    def embedding_size(self) -> int | None:
        """Return how many numbers an embedding has; None without embeddings."""

    @abstractmethod
    def num_rows(self, place: int) -> int:
        """Return how many rows shard `place` has, without reading them."""

    @abstractmethod
    def open(self, place: int, problems: Problems) -> Shard:
        """Open shard `place`; one that cannot be read has no rows, and is in `problems`."""

    @abstractmethod
    def places_of(self, key: str) -> Iterable[int]:
        """Return the shards that may have a sample of this key."""


class EmptyShard(Shard):
    """A shard that cannot be read."""

    def __init__(self, name: str, column_names: tuple[str, ...]) -> None:
        super().__init__()
        self.name = name
        self.num_rows = 0
        self.column_names = column_names

    def read(self, raw_names: Sequence[str]) -> pa.Table:
        """Return no rows."""
        return pa.table({name: pa.array([], pa.null()) for name in raw_names})


def take(table: pa.Table, rows: Rows) -> pa.Table:
    """Return rising `rows` of a table: a view when they are neighbours."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return table.slice(int(rows[0]), len(rows))
    return table.take(pa.array(rows))


def align(keys: pa.Array, table: pa.Table) -> pa.Table:
    """Return the rows of `table`, which has a column `key`, in the order of `keys`.

    Keys that it lacks have nulls; of keys that it has twice, the first row counts.
    """
    theirs = one_array(table.column("key"))
    rest = table.drop_columns(["key"])
    if theirs.type == keys.type and theirs.equals(keys):
        return rest
    return rest.take(pc.index_in(keys, value_set=theirs.cast(keys.type)))


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """Sort 10 after 9, whether or not numbers have one width."""
    parts = re.split(r"(\d+)", name)
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in parts)
