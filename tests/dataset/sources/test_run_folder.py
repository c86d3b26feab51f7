"""Run folders that were damaged or added to: what is right is read, what is wrong is told."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import webpairs
from webpairs.dataset.dataset import Dataset
from webpairs.dataset.problems import Problems
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.dataset.sources.source import Shard
from webpairs.errors import DataError
from webpairs.files import write_json


@pytest.fixture
def run(loose_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(loose_run, tmp_path / "run"))


def keys(run: Path, shard: str = "00000") -> list[str]:
    return pq.read_table(run / "metadata" / f"{shard}.parquet").column("key").to_pylist()


def urls_and_images(ds: Dataset) -> list[tuple[str, bytes]]:
    return [(sample["url"], sample["image"]) for sample in ds.images(decode=None)]


@pytest.mark.parametrize("fault", ["absent", "merged", "short", "empty", "noise", "another"])
def test_a_wrong_index_is_noticed_and_not_followed(loose_run: Path, run: Path, fault: str) -> None:
    path = run / "images" / "00000.tar.idx"
    starts = np.fromfile(path, "<u8")
    if fault == "absent":
        path.unlink()
    elif fault == "merged":  # as many samples, each where the next one is
        with tarfile.open(path.with_suffix("")) as tar:
            text = tar.getmembers()[-2].offset
        np.array([starts[0], *starts[2:-1], text, starts[-1]], "<u8").tofile(path)
    elif fault == "short":
        starts[:-3].tofile(path)
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "noise":
        path.write_bytes(bytes(range(256)) * 8)
    else:
        shutil.copy(run / "images" / "00001.tar.idx", path)
    truth = urls_and_images(webpairs.open(loose_run))
    ds = webpairs.open(run)
    assert urls_and_images(ds) == truth
    assert ds.problems.counts() == {"index_wrong": 1}
    single = webpairs.open(run)
    assert [single.sample(row, decode=None)["image"] for row in range(5)] == [
        image for _, image in truth[:5]
    ]
    assert single.problems.counts() == {"index_wrong": 1}


def test_a_cut_tar_loses_its_end_alone(loose_run: Path, run: Path) -> None:
    tar = run / "images" / "00000.tar"
    tar.write_bytes(tar.read_bytes()[: int(np.fromfile(f"{tar}.idx", "<u8")[5]) + 700])
    truth = urls_and_images(webpairs.open(loose_run))
    num_lost = len(keys(run)) - 5
    ds = webpairs.open(run)
    assert urls_and_images(ds) == truth[:5] + truth[5 + num_lost :]
    counts = ds.problems.counts()
    assert counts == {"index_wrong": 1, "tar_broken": 1, "no_image": num_lost}
    assert [f.key for f in ds.problems.listed() if f.key] == keys(run)[5:]
    with pytest.raises(DataError, match="has no image"):
        ds[5]


def test_files_that_are_gone_or_of_another_length(loose_run: Path, run: Path) -> None:
    """Images and embeddings are left out where they are asked for; all else is there."""
    truth = webpairs.open(loose_run)
    num, more = len(keys(run)), len(keys(run, "00001"))
    (run / "images" / "00000.tar").unlink()
    (run / "embeddings" / "img_emb" / "img_emb_00000.npy").unlink()
    npy = run / "embeddings" / "text_emb" / "text_emb_00001.npy"
    np.save(npy, np.load(npy)[1:])
    ds = webpairs.open(run)
    assert len(ds) == len(truth)
    assert ds.table(["url"]).equals(truth.table(["url"]))
    assert urls_and_images(ds) == urls_and_images(truth)[num:]
    embeddings = list(ds.embeddings())
    assert [s["url"] for s in embeddings] == [s["url"] for s in truth.embeddings()][num + more :]
    assert ds.problems.counts() == {
        "images_missing": 1,
        "embeddings_missing": 1,
        "embeddings_unaligned": 1,
        "no_image": num,
        "no_embedding": num + more,
    }
    for row in (0, num):
        with pytest.raises(DataError):
            ds[row]


def test_images_that_do_not_decode_are_left_out_and_counted(loose_run: Path, run: Path) -> None:
    tar = run / "images" / "00000.tar"
    start = int(np.fromfile(f"{tar}.idx", "<u8")[2]) + 512
    data = bytearray(tar.read_bytes())
    data[start : start + 4] = b"NOPE"
    tar.write_bytes(data)
    ds = webpairs.open(run)
    wanted = [sample["url"] for sample in webpairs.open(loose_run).images()]
    gone = wanted.pop(2)
    for _ in range(2):
        assert [sample["url"] for sample in ds.images()] == wanted
        assert ds.problems.counts() == {"image_broken": 1}
    (found,) = ds.problems.listed()
    assert (found.shard, found.key) == ("00000", keys(run)[2])
    batches = ds.batches(8, columns=["url", "image", "image_embedding"])
    rows = [row for batch in batches for row in zip(*batch.values(), strict=True)]
    assert [url for url, _, _ in rows] == wanted
    embeddings = {sample["url"]: sample["image_embedding"] for sample in ds.embeddings()}
    assert all(np.array_equal(embedding, embeddings[url]) for url, _, embedding in rows)
    with pytest.raises(DataError, match="not_an_image"):
        ds[2]
    assert ds.sample(2, decode=None)["url"] == gone


def test_only_committed_shards_are_there(run: Path) -> None:
    before = len(webpairs.open(run))
    num = len(keys(run, "00001"))
    (run / "stats" / "00001.json").unlink()
    ds = webpairs.open(run)
    assert len(ds) == before - num
    assert keys(run, "00001")[0] not in ds.table(["key"]).column("key").to_pylist()


def test_stats_and_metadata_that_disagree(run: Path) -> None:
    path = run / "stats" / "00000.json"
    write_json(path, orjson.loads(path.read_bytes()) | {"samples": 3})
    ds = webpairs.open(run)
    assert sum(1 for _ in ds.images(decode=None)) == len(pq.read_table(run / "metadata"))
    assert ds.problems.counts() == {"count_wrong": 1}
    write_json(path, orjson.loads(path.read_bytes()) | {"samples": 1_000})
    with pytest.raises(DataError, match="fewer rows"):
        webpairs.open(run)[900]


def test_metadata_that_cannot_be_read_is_a_shard_less(run: Path) -> None:
    num = len(keys(run))
    (run / "metadata" / "00000.parquet").write_bytes(b"PAR1")
    ds = webpairs.open(run)
    assert sum(1 for _ in ds.images(decode=None)) == len(ds) - num
    assert ds.problems.counts() == {"shard_unreadable": 1}


def write_column(run: Path, shard: str, table: pa.Table, folder: str = "tone") -> None:
    path = run / "columns" / folder / f"{shard}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def test_column_files_join_by_key(run: Path) -> None:
    """In another order, with rows that are not there, missing for other shards."""
    there = keys(run)
    tones = {key: number for number, key in enumerate(there)}
    order = [*there[::-1], "000009999"]
    del order[3]
    missing = there[len(there) - 1 - 3]
    tones["000009999"] = -1
    write_column(run, "00000", pa.table({"key": order, "tone": [tones[key] for key in order]}))
    others = keys(run, "00001")
    write_column(run, "00001", pa.table({"key": others, "other": ["x"] * len(others)}), "more")
    ds = webpairs.open(run)
    assert {"tone", "other"} <= set(ds.column_names)
    assert len(ds.where("other = 'x'")) == len(others)
    table = ds.table(["key", "tone"])
    wanted = {key: tone for key, tone in tones.items() if key in order[:-1]}
    found = zip(*(column.to_pylist() for column in table.columns), strict=True)
    assert {key: tone for key, tone in found if tone is not None} == wanted
    assert missing not in wanted
    chosen = ds.where("tone between 2 and 5 and similarity > -1")
    assert chosen.table(["key"]).column("key").to_pylist() == there[2:6]
    assert [sample["url"] for sample in chosen] == [ds[key]["url"] for key in there[2:6]]


def test_an_empty_dataset(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {})
    write_json(tmp_path / "stats" / "00000.json", {"samples": 0})
    ds = webpairs.open(tmp_path)
    assert len(ds) == 0
    assert list(ds) == list(ds.batches(3)) == []
    assert len(ds.where("similarity > 0.3")) == 0
    assert ds.table(["key"]).num_rows == 0
    with pytest.raises(IndexError):
        ds[0]


def test_a_run_without_embeddings_has_none(run: Path) -> None:
    shutil.rmtree(run / "embeddings")
    ds = webpairs.open(run)
    assert not {"image_embedding", "text_embedding"} & set(ds[0])
    with pytest.raises(webpairs.errors.ConfigError, match="has no image_embedding"):
        ds.embeddings()


def test_a_size_that_reaches_into_the_next_member_is_noticed(run: Path) -> None:
    tar = run / "images" / "00000.tar"
    place = int(np.fromfile(f"{tar}.idx", "<u8")[3]) + 124
    data = bytearray(tar.read_bytes())
    data[place : place + 11] = b"%011o" % 1_000_000
    tar.write_bytes(data)
    single, in_order = webpairs.open(run), webpairs.open(run)
    with pytest.raises(DataError, match="has no image"):
        single.sample(3, decode=None)
    samples = list(in_order.images(decode=None))
    assert all(len(sample["image"]) < 1_000_000 for sample in samples)
    for ds in (single, in_order):
        assert ds.problems.counts()["index_wrong"] == 1


@pytest.mark.parametrize("limit", [("MAX_SHARDS", 1), ("MAX_BYTES", 1), (None, 0)])
def test_many_shards_open_few_at_a_time(
    run: Path, monkeypatch: pytest.MonkeyPatch, limit: tuple[str | None, int]
) -> None:
    opened: list[int] = []
    open_shard = RunFolder.open

    def counted(self: RunFolder, place: int, problems: Problems) -> Shard:
        opened.append(place)
        return open_shard(self, place, problems)

    monkeypatch.setattr(RunFolder, "open", counted)
    name, number = limit
    if name is not None:
        monkeypatch.setattr(f"webpairs.dataset.open_shards.{name}", number)
    whole = list(webpairs.open(run).images(decode=None))
    opened.clear()
    ds = webpairs.open(run)
    for row in (0, 40, 1, 41, 2, 42):
        assert ds.sample(row, decode=None)["image"] == whole[row]["image"]
    assert opened == ([0, 1] if name is None else [0, 1, 0, 1, 0, 1])
