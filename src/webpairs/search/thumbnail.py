"""Making a small JPEG of a picture that nobody checked."""

from __future__ import annotations

import io
from typing import Final

from webpairs.search.model import decode_query

_QUALITY: Final = 85


def thumbnail(data: bytes, side_px: int) -> bytes:
    """Return an encoded image as a JPEG of at most `side_px` a side; ConfigError where it is none.

    It is decoded within the limits of what is searched for. What does not concern the pixels
    (places, names of cameras) is left out.
    """
    rgb = decode_query(data)
    rgb.thumbnail((side_px, side_px))
    out = io.BytesIO()
    rgb.save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
