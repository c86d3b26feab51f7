"""img2dataset's output opens with every image under its own caption, whatever its order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.foreign_folders import Row, Style, expected, picture, write_img2dataset
from webdataset.writer import TarWriter

import webpairs
from webpairs.errors import DataError
from webpairs.verify.verify import verify_dataset

STYLES = [
    Style(),
    Style(stats=False),
    Style(keys="text"),
    Style(keys="number"),
    Style("parquet"),
    Style("parquet", keys="text", stats=False),
    Style("parquet", keys="number"),
]


def check(sample: dict[str, Any], row: Row) -> None:
    assert sample.pop("image") == row["image"]
    assert sample == expected(row)


@pytest.mark.parametrize("style", STYLES, ids=str)
def test_every_image_has_its_own_row(tmp_path: Path, style: Style) -> None:
    """Upstream's builder gave 761 of 804 images another row's caption."""
    rows = write_img2dataset(tmp_path, style=style)
    ds = webpairs.open(tmp_path)
    assert len(ds) == len(rows)
    for sample, row in zip(ds.images(decode=None), rows, strict=True):
        check(sample, row)
    for number in (0, len(rows) // 2, len(rows) - 1):
        check(ds.sample(number, decode=None), rows[number])
        check(ds.sample(rows[number]["id"], decode=None), rows[number])
    assert ds.table(["key"]).column("key").to_pylist() == [row["id"] for row in rows]
    assert ds.table(["sha256"]).column("sha256").to_pylist() == [row["sha256"] for row in rows]
    with pytest.raises(KeyError):
        ds["000010000000"]
    assert ds.problems.counts() == {"row_corrupt": sum(_is_corrupt(row) for row in rows)}


def _is_corrupt(row: Row) -> bool:
    return row["NSFW"] == "0.31" or row["url"] is None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.floats(0, 1), st.sampled_from(STYLES))
def test_whatever_failed_and_came_in_whatever_order(
    tmp_path_factory: pytest.TempPathFactory, seed: int, failed: float, style: Style
) -> None:
    folder = tmp_path_factory.mktemp("download")
    rows = write_img2dataset(
        folder, num_shards=2, shard_size=12, style=style, seed=seed, failed=failed
    )
    ds = webpairs.open(folder)
    assert len(ds) == len(rows)
    for sample, row in zip(ds.images(decode=None), rows, strict=True):
        check(sample, row)


def test_where_and_embeddings_of_a_source_without(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path)
    ds = webpairs.open(tmp_path)
    chosen = ds.where("similarity > 0.5 and nsfw = 'UNTAGGED' and status = 'success'")
    wanted = [row for row in rows if (e := expected(row))["similarity"] > 0.5 and e["nsfw"] == 3]
    assert 0 < len(wanted) < len(rows)
    for sample, row in zip(chosen.images(decode=None), wanted, strict=True):
        check(sample, row)
    assert "image_embedding" not in ds.features
    with pytest.raises(webpairs.errors.ConfigError, match="has no image_embedding"):
        ds.embeddings()


def test_absent_and_broken_shards_do_not_end_it(tmp_path: Path) -> None:
    """Upstream's builder wants all 41,455."""
    rows = write_img2dataset(tmp_path, num_shards=7)
    for path in tmp_path.glob("00001*"):
        path.unlink()
    (tmp_path / "00002.tar").unlink()
    (tmp_path / "00003.parquet").write_bytes(b"PAR1 was being written")
    (tmp_path / "00003_stats.json").unlink()
    (tmp_path / "00004.parquet").unlink()
    (tmp_path / "00005.tar").write_bytes(b"")
    ds = webpairs.open(tmp_path)
    wanted = [row for row in rows if row["shard"] in ("00000", "00004", "00006")]
    samples = list(ds.images(decode=None))
    assert len(samples) == len(wanted)
    for sample, row in zip(samples, wanted, strict=True):
        check(sample, row)
    num_lost = sum(row["shard"] == "00005" for row in rows)
    counts = ds.problems.counts()
    assert counts.pop("row_corrupt") == sum(
        _is_corrupt(row) for row in rows if row["shard"] in ("00000", "00004", "00005", "00006")
    )
    assert counts == {
        "shard_unreadable": 1,
        "images_missing": 1,
        "metadata_missing": 1,
        "tar_broken": 1,
        "no_image": num_lost,
    }
    assert {found.shard for found in ds.problems.listed() if not found.key} == {
        *("00002", "00003", "00004", "00005")
    }


@pytest.mark.parametrize("keys", ["global", "text"])
def test_a_table_without_keys_gives_way_to_the_tar(tmp_path: Path, keys: str) -> None:
    """Nothing else says whose image is whose: its rows may be in any order, failures among them."""
    rows = write_img2dataset(tmp_path, num_shards=3, style=Style(keys=keys))
    for name in ("00001", "00002"):  # the last one is asked whether keys start anew
        path = tmp_path / f"{name}.parquet"
        table = pq.read_table(path)
        pq.write_table(table.rename_columns([one.upper() for one in table.column_names]), path)
    ds = webpairs.open(tmp_path)
    assert len(ds) == len(rows)
    for sample, row in zip(ds.images(decode=None), rows, strict=True):
        assert sample["image"] == row["image"]
        if row["shard"] == "00000":
            check(sample, row)
        else:
            assert sample["caption"] == (row["caption"] or "")
    assert ds.table(["key"]).column("key").to_pylist() == [row["id"] for row in rows]
    assert ds.problems.counts()["key_missing"] == 2
    listed = [one for one in ds.problems.listed() if str(one.problem) == "key_missing"]
    assert [one.shard for one in listed] == ["00001", "00002"]
    assert "00001.parquet has no column key, but URL, CAPTION, " in listed[0].detail
    faults = [one for one in verify_dataset(tmp_path, workers=1).findings.listed if one.file]
    wrong = [one.line for one in faults if str(one.fault) == "schema_wrong"]
    assert [line.split(":")[0] for line in wrong] == ["00001.parquet", "00002.parquet"]


@pytest.mark.parametrize("name", ["key", "jpg"])
def test_a_table_of_images_without_a_column_is_left_out(tmp_path: Path, name: str) -> None:
    rows = write_img2dataset(tmp_path, num_shards=2, style=Style("parquet", stats=False))
    path = tmp_path / "00001.parquet"
    pq.write_table(pq.read_table(path).drop_columns([name]), path)
    ds = webpairs.open(tmp_path)
    wanted = [row for row in rows if row["shard"] == "00000"]
    for sample, row in zip(ds.images(decode=None), wanted, strict=True):
        check(sample, row)
    (found,) = [one for one in ds.problems.listed() if str(one.problem) == "shard_unreadable"]
    assert f"00001.parquet has no column {name}, but url, caption, " in found.detail


def test_a_tar_that_was_cut_is_read_up_to_there(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path, num_shards=1)
    tar = tmp_path / "00000.tar"
    data = tar.read_bytes()
    place = data.index(rows[9]["image"])
    tar.write_bytes(data[: place + 20])
    ds = webpairs.open(tmp_path)
    samples = list(ds.images(decode=None))
    assert len(samples) == 9
    for sample, row in zip(samples, rows, strict=False):
        check(sample, row)
    lost = rows[9:]
    assert ds.problems.counts()["no_image"] == len(lost)
    assert ds.problems.counts()["tar_broken"] == 1
    listed = [found.key for found in ds.problems.listed() if str(found.problem) == "no_image"]
    assert listed == [row["id"] for row in lost]
    assert sum(1 for _ in ds.images(decode=None)) == 9
    assert ds.problems.counts()["no_image"] == len(lost), "counted once, however often it is read"
    with pytest.raises(DataError, match="has no image"):
        ds[10]


def test_stats_that_are_wrong_are_told(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path, num_shards=2)
    (tmp_path / "00000_stats.json").write_text(json.dumps({"successes": 1}))
    ds = webpairs.open(tmp_path)
    assert sum(1 for _ in ds.images(decode=None)) == len(rows)
    assert ds.problems.counts()["count_wrong"] == 1


def test_a_key_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path, num_shards=1)
    path = tmp_path / "00000.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table, table.slice(3, 20)]), path)
    ds = webpairs.open(tmp_path)
    for sample, row in zip(ds.images(decode=None), rows, strict=True):
        check(sample, row)
    repeated = sum(status == "success" for status in table.column("status").to_pylist()[3:23])
    assert ds.problems.counts()["key_repeated"] == repeated


def test_only_images_are_images_wherever_they_stand(tmp_path: Path) -> None:
    """Upstream takes any member but .json and .txt for one."""
    with (tmp_path / "00000.tar").open("wb") as file:
        writer = TarWriter(file)
        writer.write({"__key__": "000000001", "npy": b"vector", "txt": "one"})
        writer.write({"__key__": "000000000", "json": '{"similarity": 0.5, "x": [1]}'})
        writer.write({"__key__": "000000001", "PNG": picture(1), "json": "{broken"})
        writer.write({"__key__": "000000000", "cls": "7", "webp": picture(0), "txt": "zero"})
        writer.write({"__key__": "000000002", "txt": "no image"})
        writer.close()
    ds = webpairs.open(tmp_path)
    assert len(ds) == 2
    samples = list(ds.images(decode=None))
    assert [(s["caption"], s["image"]) for s in samples] == [
        ("one", picture(1)),
        ("zero", picture(0)),
    ]
    assert [s["similarity"] for s in samples] == [-1.0, 0.5]
    assert [s["url"] for s in samples] == ["", ""]
    assert ds.problems.counts() == {"no_image": 1}


def test_images_without_a_row_are_counted(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path, num_shards=1, failed=0)
    path = tmp_path / "00000.parquet"
    pq.write_table(pq.read_table(path).slice(4), path)
    (tmp_path / "00000_stats.json").unlink()
    ds = webpairs.open(tmp_path)
    for sample, row in zip(ds.images(decode=None), rows[4:], strict=True):
        check(sample, row)
    assert ds.problems.counts()["no_row"] == 4


def test_sizes_that_were_not_kept_are_zero(tmp_path: Path) -> None:
    """With --disable_all_reencoding there are none; upstream writes -2147483648."""
    write_img2dataset(tmp_path, num_shards=1, failed=0)
    path = tmp_path / "00000.parquet"
    table = pq.read_table(path)
    for name in ("original_width", "original_height"):
        nothing = pa.array([float("nan")] * table.num_rows)
        table = table.set_column(table.schema.get_field_index(name), name, nothing)
    pq.write_table(table, path)
    samples = list(webpairs.open(tmp_path).images(decode=None))
    assert {(s["original_width"], s["original_height"]) for s in samples} == {(0, 0)}
