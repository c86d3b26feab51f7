"""The same samples give the same files, in whichever process each shard of them is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from exports import export


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "export_report.json"
    }


@pytest.mark.parametrize("to", ["huggingface", "webdataset", "laion", "csv"])
def test_the_number_of_workers_changes_no_byte(loose_run: Path, tmp_path: Path, to: str) -> None:
    for workers in (1, 2):
        out = tmp_path / str(workers)
        export(loose_run, out, to, workers=workers, shuffle=5, samples_per_shard=70)
    alone, together = files(tmp_path / "1"), files(tmp_path / "2")
    assert alone.keys() == together.keys()
    assert [name for name in alone if alone[name] != together[name]] == []
    assert len(alone) > 2
