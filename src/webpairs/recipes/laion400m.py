"""LAION-400M as it was stated, without its faults; `docs/fidelity.md` compares rule by rule."""

from __future__ import annotations

from typing import Final

from webpairs.recipes.recipe import Recipe

RECIPE: Final = Recipe(
    name="laion400m",
    # What a page says of its pictures: <img src alt> alone.
    texts=("alt",),
    image_sources=("src",),
    min_text_chars=5,
    languages=("en",),
    # What counts as a picture: at least 5 KB (5,000 bytes), decodable, below Pillow's bomb limit.
    min_image_bytes=5_000,
    max_pixels=89_478_484,
    formats=("jpeg", "png", "webp"),
    # How it is stored: 256 px on the long side, white border to a square, JPEG quality 95.
    image_size_px=256,
    resize="border",
    jpeg_quality=95,
    # Who judges: the model owns its threshold, 0.3 for OpenAI's ViT-B/32.
    model="ViT-B-32/openai",
)
