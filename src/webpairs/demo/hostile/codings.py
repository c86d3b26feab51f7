"""Sending pictures in content codings: asked for by nobody, broken, or as bombs."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import Final

import brotli
from backports import zstd

from webpairs.demo.hostile.behaviour import Behaviour, Visit, head, say
from webpairs.demo.hostile.images import jpeg
from webpairs.demo.truth import SAMPLE
from webpairs.drops import Drop

_JPEG: Final = "Content-Type: image/jpeg"
TEN_GB: Final = 10_000_000_000


def _deflated_zeros() -> Iterator[bytes]:
    """Yield a gzip file of 10 GB, a piece of 10 MB at a time, without its end."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield squeeze.compress(bytes(10_000_000)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    # After a full flush the coding starts anew: the next piece is the same every time.
    piece = squeeze.compress(bytes(10_000_000)) + squeeze.flush(zlib.Z_FULL_FLUSH)
    for _ in range(TEN_GB // 10_000_000 - 1):
        yield piece


async def _gzip_bomb(visit: Visit) -> None:
    await visit.send(head(visit, "200 OK", _JPEG, "Content-Encoding: gzip"))
    for piece in _deflated_zeros():
        await visit.send(piece)


def _brotli_bomb() -> bytes:
    squeeze = brotli.Compressor(quality=1)
    pieces = [squeeze.process(bytes(10_000_000)) for _ in range(30)]
    return b"".join(pieces) + squeeze.finish()


def _brotli() -> bytes:
    squeeze = brotli.Compressor(quality=1)
    return squeeze.process(jpeg()) + squeeze.finish()


def _raw_deflate() -> bytes:
    squeeze = zlib.compressobj(6, zlib.DEFLATED, -15)
    return squeeze.compress(jpeg()) + squeeze.flush()


def _gzipped(num_layers: int) -> bytes:
    body = jpeg()
    for _ in range(num_layers):
        body = gzip.compress(body, 1)
    return body


def _wide_zstd() -> bytes:
    options = {int(zstd.CompressionParameter.window_log): 27}
    squeeze = zstd.ZstdCompressor(options=options)
    return squeeze.compress(jpeg()) + squeeze.flush()


BEHAVIOURS: Final = (
    Behaviour(
        name="gzip-bomb",
        what="10 GB of zeros in 10 MB of gzip",
        expect=Drop.TOO_LARGE,
        answer=_gzip_bomb,
    ),
    Behaviour(
        name="brotli-bomb",
        what="300 MB of zeros in less than 1 KB of brotli",
        expect=Drop.TOO_LARGE,
        answer=say("200 OK", _JPEG, "Content-Encoding: br", body=_brotli_bomb),
    ),
    Behaviour(
        name="coding-gzip",
        what="a JPEG in gzip, which nobody asked for",
        expect=SAMPLE,
        answer=say("200 OK", _JPEG, "Content-Encoding: gzip", body=lambda: gzip.compress(jpeg())),
    ),
    Behaviour(
        name="coding-deflate",
        what="a JPEG in zlib, as the standard says of `deflate`",
        expect=SAMPLE,
        answer=say(
            "200 OK", _JPEG, "Content-Encoding: deflate", body=lambda: zlib.compress(jpeg())
        ),
    ),
    Behaviour(
        name="coding-raw-deflate",
        what="a JPEG in raw deflate, as some servers understand it",
        expect=SAMPLE,
        answer=say("200 OK", _JPEG, "Content-Encoding: deflate", body=_raw_deflate),
    ),
    Behaviour(
        name="coding-brotli",
        what="a JPEG in brotli",
        expect=SAMPLE,
        answer=say(
            "200 OK",
            _JPEG,
            "Content-Encoding: br",
            body=_brotli,
        ),
    ),
    Behaviour(
        name="coding-claimed",
        what="a plain JPEG that is said to be gzip: taken as it is",
        expect=SAMPLE,
        answer=say("200 OK", _JPEG, "Content-Encoding: gzip", body=jpeg),
    ),
    Behaviour(
        name="coding-unknown",
        what="a content coding that nobody knows: taken as it is, as the Fetch standard asks",
        expect=SAMPLE,
        answer=say("200 OK", _JPEG, "Content-Encoding: rot13", body=jpeg),
    ),
    Behaviour(
        name="coding-twice",
        what="a JPEG in gzip in gzip, named in two headers",
        expect=SAMPLE,
        answer=say(
            "200 OK",
            _JPEG,
            "Content-Encoding: gzip",
            "Content-Encoding: x-gzip",
            body=lambda: _gzipped(2),
        ),
    ),
    Behaviour(
        name="coding-twenty-times",
        what="a JPEG in gzip twenty times over: more layers than are undone",
        expect=Drop.PROTOCOL,
        answer=say(
            "200 OK",
            _JPEG,
            "Content-Encoding: " + ", ".join(["gzip"] * 20),
            body=lambda: _gzipped(20),
        ),
    ),
    Behaviour(
        name="coding-zstd",
        what="a JPEG in zstd",
        expect=SAMPLE,
        answer=say("200 OK", _JPEG, "Content-Encoding: zstd", body=lambda: zstd.compress(jpeg())),
    ),
    Behaviour(
        name="coding-zstd-claimed",
        what="a plain JPEG that is said to be zstd and brotli: taken as it is",
        expect=SAMPLE,
        answer=say("200 OK", _JPEG, "Content-Encoding: zstd, br", body=jpeg),
    ),
    Behaviour(
        name="zstd-bomb",
        what="300 MB of zeros in 30 frames of zstd",
        expect=Drop.TOO_LARGE,
        answer=say(
            "200 OK",
            _JPEG,
            "Content-Encoding: zstd",
            body=lambda: zstd.compress(bytes(10_000_000)) * 30,
        ),
    ),
    Behaviour(
        name="zstd-window",
        what="a zstd frame that asks for a window of 128 MB",
        expect=Drop.PROTOCOL,
        answer=say("200 OK", _JPEG, "Content-Encoding: zstd", body=_wide_zstd),
    ),
    Behaviour(
        name="gzip-empty-members",
        what="150,000 gzip members with nothing in them",
        expect=Drop.TOO_LARGE,
        answer=say(
            "200 OK",
            _JPEG,
            "Content-Encoding: gzip",
            body=lambda: gzip.compress(b"", mtime=0) * 150_000,
        ),
    ),
    Behaviour(
        name="gzip-truncated",
        what="half a gzip file, of the length that the header announces",
        expect=Drop.PROTOCOL,
        answer=say(
            "200 OK",
            _JPEG,
            "Content-Encoding: gzip",
            body=lambda: gzip.compress(jpeg())[: len(jpeg()) // 2],
        ),
    ),
    Behaviour(
        name="gzip-corrupt",
        what="a gzip file with a zeroed middle",
        expect=Drop.PROTOCOL,
        answer=say(
            "200 OK",
            _JPEG,
            "Content-Encoding: gzip",
            body=lambda: gzip.compress(jpeg())[:9_000] + bytes(2_000) + b"\xff" * 9_000,
        ),
    ),
)
