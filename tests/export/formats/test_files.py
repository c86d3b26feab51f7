"""img2dataset's other output formats: files in folders, and parquet with the images in it."""

from __future__ import annotations

from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from support.exports import export
from support.foreign_folders import laion_row, write_laion_metadata

import webpairs
from webpairs.errors import ConfigError


def digests(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "export_report.json" and ".export" not in path.parts
    }


def test_files_in_folders(loose_run: Path, tmp_path: Path) -> None:
    export(loose_run, tmp_path / "out", "files", samples_per_shard=50)
    found: list[str] = []
    for sample in webpairs.open(loose_run).images(decode=None):
        place = len(found) // 50
        path = tmp_path / "out" / f"{place:05d}"
        key = pq.read_table(tmp_path / "out" / f"{place:05d}.parquet")["key"][len(found) % 50]
        found.append(str(key))
        assert (path / f"{key}.jpg").read_bytes() == sample["image"]
        assert (path / f"{key}.txt").read_text() == sample["caption"]
        row = orjson.loads((path / f"{key}.json").read_bytes())
        assert (row["key"], row["url"], row["caption"]) == (
            str(key),
            sample["url"],
            sample["caption"],
        )
    assert len(found) == len(webpairs.open(loose_run)) > 50
    assert len(list((tmp_path / "out").glob("*/*"))) == 3 * len(found)


def test_parquet_with_images(loose_run: Path, tmp_path: Path) -> None:
    export(loose_run, tmp_path / "out", "parquet", samples_per_shard=50)
    rows = [
        row
        for path in sorted((tmp_path / "out").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    samples = list(webpairs.open(loose_run).images(decode=None))
    assert [row["jpg"] for row in rows] == [sample["image"] for sample in samples]
    assert [row["caption"] for row in rows] == [sample["caption"] for sample in samples]
    assert {"url", "key", "width", "height", "original_width", "page_url"} <= set(rows[0])


@pytest.mark.parametrize("to", ["files", "parquet"])
def test_the_same_bytes_whatever_the_workers_and_however_often(
    loose_run: Path, tmp_path: Path, to: str
) -> None:
    asked = {"where": "similarity > 0.3", "columns": ("page_url",), "samples_per_shard": 20}
    export(loose_run, tmp_path / "one", to, **asked)
    export(loose_run, tmp_path / "two", to, workers=2, **asked)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")
    assert export(loose_run, tmp_path / "one", to, **asked).finished_before


@pytest.mark.parametrize("to", ["files", "parquet"])
def test_what_cannot_be_written(loose_run: Path, tmp_path: Path, to: str) -> None:
    with pytest.raises(ConfigError, match="--config embeddings"):
        export(loose_run, tmp_path / "out", to, config="embeddings")
    write_laion_metadata(tmp_path / "laion" / "part.parquet", [laion_row(0)])
    with pytest.raises(ConfigError, match="has no images"):
        export(tmp_path / "laion", tmp_path / "out", to)
