"""Exports and indexes of nothing say so, and end with a code of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

from webpairs.cli import app
from webpairs.errors import ConfigError
from webpairs.files import write_json
from webpairs.run.advice import NOTHING_KEPT
from webpairs.search.index.build import build_index
from webpairs.search.options import IndexOptions


@pytest.mark.parametrize("again", [False, True])
def test_an_export_of_which_every_sample_was_skipped(
    loose_run: Path, tmp_path: Path, again: bool
) -> None:
    run = Path(shutil.copytree(loose_run, tmp_path / "run"))
    for path in (run / "images").glob("*.tar"):
        path.write_bytes(bytes(path.stat().st_size))
    for path in (run / "images").glob("*.idx"):
        path.unlink()
    line = ["export", str(run), "--to", "webdataset", "--config", "images"]
    line += ["--out", str(tmp_path / "out"), "--workers", "1"]
    for _ in range(1 + again):
        result = CliRunner().invoke(app, line)
        assert result.exit_code == NOTHING_KEPT, result.output
        assert "nothing was written" in result.output


def test_an_index_of_an_empty_run_folder(loose_run: Path, tmp_path: Path) -> None:
    """It was scored; that it has no embeddings is not what is wrong with it."""
    run = Path(shutil.copytree(loose_run, tmp_path / "run"))
    for name in ("images", "metadata", "embeddings", "columns"):
        shutil.rmtree(run / name, ignore_errors=True)
    for path in (run / "stats").glob("[0-9]*.json"):
        write_json(path, orjson.loads(path.read_bytes()) | {"samples": 0, "files": {}})
    with pytest.raises(ConfigError, match="has no samples to index"):
        build_index(IndexOptions(source=str(run)))
