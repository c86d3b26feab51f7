"""Tables of the wild: lists of captions, odd values, line ends, quotes, encodings, folders."""

from __future__ import annotations

import csv
import io
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from webpairs.crawl.inputs import find_inputs
from webpairs.crawl.lenient_json import read_json_value
from webpairs.drops import Drop
from webpairs.errors import ConfigError
from webpairs.extract.page import ExtractRules, ExtractStats
from webpairs.extract.tables.columns import TableColumns
from webpairs.extract.tables.partition import partition_values
from webpairs.extract.tables.read import given_columns
from webpairs.extract.tables.sizes import row_bytes
from webpairs.extract.unit import extract_unit, plan_units
from webpairs.parquet.bounds import MAX_FOOTER_BYTES

U = "http://a.example/{}.jpg"


def extract(path: Path, data: bytes | None = None) -> tuple[list[dict[str, Any]], ExtractStats]:
    """Return the candidates of a table in the order of its rows."""
    if data is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    inputs = find_inputs([str(path)])
    given_columns(inputs, TableColumns())
    rules = ExtractRules(("alt",), ("src",), 0, ("any",), TableColumns())
    (unit,) = plan_units(inputs, path.parent / f"out-{path.name}", rules, archive=False)
    stats = extract_unit(unit)
    # Of a record that cannot be read nobody knows how many candidates it has.
    counted = sum(num for drop, num in stats.drops.items() if drop != Drop.RECORD_BROKEN)
    assert stats.found == stats.written + counted
    rows = pq.read_table(unit.candidates_path).to_pylist()
    return sorted(rows, key=lambda row: (row["crawl_offset"], row["text"])), stats


def texts(rows: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(row["crawl_offset"], row["text"]) for row in rows]


# ---- lists of captions, pictures


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "json"])
def test_each_caption_of_a_list_is_a_candidate(tmp_path: Path, suffix: str) -> None:
    lists = [["red", "old chair"], [], ["boat", None, "", "boat"], None]
    path = tmp_path / f"a.{suffix}"
    if suffix == "parquet":
        urls = [U.format(n) for n in range(4)]
        pq.write_table(pa.table({"url": urls, "captions": lists}), path)
    else:
        rows = [{"url": U.format(n), "captions": one} for n, one in enumerate(lists)]
        lines = json.dumps(rows) if suffix == "json" else "\n".join(map(json.dumps, rows))
        path.write_text(lines)
    rows, stats = extract(path)
    assert texts(rows) == [(0, "old chair"), (0, "red"), (1, ""), (2, "boat"), (3, "")]
    assert (stats.found, stats.records, stats.drops) == (5, 4, {})
    assert len({row["uid"] for row in rows}) == 5


def test_pictures_in_structs_and_lists_are_left_out_and_told(tmp_path: Path) -> None:
    picture = {"bytes": bytes(5000), "path": "a.jpg"}
    table = pa.table(
        {
            "url": [U.format(n) for n in range(3)],
            "caption": ["a", "b", "c"],
            "image": [picture] * 3,
            "images": [[picture, picture], [], [picture]],
            "raw": [[bytes(5000)]] * 3,
            "box": [{"x": 1, "mask": b"\1"}] * 3,
        }
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    rows, stats = extract(path)
    assert [orjson.loads(row["given"]) for row in rows] == [{"box": {"x": 1, "mask": "01"}}] * 3
    assert [line.split(" holds")[0] for line in stats.warnings] == [
        f"a.parquet: column {name!r}" for name in ("image", "images", "raw")
    ]
    assert dict(given_columns(find_inputs([str(path)]), TableColumns())) == {"box": "string"}


# ---- JSON


BIG = 2**70


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (rb'"caption":"cut \ud83d"', ("cut", {})),
        (rb'"caption":"whole \ud83d\ude00"', ("whole \U0001f600", {})),
        (rb'"caption":"x","note":"cut \udc00!"', ("x", {"note": "cut !"})),
        (rb'"caption":"x","a\ud800":1', ("x", {"a": 1})),
        (rb'"caption":"x","deep":[{"n":"\udfff"}]', ("x", {"deep": [{"n": ""}]})),
        (rb'"caption":"x","score":1e999', ("x", {"score": None})),
        (rb'"caption":"x","score":[-1e999,1.5]', ("x", {"score": [None, 1.5]})),
        (rb'"caption":"x","score":NaN', ("x", {"score": None})),
        (rb'"caption":"x","score":-Infinity', ("x", {"score": None})),
        (rb'"caption":"x","similarity":1e999', ("x", {})),
        (rb'"caption":"x","id":%d' % BIG, ("x", {"id": str(BIG)})),
        (rb'"caption":"x","id":-%d' % BIG, ("x", {"id": str(-BIG)})),
        (rb'"caption":"x","id":%d' % (2**64 - 1), ("x", {"id": 2**64 - 1})),
        (rb'"caption":"x","id":%s' % (b"9" * 5000), ("x", {"id": "9" * 5000})),
        (rb'"caption":"x","id":1e20', ("x", {"id": 1e20})),
        (b'"caption":"a\tb"', ("a b", {})),
    ],
)
@pytest.mark.parametrize("suffix", ["jsonl", "json"])
def test_one_odd_value_costs_itself_alone(
    tmp_path: Path, member: bytes, expected: tuple[str, dict[str, Any]], suffix: str
) -> None:
    row = b'{"url":"%s",%s}' % (U.format(1).encode(), member)
    other = b'{"url":"%s","caption":"other"}' % U.format(2).encode()
    data = b"[%s,\n%s]" % (row, other) if suffix == "json" else b"%s\n%s" % (row, other)
    rows, stats = extract(tmp_path / f"a.{suffix}", data)
    assert (stats.written, stats.drops) == (2, {})
    found = orjson.loads(rows[0]["given"] or "{}")
    if suffix == "json" and member.count(str(BIG).encode()):
        found = {"id": str(int(found["id"]))} if isinstance(found["id"], float) else found
    assert (rows[0]["text"], found) == expected
    assert rows[1]["text"] == "other"


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


@given(JSON, st.booleans())
def test_what_json_holds_is_read(value: Any, as_ascii: bool) -> None:
    """Whatever Python's json writes is read, and can be written again."""
    orjson.dumps(read_json_value(json.dumps(value, ensure_ascii=as_ascii).encode()))


@given(st.binary(max_size=60) | st.sampled_from([b"[" * 100_000, b'{"a":' * 50_000, b"9" * 9_999]))
def test_any_bytes_are_json_or_not(data: bytes) -> None:
    with suppress(ValueError):
        read_json_value(data)


# ---- line ends and quotes


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n"])
@pytest.mark.parametrize(
    ("suffix", "head", "row"),
    [
        ("csv", b"url,caption", b"http://a.example/%d.jpg,boat %d"),
        ("csv", b"url,caption", b'http://a.example/%d.jpg,"boat, %d"'),
        ("tsv", b"url\tcaption", b"http://a.example/%d.jpg\tboat %d"),
        ("txt", None, b"http://a.example/%d.jpg?%d"),
        ("jsonl", None, b'{"url":"http://a.example/%d.jpg","caption":"boat %d"}'),
    ],
)
@pytest.mark.parametrize("num", [1, 5])
def test_line_ends(
    tmp_path: Path, suffix: str, head: bytes | None, row: bytes, end: bytes, num: int
) -> None:
    lines = ([] if head is None else [head]) + [row % (n, n) for n in range(num)]
    _, stats = extract(tmp_path / f"a.{suffix}", end.join(lines) + end)
    assert (stats.written, stats.drops) == (num, {})


@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_carriage_returns_beyond_a_block(tmp_path: Path, suffix: str) -> None:
    num = 45_000
    head = "url,caption\r" if suffix == "csv" else ""
    row = "{},boat" if suffix == "csv" else "{}"
    data = head + "\r".join(row.format(U.format(f"{n:06}")) for n in range(num))
    assert len(data) > 1 << 20
    _, stats = extract(tmp_path / f"a.{suffix}", data.encode())
    assert (stats.written, stats.drops) == (num, {})


@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt", "jsonl"])
@given(st.lists(st.sampled_from(["\r", "\n", "\r\n"]), min_size=1, max_size=12))
@settings(max_examples=40)
def test_mixed_line_ends(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, ends: list[str]
) -> None:
    delimiter = {"csv": ",", "tsv": "\t"}.get(suffix, "")
    head = f"url{delimiter}caption" if delimiter else U.format("x")
    lines = [head] + [U.format(n) + delimiter + "boat" * bool(delimiter) for n in range(len(ends))]
    if suffix == "jsonl":
        lines = [json.dumps({"url": line, "caption": "boat"}) for line in lines]
    data = "".join(line + end for line, end in zip(lines, [*ends, "\n"], strict=True))
    path = tmp_path_factory.getbasetemp() / f"mixed.{suffix}"
    _, stats = extract(path, data.encode())
    assert (stats.written, stats.drops) == (len(lines) - bool(delimiter), {})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        # A text with a stray CR stays whole in a table whose lines end otherwise.
        ("U0,a\rb\nU1,c\n", ["a b", "c"]),
        ("U0,a\r\nU1,b\rU2,c\r\nU3,d", ["a", "b", "c", "d"]),
        ('U0,"a\rb"\rU1,c\r', ["a b", "c"]),
        ('U0,"a\r\nb"\r\nU1,c\r\n', ["a b", "c"]),
        ('U0,"a\rU9,b"\nU1,c\n', ["a U9,b", "c"]),
        # Quotes escaped by a backslash: MySQL, Spark.
        ('U0,"say \\"hi\\" now"\nU1,c', ['say "hi" now', "c"]),
        ('U0,"\\"hi\\", she said"\nU1,c', ['"hi", she said', "c"]),
        ('U0,"ends with \\""\nU1,c', ['ends with "', "c"]),
        ('U0,"\\" starts"\nU1,"b"', ['" starts', "b"]),
        ('U0,"two \\"lines\nof\\" it"\nU1,c', ['two "lines of" it', "c"]),
        ('U0,"back\\\\slash \\"x\\""\nU1,c', ['back\\slash "x"', "c"]),
        # By RFC 4180 a backslash is a character.
        ('U0,"C:\\dir\\"\nU1,c', ["C:\\dir\\", "c"]),
        ('U0,"a ""b"""\nU1,c', ['a "b"', "c"]),
    ],
)
def test_records(tmp_path: Path, lines: str, expected: list[str]) -> None:
    for n in range(4):
        lines = lines.replace(f"U{n}", U.format(n))
    rows, stats = extract(tmp_path / "a.csv", f"url,caption\n{lines}".encode())
    assert [text for _, text in texts(rows)] == expected
    assert stats.drops == {}


FIELDS = st.text(st.sampled_from("ab,\"'\\ \t;|\r\né"), max_size=10).filter(
    lambda text: '\\"' not in text
)
"""Without backslashes before quotes, which are read as MySQL's where that fits better."""


@given(
    st.lists(st.tuples(FIELDS, FIELDS), max_size=8),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from([",", "\t"]),
    st.sampled_from(["", "utf-8-sig", "utf-16", "utf-16-le"]),
)
@example([("a\r\nb", '"')], "\r", ",", "utf-16")
@settings(max_examples=100)
def test_rows_are_those_of_the_csv_module(
    tmp_path_factory: pytest.TempPathFactory,
    fields: list[tuple[str, str]],
    end: str,
    delimiter: str,
    encoding: str,
) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator=end)
    writer.writerow(["url", "a", "b"])
    writer.writerows([U.format(n), *both] for n, both in enumerate(fields))
    name = "c.tsv" if delimiter == "\t" else "c.csv"
    path = tmp_path_factory.getbasetemp() / name
    rows, stats = extract(path, out.getvalue().encode(encoding or "utf-8"))
    independent = list(csv.reader(io.StringIO(out.getvalue(), newline=""), delimiter=delimiter))
    assert (stats.written, stats.drops) == (len(independent) - 1, {})

    def plain(text: str) -> str:
        return re.sub(r"[\r\n]+", "\n", text)

    found = [orjson.loads(row["given"]) for row in rows]
    assert [[plain(one["a"]), plain(one["b"])] for one in found] == [
        [plain(field) for field in row[1:]] for row in independent[1:]
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json", "txt"])
def test_encodings(tmp_path: Path, encoding: str, suffix: str) -> None:
    row = {"url": "http://a.example/é.jpg", "caption": "лодка \U0001f6a3"}
    lines = {
        "csv": "url,caption\r\n" + ",".join(row.values()),
        "jsonl": json.dumps(row, ensure_ascii=False) + "\n",
        "json": json.dumps([row], ensure_ascii=False),
        "txt": row["url"],
    }
    (found,), stats = extract(tmp_path / f"a.{suffix}", lines[suffix].encode(encoding))
    assert found["url"] == "http://a.example/%C3%A9.jpg"
    assert found["text"] == ("" if suffix == "txt" else row["caption"])
    assert stats.drops == {}


# ---- folders that are columns


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/d/lang=en/part-0.parquet", {"lang": "en"}),
        ("/d/lang=en/year=2024/p.csv", {"lang": "en", "year": "2024"}),
        ("/d/a=1/plain/b=2/p.csv", {"b": "2"}),
        ("/d/name=a%2Fb%20c/p.csv", {"name": "a/b c"}),
        ("/d/lang=__HIVE_DEFAULT_PARTITION__/p.csv", {"lang": None}),
        ("s3://bucket/lang=en/p.parquet", {"lang": "en"}),
        ("https://a.example/get?x=1/p.csv", {}),
        ("/d/=x/p.csv", {}),
        ("/d/lang=en.csv", {}),
    ],
)
def test_partitions_of_a_path(path: str, values: dict[str, str | None]) -> None:
    assert partition_values(path) == values


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_partitions_are_columns(tmp_path: Path, suffix: str) -> None:
    row = {"url": U.format(1), "caption": "boat", "own": "x"}
    folder = tmp_path / "own=y" / "width=5" / "URL=z" / "lang=en"
    folder.mkdir(parents=True)
    path = folder / f"part-0.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.table({name: [value] for name, value in row.items()}), path)
    elif suffix == "csv":
        path.write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
    else:
        path.write_text(json.dumps(row))
    (found,), _ = extract(path)
    expected = {"own": "x", "width_given": "5", "lang": "en"}
    assert orjson.loads(found["given"]) == expected
    columns = dict(given_columns(find_inputs([str(path)]), TableColumns()))
    assert columns == dict.fromkeys(expected, "string")


# ---- any bytes


@given(
    st.sampled_from(["csv", "tsv", "jsonl", "json", "txt"]),
    st.sampled_from([b"", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0", b"\xef\xbb\xbf"]),
    st.binary(max_size=80)
    | st.lists(
        st.sampled_from(
            [
                *(
                    b"url,a",
                    b"url\ta",
                    b"\r",
                    b"\n",
                    b'"',
                    b'\\"',
                    b"\\",
                    b",",
                    b"\t",
                    b"x",
                    b"\xff",
                ),
                *(b"http://a.example/1.jpg", b'{"url":"http://a.example/"', b'"\\ud83d"', b"}"),
                *(b":", b"[", b"]", b"1e999", b"9" * 30, b"\0"),
            ]
        ),
        max_size=30,
    ).map(b"".join),
)
@settings(max_examples=150)
def test_no_bytes_raise(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, mark: bytes, data: bytes
) -> None:
    with suppress(ConfigError):
        extract(tmp_path_factory.getbasetemp() / f"any.{suffix}", mark + data)


def test_broken_rows_are_counted_among_carriage_returns(tmp_path: Path) -> None:
    rows = [f"{U.format(n)},boat" for n in range(9)]
    rows[4] += ",one more"
    _, stats = extract(tmp_path / "a.csv", "\r".join(["url,caption", *rows]).encode())
    assert (stats.written, stats.drops) == (8, {Drop.ROW_BROKEN: 1})


# ---- parquet files that become large


def bombs() -> dict[str, pa.Array]:
    """Return columns of 3 rows that are kilobytes in a file: large in the row in the middle."""
    offsets = pa.array([0, 0, 5_000_000, 5_000_000], pa.int32())
    text = pa.array(["a", "x" * 70_000_000, "b"])
    return {
        "text": text,
        "struct": pa.StructArray.from_arrays([text], ["inner"]),
        "nulls": pa.ListArray.from_arrays(offsets, pa.nulls(5_000_000)),
        "numbers": pa.ListArray.from_arrays(offsets, pa.repeat(pa.scalar(1, pa.int8()), 5_000_000)),
    }


@pytest.mark.parametrize("name", bombs())
@pytest.mark.parametrize("dictionary", [True, False])
def test_a_column_that_becomes_too_large_is_left_out_and_told(
    tmp_path: Path, name: str, dictionary: bool
) -> None:
    table = pa.table(
        {"url": [U.format(n) for n in range(3)], "text": ["c"] * 3, "extra": bombs()[name]}
    )
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression="zstd", use_dictionary=dictionary)
    assert path.stat().st_size < 100_000
    rows, stats = extract(path)
    assert texts(rows) == [(0, "c"), (1, "c"), (2, "c")]
    assert [row["given"] for row in rows] == [None] * 3
    assert "column 'extra'" in stats.warnings[0]
    assert "is left out" in stats.warnings[0]


def test_a_row_group_whose_texts_become_too_large_is_broken(tmp_path: Path) -> None:
    table = pa.table({"url": [U.format(n) for n in range(6)], "text": ["c"] * 3 + ["", "", ""]})
    table = table.set_column(1, "text", pa.chunked_array([["c"] * 3, bombs()["text"]]))
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression="zstd", row_group_size=3)
    rows, stats = extract(path)
    assert texts(rows) == [(0, "c"), (1, "c"), (2, "c")]
    assert stats.drops == {Drop.ROW_BROKEN: 3}
    assert "row group 1: column 'text' has a page of 70 MB" in stats.warnings[0]


def test_a_row_larger_than_a_line_may_be_is_broken(tmp_path: Path) -> None:
    given_json = [["x" * 1_000_000] * num for num in (1, 9, 2)]
    table = pa.table({"url": [U.format(n) for n in range(3)], "text": ["c"] * 3, "g": given_json})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression="zstd")
    rows, stats = extract(path)
    assert texts(rows) == [(0, "c"), (2, "c")]
    assert stats.drops == {Drop.ROW_BROKEN: 1}


def test_other_columns_are_not_repeated_for_ever(tmp_path: Path) -> None:
    row = {"url": U.format(1), "text": [f"text {n}" for n in range(100)], "g": "x" * 1_000_000}
    whole = {"url": U.format(2), "text": ["text"], "g": "x" * 1_000_000}
    rows, stats = extract(tmp_path / "a.jsonl", orjson.dumps(row) + b"\n" + orjson.dumps(whole))
    assert texts(rows) == [(1, "text")]
    assert stats.drops == {Drop.ROW_BROKEN: 1}


def test_empty_row_groups_are_passed_over(tmp_path: Path) -> None:
    table = pa.table({"url": [U.format(1)], "text": ["c"]})
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, table.schema) as writer:
        for _ in range(300):
            writer.write_table(table.slice(0, 0))
        writer.write_table(table)
    assert pq.read_metadata(path).num_row_groups == 301
    rows, _ = extract(path)
    assert texts(rows) == [(0, "c")]


def test_pictures_of_a_fixed_length_are_left_out(tmp_path: Path) -> None:
    table = pa.table(
        {
            "url": [U.format(n) for n in range(3)],
            "text": ["c"] * 3,
            "raw": pa.array([b"x" * 5_000] * 3, pa.binary(5_000)),
            "code": pa.array([b"x" * 16] * 3, pa.binary(16)),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    rows, stats = extract(tmp_path / "a.parquet")
    assert [orjson.loads(row["given"]) for row in rows] == [{"code": "78" * 16}] * 3
    assert "column 'raw' holds pictures" in stats.warnings[0]


def test_a_footer_of_too_many_row_groups_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with path.open("wb") as file:
        file.write(b"PAR1")
        file.truncate(MAX_FOOTER_BYTES + 100)
        file.seek(0, 2)
        file.write((MAX_FOOTER_BYTES + 1).to_bytes(4, "little") + b"PAR1")
    with pytest.raises(ConfigError, match=r"a\.parquet: its footer has 32 MB \(limit 32 MB\)"):
        extract(path)


NESTED: list[Any] = [
    [[1, None, 2], None, []],
    [{"a": "xy", "b": [1]}, None, {"a": None, "b": None}],
    [[("k", "value")], None, []],
    ["abc", None, ""],
]


@pytest.mark.parametrize("values", NESTED, ids=["list", "struct", "map", "text"])
def test_sizes_of_rows(values: Any) -> None:
    kind = pa.map_(pa.string(), pa.string()) if values is NESTED[2] else None
    array = pa.array(values, kind)
    for one in (array, pa.concat_arrays([array, array]).slice(3)):
        sizes = row_bytes(one)
        assert len(sizes) == 3
        assert sizes.tolist()[0] > sizes.tolist()[1] == 8 or values is NESTED[1]
    assert row_bytes(pa.array(["abc", "abc", None]).dictionary_encode()).tolist() == [11, 11, 8]
    assert row_bytes(pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2))).tolist() == [24, 24]
