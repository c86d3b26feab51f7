"""Decoding stored images to the pixels that TFDS hands out: (height, width, 3) uint8.

Only the stored copy's own picture: no orientation is applied and no profile, alpha is left out,
as TensorFlow's `decode_image(channels=3)` does. What webpairs stores has none of these.
"""

from __future__ import annotations

import io
from struct import Struct
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)
from simplejpeg import decode_jpeg

from webpairs.drops import Drop
from webpairs.errors import DataError
from webpairs.image.sniff import sniff

Pixels = npt.NDArray[np.uint8]
"""(height, width, 3)."""

MAX_PIXELS: Final = 178_956_970
"""What is larger is refused unseen: 512 MB of pixels. Source: Pillow refuses above it."""

# The plugins are called directly: `Image.open` would look for a second picture in a JPEG and
# warn of large images by a process-wide setting.
_OPEN: Final = {
    "jpeg": JpegImagePlugin.JpegImageFile,
    "png": PngImagePlugin.PngImageFile,
    "webp": WebPImagePlugin.WebPImageFile,
    "gif": GifImagePlugin.GifImageFile,
    "bmp": BmpImagePlugin.BmpImageFile,
}

_FRAME: Final = Struct(">HBHHB")
"""Length, bits of a value, height, width, number of components: ITU-T T.81, B.2.2."""
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Second bytes of the markers that begin frames: T.81, table B.1."""


def decode_rgb(data: bytes, out: Pixels | None = None) -> Pixels:
    """Return the pixels of an encoded image; of an animation, its first frame.

    They are put into `out`, and that is returned, where it has their shape. Raise DataError, and
    nothing else whatever the bytes.
    """
    size = jpeg_size(data)
    if size is not None and size[0] * size[1] <= MAX_PIXELS:
        fits = out is not None and out.shape[:2] == size
        pixels = _decode_jpeg(data, out if fits else None)
        if pixels is not None:
            return pixels
    pixels = np.array(decode_image(data))
    if out is None or out.shape != pixels.shape:
        return pixels
    out[:] = pixels
    return out


def decode_image(data: bytes) -> Image.Image:
    """Return the same pixels as Pillow's image, mode RGB.

    Raise DataError, and nothing else whatever the bytes.
    """
    format = sniff(data)
    if format not in _OPEN:
        begins = f"begins with {data[:8].hex(' ')}" if data else "no bytes"
        raise DataError(Drop.NOT_AN_IMAGE, f"looks like {format}" if format else begins)
    try:
        image = _OPEN[format](io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            raise DataError(Drop.PIXELS, f"{image.width}x{image.height}, at most {MAX_PIXELS}")
        image.load()
        if image.mode.startswith("I;16"):
            # The high byte of each sample, where Pillow would clip.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        return image if image.mode == "RGB" else image.convert("RGB")
    except (DataError, MemoryError):
        raise
    except Exception as error:
        # Pillow's decoders raise about ten unrelated types on broken files.
        drop = Drop.TRUNCATED if "truncated" in str(error) else Drop.UNDECODABLE
        raise DataError(drop, f"{type(error).__name__}: {error}") from error


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width that a JPEG of 8 bits in gray or three colours has; else None."""
    position = 2 if data.startswith(b"\xff\xd8\xff") else len(data)
    while position + 10 <= len(data) and data[position] == 0xFF:
        length, bits, height, width, num_colours = _FRAME.unpack_from(data, position + 2)
        if data[position + 1] in _FRAMES:
            plain = bits == 8 and num_colours in (1, 3) and height and width
            return (height, width) if plain else None
        position += 2 + length
    return None


def _decode_jpeg(data: bytes, out: Pixels | None) -> Pixels | None:
    """Return Pillow's pixels in two thirds of its time, None where Pillow has to say.

    Both run libjpeg-turbo; Pillow then takes the pixels apart and together again. CMYK, which has
    no one way to become RGB, and what is broken in whatever way is left to it.
    """
    try:
        pixels = decode_jpeg(data, strict=True, buffer=out)
    except ValueError:
        return None
    return pixels if out is None else out
