"""HTTP answers as archives hold them: the head, and the body with its codings undone.

Everything here takes any bytes and raises nothing but what it says: a crawl is other people's
bytes. Decoding is bounded while it runs, so that a decompression bomb costs `max_bytes`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from webpairs.crawl.content_coding import Body, coding_names, undo_codings

MAX_HEAD_BYTES: Final = 64 << 10
"""Longer heads are broken: eight times what Apache and nginx accept of one header line."""

_STATUS_LINE: Final = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?![0-9])")
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_HEADER: Final = re.compile(r"\n([^:\n]*):([^\n]*)")
_CHUNK_SIZE: Final = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_NEWLINE: Final = re.compile(rb"\r?\n")


@dataclass(frozen=True, slots=True)
class Head:
    """The status and the headers of an HTTP answer; names are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    num_bytes: int
    """Bytes of the head, its empty line included: where the body begins."""

    def get(self, name: str) -> str | None:
        """Return the first value of the header `name` (in lower case), or None."""
        return next((value for key, value in self.headers if key == name), None)

    def get_all(self, name: str) -> list[str]:
        """Return every value of the header `name` (in lower case), in order."""
        return [value for key, value in self.headers if key == name]


def parse_head(block: bytes) -> Head | None:
    """Return the head at the start of `block`, or None when there is none or it does not end.

    Lenient as browsers are: LF for CRLF, a missing reason, folded lines (RFC 9112, 5.2), lines
    without a colon passed over. A block that ends within its head, with no body, is a whole head.
    """
    status = _STATUS_LINE.match(block)
    if status is None:
        return None
    end = _HEAD_END.search(block, 0, MAX_HEAD_BYTES)
    if end is None and len(block) > MAX_HEAD_BYTES:
        return None
    stop, num_bytes = (end.start(), end.end()) if end else (len(block), len(block))
    return Head(int(status[1]), parse_headers(block[status.end() : stop]), num_bytes)


def parse_headers(lines: bytes) -> tuple[tuple[str, str], ...]:
    """Return (name in lower case, value) of the header lines after a first line (which is skipped).

    Values are Latin-1 unless they are valid UTF-8 (as RFC 9110, 5.5 knows of the past and the
    WARC standard asks of its own headers).
    """
    try:
        text = lines.decode("utf-8")
    except UnicodeDecodeError:
        text = lines.decode("latin-1")
    if "\n " not in text and "\n\t" not in text:  # nothing folded: three times as fast
        found: list[tuple[str, str]] = _HEADER.findall(text)
        return tuple([(name.strip().lower(), value.strip()) for name, value in found])
    headers: list[tuple[str, str]] = []
    for line in text.split("\n")[1:]:
        if line[:1] in (" ", "\t"):
            if headers:
                name, value = headers[-1]
                headers[-1] = (name, f"{value} {line.strip()}".strip())
            continue
        name, colon, value = line.partition(":")
        if colon:
            headers.append((name.strip().lower(), value.strip()))
    return tuple(headers)


def decode_body(
    head: Head,
    raw: bytes,
    max_bytes: int,
    *,
    dechunked: bool = False,
    until_s: float | None = None,
) -> Body:
    """Undo the transfer coding, then the content codings, of `raw`; at most `max_bytes` come out.

    What is not coded as its headers say is taken as it is: crawlers that store decoded bodies
    often keep the original headers. A coding that breaks half-way gives what came before.

    - `dechunked`: the chunks were joined already (libcurl's work).
    - `until_s`: a moment of `time.monotonic` at which decoding ends, `too_slow`.
    """
    body = Body(raw)
    transfer = head.get_all("transfer-encoding")
    if not dechunked and any("chunked" in value.lower() for value in transfer):
        body = undo_chunked(raw)
    names = coding_names([*head.get_all("content-encoding"), *transfer])
    if names:
        decoded = undo_codings(names, body.data, max_bytes, until_s)
        broke = body.whole and decoded.coding_broke
        return replace(decoded, whole=body.whole and decoded.whole, coding_broke=broke)
    if len(body.data) > max_bytes:
        return Body(body.data[:max_bytes], body.whole, too_large=True)
    return body


def undo_chunked(raw: bytes) -> Body:
    """Join the chunks of `raw` (RFC 9112, 7.1); what does not begin with a chunk is not chunked."""
    size = _CHUNK_SIZE.match(raw)
    if size is None:
        return Body(raw)
    chunks: list[bytes] = []
    while size is not None:
        num_bytes = int(size[1], 16)
        if num_bytes == 0:
            return Body(b"".join(chunks))
        start = size.end()
        chunk = raw[start : start + num_bytes]
        chunks.append(chunk)
        if len(chunk) < num_bytes:
            break
        newline = _NEWLINE.match(raw, start + num_bytes)
        size = _CHUNK_SIZE.match(raw, newline.end() if newline else start + num_bytes)
    return Body(b"".join(chunks), whole=False)
