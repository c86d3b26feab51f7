"""Count names, such as hosts and languages, however many there are: exact, within bounded memory.

Each batch is counted by arrow; DuckDB holds the counts and, when there are too many, the disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.compute

if TYPE_CHECKING:
    import duckdb

pc: Any = pyarrow.compute  # its functions are made at run time

NUM_TOP: Final = 100
COMPACT_ROWS: Final = 2_000_000
"""Rows that wait until they are added up, at least."""
_SCHEMA: Final = pa.schema([("kind", pa.string()), ("name", pa.string()), ("num", pa.int64())])


@dataclass(frozen=True, slots=True)
class Named:
    """How often names of one kind were met: the most frequent ones, and how many there are.

    `top` is sorted by count, then by name.
    """

    total: int
    distinct: int
    top: tuple[tuple[str, int], ...]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "counted": self.total,
            "distinct": self.distinct,
            "top": [list(one) for one in self.top],
        }


@dataclass(frozen=True, slots=True)
class Concentration:
    """How unevenly a kind's counts are spread over its names.

    `shares` maps a number of the most frequent names to their part of all; `half` is how many of
    them make up half of all.
    """

    shares: Mapping[int, float]
    half: int
    curve: tuple[tuple[int, float], ...]
    """(number of names, their part), for a plot."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        shares = {str(mark): part for mark, part in self.shares.items()}
        return {"names_of_half": self.half, "shares_of_top": shares}


class NameCounts:
    """Adding up counts of (kind, name) in a DuckDB database, which may spill to disk."""

    def __init__(self, duck: duckdb.DuckDBPyConnection) -> None:
        self._duck = duck
        self._num_rows = 0
        self._num_compacted = 0
        duck.execute("CREATE TABLE names (kind VARCHAR, name VARCHAR, num BIGINT)")

    def add(self, kind: str, values: pa.Array | pa.ChunkedArray) -> None:
        """Count the values of a text column; nulls are not counted."""
        counts: pa.StructArray = pc.value_counts(pc.drop_null(values))
        self.add_counts(kind, counts.field("values"), counts.field("counts"))

    def add_counts(self, kind: str, names: pa.Array, nums: pa.Array) -> None:
        """Add counts of names, which may be there more than once."""
        if not len(names):
            return
        kinds = pa.repeat(pa.scalar(kind), len(names))
        batch = pa.Table.from_arrays([kinds, names.cast(pa.string()), nums], schema=_SCHEMA)
        self._duck.register("batch", batch)
        self._duck.execute("INSERT INTO names SELECT * FROM batch")
        self._duck.unregister("batch")
        self._num_rows += len(names)
        # Waiting for as many as there are left makes the work linear in what comes in.
        if self._num_rows - self._num_compacted > max(COMPACT_ROWS, self._num_compacted):
            self._compact()

    def kinds(self) -> list[str]:
        """Return the kinds of which any name was counted."""
        self._compact()
        rows = self._duck.execute("SELECT DISTINCT kind FROM names ORDER BY kind").fetchall()
        return [kind for (kind,) in rows]

    def top(self, kind: str, num: int = NUM_TOP) -> Named:
        """Return the most frequent names of a kind."""
        self._compact()
        ((total, distinct),) = self._duck.execute(
            "SELECT coalesce(sum(num), 0)::BIGINT, count(*) FROM names WHERE kind = ?", [kind]
        ).fetchall()
        rows = self._duck.execute(
            "SELECT name, num FROM names WHERE kind = ? ORDER BY num DESC, name LIMIT ?",
            [kind, num],
        ).fetchall()
        return Named(total, distinct, tuple((name, count) for name, count in rows))

    def leading(self, kind: str, num_chars: int, num: int) -> list[tuple[str, int]]:
        """Return the names of a kind whose first `num_chars` characters are the greatest.

        Of equals the most frequent come first.
        """
        self._compact()
        return self._duck.execute(
            "SELECT name, num FROM names WHERE kind = ? "
            "ORDER BY left(name, ?) DESC, num DESC, name LIMIT ?",
            [kind, num_chars, num],
        ).fetchall()

    def concentration(self, kind: str, marks: Iterable[int] = (1, 10, 100, 1000)) -> Concentration:
        """Return how much of a kind's counts its most frequent names have."""
        self._compact()
        rows = self._duck.execute(
            "SELECT num, count(*) FROM names WHERE kind = ? GROUP BY num ORDER BY num DESC", [kind]
        ).fetchall()
        # Names of the same count come in runs: the sum within one grows evenly.
        total = sum(num * names for num, names in rows)
        ends: list[tuple[int, int]] = [(0, 0)]
        for num, names in rows:
            ends.append((ends[-1][0] + names, ends[-1][1] + num * names))
        curve = tuple((names, counted / total) for names, counted in ends[1:])
        return Concentration(
            {mark: _share(mark, rows) / total for mark in marks} if total else {},
            _half(rows, total),
            curve,
        )

    def _compact(self) -> None:
        if self._num_rows == self._num_compacted:
            return
        self._duck.execute(
            "CREATE OR REPLACE TABLE names AS "
            "SELECT kind, name, sum(num)::BIGINT AS num FROM names GROUP BY kind, name"
        )
        ((self._num_rows,),) = self._duck.execute("SELECT count(*) FROM names").fetchall()
        self._num_compacted = self._num_rows


def _share(mark: int, rows: list[tuple[int, int]]) -> int:
    counted = 0
    for num, names in rows:
        taken = min(mark, names)
        counted += num * taken
        mark -= taken
        if not mark:
            break
    return counted


def _half(rows: list[tuple[int, int]], total: int) -> int:
    """Return how many of the most frequent names make up at least half."""
    counted = num_names = 0
    for num, names in rows:
        if 2 * (counted + num * names) >= total:
            return num_names + -(-(total - 2 * counted) // (2 * num)) if total else 0
        counted += num * names
        num_names += names
    return num_names
