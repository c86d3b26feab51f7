"""The same samples give the same files, in whichever process each shard of them is written."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.exports import export

from webpairs.export import columns as export_columns


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "export_report.json"
    }


FORMATS = ["huggingface", "webdataset", "laion", "csv"]


@pytest.mark.parametrize("to", FORMATS)
def test_the_number_of_workers_changes_no_byte(loose_run: Path, tmp_path: Path, to: str) -> None:
    for workers in (1, 2):
        out = tmp_path / str(workers)
        export(loose_run, out, to, workers=workers, shuffle=5, samples_per_shard=70)
    alone, together = files(tmp_path / "1"), files(tmp_path / "2")
    assert alone.keys() == together.keys()
    assert [name for name in alone if alone[name] != together[name]] == []
    assert len(alone) > 2


@pytest.mark.parametrize("to", FORMATS)
def test_how_samples_come_in_batches_changes_no_byte(
    loose_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    """Row groups end where the samples fill them; there are several."""
    monkeypatch.setattr(export_columns, "ROW_GROUP_BYTES", 100_000)
    sizes = {"some": (128, 4_096), "few": (5, 17)}
    for name, (image_rows, rows) in sizes.items():
        monkeypatch.setattr("webpairs.dataset.dataset.IMAGE_PIECE_ROWS", image_rows)
        monkeypatch.setattr("webpairs.dataset.dataset.PIECE_ROWS", rows)
        export(loose_run, tmp_path / name, to)
    some, few = files(tmp_path / "some"), files(tmp_path / "few")
    assert some.keys() == few.keys()
    assert [name for name in some if some[name] != few[name]] == []
