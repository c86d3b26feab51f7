"""Results are read from one mapped file that is the same as the shards, whatever those are like."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.drawn_vectors import draw_pairs, write_folder

import webpairs
from webpairs.dataset.dataset import Dataset
from webpairs.dataset.features import LABELS, TABULAR
from webpairs.dataset.sources.source import Rows
from webpairs.errors import ConfigError
from webpairs.search import row_store
from webpairs.search.chosen_rows import RowFinder
from webpairs.search.index import build_rows
from webpairs.search.index.build import IndexResult, build_index
from webpairs.search.index.file import read_index_manifest
from webpairs.search.options import IndexOptions
from webpairs.search.row_store import RowStore
from webpairs.search.searcher import Searcher

IMAGE, TEXT = (one.astype(np.float16) for one in draw_pairs(130))


@pytest.fixture(autouse=True)
def few_is_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a shard have several batches."""
    for module in (row_store, build_rows):
        monkeypatch.setattr(module, "BATCH_ROWS", 16)


@pytest.fixture
def run(loose_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(loose_run, tmp_path / "run"))


def index_of(folder: Path, out: Path | None = None) -> IndexResult:
    return build_index(IndexOptions(source=str(folder), out=None if out is None else str(out)))


def never(*arguments: Any) -> None:
    raise AssertionError("no shard is to be opened")


def test_rows_are_those_of_the_shards(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_of(run)
    searcher = Searcher.open(run)
    table = webpairs.open(run).table(["key", "uid", *TABULAR]).to_pylist()
    monkeypatch.setattr(Dataset, "shard", never)
    rows = np.random.default_rng(0).permutation(len(table))
    hits = searcher.hits(rows, None)
    assert [hit.row for hit in hits] == rows.tolist()
    for hit in hits:
        true = table[hit.row]
        named = {name: true[name] for name in TABULAR} | {"nsfw": LABELS[true["nsfw"]]}
        assert (hit.key, hit.uid, hit.columns) == (true["key"], true["uid"].hex(), named)
        assert searcher.row_of(hit.key) == hit.row
    assert searcher.hits(rows[:0], None) == []
    with pytest.raises(ConfigError, match="has no sample 'x'"):
        searcher.row_of("x")
    captions = [one["caption"].lower() for one in table]
    words = [hit.row for hit in searcher.search_captions(["RED", "circle"], ["white"], 7)]
    assert (
        words
        == [
            row
            for row, one in enumerate(captions)
            if "red" in one and "circle" in one and "white" not in one
        ][:7]
    )


def test_other_columns_are_read_beside(run: Path) -> None:
    index_of(run)
    searcher = Searcher.open(run)
    rows = np.array([50, 3, 99, 3])
    table = webpairs.open(run).table(["page_url", "copies"]).to_pylist()
    hits = searcher.hits(rows, None, ("copies", "nsfw", "page_url"))
    assert [hit.row for hit in hits] == rows.tolist()
    for hit in hits:
        assert list(hit.columns) == ["copies", "nsfw", "page_url"]
        assert hit.columns | table[hit.row] == hit.columns


def test_what_cannot_be_read_is_left_out_until_it_can(run: Path, tmp_path: Path) -> None:
    broken = run / "metadata" / "00001.parquet"
    good = broken.read_bytes()
    broken.write_bytes(good[:-9])
    first = index_of(run)
    num = orjson.loads((run / "stats" / "00001.json").read_bytes())["samples"]
    assert first.manifest["rows"]["unreadable"] == num
    assert f"metadata of {num} samples cannot be read" in first.notes[0]
    searcher = Searcher.open(run)
    offsets = searcher.indexes["image"].vectors.offsets
    everything = np.arange(offsets[-1])
    left = np.delete(everything, np.arange(offsets[1], offsets[2]))
    assert [hit.row for hit in searcher.hits(everything, None)] == left.tolist()
    words = searcher.search_captions(["a"], [], 1000)
    assert {hit.row for hit in words} <= set(left.tolist())
    broken.write_bytes(good)
    second = index_of(run)
    assert (second.notes, second.done_before) == ((), False)
    assert [path.name for path in (run / "index").glob("*.arrow")] == ["rows-1.arrow"]
    assert len(Searcher.open(run).hits(everything, None)) == len(everything)
    assert index_of(run).done_before


def test_other_numbers_of_rows_than_stated(run: Path) -> None:
    """A row too many belongs to no embedding; of rows too few, the last are missing."""
    for name, change in (("00000", -2), ("00002", 3)):
        path = run / "metadata" / f"{name}.parquet"
        table = pq.read_table(path)
        more = pa.concat_tables([table, table.slice(0, max(change, 0))])
        pq.write_table(more.slice(0, table.num_rows + change), path)
    assert index_of(run).manifest["rows"]["unreadable"] == 2
    searcher = Searcher.open(run)
    offsets = searcher.indexes["image"].vectors.offsets
    hits = searcher.hits(np.arange(offsets[-1]), None)
    missing = {int(offsets[1]) - 2, int(offsets[1]) - 1}
    assert [hit.row for hit in hits] == [n for n in range(offsets[-1]) if n not in missing]
    assert all(hit.key.startswith("00003") for hit in hits if offsets[3] <= hit.row < offsets[4])


def test_rows_are_copied_where_samples_are_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_folder(tmp_path / "e", IMAGE[:90], TEXT[:90], (40, 50))
    index_of(folder, tmp_path / "index")
    captions = [f"caption of {row}" for row in range(130)]
    write_folder(folder, IMAGE[90:], TEXT[90:], (40,), first=2, captions=captions[90:])
    old = Searcher.open
    read: list[int] = []
    pieces = build_rows._pieces
    monkeypatch.setattr(
        build_rows,
        "_pieces",
        lambda source, place, schema: (read.append(place), pieces(source, place, schema))[1],
    )
    index_of(folder, tmp_path / "index")
    assert read == [2]
    searcher = old(folder, index=str(tmp_path / "index"))
    hits = searcher.hits(np.arange(130), None)
    assert [hit.columns["caption"] for hit in hits] == captions
    assert (hits[0].uid, hits[0].columns["nsfw"], hits[0].columns["license"]) == (None, *_NONE)


_NONE = ("UNTAGGED", "")


def test_a_caption_that_changed_in_folders_is_noticed(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "e", IMAGE[:90], TEXT[:90], (40, 50))
    index_of(folder, tmp_path / "index")
    write_folder(folder, IMAGE[:90], TEXT[:90], (40, 50), captions=["changed"] * 90)
    with pytest.raises(ConfigError, match=r"embeddings or metadata of .* are not those"):
        Searcher.open(folder, index=str(tmp_path / "index"))
    index_of(folder, tmp_path / "index")
    hits = Searcher.open(folder, index=str(tmp_path / "index")).hits(np.array([7]), None)
    assert hits[0].columns["caption"] == "changed"


def damage(path: Path, how: str) -> None:
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("how", ["gone", "cut"])
def test_a_file_of_rows_that_is_not_whole(run: Path, how: str) -> None:
    index_of(run)
    damage(run / "index" / "rows-0.arrow", how)
    with pytest.raises(ConfigError, match=r"rows-0\.arrow .*type webpairs index"):
        Searcher.open(run)
    assert not index_of(run).done_before
    assert len(Searcher.open(run).hits(np.arange(5), None)) == 5


def test_files_of_others_in_the_folder_stay(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "e", IMAGE[:40], TEXT[:40], (40,))
    out = tmp_path / "index"
    out.mkdir()
    mine = [out / name for name in ("my-rows.arrow", "a-0.npz", "image-final.lists")]
    for path in mine:
        path.write_bytes(b"mine")
    index_of(folder, out)
    assert all(path.read_bytes() == b"mine" for path in mine)
    manifest = read_index_manifest(out)
    assert manifest is not None
    assert list(manifest["rows"]["files"]) == ["rows-0.arrow"]


def test_what_a_filter_chose_is_remembered(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index_of(run)
    searcher = Searcher.open(run)
    found = searcher.rows_where("similarity > 0.2")
    assert 0 < len(found) < len(searcher.dataset)
    asked: list[str] = []
    where: Callable[..., Rows] = RowStore.where
    monkeypatch.setattr(
        RowStore, "where", lambda self, one: (asked.append(one.text), where(self, one))[1]
    )
    assert np.array_equal(searcher.rows_where("similarity > 0.2"), found)
    assert asked == []
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
    monkeypatch.setattr("webpairs.search.chosen_rows.KEPT_BYTES", found.nbytes + 700)
    searcher.rows_where("similarity > 0.25")
    searcher.rows_where("similarity > 0.2")
    assert asked == ["similarity > 0.25", "similarity > 0.2"]
    monkeypatch.setattr("webpairs.search.chosen_rows.KEPT_BYTES", 1)
    asked.clear()
    for _ in range(2):  # whatever its size, the last one stays
        searcher.rows_where("similarity > 0.15")
    assert asked == ["similarity > 0.15"]


def test_filters_that_choose_nothing_are_bounded_too(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index_of(run)
    searcher = Searcher.open(run)
    monkeypatch.setattr("webpairs.search.chosen_rows.KEPT_FILTERS", 3)
    for number in range(5):
        assert len(searcher.rows_where(f"similarity > {2 + number}")) == 0
    assert list(searcher._chosen._kept) == [f"similarity > {2 + number}" for number in (2, 3, 4)]
    monkeypatch.setattr("webpairs.search.chosen_rows.KEPT_BYTES", 40_000)
    for number in range(5):
        searcher.rows_where(f"similarity > {2 + number}" + " " * 4_000)
    assert len(searcher._chosen._kept) == 2


def test_a_filter_that_two_ask_for_at_once_is_run_once(run: Path) -> None:
    index_of(run)
    looking, go_on, asked = threading.Event(), threading.Event(), list[str]()

    def find(finder: RowFinder, expression: str) -> Rows:
        asked.append(expression)
        looking.set()
        assert go_on.wait(30)
        if "wrong" in expression:
            raise ConfigError("wrong")
        return finder.find(expression)

    searcher = Searcher.open(run, find_rows=find)
    for expression in ("similarity > 0.2", "wrong"):
        looking.clear()
        go_on.clear()
        with ThreadPoolExecutor(2) as threads:
            first = threads.submit(searcher.rows_where, expression)
            assert looking.wait(30)
            second = threads.submit(searcher.rows_where, expression)
            go_on.set()
            if expression == "wrong":
                assert isinstance(first.exception(), ConfigError)
                second.exception()
            else:
                assert np.array_equal(first.result(), second.result())
    assert asked[0] == "similarity > 0.2"
    assert asked.count("similarity > 0.2") == 1
