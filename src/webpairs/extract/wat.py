"""Read candidates from WAT files: Common Crawl's JSON digests of WARC records.

Speed comes from not touching what is not needed. ISA-L decompresses in blocks, records are found
by Content-Length and those without an image passed over (`wat_records.py`); simdjson checks a
record whole and gives the few fields that say where it comes from; the images among its links are
cut out of the bytes and parsed together. `_images_cut_out` says why that gives what parsing all
links gives; a record for which it cannot be sure is parsed whole.

Layouts: ia-web-commons from 2014 (`Links` before `Head`, `path` not first) to 2024. Until August
2019 it left character references in URLs as they stood (commoncrawl/ia-web-commons#14), so those
that end in a semicolon are resolved here, once; in later files there are next to none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import simdjson

from webpairs.errors import Drop
from webpairs.extract.candidates import CandidateWriter
from webpairs.extract.license import HOST, NO_LICENSE, License, LicenseLink, find_license
from webpairs.extract.optout import HEADER_NAMES, META_NAMES, TDM_RESERVATION, opt_out_of
from webpairs.extract.page import ExtractStats, Page
from webpairs.extract.text import unescape_once
from webpairs.extract.wat_records import read_wat_records
from webpairs.inputs import open_input

WAT_TEXTS: Final = ("alt", "title")
"""Texts of an image that a WAT holds; `srcset`, `data-src` and captions only a WARC has."""

_IMAGE_PATH: Final = "IMG@/src"
_RECORD: Final = "/Envelope/WARC-Header-Metadata"
_ANSWER: Final = "/Envelope/Payload-Metadata/HTTP-Response-Metadata"
_HTML: Final = f"{_ANSWER}/HTML-Metadata"

_IMAGE: Final = f'"{_IMAGE_PATH}"'.encode()
_HTML_KEY: Final = b'"HTML-Metadata":{'
_HEAD_KEY: Final = b'"Head":{'
_LINKS_KEY: Final = b'"Links":['
_LICENSE_WORD: Final = HOST.encode()
_OPT_OUT_WORDS: Final = tuple(sorted(name.encode() for name in HEADER_NAMES | META_NAMES))

# No JSON (ValueError), or JSON of another shape than a WAT record's.
_NOT_A_WAT_RECORD: Final = (ValueError, KeyError, IndexError, TypeError, AttributeError)


@dataclass(slots=True)
class PageImages:
    """Hold a page and its images that have a text: columns of equal length, in page order."""

    page: Page
    urls: list[str]
    texts: list[str]
    text_sources: list[str]
    positions: list[int]


def extract_wat(path: str, name: str, writer: CandidateWriter, stats: ExtractStats) -> None:
    """Hand the images of every page of a WAT file to `writer`.

    A record that is no JSON or not of the WAT kind is counted (`record_broken`) and passed over;
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
        for offset, body in read_wat_records(file, name, stats):
            try:
                found = _read_record(parser, body, name, offset, texts, stats)
            except _NOT_A_WAT_RECORD:
                stats.drop(Drop.RECORD_BROKEN)
                continue
            if found is not None:
                yield found


def _read_record(
    parser: simdjson.Parser,
    body: bytes,
    name: str,
    offset: int,
    texts: tuple[str, ...],
    stats: ExtractStats,
) -> PageImages | None:
    """Return the page of a record and its images, None when it is no page or has no such image.

    Raises one of `_NOT_A_WAT_RECORD`. `name` and `offset` are used when the record does not say
    which file it is about.
    """
    document: Any = parser.parse(body)
    record: Any = document.at_pointer(_RECORD)
    if record["WARC-Type"] != "response":
        return None
    try:
        html: Any = document.at_pointer(_HTML)
    except KeyError:
        return None
    stats.pages += 1
    region = _links_region(body)
    images = None if region is None else _images_cut_out(body[region], texts)
    if images is None:
        images = _images_parsed(html)
    urls, found_texts, text_sources, positions = _columns(images, texts)
    if not urls:
        return None
    head: Any = html.get("Head")
    base: Any = None if head is None else head.get("Base")
    container: Any = document.get("Container")
    page_license: License | None = None
    if _LICENSE_WORD in body:
        page_license = find_license(_license_links(html, head))
    opt_out: str | None = None
    frame = (body if region is None else body[: region.start] + body[region.stop :]).lower()
    if any(word in frame for word in _OPT_OUT_WORDS):
        opt_out = _opt_out(document, head)
    page = Page(
        url=_text(record["WARC-Target-URI"]).strip("<>"),  # WARC 1.0 as wget writes it
        base=unescape_once(base) if isinstance(base, str) else None,
        crawl_file=name if container is None else _text(container["Filename"]),
        crawl_offset=offset if container is None else _offset(container["Offset"]),
        crawl_date_ms=_milliseconds(_text(record["WARC-Date"])),
        license=NO_LICENSE if page_license is None else page_license.link,
        license_id=None if page_license is None else page_license.id,
        license_where=None if page_license is None else page_license.where,
        opt_out=opt_out,
    )
    return PageImages(page, urls, found_texts, text_sources, positions)


def _links_region(body: bytes) -> slice | None:
    """Return where the links lie, None when the layout is not one of those known.

    A key with its quotes and bracket cannot stand inside a JSON string, whose quotes are escaped.
    """
    html = body.find(_HTML_KEY)
    if html < 0:
        return None
    html += len(_HTML_KEY)
    if body.startswith(_HEAD_KEY, html):
        start = body.find(_LINKS_KEY, html)
        return None if start < 0 else slice(start, len(body))
    if body.startswith(_LINKS_KEY, html):  # 2014
        end = body.find(b"]," + _HEAD_KEY, html)
        return slice(html, end if end >= 0 else len(body))
    return None


def _images_cut_out(links: bytes, texts: tuple[str, ...]) -> list[tuple[int, Any]] | None:
    """Return (position, members) of each image in valid JSON that may have a text, or None.

    Links are flat objects of strings. `"IMG@/src"` with its bare quotes is a whole JSON string, and
    after `"path":` it is a link's path. The object ends at the first `}` after it unless that `}`
    stands in a string. In a fragment that is passed over, `"}` with no backslash before it proves
    that it does not. The others are parsed as one array: there are as many objects in it as
    fragments only if every fragment, which has no `}` but its last byte, ends one. The object
    begins at the last `{` before the path: one in a string would leave text outside of strings,
    which does not parse. Where anything does not fit, None sends the record down the long way.
    """
    pieces = links.split(_IMAGE)
    if len(pieces) == 1:
        return None
    alt_alone = texts == ("alt",)
    positions: list[int] = []
    fragments: list[bytes] = []
    before = pieces[0]
    for position in range(len(pieces) - 1):
        after = pieces[position + 1]
        fragment = after[: after.find(b"}") + 1]
        if not before.endswith(b'{"path":'):
            if not before.endswith(b'"path":'):
                return None
            fragment = before[before.rfind(b"{") + 1 :] + b"0" + fragment
        elif not fragment.startswith(b","):
            return None
        before = after
        if alt_alone and (b'"alt":"' not in fragment or b'"alt":""' in fragment):
            if fragment[-2:] != b'"}' or fragment[-3:] == b'\\"}':
                return None
            continue
        positions.append(position)
        fragments.append(fragment)
    # The path is known and gives way to a number; where it came first, to a whole member.
    array = b",".join([b'{"":0' + f if f.startswith(b",") else b"{" + f for f in fragments])
    try:
        images: list[Any] = orjson.loads(b"[" + array + b"]")
    except ValueError:
        return None
    if len(images) != len(fragments):
        return None
    return list(zip(positions, images, strict=True))


def _images_parsed(html: Any) -> list[tuple[int, Any]]:
    """Return (position, members) of each image, the long way."""
    links: Any = html.get("Links")
    if links is None:
        return []
    images = [link for link in links.as_list() if link["path"] == _IMAGE_PATH]
    return list(enumerate(images))


def _columns(
    images: list[tuple[int, Any]], texts: tuple[str, ...]
) -> tuple[list[str], list[str], list[str], list[int]]:
    """Return URLs, texts, the texts' sources and positions of the images that have a text."""
    urls: list[str] = []
    found: list[str] = []
    sources: list[str] = []
    positions: list[int] = []
    for position, image in images:
        url = image.get("url")
        if not isinstance(url, str):
            continue
        for source in texts:
            text = image.get(source)
            if text and isinstance(text, str):
                urls.append(unescape_once(url) if "&" in url else url)
                found.append(text)
                sources.append(source)
                positions.append(position)
    return urls, found, sources, positions


def _license_links(html: Any, head: Any) -> Iterator[LicenseLink]:
    for link in _members(html, "Links"):
        yield LicenseLink("a", str(link.get("url", "")), str(link.get("rel", "")))
    for link in _members(head, "Link"):
        yield LicenseLink("link", str(link.get("url", "")), str(link.get("rel", "")))
    for meta in _members(head, "Metas"):
        yield LicenseLink("meta", str(meta.get("content", "")))


def _opt_out(document: Any, head: Any) -> str | None:
    """Read the opt-outs in the answer's headers and the page's metas.

    Of several headers of one name a WAT holds one (commoncrawl/ia-web-commons#18), or a list.
    """
    headers: dict[str, list[str]] = {name: [] for name in HEADER_NAMES}
    for name, value in document.at_pointer(_ANSWER)["Headers"].as_dict().items():
        if name.lower() in headers:
            values: Any = value if isinstance(value, list) else [value]
            headers[name.lower()] += map(str, values)
    metas = [
        (str(meta.get("name", "")), str(meta.get("content", "")))
        for meta in _members(head, "Metas")
    ]
    return opt_out_of(headers["x-robots-tag"], metas, headers[TDM_RESERVATION])


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
    parsed = datetime.fromisoformat(date)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return round(parsed.timestamp() * 1000)
