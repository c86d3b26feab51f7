"""Write a picture as the files one meets on the web: sound ones of many kinds, and broken ones."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Final

import numpy as np
from PIL import Image

ENCODINGS: Final = (
    "jpeg",
    "png",
    "webp",
    "jpeg-progressive",
    "jpeg-turned",
    "jpeg-cmyk",
    "png-palette",
    "png-16-bit",
    "png-gray-16-bit",
    "png-clear-white",
)
"""`png-gray-16-bit` is true to pictures without hue only, `png-clear-white` to white grounds."""

# EXIF orientation -> how a picture must lie in the file to be shown upright (EXIF 2.3, 4.6.4).
_LIES: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
_ORIENTATION_TAG: Final = 0x0112


def encode(picture: Image.Image, encoding: str, *, orientation: int = 6) -> bytes:
    """Return an RGB picture as a file of one of ENCODINGS that shows it upright.

    `orientation` (2 to 8) is how a `jpeg-turned` lies in its file.
    """
    match encoding:
        case "jpeg":
            return _save(picture, "JPEG", quality=90)
        case "jpeg-progressive":
            return _save(picture, "JPEG", quality=90, progressive=True)
        case "jpeg-turned":
            exif = Image.Exif()
            exif[_ORIENTATION_TAG] = orientation
            return _save(picture.transpose(_LIES[orientation]), "JPEG", quality=90, exif=exif)
        case "jpeg-cmyk":
            return _save(picture.convert("CMYK"), "JPEG", quality=90)
        case "png":
            return _save(picture, "PNG")
        case "png-palette":
            return _save(picture.quantize(64), "PNG")
        case "png-16-bit":
            wide = np.asarray(picture).astype(np.uint16) * 257  # 255 becomes 65,535
            return _png_16_bit(wide)
        case "png-gray-16-bit":
            gray = np.asarray(picture.convert("L")).astype(np.uint16) * 257
            return _png_16_bit(gray[..., None])
        case "png-clear-white":
            return _save(_clear_white(picture), "PNG")
        case "webp":
            return _save(picture, "WEBP", quality=90, method=2)
        case _:
            raise ValueError(f"encoding {encoding!r} is none of {', '.join(ENCODINGS)}")


def gif(picture: Image.Image) -> bytes:
    """Return the picture as a GIF, which the recipes do not take."""
    return _save(picture.quantize(64), "GIF")


def tiny_jpeg(picture: Image.Image) -> bytes:
    """Return the picture as a thumbnail of less than 5,000 bytes."""
    return _save(picture.resize((48, 48)), "JPEG", quality=60)


def truncated(file: bytes) -> bytes:
    """Return a file that ends after two thirds, as when a connection broke."""
    return file[: len(file) * 2 // 3]


def scrambled_jpeg(file: bytes) -> bytes:
    """Return a JPEG whose first Huffman table was overwritten: no decoder reads it."""
    start = file.index(b"\xff\xc4") + 4  # behind the marker and the length (T.81, B.2.4.2)
    return file[:start] + b"\xff" * 16 + file[start + 16 :]


def huge_png() -> bytes:
    """Return a 1-bit PNG of 10,000 x 10,000 pixels, more than any recipe takes, in 12 KB."""
    side = 10_000
    rows = bytes((1 + side // 8) * side)
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return _png(header, rows)


def _save(picture: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def _png_16_bit(pixels: np.ndarray) -> bytes:
    """Return a PNG of uint16 pixels (height, width, 1 or 3); Pillow writes no 16-bit colour."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 2 if channels == 3 else 0, 0, 0, 0)
    return _png(header, b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels))


def _png(header: bytes, rows: bytes) -> bytes:
    """Return a PNG of unfiltered rows, each after its filter byte (PNG 1.2, 4.1 and 6.2)."""

    def chunk(name: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(name + data)
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", crc)

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows, 6))
        + chunk(b"IEND", b"")
    )


def _clear_white(picture: Image.Image) -> Image.Image:
    """Return the picture with its white made transparent black: white again only on white."""
    pixels = np.asarray(picture)
    white = (pixels.min(axis=2) > 205)[..., None]
    alpha = np.where(white, 0, 255)
    return Image.fromarray(np.concatenate([np.where(white, 0, pixels), alpha], 2).astype(np.uint8))
