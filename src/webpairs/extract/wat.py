"""Reading candidates from WAT files: Common Crawl's JSON digests of WARC records.

Speed comes from not touching what is not needed. ISA-L decompresses in blocks, records are found
by Content-Length (`wat_records.py`). A page's record is nine tenths links: they are cut out, the
images among them are cut out of those and parsed together by orjson (`_images_cut_out` says why
that gives what parsing all links gives), and simdjson checks and reads the tenth that is left.
A record of another layout, or about which anything is odd, is parsed whole, and once more with its
JSON mended (`wat_json.py`) when it is not JSON. Pages are what was answered with 200, as in a WARC.

Layouts: ia-web-commons from 2014 (`Links` before `Head`, `path` not first) to 2024. Until August
2019 it left character references in URLs as they stood (commoncrawl/ia-web-commons#14), so those
that end in a semicolon are resolved here, once; in later files there are next to none.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson
import simdjson

from webpairs.crawl.dates import parse_date
from webpairs.crawl.inputs import open_input
from webpairs.crawl.wat_records import read_wat_records
from webpairs.drops import Drop
from webpairs.extract.candidates import CandidateWriter
from webpairs.extract.license import HOST, NO_LICENSE, LicenseLink, find_license
from webpairs.extract.optout import (
    CONTENT_USAGE,
    HEADER_NAMES,
    META_NAMES,
    TDM_RESERVATION,
    opt_out_of,
)
from webpairs.extract.page import ExtractStats, Page
from webpairs.extract.text import unescape_once
from webpairs.extract.wat_json import mended_json

WAT_TEXTS: Final = ("alt", "title")
"""Texts of an image that a WAT holds; `srcset`, `data-src` and captions only a WARC has."""

_IMAGE_PATH: Final = "IMG@/src"
_RECORD: Final = "/Envelope/WARC-Header-Metadata"
_ANSWER: Final = "/Envelope/Payload-Metadata/HTTP-Response-Metadata"
_HTML: Final = f"{_ANSWER}/HTML-Metadata"
_STATUS: Final = f"{_ANSWER}/Response-Message/Status"

_IMAGE: Final = f'{{"path":"{_IMAGE_PATH}",'.encode()
_HTML_THEN_HEAD: Final = b'"HTML-Metadata":{"Head":{'
_LINKS: Final = b',"Links":['
_END_OF_LINKS: Final = b'"}]'
_LICENSE_WORD: Final = HOST.encode()
_MAX_BRACES: Final = 64
"""Of a text with more braces the record is parsed whole: no work that grows with their square."""
_NO_PAGE: Final = Page("", None, "", 0, 0)
_BACKSLASH: Final = ord("\\")

_NOT_JSON: Final = (ValueError, RuntimeError)
"""simdjson's errors; the second is that of integers beyond 64 bits."""
_NOT_A_WAT_RECORD: Final = (*_NOT_JSON, KeyError, IndexError, TypeError, AttributeError)
"""Not JSON, or JSON of another shape than a WAT record's."""


@dataclass(slots=True)
class PageImages:
    """A page and its images that have a text: columns of equal length, in page order."""

    page: Page
    urls: list[str]
    texts: list[str]
    text_sources: list[str]
    positions: list[int]


def extract_wat(path: str, name: str, writer: CandidateWriter, stats: ExtractStats) -> None:
    """Hand the images of every page of a WAT file to `writer`.

    A record that is not JSON or not of the WAT kind is counted (`record_broken`) and passed over;
    a truncated or damaged file gives what it holds and adds a line to `stats.warnings`. Raises
    OSError when the file itself cannot be read.
    """
    rules = writer.rules
    texts = tuple(text for text in WAT_TEXTS if text in rules.texts)
    if "src" not in rules.image_sources:
        texts = ()
    for found in read_wat(path, name, stats, texts=texts):
        sources = ["src"] * len(found.urls)
        writer.add_page(
            found.page, found.urls, found.texts, sources, found.text_sources, found.positions
        )


def read_wat(
    path: str, name: str, stats: ExtractStats, *, texts: tuple[str, ...] = ("alt",)
) -> Iterator[PageImages]:
    """Yield the pages of a WAT file that have an image with one of `texts`, not empty."""
    stats.inputs += 1
    parser = simdjson.Parser()
    with open_input(path) as file:
        for data, start, end, offset in read_wat_records(file, name, stats):
            try:
                found = _read_record(parser, data, start, end, texts)
            except _NOT_A_WAT_RECORD:
                stats.drop(Drop.RECORD_BROKEN)
                continue
            if found is None:
                continue
            stats.pages += 1
            if found.urls:
                if not found.page.crawl_file:
                    found.page = replace(found.page, crawl_file=name, crawl_offset=offset)
                yield found


def _read_record(
    parser: simdjson.Parser, data: bytearray, start: int, end: int, texts: tuple[str, ...]
) -> PageImages | None:
    """Return the page that a record is about and its images, None when it is about no page.

    Raises one of `_NOT_A_WAT_RECORD`.
    """
    cut = _cut_links_out(data, start, end)
    if cut is not None:
        frame, links = cut
        images = None if _LICENSE_WORD in links else _images_cut_out(links)
        if images is not None:
            with suppress(*_NOT_A_WAT_RECORD):  # the long way will tell
                return _page_images(parser.parse(frame), frame, images, texts)
    with memoryview(data) as view:
        body = bytes(view[start:end])
    try:
        document: Any = parser.parse(body)
    except _NOT_JSON:
        body = mended_json(body)
        document = parser.parse(body)
    return _page_images(document, body, None, texts)


def _cut_links_out(data: bytearray, start: int, end: int) -> tuple[bytes, bytes] | None:
    """Return a record without its links, and these; None when its layout is not today's.

    A key with its quotes and bracket cannot stand inside a JSON string, whose quotes are escaped.
    No array follows the links, so the last `"}]` is their end, unless it stands in a string, where
    a backslash comes before it.
    """
    html_at = data.find(_HTML_THEN_HEAD, start, end)
    if html_at < 0:
        return None
    links_at = data.find(_LINKS, html_at, end)
    if links_at < 0:
        return None
    links_at += len(_LINKS)
    links_end = data.rfind(_END_OF_LINKS, links_at, end) + 2
    if links_end < links_at or data[links_end - 3] == _BACKSLASH:
        return None
    with memoryview(data) as view:
        frame = bytes(view[start:links_at]) + bytes(view[links_end:end])
        return frame, bytes(view[links_at:links_end])


def _images_cut_out(links: bytes) -> list[Any] | None:
    """Return the members, apart from the path, of each image in a valid JSON array of links.

    Links are flat objects of strings. `{"path":"IMG@/src",` with its bare quotes cannot stand in a
    string, so what follows is an image's. It ends at the first `}`, unless that stands in a string.
    As fragments up to there are parsed together, there are as many objects as fragments only if
    each `}` ended one; otherwise they are parsed one by one. Where images are written in another
    way, return None.
    """
    pieces = links.split(_IMAGE)
    del pieces[0]
    if not pieces:
        return None if b"IMG@" in links else []
    fragments = [piece[: piece.find(b"}")] for piece in pieces]
    try:
        images: list[Any] = orjson.loads(b"[{" + b"},{".join(fragments) + b"}]")
        if len(images) == len(fragments):
            return images
    except ValueError:
        pass
    found = [_image_cut_out(piece) for piece in pieces]
    return None if None in found else found


def _image_cut_out(piece: bytes) -> Any:
    """Return the members up to the first `}` that makes them an object, None when none does."""
    end = -1
    for _ in range(_MAX_BRACES):
        end = piece.find(b"}", end + 1)
        try:
            return orjson.loads(b"{" + piece[: end + 1])
        except ValueError:  # this one stands in a string, which then has no end
            if end < 0:
                break
    return None


def _images_parsed(html: Any) -> list[Any]:
    """Return the members of each image that has more of them than the path, the long way."""
    links: Any = html.get("Links")
    if links is None:
        return []
    return [link for link in links.as_list() if link["path"] == _IMAGE_PATH and len(link) > 1]


def _page_images(
    document: Any, source: bytes, images: list[Any] | None, texts: tuple[str, ...]
) -> PageImages | None:
    """Put together a page from its record, parsed, of which `source` is the JSON.

    Without `images` they are taken from the record's links.
    """
    record: Any = document.at_pointer(_RECORD)
    if record["WARC-Type"] != "response":
        return None
    try:
        html: Any = document.at_pointer(_HTML)
    except KeyError:
        return None
    if not _is_answered(document):
        return None
    if images is None:
        images = _images_parsed(html)
    urls, found_texts, text_sources, positions = _columns(images, texts)
    if not urls:
        return PageImages(_NO_PAGE, urls, found_texts, text_sources, positions)
    head: Any = html.get("Head")
    # Asking simdjson for a key that is not there costs 4 us, as much as parsing the frame.
    base: Any = head.get("Base") if head is not None and b'"Base"' in source else None
    page_license = find_license(_license_links(html, head)) if _LICENSE_WORD in source else None
    container: Any = document.get("Container")
    page = Page(
        url=_text(record["WARC-Target-URI"]).strip("<>"),  # in brackets as wget writes it
        base=unescape_once(base) if isinstance(base, str) else None,
        crawl_file="" if container is None else _text(container["Filename"]),
        crawl_offset=0 if container is None else _offset(container["Offset"]),
        crawl_date_ms=_milliseconds(_text(record["WARC-Date"])),
        license=NO_LICENSE if page_license is None else page_license.link,
        license_id=None if page_license is None else page_license.id,
        license_where=None if page_license is None else page_license.where,
        opt_out=_opt_out(document.at_pointer(_ANSWER), head),
    )
    return PageImages(page, urls, found_texts, text_sources, positions)


def _is_answered(document: Any) -> bool:
    """Tell whether a page was answered with 200, as of a WARC's pages; without a status it was."""
    try:
        status: Any = document.at_pointer(_STATUS)
    except _NOT_A_WAT_RECORD:  # not there, or what it is in is not an object
        return True
    return str(status).strip() == "200"


def _columns(
    images: list[Any], texts: tuple[str, ...]
) -> tuple[list[str], list[str], list[str], list[int]]:
    """Return URLs, texts, the texts' sources and positions of the images that have a text."""
    urls: list[str] = []
    found: list[str] = []
    sources: list[str] = []
    positions: list[int] = []
    for source in texts:
        rows = [row for row in enumerate(images) if row[1].get(source) and "url" in row[1]]
        urls += [image["url"] for _, image in rows]
        found += [image[source] for _, image in rows]
        sources += [source] * len(rows)
        positions += [position for position, _ in rows]
    if urls and {*map(type, urls), *map(type, found)} != {str}:
        raise TypeError(urls)
    urls = [unescape_once(url) if ";" in url else url for url in urls]
    if len(texts) > 1:
        order = sorted(range(len(urls)), key=positions.__getitem__)
        urls, found = [urls[i] for i in order], [found[i] for i in order]
        sources, positions = [sources[i] for i in order], [positions[i] for i in order]
    return urls, found, sources, positions


def _license_links(html: Any, head: Any) -> Iterator[LicenseLink]:
    for link in _members(html, "Links"):
        yield LicenseLink("a", str(link.get("url", "")), str(link.get("rel", "")))
    for link in _members(head, "Link"):
        yield LicenseLink("link", str(link.get("url", "")), str(link.get("rel", "")))
    for meta in _members(head, "Metas"):
        yield LicenseLink("meta", str(meta.get("content", "")))


def _opt_out(answer: Any, head: Any) -> str | None:
    """Read the opt-outs in the answer's headers and the page's metas.

    Of several headers of one name a WAT holds one (commoncrawl/ia-web-commons#18), or a list.
    """
    said: dict[str, list[str]] = {}
    headers: Any = answer["Headers"]
    if not HEADER_NAMES.isdisjoint(map(str.lower, headers.keys())):
        for name, value in headers.as_dict().items():
            values: Any = value if isinstance(value, list) else [value]
            said.setdefault(name.lower(), []).extend(map(str, values))
    metas = [
        (name, str(meta.get("content", "")))
        for meta in _members(head, "Metas")
        if isinstance(name := meta.get("name"), str) and name.strip().lower() in META_NAMES
    ]
    if not metas and not said:
        return None
    return opt_out_of(
        said.get("x-robots-tag", ()),
        metas,
        said.get(TDM_RESERVATION, ()),
        said.get(CONTENT_USAGE, ()),
    )


def _members(parent: Any, name: str) -> list[dict[str, Any]]:
    array: Any = None if parent is None else parent.get(name)
    return [] if array is None else [item for item in array.as_list() if isinstance(item, dict)]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _offset(value: Any) -> int:
    """Return an offset, which some versions write as a string."""
    offset = int(value)
    if not 0 <= offset < 1 << 63:
        raise ValueError(value)
    return offset


def _milliseconds(date: str) -> int:
    parsed = parse_date(date)
    if parsed is None:
        raise ValueError(f"{date!r} is not a date")
    return parsed
