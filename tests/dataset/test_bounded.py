"""Rows that are shown: bounded in size, whole where they are ordinary, without passwords."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webpairs.dataset.bounded import (
    LIST,
    MAX_BINARY_BYTES,
    MAX_NESTED_BYTES,
    Bounds,
    bounded_rows,
)


def values_of(name: str, values: list[Any], bounds: Bounds = LIST, type: Any = None) -> list[Any]:
    return [
        row.values[name] for row in bounded_rows(pa.table({name: pa.array(values, type)}), bounds)
    ]


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.text(max_size=60), st.none() | st.text(max_size=30)), max_size=20),
    st.integers(1, 40),
    st.integers(0, 300),
    st.integers(1, 5),
)
def test_texts_stay_within_their_bounds(
    rows: list[tuple[str, str | None]], most: int, most_of_all: int, num_chunks: int
) -> None:
    rows = [(a.replace("@", ""), b and b.replace("@", "")) for a, b in rows]
    whole = pa.Table.from_arrays(
        [pa.array([row[place] for row in rows], pa.string()) for place in (0, 1)], ["a", "b"]
    )
    step = max(1, len(rows) // num_chunks)
    parts = [whole.slice(at, step) for at in range(0, len(rows), step)]
    table = pa.concat_tables(parts) if parts else whole
    found = bounded_rows(table, Bounds(most, most_of_all))
    assert len(found) == len(rows)
    shown = 0
    lengths: list[int] = []
    for row, (a, b) in zip(found, rows, strict=True):
        for name, text in (("a", a), ("b", b)):
            value = row.values[name]
            if name in row.cut:
                kept, _, said = value.rpartition("… [cut: ")
                assert said.endswith("]")
                assert text is not None
                assert text.startswith(kept)
                shown += len(kept)
                lengths.append(len(text))
            else:
                assert value == text
                assert len(text or "") <= most
                shown += len(text or "")
    assert shown <= most_of_all or not rows
    if not any(row.cut for row in found):
        return
    # Nothing was cut without need: of what is whole nothing is longer than what was cut.
    limit = min(lengths)
    assert all(
        len(row.values[name] or "") <= limit
        for row in found
        for name in ("a", "b")
        if name not in row.cut
    )


def test_the_longest_are_cut_first() -> None:
    values = values_of("a", ["x" * 90, "short", "y" * 70], Bounds(100, 60))
    assert values[1] == "short"
    assert values[0].startswith("x" * 27 + "…")
    assert values[2].startswith("y" * 27 + "…")


@pytest.mark.parametrize(
    ("values", "type", "is_cut"),
    [
        ([b"x" * MAX_BINARY_BYTES], pa.binary(), False),
        ([b"x" * (MAX_BINARY_BYTES + 1)], pa.binary(), True),
        ([b"x" * (MAX_BINARY_BYTES + 1)], pa.large_binary(), True),
        ([b"x" * (MAX_NESTED_BYTES + 1)], pa.binary(MAX_NESTED_BYTES + 1), True),
        ([[1.5] * 4_096], pa.list_(pa.float32()), False),
        ([[1] * (MAX_NESTED_BYTES + 1)], pa.list_(pa.int8()), True),
        ([{"a": "x" * (MAX_NESTED_BYTES + 1)}], pa.struct({"a": pa.string()}), True),
        ([[("a", "x" * (MAX_NESTED_BYTES + 1))]], pa.map_(pa.string(), pa.string()), True),
        (["x" * (LIST.text_chars + 1)], pa.large_string(), True),
        (["x" * (MAX_NESTED_BYTES + 1)], pa.dictionary(pa.int8(), pa.string()), True),
        (["short"], pa.dictionary(pa.int8(), pa.string()), False),
        (["x" * (MAX_NESTED_BYTES + 1)], pa.string_view(), True),
        ([b"x" * (MAX_NESTED_BYTES + 1)], pa.binary_view(), True),
        ([1, None], pa.int64(), False),
        ([True], pa.bool_(), False),
        ([None], pa.null(), False),
    ],
)
def test_values_of_every_type_are_bounded(values: list[Any], type: Any, is_cut: bool) -> None:
    rows = bounded_rows(pa.table({"a": pa.array(values, type)}))
    assert rows[0].cut == (("a",) if is_cut else ())
    if not is_cut:
        assert rows[0].values["a"] == values[0]
    else:
        assert len(rows[0].values["a"]) < 2 * MAX_NESTED_BYTES


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://me:s3cret@a.example/x", "https://a.example/x"),
        (["https://me:s3cret@a.example/x"], ["https://a.example/x"]),
        ({"u": "https://me:s3cret@a.example/x"}, {"u": "https://a.example/x"}),
        ("see ftp://me:s3cret@a.example", "see ftp://a.example"),
        ("https:///me:s3cret@a.example/x", "https:///a.example/x"),
        ("write to me@a.example", "write to me@a.example"),
    ],
)
def test_users_of_urls_are_left_out(value: Any, shown: Any) -> None:
    assert values_of("a", [value]) == [shown]


def test_a_url_that_is_cut_within_its_password_shows_none_of_it() -> None:
    value = values_of("a", ["https://me:s3cret" + "x" * 100 + "@a.example/"], Bounds(30, 100))[0]
    assert value == "https://… [cut: 128 bytes]"
