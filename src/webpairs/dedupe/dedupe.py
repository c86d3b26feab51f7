"""Keeping one of the candidates with the same uid, in an order that depends on content alone.

    candidates/*.parquet -> dedupe/00-0f.parquet (+ .drops.parquet, .json) -> unique/00000.parquet

A unit is a range of buckets (first byte of the uid), so that no two units share a uid. Inside a
unit DuckDB sorts by uid, spilling when it must, and neighbours of the same uid are collapsed as
they stream past. The order of the dataset is the uid itself or, with a seed, a keyed hash of it
(the rank): either is a shuffle that any number of workers agrees on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from webpairs.dedupe.cut import Cut, Feed, cut_rows, open_parquet, read_cut, write_groups
from webpairs.drops import Drop
from webpairs.external_sort import (
    BATCH_ROWS,
    duckdb_bytes,
    expose,
    from_plain,
    id_words,
    open_duckdb,
    stream,
)
from webpairs.extract.candidates import BUCKETS_KEY, NUM_BUCKETS, bucket_row_groups
from webpairs.files import write_json, write_whole
from webpairs.ids import url_hash
from webpairs.run_folder.schema import CANDIDATES, DROPS, UID, arrow_schema

CANDIDATES_SCHEMA: Final = arrow_schema(CANDIDATES)
COLLAPSED_SCHEMA: Final = CANDIDATES_SCHEMA.append(pa.field("copies", pa.int32(), nullable=False))
"""What a unit writes: candidates, `copies` of which were found; `opt_out` is of any copy."""
_RANKED_SCHEMA: Final = COLLAPSED_SCHEMA.append(pa.field("rank", UID, nullable=False))
_DROPS_SCHEMA: Final = arrow_schema(DROPS)

_STAYS_FIRST: Final = ("crawl_date", "crawl_file", "crawl_offset", "position")
"""Of duplicates the least by these stays (design, "Stages")."""
_TIE_BREAKS: Final = tuple(
    name for name in CANDIDATES_SCHEMA.names if name not in (*_STAYS_FIRST, "uid", "opt_out")
)
"""One image of a page may have the same text twice, as alt and as title, say: then the rest of
the row decides, so that the outcome never depends on the order of reading."""

_EXPANSION: Final = 6
"""Bytes that DuckDB needs to sort a byte of candidates parquet (zstd; measured with
`benchmarks/dedupe.py`); only the number of units rests on it, never the result."""
_WORTH_A_PROCESS_BYTES: Final = 20_000_000
"""Candidates parquet that takes longer to deduplicate than a process takes to start."""


@dataclass(frozen=True, slots=True)
class DedupeRules:
    """What dedupe keeps and in which order; all of it changes the dataset."""

    keep_opted_out: bool
    shard_size: int
    limit: int | None
    seed: int


@dataclass(frozen=True, slots=True)
class DedupeUnit:
    """The work of one process: the buckets from `first` to `last` of every file."""

    first: int
    last: int
    candidates: tuple[str, ...]
    folder: str
    rules: DedupeRules
    memory_bytes: int
    threads: int

    @property
    def name(self) -> str:
        """Return the unit's name, e.g. `00-0f`."""
        return f"{self.first:02x}-{self.last:02x}"

    @property
    def rows(self) -> Path:
        """Return where the unit's unique candidates go."""
        return Path(self.folder) / f"{self.name}.parquet"

    @property
    def drops(self) -> Path:
        """Return where its drop rows go (opt-outs only: duplicates are counted)."""
        return Path(self.folder) / f"{self.name}.drops.parquet"

    @property
    def mark(self) -> Path:
        """Return its commit mark, which holds its counts."""
        return Path(self.folder) / f"{self.name}.json"


@dataclass(frozen=True, slots=True)
class DedupeStats:
    """Counts of a unit's candidates: `found` = `unique` + `duplicate` + `opted_out_page`."""

    found: int
    unique: int
    duplicate: int
    opted_out_page: int


def plan_dedupe(
    candidates: Sequence[str], folder: Path, rules: DedupeRules, *, memory_bytes: int, workers: int
) -> list[DedupeUnit]:
    """Divide the buckets among as many units as `memory_bytes` and `workers` ask for.

    `memory_bytes` is for all workers together. How buckets are grouped changes no byte of the
    shards.
    """
    each_bytes = memory_bytes // workers
    size = sum(Path(path).stat().st_size for path in candidates)
    num_units = max(
        _num_ranges(size, each_bytes),
        # A small job is one unit: a process more would cost more than it saves.
        min(workers, -(-size // _WORTH_A_PROCESS_BYTES)),
    )
    if num_units > 1:
        num_units = -(-num_units // workers) * workers
    return [
        DedupeUnit(
            first,
            last,
            tuple(candidates),
            str(folder),
            rules,
            each_bytes,
            _threads(workers),
        )
        for first, last in _bucket_ranges(num_units)
    ]


def dedupe_unit(unit: DedupeUnit) -> DedupeStats:
    """Write the unit's unique candidates and drops, then its commit mark; do nothing twice.

    Raises RunError when memory or disk do not suffice.
    """
    asked = _fingerprint(unit)
    if (done := _read_mark(unit, asked)) is not None:
        return done
    # With a seed a second sort, by rank, runs behind the first.
    memory_bytes = unit.memory_bytes // 2 if unit.rules.seed else unit.memory_bytes
    with open_duckdb(
        Path(unit.folder) / f"spill-{unit.name}", memory_bytes=memory_bytes, threads=unit.threads
    ) as duck:
        candidates = read_buckets(unit.candidates, unit.first, unit.last, CANDIDATES_SCHEMA)
        in_order = sort_by(duck, candidates, CANDIDATES_SCHEMA, "uid")
        with write_whole(unit.drops) as drops, write_whole(unit.rows) as rows:
            sieve = _OptOuts(drops, keep=unit.rules.keep_opted_out)
            unique = sieve.pass_on(_collapse_stream(in_order))
            if unit.rules.seed:
                num_unique = _write_ranked(rows, unique, unit, memory_bytes)
            else:
                num_unique = _write(rows, unique)
            sieve.close()
    stats = DedupeStats(
        found=sieve.found,
        unique=num_unique,
        duplicate=sieve.found - num_unique - sieve.opted_out,
        opted_out_page=sieve.opted_out,
    )
    write_json(unit.mark, {"asked": asked, "stats": asdict(stats)})
    return stats


def cut_shards(units: Sequence[DedupeUnit], folder: Path) -> Cut:
    """Cut what the units wrote into `folder`/00000.parquet and on, in the order of the dataset.

    The only global step: where a shard starts is the sum of the counts before it. Rows stream;
    at most `rules.limit` of them are used, the first of the order, so that a limit is a random
    sample. Does nothing twice.
    """
    rules = units[0].rules
    if (done := read_cut(folder, rules.shard_size)) is not None:
        return done
    num_rows, over_limit = count_unique(units)
    return cut_rows(
        ordered_rows(units),
        folder,
        num_rows=num_rows,
        shard_size=rules.shard_size,
        over_limit=over_limit,
    )


def write_opt_outs(units: Sequence[DedupeUnit], path: Path) -> int:
    """Write the drop rows of all units as one file sorted by uid; return how many there are.

    As with the shards, how the buckets were grouped does not show.
    """
    tables = (
        pa.Table.from_batches([batch])
        for unit in sorted(units, key=lambda unit: unit.first)
        for batch in pq.ParquetFile(unit.drops).iter_batches(BATCH_ROWS)
    )
    num_rows = sum(pq.read_metadata(unit.drops).num_rows for unit in units)
    with write_whole(path) as temporary:
        write_groups(temporary, Feed(tables), _DROPS_SCHEMA, num_rows)
    return num_rows


def count_unique(units: Sequence[DedupeUnit]) -> tuple[int, int]:
    """Return how many unique candidates the limit keeps, and how many it leaves out."""
    num_unique = sum(dedupe_unit(unit).unique for unit in units)
    limit = units[0].rules.limit
    num_kept = num_unique if limit is None else min(limit, num_unique)
    return num_kept, num_unique - num_kept


def ordered_rows(units: Sequence[DedupeUnit]) -> Iterator[pa.Table]:
    """Yield what the units wrote (`COLLAPSED_SCHEMA`) in the order of the dataset."""
    units = sorted(units, key=lambda unit: unit.first)
    if not units[0].rules.seed:
        for unit in units:
            with pq.ParquetFile(unit.rows) as file:
                for batch in file.iter_batches(BATCH_ROWS):
                    yield pa.Table.from_batches([batch])
        return
    # Ranks of every unit are spread over all buckets: sort again, some buckets at a time. This
    # is one process, so it has the memory of all of them.
    paths = [str(unit.rows) for unit in units]
    memory_bytes = units[0].memory_bytes
    num_ranges = _num_ranges(sum(unit.rows.stat().st_size for unit in units), memory_bytes)
    with open_duckdb(
        Path(units[0].folder) / "spill-cut", memory_bytes=memory_bytes, threads=units[0].threads
    ) as duck:
        for first, last in _bucket_ranges(num_ranges):
            ranked = read_buckets(paths, first, last, _RANKED_SCHEMA)
            for table in sort_by(duck, ranked, _RANKED_SCHEMA, "rank"):
                yield table.select(COLLAPSED_SCHEMA.names)


def read_buckets(
    paths: Iterable[str], first: int, last: int, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of the row groups whose bucket is from `first` to `last`.

    One file is open at a time: with 256 row groups a file, footers would add up.
    """
    for path in paths:
        with pq.ParquetFile(path) as file:
            held = bucket_row_groups(file.metadata)
            groups = [group for bucket in range(first, last + 1) for group in held.get(bucket, ())]
            if groups:
                yield from file.iter_batches(
                    BATCH_ROWS, row_groups=groups, columns=schema.names, use_threads=False
                )


def collapse(rows: pa.Table) -> pa.Table:
    """Return one row for each uid of `rows`, which are sorted by uid (`COLLAPSED_SCHEMA`).

    Associative: rows that were collapsed before count as their copies, so that groups may be
    collapsed as they arrive. The least by `_STAYS_FIRST` stays, nulls last; an opt-out on any
    copy holds for all, and of several signals the least is named.
    """
    words = id_words(rows.column("uid"))
    starts_group = np.ones(rows.num_rows, np.bool_)
    starts_group[1:] = (words[1:] != words[:-1]).any(axis=1)
    if starts_group.all():
        return rows
    starts = np.flatnonzero(starts_group)
    sizes = np.diff(starts, append=rows.num_rows)
    group_of = np.repeat(np.arange(len(starts)), sizes)

    winners = starts.copy()
    contested = np.flatnonzero(sizes[group_of] > 1)
    names = (*_STAYS_FIRST, *_TIE_BREAKS)
    rivals = rows.select(names).take(pa.array(contested))
    rivals = rivals.append_column("group", pa.array(group_of[contested]))
    # Nulls come last, which is the default.
    order = pc.sort_indices(  # pyright: ignore[reportAttributeAccessIssue]  # made at run time
        rivals,
        sort_keys=[(name, "ascending") for name in ("group", *names)],
    ).to_numpy()
    groups, first_of_group = np.unique(group_of[contested][order], return_index=True)
    winners[groups] = contested[order[first_of_group]]

    opt_outs: list[str | None] = [None] * len(starts)
    signals = rows.column("opt_out")
    marked = np.flatnonzero(signals.is_valid().to_numpy())
    for group, signal in zip(
        group_of[marked].tolist(), signals.take(pa.array(marked)).to_pylist(), strict=True
    ):
        known = opt_outs[group]
        opt_outs[group] = signal if known is None else min(known, signal)

    copies = np.add.reduceat(rows.column("copies").to_numpy(), starts).astype(np.int32)
    kept = rows.take(pa.array(winners))
    for name, values in (
        ("opt_out", pa.array(opt_outs, pa.string())),
        ("copies", pa.array(copies)),
    ):
        index = COLLAPSED_SCHEMA.get_field_index(name)
        kept = kept.set_column(index, COLLAPSED_SCHEMA.field(index), values)
    return kept


def sort_by(
    duck: Any, batches: Iterator[pa.RecordBatch], schema: pa.Schema, key: str
) -> Iterator[pa.Table]:
    """Yield the rows of `batches` sorted by the 16 bytes of column `key`."""
    expose(duck, "incoming", batches, schema)
    for batch in stream(duck, f"SELECT * FROM incoming ORDER BY {key}_high, {key}_low"):
        yield from_plain(batch, schema)
    duck.unregister("incoming")


def rank(uids: Iterable[bytes], seed: int) -> list[bytes]:
    """Return the place of each uid in the order of `seed`: BLAKE2b-128 of it, keyed."""
    hasher: Callable[[], Any] = hashlib.blake2b(digest_size=16, key=str(seed).encode()).copy
    ranks: list[bytes] = []
    for uid in uids:
        hashed = hasher()
        hashed.update(uid)
        ranks.append(hashed.digest())
    return ranks


class _OptOuts:
    """A filter that takes opted-out candidates from a stream and counts the others."""

    def __init__(self, path: Path, *, keep: bool) -> None:
        self._keep = keep
        self._writer = open_parquet(path, _DROPS_SCHEMA)
        self.found = 0
        self.opted_out = 0

    def pass_on(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """Yield `tables` without the rows that opted out, unless they are to be kept."""
        for table in tables:
            self.found += int(np.sum(table.column("copies").to_numpy(), dtype=np.int64))
            signals = table.column("opt_out")
            if self._keep or signals.null_count == table.num_rows:
                yield table
                continue
            out = table.filter(signals.is_valid())
            self.opted_out += out.num_rows
            self._writer.write_table(_drop_rows(out, Drop.OPTED_OUT_PAGE))
            yield table.filter(signals.is_null())

    def close(self) -> None:
        """Finish the file of drops."""
        self._writer.close()


def _drop_rows(rows: pa.Table, reason: Drop) -> pa.Table:
    """Return `DROPS` rows with ids, reason and signal only: the reason is a sensitive one."""
    hashes = [url_hash(url) for url in rows.column("url").to_pylist()]
    columns = {
        "uid": rows.column("uid"),
        "url_hash": pa.array(hashes, pa.binary(8)),
        "reason": pa.array([str(reason)] * rows.num_rows),
        "stage": pa.array([reason.stage] * rows.num_rows),
        "signal": rows.column("opt_out"),
    }
    return pa.Table.from_arrays(
        [columns.get(field.name, pa.nulls(rows.num_rows, field.type)) for field in _DROPS_SCHEMA],
        schema=_DROPS_SCHEMA,
    )


def _collapse_stream(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Collapse a stream sorted by uid; the last uid of a table may go on in the next."""
    held: pa.Table | None = None
    for table in tables:
        ones = pa.array(np.ones(table.num_rows, np.int32))
        rows = table.append_column(COLLAPSED_SCHEMA.field("copies"), ones)
        if held is not None:
            rows = pa.concat_tables([held, rows])
        rows = collapse(rows.combine_chunks())
        held = rows.slice(rows.num_rows - 1)
        if rows.num_rows > 1:
            yield rows.slice(0, rows.num_rows - 1)
    if held is not None:
        yield held


def _write(path: Path, tables: Iterable[pa.Table]) -> int:
    num_rows = 0
    with open_parquet(path, COLLAPSED_SCHEMA) as writer:
        for table in tables:
            writer.write_table(table)
            num_rows += table.num_rows
    return num_rows


def _write_ranked(
    path: Path, tables: Iterable[pa.Table], unit: DedupeUnit, memory_bytes: int
) -> int:
    """Write rows by rank, a row group per bucket of the rank, for the cut to read like a unit."""

    def ranked() -> Iterator[pa.RecordBatch]:
        for table in tables:
            ranks = rank(table.column("uid").to_pylist(), unit.rules.seed)
            yield from table.append_column(
                _RANKED_SCHEMA.field("rank"), pa.array(ranks, UID)
            ).to_batches()

    num_rows = 0
    buckets: list[int] = []
    with (
        open_duckdb(
            Path(unit.folder) / f"spill-rank-{unit.name}",
            memory_bytes=memory_bytes,
            threads=unit.threads,
        ) as duck,
        open_parquet(path, _RANKED_SCHEMA) as writer,
    ):
        for table in sort_by(duck, ranked(), _RANKED_SCHEMA, "rank"):
            bucket = id_words(table.column("rank"))[:, 0] >> np.uint64(56)
            starts = np.flatnonzero(np.diff(bucket, prepend=np.uint64(NUM_BUCKETS)))
            for start, end in zip(starts, [*starts[1:], table.num_rows], strict=True):
                writer.write_table(table.slice(int(start), int(end - start)))
                buckets.append(int(bucket[start]))
            num_rows += table.num_rows
        writer.add_key_value_metadata({BUCKETS_KEY: ",".join(map(str, buckets)).encode()})
    return num_rows


def _num_ranges(size_bytes: int, memory_bytes: int) -> int:
    """Return in how many parts parquet of this size fits DuckDB's memory, so that it need not
    spill."""
    return -(-size_bytes * _EXPANSION // duckdb_bytes(memory_bytes))


def _bucket_ranges(num_ranges: int) -> list[tuple[int, int]]:
    num_ranges = min(max(num_ranges, 1), NUM_BUCKETS)
    edges = [number * NUM_BUCKETS // num_ranges for number in range(num_ranges + 1)]
    return [(start, end - 1) for start, end in pairwise(edges)]


def _threads(workers: int) -> int:
    from webpairs.checks import resolve_workers

    return max(1, resolve_workers(None) // workers)


def _fingerprint(unit: DedupeUnit) -> str:
    """Return what the unit's outputs depend on: the rules and the candidates files."""
    inputs = [(Path(path).name, Path(path).stat().st_size) for path in unit.candidates]
    rules = (unit.rules.keep_opted_out, unit.rules.seed)
    return hashlib.blake2b(orjson.dumps([rules, inputs]), digest_size=16).hexdigest()


def _read_mark(unit: DedupeUnit, asked: str) -> DedupeStats | None:
    try:
        mark = orjson.loads(unit.mark.read_bytes())
    except FileNotFoundError:
        return None
    return DedupeStats(**mark["stats"]) if mark["asked"] == asked else None
