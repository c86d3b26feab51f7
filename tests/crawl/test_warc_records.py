"""Other people's readers read a run folder, and what they read agrees by key."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset
from PIL import Image

from webpairs.build.shard_writer import METADATA_SCHEMA


def rows_by_key(out: Path) -> dict[str, dict[str, Any]]:
    table = pa.concat_tables(
        [pq.read_table(path) for path in sorted((out / "metadata").glob("*.parquet"))]
    )
    assert table.schema.equals(METADATA_SCHEMA)
    return {row["key"]: row for row in table.to_pylist()}


# webdataset leaves closing the tars to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_and_pyarrow_agree(loose_run: Path) -> None:
    rows = rows_by_key(loose_run)
    tars = [str(path) for path in sorted((loose_run / "images").glob("*.tar"))]
    samples = {one["__key__"]: one for one in webdataset.WebDataset(tars, shardshuffle=False)}
    assert list(samples) == list(rows), "the same samples in the same order"
    for key, row in rows.items():
        said, text = json.loads(samples[key]["json"]), samples[key]["txt"].decode()
        assert said["key"] == key
        assert said["uid"] == row["uid"].hex()
        assert text == said["caption"] == row["TEXT"]
        assert said["url"] == row["URL"]
        assert said["similarity"] == row["similarity"]
        assert hashlib.sha256(samples[key]["jpg"]).digest() == row["stored_sha256"]
        with Image.open(io.BytesIO(samples[key]["jpg"])) as image:
            assert image.format == "JPEG"
            assert image.size == (row["stored_width"], row["stored_height"]) == (256, 256)


def test_uids_are_of_url_and_text(loose_run: Path) -> None:
    for row in rows_by_key(loose_run).values():
        content = row["URL"].encode() + b"\0" + row["TEXT"].encode()
        assert row["uid"] == hashlib.blake2b(content, digest_size=16).digest()
        assert row["SAMPLE_ID"] == int(row["key"])


def test_duckdb_and_pyarrow_agree(loose_run: Path) -> None:
    rows = rows_by_key(loose_run)
    with duckdb.connect() as duck:
        found = duck.execute(
            "select key, URL, TEXT, WIDTH, HEIGHT, similarity, uid from read_parquet(?) "
            "order by key",
            [str(loose_run / "metadata" / "*.parquet")],
        ).fetchall()
        reasons = duck.execute(
            "select reason, stage, count(*) from read_parquet(?) group by all order by all",
            [str(loose_run / "drops" / "*.parquet")],
        ).fetchall()
    names = ("key", "URL", "TEXT", "WIDTH", "HEIGHT", "similarity", "uid")
    assert found == [tuple(row[name] for name in names) for row in rows.values()]
    assert ("too_small", "obtain") in [reason[:2] for reason in reasons]


def test_numpy_reads_an_embedding_for_every_row(loose_run: Path) -> None:
    for path in sorted((loose_run / "metadata").glob("*.parquet")):
        num_rows = pq.read_metadata(path).num_rows
        for kind in ("img", "text"):
            file = loose_run / "embeddings" / f"{kind}_emb" / f"{kind}_emb_{path.stem}.npy"
            vectors = np.load(file, mmap_mode="r", allow_pickle=False)
            assert vectors.shape == (num_rows, 512)
            assert vectors.dtype == np.float16


def test_the_index_finds_every_sample_in_the_tar(loose_run: Path) -> None:
    for path in sorted((loose_run / "images").glob("*.tar")):
        keys = pq.read_table(loose_run / "metadata" / f"{path.stem}.parquet").column("key")
        offsets = np.fromfile(path.with_suffix(".tar.idx"), dtype="<u8").tolist()
        data = path.read_bytes()
        assert len(offsets) == len(keys) + 1
        # A tar header begins with the member's name.
        assert [data[offset : offset + 13].decode() for offset in offsets[:-1]] == [
            f"{key}.jpg" for key in keys.to_pylist()
        ]
        assert not data[offsets[-1] :].strip(b"\0")
