"""Candidates files for tests of the stages behind extract."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.dedupe.cut import UNIQUE_SCHEMA, Cut
from webpairs.dedupe.dedupe import CANDIDATES_SCHEMA
from webpairs.extract.candidates import BUCKETS_KEY

Row = dict[str, Any]


def uid(url: str, text: str) -> bytes:
    return hashlib.blake2b(f"{url}\0{text}".encode(), digest_size=16).digest()


def write_candidates(path: Path, rows: list[Row]) -> str:
    """Write a candidates file as extract does: a row group per bucket, buckets listed."""
    buckets = defaultdict[int, list[Row]](list)
    for made in rows:
        buckets[made["uid"][0]].append(made)
    with pq.ParquetWriter(path, CANDIDATES_SCHEMA) as writer:
        for bucket in sorted(buckets):
            writer.write_table(pa.Table.from_pylist(buckets[bucket], CANDIDATES_SCHEMA))
        listed = ",".join(map(str, sorted(buckets)))
        writer.add_key_value_metadata({BUCKETS_KEY: listed.encode()})
    return str(path)


def read(cut: Cut) -> list[Row]:
    tables = [pq.read_table(shard.path) for shard in cut.shards]
    return pa.concat_tables([UNIQUE_SCHEMA.empty_table(), *tables]).to_pylist()
