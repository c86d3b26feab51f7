"""Decode stored images to the pixels that TFDS hands out: (height, width, 3) uint8.

Only the stored copy's own picture: no orientation is applied and no profile, alpha is left out,
as TensorFlow's `decode_image(channels=3)` does. What webpairs stores has none of these.
"""

from __future__ import annotations

import io
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

from webpairs.errors import DataError, Drop
from webpairs.sniff import sniff

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


def decode_rgb(data: bytes) -> npt.NDArray[np.uint8]:
    """Return the pixels of an encoded image; of an animation, its first frame.

    Raise DataError, and nothing else whatever the bytes.
    """
    return np.array(decode_image(data))


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
