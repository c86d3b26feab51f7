"""Deduplication: against a reference that holds everything in memory, whatever the grouping."""

from __future__ import annotations

import hashlib
import tempfile
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.candidate_files import read, uid, write_candidates

from webpairs.dedupe.cut import UNIQUE_SCHEMA, Cut
from webpairs.dedupe.dedupe import (
    CANDIDATES_SCHEMA,
    COLLAPSED_SCHEMA,
    DedupeRules,
    DedupeUnit,
    collapse,
    cut_shards,
    dedupe_unit,
    plan_dedupe,
    rank,
    write_opt_outs,
)
from webpairs.errors import RunError
from webpairs.external_sort import open_duckdb

Row = dict[str, Any]
START = datetime(2024, 5, 1, tzinfo=UTC)
RULES = DedupeRules(keep_opted_out=False, shard_size=7, limit=None, seed=0)
MEMORY = 500_000_000


def row(number: int, **changes: Any) -> Row:
    url, text = f"http://example.org/{number}.jpg", f"text {number}"
    made: Row = dict.fromkeys(CANDIDATES_SCHEMA.names)
    made |= {"uid": uid(url, text), "url": url, "text": text, "license": "?", "position": 0}
    return made | changes


def run(
    folder: Path, files: list[list[Row]], rules: DedupeRules, num_units: int = 1
) -> tuple[list[DedupeUnit], Cut]:
    folder.mkdir(parents=True)
    paths = [write_candidates(folder / f"{i}.parquet", rows) for i, rows in enumerate(files)]
    (whole,) = plan_dedupe(paths, folder / "dedupe", rules, memory_bytes=MEMORY, workers=1)
    edges = [number * 256 // num_units for number in range(num_units + 1)]
    units = [
        DedupeUnit(first, after - 1, whole.candidates, whole.folder, rules, MEMORY, 1)
        for first, after in pairwise(edges)
    ]
    for unit in units:
        dedupe_unit(unit)
    return units, cut_shards(units, folder / "unique")


def reference(rows: list[Row], rules: DedupeRules) -> tuple[list[Row], list[Row]]:
    """Return the unique rows in order and the opted-out ones, as the rules say them."""
    groups = defaultdict[bytes, list[Row]](list)
    for made in rows:
        groups[made["uid"]].append(made)
    unique: list[Row] = []
    opted_out: list[Row] = []
    for copies in groups.values():
        first = min(
            copies,
            key=lambda r: [
                (r[name] is None, r[name] if r[name] is not None else 0)
                for name in (
                    *("crawl_date", "crawl_file", "crawl_offset", "position"),
                    *(n for n in CANDIDATES_SCHEMA.names if n not in ("uid", "opt_out")),
                )
            ],
        )
        signals = [r["opt_out"] for r in copies if r["opt_out"] is not None]
        made = first | {"opt_out": min(signals, default=None), "copies": len(copies)}
        (opted_out if signals and not rules.keep_opted_out else unique).append(made)

    def place(made: Row) -> bytes:
        return rank([made["uid"]], rules.seed)[0] if rules.seed else made["uid"]

    return sorted(unique, key=place), sorted(opted_out, key=lambda r: r["uid"])


rows_strategy = st.lists(
    st.builds(
        row,
        st.integers(0, 12),
        crawl_date=st.none() | st.integers(0, 2).map(lambda days: START + timedelta(days=days)),
        crawl_file=st.sampled_from([None, "a.warc.gz", "b.warc.gz", "ä.warc.gz"]),
        crawl_offset=st.none() | st.integers(0, 2),
        position=st.integers(0, 1),
        text_source=st.sampled_from(["alt", "title"]),
        opt_out=st.sampled_from([None, None, None, "noai", "noimageai"]),
        language_score=st.sampled_from([None, 0.5, 0.75]),
    ),
    max_size=40,
)
rules_strategy = st.builds(
    DedupeRules,
    keep_opted_out=st.booleans(),
    shard_size=st.integers(1, 9),
    limit=st.none() | st.integers(1, 12),
    seed=st.sampled_from([0, 1, 2**63 - 1]),
)


@settings(max_examples=25, deadline=None)
@given(rows=rows_strategy, rules=rules_strategy, data=st.data())
def test_agrees_with_the_reference(rows: list[Row], rules: DedupeRules, data: Any) -> None:
    shuffled = data.draw(st.permutations(rows))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=3)))
    files = [shuffled[start:end] for start, end in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        units, cut = run(Path(folder) / "run", files, rules, data.draw(st.integers(1, 5)))
        unique, opted_out = reference(rows, rules)
        kept = unique[: rules.limit]

        found = read(cut)
        assert [{name: r[name] for name in COLLAPSED_SCHEMA.names} for r in found] == kept
        assert all(r[n] is None for r in found for n in UNIQUE_SCHEMA.names[-7:])
        assert cut.over_limit == len(unique) - len(kept)
        sizes = [shard.num_candidates for shard in cut.shards]
        assert all(size == rules.shard_size for size in sizes[:-1])
        assert sum(sizes) == len(kept)

        stats = [dedupe_unit(unit) for unit in units]
        assert sum(s.found for s in stats) == len(rows)
        assert all(s.found == s.unique + s.duplicate + s.opted_out_page for s in stats)
        assert sum(s.opted_out_page for s in stats) == len(opted_out)

        drops = Path(folder) / "drops.parquet"
        assert write_opt_outs(units, drops) == len(opted_out)
        assert [
            {name: value for name, value in r.items() if value is not None}
            for r in pq.read_table(drops).to_pylist()
        ] == [
            {
                "uid": r["uid"],
                "url_hash": hashlib.blake2b(r["url"].encode(), digest_size=8).digest(),
                "reason": "opted_out_page",
                "stage": "dedupe",
                "signal": r["opt_out"],
            }
            for r in opted_out
        ]


@pytest.mark.parametrize("seed", [0, 5])
def test_bytes_do_not_depend_on_grouping(tmp_path: Path, seed: int) -> None:
    """The same candidates in one file and one unit, or in five files, other order, four units."""
    rows = [row(n % 24_000, position=n % 7, crawl_offset=n) for n in range(30_000)]
    rows += [row(n, position=9, opt_out="noai") for n in range(0, 24_000, 100)]
    rules = DedupeRules(keep_opted_out=False, shard_size=11_000, limit=None, seed=seed)
    one, one_cut = run(tmp_path / "one", [rows], rules)
    backwards = rows[::-1]
    spread = [backwards[start::5] for start in range(5)]
    many, many_cut = run(tmp_path / "many", spread, rules, num_units=4)
    assert len(one_cut.shards) == 3
    for left, right in zip(one_cut.shards, many_cut.shards, strict=True):
        assert Path(left.path).read_bytes() == Path(right.path).read_bytes()
    assert write_opt_outs(one, tmp_path / "one.parquet") == 240
    assert write_opt_outs(many, tmp_path / "many.parquet") == 240
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "many.parquet").read_bytes()


def test_dedupe_is_idempotent(tmp_path: Path) -> None:
    """Unique candidates put in again come out again."""
    rows = [row(n % 50, position=n) for n in range(200)]
    _, first = run(tmp_path / "first", [rows], RULES)
    found = read(first)
    again = [{name: r[name] for name in CANDIDATES_SCHEMA.names} for r in found]
    _, second = run(tmp_path / "second", [again], RULES)
    assert [r["copies"] for r in found] == [4] * 50
    assert read(second) == [r | {"copies": 1} for r in found]


def test_finished_work_is_not_done_again(tmp_path: Path) -> None:
    (unit,), cut = run(tmp_path / "run", [[row(1), row(2)]], RULES)
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(tmp_path.rglob("*.parquet"))]
    assert dedupe_unit(unit).found == 2
    assert cut_shards([unit], tmp_path / "run" / "unique") == cut
    after = [(path.name, path.stat().st_mtime_ns) for path in sorted(tmp_path.rglob("*.parquet"))]
    assert after == before
    assert not list(tmp_path.rglob("spill*"))


def test_nothing_in_is_nothing_out(tmp_path: Path) -> None:
    (unit,), cut = run(tmp_path / "run", [[]], RULES)
    assert cut == Cut((), 0)
    assert dedupe_unit(unit).found == 0


@settings(deadline=None)
@given(rows=rows_strategy, at=st.integers(0, 40))
def test_collapse_is_associative(rows: list[Row], at: int) -> None:
    """Rows may be collapsed as they arrive: a uid may go on in the next batch."""
    ordered = sorted((r | {"copies": 1} for r in rows), key=lambda r: r["uid"])
    whole = pa.Table.from_pylist(ordered, COLLAPSED_SCHEMA)
    halves = pa.concat_tables([collapse(whole.slice(0, at)), collapse(whole.slice(at))])
    assert collapse(halves.combine_chunks()).equals(collapse(whole))


@pytest.mark.parametrize("sources", [("alt", "title"), ("title", "alt")])
def test_ties_do_not_follow_the_order_of_reading(sources: tuple[str, str]) -> None:
    """One image of a page may have the same text as alt and as title."""
    rows = [row(1, text_source=source, copies=1) for source in sources]
    (kept,) = collapse(pa.Table.from_pylist(rows, COLLAPSED_SCHEMA)).to_pylist()
    assert (kept["text_source"], kept["copies"]) == ("alt", 2)


def test_ids_are_compared_whole() -> None:
    """Two ids may share either half."""
    ids = [b"a" * 16, b"a" * 8 + b"b" * 8, b"b" * 16]
    rows = [row(number, uid=made, copies=1) for number, made in enumerate(ids)]
    table = pa.Table.from_pylist(rows, COLLAPSED_SCHEMA)
    assert collapse(table).equals(table)


def test_the_plan_follows_size_and_workers(tmp_path: Path) -> None:
    big = tmp_path / "big.parquet"
    with big.open("wb") as file:
        file.truncate(10_000_000_000)
    for workers, memory in ((1, 2 * 10**9), (4, 2 * 10**9), (2, 10**12)):
        units = plan_dedupe([str(big)], tmp_path, RULES, memory_bytes=memory, workers=workers)
        assert len(units) % workers == 0 or len(units) == 256
        buckets = [b for unit in units for b in range(unit.first, unit.last + 1)]
        assert buckets == list(range(256))
        assert all(unit.memory_bytes * workers <= memory for unit in units)


def test_too_little_disk_is_explained(tmp_path: Path) -> None:
    """A small limit on spilled bytes stands for a full disk."""
    with (  # noqa: PT012 - the error comes out of the whole block
        pytest.raises(RunError, match=r"raise --max-memory.* free disk"),
        open_duckdb(tmp_path / "spill", memory_bytes=MEMORY, threads=1) as duck,
    ):
        duck.execute("SET max_temp_directory_size = '1MB'")
        duck.execute("SET memory_limit = '60MB'")
        duck.execute("CREATE TABLE t AS SELECT md5(range::VARCHAR) m, range n FROM range(4000000)")
    assert not (tmp_path / "spill").exists()
