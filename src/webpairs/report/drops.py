"""Counting what was dropped: one pass over `drops/`, each candidate under its latest outcome.

A candidate that was tried again has a row for each time it was dropped; all but the last are left
out, and all of them where it became a sample in the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from webpairs.dataset.features import numbers, strings
from webpairs.dataset.hosts import host_names
from webpairs.dataset.sources.source import Rows
from webpairs.drops import Drop
from webpairs.external_sort import BATCH_ROWS, expose, stream
from webpairs.parquet.file import UNREADABLE, open_bounded, read_columns
from webpairs.report.examples import TEXT_CHARS, Example, Nearest
from webpairs.report.names import NameCounts
from webpairs.report.samples import SIMILARITY_EDGES
from webpairs.report.tally import Floats, Tally
from webpairs.run_folder.layout import ShardFiles
from webpairs.run_folder.schema import UID

if TYPE_CHECKING:
    import duckdb

pc: Any = pyarrow.compute  # its functions are made at run time

_COUNTED: Final = pa.schema(
    [
        ("row", pa.int64()),
        ("shard", pa.int32()),
        ("reason", pa.string()),
        ("signal", pa.string()),
        ("similarity", pa.float64()),
        ("similarity_given", pa.float64()),
        ("http_status", pa.int16()),
    ]
)
_WITH_UID: Final = pa.schema([pa.field("uid", UID), *_COUNTED])
_OUTCOMES: Final = pa.schema([pa.field("uid", UID), pa.field("shard", pa.int32())])
_DEDUPE_SHARD: Final = -1
"""Stands for `drops/dedupe.parquet`, whose candidates no shard has."""


class DropPass:
    """Counts of a run folder's drops, file after file."""

    def __init__(
        self,
        out: Path,
        committed: Sequence[str],
        names: NameCounts,
        duck: duckdb.DuckDBPyConnection,
    ) -> None:
        self.similarity = Tally(SIMILARITY_EDGES)
        """Of those that were dropped for it."""
        self.nearest: tuple[Example, ...] = ()
        """Of those, the ones nearest to the threshold."""
        self._nearest = Nearest(above=False)
        self.unreadable: dict[str, str] = {}
        """Files that cannot be read, and why."""
        self._out = out
        self._shards = {int(name): ShardFiles.of(out, name) for name in committed}
        self._names = names
        self._duck = duck

    def read(self, first_retried: int | None, done: Callable[[], None]) -> None:
        """Count all drops; `done` is called when a shard's are read.

        `first_retried` is the first shard of the first retry, None if there was none.
        """
        if (self._out / "stats" / "dedupe.json").exists():
            dedupe = self._out / "drops" / "dedupe.parquet"
            for batch in self._read(dedupe, _DEDUPE_SHARD, _COUNTED):
                self._count(batch)
        retried = [
            number
            for number in self._shards
            if first_retried is not None and number >= first_retried
        ]
        batches = self._latest(retried, done) if retried else self._all(_COUNTED, done)
        for batch in batches:
            self._count(batch)
        self.nearest = self._with_texts(self._nearest.found)

    def _all(self, schema: pa.Schema, done: Callable[[], None]) -> Iterator[pa.RecordBatch]:
        for number, files in self._shards.items():
            yield from self._read(files.drops, number, schema)
            done()

    def _latest(self, retried: Sequence[int], done: Callable[[], None]) -> Iterator[pa.RecordBatch]:
        """Yield drops that no later shard supersedes."""
        # A cursor of its own: what it streams is read while the other one takes counts.
        with self._duck.cursor() as duck:
            expose(duck, "outcomes", self._outcomes(retried), _OUTCOMES)
            duck.execute(
                "CREATE TEMP TABLE latest AS SELECT uid_high, uid_low, max(shard) AS shard "
                "FROM outcomes GROUP BY uid_high, uid_low"
            )
            expose(duck, "dropped", self._all(_WITH_UID, done), _WITH_UID)
            columns = ", ".join(f"dropped.{name}" for name in _COUNTED.names)
            yield from stream(
                duck,
                f"SELECT {columns} FROM dropped LEFT JOIN latest USING (uid_high, uid_low) "
                "WHERE latest.shard IS NULL OR latest.shard = dropped.shard",
            )

    def _outcomes(self, retried: Sequence[int]) -> Iterator[pa.RecordBatch]:
        """Yield uid and shard of every candidate of the retries, sample or drop."""
        for number in retried:
            for path in (self._shards[number].metadata, self._shards[number].drops):
                yield from self._read(path, number, _OUTCOMES)

    def _count(self, batch: pa.RecordBatch) -> None:
        reasons = strings(pa.chunked_array([batch.column("reason")]), batch.num_rows)
        self._names.add("drop", reasons)
        self._count_pairs(batch, "signal", "signal")
        self._count_pairs(batch, "http_status", "http_status")
        dropped = pc.equal(reasons, str(Drop.SIMILARITY)).to_numpy(zero_copy_only=False)
        for name in ("similarity", "similarity_given"):
            values = numbers(pa.chunked_array([batch.column(name)]), batch.num_rows)
            values = values[dropped]
            if np.isnan(values).all():
                continue
            self.similarity.add(values)
            shards = batch.column("shard").to_numpy()[dropped]
            rows = batch.column("row").to_numpy()[dropped]
            for shard in np.unique(shards).tolist():
                here = np.flatnonzero(shards == shard)
                self._look_at(values[here], shard, rows[here])
            break

    def _count_pairs(self, batch: pa.RecordBatch, column: str, kind: str) -> None:
        """Count the values of a column apart for each reason."""
        rows = pa.Table.from_batches([batch.select(["reason", column])])
        rows = rows.filter(rows.column(column).is_valid())
        counts = rows.group_by(["reason", column]).aggregate([([], "count_all")])
        for reason in pc.unique(counts.column("reason")).to_pylist():
            of_reason = counts.filter(pc.equal(counts.column("reason"), reason))
            self._names.add_counts(
                f"{kind} {reason}",
                strings(of_reason.column(column), of_reason.num_rows),
                of_reason.column("count_all").combine_chunks(),
            )

    def _read(self, path: Path, shard: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a file as `schema`; columns that it lacks are null."""
        # A shard without samples has no metadata, one without drops no drops.
        if not path.exists():
            return
        start = 0
        try:
            with open_bounded(path) as file:
                names = [name for name in schema.names if name in file.schema_arrow.names]
                for batch in file.iter_batches(BATCH_ROWS, columns=names, use_threads=False):
                    yield _as_schema(batch, schema, shard, start)
                    start += batch.num_rows
        except UNREADABLE as error:
            self.unreadable[str(path.relative_to(self._out))] = str(error)

    def _look_at(self, similarities: Floats, shard: int, rows: Rows) -> None:
        self._nearest.add(
            similarities,
            shard,
            rows,
            lambda one: Example(shard, int(rows[one]), float(similarities[one])),
        )

    def _with_texts(self, found: Sequence[Example]) -> tuple[Example, ...]:
        """Read text and host of a few drops."""
        filled = dict[tuple[int, int], Example]()
        for shard in {one.place for one in found}:
            here = [one for one in found if one.place == shard]
            table = read_columns(self._shards[shard].drops, ["text", "url"])
            table = table.take(pa.array([one.row for one in here]))
            texts = strings(table.column("text"), len(here)).to_pylist()
            hosts = host_names(table.column("url")).to_pylist()
            for one, text, host in zip(here, texts, hosts, strict=True):
                text = (text or "")[:TEXT_CHARS]
                filled[shard, one.row] = replace(one, text=text, host=host or "")
        return tuple(filled[one.place, one.row] for one in found)


def _as_schema(batch: pa.RecordBatch, schema: pa.Schema, shard: int, start: int) -> pa.RecordBatch:
    num = batch.num_rows
    made = {
        "row": pa.array(np.arange(start, start + num)),
        "shard": pa.array(np.full(num, shard, np.int32)),
    }
    there = batch.schema.names
    return pa.RecordBatch.from_arrays(
        [
            made[field.name]
            if field.name in made
            else batch.column(field.name).cast(field.type)
            if field.name in there
            else pa.nulls(num, field.type)
            for field in schema
        ],
        schema=schema,
    )
