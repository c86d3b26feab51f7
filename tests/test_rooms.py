"""The tree: tests mirror the package, imports run one way, no folder is too full."""

from __future__ import annotations

import ast
import runpy
from collections import defaultdict
from pathlib import Path

import pytest
from support.paths import DOCS, REPOSITORY, TESTS

PACKAGE = REPOSITORY / "src" / "webpairs"
MAX_FILES = 20
"""Of a folder: what a reader takes in at a glance."""
OWN = ("data", "e2e", "support")
"""Folders of tests that the package does not have."""
OF_THE_TREE = ("test_docs", "test_rooms")
"""Tests of the repository as a whole."""

ROOMS = runpy.run_path(str(DOCS / "generate_architecture.py"))


def mirrored() -> list[Path]:
    """Return the test files that stand where their module stands."""
    files = (path.relative_to(TESTS) for path in TESTS.rglob("test_*.py"))
    return sorted(f for f in files if f.parts[0] not in OWN and f.stem not in OF_THE_TREE)


def modules_of(folder: Path) -> set[str]:
    """Return the names of modules and packages in a folder of the package."""
    return {path.stem for path in folder.glob("*") if path.is_dir() or path.suffix == ".py"}


@pytest.mark.parametrize("file", mirrored(), ids=str)
def test_every_test_file_is_called_after_its_module(file: Path) -> None:
    folder = PACKAGE / file.parent
    assert folder.is_dir(), f"the package has no folder {file.parent}"
    tested = file.stem.removeprefix("test_")
    assert any(tested == name or tested.startswith(f"{name}_") for name in modules_of(folder)), (
        f"{folder} has no module that test_{tested}.py is called after"
    )


def test_every_room_has_tests() -> None:
    rooms = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    without = {str(room) for room in rooms if not list((TESTS / room).glob("test_*.py"))}
    assert without <= {"clip/tiny"}


def test_no_test_imports_another() -> None:
    for path in TESTS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").rpartition(".")[2].startswith("test_"), path


def test_imports_run_one_way() -> None:
    order = list(ROOMS["LEVELS"])
    up = [
        f"{one} imports {other}"
        for one, other, _ in ROOMS["imports"]()
        if (a := ROOMS["level_of"](one)) and (b := ROOMS["level_of"](other))
        if order.index(b) > order.index(a)
    ]
    assert not up


def test_no_modules_import_each_other() -> None:
    targets: dict[str, set[str]] = defaultdict(set)
    for one, other, for_types in ROOMS["imports"]():
        if not for_types:
            targets[one].add(other)

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        new = set(targets[start])
        while new:
            seen |= new
            new = {t for one in new for t in targets[one]} - seen
        return seen

    # The package's own module imports when it is used.
    assert not [name for name in list(targets) if name != "webpairs" and name in reachable(name)]


def test_no_folder_is_too_full() -> None:
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        files = [path for path in folder.iterdir() if path.is_file() and path.name != "__init__.py"]
        assert len(files) <= MAX_FILES, f"{folder}: {len(files)} files"


def test_the_drawing_of_the_rooms_is_up_to_date() -> None:
    assert (DOCS / "architecture.md").read_text() == ROOMS["page"]()
