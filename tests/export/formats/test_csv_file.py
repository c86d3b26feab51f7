"""CSV that every reader reads to the same texts: Python's, DuckDB, pyarrow, and pandas."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.exports import export
from support.foreign_folders import expected, laion_row, write_img2dataset, write_laion_metadata
from support.plain_reading import LABELS, plain_reading

from webpairs.errors import ConfigError
from webpairs.export.formats.csv_file import without_formulas, write_csv

Rows = list[dict[str, Any]]
COLUMNS = [
    *("url", "caption", "nsfw", "license", "original_width", "original_height"),
    *("similarity", "key"),
]


def by_python(path: Path) -> Rows:
    """Read with the standard library: every field is a text."""
    with path.open(newline="", encoding="utf-8") as file:
        rows: Rows = [dict(row) for row in csv.DictReader(file)]
    for row in rows:
        row["similarity"] = float(row["similarity"])
        for name in ("original_width", "original_height"):
            row[name] = int(row[name])
    return rows


def by_duckdb(path: Path) -> Rows:
    options = "header = true, delim = ',', quote = '\"', escape = '\"', allow_quoted_nulls = false"
    types = "{'url': 'VARCHAR', 'caption': 'VARCHAR', 'license': 'VARCHAR', 'key': 'VARCHAR'}"
    query = f"select * from read_csv('{path}', {options}, types = {types})"
    relation = duckdb.sql(query)
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def by_pyarrow(path: Path) -> Rows:
    types = dict.fromkeys(("url", "caption", "license", "key"), pa.string())
    table = pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=types),
    )
    return table.to_pylist()


def by_pandas(path: Path) -> Rows:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(path, keep_default_na=False, dtype={"key": str, "caption": str})
    return frame.to_dict("records")


def as_it_was(text: str) -> str:
    """Take off the apostrophe that keeps a spreadsheet from taking a text for a formula."""
    return re.sub(r"\A'(?='*[=+\-@\t\r\n])", "", text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        *(("=1+1", "'=1+1"), ("+1", "'+1"), ("-x", "'-x"), ("@SUM(A1)", "'@SUM(A1)")),
        *(("\t=1", "'\t=1"), ("\r=1", "'\r=1"), ("'=1", "''=1"), ("''@", "''" + "'@")),
        *(("a=1", "a=1"), ("'s", "'s"), ("", ""), (" =1", " =1"), ("a\n=1", "a\n=1")),
    ],
)
def test_no_text_is_a_formula(text: str, written: str) -> None:
    (found, nothing) = without_formulas(pa.array([text, None])).to_pylist()
    assert (found, nothing) == (written, None)
    assert as_it_was(found) == text


READERS = [
    by_python,
    by_duckdb,
    by_pyarrow,
    pytest.param(by_pandas, marks=pytest.mark.compare),
]
Reader = Callable[[Path], Rows]


@pytest.mark.parametrize("read", READERS)
def test_every_value_is_there(loose_run: Path, tmp_path: Path, read: Reader) -> None:
    export(loose_run, tmp_path, "csv", samples_per_shard=100)
    paths = sorted(tmp_path.glob("*.csv"))
    assert [path.name for path in paths] == [f"{place:05d}.csv" for place in range(len(paths))]
    assert len(paths) > 1
    rows = [row for path in paths for row in read(path)]
    truth = plain_reading(loose_run)
    assert list(rows[0]) == [*COLUMNS, "uid"]
    for row, wanted in zip(rows, truth, strict=True):
        assert LABELS[wanted["nsfw"]] == row["nsfw"]
        for name in COLUMNS:
            if name != "nsfw":
                assert row[name] == wanted[name], name


def test_ids_and_other_columns_are_text(loose_run: Path, tmp_path: Path) -> None:
    columns = ("tags", "crawl_date", "license_id", "crawl_offset", "URL")
    export(loose_run, tmp_path, "csv", columns=columns)
    (path,) = tmp_path.glob("*.csv")
    table = pa.concat_tables([pq.read_table(one) for one in sorted(loose_run.glob("metadata/*"))])
    for row, wanted in zip(by_python(path), table.to_pylist(), strict=True):
        assert row["uid"] == wanted["uid"].hex()
        assert json.loads(row["tags"]) == wanted["tags"]
        assert row["crawl_date"] == f"{wanted['crawl_date']:%Y-%m-%d %H:%M:%S}.000Z"
        assert row["license_id"] == (wanted["license_id"] or "")
        assert row["crawl_offset"] == str(wanted["crawl_offset"])
        assert row["URL"] == row["url"] == wanted["URL"]


def test_images_are_left_where_they_are(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source")
    export(tmp_path / "source", tmp_path / "out", "csv", where="original_width > 1010")
    found = {row["key"]: row for row in by_python(tmp_path / "out" / "00000.csv")}
    wanted = {row["id"]: expected(row) for row in rows if row["original_width"] > 1010}
    assert found.keys() == wanted.keys()
    for key, truth in wanted.items():
        truth["nsfw"] = LABELS[truth["nsfw"]]
        assert {name: found[key][name] for name in truth} == truth


@pytest.mark.parametrize("config", ["images", "embeddings", "both"])
def test_a_config_is_refused(loose_run: Path, tmp_path: Path, config: str) -> None:
    with pytest.raises(ConfigError, match="CSV has metadata alone; leave --config out"):
        export(loose_run, tmp_path, "csv", config=config)


def test_an_empty_text_differs_from_a_null(tmp_path: Path) -> None:
    columns = {"WHERE": pa.array(["", None, "x"]), "NUM": pa.array([1, None, 3])}
    table = pa.Table.from_pylist([laion_row(n) for n in range(3)])
    for name, array in columns.items():
        table = table.append_column(name, array)
    (tmp_path / "source").mkdir()
    pq.write_table(table, tmp_path / "source" / "a.parquet")
    export(tmp_path / "source", tmp_path / "out", "csv", columns=("WHERE", "NUM"))
    rows = by_duckdb(tmp_path / "out" / "00000.csv")
    assert [(row["WHERE"], row["NUM"]) for row in rows] == [("", 1), (None, None), ("x", 3)]


AWKWARD = [
    *('say "it"', '"', '""', "a,b", "a\nb", "a\r\nb", "\r", "\n", "", " ", "a\0b", "\0", "'", "\\"),
    *("NA", "null", "nan", "True", "1.50", "007", "\ufeff", "\u2028", "é", "😀", "\t", "#", ";"),
    *("\\N", 'a"b\nc,d', "=1+1"),
]


@pytest.mark.parametrize("read", READERS)
def test_awkward_texts_come_back(tmp_path: Path, read: Reader) -> None:
    rows = [laion_row(number, TEXT=text) for number, text in enumerate(AWKWARD)]
    write_laion_metadata(tmp_path / "source" / "a.parquet", rows)
    export(tmp_path / "source", tmp_path / "out", "csv")
    found = read(tmp_path / "out" / "00000.csv")
    assert [as_it_was(row["caption"]) for row in found] == AWKWARD
    assert [row["similarity"] for row in found] == [row["similarity"] for row in rows]


texts = st.text(st.characters(codec="utf-8") | st.sampled_from('",\r\n\0\t \\'), max_size=30)


@pytest.mark.parametrize("read", READERS)
@settings(max_examples=100, deadline=None)
@given(st.lists(texts, min_size=1, max_size=20))
@example(["\r\n"])
def test_any_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory, read: Reader, captions: list[str]
) -> None:
    num = len(captions)
    table = pa.table(
        {
            "caption": captions,
            "nsfw": pa.array([number % 4 for number in range(num)]),
            "original_width": pa.array(range(num), pa.int32()),
            "original_height": pa.array(range(num), pa.int32()),
            "similarity": [number / 7 for number in range(num)],
            "url": captions[::-1],
            "license": [""] * num,
            "key": [f"{number:09d}" for number in range(num)],
        }
    )
    path = tmp_path_factory.mktemp("texts") / "a.csv"
    write_csv(path, table.column_names, table.schema, iter([table]))
    found = read(path)
    labels = [LABELS[number % 4] for number in range(num)]
    wanted = table.set_column(1, "nsfw", pa.array(labels)).to_pylist()
    for row in found:
        row |= {name: as_it_was(row[name]) for name in ("caption", "url")}
    assert [{name: row[name] for name in table.column_names} for row in found] == wanted
