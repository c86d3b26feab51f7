"""WARC files: sound ones of every layout and version, and the museum of broken ones."""

from __future__ import annotations

import gzip
import io
import zlib
from pathlib import Path

import brotli
import pyarrow.parquet as pq
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st
from support.museum_warcs import (
    ALL,
    DATE,
    MUSEUM,
    PAGES,
    Broken,
    answer,
    members,
    page,
    page_body,
    page_url,
    record,
    sound_records,
)

from webpairs.crawl.dates import parse_date
from webpairs.crawl.warc_records import RecordReader
from webpairs.demo.crawl_files import write_crawl_files
from webpairs.demo.little_web import draw_little_web
from webpairs.drops import Drop
from webpairs.extract.archive_index import ImageIndexWriter
from webpairs.extract.candidates import CandidateWriter
from webpairs.extract.page import ExtractRules, ExtractStats
from webpairs.extract.warc import extract_warc
from webpairs.extract.wat import extract_wat

DATA = Path(__file__).parents[1] / "data"
RULES = ExtractRules(("alt",), ("src",), 5, ("any",))


def run(data: bytes, folder: Path, *, index: bool = True):
    """Return stats, candidate rows and index rows of a WARC file of these bytes."""
    path = folder / "crawl.warc.gz"
    path.write_bytes(data)
    stats = ExtractStats()
    with (
        ImageIndexWriter(folder / "images.parquet", stats) as captures,
        CandidateWriter(folder / "candidates.parquet", RULES, stats) as writer,
    ):
        extract_warc(str(path), "crawl.warc.gz", writer, stats, captures if index else None)
    rows = pq.read_table(folder / "candidates.parquet").to_pylist()
    captured = pq.read_table(folder / "images.parquet").to_pylist()
    return stats, rows, captured


def numbers(rows: list[dict[str, object]]) -> set[int]:
    return {int(str(row["url"]).rpartition("/")[2].removesuffix(".jpg")) for row in rows}


def layouts(records: list[bytes]) -> dict[str, bytes]:
    whole = b"".join(records)
    return {
        "members": b"".join(members(records)),
        "plain": whole,
        "whole": gzip.compress(whole),
        "blocks": b"".join(gzip.compress(whole[i : i + 97]) for i in range(0, len(whole), 97)),
        "pairs": b"".join(
            gzip.compress(b"".join(records[i : i + 2])) for i in range(0, len(records), 2)
        ),
    }


@pytest.mark.parametrize("layout", ["members", "plain", "whole", "blocks", "pairs"])
def test_every_layout_gives_the_same(layout: str, tmp_path: Path) -> None:
    data = layouts(sound_records())[layout]
    stats, rows, captured = run(data, tmp_path)
    assert numbers(rows) == ALL
    assert (stats.records, stats.pages, stats.captures) == (1 + 2 * PAGES, PAGES, PAGES)
    assert stats.drops == {}
    assert stats.warnings == []
    assert stats.bytes_read == len(data)
    assert [row["url"] for row in captured] == [page_url(n) for n in range(PAGES)]
    assert {row["crawl_file"] for row in rows} == {"crawl.warc.gz"}
    for row in captured:  # a place is a record, or counts the decompressed stream
        start, length = row["offset"], row["length"]
        if length:
            part = data[start : start + length]
            assert (part if layout == "plain" else gzip.decompress(part)).startswith(b"WARC/1.1")
        else:
            assert layout not in ("members", "plain")
            assert b"".join(sound_records())[start:].startswith(b"WARC/1.1")


@pytest.mark.parametrize("version", ["0.17", "0.18", "1.0", "1.1"])
def test_versions(version: str, tmp_path: Path) -> None:
    one = record("response", f"<{page_url(0)}>", answer(page_body(0)), version=version)
    stats, rows, captured = run(gzip.compress(one), tmp_path)
    assert numbers(rows) == {0}
    assert captured[0]["url"] == page_url(0)  # WARC 1.0 puts URIs in angle brackets
    assert stats.drops == {}


@pytest.mark.parametrize("name", MUSEUM)
def test_museum(name: str, tmp_path: Path) -> None:
    broken: Broken = MUSEUM[name]
    stats, rows, _ = run(broken.data, tmp_path)
    assert numbers(rows) == broken.gives
    assert stats.drops.get(Drop.RECORD_BROKEN, 0) == broken.num_broken
    assert bool(stats.warnings) == broken.warns, stats.warnings
    assert all(line.startswith("crawl.warc.gz: ") for line in stats.warnings)


@pytest.mark.parametrize("layout", ["members", "plain", "whole", "blocks", "pairs"])
def test_cut_anywhere_gives_the_pages_before(layout: str, tmp_path: Path) -> None:
    data = layouts(sound_records())[layout]
    found = 0
    for end in range(0, len(data), len(data) // 23):
        _, rows, _ = run(data[:end], tmp_path, index=False)
        assert numbers(rows) == set(range(len(rows)))
        assert len(rows) >= found
        found = len(rows)
    assert found >= PAGES - 2  # the last cut is up to 60 bytes before the end


def compress_raw(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def chunked(data: bytes, size: int = 7) -> bytes:
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x;a=b\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


BODY = page_body(0)
CODED = {
    "chunked": (chunked(BODY), {"Transfer_Encoding": "chunked"}),
    "chunked-in-capitals": (chunked(BODY), {"Transfer_Encoding": "Chunked"}),
    "chunked-says-the-header-alone": (BODY, {"Transfer_Encoding": "chunked"}),
    "chunked-without-its-end": (chunked(BODY)[:-5], {"Transfer_Encoding": "chunked"}),
    "gzip": (gzip.compress(BODY), {"Content_Encoding": "gzip"}),
    "gzip-says-the-header-alone": (BODY, {"Content_Encoding": "gzip"}),
    "gzip-cut": (gzip.compress(BODY)[:-8], {"Content_Encoding": "gzip"}),
    "x-gzip": (gzip.compress(BODY), {"Content_Encoding": "x-gzip"}),
    "deflate": (zlib.compress(BODY), {"Content_Encoding": "deflate"}),
    "deflate-raw": (compress_raw(BODY), {"Content_Encoding": "deflate"}),
    "deflate-says-the-header-alone": (BODY, {"Content_Encoding": "deflate"}),
    "brotli": (brotli.compress(BODY), {"Content_Encoding": "br"}),
    "brotli-says-the-header-alone": (BODY, {"Content_Encoding": "br"}),
    "gzip-then-chunked": (
        chunked(gzip.compress(BODY)),
        {"Content_Encoding": "gzip", "Transfer_Encoding": "chunked"},
    ),
    "gzip-twice": (gzip.compress(gzip.compress(BODY)), {"Content_Encoding": "gzip, gzip"}),
    "zstd": (zstd.compress(BODY), {"Content_Encoding": "zstd"}),
    "zstd-says-the-header-alone": (BODY, {"Content_Encoding": "zstd"}),
    "identity": (BODY, {"Content_Encoding": "identity"}),
    "not-a-coding": (BODY, {"Content_Encoding": "aws-chunked"}),
    "unknown": (BODY, {"Content_Encoding": "rot13"}),
    "chunks-of-the-transfer-and-of-none": (BODY, {"Transfer_Encoding": "gzip, chunked"}),
    "no-type": (b"\r\n<!doctype html>" + BODY, {"Content_Type": ""}),
    "xhtml": (BODY, {"Content_Type": "application/xhtml+xml"}),
    "type-in-capitals": (BODY, {"Content_Type": "TEXT/HTML;Charset=UTF-8"}),
}


@pytest.mark.parametrize("name", CODED)
def test_codings(name: str, tmp_path: Path) -> None:
    body, headers = CODED[name]
    stats, rows, _ = run(gzip.compress(page(0, body, **headers)), tmp_path)
    assert numbers(rows) == {0}
    assert stats.drops == {}


NO_PAGE = {
    "not-found": record("response", page_url(0), answer(BODY, 404)),
    "text": page(0, Content_Type="text/plain"),
    "image-that-is-html": page(0, Content_Type="image/jpeg"),
    "no-type-and-no-html": page(0, b"\xff\xd8\xff" + BODY, Content_Type=""),
    "dns": record("response", "dns:example.org", b"20240517 example.org A 127.0.0.1"),
    "metadata-scheme": record("resource", "metadata://gnu.org/wget/log", BODY),
    "resource": record("resource", page_url(0), BODY, Content_Type="text/html"),
    "request-that-answers": record("request", page_url(0), answer(BODY)),
    "conversion": record("conversion", page_url(0), BODY),
    "revisit": record("revisit", page_url(0), answer(b"")),
}


@pytest.mark.parametrize("name", NO_PAGE)
def test_no_page(name: str, tmp_path: Path) -> None:
    stats, rows, _ = run(gzip.compress(NO_PAGE[name]), tmp_path)
    assert rows == []
    assert (stats.pages, stats.found, stats.drops) == (0, 0, {})


def test_empty_page_and_too_many_codings(tmp_path: Path) -> None:
    often = "gzip, br, gzip, br"
    stats, rows, _ = run(page(0, b"") + page(1, b"????", Content_Encoding=often), tmp_path)
    assert rows == []
    assert stats.pages == 2
    assert stats.drops == {Drop.RECORD_BROKEN: 1}


def test_truncated_page_gives_what_it_holds(tmp_path: Path) -> None:
    block = answer(BODY + b'<img src="/1.jpg" alt="cut sho')
    one = record("response", page_url(0), block, WARC_Truncated="length")
    _, rows, _ = run(one, tmp_path)
    assert numbers(rows) == {0}


def test_page_is_cut_at_its_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webpairs.extract.warc.MAX_PAGE_BYTES", 3000)
    body = b"".join(page_body(n).ljust(1000) for n in range(PAGES))
    bomb = gzip.compress(page_body(4) + bytes(1 << 22), 9)
    data = page(0, body) + page(1, bomb, Content_Encoding="gzip") + page(5)
    _, rows, captured = run(data, tmp_path)
    assert numbers(rows) == {0, 1, 2, 4, 5}
    assert len(captured) == 3


def test_page_says_where_from_and_what_it_permits(tmp_path: Path) -> None:
    body = (
        b'<base href="/base/"><meta name="ROBOTS" content="noai">'
        b'<link rel=license href="https://creativecommons.org/licenses/by/4.0/">'
        b"<img src=a.jpg alt='a picture'>"
    )
    _, rows, _ = run(gzip.compress(page(0)) + gzip.compress(page(1, body)), tmp_path)
    row = next(row for row in rows if row["url"].endswith("a.jpg"))
    assert row["url"] == "http://example.org/base/a.jpg"
    assert row["license"] == "https://creativecommons.org/licenses/by/4.0/"
    assert (row["license_id"], row["license_where"]) == ("CC-BY-4.0", "link")
    assert row["opt_out"] == "robots-meta:noai"
    assert row["crawl_offset"] == len(gzip.compress(page(0)))
    assert row["crawl_date"].isoformat() == "2024-05-17T23:31:22+00:00"


@pytest.mark.parametrize(
    ("headers", "signal"),
    [
        ({"X_Robots_Tag": "noimageai"}, "x-robots-tag:noimageai"),
        ({"tdm_reservation": "1"}, "tdm-reservation-header"),
        ({"tdm_reservation": "0"}, None),
        ({"X_Robots_Tag": "googlebot: noindex"}, None),
    ],
)
def test_opt_out_in_the_headers(
    headers: dict[str, str], signal: str | None, tmp_path: Path
) -> None:
    _, rows, _ = run(page(0, **headers), tmp_path)
    assert [row["opt_out"] for row in rows] == [signal]


def test_index_tells_kinds(tmp_path: Path) -> None:
    profile = "http://netpreserve.org/warc/1.1/revisit/"
    same, unmodified = profile + "identical-payload-digest", profile + "server-not-modified"
    image = "http://example.org/a.jpg"
    refers = {"WARC_Refers_To_Target_URI": f"<{image}#x>", "WARC_Refers_To_Date": DATE}
    moved = answer(b"", 301, Location="../b.jpg#top")
    records = [
        record("response", image, answer(b"\xff\xd8", Content_Type="image/jpeg")),
        record("response", "http://example.org/x/c.jpg", moved),
        record("response", "http://example.org/lost.jpg", answer(b"", 302)),
        record("response", "http://example.org/none.jpg", answer(b"", 404)),
        record("revisit", image, answer(b""), WARC_Profile=same, **refers),
        record("revisit", image, answer(b"", 304), WARC_Profile=unmodified, **refers),
        record("revisit", "http://example.org/x/c.jpg", moved, WARC_Profile=same),
        record("revisit", image, b"", WARC_Profile=same, WARC_Payload_Digest="sha1:ABC"),
        record("resource", "HTTPS://Example.org:443/r.png", b"\x89PNG", Content_Type="image/png"),
        record("response", "http://", answer(b"")),
    ]
    stats, _, rows = run(b"".join(records), tmp_path)
    assert stats.captures == len(rows) == 9
    names = ("url", "kind", "status", "location")
    assert [tuple(row[name] for name in names) for row in rows] == [
        (image, "response", 200, None),
        ("http://example.org/x/c.jpg", "redirect", 301, "http://example.org/b.jpg"),
        ("http://example.org/lost.jpg", "response", 302, None),
        ("http://example.org/none.jpg", "response", 404, None),
        (image, "revisit", 200, None),
        (image, "revisit", 304, None),
        ("http://example.org/x/c.jpg", "revisit", 301, "http://example.org/b.jpg"),
        (image, "revisit", 0, None),
        ("https://example.org/r.png", "resource", 200, None),
    ]
    assert {(row["refers_to_url"], str(row["refers_to_date"])[:10]) for row in rows[4:6]} == {
        (image, DATE[:10])
    }
    assert rows[0]["surt"] == rows[4]["surt"] == "org,example)/a.jpg"
    assert rows[7]["digest"] == "sha1:ABC"


def test_a_page_of_common_crawl(tmp_path: Path) -> None:
    stats, rows, _ = run((DATA / "cc-2024-22-one-page.warc.gz").read_bytes(), tmp_path)
    assert stats.drops == {Drop.URL_UNWANTED: 2}  # the word mark and the tag line are SVG
    assert sorted(row["text"] for row in rows) == [
        "Escopete",
        "Escopete ubicada en Castiella-La Mancha",
        "Escudo d'armas",
        "Powered by MediaWiki",
        "Wikimedia Foundation",
    ]
    assert {row["license_id"] for row in rows} == {"CC-BY-SA-4.0"}


def test_the_little_web_gives_the_same_from_warc_and_wat(tmp_path: Path) -> None:
    files = write_crawl_files(draw_little_web(seed=3, num_pages=6), tmp_path)
    found: list[list[dict[str, object]]] = []
    for paths, extract in ((files.warc, extract_warc), (files.wat, extract_wat)):
        stats = ExtractStats()
        with CandidateWriter(tmp_path / "candidates.parquet", RULES, stats) as writer:
            for path in paths:
                extract(str(path), path.name, writer, stats)
        table = pq.read_table(tmp_path / "candidates.parquet")
        # JSON-LD is not in a WAT, and so neither is a licence that stands there alone.
        names = [name for name in table.column_names if not name.startswith("license")]
        found.append(table.select(names).to_pylist())
        assert stats.written > 5
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("date", "ms"),
    [
        ("2024-05-17T23:31:22Z", 1715988682000),
        ("2024-05-17T23:31:22.125Z", 1715988682125),
        ("2024-05-17T23:31:22.123456789Z", 1715988682123),
        ("2024-05-17", 1715904000000),
        ("2024-05", 1714521600000),
        ("2024", 1704067200000),
        ("", None),
        ("yesterday", None),
        ("20", None),
    ],
)
def test_dates(date: str, ms: int | None) -> None:
    assert parse_date(date) == ms


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=600), st.integers(0, 3000), st.integers(0, 40), st.booleans())
def test_reader_never_raises(junk: bytes, at: int, removed: int, zipped: bool) -> None:
    records = sound_records()
    data = b"".join(members(records)) if zipped else b"".join(records)
    at %= len(data)
    reader = RecordReader(io.BytesIO(data[:at] + junk + data[at + removed :]))
    for one in reader:
        assert one.length >= 0
        assert one.offset >= 0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2000))
def test_reader_never_raises_on_any_bytes(data: bytes) -> None:
    for prefix in (b"", b"\x1f\x8b\x08", b"WARC/1.0\r\n"):
        assert sum(1 for _ in RecordReader(io.BytesIO(prefix + data))) <= len(data) + 1


def test_a_member_that_inflates_to_more_than_any_crawl_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("webpairs.crawl.warc_records.RATIO_SLACK_BYTES", 1 << 20)
    bomb = gzip.compress(record("response", page_url(0), answer(bytes(64 << 20))), 9)
    reader = RecordReader(io.BytesIO(bomb + bomb + b"".join(members(sound_records()))))
    assert sum(one.kind == "response" for one in reader) == PAGES
    assert reader.num_broken == 2
    assert reader._pieces.inflated < 60 << 20  # type: ignore[union-attr]
