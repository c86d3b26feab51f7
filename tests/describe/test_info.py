"""What `info` says of each kind of source: what it is, its schema, its counts, some rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from support.foreign_folders import (
    laion_row,
    write_embeddings,
    write_img2dataset,
    write_laion_metadata,
)
from typer.testing import CliRunner

import webpairs
from webpairs.cli import app
from webpairs.dataset.features import FEATURES
from webpairs.describe.info import read_info
from webpairs.errors import ConfigError
from webpairs.files import write_json
from webpairs.run_folder.schema import METADATA

NAMES = {"key", *(name for name in FEATURES if not name.endswith("embedding"))}


def test_a_run_folder(loose_run: Path) -> None:
    info = read_info(loose_run, num_rows=3)
    assert (info.kind, info.why) == ("run folder", "manifest.json and stats/")
    assert (info.num_samples, info.num_shards) == (len(webpairs.open(loose_run)), 6)
    assert (info.embedding_size, info.missing_shards, info.problems) == (512, (), {})
    assert [one.name for one in info.features] == list(FEATURES)
    assert info.columns["uid"] == "fixed_size_binary[16]"
    assert info.columns["texts_per_image"] == "int32"
    assert not set(info.columns) & set(FEATURES)
    run = info.run
    assert run is not None
    assert (run.recipe, run.model, run.threshold, run.images) == (
        "laion400m",
        "tiny",
        -1.0,
        "archive",
    )
    manifest = orjson.loads((loose_run / "manifest.json").read_bytes())
    assert (run.finished, run.funnel) == (manifest["finished"], manifest["funnel"])
    first = pq.read_table(loose_run / "metadata" / "00000.parquet").to_pylist()[:3]
    assert [row["key"] for row in info.rows] == [row["key"] for row in first]
    for row, stored in zip(info.rows, first, strict=True):
        assert (row["caption"], row["uid"]) == (stored["TEXT"], stored["uid"].hex())
        image = webpairs.open(loose_run).sample(stored["key"], decode=None)["image"]
        assert row["image"] == {"format": "jpeg", "bytes": len(image)}


def test_a_run_that_was_stopped(loose_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(loose_run, tmp_path / "run"))
    manifest = orjson.loads((run / "manifest.json").read_bytes())
    write_json(run / "manifest.json", manifest | {"finished": None, "funnel": None})
    (run / "stats" / "00002.json").unlink()
    (run / "metadata" / "00003.parquet").write_bytes(b"PAR1")
    info = read_info(run)
    assert (info.missing_shards, info.num_shards) == (("00002",), 5)
    assert info.problems == {"shard_unreadable": 1}
    assert info.run is not None
    assert info.run.finished is None
    assert info.run.funnel["left"] > 0
    (run / "stats" / "dedupe.json").write_bytes(b"{}")
    with pytest.raises(ConfigError, match="webpairs verify says what else is wrong"):
        read_info(run)


def test_a_run_without_samples_has_a_schema(loose_run: Path, tmp_path: Path) -> None:
    shutil.copy(loose_run / "manifest.json", tmp_path)
    write_json(tmp_path / "stats" / "extract.json", _stage())
    write_json(tmp_path / "stats" / "dedupe.json", {"drops": {}, "shards": 0})
    info = read_info(tmp_path)
    assert (info.num_samples, info.rows, info.embedding_size) == (0, (), None)
    assert info.columns["uid"] == "fixed_size_binary[16]"
    assert set(info.columns) == {column.name for column in METADATA} - {"similarity"}


def _stage() -> dict[str, object]:
    counts = {"records": 0, "pages": 0, "found": 0, "drops": {}, "warnings": []}
    return counts | {"bytes_read": 0, "seconds": 0.0}


def test_img2dataset_output(tmp_path: Path) -> None:
    samples = write_img2dataset(tmp_path / "d", num_shards=4)
    for path in (tmp_path / "d").glob("00002*"):
        path.unlink()
    there = [row for row in samples if row["shard"] != "00002"]
    odd = [row for row in there if row["url"] is None or row["NSFW"] == "0.31"]
    info = read_info(tmp_path / "d", num_rows=500)
    assert (info.kind, info.why) == ("img2dataset output, WebDataset", "*.tar beside *.parquet")
    assert (info.num_samples, info.num_shards) == (len(there), 3)
    assert (info.missing_shards, info.problems) == (("00002",), {"row_corrupt": len(odd)})
    assert read_info(tmp_path / "d", num_rows=1).problems == info.problems
    assert (info.embedding_size, info.run) == (None, None)
    assert info.columns["exif"] == "string"
    assert [row["key"] for row in info.rows] == [row["id"] for row in there]
    assert set(info.rows[0]) == NAMES | set(info.columns)
    assert {row["nsfw"] for row in info.rows} == {"UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"}


def test_laions_folders(tmp_path: Path) -> None:
    write_laion_metadata(tmp_path / "m" / "part-00000.parquet", [laion_row(n) for n in range(7)])
    info = read_info(tmp_path / "m", num_rows=2)
    assert (info.kind, info.num_samples) == ("LAION metadata", 7)
    assert [row["original_width"] for row in info.rows] == [640, 641]
    assert "image" not in info.rows[0]
    write_embeddings(tmp_path / "e", "0", 9)
    info = read_info(tmp_path / "e", num_rows=0)
    assert (info.why, info.embedding_size) == ("img_emb/, text_emb/ and metadata/", 8)
    assert (info.num_samples, info.rows) == (9, ())
    assert info.columns["image_path"] == "string"


def test_what_cannot_be_looked_into(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a dataset"):
        read_info(tmp_path)
    with pytest.raises(ConfigError, match="--rows -1"):
        read_info(tmp_path, num_rows=-1)


def test_the_verb(loose_run: Path, tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["info", str(loose_run)], env={"COLUMNS": "120"})
    assert said.exit_code == 0
    for words in (
        "run folder (known by manifest.json and stats/)",
        "shards: 6, embeddings of 512 numbers",
        "recipe laion400m, scored by tiny, threshold -1, images from archive",
        "float16 (512)",
        "license_id string",
        webpairs.open(loose_run)[0]["caption"][:20],
    ):
        assert words in said.stdout
    as_json = CliRunner().invoke(app, ["info", str(loose_run), "--json", "--rows", "2"])
    assert orjson.loads(as_json.stdout) == read_info(loose_run, num_rows=2).as_json()


def test_a_caption_cannot_steer_the_terminal(tmp_path: Path) -> None:
    text = "\x1b[2J[red]a\nb[/red]" + "x" * 100
    write_laion_metadata(tmp_path / "a.parquet", [laion_row(1, TEXT=text)])
    said = CliRunner().invoke(app, ["info", str(tmp_path)], env={"COLUMNS": "200"})
    assert "\x1b" not in said.stdout
    assert "[U+001B][2J[red]a b[/red]xxxx" in said.stdout
    assert "x" * 70 not in said.stdout
