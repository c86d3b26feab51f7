"""Limits of what a recipe may ask for."""

from __future__ import annotations

from typing import Final

MAX_IMAGE_SIZE_PX: Final = 4_096
MAX_TEXT_CHARS: Final = 8_192
"""As `extract.text.MAX_TEXT_CHARS`, to which texts are cut."""
MAX_SIDE_PX: Final = 65_500
"""As `image.MAX_SIDE_PX`: longer ones are dropped anyhow."""
QUALITIES: Final = {"jpeg": (1, 100), "png": (0, 9), "webp": (1, 100)}
"""Of PNG zlib's level, as in img2dataset's encode_quality: it changes bytes and no pixel."""
