"""Bodies as servers send them: the live web and the archive read the same bytes alike."""

from __future__ import annotations

import asyncio
import gzip
import random
import threading
import zlib
from pathlib import Path

import brotli
import pytest
from backports import zstd
from support.museum_warcs import record

from webpairs.crawl.http_message import Body, Head
from webpairs.errors import DataError
from webpairs.obtain import answer_body
from webpairs.obtain.answer_body import BodyDecoder
from webpairs.obtain.archive import ArchiveReader
from webpairs.obtain.transfer import Answer

PICTURE = b"\xff\xd8\xff\xe0" + random.Random(1).randbytes(9_000)
MAX_BYTES = 20_000
RAW_DEFLATE = zlib.compress(PICTURE, 6)[2:-4]

SENT: dict[str, tuple[bytes, tuple[str, ...], bytes | None]] = {
    # body, values of Content-Encoding, what must come of it (None: nothing)
    "plain": (PICTURE, (), PICTURE),
    "gzip": (gzip.compress(PICTURE), ("gzip",), PICTURE),
    "gzip-in-two-headers": (gzip.compress(gzip.compress(PICTURE)), ("gzip", "gzip"), PICTURE),
    "gzip-said-twice": (gzip.compress(PICTURE), ("gzip, gzip",), PICTURE),
    "quoted": (gzip.compress(PICTURE), ('"gzip"',), PICTURE),
    "deflate": (zlib.compress(PICTURE), ("deflate",), PICTURE),
    "raw-deflate": (RAW_DEFLATE, ("deflate",), PICTURE),
    "brotli": (brotli.compress(PICTURE), ("br",), PICTURE),
    "zstd": (zstd.compress(PICTURE), ("zstd",), PICTURE),
    **{
        f"undone-{name}": (PICTURE, (name,), PICTURE)
        for name in ("gzip", "x-gzip", "deflate", "br", "zstd", "aws-chunked", "binary", "rot13")
    },
    "unknown-over-gzip": (gzip.compress(PICTURE), ("gzip, aws-chunked",), PICTURE),
    "cut": (gzip.compress(PICTURE)[:-9], ("gzip",), None),
    "four-layers": (PICTURE, ("gzip, gzip, gzip, gzip",), None),
    "bomb": (gzip.compress(bytes(1 << 20)), ("gzip",), None),
    "zstd-bomb": (zstd.compress(bytes(1 << 20)), ("zstd",), None),
}


def answer_of(body: bytes, codings: tuple[str, ...]) -> Answer:
    headers = tuple(("content-encoding", value) for value in codings)
    return Answer(200, headers, body, "127.0.0.1", 0.0, 0.0, 0.0)


def decode(answer: Answer, timeout_s: float = 9.0) -> Body:
    async def work() -> Body:
        decoder = BodyDecoder(timeout_s)
        try:
            return await decoder.decode(answer, MAX_BYTES)
        finally:
            decoder.close()

    return asyncio.run(work())


@pytest.mark.parametrize("name", SENT)
def test_the_live_web_and_the_archive_agree(name: str, tmp_path: Path) -> None:
    body, codings, expected = SENT[name]
    live = decode(answer_of(body, codings))
    assert (live.data if live.whole and not live.too_large else None) == expected

    lines = ["HTTP/1.1 200 OK", *(f"Content-Encoding: {value}" for value in codings)]
    block = "\r\n".join(lines).encode() + b"\r\n\r\n" + body
    path = tmp_path / "crawl.warc"
    path.write_bytes(record("response", "http://example.org/a.jpg", block))
    with ArchiveReader({path.name: str(path)}, MAX_BYTES) as reader:
        try:
            archived = reader.read(path.name, 0, path.stat().st_size).data
        except DataError:
            archived = None
    assert archived == expected


def test_decoding_does_not_hold_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = threading.Event()
    loop_thread = threading.get_ident()

    def slow(head: Head, raw: bytes, max_bytes: int, **how: object) -> Body:
        assert threading.get_ident() != loop_thread
        assert asked.wait(9)  # set by the loop while this runs
        return Body(raw)

    monkeypatch.setattr(answer_body, "decode_body", slow)

    async def work() -> Body:
        decoder = BodyDecoder(9.0)
        try:
            task = asyncio.create_task(decoder.decode(answer_of(b"x", ("gzip",)), MAX_BYTES))
            await asyncio.sleep(0)
            asked.set()
            return await task
        finally:
            decoder.close()

    assert asyncio.run(work()) == Body(b"x")


def test_the_timeout_ends_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_body, "MIN_S", 0.0)
    assert decode(answer_of(gzip.compress(PICTURE), ("gzip",)), timeout_s=-1.0).too_slow
