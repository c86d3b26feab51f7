"""Write a little web as the files a crawler leaves behind: WARC, and WAT as Common Crawl makes it.

WARC: ISO 28500 version 1.1, a gzip member a record, so that a record can be read from its offset.
WAT: the layout of ia-web-commons 1.1.10 (Common Crawl, 2024), which resolves the character
references of attributes, writes numbers as strings and of equal HTTP headers keeps one.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
import zlib
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from webpairs.demo.little_web import LittleWeb
from webpairs.demo.page import Answer, WebPage
from webpairs.demo.truth import Candidate

TRUTH_FILE: Final = "truth.jsonl"
_NUM_FILES: Final = 2
_PROFILES: Final = "http://netpreserve.org/warc/1.1/revisit/"
_REQUEST: Final = "application/http; msgtype=request"
_RESPONSE: Final = "application/http; msgtype=response"
_FIELDS: Final = "application/warc-fields"
_WARC_INFO: Final = b"software: webpairs demo\r\nformat: WARC File Format 1.1\r\n"
_WAT_INFO: Final = b"Software-Info: webpairs demo\r\nformat: WARC File Format 1.0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class CrawlFiles:
    """The files of a little web."""

    warc: list[Path]
    wat: list[Path]
    """One for each WARC file, of the same records."""
    truth: Path
    """A line of JSON for each candidate; fields as in `truth.Candidate`."""


@dataclass(frozen=True, slots=True)
class _Record:
    """A record of a WARC file, as the WAT file describes it."""

    headers: dict[str, str]
    block: bytes
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class _Member:
    """Where a record lies in its file: a gzip member."""

    offset: int
    data: bytes
    crc: int
    inflated: int


def write_crawl_files(web: LittleWeb, folder: Path) -> CrawlFiles:
    """Write `warc/*.warc.gz`, `wat/*.warc.wat.gz` and `truth.jsonl` into a folder.

    The earlier half of the answers goes into the first file; the files of a web are the same
    bytes wherever they are written.
    """
    files = CrawlFiles([], [], folder / TRUTH_FILE)
    (folder / "warc").mkdir(parents=True, exist_ok=True)
    (folder / "wat").mkdir(exist_ok=True)
    half = -(-len(web.crawled) // _NUM_FILES)
    for number in range(_NUM_FILES):
        name = f"little-web-{web.seed}-{number:05}.warc"
        warc = folder / "warc" / f"{name}.gz"
        wat = folder / "wat" / f"{name}.wat.gz"
        _write_pair(warc, wat, web.crawled[number * half : (number + 1) * half])
        files.warc.append(warc)
        files.wat.append(wat)
    lines = [orjson.dumps(asdict(candidate)) + b"\n" for candidate in web.truth]
    files.truth.write_bytes(b"".join(lines))
    return files


def read_truth(path: Path) -> tuple[Candidate, ...]:
    """Read the truth that `write_crawl_files` wrote."""
    return tuple(Candidate(**orjson.loads(line)) for line in path.read_bytes().splitlines())


def _write_pair(warc: Path, wat: Path, answers: tuple[Answer, ...]) -> None:
    first = _date(answers[0].date)
    info, about = (
        _record(
            "warcinfo", None, first, text, {"WARC-Filename": file.name, "Content-Type": _FIELDS}
        )
        for file, text in ((warc, _WARC_INFO), (wat, _WAT_INFO))
    )
    info_id = info.headers["WARC-Record-ID"]
    offset = 0
    with warc.open("wb") as warc_file, wat.open("wb") as wat_file:
        wat_file.write(_member(about, 0, "WARC/1.0").data)
        for record in [info, *(r for answer in answers for r in _records(answer, info_id))]:
            member = _member(record, offset, "WARC/1.1")
            warc_file.write(member.data)
            wat_file.write(_member(_wat_record(record, member, warc.name), 0, "WARC/1.0").data)
            offset += len(member.data)


# WARC


def _records(answer: Answer, info_id: str) -> list[_Record]:
    """Return the records of an answer: the request, and what came back."""
    date = _date(answer.date)
    common = {"WARC-Warcinfo-ID": info_id, "WARC-IP-Address": "192.0.2.1"}
    if answer.is_resource:
        more = common | {"Content-Type": _header(answer, "Content-Type")}
        more["WARC-Payload-Digest"] = _digest(answer.body)
        return [_record("resource", answer.url, date, answer.body, more, answer)]
    parts = urlsplit(answer.url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    asked = (
        f"GET {path} HTTP/1.1\r\nUser-Agent: little-crawler\r\nAccept: */*\r\n"
        f"Host: {parts.netloc}\r\nConnection: Keep-Alive\r\n\r\n"
    )
    more = common | {"Content-Type": _REQUEST}
    request = _record("request", answer.url, date, asked.encode(), more, answer)
    more = common | {
        "WARC-Concurrent-To": request.headers["WARC-Record-ID"],
        "Content-Type": _RESPONSE,
    }
    revisit = answer.revisit
    if revisit is None:
        more["WARC-Payload-Digest"] = _digest(answer.body)
        return [request, _record("response", answer.url, date, answer.message, more, answer)]
    more["WARC-Profile"] = _PROFILES + revisit.profile
    if revisit.profile == "identical-payload-digest":
        more["WARC-Payload-Digest"] = _digest(revisit.of.body)
    if not revisit.by_digest_only:
        more["WARC-Refers-To-Target-URI"] = revisit.of.url
        more["WARC-Refers-To-Date"] = _date(revisit.of.date)
    return [request, _record("revisit", answer.url, date, answer.message, more, answer)]


def _record(
    kind: str,
    url: str | None,
    date: str,
    block: bytes,
    more: dict[str, str],
    answer: Answer | None = None,
) -> _Record:
    digest = _digest(block)
    seed = f"{kind} {url} {date} {digest} {more}".encode()
    identity = uuid.UUID(bytes=hashlib.sha256(seed).digest()[:16], version=4)
    headers = {"WARC-Type": kind, "WARC-Date": date, "WARC-Record-ID": f"<urn:uuid:{identity}>"}
    if url is not None:
        headers["WARC-Target-URI"] = url
    headers |= more | {"Content-Length": str(len(block)), "WARC-Block-Digest": digest}
    return _Record(headers, block, answer)


def _member(record: _Record, offset: int, version: str) -> _Member:
    """Return a record as a gzip member, which holds no time of writing (RFC 1952, MTIME 0)."""
    plain = _warc_head(record, version) + record.block + b"\r\n\r\n"
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    data = packer.compress(plain) + packer.flush()
    return _Member(offset, data, zlib.crc32(plain), len(plain))


def _warc_head(record: _Record, version: str) -> bytes:
    lines = [version, *(f"{name}: {value}" for name, value in record.headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def _digest(data: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(data).digest()).decode()


def _date(date: datetime) -> str:
    return date.strftime("%Y-%m-%dT%H:%M:%SZ")


def _header(answer: Answer, name: str) -> str:
    return next((value for key, value in answer.headers if key == name), "")


# WAT


def _wat_record(record: _Record, member: _Member, warc_name: str) -> _Record:
    """Return the metadata record that describes a record of the WARC file."""
    crc = member.crc - 2**32 if member.crc >= 2**31 else member.crc
    json = {
        "Container": {
            "Filename": warc_name,
            "Compressed": True,
            "Offset": str(member.offset),
            "Gzip-Metadata": {
                "Deflate-Length": str(len(member.data)),
                "Header-Length": "10",
                "Footer-Length": "8",
                "Inflated-CRC": str(crc),
                "Inflated-Length": str(member.inflated),
            },
        },
        "Envelope": {
            "Payload-Metadata": _payload_metadata(record),
            "Format": "WARC/1.1",
            "WARC-Header-Length": str(len(_warc_head(record, "WARC/1.1"))),
            "WARC-Header-Metadata": record.headers,
        },
    }
    target = record.headers.get("WARC-Target-URI", warc_name)
    more = {
        "WARC-Refers-To": record.headers["WARC-Record-ID"],
        "Content-Type": "application/json",
    }
    return _record("metadata", target, record.headers["WARC-Date"], orjson.dumps(json), more)


def _payload_metadata(record: _Record) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "Actual-Content-Type": record.headers["Content-Type"],
        "Actual-Content-Length": str(len(record.block)),
        "Trailing-Slop-Length": "4",
        "Block-Digest": record.headers["WARC-Block-Digest"],
    }
    match record.headers["WARC-Type"]:
        case "warcinfo":
            lines = record.block.decode().split("\r\n")
            metadata["WARC-Info-Metadata"] = _fields(lines)
        case "request":
            (method, path, version), entity = _http_metadata(record.block)
            message = {"Method": method, "Path": path, "Version": version}
            metadata["HTTP-Request-Metadata"] = {"Request-Message": message} | entity
        case "response" | "revisit":
            (version, status, reason), entity = _http_metadata(record.block)
            message = {"Version": version, "Status": status, "Reason": reason}
            if record.answer is not None and record.answer.page is not None:
                entity["HTML-Metadata"] = _html_metadata(record.answer.page)
            metadata["HTTP-Response-Metadata"] = {"Response-Message": message} | entity
        case _:
            pass
    return metadata


def _http_metadata(block: bytes) -> tuple[list[str], dict[str, Any]]:
    """Return the three words of a message's first line, and what is said of the rest."""
    head, _, body = block.partition(b"\r\n\r\n")
    start, *lines = head.decode().split("\r\n")
    return start.split(" ", 2), {
        "Headers-Length": str(len(head) + 4),
        "Headers": _fields(lines),
        "Entity-Length": str(len(body)),
        "Entity-Digest": _digest(body),
        "Entity-Trailing-Slop-Length": "0",
    }


def _fields(lines: list[str]) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in lines if line)


def _html_metadata(page: WebPage) -> dict[str, Any]:
    head: dict[str, Any] = {
        "Title": page.title,
        "Metas": [{"name": name, "content": content} for name, content in page.metas()],
        "Link": [{"path": "LINK@/href", "url": url, "rel": rel} for rel, url in page.links()],
    }
    if page.base is not None:
        head["Base"] = page.base
    links: list[dict[str, str]] = []
    for img in page.images:
        link = {"path": "IMG@/src", "url": img.src}
        links.append(link if img.alt is None else link | {"alt": img.alt})
    for url, rel, text in page.anchors():
        link = {"path": "A@/href", "url": url}
        links.append((link | {"rel": rel} if rel else link) | {"text": text})
    return {"Head": head, "Links": links}
