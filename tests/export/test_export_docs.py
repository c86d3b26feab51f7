"""What docs/export.md says to type and to run works, one line after the other."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from webpairs.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
SECTIONS = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
SNIPPETS = [
    pytest.param(section, code, id=f"{section.splitlines()[0]}-{number}")
    for section in SECTIONS
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", section, re.M | re.S))
]
OPTIONAL = ("datasets", "pandas", "webdataset")


@pytest.fixture(scope="module")
def folder(loose_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which every line of the page that exports was typed."""
    here = tmp_path_factory.mktemp("docs")
    (here / "run").symlink_to(loose_run)
    lines = re.findall(r"^    webpairs (export .*)$", PAGE.read_text(), re.MULTILINE)
    assert len(lines) == 7
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        for line in lines:
            result = CliRunner().invoke(app, [*shlex.split(line), "--workers", "1"])
            assert result.exit_code == 0, result.output
    return here


# webdataset leaves closing a tar to the garbage collector, datasets warns of its own doings.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("section", "code"), SNIPPETS)
def test_a_snippet_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, section: str, code: str
) -> None:
    for name in OPTIONAL:
        if re.search(rf"^(from|import) {name}\b", code, re.MULTILINE):
            pytest.importorskip(name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    exec(compile(code, f"{PAGE.name}: {section.splitlines()[0]}", "exec"), {})


def test_every_file_that_the_page_names_is_written(folder: Path) -> None:
    blocks = re.findall(r"\n\n```\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    named = [line.split()[0] for block in blocks for line in block.splitlines() if line[0] != " "]
    assert len(named) >= 11
    assert [n for n in named if not any(folder.glob(n.replace("KEY", "*")))] == []
