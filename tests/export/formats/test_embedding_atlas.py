"""Parquet for Embedding Atlas has the pictures, vectors and places of the samples it says."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.exports import export, without_first_shard
from support.foreign_folders import (
    laion_row,
    write_embeddings,
    write_img2dataset,
    write_laion_metadata,
)
from support.plain_reading import LABELS, plain_reading

import webpairs
from webpairs.clusters import Plane, fit_plane, unit_rows
from webpairs.errors import ConfigError

COLUMNS = [
    *("caption", "similarity", "nsfw", "license", "host", "original_width", "original_height"),
    *("url", "key", "uid"),
]


def written(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])


def test_every_sample_is_there_with_its_picture_and_vector(loose_run: Path, tmp_path: Path) -> None:
    export(loose_run, tmp_path, "embedding-atlas")
    (path,) = tmp_path.glob("*.parquet")
    table = pq.read_table(path)
    assert path.name == "00000.parquet"
    assert table.column_names == ["image", *COLUMNS, "image_embedding", "x", "y"]
    truth = plain_reading(loose_run)
    assert table.num_rows == len(truth)
    ds = webpairs.open(loose_run)
    vectors = np.concatenate([batch["image_embedding"] for batch in ds.batches(64)])
    assert table.schema.field("image_embedding").type == pa.list_(pa.float32(), vectors.shape[1])
    for row, wanted, vector in zip(table.to_pylist(), truth, vectors, strict=True):
        for name in ("caption", "url", "key", "original_width"):
            assert row[name] == wanted[name], name
        assert row["nsfw"] == LABELS[wanted["nsfw"]]
        assert row["license"] == (wanted["license"] or None)
        assert row["similarity"] == wanted["similarity"]
        assert f"//{row['host']}" in row["url"].lower()
        assert np.array_equal(np.array(row["image_embedding"]), vector.astype(np.float32))
        assert row["image"]["path"] == f"{row['key']}.jpg"
        with Image.open(io.BytesIO(row["image"]["bytes"])) as small:
            assert (small.format, max(small.size)) == ("JPEG", 144)
            stored = Image.fromarray(ds[row["key"]]["image"]).resize(small.size)
            assert np.abs(np.array(small, int) - np.array(stored, int)).mean() < 12


def test_places_are_of_the_plane_whatever_the_shards(loose_run: Path, tmp_path: Path) -> None:
    """It is fitted to the whole dataset, so that parts made apart lie on one map."""
    export(loose_run, tmp_path / "one", "embedding-atlas")
    export(loose_run, tmp_path / "many", "embedding-atlas", samples_per_shard=9, workers=2)
    assert len(list((tmp_path / "many").glob("*.parquet"))) > 3
    one, many = written(tmp_path / "one"), written(tmp_path / "many")
    assert one.equals(many)
    points, _ = unit_rows(np.stack(one.column("image_embedding").to_numpy()))
    places = np.stack([one.column(name).to_numpy() for name in ("x", "y")], axis=1)
    assert np.abs(places - fit_plane(points, 0).project(points)).max() < 1e-6
    # The plane shows more of the variance than two directions drawn blindly.
    share = places.var(axis=0).sum() / points.var(axis=0).sum()
    assert share > 5 * 2 / points.shape[1]


def test_similar_pictures_lie_together() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(3, 64)
    labels = np.repeat(np.arange(3), 200)
    points, good = unit_rows(centres[labels] + 0.02 * rng.standard_normal((600, 64)))
    assert good.all()
    places = fit_plane(points, 0).project(points)
    middles = np.stack([places[labels == one].mean(axis=0) for one in range(3)])
    nearest = np.linalg.norm(places[:, None] - middles, axis=2).argmin(axis=1)
    assert (nearest == labels).all()
    plane = fit_plane(points[:1], 0)
    assert np.array_equal(plane.project(points[:1]), np.zeros((1, 2)))


def test_a_sum_does_not_depend_on_its_neighbours() -> None:
    rng = np.random.default_rng(1)
    points = rng.standard_normal((77, 512)).astype(np.float32)
    plane = Plane(points.mean(axis=0), points[:2])
    whole = plane.project(points)
    assert all(np.array_equal(plane.project(points[n : n + 1])[0], whole[n]) for n in range(77))


@pytest.mark.parametrize(
    ("config", "has"),
    [("images", {"image", "x", "y"}), ("embeddings", {"image_embedding", "x", "y"})],
)
def test_a_config_says_what_is_written(
    loose_run: Path, tmp_path: Path, config: str, has: set[str]
) -> None:
    where = "similarity > 0.1"
    export(loose_run, tmp_path, "embedding-atlas", config=config, where=where, columns=("tags",))
    table = written(tmp_path)
    assert set(table.column_names) == {*COLUMNS, "tags", *has}
    assert 0 < table.num_rows == len(webpairs.open(loose_run).where(where))


def test_pictures_without_embeddings_have_no_place(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source")
    export(tmp_path / "source", tmp_path / "out", "embedding-atlas")
    table = written(tmp_path / "out")
    assert table.column_names == ["image", *(name for name in COLUMNS if name != "uid")]
    assert table.column("key").to_pylist() == [row["id"] for row in rows]
    hosts = [None if row["url"] is None else "example.org" for row in rows]
    assert table.column("host").to_pylist() == hosts
    assert table.column("similarity").to_pylist() == [row["similarity"] for row in rows]


def test_metadata_alone_is_a_table(tmp_path: Path) -> None:
    rows = [laion_row(n, WIDTH=0 if n else 7, LICENSE="?") for n in range(5)]
    write_laion_metadata(tmp_path / "source" / "a.parquet", rows)
    export(tmp_path / "source", tmp_path / "out", "embedding-atlas")
    table = written(tmp_path / "out")
    assert table.column_names == [name for name in COLUMNS if name not in ("key", "uid")] + ["key"]
    assert table.column("license").null_count == 5
    sizes = table.column("original_width").to_pylist(), table.column("original_height").to_pylist()
    assert sorted(one.count(None) for one in sizes) == [0, 4]


def test_what_is_broken_is_skipped_and_counted(loose_run: Path, tmp_path: Path) -> None:
    num_gone = without_first_shard(loose_run, tmp_path / "run")
    path = sorted((tmp_path / "run").rglob("img_emb_*.npy"))[0]
    vectors = np.load(path)
    vectors[3], vectors[5] = 0, np.nan
    np.save(path, vectors)
    (report,) = export(tmp_path / "run", tmp_path / "out", "embedding-atlas").reports
    table = written(tmp_path / "out")
    assert report.num_samples == table.num_rows == report.num_rows - sum(report.skipped.values())
    assert report.skipped == {"no_embedding": num_gone + 2}
    assert np.isfinite(table.column("x").to_numpy()).all()
    keys = {key for reason, key, detail in report.listed if "its length is" in detail}
    assert len(keys) == 2
    assert not keys & set(table.column("key").to_pylist())


def test_a_picture_that_does_not_decode_is_skipped(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source", num_shards=1, failed=0)
    tar = tmp_path / "source" / "00000.tar"
    data, image = tar.read_bytes(), rows[4]["image"]
    tar.write_bytes(data.replace(image, b"GIF8" + b"\0" * (len(image) - 4)))
    (report,) = export(tmp_path / "source", tmp_path / "out", "embedding-atlas").reports
    assert report.skipped == {"image_broken": 1}
    assert report.listed[0][1] == rows[4]["id"]
    keys = written(tmp_path / "out").column("key").to_pylist()
    assert keys == [row["id"] for row in rows if row is not rows[4]]


def test_shuffled_rows_stay_whole(tmp_path: Path) -> None:
    source = tmp_path / "source"
    pairs = [write_embeddings(source, str(n), 10, first=10 * n) for n in range(3)]
    export(source, tmp_path / "out", "embedding-atlas", shuffle=3)
    image = np.concatenate([pair[0] for pair in pairs]).astype(np.float32)
    for row in written(tmp_path / "out").to_pylist():
        number = int(row["caption"].split()[-1])
        assert row["image_embedding"] == image[number].tolist()


def test_its_types_are_those_that_embedding_atlas_reads(loose_run: Path, tmp_path: Path) -> None:
    """It reads with pandas, and asks DuckDB: pictures are to be a struct of bytes and path."""
    export(loose_run, tmp_path, "embedding-atlas")
    table = duckdb.sql(f"describe select * from '{tmp_path}/*.parquet'").fetchall()
    types: dict[str, Any] = {name: type for name, type, *_ in table}
    assert types["image"] == "STRUCT(bytes BLOB, path VARCHAR)"
    assert types["image_embedding"].startswith("FLOAT[")
    assert types["x"] == types["y"] == "FLOAT"
    assert types["uid"] == types["nsfw"] == types["host"] == "VARCHAR"


@pytest.mark.parametrize(
    ("name", "match"), [("x", "has no such column"), ("text_embedding", "leave it out")]
)
def test_columns_that_are_not_its_are_refused(
    loose_run: Path, tmp_path: Path, name: str, match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        export(loose_run, tmp_path / "out", "embedding-atlas", columns=(name,))
    assert not (tmp_path / "out").exists()


def test_a_file_is_no_place_to_go_on(loose_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"use --out .*atlas, which will hold 00000\.parquet"):
        export(loose_run, tmp_path / "atlas.parquet", "embedding-atlas")
