"""A recipe: every rule that changes the bytes of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Final

IMAGE_SOURCES: Final = ("src", "srcset", "picture", "data-src")
TEXTS: Final = ("alt", "title", "caption")
RESIZE_MODES: Final = ("border", "keep-ratio", "keep-ratio-largest", "center-crop", "none")
STORED_FORMATS: Final = ("jpeg", "png", "webp")
ANY_LANGUAGE: Final = "any"
NAMES: Final = ("laion400m", "download")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """State every rule that changes the bytes of a dataset; options of a build override fields."""

    name: str
    texts: tuple[str, ...]
    image_sources: tuple[str, ...]
    min_text_chars: int
    languages: tuple[str, ...]
    """ISO 639 codes to keep, or `("any",)`."""
    min_image_bytes: int
    max_pixels: int
    formats: tuple[str, ...]
    image_size_px: int
    resize: str
    jpeg_quality: int
    model: str
    min_side_px: int = 0
    """Least width and height of an image, as img2dataset's min_image_size."""
    max_aspect: float | None = None
    """Largest ratio of the longer side to the shorter, as img2dataset's max_aspect_ratio."""
    image_format: str = "jpeg"
    """What a resized picture is stored as: one of `STORED_FORMATS`."""
    png_compression: int = 6
    """Level of zlib, 0 to 9: the pixels are the same."""
    webp_quality: int = 95
    sha256: str | None = None
    """Of the file that it was read from; None for the recipes of this package."""


def named_recipe(name: str) -> Recipe:
    """Return the recipe of this package that is called `name`, one of `NAMES`."""
    recipe = import_module(f"webpairs.recipes.{name}").RECIPE
    assert isinstance(recipe, Recipe)
    return recipe
