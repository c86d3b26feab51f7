"""A run folder opens as the page's samples: what a plain reading of its files says, row by row."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.plain_reading import LABELS, plain_reading

import webpairs
from webpairs.dataset.dataset import Dataset
from webpairs.dataset.open_shards import OneShard
from webpairs.errors import ConfigError


@pytest.fixture(scope="module")
def expected(loose_run: Path) -> list[dict[str, Any]]:
    rows = plain_reading(loose_run)
    assert len({row["key"][:5] for row in rows}) > 1, "one shard would not test much"
    return rows


def check(sample: dict[str, Any], row: dict[str, Any], names: list[str], *, raw: bool) -> None:
    """Compare a sample, dtypes and order of names included, with a plainly read row."""
    assert list(sample) == names
    for name in names:
        value, truth = sample[name], row[name]
        if name == "image":
            if raw:
                assert value == truth
            else:
                assert (value.dtype, value.shape[2]) == (np.uint8, 3)
                assert np.array_equal(value, np.asarray(Image.open(io.BytesIO(truth))))
        elif name.endswith("embedding"):
            assert value.dtype == np.float16
            assert np.array_equal(value, truth)
        else:
            assert value == truth, name
    types = {name: type(value) for name, value in sample.items()}
    assert types["caption"] is types["license"] is types["url"] is str
    assert (types["nsfw"], types["similarity"]) == (np.int64, np.float64)
    assert types["original_height"] is types["original_width"] is np.int32


METADATA = ("license", "nsfw", "original_height", "original_width", "similarity")
IMAGES = ["caption", "image", *METADATA, "url"]
EMBEDDINGS = ["caption", "image_embedding", *METADATA, "text_embedding", "url"]


def test_images_are_the_page_s_samples(loose_run: Path, expected: list[dict[str, Any]]) -> None:
    ds = webpairs.open(loose_run)
    for raw in (False, True):
        samples = list(ds.images(decode=None if raw else "rgb"))
        assert len(samples) == len(ds) == len(expected)
        for sample, row in zip(samples, expected, strict=True):
            check(sample, row, IMAGES, raw=raw)
    assert ds.problems.counts() == {}


def test_embeddings_are_the_page_s_samples(loose_run: Path, expected: list[dict[str, Any]]) -> None:
    samples = webpairs.open(loose_run).embeddings()
    for sample, row in zip(samples, expected, strict=True):
        check(sample, row, EMBEDDINGS, raw=True)


def test_rows_and_keys(loose_run: Path, expected: list[dict[str, Any]]) -> None:
    ds = webpairs.open(loose_run)
    names = sorted({*IMAGES, *EMBEDDINGS})
    for number in (0, 1, len(expected) // 2, len(expected) - 1):
        check(ds[number], expected[number], names, raw=False)
        check(ds[number - len(expected)], expected[number], names, raw=False)
        check(ds[expected[number]["key"]], expected[number], names, raw=False)
        check(ds.sample(number, decode=None), expected[number], names, raw=True)
    for wrong in (len(expected), -len(expected) - 1):
        with pytest.raises(IndexError, match=f"the dataset has {len(expected)} samples"):
            ds[wrong]
    with pytest.raises(KeyError):
        ds["000009999"]


def test_features_say_what_comes(loose_run: Path) -> None:
    features = webpairs.open(loose_run).features
    assert list(features) == sorted({*IMAGES, *EMBEDDINGS})
    assert features["nsfw"].labels == tuple(LABELS)
    assert features["image_embedding"].shape == features["text_embedding"].shape == (512,)
    assert features["similarity"].dtype == "float64"


def test_where_reads_and_counts_only_what_matches(
    loose_run: Path, expected: list[dict[str, Any]]
) -> None:
    ds = webpairs.open(loose_run)
    chosen = ds.where("similarity > 0.3 and original_width >= 300 and nsfw = 'UNTAGGED'")
    rows = [
        row
        for row in expected
        if row["similarity"] > 0.3 and row["original_width"] >= 300 and row["nsfw"] == 3
    ]
    assert 0 < len(rows) < len(expected)
    assert len(chosen) == len(rows)
    for sample, row in zip(chosen.images(decode=None), rows, strict=True):
        check(sample, row, IMAGES, raw=True)
    for sample, row in zip(chosen.embeddings(), rows, strict=True):
        check(sample, row, EMBEDDINGS, raw=True)
    assert chosen[len(rows) - 1]["url"] == rows[-1]["url"]
    assert chosen[rows[2]["key"]]["url"] == rows[2]["url"]
    other = next(row for row in expected if row["similarity"] <= 0.3)
    with pytest.raises(KeyError):
        chosen[other["key"]]
    narrower = chosen.where("similarity > 0.35")
    assert len(narrower) == sum(row["similarity"] > 0.35 for row in rows)


def test_select_takes_rows_of_what_was_chosen(
    loose_run: Path, expected: list[dict[str, Any]]
) -> None:
    rows = [row for row in expected if row["similarity"] > 0.3]
    chosen = webpairs.open(loose_run).where("similarity > 0.3").select(range(1, len(rows), 3))
    assert len(chosen) == len(rows[1::3])
    for sample, row in zip(chosen.images(decode=None), rows[1::3], strict=True):
        check(sample, row, IMAGES, raw=True)
    assert len(chosen.where("similarity > 0.35")) == sum(r["similarity"] > 0.35 for r in rows[1::3])
    for wrong in ([3, 2], [0, 0], [-1], [len(rows)]):
        with pytest.raises(ConfigError, match="rows have to rise"):
            chosen.select(wrong)


def test_batches(loose_run: Path, expected: list[dict[str, Any]]) -> None:
    ds = webpairs.open(loose_run)
    columns = ["key", "caption", "NSFW", "WIDTH", "similarity", "text_embedding", "image"]
    batches = list(ds.batches(7, columns=columns))
    assert [len(batch["key"]) for batch in batches[:-1]] == [7] * (len(expected) // 7)
    assert list(batches[0]) == columns
    place = 0
    for batch in batches:
        assert batch["text_embedding"].dtype == np.float16
        assert batch["similarity"].dtype == np.float64
        for number in range(len(batch["key"])):
            row = expected[place]
            for name in ("key", "caption", "similarity"):
                assert batch[name][number] == row[name]
            assert batch["NSFW"][number] is None
            assert batch["WIDTH"][number] == row["original_width"]
            assert np.array_equal(batch["text_embedding"][number], row["text_embedding"])
            assert batch["image"][number].shape == (256, 256, 3)
            place += 1
    assert place == len(expected)
    with pytest.raises(ConfigError, match="batches of 0"):
        ds.batches(0)
    with pytest.raises(ConfigError, match="no colour: there are caption"):
        ds.batches(1, columns=["colour"])


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 400))
def test_batches_of_any_size_are_full_but_the_last(
    loose_run: Path, expected: list[dict[str, Any]], size: int
) -> None:
    batches = list(webpairs.open(loose_run).batches(size, columns=["key", "image_embedding"]))
    num = len(expected)
    full, rest = divmod(num, size)
    assert [len(batch["key"]) for batch in batches] == [size] * full + [rest] * (rest > 0)
    assert [key for batch in batches for key in batch["key"]] == [row["key"] for row in expected]
    embeddings = np.concatenate([batch["image_embedding"] for batch in batches])
    assert np.array_equal(embeddings, np.stack([row["image_embedding"] for row in expected]))


def test_every_column_of_metadata_is_within_reach(loose_run: Path) -> None:
    ds = webpairs.open(loose_run)
    stored = pq.read_table(loose_run / "metadata")
    table = ds.table([name for name in stored.column_names if name not in ds.features])
    for name in table.column_names:
        assert table.column(name).to_pylist() == stored.column(name).to_pylist()


def test_it_pickles_as_paths(loose_run: Path, expected: list[dict[str, Any]]) -> None:
    ds = webpairs.open(loose_run).where("similarity > 0.3")
    assert ds[0]["url"]
    again = pickle.loads(pickle.dumps(ds))
    assert len(pickle.dumps(ds)) < 3_000
    assert len(again) == len(ds)
    assert again[3]["url"] == ds[3]["url"]


def test_import_stays_light() -> None:
    code = "import sys, webpairs; print(any(m in sys.modules for m in ('numpy', 'pyarrow')))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_a_pass_keeps_one_shard_open(loose_run: Path) -> None:
    ds = webpairs.open(loose_run)
    one = Dataset(ds.view, OneShard(ds.source, tuple(ds.features)))
    first, all_first = one.shard(0), ds.shard(0)
    assert one.shard(0) is first
    assert one.shard(1) is not first
    assert one.shard(0) is not first
    ds.shard(1)
    assert ds.shard(0) is all_first
    assert one.table(["key", "caption"]).equals(ds.table(["key", "caption"]))
