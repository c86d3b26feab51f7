"""Tables: every shape that datasets come in, every row accounted for, nothing but bytes trusted."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from webpairs.crawl.inputs import find_inputs
from webpairs.drops import Drop
from webpairs.errors import ConfigError
from webpairs.extract.page import ExtractRules, ExtractStats
from webpairs.extract.tables import json_file as table_json
from webpairs.extract.tables import lines as table_lines
from webpairs.extract.tables.columns import NAMED_AS_USUAL, TableColumns
from webpairs.extract.tables.read import given_columns
from webpairs.extract.unit import extract_unit, plan_units
from webpairs.ids import uid_of

TABLES = Path(__file__).parents[2] / "data" / "tables"
HASH = "0123456789abcdef" * 4


def extract(
    path: Path, columns: TableColumns = NAMED_AS_USUAL, **rules: Any
) -> tuple[list[dict[str, Any]], ExtractStats]:
    """Return the candidates of a table in the order of its rows."""
    asked = {"min_text_chars": 0, "languages": ("any",)} | rules
    out = path.parent / f"out-{path.name}"
    (unit,) = plan_units(
        find_inputs([str(path)]),
        out,
        ExtractRules(("alt",), ("src",), table_columns=columns, **asked),
        archive=False,
    )
    stats = extract_unit(unit)
    # Of a record that cannot be read nobody knows how many candidates it has.
    counted = sum(num for drop, num in stats.drops.items() if drop != Drop.RECORD_BROKEN)
    assert stats.found == stats.written + counted
    rows = pq.read_table(unit.candidates_path).to_pylist()
    assert len(rows) == stats.written
    return sorted(rows, key=lambda row: row["crawl_offset"]), stats


def of_data(name: str, folder: Path, columns: TableColumns = NAMED_AS_USUAL, **rules: Any) -> Any:
    path = folder / name
    path.write_bytes((TABLES / name).read_bytes())
    return extract(path, columns, **rules)


def pairs(rows: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(row["url"].removeprefix("http://a.example/"), row["text"]) for row in rows]


def carried(path: Path, columns: TableColumns = NAMED_AS_USUAL) -> dict[str, str]:
    return dict(given_columns(find_inputs([str(path)]), columns))


def parquet(path: Path, columns: dict[str, Any]) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


# ---- shapes


def test_laion400m(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "part-00000.parquet",
        {
            "SAMPLE_ID": pa.array([2**62 + 1, None, 3, 4, 5], pa.int64()),
            "URL": ["http://a.example/1.jpg#x", None, *["http://a.example/2.jpg"] * 3],
            "TEXT": ["A boat &amp; a  lake", "no address", None, "shifted", "fine again"],
            "HEIGHT": pa.array([400, 300, 1, 39580, None], pa.int32()),
            "WIDTH": pa.array([300, 400, 1, 2, None], pa.int32()),
            "LICENSE": ["https://creativecommons.org/licenses/by/2.0/", "?", "?", "", None],
            "NSFW": ["UNLIKELY", "NSFW", "UNSURE", "0.3", "incohesive"],
            "similarity": [0.3125, 0.3, 0.31, 6016.0, float("nan")],
        },
    )
    rows, stats = extract(path)
    url, text = "http://a.example/1.jpg", "A boat & a lake"
    assert rows[0].pop("language_score") > 0.2
    assert rows[0] == {
        "uid": uid_of(url, text),
        "url": url,
        "text": text,
        "license": "https://creativecommons.org/licenses/by/2.0/",
        "license_id": "CC-BY-2.0",
        "language": "en",
        "crawl_file": "part-00000.parquet",
        "crawl_offset": 0,
        "position": 0,
        "similarity_given": 0.3125,
        "url_given": "http://a.example/1.jpg#x",
        "text_given": "A boat &amp; a  lake",
        "nsfw_given": "UNLIKELY",
        "hash_given": None,
        "given": '{"SAMPLE_ID_given":4611686018427387905,"HEIGHT_given":400,"WIDTH_given":300}',
        **dict.fromkeys(("license_where", "opt_out", "image_source", "text_source")),
        **dict.fromkeys(("page_url", "crawl_date")),
    }
    assert [row["crawl_offset"] for row in rows] == [0, 2, 4]
    assert (rows[1]["text"], rows[1]["language"], rows[1]["text_given"]) == ("", None, None)
    assert [rows[2][name] for name in ("license", "nsfw_given", "similarity_given")] == [
        *("?", None, None)
    ]
    assert orjson.loads(rows[2]["given"]) == {
        "SAMPLE_ID_given": 5,
        "HEIGHT_given": None,
        "WIDTH_given": None,
    }
    assert stats.drops == {Drop.URL_INVALID: 1, Drop.ROW_BROKEN: 1}
    assert (stats.records, stats.inputs, stats.warnings) == (5, 1, [])
    assert stats.bytes_read == path.stat().st_size
    assert carried(path) == dict.fromkeys(
        ("SAMPLE_ID_given", "HEIGHT_given", "WIDTH_given"), "int64"
    )
    _, stats = extract(path, min_text_chars=5)
    assert stats.drops == {Drop.URL_INVALID: 1, Drop.ROW_BROKEN: 1, Drop.TEXT_TOO_SHORT: 1}


def test_laion5b_and_coco_keep_their_integer_hash(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a.parquet",
        {
            "URL": ["http://a.example/1.jpg"],
            "TEXT": ["a boat"],
            "top_caption": ["a boat on a lake"],
            "all_captions": [["a", "b"]],
            "all_similarities": [[0.25, 0.5]],
            "WIDTH": [5.0],
            "hash": pa.array([-(2**63)], pa.int64()),
            "punsafe": pa.array([0.5], pa.float32()),
        },
    )
    (row,), _ = extract(path)
    assert row["hash_given"] is None
    assert orjson.loads(row["given"]) == {
        "top_caption": "a boat on a lake",
        "all_captions": ["a", "b"],
        "all_similarities": [0.25, 0.5],
        "WIDTH_given": 5.0,
        "hash": -(2**63),
        "punsafe": 0.5,
    }
    assert carried(path) == {
        "top_caption": "string",
        "all_captions": "list<string>",
        "all_similarities": "list<double>",
        "WIDTH_given": "double",
        "hash": "int64",
        "punsafe": "double",
    }


def test_datacomp(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a.parquet",
        {
            "uid": ["335db346a49045476677662a0067ce68", "x"],
            "url": ["http://a.example/1.png", "http://a.example/2.png"],
            "text": ["untitled image", "case cover"],
            "original_width": [980, 82],
            "clip_b32_similarity_score": pa.array([0.25, None], pa.float32()),
            "clip_l14_similarity_score": pa.array([0.125, 0.5], pa.float32()),
            "face_bboxes": [[[0.0, 0.5, 0.25, 1.0]], []],
            "sha256": [HASH.upper(), "none"],
        },
    )
    rows, _ = extract(path)
    assert [row["hash_given"] for row in rows] == [f"sha256:{HASH}", None]
    assert [row["similarity_given"] for row in rows] == [None, None]
    columns = given_columns(find_inputs([str(path)]), TableColumns())
    assert dict(columns) == {
        "uid_given": "string",
        "original_width": "int64",
        "clip_b32_similarity_score": "double",
        "clip_l14_similarity_score": "double",
        "face_bboxes": "list<list<double>>",
    }
    assert orjson.loads(rows[0]["given"])["face_bboxes"] == [[0.0, 0.5, 0.25, 1.0]]


def test_coyo(tmp_path: Path) -> None:
    (row,), _ = of_data("coyo.jsonl", tmp_path)
    assert (row["url"], row["text"]) == ("https://a.example/boat.jpg", "A boat on the lake")
    columns = carried(tmp_path / "coyo.jsonl")
    assert columns == {
        **dict.fromkeys(("id", "width_given", "height_given"), "int64"),
        **dict.fromkeys(("text_length", "num_faces"), "int64"),
        "image_phash": "string",
        **dict.fromkeys(("clip_similarity_vitb32", "clip_similarity_vitl14"), "double"),
        **dict.fromkeys(("nsfw_score_opennsfw2", "watermark_score"), "double"),
    }
    assert orjson.loads(row["given"])["width_given"] == 1000


def test_cc3m_has_no_header_and_stray_quotes(tmp_path: Path) -> None:
    rows, stats = of_data("cc3m.tsv", tmp_path, min_text_chars=5)
    assert pairs(rows) == [
        ("boat.jpg", "a small boat on a calm lake"),
        ("house.jpg?w=1,2", '" the quoted house " by the sea'),
        ("kite.jpg", 'a red kite in the "big" sky'),
        ("light.jpg", '"a lighthouse, nobody closed this quote'),
        ("last.jpg", "the last of them"),
    ]
    assert (stats.drops, {row["given"] for row in rows}) == ({}, {None})


def test_cc12m_has_the_url_first(tmp_path: Path) -> None:
    rows, _ = of_data("cc12m.tsv", tmp_path)
    assert [row["text"] for row in rows] == [
        "<PERSON> in a small boat",
        'A house, a garden and "a gate"',
        "Two pictures in one",
    ]
    header = b"url\tcaption\n"  # as img2dataset's guide has it put there
    (tmp_path / "with.tsv").write_bytes(header + (TABLES / "cc12m.tsv").read_bytes())
    assert pairs(extract(tmp_path / "with.tsv")[0]) == pairs(rows)


def test_wit_names_its_text_and_has_records_of_several_lines(tmp_path: Path) -> None:
    columns = TableColumns(text="caption_alt_text_description")
    rows, stats = of_data("wit.tsv", tmp_path, columns)
    assert [(row["url"], row["text"]) for row in rows] == [
        ("https://a.example/boat.jpg", 'A boat in two "parts"'),
        ("https://a.example/boot.jpg", ""),
    ]
    assert orjson.loads(rows[0]["given"]) == {
        "language_given": "en",
        "page_url_given": "https://en.example/wiki/Boat",
        "page_title": "Boat",
    }
    assert stats.drops == {}
    with pytest.raises(ConfigError, match=r"no column is known to hold texts.*page_title.*--text"):
        given_columns(find_inputs([str(tmp_path / "wit.tsv")]), TableColumns(), min_text_chars=5)


def test_what_laions_workers_wrote_with_bars(tmp_path: Path) -> None:
    rows, stats = of_data("laion-worker.csv", tmp_path)
    assert pairs(rows) == [("7.jpg", "A boat on the lake")]
    assert rows[0]["similarity_given"] == 0.3125
    assert stats.drops == {Drop.ROW_BROKEN: 2}
    assert set(carried(tmp_path / "laion-worker.csv").values()) == {"string"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sbu.json", [("1.jpg", "A dog on the beach"), ("2.jpg", "My cat in a box")]),
        ("pandas.json", [("0.jpg", ""), ("1.jpg", "caption 1")]),
        ("pandas.csv", [("0.jpg", ""), ("1.jpg", "caption 1")]),
        ("records.json", [("1.jpg", "one boat"), ("2.jpg", "two boats")]),
        ("lines.json", [("1.jpg", "one boat"), ("2.jpg", "two boats")]),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_what_img2dataset_reads(
    tmp_path: Path, name: str, expected: list[tuple[str, str]], packed: bool
) -> None:
    data = (TABLES / name).read_bytes()
    path = tmp_path / (f"{name}.gz" if packed else name)
    path.write_bytes(gzip.compress(data) if packed else data)
    rows, stats = extract(path)
    assert pairs(rows) == expected
    assert (stats.drops, stats.bytes_read) == ({}, path.stat().st_size)
    assert [row["crawl_offset"] for row in rows] == [0, 1]


def test_an_index_without_a_name_is_carried(tmp_path: Path) -> None:
    rows, _ = of_data("pandas.csv", tmp_path)
    assert [row["given"] for row in rows] == ['{"column_1":"0"}', '{"column_1":"1"}']


def test_a_list_of_urls_is_no_csv(tmp_path: Path) -> None:
    rows, stats = of_data("urls.txt", tmp_path)
    assert [(row["url"], row["crawl_offset"]) for row in rows] == [
        ("http://a.example/1.jpg", 0),
        ("http://a.example/a,b%20c.jpg?x=1,2;3", 1),
        ("http://a.example/%22quoted%22.jpg", 2),
    ]
    assert stats.drops == {Drop.ROW_BROKEN: 1, Drop.URL_INVALID: 1}
    with pytest.raises(ConfigError, match=r"urls.txt: no column is known to hold texts"):
        given_columns(find_inputs([str(tmp_path / "urls.txt")]), TableColumns(), min_text_chars=1)


# ---- which column is which


@pytest.mark.parametrize(
    ("name", "text", "columns", "says"),
    [
        ("a.csv", "img,alt\nx,y\n", (None, None), "columns: 'img', 'alt'): name it with --url-co"),
        ("a.csv", "url,image_url\n", (None, None), "2 columns may hold the URL (columns: 'url'"),
        ("a.csv", "URL,url\n", (None, None), "2 columns may hold the URL"),
        ("a.csv", "url,text,Caption\n", (None, None), "2 columns may hold the text"),
        ("a.csv", "url,text\n", ("link", None), "no column 'link' (columns: 'url', 'text'): mend"),
        ("a.csv", "url,text\n", (None, "alt"), "no column 'alt'"),
        ("a.csv", "\n\n", (None, None), "no row"),
        ("a.csv", "http://a.example/,http://b.example/\n", (None, None), "2 of its 2 columns"),
        ("a.csv", "http://a.example/,x\n", ("column_3", None), "no column 'column_3'"),
        ("a.csv", "\ufeff", (None, None), "no row"),
        ("a.tsv", "x\n", (None, None), "columns: 'x'"),
        ("a.txt", "url\nnone\n", (None, None), "no http(s) URL in its first 2 lines"),
        ("a.jsonl", '{"img": 1}\n', (None, None), "columns: 'img'"),
        ("a.jsonl", "[1]\n{", (None, None), "cannot be read as JSON"),
        ("a.jsonl", "x\n5\n", (None, None), "no JSON object in its first 2 lines"),
        ("a.json", "5", (None, None), "neither rows nor columns"),
        ("a.json", "[5]", (None, None), "no JSON object in its first"),
        ("a.json", '{"url": ["a"], "text": []}', (None, None), "not of one length"),
        ("a.json", '{"url"\n: 5', (None, None), "cannot be read as JSON"),
        ("a.json", "{}", (None, None), "no columns"),
        ("a.parquet", "PAR1xxxxxxxxPAR1", (None, None), "cannot be read as parquet"),
    ],
)
def test_what_cannot_be_told_is_refused_before_work(
    tmp_path: Path, name: str, text: str, columns: tuple[str | None, str | None], says: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        given_columns(find_inputs([str(path)]), TableColumns(*columns))
    message = str(caught.value)
    assert says in message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message


def test_columns_are_found_in_any_case_and_order_or_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\ufeff Caption ,x, URL\nhi,1,http://a.example/1.jpg\n")
    assert pairs(extract(path)[0]) == [("1.jpg", "hi")]
    assert carried(path) == {"x": "string"}
    path.write_text("Link,alt,url\nhttp://a.example/1.jpg,hi,none\n")
    rows, _ = extract(path, TableColumns("link", "alt"))
    assert pairs(rows) == [("1.jpg", "hi")]
    assert rows[0]["given"] == '{"url_given_given":"none"}'


def test_a_headerless_table_of_three_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("7,http://a.example/1.jpg,hi\n8,,ho\n")
    rows, stats = extract(path)
    assert pairs(rows) == [("1.jpg", "")]
    assert stats.drops == {Drop.URL_INVALID: 1}
    assert carried(path) == {"column_1": "string", "column_3": "string"}
    rows, _ = extract(path, TableColumns(text="column_3"))
    assert pairs(rows) == [("1.jpg", "hi")]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_hashes(tmp_path: Path, suffix: str) -> None:
    for name, value, expected in (
        ("sha256", HASH, f"sha256:{HASH}"),
        ("hash", HASH[:32], f"md5:{HASH[:32]}"),
        ("md5", HASH[:32].upper(), f"md5:{HASH[:32]}"),
        ("md5", HASH, None),
        ("hash", "12345", None),
    ):
        path = tmp_path / f"a{suffix}"
        row = {"url": "http://a.example/1.jpg", name: value}
        if suffix == ".csv":
            path.write_text(f"{','.join(row)}\n{','.join(row.values())}\n")
        elif suffix == ".jsonl":
            path.write_text(json.dumps(row))
        else:
            parquet(path, {key: [held] for key, held in row.items()})
        (found,), _ = extract(path)
        assert found["hash_given"] == expected
        assert (found["given"] is None) == (expected is not None)


def test_our_own_metadata_is_a_table(tmp_path: Path) -> None:
    digest = bytes.fromhex(HASH)
    path = parquet(
        tmp_path / "00000.parquet",
        {
            "URL": ["http://a.example/1.jpg"],
            "TEXT": ["a boat"],
            "WIDTH": [5],
            "WIDTH_given": [6],
            "sha256": pa.array([digest], pa.binary(32)),
        },
    )
    (row,), _ = extract(path)
    assert row["hash_given"] == f"sha256:{HASH}"
    assert row["given"] == '{"WIDTH_given":5,"WIDTH_given_given":6}'


# ---- broken rows


def test_broken_rows_are_counted_and_numbered(tmp_path: Path) -> None:
    good = b'{"url": "http://a.example/%d.jpg", "similarity": %s}'
    lines = [
        good % (0, b"0.5"),
        b'{"url": ',
        b"[]",
        b"null",
        b'{"url": "\xff"}',
        b'{"url": "\\ud800"}',
        good % (6, b"1.02"),
        good % (7, b'"x"'),
        good % (8, b"[]"),
        good % (9, b"true"),
        b'{"url": "http://a.example/x.jpg", "deep": ' + b"[" * 500 + b"]" * 500 + b"}",
        b"",
        good % (11, b"null"),
        good % (12, b'"-1.005"'),
        good % (13, b"NaN"),
        b"{}",
        b'{"url": 5}',
        b'{"url": ["http://a.example/1.jpg"]}',
    ]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\r\n".join(lines))
    rows, stats = extract(path)
    assert [(row["crawl_offset"], row["similarity_given"]) for row in rows] == [
        *((0, 0.5), (11, None), (12, -1.005), (13, None))
    ]
    assert stats.drops == {Drop.ROW_BROKEN: 9, Drop.URL_INVALID: 4}
    assert (stats.found, stats.records) == (17, 17)


def test_csv_rows_with_other_numbers_of_fields_are_broken(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        b"url,text\n"
        b"http://a.example/1.jpg\n"
        b"http://a.example/2.jpg,a,b\n"
        b'http://a.example/3.jpg,"a, ""b"""\r\n'
        b"http://a.example/4.jpg,caf\xe9\n"
        b'"http://a.example/5.jpg"x,y\n'
        b'http://a.example/6.jpg,"open\n'
        b"\n"
        b"http://a.example/7.jpg,good\n"
        b'http://a.example/8.jpg,"two\nlines, of it"\n'
        b"http://a.example/9.jpg,"
    )
    rows, stats = extract(path)
    assert pairs(rows) == [
        ("3.jpg", 'a, "b"'),
        # What follows the next quote is not a delimiter: so this one opened nothing.
        ("6.jpg", '"open'),
        ("7.jpg", "good"),
        ("8.jpg", "two lines, of it"),
        ("9.jpg", ""),
    ]
    assert stats.drops == {Drop.ROW_BROKEN: 3, Drop.URL_INVALID: 1}


def test_long_lines_are_broken_and_never_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_lines, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(table_lines, "_BLOCK_BYTES", 64)
    path = tmp_path / "a.txt"
    url = b"http://a.example/1.jpg"
    path.write_bytes(b"\n".join([url, b"x" * 5000, url + b"?2", b"x" * 1001, url, b"y" * 4000]))
    rows, stats = extract(path)
    assert [row["crawl_offset"] for row in rows] == [0, 2, 4]
    assert stats.drops == {Drop.ROW_BROKEN: 3}


def test_one_json_value_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_json, "MAX_JSON_BYTES", 100)
    path = tmp_path / "a.json"
    path.write_bytes((TABLES / "sbu.json").read_bytes())
    with pytest.raises(ConfigError, match="MB of JSON in one value"):
        carried(path)


def test_a_truncated_gzip_gives_what_it_holds(tmp_path: Path) -> None:
    lines = [f"http://a.example/{number}.jpg" for number in range(20_000)]
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode())[:-500])
    rows, stats = extract(path)
    assert 1000 < len(rows) < 20_000
    assert stats.warnings == ["a.txt.gz: ends inside its compressed data, fetch it again"]


def test_a_damaged_row_group_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    urls = [f"http://a.example/{number}.jpg" for number in range(300)]
    table = pa.table({"url": urls, "text": ["some text"] * 300})
    pq.write_table(table, path, row_group_size=100, compression="gzip", use_dictionary=False)
    data = bytearray(path.read_bytes())
    at = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    data[at + 40 : at + 200] = bytes(160)
    path.write_bytes(data)
    rows, stats = extract(path)
    assert [row["crawl_offset"] for row in rows] == [*range(100), *range(200, 300)]
    assert stats.drops == {Drop.ROW_BROKEN: 100}
    (warning,) = stats.warnings
    assert warning.startswith("a.parquet: row group 1 is damaged")


def test_a_file_that_goes_away_is_an_error_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("url\n")
    inputs = find_inputs([str(path)])
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        given_columns(inputs, TableColumns())


# ---- parquet's own


def test_parquet_types(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a.parquet",
        {
            "url": pa.array([b"http://a.example/1.jpg"], pa.binary()),
            "text": pa.array(["a boat"]).dictionary_encode(),
            "when": pa.array([1], pa.timestamp("ns", "Europe/Paris")),
            "day": pa.array([1], pa.date32()),
            "price": pa.array([Decimal("1.50")]),
            "big": pa.array([2**64 - 1], pa.uint64()),
            "half": pa.array([0.5], pa.float16()),
            "raw": [b"\x00\xff"],
            "picture": [bytes(5000)],
            "box": [{"x": 1, "y": b"\x01"}],
            "flag": [True],
            "nothing": pa.nulls(1),
        },
    )
    (row,), _ = extract(path)
    assert (row["url"], row["text"]) == ("http://a.example/1.jpg", "a boat")
    assert orjson.loads(row["given"]) == {
        "when": "1970-01-01T00:00:00+00:00",
        "day": "1970-01-02",
        "price": "1.50",
        "big": 2**64 - 1,
        "half": 0.5,
        "raw": "00ff",
        "box": {"x": 1, "y": "01"},
        "flag": True,
        "nothing": None,
    }
    types = carried(path)
    assert types == {
        **dict.fromkeys(("when", "day", "price"), "string"),
        **dict.fromkeys(("raw", "box", "nothing"), "string"),
        "big": "uint64",
        "half": "double",
        "flag": "bool",
    }


def test_dates_beyond_the_calendar_and_texts_that_are_none(tmp_path: Path) -> None:
    broken = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")]
    )
    path = parquet(
        tmp_path / "a.parquet",
        {
            "url": ["http://a.example/1.jpg", "http://a.example/2.jpg"],
            "text": pa.concat_arrays([broken, pa.array(["a boat"])]),
            "when": pa.array([2**62, 0], pa.timestamp("ms")),
        },
    )
    rows, _ = extract(path)
    assert pairs(rows) == [("1.jpg", ""), ("2.jpg", "a boat")]
    assert [row["given"] for row in rows] == ['{"when":null}', '{"when":"1970-01-01T00:00:00"}']


def test_row_groups_and_batches_do_not_show(tmp_path: Path) -> None:
    table = {"url": [f"http://a.example/{n}.jpg" for n in range(20_000)], "n": [*range(20_000)]}
    found = []
    for size in (700, 20_000):
        path = tmp_path / "a.parquet"
        pq.write_table(pa.table(table), path, row_group_size=size)
        rows, _ = extract(path)
        found.append(rows)
    assert found[0] == found[1]
    assert [row["crawl_offset"] for row in found[0]] == [*range(20_000)]


# ---- any bytes


def planned(path: Path) -> bool:
    try:
        given_columns(find_inputs([str(path)]), TableColumns())
    except ConfigError as refused:
        says = str(refused)
    else:
        return True
    assert "\n" not in says
    return False


STARTS = {
    "csv": b"url,text,similarity\nhttp://a.example/1.jpg,boat,0.5\n",
    "csv.gz": b"url,text\n",
    "tsv": b"a boat\thttp://a.example/1.jpg\n",
    "jsonl": b'{"url":"http://a.example/1.jpg","text":"boat","similarity":0.5}\n',
    "json": b'[{"url":"http://a.example/1.jpg"},',
    "txt": b"http://a.example/1.jpg\n",
}
PIECES = [
    *(b"url,text\n", b"url\ttext\n", b"\n", b"\r\n", b'"', b'""', b",", b"\t", b"|", b" "),
    *(b"http://a.example/1.jpg", b"text", b"similarity", b"\xff", b"\0", b"\xef\xbb\xbf"),
    *(b'{"url":', b'"x"', b"}", b"[", b"]", b"{}", b":", b"NaN", b"1e999", b'{"url":"x"}\n'),
]


@pytest.mark.parametrize("suffix", STARTS)
@given(
    st.booleans(),
    st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join),
)
@example(False, b"\xef\xbb\xbfurl\n\xef\xbb\xbf")
@example(False, b'url\n"\n"\n"')
@example(False, b"WARC/")
@settings(max_examples=150)
def test_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, sound: bool, data: bytes
) -> None:
    data = STARTS[suffix] * sound + data
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    path.write_bytes(gzip.compress(data)[:-3] if suffix == "csv.gz" else data)
    if planned(path):
        extract(path)  # which holds that all rows are accounted for
    else:
        assert not sound or suffix in ("json", "tsv", "csv.gz")  # the others say what is what


@given(
    st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), max_size=6),
    st.sampled_from([",", "\t"]),
)
def test_what_the_csv_module_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, written: list[list[str]], delimiter: str
) -> None:
    import csv
    import io

    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    rows = [[f"http://a.example/{n}", *fields] for n, fields in enumerate(written)]
    writer.writerows([["url", "a", "b"], *rows])
    path = tmp_path_factory.getbasetemp() / ("c.tsv" if delimiter == "\t" else "c.csv")
    path.write_bytes(out.getvalue().replace("\r", " ").encode())
    found, stats = extract(path)
    expected = [{"a": a.replace("\r", " "), "b": b.replace("\r", " ")} for a, b in written]
    assert [orjson.loads(row["given"]) for row in found] == expected
    assert stats.drops == {}


def test_dates_are_null_and_sort_last(tmp_path: Path) -> None:
    """Of copies in a crawl and a table the crawl's stays: it says when and where."""
    from webpairs.dedupe.dedupe import COLLAPSED_SCHEMA, collapse
    from webpairs.extract.candidates import CandidateWriter
    from webpairs.extract.page import Page, TableRows

    when = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)
    stats = ExtractStats()
    rules = ExtractRules(("alt",), ("src",), 0, ("any",))
    with CandidateWriter(tmp_path / "c.parquet", rules, stats) as writer:
        for number in (5, 2):
            table = TableRows("a.csv", [number], ["http://b.example/i.jpg"], ["a boat"], [""])
            for column in (table.similarities, table.nsfw, table.hashes, table.given):
                column.append(None)
            writer.add_rows(table)
        page = Page("http://b.example/", None, "z.warc", 9, when)
        writer.add_page(page, ["i.jpg"], ["a boat"], ["src"], ["alt"], [0])
    rows = pq.read_table(tmp_path / "c.parquet")
    assert rows["crawl_offset"].to_pylist() == [9, 2, 5]
    ones = pa.array([1, 1, 1], pa.int32())
    counted = rows.append_column(COLLAPSED_SCHEMA.field("copies"), ones)
    (kept,) = collapse(counted).to_pylist()
    assert (kept["crawl_file"], kept["copies"]) == ("z.warc", 3)
