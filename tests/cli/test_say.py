"""Names and texts of others do not steer the terminal, in whatever line they stand."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.foreign_folders import laion_row, write_laion_metadata
from typer.testing import CliRunner

from webpairs.cli import app
from webpairs.cli.say import visible_lines

HOSTILE = "red\x1b]0;owned\x07\u202etxt.exe"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    write_laion_metadata(source / "a.parquet", [laion_row(n) for n in range(3)])
    table = pq.read_table(source / "a.parquet")
    pq.write_table(table.append_column(HOSTILE, pa.array(["x"] * 3)), source / "a.parquet")
    return source


@pytest.mark.parametrize(
    "line",
    [
        *("info {}", "verify {}", "card {} --out {}.md", "report {} --out {}.html"),
        *(
            "search {} --where similarty>0",
            "search {} --where similarity>0",
            "show {} 0000000000001",
        ),
        *("export {} --to csv --out {}-csv", "export {} --to csv --columns a --out {}-csv"),
        "export {} --to tfds --columns a --out {}-tfds",
    ],
)
def test_a_columns_name_does_not_steer(folder: Path, line: str) -> None:
    done = CliRunner().invoke(app, line.replace("{}", str(folder)).split())
    said = done.output + visible_lines(str(done.exception or ""))
    assert "\x1b" not in said
    assert "\x07" not in said
    assert "\u202e" not in said
    for page in folder.parent.glob("*.md"):
        # The header, which programs read, has the name itself.
        body = page.read_text().split("\n---\n", 1)[1]
        assert "\x1b" not in body
        assert "\u202e" not in body


def test_lines_stay_lines() -> None:
    assert visible_lines("a\nb\x1b[2Jc\n") == "a\nb[U+001B][2Jc\n"
