"""Break the rules by which HTTP says where a body begins and ends; docs/hostile.md lists how."""

from __future__ import annotations

from typing import Final

from webpairs.demo.hostile.behaviour import Answer, Behaviour, Visit, head, raw
from webpairs.demo.hostile.images import jpeg
from webpairs.demo.truth import SAMPLE
from webpairs.drops import Drop

_JPEG: Final = "Content-Type: image/jpeg"
_CHUNKED: Final = "Transfer-Encoding: chunked"


def _framed(*headers: str, body: bytes | None = None) -> Answer:
    """Send the JPEG (or `body`) under headers as they are, and close."""

    async def answer(visit: Visit) -> None:
        filled = [header.replace("{length}", str(len(jpeg()))) for header in headers]
        await visit.send(head(visit, "200 OK", _JPEG, *filled))
        await visit.send(jpeg() if body is None else body)

    return answer


def _chunked(step_bytes: int) -> bytes:
    pieces = [jpeg()[start : start + step_bytes] for start in range(0, len(jpeg()), step_bytes)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def _lengths(*lengths: str) -> Answer:
    return _framed(*[f"Content-Length: {length}" for length in lengths])


def _with_head(head_lines: bytes) -> Answer:
    """Send exactly these header lines (with no empty line after them) before the JPEG."""
    return raw(lambda: head_lines + b"\r\n" + jpeg())


_DIGITS_BEYOND_64_BITS: Final = "9" * 30

BEHAVIOURS: Final = (
    Behaviour(
        name="http-1-0",
        what="HTTP/1.0, no length, the connection's end is the picture's",
        expect=SAMPLE,
        answer=_with_head(b"HTTP/1.0 200 OK\r\nContent-Type: image/jpeg\r\n"),
    ),
    Behaviour(
        name="http-0-9",
        what="a picture without status and headers",
        expect=Drop.PROTOCOL,
        answer=raw(jpeg),
    ),
    Behaviour(
        name="http-of-bare-newlines",
        what="header lines that end with LF alone",
        expect=SAMPLE,
        answer=raw(lambda: b"HTTP/1.1 200 OK\nContent-Type: image/jpeg\n\n" + jpeg()),
    ),
    Behaviour(
        name="http-folded",
        what="a header line folded over three lines",
        expect=SAMPLE,
        answer=_with_head(b"HTTP/1.1 200 OK\r\nX-Folded: a\r\n b\r\n\tc\r\n"),
    ),
    Behaviour(
        name="http-status-line-garbage",
        what="a status line without a number",
        expect=Drop.PROTOCOL,
        answer=_with_head(b"HTTP/1.1 fine, thank you\r\n"),
    ),
    Behaviour(
        name="http-of-no-version",
        what="HTTP of version 7.3",
        expect=Drop.PROTOCOL,
        answer=_with_head(b"HTTP/7.3 200 OK\r\n"),
    ),
    Behaviour(
        name="http-nul-in-head",
        what="a header with a NUL byte",
        expect=Drop.PROTOCOL,
        answer=_with_head(b"HTTP/1.1 200 OK\r\nX-Nul: a\0b\r\n"),
    ),
    Behaviour(
        name="http-is-ssh",
        what="the greeting of an SSH server",
        expect=Drop.PROTOCOL,
        answer=raw(b"SSH-2.0-OpenSSH_9.9\r\n"),
    ),
    Behaviour(
        name="length-too-short",
        what="a Content-Length of half the picture",
        expect=Drop.TRUNCATED,
        answer=_lengths("15000"),
    ),
    Behaviour(
        name="length-too-long",
        what="a Content-Length beyond the picture's end: the body ends early",
        expect=Drop.PROTOCOL,
        answer=_lengths("1000000"),
    ),
    Behaviour(
        name="length-negative",
        what="a Content-Length of -1",
        expect=Drop.PROTOCOL,
        answer=_lengths("-1"),
    ),
    Behaviour(
        name="length-no-number",
        what="a Content-Length that is not a number",
        expect=Drop.PROTOCOL,
        answer=_lengths("many"),
    ),
    Behaviour(
        name="length-beyond-64-bits",
        what="a Content-Length of thirty digits",
        expect=Drop.TOO_LARGE,
        answer=_lengths(_DIGITS_BEYOND_64_BITS),
    ),
    Behaviour(
        name="length-twice",
        what="the same Content-Length twice",
        expect=SAMPLE,
        answer=_lengths("{length}", "{length}"),
    ),
    Behaviour(
        name="lengths-that-contradict",
        what="two different Content-Lengths",
        expect=Drop.PROTOCOL,
        answer=_lengths("{length}", "15000"),
    ),
    Behaviour(
        name="length-and-chunks",
        what="chunks, and a Content-Length that is wrong: chunks count (RFC 9112, 6.3)",
        expect=SAMPLE,
        answer=raw(
            lambda: (
                b"HTTP/1.1 200 OK\r\nContent-Length: 15000\r\nTransfer-Encoding: chunked\r\n\r\n"
                + _chunked(4096)
            )
        ),
    ),
    Behaviour(
        name="chunks-of-one-byte",
        what="a picture in chunks of one byte",
        expect=SAMPLE,
        answer=raw(lambda: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _chunked(1)),
    ),
    Behaviour(
        name="chunks-without-end",
        what="chunks without the last, empty one",
        expect=Drop.PROTOCOL,
        answer=raw(
            lambda: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _chunked(4096)[:-5]
        ),
    ),
    Behaviour(
        name="chunk-size-garbage",
        what="a chunk size that is not a number",
        expect=Drop.PROTOCOL,
        answer=_framed(_CHUNKED, body=b"many\r\n" + bytes(6_000)),
    ),
    Behaviour(
        name="chunk-size-beyond-64-bits",
        what="a chunk size of twenty F",
        expect=Drop.PROTOCOL,
        answer=_framed(_CHUNKED, body=b"F" * 20 + b"\r\n" + bytes(6_000)),
    ),
)
