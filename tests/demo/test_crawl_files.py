"""The crawl files of the little web are valid WARC, and WAT and WARC tell the same."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lxml import html as lxml_html
from warcio.archiveiterator import ArchiveIterator
from warcio.bufferedreaders import BufferedReader
from warcio.checker import Checker

from webpairs.demo.crawl_files import CrawlFiles, read_truth, write_crawl_files
from webpairs.demo.little_web import LittleWeb, draw_little_web


@pytest.fixture(scope="module")
def web() -> LittleWeb:
    return draw_little_web(seed=3, num_pages=18)


@pytest.fixture(scope="module")
def files(web: LittleWeb, tmp_path_factory: pytest.TempPathFactory) -> CrawlFiles:
    return write_crawl_files(web, tmp_path_factory.mktemp("crawl"))


@pytest.fixture
def without_warcio_brotli(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let warcio leave brotli alone: it cannot drive the brotli package from 1.2 on."""
    monkeypatch.delitem(BufferedReader.DECOMPRESSORS, "br", raising=False)


def warc_headers(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Return offset and WARC headers of each record, as warcio reads them."""
    with path.open("rb") as file:
        records = ArchiveIterator(file, no_record_parse=True)
        return [(records.get_record_offset(), dict(r.rec_headers.headers)) for r in records]


def wat_envelopes(path: Path) -> list[dict[str, Any]]:
    with path.open("rb") as file:
        return [
            json.loads(record.raw_stream.read())
            for record in ArchiveIterator(file, no_record_parse=True)
            if record.rec_type == "metadata"
        ]


@pytest.mark.usefixtures("without_warcio_brotli")
def test_warcio_check_passes(files: CrawlFiles, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(path) for path in files.warc + files.wat]
    checker = Checker(SimpleNamespace(inputs=paths, verbose=True))
    assert checker.process_all() == 0
    said = capsys.readouterr().out
    assert "digest pass" in said
    assert "no digest" not in said


@pytest.mark.usefixtures("without_warcio_brotli")
def test_warcio_check_sees_a_flipped_byte(files: CrawlFiles, tmp_path: Path) -> None:
    """The test above can fail."""
    data = files.warc[0].read_bytes()
    offset = next(o for o, h in warc_headers(files.warc[0]) if h["WARC-Type"] == "response")
    packed = zlib.decompressobj(31)
    plain = bytearray(packed.decompress(data[offset:]))
    plain[-10] ^= 1
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    member = packer.compress(bytes(plain)) + packer.flush()
    spoilt = tmp_path / "spoilt.warc.gz"
    spoilt.write_bytes(data[:offset] + member + packed.unused_data)
    assert Checker(SimpleNamespace(inputs=[str(spoilt)], verbose=False)).process_all() == 1


def test_headers_are_those_of_warc_1_1(files: CrawlFiles) -> None:
    seen: set[str] = set()
    types: set[str] = set()
    for path in files.warc:
        assert path.read_bytes()[4:8] == b"\0\0\0\0"  # no time of writing in the gzip header
        records = warc_headers(path)
        assert records[0][1]["WARC-Filename"] == path.name
        for _, headers in records:
            types.add(headers["WARC-Type"])
            # Mandatory in every record (WARC 1.1, 5).
            assert {"WARC-Record-ID", "WARC-Date", "Content-Length"} <= set(headers)
            assert headers["WARC-Record-ID"] not in seen
            seen.add(headers["WARC-Record-ID"])
            if headers["WARC-Type"] != "warcinfo":
                assert headers["WARC-Warcinfo-ID"] == records[0][1]["WARC-Record-ID"]
    assert types == {"warcinfo", "request", "response", "revisit", "resource"}


def test_every_answer_is_in_the_files_as_it_travelled(web: LittleWeb, files: CrawlFiles) -> None:
    found: list[tuple[str, str, bytes]] = []
    for path in files.warc:
        with path.open("rb") as file:
            for record in ArchiveIterator(file):
                if record.rec_type in ("response", "revisit", "resource"):
                    headers = record.rec_headers
                    found.append(
                        (
                            headers["WARC-Target-URI"],
                            headers["WARC-Date"],
                            record.raw_stream.read(),
                        )
                    )
    answers = [(a.url, a.date.strftime("%Y-%m-%dT%H:%M:%SZ"), a.body) for a in web.answers]
    assert found == answers


def test_revisits_of_both_profiles_name_what_they_repeat(files: CrawlFiles) -> None:
    records = [headers for path in files.warc for _, headers in warc_headers(path)]
    originals = [h for h in records if h["WARC-Type"] == "response"]
    revisits = [h for h in records if h["WARC-Type"] == "revisit"]
    ways: set[tuple[str, bool]] = set()
    for revisit in revisits:
        profile = revisit["WARC-Profile"].rpartition("/")[2]
        refers = "WARC-Refers-To-Target-URI" in revisit
        ways.add((profile, refers))
        if refers:
            target = (revisit["WARC-Refers-To-Target-URI"], revisit["WARC-Refers-To-Date"])
            (original,) = (h for h in originals if (h["WARC-Target-URI"], h["WARC-Date"]) == target)
            assert original["WARC-Date"] < revisit["WARC-Date"]
        if profile == "identical-payload-digest":
            digests = [h["WARC-Payload-Digest"] for h in originals]
            assert digests.count(revisit["WARC-Payload-Digest"]) == 1
    assert ways == {
        ("identical-payload-digest", True),
        ("identical-payload-digest", False),
        ("server-not-modified", True),
    }


def test_wat_describes_each_record_of_the_warc(files: CrawlFiles) -> None:
    for warc, wat in zip(files.warc, files.wat, strict=True):
        records, envelopes, data = warc_headers(warc), wat_envelopes(wat), warc.read_bytes()
        assert len(records) == len(envelopes)
        for (offset, headers), envelope in zip(records, envelopes, strict=True):
            container = envelope["Container"]
            assert (container["Filename"], container["Offset"]) == (warc.name, str(offset))
            assert envelope["Envelope"]["WARC-Header-Metadata"] == headers
            gzip = container["Gzip-Metadata"]
            member = data[offset : offset + int(gzip["Deflate-Length"])]
            plain = zlib.decompress(member, 31)
            assert len(plain) == int(gzip["Inflated-Length"])
            assert zlib.crc32(plain) == int(gzip["Inflated-CRC"]) % 2**32
            block = plain[int(envelope["Envelope"]["WARC-Header-Length"]) : -4]
            digest = base64.b32encode(hashlib.sha1(block).digest()).decode()
            assert envelope["Envelope"]["Payload-Metadata"]["Block-Digest"] == f"sha1:{digest}"


def test_wat_tells_what_a_parser_reads_in_the_pages(web: LittleWeb, files: CrawlFiles) -> None:
    told: dict[str, dict[str, Any]] = {}
    for path in files.wat:
        for envelope in wat_envelopes(path):
            response = envelope["Envelope"]["Payload-Metadata"].get("HTTP-Response-Metadata", {})
            if "HTML-Metadata" in response:
                url = envelope["Envelope"]["WARC-Header-Metadata"]["WARC-Target-URI"]
                told[url] = response
    assert set(told) == {page.url for page in web.pages}
    for page in web.pages:
        tree, html = lxml_html.fromstring(page.html()), told[page.url]["HTML-Metadata"]
        images = [
            {"path": "IMG@/src", "url": img.get("src")}
            | ({} if img.get("alt") is None else {"alt": img.get("alt")})
            for img in tree.iter("img")
        ]
        assert [link for link in html["Links"] if link["path"] == "IMG@/src"] == images
        base = tree.find(".//base")
        assert html["Head"].get("Base") == (None if base is None else base.get("href"))
        metas = [(m.get("name"), m.get("content")) for m in tree.iter("meta") if m.get("name")]
        assert [(m["name"], m["content"]) for m in html["Head"]["Metas"]] == metas
        for signal in page.signals:
            if signal.where == "header":
                assert told[page.url]["Headers"][signal.name] == signal.value
            else:
                assert (signal.name, signal.value) in metas


def test_files_are_the_same_bytes_again(web: LittleWeb, files: CrawlFiles, tmp_path: Path) -> None:
    again = write_crawl_files(web, tmp_path)
    for one, other in zip(files.warc + files.wat, again.warc + again.wat, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_truth_survives_its_file(web: LittleWeb, files: CrawlFiles) -> None:
    assert read_truth(files.truth) == web.truth
