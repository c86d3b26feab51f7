"""Making a small JPEG of a stored image."""

from __future__ import annotations

import io
from typing import Final

from PIL import Image

from webpairs.image.decode_stored import decode_image

SIDE_PX: Final = 144
"""Of the longer side: twice what pages show it at, for fine screens."""
_QUALITY: Final = 82


def thumbnail(image: bytes) -> bytes:
    """Return a JPEG of at most `SIDE_PX` a side; raise DataError where there is no picture."""
    picture = decode_image(image)
    picture.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
