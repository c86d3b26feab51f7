"""WAT: what is in the files, all of it, whatever else is in them."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import wat_files
from support.wat_files import CC_BY, draw_wat, image, record, response

from webpairs.drops import Drop
from webpairs.extract import wat
from webpairs.extract.candidates import CandidateWriter
from webpairs.extract.page import ExtractRules, ExtractStats
from webpairs.extract.url import join_url
from webpairs.extract.wat import PageImages, extract_wat, read_wat
from webpairs.extract.wat_json import mended_json

DATA = Path(__file__).parents[1] / "data"
ALL = ExtractRules(("alt", "title", "caption"), ("src",), 1, ("any",))
LINK = {"path": "A@/href", "url": "/", "text": "home"}


def read(
    tmp_path: Path, data: bytes, texts: tuple[str, ...] = ("alt",)
) -> tuple[list[PageImages], ExtractStats]:
    path = tmp_path / "x.wat"
    path.write_bytes(data)
    stats = ExtractStats()
    return list(read_wat(str(path), "x.wat", stats, texts=texts)), stats


def extract(tmp_path: Path, data: bytes, rules: ExtractRules = ALL) -> tuple[Any, ExtractStats]:
    path = tmp_path / "x.wat"
    path.write_bytes(data)
    stats = ExtractStats()
    with CandidateWriter(tmp_path / "x.parquet", rules, stats) as writer:
        extract_wat(str(path), "x.wat", writer, stats)
    return pq.read_table(tmp_path / "x.parquet").to_pylist(), stats


def pairs(pages: Sequence[PageImages]) -> list[tuple[str, str, str, str | None, int]]:
    return [
        (found.page.url, url, text, found.page.base, position)
        for found in pages
        for url, text, position in zip(found.urls, found.texts, found.positions, strict=True)
    ]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("packed", [True, False])
def test_a_drawn_file_gives_its_truth(tmp_path: Path, old: bool, packed: bool) -> None:
    data, truth = draw_wat(150, seed=3, old=old, share_broken=0.05)
    pages, stats = read(tmp_path, data if packed else wat_files.plain(data))
    assert pairs(pages) == truth.pairs
    assert truth.broken > 2
    assert stats.drops == {Drop.RECORD_BROKEN: truth.broken}
    assert (stats.records, stats.pages) == (truth.records, truth.pages)
    assert stats.bytes_read == len(data if packed else wat_files.plain(data))
    assert stats.warnings == []


def test_what_is_found_is_written_or_dropped(tmp_path: Path) -> None:
    data, truth = draw_wat(60, seed=5)
    rules = ExtractRules(("alt",), ("src",), 5, ("en", "de"))
    rows, stats = extract(tmp_path, data, rules)
    assert stats.found == truth.with_alt
    counted = sum(num for drop, num in stats.drops.items() if drop != Drop.RECORD_BROKEN)
    assert stats.found == stats.written + counted
    assert len(rows) == stats.written
    assert {row["language"] for row in rows} <= {"en", "de"}


def test_rows_are_the_pairs_joined(tmp_path: Path) -> None:
    data, truth = draw_wat(40, seed=6)
    rows, _ = extract(tmp_path, data, ExtractRules(("alt",), ("src",), 1, ("any",)))
    expected = Counter(
        (join_url(base, page, src), page, position) for page, src, _, base, position in truth.pairs
    )
    found = Counter((row["url"], row["page_url"], row["position"]) for row in rows)
    assert found <= expected
    missing = expected - found
    assert all(
        url is None or url.partition("?")[0].endswith((".gif", ".svg")) for url, _, _ in missing
    )


def test_the_sample_of_2014_gives_what_plain_python_counts(tmp_path: Path) -> None:
    data = (DATA / "cc-2014-35-sample.warc.wat").read_bytes()
    expected: list[tuple[str, str, str]] = []
    for line in data.splitlines():
        if not line.startswith(b"{"):
            continue
        envelope = json.loads(line)["Envelope"]
        answer = envelope["Payload-Metadata"].get("HTTP-Response-Metadata", {})
        for link in answer.get("HTML-Metadata", {}).get("Links", []):
            if link["path"] == "IMG@/src" and link.get("alt"):
                uri = envelope["WARC-Header-Metadata"]["WARC-Target-URI"]
                expected.append((uri, link["url"], link["alt"]))
    pages, stats = read(tmp_path, data)
    assert [pair[:3] for pair in pairs(pages)] == expected
    assert len(expected) == 4
    assert (stats.records, stats.pages, stats.drops, stats.warnings) == (9, 1, {}, [])
    page = pages[0].page
    assert page.crawl_file == "CC-MAIN-20140820021334-00006-ip-10-180-136-8.ec2.internal.warc.gz"
    assert page.crawl_offset == 2520
    assert page.crawl_date_ms == 1408600378000  # 2014-08-21T05:52:58Z
    assert (page.license_id, page.license_where) == ("CC-BY-SA-3.0", "a")
    assert page.license == "http://creativecommons.org/licenses/by-sa/3.0/"


def test_the_request_of_2024_is_no_page(tmp_path: Path) -> None:
    data = (DATA / "cc-2024-22-one-request.warc.wat.gz").read_bytes()
    pages, stats = read(tmp_path, data)
    assert (pages, stats.records, stats.pages, stats.drops) == ([], 2, 0, {})


def test_a_page_says_where_it_comes_from(tmp_path: Path) -> None:
    body = response("http://a.example/x", [image("i.jpg", "a cat")], {"Base": "/b/"}, offset=99)
    (found,), _ = read(tmp_path, record(body))
    assert (found.page.url, found.page.base) == ("http://a.example/x", "/b/")
    assert (found.page.crawl_file, found.page.crawl_offset) == (wat_files.FILE, 99)
    assert found.page.crawl_date_ms == 1715997490000  # 2024-05-18T01:58:10Z
    assert (found.page.license, found.page.license_id, found.page.opt_out) == ("?", None, None)
    del body["Container"]
    padding = record({"Envelope": {}})
    (found,), _ = read(tmp_path, padding + record(body))
    assert (found.page.crawl_file, found.page.crawl_offset) == ("x.wat", len(padding))


def test_the_path_is_tested_exactly(tmp_path: Path) -> None:
    links = [
        {"path": "IMG@/longdesc", "url": "long.html", "alt": "no"},
        {"path": "A@/href", "url": "x.jpg", "alt": "no"},
        {"path": "A@/href", "url": "x.jpg", "text": '{"path":"IMG@/src","url":"a","alt":"no"}'},
        {"path": "INPUT@/src", "url": "x.jpg", "alt": "no"},
        image("1.jpg", "yes"),
        {"path": "IMG@/src"},
        image("2.jpg", ""),
        image("3.jpg"),
        image("4.jpg", "yes, too", title="a title"),
        {"path": "IMG@/src", "alt": "no source"},
    ]
    for old in (False, True):
        if old:
            del links[-1]  # without a url it is not a link there
        (found,), _ = read(tmp_path, record(response("http://a.example/", links, old=old)))
        assert (found.urls, found.texts) == (["1.jpg", "4.jpg"], ["yes", "yes, too"])
        assert found.positions == [0, 3]


def test_titles_are_texts_where_asked(tmp_path: Path) -> None:
    links = [image("1.jpg", "alt 1", title="title 1"), image("2.jpg", title="title 2"), LINK]
    (found,), _ = read(tmp_path, record(response("http://a.example/", links)), ("alt", "title"))
    assert found.texts == ["alt 1", "title 1", "title 2"]
    assert found.text_sources == ["alt", "title", "title"]
    assert (found.urls, found.positions) == (["1.jpg", "1.jpg", "2.jpg"], [0, 0, 1])


def test_rules_without_src_or_alt_find_nothing(tmp_path: Path) -> None:
    data = record(response("http://a.example/", [image("1.jpg", "a cat")]))
    for rules in (
        ExtractRules(("alt",), ("srcset",), 1, ("any",)),
        ExtractRules(("caption",), ("src",), 1, ("any",)),
    ):
        rows, stats = extract(tmp_path, data, rules)
        assert (rows, stats.found, stats.pages) == ([], 0, 1)


@pytest.mark.parametrize(
    "odd",
    [
        'a "quoted" text',
        "a brace } in a text",
        "braces {} {{x}} [{",
        "many braces " + "}" * 5000,
        'ends in "}]',
        'ends in \\"}]',
        "back\\slash\\",
        '{"path":"IMG@/src","url":"x"}',
        '"Links":[',
        ',"Head":{',
        '"HTML-Metadata":{"Head":{',
        "line\nbreak \u2028 \x00 nul",
        "日本語 😀",
        "IMG@/src",
    ],
)
@pytest.mark.parametrize("old", [False, True])
def test_odd_strings_anywhere(tmp_path: Path, odd: str, old: bool) -> None:
    links = [
        image(odd, "first"),
        {"path": "A@/href", "url": odd, "text": odd},
        image("2.jpg", odd),
        image("3.jpg", ""),
        image(odd, None, title=odd),
        image("4.jpg", "last", title=odd),
        {"path": "A@/href", "url": "/", "text": odd},
    ]
    head = {"Title": odd, "Metas": [{"name": odd, "content": odd}], "Base": odd}
    body = response(f"http://a.example/{odd}", links, head, {"X-Odd": odd, odd: odd}, old=old)
    for ascii_only in (False, True):
        raw = json.dumps(body, ensure_ascii=ascii_only, separators=(",", ":")).encode()
        (found,), _ = read(tmp_path, record(raw))
        assert found.page.base == odd
        assert found.texts == ["first", odd, "last"]
        assert (found.urls, found.positions) == ([odd, "2.jpg", "4.jpg"], [0, 1, 4])


def _long_way(data: bytes) -> list[tuple[str, str, int]]:
    links = json.loads(data)["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"][
        "HTML-Metadata"
    ]["Links"]
    images = [link for link in links if link["path"] == "IMG@/src" and len(link) > 1]
    return [
        (link["url"], link["alt"], position)
        for position, link in enumerate(images)
        if link.get("alt")
    ]


_ODD = [*'{}[]",:\\@/ax', "IMG@/src", '"}]', '"alt":""', "é"]
odd_text = st.lists(st.sampled_from(_ODD), max_size=9).map("".join)


@given(
    st.lists(
        st.builds(image, odd_text, st.none() | odd_text)
        | st.builds(
            lambda url, text: {"path": "A@/href", "url": url, "text": text}, odd_text, odd_text
        ),
        max_size=6,
    )
)
@settings(max_examples=300)
def test_cutting_out_is_parsing_whole(links: list[dict[str, str]]) -> None:
    raw = json.dumps(
        response("http://a.example/", links), ensure_ascii=False, separators=(",", ":")
    ).encode()
    parser = wat.simdjson.Parser()
    found = wat._read_record(parser, bytearray(b"xx" + raw + b"yy"), 2, 2 + len(raw), ("alt",))
    assert found is not None
    assert list(zip(found.urls, found.texts, found.positions, strict=True)) == _long_way(raw)


def test_the_cut_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold that common records go the short way: else the long way would hide its faults."""
    data, _ = draw_wat(50, seed=8, share_broken=0)
    monkeypatch.setattr(wat, "_images_parsed", lambda html: pytest.fail("the long way"))
    monkeypatch.setattr(wat, "_LICENSE_WORD", b"\0")
    lines = [line for line in wat_files.plain(data).splitlines() if line.startswith(b'{"Con')]
    parser = wat.simdjson.Parser()
    for line in lines:
        if b'"Links":[' in line:
            wat._read_record(parser, bytearray(line), 0, len(line), ("alt",))


def test_references_left_by_old_files_are_resolved_in_urls(tmp_path: Path) -> None:
    links = [image("/i?a=1&amp;b=2&copy=3", "x &amp; y")]
    data = record(response("http://a.example/", links, {"Base": "/b?c&amp;d/"}, old=True))
    rows, _ = extract(tmp_path, data)
    assert (rows[0]["url"], rows[0]["text"]) == ("http://a.example/i?a=1&b=2&copy=3", "x & y")


@pytest.mark.parametrize("old", [False, True])
def test_licences(tmp_path: Path, old: bool) -> None:
    def licensed(links: list[Any], head: dict[str, Any]) -> tuple[Any, ...]:
        body = response("http://a.example/", [image("1.jpg", "a cat"), *links], head, old=old)
        (found,), _ = read(tmp_path, record(body))
        return found.page.license, found.page.license_id, found.page.license_where

    by = {"path": "A@/href", "url": CC_BY}
    zero = "https://creativecommons.org/publicdomain/zero/1.0/"
    link = {"path": "LINK@/href", "url": zero, "rel": "license"}
    meta = {"name": "dc.rights", "content": zero}
    assert licensed([by], {"Title": "x"}) == (CC_BY, "CC-BY-4.0", "a")
    assert licensed([by], {"Metas": [meta]}) == (zero, "CC0-1.0", "meta")
    assert licensed([by | {"rel": "license"}], {"Metas": [meta]}) == (CC_BY, "CC-BY-4.0", "a")
    assert licensed([by], {"Link": [link], "Metas": [meta]}) == (zero, "CC0-1.0", "link")
    assert licensed([], {"Link": [link]}) == (zero, "CC0-1.0", "link")
    assert licensed([LINK], {"Title": "creativecommons.org"}) == ("?", None, None)


@pytest.mark.parametrize(
    ("headers", "metas", "signal"),
    [
        ({"x-robots-tag": "noai"}, [], "x-robots-tag:noai"),
        ({"X-Robots-Tag": ["googlebot: noindex", "noimageai"]}, [], "x-robots-tag:noimageai"),
        ({"X-Robots-Tag": "googlebot: noindex"}, [], None),
        ({"TDM-Reservation": "1"}, [], "tdm-reservation-header"),
        ({"Tdm-Reservation": 1}, [], "tdm-reservation-header"),
        ({}, [{"name": "ROBOTS", "content": "NOINDEX"}], "robots-meta:noindex"),
        ({}, [{"name": "tdm-reservation", "content": "1"}], "tdm-reservation-meta"),
        ({}, [{"name": "googlebot", "content": "noindex"}, {"property": "x"}, 5], None),
    ],
)
def test_opt_outs(tmp_path: Path, headers: Any, metas: Any, signal: str | None) -> None:
    body = response("http://a.example/", [image("1.jpg", "a cat")], {"Metas": metas}, headers)
    rows, _ = extract(tmp_path, record(body))
    assert [row["opt_out"] for row in rows] == [signal]


SOUND = record(response("http://a.example/sound", [image("1.jpg", "a cat"), LINK]))


@pytest.mark.parametrize(
    "broken",
    [
        record(b'{"HTML-Metadata":'),
        record(b'{"HTML-Metadata":{}}'),
        record(b'["HTML-Metadata"]'),
        record(b'"HTML-Metadata"'),
        record(b'{"HTML-Metadata":"\xff\xfe"}'),
        record(b'{"HTML-Metadata":"\\ud800"}'),
        record(b"[" * 5000 + b"HTML-Metadata"),
        record(response("http://a.example/", 5)),  # type: ignore[arg-type]
        record(response("http://a.example/", [5])),  # type: ignore[list-item]
        record(response("http://a.example/", [image("x", "y")], 5)),  # type: ignore[arg-type]
        record(response(5, [image("x", "y")])),  # type: ignore[arg-type]
        record(response("http://a.example/", [image("x", "y")], offset=1 << 80)),
        record(response("http://a.example/", [image("x", "y")], offset="z")),  # type: ignore[arg-type]
        record(response("http://a.example/", [image(5, "y")])),  # type: ignore[arg-type]
        record(response("http://a.example/", [image("x", 5)])),  # type: ignore[arg-type]
        SOUND.replace(b"2024-05-18T01:58:10Z", b"2024-99-99T99:99:99Z"),
        SOUND[:-100] + b"\r\n\r\n",  # cut, the length says more
        SOUND.replace(b"Content-Length: ", b"Content-Length: 1"),
        SOUND.replace(b"Content-Length: ", b"Content-Length: 9999999"),
        SOUND.replace(b"Content-Length: ", b"Content-Length: 99999999999999999999"),
        SOUND.replace(b"Content-Length: ", b"Content-Length: -"),
        SOUND.replace(b"Content-Length: ", b"Contents: "),
        b"garbage\r\n\r\n",
        b"WARC/1.0\r\n" + b"x" * 100_000,
    ],
)
def test_one_bad_record_is_counted_and_the_file_goes_on(tmp_path: Path, broken: bytes) -> None:
    for packed in (False, True):
        parts = [SOUND, broken, SOUND, SOUND]
        data = b"".join(gzip.compress(part) if packed else part for part in parts)
        pages, stats = read(tmp_path, data)
        assert [found.texts for found in pages] == [["a cat"]] * 3
        assert stats.drops == {Drop.RECORD_BROKEN: 1}
        assert stats.warnings == []


def test_other_spellings_of_headers(tmp_path: Path) -> None:
    for data in (
        SOUND.replace(b"Content-Length:", b"content-length :  "),
        SOUND.replace(b"\r\n", b"\n"),
        SOUND.replace(b"WARC/1.0", b"WARC/1.1") + b"\r\n\r\n\r\n",
        SOUND.rstrip(b"\r\n"),
    ):
        pages, stats = read(tmp_path, data + b"\r\n" * 2 + SOUND)
        assert [found.texts for found in pages] == [["a cat"]] * 2
        assert stats.drops == {}


def test_a_record_longer_than_a_block(tmp_path: Path) -> None:
    long = record(response("http://a.example/", [image("1.jpg", "long"), *[LINK] * 150_000]))
    assert len(long) > 5 << 20
    pages, _ = read(tmp_path, SOUND + long + SOUND + long)
    assert [found.texts[0] for found in pages] == ["a cat", "long", "a cat", "long"]


def test_a_file_cut_anywhere_gives_what_it_holds(tmp_path: Path) -> None:
    parts = [SOUND] * 4
    for packed in (False, True):
        members = [gzip.compress(part) if packed else part for part in parts]
        data = b"".join(members)
        for size in range(2, len(data), 41):
            pages, stats = read(tmp_path, data[:size])
            whole = size // len(members[0])
            assert len(pages) in (whole, whole + 1)  # only the line ends may be missing
            assert stats.drops == {}, size
            rest = size % len(members[0])
            if 5 < rest < len(members[0]) - 50:
                assert len(stats.warnings) == 1
                assert "ends inside a record" in stats.warnings[0]


def test_a_damaged_member_costs_its_record(tmp_path: Path) -> None:
    members = [gzip.compress(SOUND) for _ in range(5)]
    for at in range(0, len(members[2]) - 4, 23):
        damaged = bytearray(members[2])
        damaged[at] ^= 0xFF
        pages, stats = read(tmp_path, b"".join([*members[:2], bytes(damaged), *members[3:]]))
        if len(pages) == 5:  # a bit of the gzip header that means nothing
            continue
        assert len(pages) == 4
        assert stats.drops == {Drop.RECORD_BROKEN: 1}
        assert len(stats.warnings) == 1


@given(
    st.binary(max_size=300)
    | st.recursive(
        st.none() | st.text() | st.integers(-9, 9),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(["Envelope", "HTML-Metadata", "Links", "Head", "path", "alt"]),
                inner,
            )
            | st.lists(inner)
        ),
    ).map(orjson.dumps)
)
def test_never_raises_on_any_body(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    tmp_path = tmp_path_factory.getbasetemp()
    pages, _ = read(tmp_path, SOUND + record(body) + SOUND)
    assert len(pages) == 2


@given(st.binary(), st.integers(0, 3 * len(SOUND)), st.integers(0, 50))
def test_never_raises_on_any_bytes(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, gap: int
) -> None:
    tmp_path = tmp_path_factory.getbasetemp()
    data = SOUND * 3
    read(tmp_path, noise)
    read(tmp_path, data[:at] + noise + data[at + gap :])
    read(tmp_path, gzip.compress(data)[:at] + noise)


ENDS = {
    "none": b"",
    "one": b"\r\n",
    "two": b"\r\n\r\n",
    "three": b"\r\n\r\n\r\n",
    "lf": b"\n",
    "lf-twice": b"\n\n",
    "many": b"\r\n" * 9,
}


@pytest.mark.parametrize("shift", [-70, -5, -2, -1, 0, 1, 2, 3, 4, 5, 12, 14, 40, 70, 300])
@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("packed", [False, True])
def test_records_that_end_near_where_they_say(
    tmp_path: Path, ends: str, shift: int, packed: bool
) -> None:
    body = SOUND[SOUND.index(b"\r\n\r\n") + 4 :].rstrip(b"\r\n")
    stated = b"Content-Length: %d\r\n"
    one = SOUND.replace(stated % len(body), stated % (len(body) + shift)).rstrip(b"\r\n")
    one += ENDS[ends]
    data = b"".join(gzip.compress(one) if packed else one for _ in range(4))
    pages, stats = read(tmp_path, data)
    assert [found.texts for found in pages] == [["a cat"]] * 4
    assert (stats.records, stats.drops, stats.warnings) == (4, {}, [])


def test_miscounted_records_across_blocks(tmp_path: Path) -> None:
    body = SOUND[SOUND.index(b"\r\n\r\n") + 4 :].rstrip(b"\r\n")
    stated = b"Content-Length: %d\r\n"
    one = SOUND.replace(stated % len(body), stated % (len(body) + 2))[:-2]
    pages, stats = read(tmp_path, one * 4000)  # five blocks
    assert (len(pages), stats.records, stats.drops) == (4000, 4000, {})


@pytest.mark.parametrize(
    ("status", "is_page"),
    [("200", True), (200, True), (" 200 ", True), (None, True)]
    + [(status, False) for status in ("404", 404, "301", "203", "500", "", "2000", "OK")],
)
def test_pages_were_answered_with_200(tmp_path: Path, status: Any, is_page: bool) -> None:
    body = response("http://a.example/", [image("1.jpg", "a cat")])
    message = body["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]["Response-Message"]
    message["Status"] = status
    if status is None:
        del message["Status"]
    pages, stats = read(tmp_path, record(body) + SOUND)
    assert len(pages) == stats.pages == 1 + is_page
    assert (stats.records, stats.drops) == (2, {})


ODD_VALUES = [
    rb'"a cat \ud83d"',
    rb'"a \ude00cat"',
    rb'"a cat \uD83D\u0020"',
    rb'"a cat \ud83d\ud83d\ude00"',
    rb'"a cat \\\ud83d"',
    b'"a cat \xed\xa0\xbd"',
    b'"a cat \xff"',
    b'"a\tcat"',
    b"1e999",
    b"-1e99999",
    b"123456789012345678901234567890",
]


@pytest.mark.parametrize("value", ODD_VALUES)
@pytest.mark.parametrize("where", ["a link", "a text", "another image", "the title", "a header"])
@pytest.mark.parametrize("old", [False, True])
def test_one_odd_value_costs_itself_alone(
    tmp_path: Path, value: bytes, where: str, old: bool
) -> None:
    mark = "MARK"
    links = [
        image("1.jpg", mark if where == "a text" else "first"),
        {"path": "A@/href", "url": "/", "text": mark if where == "a link" else "home"},
        image("2.jpg", None, title=mark if where == "another image" else "title"),
        image("3.jpg", "last"),
    ]
    head = {"Title": mark if where == "the title" else "a page"}
    headers = {"X-Odd": mark if where == "a header" else "even"}
    body = response("http://a.example/", links, head, headers, old=old)
    raw = json.dumps(body, separators=(",", ":")).encode().replace(b'"MARK"', value)
    pages, stats = read(tmp_path, SOUND + record(raw) + SOUND)
    assert stats.drops == {}
    found = pages[1]
    assert (found.urls[-1], found.texts[-1]) == ("3.jpg", "last")
    if where != "a text":
        assert found.texts == ["first", "last"]
    elif value.startswith(b'"'):
        assert found.texts[0].replace("\ufffd", "").split() in (
            ["a", "cat"],
            ["a", "cat", "\\"],
            ["a", "cat", "\U0001f600"],
        )
        found.texts[0].encode()  # can be written


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.text()
        | st.integers(-(1 << 63), (1 << 64) - 1)
        | st.floats(allow_nan=False, allow_infinity=False),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.booleans(),
)
def test_mending_leaves_sound_json_as_it_is(value: Any, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert mended_json(raw) == raw


@given(st.binary() | st.text(alphabet='"\\ud83e9012.-+{}[],: \n').map(str.encode))
def test_mending_never_raises(data: bytes) -> None:
    mended_json(data)
