"""The driver of exports: which rows, in which order, in which shards; stops, resumes, refusals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from support.foreign_folders import picture, write_embeddings, write_img2dataset
from support.lines_export import is_skipped, read_lines
from support.paths import TESTS
from support.run_folders import wait_for, workers_of

import webpairs
from webpairs.errors import ConfigError, RunError
from webpairs.export.export import ExportResult, export_dataset
from webpairs.export.options import FORMATS, ExportOptions
from webpairs.export.shards import WORK


@pytest.fixture(autouse=True)
def lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FORMATS, "csv", "support.lines_export")
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "img2dataset"
    write_img2dataset(folder)
    return folder


def export(source: Path, out: Path, **options: Any) -> ExportResult:
    given: dict[str, Any] = {"workers": 1, **options}
    return export_dataset(ExportOptions(source=str(source), out=str(out), to="csv", **given))


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "export_report.json"
    }


def keys_of(source: Path, where: str | None = None) -> list[str]:
    """Return the keys that are to be written, in the source's order."""
    dataset = webpairs.open(source)
    dataset = dataset if where is None else dataset.where(where)
    table = dataset.table(["key", "caption"])
    return [row["key"] for row in table.to_pylist() if not is_skipped(row["caption"])]


def test_rows_in_order_in_shards_of_their_size(source: Path, tmp_path: Path) -> None:
    result = export(source, tmp_path)
    (report,) = result.reports
    assert [row["key"] for row in read_lines(tmp_path / "images")] == keys_of(source)
    num_rows = len(webpairs.open(source))
    assert report.num_rows == num_rows
    names = [path.name for path in sorted((tmp_path / "images").glob("*.jsonl"))]
    num_shards = -(-num_rows // 7)
    assert names == [f"{n:03d}-of-{num_shards:03d}.jsonl" for n in range(num_shards)]
    assert report.num_rows == report.num_samples + report.skipped["tenth"]
    assert report.skipped["tenth"] > 0
    lengths = [len(path.read_bytes().splitlines()) for path in sorted(tmp_path.rglob("*.jsonl"))]
    assert list(report.shard_samples) == lengths
    told = orjson.loads((tmp_path / "images" / "export_report.json").read_bytes())
    assert told["finished"]
    assert (told["rows"], told["samples"]) == (report.num_rows, report.num_samples)
    assert told["skipped"] == report.skipped
    assert all(is_skipped(detail) for _, _, detail in told["listed"])
    assert not (tmp_path / "images" / WORK).exists()


@pytest.mark.parametrize("size", [1, 3, 40, 1000])
def test_the_size_of_shards_changes_nothing_else(source: Path, tmp_path: Path, size: int) -> None:
    export(source, tmp_path, samples_per_shard=size)
    assert [row["key"] for row in read_lines(tmp_path / "images")] == keys_of(source)


@pytest.mark.parametrize("where", [None, "similarity > 0.4 and original_width % 2 = 0"])
def test_shuffled_is_the_same_samples_in_another_order(
    source: Path, tmp_path: Path, where: str | None
) -> None:
    in_order = keys_of(source, where)
    orders: list[list[str]] = []
    for seed in (1, 2):
        export(source, tmp_path / str(seed), shuffle=seed, where=where)
        rows = read_lines(tmp_path / str(seed) / "images")
        by_key = {row["key"]: row for row in rows}
        export(source, tmp_path / "plain", where=where)
        for row in read_lines(tmp_path / "plain" / "images"):
            assert by_key[row["key"]] == row, "caption, url and image stay together"
        orders.append([str(row["key"]) for row in rows])
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(in_order)
    assert len({tuple(order) for order in (*orders, in_order)}) == 3


@pytest.mark.parametrize("shuffle", [None, 5])
def test_the_number_of_workers_changes_nothing(
    source: Path, tmp_path: Path, shuffle: int | None
) -> None:
    for workers in (1, 3):
        export(source, tmp_path / str(workers), workers=workers, shuffle=shuffle)
    assert files(tmp_path / "1") == files(tmp_path / "3")


def test_where_leaves_out_what_does_not_match(source: Path, tmp_path: Path) -> None:
    where = "similarity > 0.5"
    (report,) = export(source, tmp_path, where=where).reports
    assert [row["key"] for row in read_lines(tmp_path / "images")] == keys_of(source, where)
    assert 0 < report.num_rows < len(webpairs.open(source))


def test_nothing_to_export_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="similarity > 2 matches none of the"):
        export(source, tmp_path / "out", where="similarity > 2")
    (tmp_path / "empty").mkdir()
    write_img2dataset(tmp_path / "empty", num_shards=1, failed=1.0)
    with pytest.raises(ConfigError, match="has no samples"):
        export(tmp_path / "empty", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_embeddings_stay_with_their_rows(tmp_path: Path) -> None:
    source = tmp_path / "source"
    pairs = [write_embeddings(source, str(n), 10, first=10 * n) for n in range(3)]
    export(source, tmp_path / "out", shuffle=3)
    rows = read_lines(tmp_path / "out" / "embeddings")
    assert len(rows) == 27
    image, text = (np.concatenate(side) for side in zip(*pairs, strict=True))
    for row in rows:
        number = int(str(row["caption"]).split()[-1])
        assert row["embeddings"] == [image[number].tolist(), text[number].tolist()]


def test_both_configs_from_a_run_folder(loose_run: Path, tmp_path: Path) -> None:
    result = export(loose_run, tmp_path)
    assert [report.target.config for report in result.reports] == ["images", "embeddings"]
    images, embeddings = (read_lines(tmp_path / name) for name in ("images", "embeddings"))
    assert [row["key"] for row in images] == [row["key"] for row in embeddings]
    # Another config later is an export of its own.
    again = export(loose_run, tmp_path, config="images")
    assert again.finished_before


def test_further_columns(source: Path, tmp_path: Path) -> None:
    export(source, tmp_path, columns=("sha256",))
    by_key = {
        row["key"]: row["sha256"]
        for row in webpairs.open(source).table(["key", "sha256"]).to_pylist()
    }
    for row in read_lines(tmp_path / "images"):
        assert row["sha256"] == by_key[row["key"]]


def damaged(source: Path, tmp_path: Path) -> Path:
    """Write a download one of whose tars ends early and one of whose tables is damaged."""
    folder = tmp_path / "damaged"
    write_img2dataset(folder, failed=0.0)
    tar = folder / "00000.tar"
    tar.write_bytes(tar.read_bytes()[: tar.stat().st_size // 2])
    (folder / "00001.parquet").write_bytes(b"nothing")
    return folder


@pytest.mark.parametrize("shuffle", [None, 9])
def test_what_cannot_be_read_is_counted(source: Path, tmp_path: Path, shuffle: int | None) -> None:
    (report,) = export(damaged(source, tmp_path), tmp_path / "out", shuffle=shuffle).reports
    assert report.num_rows == 120
    assert report.skipped["no_image"] > 5
    assert report.skipped["unreadable"] == 40
    assert report.num_rows == report.num_samples + sum(report.skipped.values())
    rows = read_lines(tmp_path / "out" / "images")
    assert len(rows) == report.num_samples
    for row in rows:
        number = int(str(row["url"]).rsplit("/")[-1].removesuffix(".jpg")) if row["url"] else None
        assert number is None or row["image"] == picture(number).hex()
    listed = {reason for reason, _, _ in report.listed}
    assert listed == set(report.skipped)


def test_the_same_line_again_says_that_it_is_finished(source: Path, tmp_path: Path) -> None:
    first = export(source, tmp_path, shuffle=1)
    before = files(tmp_path)
    again = export(source, tmp_path, shuffle=1)
    assert (first.finished_before, again.finished_before) == (False, True)
    assert files(tmp_path) == before
    assert again.reports == first.reports


def test_another_line_is_refused_with_what_differs(source: Path, tmp_path: Path) -> None:
    export(source, tmp_path, shuffle=1)
    with pytest.raises(ConfigError) as caught:
        export(source, tmp_path, shuffle=2, where="similarity > 0.1", samples_per_shard=9)
    said = str(caught.value)
    assert "shuffle: there 1, asked 2" in said
    assert "where: there None, asked similarity > 0.1" in said
    assert "samples_per_shard: there 7, asked 9" in said
    assert "name another --out" in said


def test_a_source_that_changed_is_refused(source: Path, tmp_path: Path) -> None:
    changing = tmp_path / "source"
    write_img2dataset(changing, num_shards=2)
    export(changing, tmp_path / "out")
    write_img2dataset(changing, num_shards=2, seed=1)
    with pytest.raises(ConfigError, match="source digest"):
        export(changing, tmp_path / "out")


def test_folders_that_cannot_be(source: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "thesis.tex").write_text("precious")
    with pytest.raises(ConfigError, match=r"thesis\.tex"):
        export(source, tmp_path)
    with pytest.raises(ConfigError, match="lie in each other"):
        export(source, source / "inner")
    assert not (source / "inner").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write to"):
        export(source, tmp_path / "file")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"config": "imgs"}, "did you mean 'images'"),
        ({"config": "embeddings"}, "has no embeddings; use --config images"),
        ({"name": "My Data"}, "small letters"),
        ({"columns": ()}, "--columns is empty"),
        ({"columns": ("sha265",)}, "sha265.*there are .*sha256"),
        ({"where": "similarty > 1"}, "similarty"),
        ({"shuffle": -1}, "--shuffle -1"),
        ({"samples_per_shard": 0}, "--samples-per-shard 0"),
        ({"workers": 0}, "--workers 0"),
    ],
)
def test_bad_options_are_refused_before_anything_is_made(
    source: Path, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        export(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


SCRIPT = """
import sys
from webpairs.export.options import FORMATS, ExportOptions
from webpairs.export.shards import WORK
from webpairs.export.export import export_dataset
FORMATS["csv"] = "support.lines_export"
source, out, workers = sys.argv[1:]
export_dataset(ExportOptions(source=source, out=out, to="csv", shuffle=4, workers=int(workers)))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_any_time_and_typed_again(source: Path, tmp_path: Path, workers: int) -> None:
    export(source, tmp_path / "whole", shuffle=4)
    out = tmp_path / "out"
    marks = out / "images" / WORK
    for num_marks in (1, 4):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(source), str(out), str(workers)],
            env=os.environ | {"LINES_EXPORT_SLEEP_S": "0.1"},
            start_new_session=True,
        )
        assert wait_for(lambda n=num_marks: len(list(marks.glob("*.json"))) >= n)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert wait_for(lambda pid=process.pid: not workers_of(pid))
        assert not (out / "images" / "index.json").exists()
    left = {path.name for path in (out / "images").glob("*.jsonl")}
    result = export(source, out, shuffle=4)
    assert not result.finished_before
    assert len(left) < len(list((out / "images").glob("*.jsonl")))
    assert files(out) == files(tmp_path / "whole")
    assert result.reports[0].num_samples == len(read_lines(out / "images"))


def test_columns_have_one_type_in_all_shards(tmp_path: Path) -> None:
    source = tmp_path / "source"
    number = pa.array(range(5), pa.int32())
    write_embeddings(source, "0", 5, score=pa.nulls(5), rank=number)
    write_embeddings(source, "1", 5, first=5, score=pa.array([0.5] * 5), rank=number.cast("int64"))
    export(source, tmp_path / "out", columns=("score", "rank"))
    scores = [row["score"] for row in read_lines(tmp_path / "out" / "embeddings")]
    assert scores == [None] * 4 + [0.5] * 5
    write_embeddings(source, "2", 5, first=10, score=pa.array(["high"] * 5), rank=number)
    with pytest.raises(RunError, match=r"score \(string, double\).*leave them out of --columns"):
        export(source, tmp_path / "other", columns=("score", "rank"))
