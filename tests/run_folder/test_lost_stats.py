"""A finished run that lost a stats file: the file and the cure are told."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest
from support.run_folders import SmallCrawl

from webpairs import BuildOptions, build_dataset
from webpairs.cli.print_status import print_status
from webpairs.errors import RunError
from webpairs.options import ExtractOptions, RetryOptions
from webpairs.run.run import extract_candidates, retry_dataset
from webpairs.run_folder.lost_stats import lost_stats
from webpairs.run_folder.manifest import read_manifest
from webpairs.run_folder.status import read_status

LOSSES = ["extract.json", "dedupe.json", "00000.json", "00005.json"]


def finished_without(run: Path, out: Path, lost: str, **changes: object) -> Path:
    """Copy stats and manifest of a finished run, but for one file."""
    shutil.copytree(run / "stats", out / "stats", ignore=shutil.ignore_patterns(lost))
    manifest = orjson.loads((run / "manifest.json").read_bytes())
    manifest["options"] |= changes
    (out / "manifest.json").write_bytes(orjson.dumps(manifest))
    return out


@pytest.mark.parametrize("lost", LOSSES)
def test_status_names_what_is_lost(
    loose_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], lost: str
) -> None:
    out = finished_without(loose_run, tmp_path / "out", lost)
    status = read_status(out)
    print_status(status)
    said = capsys.readouterr().out
    assert f"{out / 'stats' / lost} missing" in said
    assert "put it back from a copy, or build again" in said
    assert "\nfinished 2" not in said
    assert status.as_json()["lost_stats"] == [str(out / "stats" / lost)]


@pytest.mark.parametrize("lost", LOSSES)
def test_build_again_and_retry_say_what_is_lost(
    little_web: SmallCrawl, loose_run: Path, tmp_path: Path, lost: str
) -> None:
    out = finished_without(loose_run, tmp_path / "build", lost)
    options = BuildOptions(
        inputs=tuple(map(str, little_web.files.warc)),
        images="archive",
        out=str(out),
        model="tiny",
        threshold=-1,
        shard_size=40,
    )
    before = sorted(out.rglob("*"))
    with pytest.raises(RunError, match=f"{lost} is missing.*put it back from a copy"):
        build_dataset(options)
    assert [path for path in sorted(out.rglob("*")) if path.name != ".lock"] == before
    out = finished_without(loose_run, tmp_path / "retry", lost, images="web")
    with pytest.raises(RunError, match=f"{lost} is missing"):
        retry_dataset(RetryOptions(out=str(out)))


def test_extract_again_says_what_is_lost(little_web: SmallCrawl, tmp_path: Path) -> None:
    options = ExtractOptions(
        inputs=tuple(map(str, little_web.files.warc)), out=str(tmp_path / "out"), workers=1
    )
    extract_candidates(options)
    (tmp_path / "out" / "stats" / "extract.json").unlink()
    with pytest.raises(RunError, match=r"extract.json is missing"):
        extract_candidates(options)


def test_nothing_is_lost_while_a_run_or_a_retry_is_not_finished(
    loose_run: Path, tmp_path: Path
) -> None:
    manifest = read_manifest(loose_run)
    assert manifest is not None
    assert lost_stats(loose_run, manifest) == ()
    assert lost_stats(tmp_path, manifest | {"finished": None}) == ()
    # The shard of a retry is lost only when the manifest counts that retry as finished.
    out = finished_without(loose_run, tmp_path / "out", "nothing")
    retry = {"number": 0, "reasons": ["connect"], "first_shard": 6, "when": "2026-01-01T00:00:00Z"}
    (out / "stats" / "retry-00000.json").write_bytes(
        orjson.dumps(retry | {"shards": {"00006": {"connect": 1}}})
    )
    assert lost_stats(out, manifest) == ()
    counted = manifest | {"retries": 1}
    assert lost_stats(out, counted) == (out / "stats" / "00006.json",)
    (out / "stats" / "retry-00000.json").unlink()
    assert lost_stats(out, counted) == (out / "stats" / "retry-00000.json",)
