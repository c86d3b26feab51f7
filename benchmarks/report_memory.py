"""Show that the memory of a report does not grow with the dataset: generated metadata.

    ./run python benchmarks/report_memory.py [--rows 5000000 20000000] [--folder DIR]

Writes run folders of so many samples, and half as many drops, in shards of 50,000: what the report
reads of a crawl's metadata (URL of some 60 bytes, text of some 40, sizes, similarity, licence,
crawl file and more), without images and embeddings. Hosts are drawn from 5 million with Zipf's
law, so that their number grows with the dataset; 90,000 crawl files. Reports on each in a fresh
process and prints rows a second and the peak resident memory of the process, as the system counts
it. Target: 100,000,000 samples within 2 GB. About 125 bytes of disk a sample, removed at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from webpairs.drops import Drop
from webpairs.run_folder.layout import Keys, ShardFiles
from webpairs.run_folder.schema import DROPS, METADATA, arrow_schema

SHARD_ROWS = 50_000
NUM_HOSTS = 5_000_000
NUM_CRAWL_FILES = 90_000
LICENCES = ("?", "https://creativecommons.org/licenses/by/4.0/", "https://example.org/terms")
WORDS = pa.array(("a", "red", "car", "on", "the", "street", "beside", "an", "old", "house", "and"))
REASONS = ("similarity", "http_4xx", "timeout", "dns", "too_small", "opted_out_image", "format")

Ints = npt.NDArray[np.int64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[5_000_000, 20_000_000])
    parser.add_argument("--folder", help="where to put the files [the system's temporary folder]")
    arguments = parser.parse_args()
    print(f"{'samples':>12} {'drops':>11} {'hosts':>10} {'GB':>6} {'seconds':>8} {'peak MB':>8}")
    for num_rows in arguments.rows:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
            out = Path(name) / "run"
            generate(out, num_rows)
            size = sum(path.stat().st_size for path in out.rglob("*.parquet"))
            page = Path(name) / "report.html"
            seconds, peak_mb = report(out, page)
            told = json.loads(page.with_suffix(".json").read_bytes())["datasets"][0]
            if told["samples"] != num_rows or told["disagreements"]:
                sys.exit(f"the report counted {told['samples']:,}: {told['disagreements']}")
            drops = sum(told["run"]["funnel"]["drops"].values())
            hosts = told["names"]["host"]["distinct"]
            print(
                f"{num_rows:>12,} {drops:>11,} {hosts:>10,} {size / 1e9:>6.2f} {seconds:>8.0f} "
                f"{peak_mb:>8.0f}",
                flush=True,
            )


def report(out: Path, page: Path) -> tuple[float, float]:
    """Report in a fresh process; return its seconds and its peak MB."""
    clock = time.perf_counter()
    command = [sys.executable, "-m", "webpairs", "report", str(out), "--out", str(page)]
    devnull = os.open(os.devnull, os.O_WRONLY)
    pid = os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, devnull, 1), (os.POSIX_SPAWN_DUP2, devnull, 2)],
    )
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"the report ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - clock, usage.ru_maxrss / 1e3


def generate(out: Path, num_rows: int) -> None:
    """Write a run folder of `num_rows` samples."""
    num_shards = -(-num_rows // SHARD_ROWS)
    keys = Keys.for_dataset(num_shards, 2 * SHARD_ROWS)
    drops: Counter[str] = Counter()
    for number in range(num_shards):
        rng = np.random.default_rng(number)
        start = number * SHARD_ROWS
        num = min(SHARD_ROWS, num_rows - start)
        files = ShardFiles.of(out, keys.shard(number))
        write(files.metadata, samples(rng, keys, number, num), METADATA)
        dropped = drop_rows(rng, num // 2)
        write(files.drops, dropped, DROPS)
        counts = Counter(dropped.column("reason").to_pylist())
        drops += counts
        write_json(
            files.stats,
            {
                "shard": keys.shard(number),
                "candidates": num + len(dropped),
                "samples": num,
                "drops": counts,
                "seconds": {"total": 1.0},
                "files": {},
            },
        )
    found = num_rows + drops.total()
    extract = {"records": found, "pages": found, "found": found, "drops": {}, "warnings": []}
    write_json(out / "stats" / "extract.json", extract | {"bytes_read": 1, "seconds": 1.0})
    write_json(out / "stats" / "dedupe.json", {"drops": {}, "shards": num_shards})
    write_json(
        out / "manifest.json",
        {
            "verb": "build",
            "options": {"shard_size": 2 * SHARD_ROWS, "threshold": 0.3, "images": "web"},
            "model": {"spec": "none such", "weights_sha256": "0", "runtime": "-", "threshold": 0.3},
            "inputs": [],
            "finished": "2026-11-24",
        },
    )


def samples(rng: np.random.Generator, keys: Keys, shard: int, num: int) -> pa.Table:
    rows = np.arange(num)
    width, height = rng.lognormal(6.3, 0.5, (2, num)).astype(np.int32) + 64
    moments = 1_700_000_000_000 + rng.integers(0, 10**10, num)
    return pa.table(
        {
            "SAMPLE_ID": shard * 2 * SHARD_ROWS + rows,
            "URL": urls(rng, num),
            "TEXT": texts(rng, num),
            "HEIGHT": height,
            "WIDTH": width,
            "LICENSE": pick(rng, LICENCES, num),
            "NSFW": pick(rng, ("UNLIKELY", "UNSURE", "NSFW"), num),
            "similarity": 0.3 + rng.exponential(0.03, num),
            "key": [keys.sample(shard, row) for row in rows.tolist()],
            "sha256": hashes(rng, num, 32),
            "bytes": rng.lognormal(10.5, 1, num).astype(np.int32),
            "format": pick(rng, ("jpeg", "png", "webp"), num),
            "language": pick(rng, ("en", "de", "fr"), num),
            "image_source": pick(rng, ("src",), num),
            "crawl_file": crawl_files(rng, num),
            "crawl_date": pa.array(moments, pa.timestamp("ms", tz="UTC")),
            "copies": rng.geometric(0.8, num).astype(np.int32),
            "http_status": np.full(num, 200, np.int16),
        }
    )


def drop_rows(rng: np.random.Generator, num: int) -> pa.Table:
    reasons = pick(rng, REASONS, num)
    scored = pc.equal(reasons, str(Drop.SIMILARITY)).to_numpy(zero_copy_only=False)
    return pa.table(
        {
            "uid": hashes(rng, num, 16),
            "reason": reasons,
            "similarity": pa.array(0.3 - rng.exponential(0.1, num), mask=~scored),
            "http_status": pa.array(rng.choice([200, 404, 410, 503], num), pa.int16()),
            "url": urls(rng, num),
            "text": texts(rng, num),
        }
    )


def hashes(rng: np.random.Generator, num: int, size: int) -> pa.Array:
    data = pa.py_buffer(rng.bytes(num * size))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(size), num, [None, data])


def urls(rng: np.random.Generator, num: int) -> pa.Array:
    """Return URLs whose k-th host is about 1/k as often as the first."""
    hosts = pa.array((NUM_HOSTS ** rng.random(num)).astype(np.int64)).cast(pa.string())
    paths = pa.array(rng.integers(0, 2**63, num)).cast(pa.string())
    return pc.binary_join_element_wise("https://img", hosts, ".shop.example/a/", paths, ".jpg", "")


def texts(rng: np.random.Generator, num: int) -> pa.Array:
    words = (WORDS.take(pa.array(rng.integers(0, len(WORDS), num))) for _ in range(9))
    return pc.binary_join_element_wise(*words, " ")


def crawl_files(rng: np.random.Generator, num: int) -> pa.Array:
    crawls = pick(rng, ("2024-22", "2024-33", "2025-05"), num)
    numbers = pa.array(rng.integers(0, NUM_CRAWL_FILES, num)).cast(pa.string())
    numbers = pc.utf8_lpad(numbers, 5, "0")
    return pc.binary_join_element_wise(
        "crawl-data/CC-MAIN-", crawls, "/segments/1/wat/CC-MAIN-2024-", numbers, ".warc.wat.gz", ""
    )


def pick(rng: np.random.Generator, values: tuple[str, ...], num: int) -> pa.Array:
    return pa.array(values).take(pa.array(rng.integers(0, len(values), num)))


def write(path: Path, rows: pa.Table, columns: tuple[object, ...]) -> None:
    """Write those columns of a table that are made here, as run folders have them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    schema = arrow_schema(columns)
    fields = [pa.field(name, schema.field(name).type) for name in rows.column_names]
    pq.write_table(rows.cast(pa.schema(fields)), path, compression="zstd", row_group_size=10_000)


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


if __name__ == "__main__":
    main()
