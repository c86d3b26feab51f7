"""The recipe of `--model none`: what a table names is stored, without rules about texts.

What `--model none` uses unless told otherwise. A table's texts may be empty, in any language; an
image is what decodes, however small. docs/tables.md says which tables are read.
"""

from __future__ import annotations

from typing import Final

from webpairs.recipes.recipe import ANY_LANGUAGE, Recipe

RECIPE: Final = Recipe(
    name="download",
    # Of crawls, as LAION-400M; a table's rows are what they are.
    texts=("alt",),
    image_sources=("src",),
    min_text_chars=0,
    languages=(ANY_LANGUAGE,),
    # What counts as a picture: anything that decodes, below Pillow's bomb limit.
    min_image_bytes=1,
    max_pixels=89_478_484,
    formats=("jpeg", "png", "webp"),
    # How it is stored: img2dataset's defaults, which LAION-400M was made with.
    image_size_px=256,
    resize="border",
    jpeg_quality=95,
    # Nobody judges: nothing is scored.
    model="none",
)
