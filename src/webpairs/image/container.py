"""Reading image files as containers: which format, how big, which way up, where they end.

Nothing here decodes a pixel. A decoder is then given only the parts that pixels come from, so text
and EXIF blocks, thumbnails, second pictures and whatever is appended never reach it.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from webpairs.drops import Drop
from webpairs.errors import DataError

MAX_PROFILE_BYTES: Final = 4 * 1024 * 1024
"""A larger ICC profile is ignored: press profiles reach 3 MB, a compressed one can claim GBs."""

MAX_SCANS: Final = 100
"""A JPEG with more scans is not decoded: each is a pass over the whole picture, so a few KB can
cost minutes (libjpeg-turbo, report LJT-01-004 section 2, advises a limit and defaults to none).
Encoders write about ten."""


@dataclass(frozen=True, slots=True)
class Container:
    """What a file tells before it is decoded."""

    format: str
    width: int
    height: int
    """As coded, before `orientation` turns the picture."""
    orientation: int
    """EXIF 2.32, tag 0x0112: 1 to 8; 1 when there is none or it makes no sense."""
    profile: bytes | None
    """The ICC profile, whole and at most `MAX_PROFILE_BYTES`, unchecked otherwise."""
    bit_depth: int
    picture: bytes
    """A file of the same format with nothing in it but what pixels come from."""


def read_container(data: bytes, format: str) -> Container:
    """Take the file apart; `format` is one of `sniff.FORMATS`, as `sniff` named it.

    Raise DataError: TRUNCATED when the file stops before its own end mark (JPEG: EOI, PNG: IEND,
    WebP: the length in the RIFF header), whatever pixels are there; UNDECODABLE when its parts
    contradict the format. Bytes after the end mark are ignored.
    """
    if format == "jpeg":
        return _read_jpeg(data)
    if format == "png":
        return _read_png(data)
    return _read_webp(data)


def strip_metadata(data: bytes, format: str) -> bytes:
    """Return the file without what is not for display; raise DataError as `read_container` does.

    The coded picture that was read and sound colour information (ICC and the like) stay byte for
    byte; orientation stays, alone in an EXIF block of its own. All other EXIF, XMP, IPTC, comments,
    text, times, unknown parts and bytes after the end go, and so do thumbnails, second pictures and
    all frames of an animation but the first, at which nobody looked. A file without any of these is
    returned as it came.
    """
    if format == "jpeg":
        return _strip_jpeg(data)
    if format == "png":
        return _strip_png(data)
    return _strip_webp(data)


def _truncated(detail: str) -> DataError:
    return DataError(Drop.TRUNCATED, detail)


def _undecodable(detail: str) -> DataError:
    return DataError(Drop.UNDECODABLE, detail)


# EXIF ---------------------------------------------------------------------------------------------


def _read_orientation(tiff: bytes) -> int:
    """Return tag 0x0112 of the first directory of an EXIF block, from its TIFF header on."""
    order = {b"II*\0": "little", b"MM\0*": "big"}.get(tiff[:4])
    if order != "little" and order != "big":
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], order)

    start = number(4, 4)
    for entry in range(start + 2, start + 2 + 12 * number(start, 2), 12):
        if entry + 12 > len(tiff):
            break
        if number(entry, 2) == 0x0112:
            kind, count = number(entry + 2, 2), number(entry + 4, 4)
            value = number(entry + 8, {1: 1, 3: 2, 4: 4}.get(kind, 0))
            return value if count == 1 and 1 <= value <= 8 else 1
    return 1


def _exif(orientation: int) -> bytes:
    """Write the smallest EXIF block that says `orientation`, from its TIFF header on."""
    entry = b"\x01\x12\0\3\0\0\0\1" + orientation.to_bytes(2, "big") + b"\0\0"
    return b"MM\0*\0\0\0\x08\0\1" + entry + b"\0\0\0\0"


# JPEG: ISO/IEC 10918-1, annex B -------------------------------------------------------------------

_SOI, _EOI, _SOS, _DHT, _JPG, _DAC, _COM = 0xD8, 0xD9, 0xDA, 0xC4, 0xC8, 0xCC, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
# Not markers: a stuffed zero, a restart mark, a fill byte. One byte at a time on purpose: `\xff+`
# would be quadratic on a long run of fill bytes.
_MARKER: Final = re.compile(rb"\xff([\x01-\xcf\xd8-\xfe])")
_ICC: Final = b"ICC_PROFILE\0"
_EXIF: Final = b"Exif\0\0"
_JFIF: Final = b"JFIF\0"
_ADOBE: Final = b"Adobe"


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment from SOI to EOI; a scan's data belongs to SOS."""
    yield _SOI, 0, 2
    position = 2
    while True:
        found = _MARKER.search(data, position)
        if found is None:
            raise _truncated(f"no end of image in {len(data)} bytes")
        marker, start, body = found[1][0], found.start(), found.end()
        if marker == _EOI:
            yield _EOI, start, body
            return
        if marker == _SOI:
            raise _truncated(f"another picture begins at byte {start}, before this one ends")
        if marker == 0x01:  # TEM stands alone
            position = body
            continue
        length = int.from_bytes(data[body : body + 2], "big")
        end = body + length
        if body + 2 > len(data) or end > len(data):
            raise _truncated(
                f"segment FF{marker:02X} at byte {start} goes beyond {len(data)} bytes"
            )
        if length < 2:
            raise _undecodable(f"segment FF{marker:02X} at byte {start} of length {length}")
        if marker == _SOS:
            following = _MARKER.search(data, end)
            if following is None:
                raise _truncated(f"no end of image in {len(data)} bytes")
            end = following.start()
        yield marker, start, end
        position = end


def _is_frame(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (_DHT, _JPG, _DAC)


def _matters_to_pixels(marker: int, body: bytes) -> bool:
    """Say whether a decoder needs the segment: JFIF and Adobe tell libjpeg the colour model."""
    if marker == _APP0:
        return body.startswith(_JFIF)
    if marker == _APP14:
        return body.startswith(_ADOBE)
    return not (_APP0 <= marker <= _APP15 or marker == _COM)


def _read_jpeg(data: bytes) -> Container:
    width = height = bit_depth = num_scans = 0
    orientation = 0
    profile_parts: list[bytes] = []
    kept: list[bytes] = []
    for marker, start, end in _jpeg_segments(data):
        body = data[start + 4 : end]
        if _is_frame(marker):
            if width:
                raise _undecodable("more than one frame header")
            bit_depth = body[0] if body else 0
            height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            if not (width and height):
                raise _undecodable(f"frame of {width}x{height}")
        elif marker == _SOS:
            if not width:
                raise _undecodable("a scan before any frame header")
            num_scans += 1
            if num_scans > MAX_SCANS:
                raise _undecodable(f"more than {MAX_SCANS} scans")
        elif marker == _APP1 and not orientation and body.startswith(_EXIF):
            orientation = _read_orientation(body[len(_EXIF) :])
        elif marker == _APP2 and body.startswith(_ICC):
            profile_parts.append(body[len(_ICC) :])
        if _matters_to_pixels(marker, body):
            kept.append(data[start:end])
    if not num_scans:
        raise _undecodable("no picture data before the end of image")
    return Container(
        format="jpeg",
        width=width,
        height=height,
        orientation=orientation or 1,
        profile=_join_profile(profile_parts),
        bit_depth=bit_depth,
        picture=b"".join(kept),
    )


def _join_profile(parts: list[bytes]) -> bytes | None:
    """Put the profile's pieces in order (ICC.1:2022, annex B.4); None when one is missing."""
    count = len(parts)
    parts = sorted(parts)
    if not 0 < count < 256 or any(
        part[:2] != bytes([number, count]) for number, part in enumerate(parts, 1)
    ):
        return None
    profile = b"".join(part[2:] for part in parts)
    return profile if len(profile) <= MAX_PROFILE_BYTES else None


def _strip_jpeg(data: bytes) -> bytes:
    container = _read_jpeg(data)
    kept: list[bytes] = []
    has_exif = False
    for marker, start, end in _jpeg_segments(data):
        segment = data[start:end]
        body = segment[4:]
        if marker == _APP1 and body.startswith(_EXIF) and not has_exif:
            has_exif = True
            if container.orientation != 1:
                exif = _EXIF + _exif(container.orientation)
                kept.append(b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif)
        elif marker == _APP0 and body.startswith(_JFIF):
            # Version, unit and density stay; the thumbnail after them goes.
            kept.append(
                segment
                if body[12:] == b"\0\0"
                else b"\xff\xe0\0\x10" + body[:12].ljust(12, b"\0") + b"\0\0"
            )
        elif marker == _APP2 and body.startswith(_ICC):
            if container.profile is not None:
                kept.append(segment)
        elif _matters_to_pixels(marker, body):
            kept.append(segment)
    return b"".join(kept)


# PNG: W3C Portable Network Graphics, third edition ------------------------------------------------

_PNG_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_PNG_PICTURE: Final = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
# What a reader may use to show them, and how long it is; iCCP is judged by its content.
_PNG_DISPLAY: Final = {
    b"cHRM": (32,), b"gAMA": (4,), b"sBIT": (1, 2, 3, 4), b"sRGB": (1,), b"cICP": (4,),
    b"mDCV": (24,), b"cLLI": (8,), b"bKGD": (1, 2, 6), b"pHYs": (9,),
}  # fmt: skip


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of each chunk from IHDR to IEND."""
    position = len(_PNG_SIGNATURE)
    while True:
        if position + 12 > len(data):
            raise _truncated(f"no end of image in {len(data)} bytes")
        kind = data[position + 4 : position + 8]
        if not (kind.isalpha() and kind.isascii()):
            raise _undecodable(f"chunk type {kind!r} at byte {position}")
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            raise _truncated(f"chunk {kind!r} at byte {position} goes beyond {len(data)} bytes")
        yield kind, position, end
        if kind == b"IEND":
            return
        position = end


def _checksum_holds(data: bytes, start: int, end: int) -> bool:
    return zlib.crc32(data[start + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")


def _read_png(data: bytes) -> Container:
    kept = [_PNG_SIGNATURE]
    orientation = 0
    profile = None
    header = b""
    has_pixels = False
    for kind, start, end in _png_chunks(data):
        body = data[start + 8 : end - 4]
        if not header:
            if kind != b"IHDR" or len(body) != 13:
                raise _undecodable(f"begins with a chunk {kind!r} of {len(body)} bytes, not IHDR")
            header = body
        elif kind == b"IHDR":
            raise _undecodable("more than one IHDR")
        elif kind == b"eXIf" and not orientation:
            orientation = _read_orientation(body)
        elif kind == b"iCCP" and profile is None:
            profile = _unzip_profile(body)
        if kind in _PNG_PICTURE:
            if not _checksum_holds(data, start, end):
                raise _undecodable(f"checksum of chunk {kind!r} at byte {start} is wrong")
            has_pixels = has_pixels or kind == b"IDAT"
            kept.append(data[start:end])
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    if not (width and height):
        raise _undecodable(f"image of {width}x{height}")
    if not has_pixels:
        raise _undecodable("no IDAT chunk")
    return Container(
        format="png",
        width=width,
        height=height,
        orientation=orientation or 1,
        profile=profile,
        bit_depth=header[8],
        picture=b"".join(kept),
    )


def _unzip_profile(body: bytes) -> bytes | None:
    """Inflate an iCCP chunk's profile, at most `MAX_PROFILE_BYTES`; None when it is broken."""
    name, _, rest = body.partition(b"\0")
    if len(name) > 79 or rest[:1] != b"\0":
        return None
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if inflate.eof else None


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    checksum = zlib.crc32(kind + body)
    return len(body).to_bytes(4, "big") + kind + body + checksum.to_bytes(4, "big")


def _strip_png(data: bytes) -> bytes:
    container = _read_png(data)
    kept = [_PNG_SIGNATURE]
    has_exif = has_profile = False
    for kind, start, end in _png_chunks(data):
        if kind == b"eXIf" and not has_exif:
            has_exif = True
            if container.orientation != 1:
                kept.append(_png_chunk(b"eXIf", _exif(container.orientation)))
        elif kind == b"iCCP" and not has_profile:
            has_profile = True
            if container.profile is not None and _checksum_holds(data, start, end):
                kept.append(data[start:end])
        elif kind in _PNG_PICTURE or (
            end - start - 12 in _PNG_DISPLAY.get(kind, ()) and _checksum_holds(data, start, end)
        ):
            kept.append(data[start:end])
    return b"".join(kept)


# WebP: RFC 9649 -----------------------------------------------------------------------------------

_WEBP_PICTURE: Final = frozenset({b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ANIM", b"ANMF"})
_HAS_XMP, _HAS_EXIF, _HAS_PROFILE = 0x04, 0x08, 0x20


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end (padding included) of each chunk after the RIFF header."""
    total = 8 + int.from_bytes(data[4:8], "little")
    if len(data) < 12 or total > len(data):
        raise _truncated(f"{len(data)} of {total} bytes")
    position = 12
    while position + 8 <= total:
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        end = position + 8 + length
        if end > total:
            raise _undecodable(f"chunk at byte {position} goes beyond {total} bytes")
        end = min(end + length % 2, total)
        yield data[position : position + 4], position, end
        position = end


def _is_extended(data: bytes) -> bool:
    return data[12:16] == b"VP8X"


def _webp_size(kind: bytes, body: bytes) -> tuple[int, int]:
    """Return width and height that a VP8X, VP8 or VP8L chunk claims (RFC 9649; RFC 6386, 9.1)."""
    if kind == b"VP8X" and len(body) >= 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if kind == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) >= 10:
        width, height = body[6:8], body[8:10]
        return int.from_bytes(width, "little") & 0x3FFF, int.from_bytes(height, "little") & 0x3FFF
    if kind == b"VP8L" and body[:1] == b"\x2f" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    raise _undecodable(f"broken {kind!r} chunk")


def _join_webp(chunks: list[bytes], cleared_flags: int) -> bytes:
    """Put a WebP file together; of an extended header, `cleared_flags` are switched off."""
    if chunks and chunks[0].startswith(b"VP8X"):
        first = chunks[0]
        chunks = [first[:8] + bytes([first[8] & ~cleared_flags]) + first[9:], *chunks[1:]]
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def _read_webp(data: bytes) -> Container:
    kept: list[bytes] = []
    width = height = orientation = 0
    profile = None
    is_animated = False
    for kind, start, end in _webp_chunks(data):
        body = data[start + 8 : end]
        if kind in (b"VP8X", b"VP8 ", b"VP8L"):
            # A header and the frame behind it may claim different sizes: believe the larger.
            claimed = _webp_size(kind, body)
            width, height = max(width, claimed[0]), max(height, claimed[1])
        elif not _is_extended(data):
            pass  # such a file has no profile and no EXIF, whatever it holds
        elif kind == b"EXIF" and not orientation:
            orientation = _read_orientation(body.removeprefix(_EXIF))
        elif kind == b"ICCP" and profile is None and len(body) <= MAX_PROFILE_BYTES:
            profile = body
        if kind in _WEBP_PICTURE and not (kind == b"ANMF" and is_animated):
            kept.append(data[start:end])
        is_animated = is_animated or kind == b"ANMF"
    if not (width and height):
        raise _undecodable(f"image of {width}x{height}")
    return Container(
        format="webp",
        width=width,
        height=height,
        orientation=orientation or 1,
        profile=profile,
        bit_depth=8,
        picture=_join_webp(kept, _HAS_XMP | _HAS_EXIF | _HAS_PROFILE),
    )


def _strip_webp(data: bytes) -> bytes:
    container = _read_webp(data)
    kept: list[bytes] = []
    has_exif = is_animated = False
    for kind, start, end in _webp_chunks(data):
        if kind == b"EXIF" and not has_exif and container.orientation != 1:
            has_exif = True
            exif = _exif(container.orientation)
            kept.append(b"EXIF" + len(exif).to_bytes(4, "little") + exif)
        elif (kind == b"ICCP" and _is_extended(data)) or (
            kind in _WEBP_PICTURE and not (kind == b"ANMF" and is_animated)
        ):
            kept.append(data[start:end])
        is_animated = is_animated or kind == b"ANMF"
    return _join_webp(kept, _HAS_XMP if has_exif else _HAS_XMP | _HAS_EXIF)
