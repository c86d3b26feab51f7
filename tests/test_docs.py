"""The docs cannot go stale: what the code has, they name."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest

from webpairs.drops import Drop

ROOT = Path(__file__).parent.parent


def _read(name: str) -> str:
    return (ROOT / name).read_text()


def test_formats_is_what_the_generator_writes() -> None:
    generated = runpy.run_path(str(ROOT / "docs" / "generate_formats.py"))["formats"]()
    assert _read("docs/formats.md") == generated, "run docs/generate_formats.py"


def test_every_drop_reason_is_documented() -> None:
    formats = _read("docs/formats.md")
    assert not [drop for drop in Drop if f"`{drop}`" not in formats]


def test_every_dependency_is_accounted_for() -> None:
    project = tomllib.loads(_read("pyproject.toml"))["project"]
    text = _read("docs/dependencies.md")
    names = [re.split(r"[><=\[]", one)[0] for one in project["dependencies"]]
    assert not [name for name in names if not re.search(rf"\b{re.escape(name)}\b", text)]


def test_every_named_file_exists() -> None:
    link = re.compile(r"`((?:docs|benchmarks|tests|training|src)/[\w./-]+)`")
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    named = [(page.name, name) for page in pages for name in link.findall(page.read_text())]
    missing = [(page, name) for page, name in named if not (ROOT / name).exists()]
    assert not missing


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{p.name}" for p in sorted((ROOT / "docs").glob("*.md")))]
)
def test_no_option_is_named_that_does_not_exist(page: str) -> None:
    source = "".join(one.read_text() for one in (ROOT / "src/webpairs/cli").glob("*.py"))
    known = set(re.findall(r'"(--[a-z-]+)"', source)) | {"--help"}
    blocks = re.findall(r"`webpairs [^`]*`|^(?:\./run )?webpairs .*$", _read(page), re.MULTILINE)
    named = {option for block in blocks for option in re.findall(r"--[a-z][a-z-]+", block)}
    assert named <= known


def test_every_drop_reason_is_explained() -> None:
    """A reason that users meet in a funnel has a sentence of its own in docs/formats.md."""
    meanings = [drop.meaning for drop in Drop]
    assert len(set(meanings)) == len(Drop)
    rows = [line for line in _read("docs/formats.md").splitlines() if line.startswith("| ")]
    for drop in Drop:
        assert any(f"`{drop}`" in row and drop.meaning in row for row in rows)


def test_a_reserved_drop_reason_is_not_raised() -> None:
    raised = {
        name
        for path in (ROOT / "src/webpairs").rglob("*.py")
        for name in re.findall(r"DataError\(\s*Drop\.(\w+)", path.read_text())
    }
    assert not [drop for drop in Drop if drop.reserved and drop.name in raised]
