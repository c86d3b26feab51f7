"""Handing TensorFlow images that it can decode: untouched if it can, as PNG if only we can.

`tf.image.decode_image` reads JPEG, PNG, GIF and BMP; of a GIF it makes four dimensions, of a BMP
as many channels as it has, and both break a `tfds.features.Image`. It raises on an image that ends
before its end, which ends the training. So the structure is looked at here, a few microseconds an
image; the pixels are not.
"""

from __future__ import annotations

import io
from typing import Final
from zlib import crc32

_SUPPORTED_SOF: Final = frozenset((0xC0, 0xC1, 0xC2))
"""Baseline, extended sequential, progressive; not the lossless and arithmetic ones."""
_OTHER_SOF: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC} - _SUPPORTED_SOF)
_SOS: Final = 0xDA
_EOI: Final = b"\xff\xd9"
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xDA)})
"""Markers without a length: TEM, RSTn, SOI, EOI."""
_PNG: Final = b"\x89PNG\r\n\x1a\n"


def for_tensorflow(data: bytes) -> tuple[bytes, bool]:
    """Return an image that TensorFlow decodes to (height, width, 3), and whether it is a new one.

    A new one is a PNG with the pixels that `decode_rgb` gives. Raises DataError for what cannot be
    decoded.
    """
    if is_whole_jpeg(data) or is_whole_png(data):
        return data, False
    from PIL import Image

    from webpairs.image.decode_stored import decode_rgb

    out = io.BytesIO()
    Image.fromarray(decode_rgb(data)).save(out, "PNG")
    return out.getvalue(), True


def is_whole_jpeg(data: bytes) -> bool:
    """Say whether this is a JPEG of a kind that libjpeg reads, from its start to its end.

    Source: ITU-T T.81, annex B.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return False
    place, size, has_frame = 2, len(data), False
    while place + 4 <= size:
        if data[place] != 0xFF:
            return False
        marker = data[place + 1]
        if marker == 0xFF:  # fill
            place += 1
        elif marker in _ALONE:
            place += 2
        elif marker == _SOS:
            return has_frame and data.rfind(_EOI, place) >= 0
        else:
            if marker in _OTHER_SOF:
                return False
            if marker in _SUPPORTED_SOF:
                frame = data[place + 4 : place + 10]  # precision, height, width, components
                if len(frame) < 6 or frame[0] != 8 or frame[5] not in (1, 3, 4):
                    return False
                if frame[1:3] == b"\0\0" or frame[3:5] == b"\0\0":
                    return False
                has_frame = True
            place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return False


def is_whole_png(data: bytes) -> bool:
    """Say whether this is a PNG with all its chunks, those that matter unharmed.

    Source: PNG, third edition, section 5.
    """
    if not data.startswith(_PNG) or data[12:16] != b"IHDR":
        return False
    place, size = len(_PNG), len(data)
    while place + 12 <= size:
        length = int.from_bytes(data[place : place + 4])
        end = place + 12 + length
        if end > size:
            return False
        kind = data[place + 4 : place + 8]
        if kind[0] < ord("a"):  # critical
            checksum = int.from_bytes(data[end - 4 : end])
            if crc32(data[place + 4 : end - 4]) != checksum:
                return False
        if kind == b"IEND":
            return True
        place = end
    return False
