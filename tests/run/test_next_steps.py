"""What may be typed next works as it is printed."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from webpairs.drops import Drop
from webpairs.run.next_steps import next_lines
from webpairs.run_folder.funnel import Funnel

WEB: dict[str, Any] = {"model": {"spec": "tiny"}, "options": {"images": "web"}}


def lines(funnel: Funnel, out: str = "out", **changes: Any) -> list[list[str]]:
    return [shlex.split(one) for one in next_lines(Path(out), WEB | changes, funnel)]


def verbs(typed: list[list[str]]) -> list[str]:
    return [words[1] for words in typed]


@pytest.mark.parametrize(
    ("funnel", "changes", "expected"),
    [
        (Funnel(samples=3), {}, ["report", "index", "export"]),
        (Funnel(samples=3), {"model": None}, ["report", "export"]),
        (Funnel(), {}, ["report"]),
        (Funnel(drops=Counter({Drop.TIMEOUT: 1})), {}, ["report", "retry"]),
        (Funnel(drops=Counter({Drop.HTTP_4XX: 1})), {}, ["report"]),
        (
            Funnel(drops=Counter({Drop.TIMEOUT: 1})),
            {"options": {"images": "archive"}},
            ["report"],
        ),
    ],
    ids=str,
)
def test_what_fits_is_named(funnel: Funnel, changes: dict[str, Any], expected: list[str]) -> None:
    assert verbs(lines(funnel, **changes)) == expected


@pytest.mark.parametrize("out", ["my dataset", "a;b", "sub/out", "."])
def test_folders_are_quoted_and_nothing_is_written_into_them(
    out: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WEBPAIRS_COMMAND", "./run webpairs")
    for words in lines(Funnel(samples=1), out):
        assert words[:2] == ["./run", "webpairs"]
        assert words[3] == out
        if "--out" in words:
            target = Path(words[words.index("--out") + 1]).resolve()
            assert Path(out).resolve() not in target.parents


def test_they_work_as_typed(loose_run: Path, tmp_path: Path, little_web: Any) -> None:
    """Each line is parsed by the command itself, and does its work."""
    import shutil

    from typer.testing import CliRunner

    from webpairs.cli import app
    from webpairs.run_folder.funnel import read_funnel
    from webpairs.run_folder.manifest import read_manifest

    out = tmp_path / "a run"
    shutil.copytree(loose_run, out)
    manifest = read_manifest(out)
    assert manifest is not None
    for line in next_lines(out, manifest, read_funnel(out)):
        first, *_ = line.split(" && ")  # what follows serves until it is stopped
        result = CliRunner().invoke(app, shlex.split(first)[1:])
        assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} >= {"a run-report.html", "a run-hf"}
