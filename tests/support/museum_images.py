"""Make odd and broken image files; the name of each says what is odd about it.

`READABLE` holds what must decode, `DROPPED` what must not, with the reason. All are drawn here.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

from webpairs.drops import Drop

WIDTH, HEIGHT = 48, 32


def draw(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Draw gradients with two blocks: no two of the eight orientations look the same."""
    y, x = np.mgrid[0:height, 0:width]
    rgb = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 3 % 256], -1)
    rgb[: height // 4, : width // 2] = (250, 20, 30)
    rgb[-height // 4 :, : width // 6] = (10, 40, 240)
    return rgb.astype(np.uint8)


def save(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


RGB = Image.fromarray(draw())
GREY = RGB.convert("L")
ALPHA = Image.fromarray((np.mgrid[0:HEIGHT, 0:WIDTH][1] * 5).astype(np.uint8))
RGBA = RGB.copy()
RGBA.putalpha(ALPHA)
CMYK = Image.fromarray(np.dstack([draw(), np.asarray(ALPHA) // 3]), "CMYK")


# ICC profiles: ICC.1:2001-04 (version 2.4), the smallest that say something --------------------


def _profile(kind: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", offset + len(body), len(value))
        body += value
    header = struct.pack(">I4xI4s4s4s", offset + len(body), 0x02400000, kind, space, pcs)
    header += b"\x07\xe8\0\1\0\1\0\0\0\0\0\0acsp" + b"\0" * 28 + _xyz(D50)[8:] + b"\0" * 48
    return header + struct.pack(">I", len(tags)) + table + body


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(value * 65536) for value in values))


def _gamma(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))


D50 = (0.9642, 1.0, 0.8249)
ADOBE_PRIMARIES = (
    (0.60974, 0.31111, 0.01947),
    (0.20528, 0.62567, 0.06087),
    (0.14919, 0.06322, 0.74457),
)
SRGB_PRIMARIES = (
    (0.43607, 0.22249, 0.01392),
    (0.38515, 0.71687, 0.09708),
    (0.14307, 0.06061, 0.71410),
)


def rgb_profile(primaries: tuple = ADOBE_PRIMARIES, gamma: float = 2.19921875) -> bytes:
    tags = {b"wtpt": _xyz(D50)}
    for name, primary in zip((b"r", b"g", b"b"), primaries, strict=True):
        tags[name + b"XYZ"] = _xyz(primary)
        tags[name + b"TRC"] = _gamma(gamma)
    return _profile(b"mntr", b"RGB ", b"XYZ ", tags)


def grey_profile(gamma: float = 1.0) -> bytes:
    return _profile(b"mntr", b"GRAY", b"XYZ ", {b"wtpt": _xyz(D50), b"kTRC": _gamma(gamma)})


def cmyk_profile(paper_lightness: float = 90.0) -> bytes:
    """Map ink to Lab: paper of the given lightness, each ink takes 20 off it, black takes all."""
    corners = b""
    for corner in range(16):  # the first channel varies slowest
        num_inks = sum(corner >> bit & 1 for bit in (1, 2, 3))
        lightness = 0.0 if corner & 1 else paper_lightness - 20 * num_inks
        corners += bytes([round(lightness * 2.55), 128, 128])
    ramp = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0\x04\x03\x02\0" + identity + ramp * 4 + corners + ramp * 3
    return _profile(b"prtr", b"CMYK", b"Lab ", {b"wtpt": _xyz(D50), b"A2B0": lut})


# Parts of files --------------------------------------------------------------------------------


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def after_soi(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    samples: bytes,
    stride: int,
    bit_depth: int,
    colour_type: int,
    before: tuple[bytes, ...] = (),
    after: tuple[bytes, ...] = (),
    size: tuple[int, int] = (WIDTH, HEIGHT),
) -> bytes:
    """Write rows of `stride` bytes as a PNG, unfiltered, with chunks before and after IDAT."""
    rows = b"".join(b"\0" + samples[at : at + stride] for at in range(0, len(samples), stride))
    header = struct.pack(">IIBBBBB", *size, bit_depth, colour_type, 0, 0, 0)
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            *before,
            chunk(b"IDAT", zlib.compress(rows)),
            *after,
            chunk(b"IEND"),
        )
    )


def png_of_levels(levels: np.ndarray, bit_depth: int, colour_type: int, **parts: tuple) -> bytes:
    """Write levels (rows, samples per row), each below 2 to the power of `bit_depth`, as a PNG."""
    if bit_depth == 16:
        packed = levels.astype(">u2").tobytes()
    else:
        bits = np.unpackbits(levels.astype(np.uint8)[..., None], axis=-1)[..., -bit_depth:]
        packed = np.packbits(bits.reshape(len(levels), -1), axis=-1).tobytes()
    return png(packed, len(packed) // len(levels), bit_depth, colour_type, **parts)


def before_idat(png_file: bytes, *chunks: bytes) -> bytes:
    return png_file[:33] + b"".join(chunks) + png_file[33:]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP"
    for kind, content in chunks:
        body += kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def vp8x(flags: int, width: int, height: int) -> tuple[bytes, bytes]:
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"VP8X", bytes([flags, 0, 0, 0]) + sides


def exif(orientation: int = 1, *, big_endian: bool = True, with_gps: bool = False) -> bytes:
    """Return an EXIF block from its TIFF header on, with a maker's name and maybe a position."""
    order = ">" if big_endian else "<"
    entries = [
        (0x010F, 2, 12, struct.pack(order + "I", 200)),
        (0x0112, 3, 1, struct.pack(order + "HH", orientation, 0)),
    ]
    if with_gps:
        entries.append((0x8825, 4, 1, struct.pack(order + "I", 300)))
    block = (b"MM\0*" if big_endian else b"II*\0") + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, count, value in entries:
        block += struct.pack(order + "HHI", tag, kind, count) + value
    block = (block + b"\0" * 4).ljust(200, b"\0") + b"SecretMaker\0"
    block = block.ljust(300, b"\0")
    if with_gps:
        directory = struct.pack(order + "HHHII", 1, 0x0002, 5, 3, 340).ljust(40, b"\0")
        block += directory + struct.pack(order + "6I", 59, 1, 17, 1, 42, 1)
    return block


XMP = b"<x:xmpmeta><rdf:li>secret place</rdf:li></x:xmpmeta>"
JPEG = save(RGB, "JPEG", quality=90)
PNG = save(RGB, "PNG")
WEBP = save(RGB, "WEBP", quality=90)
WEBP_LOSSLESS = save(RGB, "WEBP", lossless=True)
WEBP_BITSTREAM = WEBP[20 : 20 + struct.unpack("<I", WEBP[16:20])[0]]


def jpeg_turned(orientation: int, **how: bool) -> bytes:
    return after_soi(JPEG, segment(0xE1, b"Exif\0\0" + exif(orientation, **how)))


def png_turned(orientation: int) -> bytes:
    return before_idat(PNG, chunk(b"eXIf", exif(orientation)))


def webp_turned(orientation: int) -> bytes:
    return riff(vp8x(0x08, WIDTH, HEIGHT), (b"VP8 ", WEBP_BITSTREAM), (b"EXIF", exif(orientation)))


def with_profile(profile: bytes, image: Image.Image = RGB, format: str = "JPEG") -> bytes:
    return save(image, format, icc_profile=profile, quality=95)


def profile_pieces(profile: bytes, count: int, skip: int = 0) -> tuple[bytes, ...]:
    """Cut a profile into APP2 segments, last piece first, leaving out piece `skip` (from 1)."""
    step = -(-len(profile) // count)
    return tuple(
        segment(0xE2, b"ICC_PROFILE\0" + bytes([n, count]) + profile[(n - 1) * step : n * step])
        for n in range(count, 0, -1)
        if n != skip
    )


THUMBNAIL = save(RGB.resize((12, 8)), "JPEG")
PRIVATE = {
    # Each holds EXIF with a position and a maker, XMP, and what else the format has for words.
    "jpeg": after_soi(
        JPEG,
        segment(0xE1, b"Exif\0\0" + exif(6, with_gps=True)),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        segment(0xED, b"Photoshop 3.0\x008BIM secret place"),
        segment(0xFE, b"secret place"),
        *profile_pieces(rgb_profile(), 2),
    )
    + b"secret place behind the end"
    + THUMBNAIL,
    "png": before_idat(
        PNG,
        chunk(b"eXIf", exif(6, with_gps=True)),
        chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(rgb_profile())),
        chunk(b"tEXt", b"Comment\0secret place"),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"secret place")),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
        chunk(b"tIME", b"\x07\xe8\x01\x02\x03\x04\x05"),
        chunk(b"caBX", b"secret place"),
    )
    + b"secret place behind the end",
    "webp": riff(
        vp8x(0x2C, WIDTH, HEIGHT),
        (b"ICCP", rgb_profile()),
        (b"VP8 ", WEBP_BITSTREAM),
        (b"EXIF", exif(6, with_gps=True)),
        (b"XMP ", XMP),
        (b"note", b"secret place"),
    )
    + b"secret place behind the end",
}

_LEVELS = np.asarray(GREY)
_WORDS = draw().astype(np.uint16) * 257
_PALETTE = bytes(range(0, 256, 16)) * 3  # 16 colours
_INDEXES = _LEVELS >> 4
ADOBE_YCCK = segment(0xEE, b"Adobe\0\x64\0\0\0\0\x02")


def _without(jpeg: bytes, marker: int) -> bytes:
    at = jpeg.index(bytes([0xFF, marker]))
    return jpeg[:at] + jpeg[at + 2 + struct.unpack(">H", jpeg[at + 2 : at + 4])[0] :]


CMYK_ADOBE = save(CMYK, "JPEG", quality=95)
READABLE: dict[str, bytes] = {
    "jpeg": JPEG,
    "jpeg_progressive": save(RGB, "JPEG", progressive=True),
    "jpeg_4_4_4_with_restart_marks": save(RGB, "JPEG", subsampling=0, restart_marker_blocks=2),
    "jpeg_stored_as_rgb": save(RGB, "JPEG", keep_rgb=True),
    "jpeg_grey": save(GREY, "JPEG"),
    "jpeg_grey_progressive": save(GREY, "JPEG", progressive=True),
    "jpeg_cmyk_of_adobe": CMYK_ADOBE,
    "jpeg_cmyk_without_adobe_marker": _without(CMYK_ADOBE, 0xEE),
    "jpeg_ycck": after_soi(_without(CMYK_ADOBE, 0xEE), ADOBE_YCCK),
    "jpeg_without_jfif": _without(JPEG, 0xE0),
    "jpeg_with_thumbnail_in_exif": after_soi(JPEG, segment(0xE1, b"Exif\0\0" + exif() + THUMBNAIL)),
    "jpeg_with_64_kb_of_exif_twice": after_soi(
        JPEG, *(segment(0xE1, (b"Exif\0\0" + exif()).ljust(65_533, b"x")) for _ in range(2))
    ),
    "jpeg_with_exif_of_all_ones": after_soi(JPEG, segment(0xE1, b"Exif\0\0II*\0" + b"\xff" * 99)),
    "jpeg_with_orientation_9": jpeg_turned(9),
    "jpeg_with_second_picture": JPEG + save(GREY, "JPEG"),
    "jpeg_mpo": save(RGB, "MPO", save_all=True, append_images=[GREY.convert("RGB")]),
    "jpeg_with_garbage_behind_the_end": JPEG + bytes(range(256)) * 9,
    "jpeg_with_fill_bytes": JPEG[:2] + b"\xff" * 50 + JPEG[2:-2] + b"\xff" * 50 + JPEG[-2:],
    "jpeg_with_junk_between_segments": JPEG[:20] + b"junk\xff\0junk" + JPEG[20:],
    "jpeg_with_comment_behind_the_scan": JPEG[:-2] + segment(0xFE, b"late") + JPEG[-2:],
    "jpeg_with_broken_profile": with_profile(b"no profile at all"),
    "jpeg_with_profile_cut_short": with_profile(rgb_profile()[:200]),
    "jpeg_with_profile_missing_a_piece": after_soi(JPEG, *profile_pieces(rgb_profile(), 3, skip=2)),
    "jpeg_with_empty_profile_piece": after_soi(JPEG, segment(0xE2, b"ICC_PROFILE\0")),
    "jpeg_with_300_profile_pieces": after_soi(
        JPEG, *(segment(0xE2, b"ICC_PROFILE\0" + bytes([n % 256, 44])) for n in range(300))
    ),
    "jpeg_with_grey_profile_on_colours": with_profile(grey_profile()),
    "jpeg_with_10_mb_profile": after_soi(JPEG, *profile_pieces(rgb_profile() * 20_000, 160)),
    "jpeg_1_pixel": save(RGB.crop((0, 0, 1, 1)), "JPEG"),
    "png": PNG,
    "png_interlaced": b"",  # below
    "png_grey_1_bit": png_of_levels(_LEVELS >> 7, 1, 0),
    "png_grey_2_bit": png_of_levels(_LEVELS >> 6, 2, 0),
    "png_grey_4_bit": png_of_levels(_LEVELS >> 4, 4, 0),
    "png_grey_8_bit": png_of_levels(_LEVELS, 8, 0),
    "png_grey_16_bit": png_of_levels(_LEVELS.astype(np.uint16) * 257, 16, 0),
    "png_rgb_16_bit": png_of_levels(_WORDS.reshape(HEIGHT, -1), 16, 2),
    "png_palette": save(RGB.quantize(200), "PNG"),
    "png_palette_4_bit": png_of_levels(_INDEXES, 4, 3, before=(chunk(b"PLTE", _PALETTE),)),
    "png_palette_with_index_beyond_it": png_of_levels(
        _INDEXES, 8, 3, before=(chunk(b"PLTE", _PALETTE[:12]),)
    ),
    "png_with_exif_orientation": png_turned(3),
    "png_animated": save(RGB, "PNG", save_all=True, append_images=[GREY.convert("RGB")]),
    "png_with_two_animation_headers": before_idat(PNG, chunk(b"acTL", b"\0" * 8) * 2),
    "png_with_profile_that_inflates_to_20_mb": before_idat(
        PNG, chunk(b"iCCP", b"bomb\0\0" + zlib.compress(b"\0" * 20_000_000))
    ),
    "png_with_text_that_inflates_to_20_mb": before_idat(
        PNG, chunk(b"zTXt", b"bomb\0\0" + zlib.compress(b"\0" * 20_000_000))
    ),
    "png_with_broken_profile": before_idat(PNG, chunk(b"iCCP", b"x\0\0not deflated")),
    "png_with_bad_checksum_of_text": before_idat(PNG, chunk(b"tEXt", b"a\0b")[:-4] + b"oops"),
    "png_with_bad_checksum_of_gamma": before_idat(PNG, chunk(b"gAMA", b"\0\0\xb1\x8f")[:-1] + b"!"),
    "png_with_many_empty_idat": before_idat(PNG, chunk(b"IDAT") * 1000),
    "png_with_garbage_behind_the_end": PNG + b"garbage",
    "webp": WEBP,
    "webp_lossless": WEBP_LOSSLESS,
    "webp_with_alpha_all_opaque": save(RGB.convert("RGBA"), "WEBP", lossless=True, exact=True),
    "webp_animated": save(
        RGB, "WEBP", save_all=True, append_images=[GREY.convert("RGB")], duration=50, lossless=True
    ),
    "webp_with_exif_orientation": webp_turned(8),
    "webp_with_garbage_behind_the_end": WEBP + b"garbage",
    "webp_with_exif_and_profile_but_no_extended_header": riff(
        (b"VP8 ", WEBP_BITSTREAM), (b"ICCP", rgb_profile()), (b"EXIF", exif(6))
    ),
    "webp_with_profile_first_but_no_extended_header": riff(
        (b"ICCP", rgb_profile()), (b"VP8 ", WEBP_BITSTREAM)
    ),
    "webp_with_unknown_chunk": riff((b"VP8 ", WEBP_BITSTREAM), (b"what", b"ever")),
}
PILLOW_REFUSES = frozenset(
    # Its parsers of metadata give up or warn; those parts never reach it here.
    {
        "jpeg_with_exif_of_all_ones",
        "jpeg_with_empty_profile_piece",
        "png_with_bad_checksum_of_text",
        "png_with_bad_checksum_of_gamma",
        "png_with_two_animation_headers",
        "webp_with_profile_first_but_no_extended_header",
        "png_with_text_that_inflates_to_20_mb",
        "png_with_profile_that_inflates_to_20_mb",
    }
)
TRANSPARENT: dict[str, bytes] = {
    "png_rgba": save(RGBA, "PNG"),
    "png_grey_with_alpha": save(RGBA.convert("LA"), "PNG"),
    "png_rgba_16_bit": png_of_levels(
        (np.asarray(RGBA).astype(np.uint16) * 257).reshape(HEIGHT, -1), 16, 6
    ),
    "png_grey_with_alpha_16_bit": png_of_levels(
        (np.asarray(RGBA.convert("LA")).astype(np.uint16) * 257).reshape(HEIGHT, -1), 16, 4
    ),
    "png_palette_with_alpha": png_of_levels(
        _INDEXES,
        8,
        3,
        before=(chunk(b"PLTE", _PALETTE), chunk(b"tRNS", bytes(range(0, 256, 20)))),
    ),
    "webp_rgba_lossless": save(RGBA, "WEBP", lossless=True, exact=True),
}


def _adam7(rgb: np.ndarray) -> bytes:
    """Write an interlaced PNG, seven passes (PNG third edition, section 8)."""
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    rows = b""
    for top, left, down, right in passes:
        rows += b"".join(b"\0" + row.tobytes() for row in rgb[top::down, left::right])
    header = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 8, 2, 0, 0, 1)
    return PNG[:8] + b"".join(
        (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND"))
    )


READABLE["png_interlaced"] = _adam7(draw())


def _claim(jpeg: bytes, width: int, height: int, marker: int = 0xC0) -> bytes:
    at = jpeg.index(bytes([0xFF, marker]))
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def _with_header(png_file: bytes, width: int, height: int) -> bytes:
    header = struct.pack(">II", width, height) + png_file[24:29]
    return png_file[:8] + chunk(b"IHDR", header) + png_file[33:]


_FRAME = JPEG[JPEG.index(b"\xff\xc0") :][:19]
_SCAN_AT = JPEG.index(b"\xff\xda")
_PROGRESSIVE = READABLE["jpeg_progressive"]
_PROGRESSIVE_SCAN_AT = _PROGRESSIVE.rindex(b"\xff\xda")
_FTYP = b"\0\0\0\x1cftyp%b\0\0\0\0mif1"

DROPPED: dict[str, tuple[bytes, Drop]] = {
    "empty": (b"", Drop.NOT_AN_IMAGE),
    "three_bytes_of_jpeg": (JPEG[:3], Drop.TRUNCATED),
    "zeros": (b"\0" * 6000, Drop.NOT_AN_IMAGE),
    "text": (b"Not found. " * 600, Drop.NOT_AN_IMAGE),
    "html": (b"\n <!DOCTYPE html><html><svg>", Drop.NOT_AN_IMAGE),
    "html_behind_comments": (b"<!-- a -->" * 50 + b"<html>", Drop.NOT_AN_IMAGE),
    "pdf": (b"%PDF-1.7\n", Drop.NOT_AN_IMAGE),
    "mp4": (_FTYP % b"isom", Drop.NOT_AN_IMAGE),
    "wav": (b"RIFF\x24\0\0\0WAVEfmt ", Drop.NOT_AN_IMAGE),
    "svg": (b"<?xml version='1.0'?><!-- drawn --><svg xmlns=''/>", Drop.FORMAT),
    "gif": (save(GREY, "GIF"), Drop.FORMAT),
    "bmp": (save(RGB, "BMP"), Drop.FORMAT),
    "tiff": (save(RGB, "TIFF"), Drop.FORMAT),
    "ico": (save(RGB, "ICO"), Drop.FORMAT),
    "avif": (_FTYP % b"avif", Drop.FORMAT),
    "heic": (_FTYP % b"heic", Drop.FORMAT),
    "jxl": (b"\xff\x0a\xfa\x7f", Drop.FORMAT),
    "jp2": (b"\0\0\0\x0cjP  \r\n\x87\n", Drop.FORMAT),
    "psd": (b"8BPS\0\1", Drop.FORMAT),
    "jpeg_without_end_mark": (JPEG[:-2], Drop.TRUNCATED),
    "jpeg_with_half_an_end_mark": (JPEG[:-1], Drop.TRUNCATED),
    "jpeg_cut_with_whole_thumbnail": (
        after_soi(JPEG, segment(0xE1, b"Exif\0\0" + exif() + THUMBNAIL))[:-100],
        Drop.TRUNCATED,
    ),
    "jpeg_cut_and_followed_by_another": (
        JPEG[:-100] + JPEG + b"\0" * 70_000 + b"\xff\xd9",
        Drop.TRUNCATED,
    ),
    "jpeg_claims_60000x60000": (_claim(JPEG, 60_000, 60_000), Drop.PIXELS),
    "jpeg_claims_no_height": (_claim(JPEG, WIDTH, 0), Drop.UNDECODABLE),
    "jpeg_with_two_frame_headers": (after_soi(JPEG, _FRAME), Drop.UNDECODABLE),
    "jpeg_of_12_bits": (
        JPEG.replace(_FRAME, _FRAME[:4] + b"\x0c" + _FRAME[5:]),
        Drop.UNDECODABLE,
    ),
    "jpeg_with_1000_scans": (
        _PROGRESSIVE[:-2] + _PROGRESSIVE[_PROGRESSIVE_SCAN_AT:-2] * 1000 + _PROGRESSIVE[-2:],
        Drop.UNDECODABLE,
    ),
    "jpeg_without_scan": (JPEG[:_SCAN_AT] + b"\xff\xd9", Drop.UNDECODABLE),
    "jpeg_without_frame_header": (JPEG.replace(_FRAME, b""), Drop.UNDECODABLE),
    "jpeg_with_segment_of_length_1": (after_soi(JPEG, b"\xff\xe5\0\1"), Drop.UNDECODABLE),
    "jpeg_of_fill_bytes": (b"\xff\xd8" + b"\xff" * 100_000, Drop.TRUNCATED),
    "png_without_end_chunk": (PNG[:-12], Drop.TRUNCATED),
    "png_cut_in_checksum_of_end_chunk": (PNG[:-1], Drop.TRUNCATED),
    "png_with_deflate_stream_cut_within_whole_container": (
        PNG[:33] + chunk(b"IDAT", PNG[41:-30]) + chunk(b"IEND"),
        Drop.TRUNCATED,
    ),
    "png_claims_60000x60000": (_with_header(PNG, 60_000, 60_000), Drop.PIXELS),
    "png_claims_no_width": (_with_header(PNG, 0, 4), Drop.UNDECODABLE),
    "png_with_bad_checksum_of_pixels": (
        PNG[:-16] + bytes([PNG[-16] ^ 1]) + PNG[-15:],
        Drop.UNDECODABLE,
    ),
    "png_with_pixels_not_deflated": (
        PNG[:33] + chunk(b"IDAT", b"not deflated") + chunk(b"IEND"),
        Drop.UNDECODABLE,
    ),
    "png_without_pixels": (PNG[:33] + chunk(b"IEND"), Drop.UNDECODABLE),
    "png_with_two_headers": (before_idat(PNG, PNG[8:33]), Drop.UNDECODABLE),
    "png_of_apple_begins_with_cgbi": (
        PNG[:8] + chunk(b"CgBI", b"\0" * 4) + PNG[8:],
        Drop.UNDECODABLE,
    ),
    "png_of_unknown_colour_type": (
        png(draw().tobytes(), WIDTH * 3, 8, 5),
        Drop.UNDECODABLE,
    ),
    "webp_cut": (WEBP[:-1], Drop.TRUNCATED),
    "webp_header_alone": (WEBP[:12], Drop.TRUNCATED),
    "webp_claims_16000x16000": (
        riff(vp8x(0, 16_000, 16_000), (b"VP8 ", WEBP_BITSTREAM)),
        Drop.PIXELS,
    ),
    "webp_canvas_smaller_than_frame": (
        riff(vp8x(0, 8, 8), (b"VP8 ", WEBP_BITSTREAM)),
        Drop.UNDECODABLE,
    ),
    "webp_canvas_of_8x8_with_frame_that_claims_16000x16000": (
        riff(vp8x(0, 8, 8), (b"VP8 ", WEBP_BITSTREAM[:6] + b"\x80\x3e" * 2 + WEBP_BITSTREAM[10:])),
        Drop.PIXELS,
    ),
    "webp_frame_claims_16000x16000": (
        riff((b"VP8 ", WEBP_BITSTREAM[:6] + b"\x80\x3e\x80\x3e" + WEBP_BITSTREAM[10:])),
        Drop.PIXELS,
    ),
    "webp_bitstream_cut_within_whole_container": (
        riff((b"VP8 ", WEBP_BITSTREAM[:100])),
        Drop.UNDECODABLE,
    ),
    "webp_chunk_beyond_the_file": (
        b"RIFF\x20\0\0\0WEBPVP8 \xff\xff\0\0".ljust(40, b"\0"),
        Drop.UNDECODABLE,
    ),
    "webp_without_pixels": (riff(vp8x(0, 8, 8)), Drop.UNDECODABLE),
    "webp_empty": (riff(), Drop.UNDECODABLE),
}
