"""Run folders made by hand, shard by shard: what became of each candidate is the test's to say."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from support.candidate_files import Row, uid

from webpairs.drops import Drop
from webpairs.files import write_json, write_whole
from webpairs.options import BuildOptions
from webpairs.run_folder.layout import Keys, ShardFiles
from webpairs.run_folder.schema import DROPS, METADATA, Column, arrow_schema

SAMPLE = "sample"
CRAWLED = datetime(2024, 5, 18, 1, 2, 3, tzinfo=UTC)
OPTIONS = BuildOptions(inputs=("a.warc.gz",), out="out", model="tiny", threshold=0.3)


def candidate(name: str, text: str | None = None) -> Row:
    """Return a candidate as it comes from dedupe; its optional columns are filled by turns."""
    url = f"https://{name}.example.org/{name}.jpg"
    text = text or f"a text of {name}"
    odd = len(name) % 2 == 1
    return {
        "uid": uid(url, text),
        "url": url,
        "text": text,
        "license": "?",
        "language": "en",
        "language_score": 0.25,
        "license_id": "CC0-1.0" if odd else None,
        "page_url": f"https://example.org/{name}",
        "crawl_file": "a.warc.gz",
        "crawl_offset": 17,
        "crawl_date": CRAWLED,
        "position": 3,
        "hash_given": "md5:00" if odd else None,
        "given": '{"a":1}',
        "copies": 2,
    }


def start_run(out: Path, num_found: int, num_shards: int, shard_size: int, **changes: Any) -> Keys:
    """Write what stands in a run folder before its shards: `num_found` candidates, all unique."""
    write_json(
        out / "manifest.json",
        {
            "verb": "build",
            "options": OPTIONS.dataset_options() | {"images": "web", "shard_size": shard_size},
            "inputs": [{"path": "a.parquet", "name": "a.parquet", "kind": "table", "bytes": 1}],
            "finished": "2024-05-18T00:00:00+00:00",
            "funnel": None,
        }
        | changes,
    )
    stages = {"records": 1, "pages": 1, "found": num_found, "drops": {}, "warnings": []}
    write_json(out / "stats" / "extract.json", stages | {"bytes_read": 1, "seconds": 1.0})
    write_json(out / "stats" / "dedupe.json", {"drops": {}, "shards": num_shards})
    return Keys.for_dataset(num_shards, shard_size)


def commit_shard(
    out: Path, keys: Keys, number: int, rows: Sequence[Row], outcomes: Mapping[bytes, str]
) -> None:
    """Commit a shard of candidates `rows`; `outcomes` has a reason or `SAMPLE` for each uid.

    It has what readers of tables look at: metadata, drops and stats.
    """
    files = ShardFiles.of(out, keys.shard(number))
    samples, drops = list[Row](), list[Row]()
    for place, row in enumerate(rows):
        if (outcome := outcomes[row["uid"]]) == SAMPLE:
            samples.append(sample_row(keys.sample(number, place), row))
        else:
            drops.append(dropped_row(Drop(outcome), row))
    write_rows(files.metadata, samples, METADATA)
    write_rows(files.drops, drops, DROPS)
    write_json(
        files.stats,
        {
            "shard": keys.shard(number),
            "candidates": len(rows),
            "samples": len(samples),
            "drops": dict(sorted(Counter(row["reason"] for row in drops).items())),
            "seconds": {"total": 1.0},
            "files": {},
        },
    )


def write_rows(path: Path, rows: Sequence[Row], columns: tuple[Column, ...]) -> None:
    """Write a shard's table; there is none without rows."""
    if rows:
        with write_whole(path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows, arrow_schema(columns)), temporary)


def dropped_row(drop: Drop, row: Row) -> Row:
    """Return the drops columns; a sensitive reason keeps ids alone, others what was answered."""
    url_hash = hashlib.blake2b(row["url"].encode(), digest_size=8).digest()
    ids = {"uid": row["uid"], "url_hash": url_hash, "reason": str(drop), "stage": drop.stage}
    if drop.sensitive:
        return ids | {"signal": "noai"}
    return row | ids | {"http_status": 503, "final_url": "https://example.org/busy", "detail": "x"}


def sample_row(key: str, row: Row, sha256: bytes | None = None) -> Row:
    """Return the metadata columns of a sample."""
    return row | {
        "SAMPLE_ID": int(key),
        "URL": row["url"],
        "TEXT": row["text"],
        "HEIGHT": 300,
        "WIDTH": 400,
        "LICENSE": "?",
        "NSFW": None,
        "similarity": 0.5,
        "key": key,
        "sha256": sha256 or hashlib.sha256(row["uid"]).digest(),
        "stored_sha256": hashlib.sha256(b"image").digest(),
        "bytes": 5,
        "format": "jpeg",
        "stored_width": 256,
        "stored_height": 256,
    }
