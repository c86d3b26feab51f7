"""A table's other columns: the same values out as in, in types known before work starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webpairs.crawl.inputs import find_inputs, told_of_reads
from webpairs.errors import ConfigError
from webpairs.extract.tables.columns import TableColumns
from webpairs.extract.tables.read import given_columns
from webpairs.run_folder.given import (
    arrow_type,
    given_arrays,
    given_json,
    merge_types,
    type_of_arrow,
    type_of_value,
)
from webpairs.run_folder.schema import METADATA


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("int64", [2**63 - 1, -(2**63), None, 2**63, 1.0, True, "1"], [2**63 - 1, -(2**63)]),
        ("uint64", [2**64 - 1, 0, None, -1], [2**64 - 1, 0]),
        ("double", [0.1, 3, None, "0.1", True], [0.1, 3.0]),
        ("bool", [True, False, None, 1, "true"], [True, False]),
        ("list<double>", [[1, 0.5, None, "x"], [], None, 1], [[1.0, 0.5, None, None], []]),
        ("list<list<int64>>", [[[1], []], [[2], 3]], [[[1], []], [[2], None]]),
    ],
)
def test_misfits_are_null(kind: str, values: list[Any], expected: list[Any]) -> None:
    given = [None, "{}", *(orjson.dumps({"x": value}).decode() for value in values)]
    (array,) = given_arrays(given, [("x", kind)])
    assert array.type == arrow_type(kind)
    expected = [None, None, *expected]
    assert array.to_pylist() == expected + [None] * (len(given) - len(expected))


def test_in_columns_of_strings_misfits_are_their_json() -> None:
    values: list[Any] = ["a", None, 5, 0.5, True, [1], {"a": None}]
    given = [orjson.dumps({"x": value}).decode() for value in values]
    (array,) = given_arrays(given, [("x", "string")])
    assert array.to_pylist() == ["a", None, "5", "0.5", "true", "[1]", '{"a":null}']


def test_columns_keep_the_order_asked_for() -> None:
    arrays = given_arrays(['{"b":1,"a":"x"}'], [("a", "string"), ("none", "bool"), ("b", "int64")])
    assert [array.to_pylist() for array in arrays] == [["x"], [None], [1]]
    assert given_arrays([], [("a", "list<string>")])[0].type == pa.list_(pa.string())


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([], "string"),
        ([None], "string"),
        ([1, None], "int64"),
        ([1, 0.5], "double"),
        ([2**63], "string"),
        ([1, True], "string"),
        ([True], "bool"),
        (["a", 1], "string"),
        ([[]], "list<string>"),
        ([[1], [0.5], []], "list<double>"),
        ([[1], ["a"]], "list<string>"),
        ([[[0.5]], []], "list<list<double>>"),
        ([[[[[[1]]]]]], "list<list<list<list<string>>>>"),
        ([{"a": 1}], "string"),
        ([[1], 1], "string"),
    ],
)
def test_types_of_values(values: list[Any], kind: str) -> None:
    assert merge_types(map(type_of_value, values)) == kind
    assert merge_types(map(type_of_value, reversed(values))) == kind
    arrow_type(kind)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=4))
def test_any_values_come_back_or_are_null(values: list[Any]) -> None:
    kind = merge_types(map(type_of_value, values))
    given = [given_json({"x": value}) for value in values]
    (array,) = given_arrays(given, [("x", kind)])
    if kind in ("int64", "bool") or (kind == "string" and all(type(v) is str for v in values)):
        assert array.to_pylist() == values


@given(
    st.sampled_from(
        [pa.int8(), pa.uint32(), pa.int64(), pa.uint64(), pa.bool_(), pa.float64(), pa.string()]
    ),
    st.integers(0, 2),
)
@settings(max_examples=30)
def test_parquet_types_are_named_as_they_are_read(kind: pa.DataType, depth: int) -> None:
    for _ in range(depth):
        kind = pa.list_(kind)
    named = arrow_type(type_of_arrow(kind))
    assert type_of_arrow(named) == type_of_arrow(kind)


def columns_of(*paths: Path) -> dict[str, str]:
    return dict(given_columns(find_inputs([str(path) for path in paths]), TableColumns()))


def test_several_tables_are_carried_together(tmp_path: Path) -> None:
    url = "http://a.example/1.jpg"
    pq.write_table(pa.table({"url": [url], "n": [1], "x": [1.5]}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text(f'{{"url": "{url}", "n": 0.5, "y": [1]}}\n')
    (tmp_path / "c.csv").write_text("URL,x\n")
    assert columns_of(tmp_path) == {"n": "double", "x": "string", "y": "list<int64>"}
    assert columns_of(tmp_path / "c.csv") == {"x": "string"}
    given_columns(find_inputs([str(tmp_path / "c.csv")]), TableColumns())
    with pytest.raises(ConfigError, match=r"a\.parquet: no column is known to hold texts"):
        given_columns(find_inputs([str(tmp_path)]), TableColumns(), min_text_chars=5)


def test_no_name_is_one_of_ours(tmp_path: Path) -> None:
    names = [column.name for column in METADATA]
    header = ["image_url", *names, *(name.lower() for name in names), "Similarity_Given", "new"]
    header.remove("URL")
    header.remove("url")
    (tmp_path / "a.csv").write_text(",".join(header) + "\n")
    columns = given_columns(
        find_inputs([str(tmp_path / "a.csv")]), TableColumns("image_url", "TEXT")
    )
    free = [name.casefold() for name, _ in columns]
    assert len(set(free)) == len(free)
    assert not set(free) & {name.casefold() for name in names}
    assert columns[0] == ("SAMPLE_ID_given", "string")
    assert ("new", "string") in columns


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".txt"])
def test_reading_is_told_of(tmp_path: Path, suffix: str) -> None:
    from webpairs.extract.page import ExtractRules
    from webpairs.extract.unit import extract_unit, plan_units

    urls = [f"http://a.example/{number}.jpg" for number in range(50_000)]
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"url": urls}), path, row_group_size=5_000)
    else:
        path.write_text("\n".join(["url", *urls] if suffix == ".csv" else urls))
    rules = ExtractRules((), (), 0, ("any",))
    (unit,) = plan_units(find_inputs([str(path)]), tmp_path, rules, archive=False)
    told: list[int] = []
    with told_of_reads(told.append):
        extract_unit(unit)
    assert len(told) > 1
    assert sum(told) >= 0.9 * path.stat().st_size
