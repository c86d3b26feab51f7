"""Deduplicate generated candidates: rows a second and peak resident memory.

    ./run python benchmarks/dedupe.py [--rows 5000000] [--max-memory 2GB] [--workers 2] [--peer]

Rows are as wide as a crawl's (URL of about 80 bytes, text of about 40, page, crawl file, licence),
one in five repeats an earlier one, popular ones more often (Zipf). The target: 100,000,000 rows
with a peak of at most 3 GB. Memory is the sum over all processes that run at the same time,
sampled, beside the largest peak of a single one as the system counts it. `--peer` does the same
with one plain DuckDB query. About 350 bytes of disk a row, under `--folder`, removed at the end.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from webpairs.checks import parse_bytes
from webpairs.dedupe.dedupe import (
    CANDIDATES_SCHEMA,
    DedupeRules,
    cut_shards,
    dedupe_unit,
    plan_dedupe,
)
from webpairs.extract.candidates import BUCKETS_KEY
from webpairs.run_folder.schema import DATE, UID

ROWS_A_FILE = 1_000_000
DUPLICATES = 0.2
POPULAR = 1_000_000
"""Repeats are of one of so many candidates, the k-th of them about 1/k as often as the first."""

Words = npt.NDArray[np.uint64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--max-memory", default="2GB")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="where to put the files [the system's temporary folder]")
    parser.add_argument("--peer", action="store_true", help="one plain DuckDB query, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        clock = time.perf_counter()
        files = generate(folder / "candidates", arguments.rows, arguments.workers)
        size = sum(Path(path).stat().st_size for path in files)
        print(
            f"{arguments.rows:,} rows in {len(files)} files, {size / 1e9:.2f} GB, "
            f"made in {time.perf_counter() - clock:.0f} s",
            flush=True,
        )
        memory_bytes = parse_bytes(arguments.max_memory)
        ours = deduplicate(folder, files, arguments.seed, memory_bytes, arguments.workers)
        if arguments.peer:
            for limit in (None, memory_bytes):
                theirs = plain_query(folder, files, arguments.rows, limit)
                print(f"memory of the plain query / ours: {theirs / ours:.1f}", flush=True)


def deduplicate(
    folder: Path, files: list[str], seed: int, memory_bytes: int, workers: int
) -> float:
    """Run both steps as a build does; return the peak in MB."""
    rules = DedupeRules(keep_opted_out=False, shard_size=50_000, limit=None, seed=seed)
    units = plan_dedupe(files, folder / "dedupe", rules, memory_bytes=memory_bytes, workers=workers)
    with measure() as whole:
        with measure() as step, _processes(workers) as pool:
            stats = list(pool.map(dedupe_unit, units))
        found, unique = sum(s.found for s in stats), sum(s.unique for s in stats)
        print(
            f"dedupe: {len(units)} units, {unique:,} unique, {found / step.seconds:,.0f} rows/s, "
            f"{step.text()}",
            flush=True,
        )
        with measure() as step, _processes(1) as pool:
            cut = pool.submit(cut_shards, units, folder / "unique").result()
        print(
            f"cut: {len(cut.shards):,} shards, {unique / step.seconds:,.0f} rows/s, {step.text()}"
        )
    print(
        f"webpairs, --max-memory {memory_bytes / 1e9:g}GB, {workers} workers: "
        f"{found / whole.seconds:,.0f} rows/s, {whole.text()}",
        flush=True,
    )
    return whole.peak_mb


def plain_query(folder: Path, files: list[str], num_rows: int, limit: int | None) -> float:
    """Do the same with one query in one process, as DuckDB sets itself up but for its memory
    limit; return the peak in MB. It may run out of memory."""
    out = folder / "peer.parquet"
    with measure() as step, _processes(1) as pool:
        error = pool.submit(_query, files, out, limit).result()
    told = "told nothing of memory" if limit is None else f"told {limit / 1e9:g} GB"
    print(f"plain DuckDB query, {told}: {num_rows / step.seconds:,.0f} rows/s, {step.text()}")
    if error:
        print(f"  it failed: {error}")
    return step.peak_mb


def _query(files: list[str], out: Path, limit: int | None) -> str | None:
    connection = duckdb.connect(config={"temp_directory": str(out.with_suffix(".spill"))})
    connection.execute("SET enable_progress_bar = false")
    if limit is not None:
        connection.execute(f"SET memory_limit = '{limit}B'")
    rows = connection.read_parquet(files)
    unique = rows.query(
        "candidates",
        """
        SELECT * EXCLUDE rank FROM (
            SELECT
                *,
                count(*) OVER (PARTITION BY uid) AS copies,
                row_number() OVER (
                    PARTITION BY uid
                    ORDER BY crawl_date, crawl_file, crawl_offset, position
                ) AS rank
            FROM candidates
        ) WHERE rank = 1 ORDER BY uid
        """,
    )
    try:
        unique.write_parquet(str(out), compression="zstd")
    except duckdb.OutOfMemoryException as error:
        return str(error).splitlines()[0]
    return None


class Measure:
    """Hold the seconds and the peak memory of what ran inside `measure`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.peak_mb = 0.0
        self.peak_process_mb = 0.0

    def text(self) -> str:
        """Return both peaks and the time in words."""
        return (
            f"{self.seconds:.0f} s, peak {self.peak_mb:,.0f} MB together, "
            f"{self.peak_process_mb:,.0f} MB in the largest process"
        )


@contextmanager
def measure() -> Iterator[Measure]:
    """Watch the processes below this one; their memory is sampled ten times a second."""
    found = Measure()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            rows = [_memory_mb(pid) for pid in _children()]
            found.peak_mb = max(found.peak_mb, sum(now for now, _ in rows))
            found.peak_process_mb = max([found.peak_process_mb, *(most for _, most in rows)])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    clock = time.perf_counter()
    try:
        yield found
    finally:
        found.seconds = time.perf_counter() - clock
        done.set()
        thread.join()


def _children() -> list[str]:
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError as error:
        raise SystemExit(f"memory is measured from /proc, as Linux has it: {error}") from error
    return text.split()


def _memory_mb(pid: str) -> tuple[float, float]:
    """Return the resident memory of a process, now and at its peak."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    of = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
    return int(of.get("VmRSS", 0)) * 1024 / 1e6, int(of.get("VmHWM", 0)) * 1024 / 1e6


def _processes(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"))


def generate(folder: Path, num_rows: int, workers: int) -> list[str]:
    """Write candidates files as extract does: sorted, a row group per bucket of uid."""
    folder.mkdir()
    starts = range(0, num_rows, ROWS_A_FILE)
    ends = [min(start + ROWS_A_FILE, num_rows) for start in starts]
    paths = [str(folder / f"{number:05d}.parquet") for number in range(len(starts))]
    with _processes(workers) as pool:
        list(pool.map(_write_file, paths, starts, ends, repeat(num_rows)))
    return paths


def _write_file(path: str, start: int, end: int, num_rows: int) -> None:
    rng = np.random.default_rng(start)
    row = np.arange(start, end, dtype=np.uint64)
    # The k-th most popular of n about 1/k as often as the first: n to the power of a uniform.
    popular = min(POPULAR, num_rows) ** rng.random(len(row))
    content = np.where(rng.random(len(row)) < DUPLICATES, popular.astype(np.uint64) - 1, row)
    content = content[np.argsort(_hash(content, 0))]
    num = len(content)
    host = (_hash(content, 2) % np.uint64(50_000)).astype(np.int64)
    hosts = pa.array([f"https://media{n % 7}.site-number-{n}.example/" for n in range(50_000)])
    words = pa.array([f"word{n:x}"[-7:] for n in range(4096)])
    crawl = pa.array(
        [
            "crawl-data/CC-MAIN-2024-22/segments/1715971057216.39/wat/"
            f"CC-MAIN-20240517233122-20240518023122-{n:05d}.warc.wat.gz"
            for n in range(1000)
        ]
    )
    columns = {
        "uid": _ids(content),
        "url": _join(
            hosts.take(pa.array(host)),
            "uploads/",
            _hex(_hash(content, 3)),
            "/",
            _hex(content),
            ".jpg",
            separator="",
        ),
        "text": _join(
            *(
                words.take(pa.array((_hash(content, 4 + n) % np.uint64(4096)).astype(np.int64)))
                for n in range(6)
            ),
            separator=" ",
        ),
        "license": pa.array(["?"] * num),
        "language": pa.array(["en"] * num),
        "language_score": pa.array(rng.random(num).astype(np.float32)),
        "image_source": pa.array(["src"] * num),
        "text_source": pa.array(["alt"] * num),
        "page_url": _join(
            hosts.take(pa.array(host)),
            "articles/",
            _hex(rng.integers(0, 2**63, num, np.uint64)),
            separator="",
        ),
        "crawl_file": crawl.take(pa.array(rng.integers(0, 1000, num))),
        "crawl_offset": pa.array(rng.integers(0, 10**9, num)),
        "crawl_date": pa.array(1_715_971_057_000 + rng.integers(0, 10**9, num)).cast(DATE),
        "position": pa.array(rng.integers(0, 100, num, np.int32)),
        "opt_out": pa.array(["noai" if marked else None for marked in rng.random(num) < 0.01]),
    }
    table = pa.table(
        [columns.get(f.name, pa.nulls(num, f.type)) for f in CANDIDATES_SCHEMA],
        schema=CANDIDATES_SCHEMA,
    )
    bucket = (_hash(content, 0) >> np.uint64(56)).astype(np.int64)
    edges = np.searchsorted(bucket, np.arange(257)).tolist()
    filled = [number for number in range(256) if edges[number] < edges[number + 1]]
    with pq.ParquetWriter(path, CANDIDATES_SCHEMA, compression="zstd") as writer:
        for number in filled:
            writer.write_table(table.slice(edges[number], edges[number + 1] - edges[number]))
        writer.add_key_value_metadata({BUCKETS_KEY: ",".join(map(str, filled)).encode()})


def _ids(content: Words) -> pa.Array:
    """Return 16 bytes that stand for BLAKE2b of url and text, and depend on them as it does."""
    words = np.stack([_hash(content, 0), _hash(content, 1)], axis=1).astype(">u8")
    return pa.FixedSizeBinaryArray.from_buffers(
        UID, len(content), [None, pa.py_buffer(words.tobytes())]
    )


def _hash(numbers: Words, salt: int) -> Words:
    """Return SplitMix64's finaliser of the numbers (Steele, Lea and Flood, 2014)."""
    with np.errstate(over="ignore"):
        mixed = numbers + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 % 2**64)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def _hex(numbers: Words) -> pa.Array:
    """Return 16 hexadecimal digits a number."""
    nibbles = numbers.astype(">u8").view(np.uint8).reshape(-1, 8)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    text = np.stack([digits[nibbles >> 4], digits[nibbles & 15]], axis=2).tobytes()
    offsets = np.arange(len(numbers) + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(offsets), pa.py_buffer(text))


def _join(*parts: pa.Array | str, separator: str) -> pa.Array:
    join: Callable[..., pa.Array] = pc.binary_join_element_wise
    return join(*parts, separator)


if __name__ == "__main__":
    main()
