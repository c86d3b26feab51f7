"""LAION-400M's published form: its columns and files, what TFDS and clip-retrieval take of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exports import export, without_first_shard
from support.foreign_folders import (
    LAION,
    expected,
    laion_row,
    write_embeddings,
    write_img2dataset,
    write_laion_metadata,
)
from support.plain_reading import LABELS, plain_reading

import webpairs
from webpairs.dataset.dataset import Dataset
from webpairs.dataset.features import TABULAR
from webpairs.errors import ConfigError
from webpairs.export.formats.laion import write_npy

FEATURES = list(TABULAR)


@pytest.fixture(scope="module")
def exported(loose_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("laion")
    export(loose_run, out, "laion", samples_per_shard=60, columns=("language", "caption", "TEXT"))
    return out


def read_parts(folder: Path) -> list[dict[str, Any]]:
    paths = sorted((folder / "metadata").glob("part-*.parquet"))
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def tfds_example(row: dict[str, Any]) -> dict[str, Any]:
    """Return what TFDS's builder makes of a row of metadata, as it is published."""

    def is_missing(value: Any) -> bool:
        return value is None or (isinstance(value, float) and math.isnan(value))

    tags = ("UNLIKELY", "UNSURE", "NSFW", "UNTAGGED")
    return {
        "caption": row["caption"],
        "nsfw": tags.index(row["NSFW"] if row["NSFW"] in tags else "UNTAGGED"),
        "similarity": -1.0 if is_missing(row["similarity"]) else row["similarity"],
        "license": "" if is_missing(row["LICENSE"]) else row["LICENSE"],
        "url": row["url"],
        "original_width": row["original_width"],
        "original_height": row["original_height"],
    }


def features(ds: Dataset) -> list[dict[str, Any]]:
    return ds.table(FEATURES).to_pylist()


def test_metadata_has_the_eight_columns(exported: Path, loose_run: Path) -> None:
    schema = pq.read_schema(exported / "metadata" / "part-00000.parquet")
    assert pa.schema(list(schema)[:8]) == LAION
    assert schema.names[8:] == ["key", "uid", "language"]
    truth = plain_reading(loose_run)
    rows = read_parts(exported)
    assert len(rows) == len(truth)
    for row, wanted in zip(rows, truth, strict=True):
        assert row["SAMPLE_ID"] == int(wanted["key"])
        assert (row["key"], row["URL"], row["TEXT"]) == (
            *(wanted["key"], wanted["url"], wanted["caption"]),
        )
        assert (row["HEIGHT"], row["WIDTH"]) == (
            *(wanted["original_height"], wanted["original_width"]),
        )
        assert row["LICENSE"] == (wanted["license"] or "?")
        assert LABELS.index(row["NSFW"] or "UNTAGGED") == wanted["nsfw"]
        assert row["similarity"] == wanted["similarity"]


def test_webpairs_reads_metadata_again(exported: Path, loose_run: Path) -> None:
    source, again = webpairs.open(loose_run), webpairs.open(exported / "metadata")
    assert features(again) == features(source)
    columns = ["key", "uid", "language"]
    assert again.table(columns).equals(source.table(columns))
    assert again.problems.counts() == {}


def test_embeddings_stand_as_published(exported: Path, loose_run: Path) -> None:
    folder = exported / "embeddings"
    truth = plain_reading(loose_run)
    num_shards = -(-len(truth) // 60)
    for kind, suffix in (("img_emb", "npy"), ("text_emb", "npy"), ("metadata", "parquet")):
        names = {path.name for path in (folder / kind).iterdir()}
        assert names == {f"{kind}_{number}.{suffix}" for number in range(num_shards)}
    place = 0
    for number in range(num_shards):
        image = np.load(folder / "img_emb" / f"img_emb_{number}.npy")
        text = np.load(folder / "text_emb" / f"text_emb_{number}.npy")
        rows = pq.read_table(folder / "metadata" / f"metadata_{number}.parquet").to_pylist()
        assert image.dtype == text.dtype == np.float16
        for row, image_row, text_row in zip(rows, image, text, strict=True):
            wanted = truth[place]
            assert row["image_path"] == row["key"] == wanted["key"]
            assert tfds_example(row) == {name: wanted[name] for name in FEATURES}
            assert np.array_equal(image_row, wanted["image_embedding"])
            assert np.array_equal(text_row, wanted["text_embedding"])
            place += 1
    assert place == len(truth)


def test_webpairs_reads_embeddings_again(exported: Path, loose_run: Path) -> None:
    source, again = webpairs.open(loose_run), webpairs.open(exported / "embeddings")
    pairs = list(zip(source.embeddings(), again.embeddings(), strict=True))
    assert pairs
    for one, other in pairs:
        assert list(one) == list(other)
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert again.table(["key"]).equals(source.table(["key"]))
    joined = webpairs.open(exported / "metadata", embeddings=exported / "embeddings")
    assert len(list(joined.embeddings())) == len(pairs)


def test_what_is_missing_is_null_in_one_and_the_pages_value_in_the_other(tmp_path: Path) -> None:
    rows = [row for row in write_img2dataset(tmp_path / "source") if row]
    export(tmp_path / "source", tmp_path / "out", "laion")
    found = {row["key"]: row for row in read_parts(tmp_path / "out")}
    assert not (tmp_path / "out" / "embeddings").exists()
    for row in rows:
        told, truth = found[row["id"]], expected(row)
        assert told["TEXT"] == truth["caption"]
        assert told["LICENSE"] == (row["LICENSE"] or "?")
        assert told["NSFW"] == (row["NSFW"] if truth["nsfw"] < 3 else None)
        assert told["similarity"] == row["similarity"]
    again = webpairs.open(tmp_path / "out" / "metadata")
    assert features(again) == features(webpairs.open(tmp_path / "source"))

    unknown = {"similarity": pa.nulls(3), "original_width": pa.nulls(3), "NSFW": pa.nulls(3)}
    write_embeddings(tmp_path / "plain", "0", 3, **unknown)
    export(tmp_path / "plain", tmp_path / "embedded", "laion", config="both")
    table = pq.read_table(tmp_path / "embedded" / "embeddings" / "metadata" / "metadata_0.parquet")
    examples = [tfds_example(row) for row in table.to_pylist()]
    assert examples == features(webpairs.open(tmp_path / "plain"))
    assert examples[0]["original_width"] == 0
    (first, *_) = read_parts(tmp_path / "embedded")
    assert (first["WIDTH"], first["HEIGHT"], first["similarity"]) == (None, 2000, None)


def test_sizes_that_laion_swapped_come_out_right(tmp_path: Path) -> None:
    rows = [laion_row(number) for number in range(5)]
    write_laion_metadata(tmp_path / "source" / "part-00000.parquet", rows)
    export(tmp_path / "source", tmp_path / "out", "laion")
    found = read_parts(tmp_path / "out")
    assert [{name: row[name] for name in LAION.names} for row in found] == rows
    again = webpairs.open(tmp_path / "out" / "metadata")
    assert (again[2]["original_width"], again[2]["original_height"]) == (642, 482)
    with pytest.raises(ConfigError, match="no embeddings"):
        export(tmp_path / "source", tmp_path / "other", "laion", config="embeddings")


def test_keys_that_are_no_numbers_have_no_sample_id(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    keys = ["000000007", "a1", "9" * 25]
    table = {"key": keys, "URL": ["https://example.org/"] * 3, "TEXT": ["x"] * 3}
    pq.write_table(pa.table(table), tmp_path / "source" / "a.parquet")
    export(tmp_path / "source", tmp_path / "out", "laion")
    rows = read_parts(tmp_path / "out")
    assert [row["SAMPLE_ID"] for row in rows] == [7, None, None]
    assert [row["key"] for row in rows] == keys


def test_a_part_of_the_key_is_refused(tmp_path: Path) -> None:
    """As in the embedding folders of 2021, whose keys start anew in each shard."""
    parts = {"key": pa.array(range(3)), "shard_id": pa.array([7, 7, 8])}
    write_embeddings(tmp_path / "source", "0", 3, **parts)
    keys = webpairs.open(tmp_path / "source").table(["key"]).column("key")
    assert keys.to_pylist() == ["00007000000000", "00007000000001", "00008000000002"]
    with pytest.raises(ConfigError, match=r"shard_id.*leave it out"):
        export(tmp_path / "source", tmp_path / "other", "laion", columns=("shard_id",))
    export(tmp_path / "source", tmp_path / "out", "laion", config="embeddings")
    again = webpairs.open(tmp_path / "out" / "embeddings")
    assert again.table(["key"]).column("key").equals(keys)


def test_shuffled_embeddings_stay_with_their_rows(loose_run: Path, tmp_path: Path) -> None:
    export(loose_run, tmp_path, "laion", config="embeddings", shuffle=4)
    truth = {row["key"]: row for row in plain_reading(loose_run)}
    table = pq.read_table(tmp_path / "embeddings" / "metadata" / "metadata_0.parquet")
    keys = table.column("key").to_pylist()
    assert keys != sorted(keys)
    assert sorted(keys) == sorted(truth)
    text = np.load(tmp_path / "embeddings" / "text_emb" / "text_emb_0.npy")
    for key, row in zip(keys, text, strict=True):
        assert np.array_equal(row, truth[key]["text_embedding"])


def test_a_shard_without_a_sample_has_its_files(loose_run: Path, tmp_path: Path) -> None:
    num = without_first_shard(loose_run, tmp_path / "source")
    export(tmp_path / "source", tmp_path / "out", "laion", samples_per_shard=num)
    folder = tmp_path / "out" / "embeddings"
    source, again = webpairs.open(loose_run), webpairs.open(folder)
    for kind in ("img_emb", "text_emb"):
        shape = np.load(folder / kind / f"{kind}_0.npy").shape
        assert shape == (0, source.source.embedding_size)
    assert features(again) == features(source)[num:]
    assert len(list(again.embeddings())) == len(again) > 0
    assert features(webpairs.open(tmp_path / "out" / "metadata")) == features(source)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=5), st.integers(1, 40))
def test_npy_in_pieces_is_what_numpy_saves(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[int], size: int
) -> None:
    folder = tmp_path_factory.mktemp("npy")
    rng = np.random.default_rng(size)
    rows = [rng.standard_normal((num, size)).astype(np.float16) for num in pieces]
    with write_npy(folder / "ours.npy", size) as add_rows:
        for some in rows:
            add_rows(some)
    np.save(folder / "theirs.npy", np.concatenate([np.zeros((0, size), np.float16), *rows]))
    assert (folder / "ours.npy").read_bytes() == (folder / "theirs.npy").read_bytes()


# What is not a text in UTF-8 cannot be in parquet; all else can.
texts = st.text(st.characters(codec="utf-8"), max_size=30)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=20))
def test_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("texts")
    given = [laion_row(n, TEXT=text, URL=url) for n, (text, url) in enumerate(rows)]
    write_laion_metadata(folder / "source" / "a.parquet", given)
    export(folder / "source", folder / "out", "laion")
    assert [(row["TEXT"], row["URL"]) for row in read_parts(folder / "out")] == rows
    again = webpairs.open(folder / "out" / "metadata")
    assert [(sample["caption"], sample["url"]) for sample in again] == rows
