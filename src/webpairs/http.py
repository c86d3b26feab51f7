"""HTTP answers as archives hold them: the head, and the body with its codings undone.

Everything here takes any bytes and raises nothing but what it says: a crawl is other people's
bytes. Decoding is bounded while it runs, so that a decompression bomb costs `max_bytes`.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import brotli

MAX_HEAD_BYTES: Final = 64 << 10
"""Longer heads are broken: eight times what Apache and nginx accept of one header line."""

_STATUS_LINE: Final = re.compile(rb"HTTP/\d(?:\.\d)?[ \t]+(\d{3})(?![0-9])")
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_HEADER: Final = re.compile(r"\n([^:\n]*):([^\n]*)")
_CHUNK_SIZE: Final = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_NEWLINE: Final = re.compile(rb"\r?\n")
_PIECE_BYTES: Final = 256 << 10
_SMALL_STEP_BYTES: Final = 512
_GZIP: Final = 31
_ZLIB: Final = 15
_RAW: Final = -15


@dataclass(frozen=True, slots=True)
class Head:
    """Hold the status and the headers of an HTTP answer; names are in lower case."""

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


@dataclass(frozen=True, slots=True)
class Body:
    """Hold a decoded body: `whole` unless a coding broke or ended early, `too_large` when cut."""

    data: bytes
    whole: bool = True
    too_large: bool = False


def decode_body(head: Head, raw: bytes, max_bytes: int) -> Body:
    """Undo the transfer coding, then the content codings, of `raw`; at most `max_bytes` come out.

    What is not coded as its headers say is taken as it is: crawlers that store decoded bodies
    often keep the original headers. A coding that breaks half-way gives what came before.
    An unknown content coding gives an empty body that is not whole.
    """
    body = Body(raw)
    if any("chunked" in value.lower() for value in head.get_all("transfer-encoding")):
        body = undo_chunked(raw)
    codings = [
        coding.strip().lower()
        for value in head.get_all("content-encoding")
        for coding in value.split(",")
    ]
    for coding in reversed(codings):
        if coding in ("", "identity", "none", "utf-8"):  # the last two are no codings, but common
            continue
        undo = _UNDO.get(coding)
        if undo is None:
            return Body(b"", whole=False)
        decoded = undo(body.data, max_bytes)
        body = Body(decoded.data, body.whole and decoded.whole, decoded.too_large)
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


def _undo_gzip(data: bytes, max_bytes: int) -> Body:
    if not data.startswith(b"\x1f\x8b"):
        return Body(data)
    return _inflate(data, _GZIP, max_bytes)


def _undo_deflate(data: bytes, max_bytes: int) -> Body:
    # "deflate" is zlib by the standard (RFC 9110, 8.4.1.2), raw deflate by some servers.
    for wbits in (_ZLIB, _RAW):
        try:
            zlib.decompressobj(wbits).decompress(data[:_SMALL_STEP_BYTES], _PIECE_BYTES)
        except zlib.error:
            continue
        return _inflate(data, wbits, max_bytes)
    return Body(data)


def _inflate(data: bytes, wbits: int, max_bytes: int, step_bytes: int = 0) -> Body:
    """Inflate every member of `data`; on an error again in small steps, to have what came before.

    (zlib gives nothing of a call that fails; a step of 512 bytes loses at most that.)
    """
    inflater = zlib.decompressobj(wbits)
    pieces: list[bytes] = []
    num_bytes = 0
    step = step_bytes or max(1, len(data))
    try:
        for start in range(0, len(data), step):
            rest, full = data[start : start + step], False
            while rest or full:
                piece = inflater.decompress(rest, _PIECE_BYTES)
                pieces.append(piece)
                num_bytes += len(piece)
                if num_bytes > max_bytes:
                    return Body(b"".join(pieces)[:max_bytes], too_large=True)
                rest, full = inflater.unconsumed_tail, len(piece) == _PIECE_BYTES
                if inflater.eof:
                    rest, full = inflater.unused_data + rest, False
                    if wbits != _GZIP or not rest.startswith(b"\x1f\x8b"):
                        return Body(b"".join(pieces))
                    inflater = zlib.decompressobj(wbits)
    except zlib.error:
        if not step_bytes:
            return _inflate(data, wbits, max_bytes, _SMALL_STEP_BYTES)
    return Body(b"".join(pieces), whole=False)


def _undo_brotli(data: bytes, max_bytes: int) -> Body:
    decoder = brotli.Decompressor()
    pieces: list[bytes] = []
    num_bytes = 0
    try:
        piece = decoder.process(data, output_buffer_limit=_PIECE_BYTES)
        while True:
            pieces.append(piece)
            num_bytes += len(piece)
            if num_bytes > max_bytes:
                return Body(b"".join(pieces)[:max_bytes], too_large=True)
            if decoder.is_finished():
                return Body(b"".join(pieces))
            if decoder.can_accept_more_data() and not piece:
                return Body(b"".join(pieces), whole=False)
            piece = decoder.process(b"", output_buffer_limit=_PIECE_BYTES)
    except brotli.error:
        # Brotli has no magic: what fails at once and looks like text was stored decoded.
        if not pieces and data.lstrip()[:1] == b"<":
            return Body(data)
        return Body(b"".join(pieces), whole=False)


_UNDO: Final[dict[str, Callable[[bytes, int], Body]]] = {
    "gzip": _undo_gzip,
    "x-gzip": _undo_gzip,
    "deflate": _undo_deflate,
    "br": _undo_brotli,
}
