"""Make WARC files, sound and broken; the name of each broken one says what is broken.

A sound file holds PAGES pages of one image each, with a request before each. What is wrong in a
file of the museum stands at page `HURT`; `MUSEUM` says which pages still give their candidate.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass

PAGES = 6
HURT = 2
DATE = "2024-05-17T23:31:22Z"
ALL = frozenset(range(PAGES))
OTHERS = ALL - {HURT}


def record(
    kind: str, url: str, block: bytes, *, version: str = "1.1", date: str = DATE, **more: str
) -> bytes:
    """Return a record; underscores in the names of `more` become hyphens."""
    headers = {
        "WARC-Type": kind,
        "WARC-Target-URI": url,
        "WARC-Date": date,
        "WARC-Record-ID": "<urn:uuid:00000000-0000-0000-0000-000000000000>",
        "Content-Length": str(len(block)),
    }
    headers |= {name.replace("_", "-"): value for name, value in more.items()}
    lines = [f"WARC/{version}", *(f"{n}: {v}" for n, v in headers.items() if v)]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def answer(body: bytes, status: int = 200, **headers: str) -> bytes:
    """Return an HTTP answer; HTML unless `Content_Type` says otherwise."""
    headers = {"Content_Type": "text/html; charset=utf-8"} | headers
    lines = [f"HTTP/1.1 {status} Some Reason"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def page_url(number: int) -> str:
    return f"http://example.org/pages/{number}.html"


def page_body(number: int) -> bytes:
    return f'<p>Page {number}<img src="/{number}.jpg" alt="picture number {number}">'.encode()


def page(number: int, body: bytes | None = None, **headers: str) -> bytes:
    block = answer(page_body(number) if body is None else body, **headers)
    return record("response", page_url(number), block)


def request(number: int) -> bytes:
    return record("request", page_url(number), b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n")


def sound_records(hurt: bytes | None = None) -> list[bytes]:
    """Return the records of a sound file, with `hurt` in the place of page HURT."""
    records = [record("warcinfo", "", b"software: tests\r\n")]
    for number in range(PAGES):
        records += [request(number), page(number)]
    if hurt is not None:
        records[2 + 2 * HURT] = hurt
    return records


def members(records: list[bytes]) -> list[bytes]:
    return [gzip.compress(one, mtime=0) for one in records]


@dataclass(frozen=True)
class Broken:
    data: bytes
    gives: frozenset[int]
    """Pages whose candidate must be found."""
    num_broken: int
    """Records counted as broken."""
    warns: bool


def _museum() -> dict[str, Broken]:
    plain = sound_records()
    at = 2 + 2 * HURT
    zipped = members(plain)
    length_of_hurt = f"Content-Length: {len(answer(page_body(HURT)))}".encode()

    def with_header(old: bytes, new: bytes) -> bytes:
        assert old in plain[at]
        return plain[at].replace(old, new, 1)

    def gz(hurt: bytes) -> bytes:
        return b"".join(members(sound_records(hurt)))

    def raw(hurt: bytes) -> bytes:
        return b"".join(sound_records(hurt))

    def zip_with(member: bytes) -> bytes:
        return b"".join([*zipped[:at], member, *zipped[at + 1 :]])

    def flipped(member: bytes, position: int) -> bytes:
        data = bytearray(member)
        data[position] ^= 0xFF
        return bytes(data)

    ends_in_page = b"".join(zipped[:at]) + zipped[at][: len(zipped[at]) // 2]
    before = frozenset(range(HURT))
    no_length = with_header(length_of_hurt, b"X-Length: none")
    no_date = with_header(b"WARC-Date: 2024-05-17T23:31:22Z\r\n", b"")
    short = with_header(length_of_hurt, b"Content-Length: 20")
    long = with_header(length_of_hurt, b"Content-Length: 9999999")
    negative = with_header(length_of_hurt, b"Content-Length: -5")
    no_head = record("response", page_url(HURT), b"this is not HTTP answer")
    return {
        "empty": Broken(b"", frozenset(), 0, False),
        "only-newlines": Broken(b"\r\n\r\n\r\n", frozenset(), 0, False),
        "not-a-warc": Broken(b"once upon a time\r\n" * 100, frozenset(), 1, True),
        "gzip-of-no-warc": Broken(gzip.compress(b"once upon a time"), frozenset(), 1, True),
        "gzip-magic-alone": Broken(b"\x1f\x8b\x08", frozenset(), 0, True),
        "gzip-crc-wrong": Broken(zip_with(flipped(zipped[at], -6)), OTHERS, 1, True),
        "gzip-data-flipped": Broken(zip_with(flipped(zipped[at], 40)), OTHERS, 1, True),
        "gzip-magic-flipped": Broken(zip_with(flipped(zipped[at], 0)), OTHERS, 1, True),
        "gzip-member-cut-in-the-middle-of-the-file": Broken(
            zip_with(zipped[at][: len(zipped[at]) // 2]), OTHERS, 1, True
        ),
        "gzip-garbage-between-members": Broken(zip_with(zipped[at] + b"garbage"), ALL, 1, True),
        "gzip-cut-at-the-end-of-the-file": Broken(ends_in_page, before, 0, True),
        "gzip-cut-between-records": Broken(b"".join(zipped[:at]), before, 0, False),
        "gzip-content-length-too-large": Broken(gz(long), ALL, 0, False),
        "gzip-content-length-too-small": Broken(gz(short), OTHERS, 1, True),
        "gzip-content-length-missing": Broken(gz(no_length), OTHERS, 1, True),
        "gzip-content-length-negative": Broken(gz(negative), OTHERS, 1, True),
        "gzip-version-line-missing": Broken(gz(plain[at][10:]), OTHERS, 1, True),
        "gzip-head-that-does-not-end": Broken(gz(b"WARC/1.0\r\nA: b\r\n"), OTHERS, 1, True),
        "gzip-empty-member": Broken(gz(b""), OTHERS, 0, False),
        "date-missing": Broken(gz(no_date), OTHERS, 1, False),
        "http-head-missing": Broken(gz(no_head), OTHERS, 1, False),
        "plain-cut": Broken(b"".join(plain[:at]) + plain[at][:-60], before, 0, True),
        "plain-content-length-too-small": Broken(raw(short), OTHERS, 1, True),
        "plain-content-length-missing": Broken(raw(no_length), OTHERS, 1, True),
        "plain-garbage-between-records": Broken(raw(b"garbage\r\n" + plain[at]), ALL, 1, True),
        "compressed-as-a-whole-and-cut": Broken(
            _cut_behind(b"".join(plain), sum(map(len, plain[:at]))), before, 0, True
        ),
        "trailing-zeros": Broken(b"".join(zipped) + bytes(512), ALL, 0, False),
        "trailing-garbage": Broken(b"".join(zipped) + b"garbage", ALL, 1, True),
        "lines-end-with-lf": Broken(
            b"".join(one.replace(b"\r\n", b"\n") for one in _short_by_lf(plain)), ALL, 0, False
        ),
    }


def _cut_behind(plain: bytes, position: int) -> bytes:
    """Compress as a whole, with a flush at `position` and the cut a little behind it."""
    deflater = zlib.compressobj(wbits=31)
    head = deflater.compress(plain[:position]) + deflater.flush(zlib.Z_FULL_FLUSH)
    return head + deflater.compress(plain[position : position + 200]) + deflater.flush()[:20]


def _short_by_lf(records: list[bytes]) -> list[bytes]:
    """Correct Content-Length for blocks whose CRLF become LF."""
    corrected: list[bytes] = []
    for one in records:
        head, _, rest = one.partition(b"\r\n\r\n")
        block = rest[:-4]
        length = f"Content-Length: {len(block)}".encode()
        num_crlf = block.count(b"\r\n")
        lines = f"Content-Length: {len(block) - num_crlf}".encode()
        corrected.append(head.replace(length, lines) + b"\r\n\r\n" + block + b"\r\n\r\n")
    return corrected


MUSEUM = _museum()
