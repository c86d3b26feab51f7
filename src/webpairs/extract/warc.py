"""Reading candidates from the pages of WARC files, and the captures that their images lie in.

Pages are response records with status 200 whose Content-Type is HTML, or is missing where the body
begins like HTML. Everything else (requests, metadata, DNS answers, other protocols) is passed
over. A page that the crawler cut (`WARC-Truncated`) gives what it holds.
"""

from __future__ import annotations

import re
from typing import Final

from webpairs.crawl.dates import parse_date
from webpairs.crawl.http_message import Head, decode_body
from webpairs.crawl.inputs import open_input
from webpairs.crawl.media_type import media_type
from webpairs.crawl.redirects import REDIRECTS
from webpairs.crawl.warc_records import Record, RecordReader
from webpairs.drops import Drop
from webpairs.extract.archive_index import ImageIndexWriter
from webpairs.extract.candidates import CandidateWriter
from webpairs.extract.html import HtmlImages, read_html
from webpairs.extract.license import NO_LICENSE
from webpairs.extract.optout import CONTENT_USAGE, TDM_RESERVATION, opt_out_of
from webpairs.extract.page import ExtractStats, Page
from webpairs.extract.url import join_url, normalise_url

MAX_PAGE_BYTES: Final = 8 << 20
"""Of a larger page the beginning is read. Common Crawl cuts pages at 1 MiB, since 2025 at 5."""

HTML_TYPES: Final = ("text/html", "application/xhtml+xml")

_SNIFF_BYTES: Final = 1024
# The patterns of the MIME Sniffing standard (7.1) that mean HTML, behind space and comments.
_HTML_START: Final = re.compile(
    rb"(?:\xef\xbb\xbf)?(?:\s|<!--.*?-->|<\?xml[^>]*>)*"
    rb"<(?:!doctype html|html|head|script|iframe|h1|div|font|table|a|style|title|b|body|br|p)"
    rb"[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_NO_TYPE: Final = ("", "unknown/unknown", "application/unknown", "*/*", "no-type", "unk")
"""Values that say as little as none (MIME Sniffing, 5; `no-type` is the Internet Archive's)."""


def extract_warc(
    path: str,
    name: str,
    writer: CandidateWriter,
    stats: ExtractStats,
    index: ImageIndexWriter | None = None,
) -> None:
    """Hand the images of every page of a WARC file to `writer`, every capture to `index`.

    A record that cannot be read is counted (`record_broken`) and passed over; a truncated file
    gives what it holds and adds a line to `stats.warnings`. Raises OSError when the file itself
    cannot be read.
    """
    stats.inputs += 1
    num_records = 0
    with open_input(path) as file:
        reader = RecordReader(file, page_bytes)
        for record in reader:
            num_records += 1
            kind = record.kind
            if kind not in ("response", "revisit", "resource"):
                continue
            url = record.url
            if not url[:5].lower().startswith("http"):
                continue
            date_ms = parse_date(record.headers.get("warc-date", ""))
            # Without a date it is not a WARC record (ISO 28500, 5.4); without a head no answer.
            if date_ms is None or (kind == "response" and record.http is None):
                stats.drop(Drop.RECORD_BROKEN)
                continue
            if index is not None:
                _index(record, url, name, date_ms, index)
            if kind == "response" and is_page(record):
                stats.pages += 1
                _extract_page(record, url, name, date_ms, writer, stats)
        stats.bytes_read += reader.bytes_read
    stats.records += num_records
    stats.drop(Drop.RECORD_BROKEN, reader.num_broken)
    if reader.cut:
        stats.warnings.append(
            f"{name}: ends inside a record: {num_records} records were read, fetch it again"
        )
    elif reader.num_broken:
        stats.warnings.append(
            f"{name}: {reader.num_broken} damaged stretches were passed over, fetch it again"
        )


def page_bytes(record: Record) -> int:
    """Say how much of a payload to keep: pages, and what has to be sniffed."""
    if record.http is None or record.kind != "response":
        return 0
    return MAX_PAGE_BYTES if _may_be_page(record.http) else 0


def _may_be_page(head: Head) -> bool:
    kind = _media_type(head)
    return head.status == 200 and (kind in HTML_TYPES or kind in _NO_TYPE)


def is_page(record: Record) -> bool:
    """Say whether a response is a page: HTML by its type or, without one, by how it begins."""
    head = record.http
    if head is None or not _may_be_page(head):
        return False
    if _media_type(head) in HTML_TYPES:
        return True
    start = decode_body(head, record.payload[: 64 << 10], _SNIFF_BYTES).data
    return _HTML_START.match(start) is not None


def _media_type(head: Head) -> str:
    return media_type(_content_type(head))[0]


def _content_type(head: Head) -> str:
    return ", ".join(head.get_all("content-type"))


def _extract_page(
    record: Record,
    url: str,
    name: str,
    date_ms: int,
    writer: CandidateWriter,
    stats: ExtractStats,
) -> None:
    head = record.http
    assert head is not None
    body = decode_body(head, record.payload, MAX_PAGE_BYTES)
    if not body.data and not body.whole:  # a coding that nobody knows, or broken from the start
        stats.drop(Drop.RECORD_BROKEN)
        return
    try:
        found = read_html(body.data, _content_type(head), writer.rules)
    except ValueError:
        stats.drop(Drop.RECORD_BROKEN)
        return
    if found.urls:
        page = _page(found, head, url, name, record.offset, date_ms)
        writer.add_page(
            page,
            found.urls,
            found.texts,
            found.image_sources,
            found.text_sources,
            found.positions,
        )


def _page(found: HtmlImages, head: Head, url: str, name: str, offset: int, date_ms: int) -> Page:
    stated = found.license
    return Page(
        url=url,
        base=found.base,
        crawl_file=name,
        crawl_offset=offset,
        crawl_date_ms=date_ms,
        license=stated.link if stated else NO_LICENSE,
        license_id=stated.id if stated else None,
        license_where=stated.where if stated else None,
        opt_out=opt_out_of(
            head.get_all("x-robots-tag"),
            found.metas,
            head.get_all(TDM_RESERVATION),
            head.get_all(CONTENT_USAGE),
        ),
    )


def _index(record: Record, url: str, name: str, date_ms: int, index: ImageIndexWriter) -> None:
    """Add the capture to the index; one whose URL is not a URL is found by nobody."""
    normal = normalise_url(url)
    if normal is None:
        return
    head, headers, kind = record.http, record.headers, record.kind
    location = None
    if head is not None and head.status in REDIRECTS:
        written = head.get("location")
        location = join_url(None, normal, written) if written else None
    if kind == "response" and location is not None:
        kind = "redirect"
    refers_to_url = headers.get("warc-refers-to-target-uri", "").strip("<>")
    index.add(
        url=normal,
        file=name,
        offset=record.offset,
        length=record.length,
        date_ms=date_ms,
        kind=kind,
        status=200 if kind == "resource" else head.status if head is not None else 0,
        digest=headers.get("warc-payload-digest"),
        location=location,
        refers_to_url=normalise_url(refers_to_url) if refers_to_url else None,
        refers_to_date_ms=parse_date(headers.get("warc-refers-to-date", "")),
    )
