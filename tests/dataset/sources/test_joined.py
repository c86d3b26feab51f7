"""Embeddings computed elsewhere stand beside their own images, whatever the order of either."""

from __future__ import annotations

import pickle
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.foreign_folders import Row, Style, expected, write_embeddings, write_img2dataset

import webpairs
from webpairs.errors import ConfigError, DataError


def embed(folder: Path, rows: list[Row], num_files: int, *columns: str) -> dict[str, np.ndarray]:
    """Write embeddings of `rows`, cut into files; return the image's and the text's by `id`."""
    by_id: dict[str, np.ndarray] = {}
    for number, part in enumerate(np.array_split(np.arange(len(rows)), num_files)):
        here = [rows[place] for place in part]
        table = {
            "url": pa.array([row["url"] for row in here], pa.string()),
            "caption": pa.array([row["caption"] or "" for row in here], pa.string()),
            "key": pa.array([row["id"] for row in here], pa.string()),
        }
        both = write_embeddings(folder, str(number), len(here), first=1_000 * number, **table)
        path = folder / "metadata" / f"metadata_{number}.parquet"
        pq.write_table(pq.read_table(path, columns=list(columns) or None), path)
        by_id |= {row["id"]: np.stack(pair) for row, *pair in zip(here, *both, strict=True)}
    return by_id


def named(rows: list[Row]) -> list[Row]:
    """Return rows that have a url: those without are told from each other by nothing."""
    return [row for row in rows if row["url"] is not None]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from(["webdataset", "parquet"]))
def test_every_image_has_its_own_embedding(
    tmp_path_factory: pytest.TempPathFactory, seed: int, num_files: int, output_format: str
) -> None:
    folder = tmp_path_factory.mktemp("joined")
    rows = write_img2dataset(
        folder / "images", num_shards=2, shard_size=20, style=Style(output_format), seed=seed
    )
    rng = random.Random(seed)
    shuffled = rng.sample(named(rows), k=len(named(rows)))
    lost = {row["id"] for row in shuffled[: seed % 4]}
    by_id = embed(folder / "clip", shuffled[seed % 4 :], num_files)
    ds = webpairs.open(folder / "images", embeddings=folder / "clip")
    assert len(ds) == len(rows)
    wanted = [row for row in named(rows) if row["id"] not in lost]
    for sample, row in zip(ds.embeddings(), wanted, strict=True):
        pair = np.stack([sample.pop("image_embedding"), sample.pop("text_embedding")])
        assert np.array_equal(pair, by_id[row["id"]])
        assert sample == expected(row)
    for batch in ds.batches(7, columns=["key", "image", "image_embedding"], decode=None):
        for key, image, embedding in zip(*batch.values(), strict=True):
            (row,) = [row for row in rows if row["id"] == key]
            assert image == row["image"]
            assert np.array_equal(embedding, by_id[key][0])
    assert ds.problems.counts().get("no_embedding", 0) == len(rows) - len(wanted)
    assert sum(1 for _ in ds.images(decode=None)) == len(rows)
    if wanted:
        again = pickle.loads(pickle.dumps(ds))
        sample = again.sample(wanted[-1]["id"], decode=None)
        assert sample["image"] == wanted[-1]["image"]
        assert np.array_equal(sample["text_embedding"], by_id[wanted[-1]["id"]][1])
    for key in lost:
        with pytest.raises(DataError, match="has no embeddings"):
            ds[key]


def test_without_urls_and_captions_the_key_joins(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "images")
    by_id = embed(tmp_path / "clip", rows[::-1], 2, "key", "NSFW")
    ds = webpairs.open(tmp_path / "images", embeddings=tmp_path / "clip")
    chosen = ds.where("similarity > 0.5")
    keys = chosen.table(["key"]).column("key").to_pylist()
    assert 0 < len(keys) < len(rows)
    for sample, key in zip(chosen.embeddings(), keys, strict=True):
        assert np.array_equal(sample["image_embedding"], by_id[key][0])


def test_what_nothing_joins_is_refused(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "images")
    with pytest.raises(ConfigError, match="has no embeddings to join"):
        webpairs.open(tmp_path / "images", embeddings=tmp_path / "images")
    embed(tmp_path / "clip", rows, 1, "NSFW")  # its keys would be given by place
    with pytest.raises(ConfigError, match="both need columns url and caption, or key"):
        webpairs.open(tmp_path / "images", embeddings=tmp_path / "clip")


def test_files_that_do_not_align_are_not_joined(tmp_path: Path) -> None:
    rows = named(write_img2dataset(tmp_path / "images"))
    by_id = embed(tmp_path / "clip", rows, 2)
    npy = tmp_path / "clip" / "img_emb" / "img_emb_0.npy"
    np.save(npy, np.load(npy)[1:])
    ds = webpairs.open(tmp_path / "images", embeddings=tmp_path / "clip")
    half = len(np.array_split(np.arange(len(rows)), 2)[0])
    for sample, row in zip(ds.embeddings(), rows[half:], strict=True):
        assert np.array_equal(sample["image_embedding"], by_id[row["id"]][0])
    assert ds.problems.counts()["no_embedding"] > 0
