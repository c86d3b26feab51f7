"""HTTP answers: heads as the web writes them, codings undone, bombs bounded."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webpairs.http import MAX_HEAD_BYTES, Body, Head, decode_body, parse_head, undo_chunked


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


def test_unknown_coding() -> None:
    assert decode_body(head_of(content_encoding="sdch"), b"x", 9) == Body(b"", whole=False)


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
