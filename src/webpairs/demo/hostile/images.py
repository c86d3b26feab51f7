"""Sending files that are not what they are called, not whole, or far larger than they look."""

from __future__ import annotations

import functools
import io
import random
import struct
import zipfile
import zlib
from typing import Final

import numpy as np
from PIL import Image

from webpairs.demo import image_files, pictures
from webpairs.demo.hostile.behaviour import Behaviour, Visit, head, say
from webpairs.demo.truth import SAMPLE
from webpairs.drops import Drop

SCENE: Final = pictures.Scene(count=3, colour="red", shape="circle", background="blue")
"""What the good pictures show."""

WIDTH, HEIGHT = 320, 240


@functools.cache
def picture() -> Image.Image:
    """Draw the one picture that is served wherever an answer is good."""
    return pictures.draw(SCENE, random.Random(7), WIDTH, HEIGHT)


@functools.cache
def jpeg() -> bytes:
    """Return the picture as a JPEG of about 30 KB."""
    return image_files.encode(picture(), "jpeg")


@functools.cache
def png() -> bytes:
    """Return the picture as a PNG of about 150 KB."""
    return image_files.encode(picture(), "png")


@functools.cache
def webp() -> bytes:
    """Return the picture as a WebP of about 27 KB."""
    return image_files.encode(picture(), "webp")


def html() -> bytes:
    """Return a page, long enough not to be dropped for its size."""
    return b"<!DOCTYPE html><html><title>Welcome</title>" + b"<p>Enter your address.</p>" * 400


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _behind_start(*segments: bytes) -> bytes:
    return jpeg()[:2] + b"".join(segments) + jpeg()[2:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _behind_header(*chunks: bytes) -> bytes:
    return png()[:33] + b"".join(chunks) + png()[33:]


def _claims_of_jpeg() -> bytes:
    frame = jpeg().index(b"\xff\xc0")  # baseline frame header (T.81, B.2.2)
    return jpeg()[: frame + 5] + struct.pack(">HH", 65_500, 65_500) + jpeg()[frame + 9 :]


def _claims_of_webp() -> bytes:
    start = webp().index(b"\x9d\x01\x2a") + 3  # the frame's start code (RFC 6386, 9.1)
    return webp()[:start] + struct.pack("<HH", 16_383, 16_383) + webp()[start + 4 :]


def _gif_bomb() -> bytes:
    screen = b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + b"\0" * 6
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0) + b"\x02\x02\x44\x01\0"
    return screen + frame * 400 + b"\x3b"


def _svg() -> bytes:
    return (
        b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY file SYSTEM "file:///etc/passwd">]>'
        b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script>'
        b"<text>&file;</text>" + b'<circle r="9"/>' * 400 + b"</svg>"
    )


def _animation() -> bytes:
    turned = [picture().rotate(angle) for angle in (90, 180)]
    file = io.BytesIO()
    picture().save(file, "WEBP", save_all=True, append_images=turned, duration=80, quality=80)
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("run.js", "alert(1)" * 1000)
    return file.getvalue()


def _bad_checksum() -> bytes:
    at = png().index(b"IDAT") + 100
    return png()[:at] + bytes([png()[at] ^ 0xFF]) + png()[at + 1 :]


def _bad_deflate() -> bytes:
    return png()[:33] + _chunk(b"IDAT", b"not deflated" * 500) + _chunk(b"IEND", b"")


def _cut_deflate() -> bytes:
    start = png().index(b"IDAT") + 4
    return png()[:33] + _chunk(b"IDAT", png()[start : start + 6_000]) + _chunk(b"IEND", b"")


@functools.cache
def _deflated_bomb() -> bytes:
    return zlib.compress(bytes(64 << 20), 9)


def _profile_bomb() -> bytes:
    return _behind_header(_chunk(b"iCCP", b"bomb\0\0" + _deflated_bomb()))


def _text_bomb() -> bytes:
    return _behind_header(*[_chunk(b"zTXt", b"Comment\0\0" + _deflated_bomb())] * 3)


def _many_scans() -> bytes:
    progressive = image_files.encode(picture(), "jpeg-progressive")
    last_scan = progressive[progressive.rindex(b"\xff\xda") : -2]
    return progressive[:-2] + last_scan * 200 + progressive[-2:]


def _huge_exif() -> bytes:
    block = b"Exif\0\0" + b"MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12" * 32_000
    return _behind_start(*[_segment(0xE1, block)] * 30)


def _ribbon() -> bytes:
    noise = np.random.default_rng(7).integers(0, 256, (10_000, 1, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    return file.getvalue()


def _one_pixel() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    return file.getvalue()


async def _turned(visit: Visit) -> None:
    """Show the picture upright, from the eight ways in which it can lie in a file."""
    orientation = int(visit.request.path[-len("1.jpg") :][0])
    file = jpeg()
    if orientation > 1:
        file = image_files.encode(picture(), "jpeg-turned", orientation=orientation)
    await visit.send(
        head(visit, "200 OK", "Content-Type: image/jpeg", f"Content-Length: {len(file)}") + file
    )
    visit.keep_open = True


_JPEG: Final = "Content-Type: image/jpeg"
_PNG: Final = "Content-Type: image/png"
_WEBP: Final = "Content-Type: image/webp"

BEHAVIOURS: Final = (
    Behaviour(
        name="image-jpeg",
        what="a JPEG, the picture that all good answers send",
        expect=SAMPLE,
        answer=say("200 OK", _JPEG, body=jpeg),
    ),
    Behaviour(
        name="image-typed-as-html",
        what="a JPEG called text/html, to be saved as `../../etc/passwd`",
        expect=SAMPLE,
        answer=say(
            "200 OK",
            "Content-Type: text/html",
            'Content-Disposition: attachment; filename="../../etc/passwd"',
            body=jpeg,
        ),
    ),
    Behaviour(
        name="image-untyped",
        what="a PNG without a Content-Type, under the name of a JPEG",
        expect=SAMPLE,
        answer=say("200 OK", body=png),
    ),
    Behaviour(
        name="html-typed-as-jpeg",
        what="a page of HTML called image/jpeg",
        expect=Drop.NOT_AN_IMAGE,
        answer=say("200 OK", _JPEG, body=html),
    ),
    Behaviour(
        name="html-that-refreshes",
        what="a page with a Refresh header and a meta refresh to the machine's own address",
        expect=Drop.NOT_AN_IMAGE,
        answer=say(
            "200 OK",
            "Content-Type: text/html",
            "Refresh: 0; url=http://127.0.0.2:{port}/refreshed.jpg",
            body=lambda: b'<meta http-equiv="refresh" content="0;url=/next.jpg">' + html(),
        ),
    ),
    Behaviour(
        name="json-typed-as-jpeg",
        what="JSON called image/jpeg",
        expect=Drop.NOT_AN_IMAGE,
        answer=say("200 OK", _JPEG, body=b'{"error": "' + b"no such picture " * 400 + b'"}'),
    ),
    Behaviour(
        name="pdf-typed-as-jpeg",
        what="a PDF called image/jpeg",
        expect=Drop.NOT_AN_IMAGE,
        answer=say("200 OK", _JPEG, body=b"%PDF-1.7\n" + b"% nothing\n" * 600),
    ),
    Behaviour(
        name="zeros-typed-as-jpeg",
        what="a million zero bytes called image/jpeg",
        expect=Drop.NOT_AN_IMAGE,
        answer=say("200 OK", _JPEG, body=bytes(1_000_000)),
    ),
    Behaviour(
        name="image-svg",
        what="an SVG with a script and an entity that names /etc/passwd",
        expect=Drop.FORMAT,
        answer=say("200 OK", _PNG, body=_svg),
    ),
    Behaviour(
        name="image-gif",
        what="a sound GIF",
        expect=Drop.FORMAT,
        answer=say("200 OK", _JPEG, body=lambda: image_files.gif(picture())),
    ),
    Behaviour(
        name="gif-bomb",
        what="a GIF of 400 frames that claim 65,535 x 65,535 pixels each",
        expect=Drop.FORMAT,
        answer=say("200 OK", _JPEG, body=_gif_bomb),
    ),
    Behaviour(
        name="image-avif",
        what="the first bytes of an AVIF",
        expect=Drop.FORMAT,
        answer=say("200 OK", _JPEG, body=b"\0\0\0\x1cftypavif\0\0\0\0mif1" + bytes(6_000)),
    ),
    Behaviour(
        name="webp-animated",
        what="a WebP of three frames; its first is the picture",
        expect=SAMPLE,
        answer=say("200 OK", _WEBP, body=_animation),
    ),
    Behaviour(
        name="image-empty",
        what="a good answer without a byte of body",
        expect=Drop.TOO_SMALL,
        answer=say("200 OK", _JPEG),
    ),
    Behaviour(
        name="image-of-one-pixel",
        what="a tracking pixel",
        expect=Drop.TOO_SMALL,
        answer=say("200 OK", _PNG, body=_one_pixel),
    ),
    Behaviour(
        name="image-below-5000-bytes",
        what="a thumbnail of less than 5,000 bytes",
        expect=Drop.TOO_SMALL,
        answer=say("200 OK", _JPEG, body=lambda: image_files.tiny_jpeg(picture())),
    ),
    Behaviour(
        name="polyglot-jpeg-html",
        what="a JPEG with a page and a script in its comment: a JPEG by its first bytes; "
        "the comment is not stored",
        expect=SAMPLE,
        answer=say("200 OK", _JPEG, body=lambda: _behind_start(_segment(0xFE, html()))),
    ),
    Behaviour(
        name="polyglot-jpeg-zip",
        what="a JPEG that is a ZIP when read from its end: what follows the end mark is ignored",
        expect=SAMPLE,
        answer=say("200 OK", _JPEG, body=lambda: jpeg() + _zip()),
    ),
    Behaviour(
        name="polyglot-html-jpeg",
        what="a page of HTML with a JPEG behind it: a page by its first bytes",
        expect=Drop.NOT_AN_IMAGE,
        answer=say("200 OK", _JPEG, body=lambda: html() + jpeg()),
    ),
    Behaviour(
        name="png-bomb",
        what="12 KB of PNG that are 10,000 x 10,000 pixels",
        expect=Drop.PIXELS,
        answer=say("200 OK", _PNG, body=image_files.huge_png),
    ),
    Behaviour(
        name="jpeg-claims-65500x65500",
        what="a JPEG whose header claims 65,500 x 65,500 pixels",
        expect=Drop.PIXELS,
        answer=say("200 OK", _JPEG, body=_claims_of_jpeg),
    ),
    Behaviour(
        name="webp-claims-16383x16383",
        what="a WebP whose frame claims 16,383 x 16,383 pixels",
        expect=Drop.PIXELS,
        answer=say("200 OK", _WEBP, body=_claims_of_webp),
    ),
    Behaviour(
        name="png-profile-bomb",
        what="a PNG whose colour profile inflates to 64 MB: counts as none",
        expect=SAMPLE,
        answer=say("200 OK", _PNG, body=_profile_bomb),
    ),
    Behaviour(
        name="png-text-bomb",
        what="a PNG with three comments that inflate to 64 MB each: no decoder sees them",
        expect=SAMPLE,
        answer=say("200 OK", _PNG, body=_text_bomb),
    ),
    Behaviour(
        name="jpeg-of-200-scans",
        what="a progressive JPEG with 200 passes over the picture",
        expect=Drop.UNDECODABLE,
        answer=say("200 OK", _JPEG, body=_many_scans),
    ),
    Behaviour(
        name="jpeg-truncated",
        what="two thirds of a JPEG, of the length that the header announces",
        expect=Drop.TRUNCATED,
        answer=say("200 OK", _JPEG, body=lambda: image_files.truncated(jpeg())),
    ),
    Behaviour(
        name="png-truncated",
        what="two thirds of a PNG",
        expect=Drop.TRUNCATED,
        answer=say("200 OK", _PNG, body=lambda: image_files.truncated(png())),
    ),
    Behaviour(
        name="webp-truncated",
        what="two thirds of a WebP",
        expect=Drop.TRUNCATED,
        answer=say("200 OK", _WEBP, body=lambda: image_files.truncated(webp())),
    ),
    Behaviour(
        name="png-deflate-stream-cut",
        what="a PNG whose container is whole and whose pixels stop early",
        expect=Drop.TRUNCATED,
        answer=say("200 OK", _PNG, body=_cut_deflate),
    ),
    Behaviour(
        name="png-bad-checksum",
        what="a PNG with a changed byte among its pixels",
        expect=Drop.UNDECODABLE,
        answer=say("200 OK", _PNG, body=_bad_checksum),
    ),
    Behaviour(
        name="png-bad-deflate",
        what="a PNG whose pixels are not deflated, with a right checksum",
        expect=Drop.UNDECODABLE,
        answer=say("200 OK", _PNG, body=_bad_deflate),
    ),
    Behaviour(
        name="jpeg-scrambled",
        what="a JPEG with an impossible Huffman table",
        expect=Drop.UNDECODABLE,
        answer=say("200 OK", _JPEG, body=lambda: image_files.scrambled_jpeg(jpeg())),
    ),
    Behaviour(
        name="png-16-bit",
        what="a PNG of 16 bits a sample",
        expect=SAMPLE,
        answer=say("200 OK", _PNG, body=lambda: image_files.encode(picture(), "png-16-bit")),
    ),
    Behaviour(
        name="jpeg-cmyk",
        what="a JPEG in ink",
        expect=SAMPLE,
        answer=say("200 OK", _JPEG, body=lambda: image_files.encode(picture(), "jpeg-cmyk")),
    ),
    Behaviour(
        name="jpeg-turned",
        what="the picture in each of the eight EXIF orientations",
        expect=SAMPLE,
        answer=_turned,
        num_urls=8,
    ),
    Behaviour(
        name="jpeg-huge-exif",
        what="a JPEG behind 2 MB of broken EXIF",
        expect=SAMPLE,
        answer=say("200 OK", _JPEG, body=_huge_exif),
    ),
    Behaviour(
        name="png-ribbon",
        what="1 x 10,000 pixels of noise; with `--resize keep-ratio` it is `aspect`",
        expect=SAMPLE,
        answer=say("200 OK", _PNG, body=_ribbon),
    ),
)
