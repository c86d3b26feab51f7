"""Export, and say what the samples of the source are, for tests of formats."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from webpairs.export.export import ExportResult, export_dataset
from webpairs.export.options import ExportOptions


def export(source: Path, out: Path, to: str, **options: Any) -> ExportResult:
    """Export in this process."""
    given: dict[str, Any] = {"workers": 1, **options}
    return export_dataset(ExportOptions(source=str(source), out=str(out), to=to, **given))


def without_first_shard(run: Path, copy: Path) -> int:
    """Copy a run folder but for images and embeddings of its first shard; return its rows."""
    gone = ("00000.tar", "00000.tar.idx", "img_emb_00000.npy")
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns(*gone))
    return pq.read_metadata(copy / "metadata" / "00000.parquet").num_rows
