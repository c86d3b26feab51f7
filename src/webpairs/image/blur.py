"""Blurring given boxes of a picture, such as faces: img2dataset's `bbox_col`, DataComp's face blur.

The rule is that of the ImageNet face obfuscation (Yang et al. 2022, "A Study of Face Obfuscation in
ImageNet"), as img2dataset's blurrer.py has it: each box grows by a tenth of its longer side; the
picture is blurred with a sigma of a tenth of the longest side of all boxes; and the boxes, blurred
alike, are the mask through which the blurred picture shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import orjson
from PIL import Image, ImageFilter

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, in widths and heights of the picture."""

GROWN: Final = 0.1
SIGMA: Final = 0.1
"""Both of a side of a box."""
_REACH: Final = 4
"""Sigmas beyond which a blur changes nothing that 8 bits show; img2dataset's kernel ends there."""
MAX_BOXES: Final = 1_000
_RANGE: Final = (-1.0, 2.0)
"""A detector's box may leave the picture; beyond this it is one in pixels."""


def read_boxes(value: Any) -> tuple[Box, ...]:
    """Return the boxes in a table's value: a list of [x0, y0, x1, y1], or such a list as JSON.

    None and an empty text are not boxes. Raises ValueError for all else: a face that should have
    been blurred is worse than a row that is lost.
    """
    if isinstance(value, str):
        value = orjson.loads(value) if value.strip() else None
    if value is None:
        return ()
    if not isinstance(value, list):
        raise ValueError(f"{value!r} is not a list of boxes")
    items: list[Any] = value
    if len(items) > MAX_BOXES:
        raise ValueError(f"{len(items)} boxes, at most {MAX_BOXES}")
    return tuple(_box(one) for one in items)


def _box(value: Any) -> Box:
    numbers: list[Any] = value if isinstance(value, list) else []
    if len(numbers) != 4 or not all(type(one) in (int, float) for one in numbers):
        raise ValueError(f"{value!r} is not a box [x0, y0, x1, y1]")
    left, top, right, bottom = map(float, numbers)
    if not all(_RANGE[0] <= one <= _RANGE[1] for one in (left, top, right, bottom)):
        raise ValueError(f"{value!r} is not in widths and heights of the picture")
    if left > right or top > bottom:
        raise ValueError(f"{value!r} ends before it starts")
    return left, top, right, bottom


def blur_boxes(rgb: Image.Image, boxes: Sequence[Box], size: tuple[int, int]) -> Image.Image:
    """Return `rgb` with `boxes` blurred; the picture is its upper left part of this size."""
    width, height = size
    mask = Image.new("L", rgb.size, 0)
    longest = 0
    for box in boxes:
        left, top, right, bottom = (min(max(one, 0.0), 1.0) for one in box)
        x0, y0 = math.floor(left * width), math.floor(top * height)
        x1, y1 = math.ceil(right * width), math.ceil(bottom * height)
        if x0 >= x1 or y0 >= y1:
            continue  # outside the picture
        side = max(x1 - x0, y1 - y0)
        longest = max(longest, side)
        grown = math.ceil(GROWN * side)
        x0, y0 = max(x0 - grown, 0), max(y0 - grown, 0)
        mask.paste(255, (x0, y0, min(x1 + grown, rgb.width), min(y1 + grown, rgb.height)))
    covered = mask.getbbox()
    if covered is None:
        return rgb
    # Only what is near a box is blurred: the rest of a large picture costs nothing.
    reach = math.ceil(_REACH * SIGMA * longest)
    left, top, right, bottom = covered
    near = (
        max(left - reach, 0),
        max(top - reach, 0),
        min(right + reach, rgb.width),
        min(bottom + reach, rgb.height),
    )
    sharp = rgb.crop(near)
    soft = ImageFilter.GaussianBlur(SIGMA * longest)
    out = rgb.copy()
    out.paste(Image.composite(sharp.filter(soft), sharp, mask.crop(near).filter(soft)), near)
    return out
