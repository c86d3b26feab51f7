"""HTTP answers: heads as the web writes them, codings undone, bombs bounded."""

from __future__ import annotations

import gzip
import random
import time
import zlib
from typing import Any

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from webpairs.crawl.content_coding import MAX_CODINGS
from webpairs.crawl.http_message import (
    MAX_HEAD_BYTES,
    Body,
    Head,
    decode_body,
    parse_head,
    undo_chunked,
)


@pytest.mark.parametrize(
    ("block", "status", "headers", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nx", 200, (("a", "b"),), b"x"),
        (b"HTTP/1.0 404\r\n\r\n", 404, (), b""),
        (b"HTTP/2 204 \r\nA:b\r\n\r\n", 204, (("a", "b"),), b""),
        (b"HTTP/1.1 200 OK\nA: b\n\nx", 200, (("a", "b"),), b"x"),
        (b"HTTP/1.1 301 Moved\r\nA: b\r\n c\r\n\td\r\n\r\n", 301, (("a", "b c d"),), b""),
        (b"HTTP/1.1 200 OK\r\nno colon\r\nA : b: c \r\n\r\n", 200, (("a", "b: c"),), b""),
        (b"HTTP/1.1 200 OK\r\nA: b", 200, (("a", "b"),), b""),
        (b"HTTP/1.1 200 OK\r\n\r\n\r\nx", 200, (), b"\r\nx"),
        (b"HTTP/1.1 200 OK\r\nA: \xe4\r\nA: \xc3\xa4\r\n\r\n", 200, (("a", "ä"), ("a", "Ã¤")), b""),
    ],
)
def test_head(block: bytes, status: int, headers: tuple[tuple[str, str], ...], body: bytes) -> None:
    head = parse_head(block)
    assert head is not None
    assert (head.status, head.headers) == (status, headers)
    assert block[head.num_bytes :] == body


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"<html>",
        b"HTTP/1.1",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b" HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * MAX_HEAD_BYTES + b"\r\n",
    ],
)
def test_no_head(block: bytes) -> None:
    assert parse_head(block) is None


def head_of(**headers: str) -> Head:
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Head(200, pairs, 0)


DATA = b"".join(b"line %d of a text that can be made shorter\n" % i for i in range(400))


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"3\r\nabc\r\n0\r\n\r\n", Body(b"abc")),
        (b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n", Body(b"abcde")),
        (b"0003 \r\nabc\r\n000\r\n", Body(b"abc")),
        (b"3\nabc\n0\n\n", Body(b"abc")),
        (b"3\r\nabc0\r\n", Body(b"abc")),
        (b"3\r\nabc\r\n", Body(b"abc", whole=False)),
        (b"9\r\nabc", Body(b"abc", whole=False)),
        (b"3\r\nabc\r\nzzz\r\n", Body(b"abc", whole=False)),
        (b"<html>", Body(b"<html>")),
        (b"abc", Body(b"abc")),
        (b"", Body(b"")),
        (b"ffffffffffffffffffff\r\nabc", Body(b"ffffffffffffffffffff\r\nabc")),
    ],
)
def test_chunked(raw: bytes, body: Body) -> None:
    assert undo_chunked(raw) == body


def raw_deflate(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


CODINGS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    " Deflate": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("name", CODINGS)
def test_coding_cut_gives_what_came_before(name: str) -> None:
    coded = CODINGS[name](DATA)
    head = head_of(content_encoding=name)
    longest = 0
    for end in range(20, len(coded)):
        body = decode_body(head, coded[:end], 1 << 20)
        assert DATA.startswith(body.data)
        assert not body.whole or len(body.data) == len(DATA)
        longest = max(longest, len(body.data))
    if name != "zstd":  # all of DATA is one block, which is there whole or not at all
        assert longest > len(DATA) // 2


@pytest.mark.parametrize("name", ["gzip", "deflate", " Deflate"])
def test_coding_broken_in_the_middle_gives_what_came_before(name: str) -> None:
    data = bytes(range(256)) * 40 + DATA * 100
    coded = bytearray(CODINGS[name](data))
    coded[len(coded) // 2] ^= 0xFF
    coded[len(coded) // 2 + 1] ^= 0xFF
    body = decode_body(head_of(content_encoding=name), bytes(coded), 1 << 24)
    assert len(body.data) > 1000
    assert data[:1000] == body.data[:1000]


@pytest.mark.parametrize("name", CODINGS)
def test_bomb_is_bounded(name: str) -> None:
    body = decode_body(head_of(content_encoding=name), CODINGS[name](bytes(50 << 20)), 1 << 20)
    assert body.too_large
    assert len(body.data) == 1 << 20


def test_bomb_of_many_codings() -> None:
    coded = gzip.compress(gzip.compress(gzip.compress(bytes(20 << 20))))
    body = decode_body(head_of(content_encoding="gzip, gzip, gzip"), coded, 1 << 20)
    assert body.too_large
    assert len(body.data) == 1 << 20


def test_gzip_of_several_members() -> None:
    coded = gzip.compress(b"abc") + gzip.compress(b"def") + b"\0\0"
    assert decode_body(head_of(content_encoding="gzip"), coded, 99) == Body(b"abcdef")


def test_size_at_the_limit() -> None:
    assert decode_body(head_of(), b"12345", 5) == Body(b"12345")
    assert decode_body(head_of(), b"123456", 5) == Body(b"12345", too_large=True)
    coded = gzip.compress(b"12345")
    assert decode_body(head_of(content_encoding="gzip"), coded, 5) == Body(b"12345")


IMAGES = [
    b"\xff\xd8\xff\xe0" + DATA,
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 9,
    b"RIFF\x40\x1f\0\0WEBPVP8 " + bytes(range(256)) * 9,
    b"GIF89a" + bytes(range(256)),
    b"<!doctype html><p>a page",
    b"<p>a page",
    b"User-agent: *\nDisallow: /private/\n",
    b'{"tdm-reservation": 1}',
    "Ein Garten in Köln".encode(),
    "это просто текст".encode(),
    b"",
]


@pytest.mark.parametrize("plain", IMAGES)
@pytest.mark.parametrize(
    "said",
    [
        *("gzip", "x-gzip", "deflate", "br", "zstd", "gzip, br", "zstd, deflate, gzip"),
        *("aws-chunked", "binary", "utf-8", "UTF-8", "none", "null", "8bit", "text/html"),
        *("iso-8859-1", "sdch", "compress", "identity", "", ", ,", "rot13, gzip", "gzip;q=1.0"),
    ],
)
def test_what_is_not_coded_as_said_is_taken_as_it_is(plain: bytes, said: str) -> None:
    assert decode_body(head_of(content_encoding=said), plain, 1 << 20) == Body(plain)


@pytest.mark.parametrize(
    "values",
    [
        ("gzip, gzip",),
        ("gzip", "x-gzip"),
        ("GZIP,,gzip,",),
        ('"gzip", gzip; q=1',),
        ("utf-8, gzip", "identity", "gzip, aws-chunked"),
    ],
)
@pytest.mark.parametrize("num_layers", [0, 1, 2])
def test_header_values_are_one_list(values: tuple[str, ...], num_layers: int) -> None:
    raw = DATA
    for _ in range(num_layers):
        raw = gzip.compress(raw)
    head = Head(200, tuple(("content-encoding", value) for value in values), 0)
    assert decode_body(head, raw, 1 << 20) == Body(DATA)


def test_codings_of_the_transfer_are_undone_too() -> None:
    coded = gzip.compress(brotli.compress(DATA))
    raw = b"%x\r\n%s\r\n0\r\n\r\n" % (len(coded), coded)
    head = Head(200, (("transfer-encoding", "gzip, Chunked"), ("content-encoding", "br")), 0)
    assert decode_body(head, raw, 1 << 20) == Body(DATA)
    assert decode_body(head, coded, 1 << 20, dechunked=True) == Body(DATA)


def test_more_layers_than_are_undone() -> None:
    raw = DATA
    for num_layers in range(1, 7):
        raw = gzip.compress(raw)
        body = decode_body(head_of(content_encoding=",".join(["gzip"] * num_layers)), raw, 1 << 20)
        if num_layers <= MAX_CODINGS:
            assert body == Body(DATA)
        else:
            assert body == Body(b"", whole=False, coding_broke=True)


def test_zstd_of_several_frames() -> None:
    skippable = b"\x5a\x2a\x4d\x18\3\0\0\0abc"
    raw = skippable + zstd.compress(DATA[:999]) + skippable + zstd.compress(DATA[999:])
    assert decode_body(head_of(content_encoding="zstd"), raw, 1 << 20) == Body(DATA)
    cut = decode_body(head_of(content_encoding="zstd"), raw[:-9], 1 << 20)
    assert not cut.whole
    assert DATA.startswith(cut.data)


@pytest.mark.parametrize(("window_log", "whole"), [(20, True), (23, True), (24, False)])
def test_zstd_window(window_log: int, whole: bool) -> None:
    packer = zstd.ZstdCompressor(options={int(zstd.CompressionParameter.window_log): window_log})
    raw = packer.compress(DATA) + packer.flush()
    body = decode_body(head_of(content_encoding="zstd"), raw, 1 << 20)
    assert (body.whole, body.data) == (whole, DATA if whole else b"")


def stored(data: bytes) -> bytes:
    """Return a gzip file that is as large as its content."""
    packer = zlib.compressobj(0, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()


def test_all_layers_together_are_bounded() -> None:
    data = bytes(4_000_000)
    raw = gzip.compress(stored(stored(data)))
    body = decode_body(head_of(content_encoding="gzip, gzip, gzip"), raw, 4_000_000)
    assert body.too_large
    assert len(body.data) < len(data)
    raw = gzip.compress(stored(data))
    assert decode_body(head_of(content_encoding="gzip, gzip"), raw, 4_000_000) == Body(data)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_members_with_nothing_in_them_are_bounded(name: str) -> None:
    raw = CODINGS[name](b"") * 20_000
    assert decode_body(head_of(content_encoding=name), raw, 1 << 20).too_large


def test_what_a_library_copies_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """zlib copies what it did not take each time it is called: once quadratic in the body."""
    num_bytes = 0

    class Counted:
        def __init__(self, real: Any) -> None:
            self.real = real

        def copy(self) -> Counted:
            return Counted(self.real.copy())

        def decompress(self, data: bytes, limit: int = 0) -> bytes:
            nonlocal num_bytes
            num_bytes += len(data)
            return self.real.decompress(data, limit)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.real, name)

    real = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda wbits: Counted(real(wbits)))
    data = random.Random(1).randbytes(8_000_000)
    raw = stored(data)
    assert decode_body(head_of(content_encoding="gzip"), raw, 1 << 24) == Body(data)
    assert num_bytes < 2 * len(raw)


def test_a_clock_ends_decoding() -> None:
    raw = gzip.compress(bytes(1 << 20))
    head = head_of(content_encoding="gzip")
    assert decode_body(head, raw, 1 << 24, until_s=time.monotonic() - 1).too_slow
    assert decode_body(head, raw, 1 << 24, until_s=time.monotonic() + 99) == Body(bytes(1 << 20))


@settings(deadline=None)
@given(
    st.binary(max_size=5000),
    st.lists(st.sampled_from(sorted(CODINGS)), max_size=3),
    st.integers(1, 999),
    st.booleans(),
)
def test_round_trip(data: bytes, codings: list[str], size: int, chunked: bool) -> None:
    raw = data
    for name in codings:
        raw = CODINGS[name](raw)
    headers = {"content_encoding": ",".join(codings)}
    if chunked:
        parts = [raw[i : i + size] for i in range(0, len(raw), size)]
        raw = b"".join(b"%X\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        headers["transfer_encoding"] = "chunked"
    assert decode_body(head_of(**headers), raw, 1 << 20) == Body(data)


@settings(deadline=None)
@given(
    st.binary(max_size=400),
    st.text(max_size=9) | st.sampled_from(sorted(CODINGS)),
    st.booleans(),
    st.sampled_from([b"", b"\x1f\x8b\x08\0", b"\x78\x9c", b"5\r\n", b"HTTP/1.1 200 OK\r\n"]),
)
def test_never_raises(data: bytes, coding: str, chunked: bool, prefix: bytes) -> None:
    parse_head(prefix + data)
    head = head_of(content_encoding=coding, transfer_encoding="chunked" if chunked else "")
    assert len(decode_body(head, prefix + data, 1000).data) <= 1000
