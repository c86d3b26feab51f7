"""Turning an RGB image into the square of pixels that a model's image tower reads.

Source: what open_clip's `image_transform` does to a PIL image at inference, which is torchvision's
Resize and CenterCrop, rounding included. Scaling to floats happens in the graph.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from webpairs.clip.architecture import Preprocessing

Pixels = npt.NDArray[np.uint8]

_FILTERS: Final = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}

# A picture so long that its resized whole would need more memory than the crop is worth: of such
# pictures only the middle is resized, which may differ from the whole's middle by a level.
_LONGEST: Final = 32


def square(rgb: Image.Image, preprocessing: Preprocessing) -> Pixels:
    """Return (side, side, 3) uint8. Thread-safe; Pillow releases the interpreter lock."""
    side, resample = preprocessing.side_px, _FILTERS[preprocessing.interpolation]
    if preprocessing.resize_mode == "squash":
        if rgb.size != (side, side):
            rgb = rgb.resize((side, side), resample)
        return np.asarray(rgb)
    width, height = _resized_size(rgb.size, side)
    # torchvision center_crop: Python's round, to even at a half
    left, top = round((width - side) / 2), round((height - side) / 2)
    if max(width, height) > _LONGEST * side:
        across, down = rgb.width / width, rgb.height / height
        box = (left * across, top * down, (left + side) * across, (top + side) * down)
        return np.asarray(rgb.resize((side, side), resample, box=box))
    if rgb.size != (width, height):
        rgb = rgb.resize((width, height), resample)
    if rgb.size != (side, side):
        rgb = rgb.crop((left, top, left + side, top + side))
    return np.asarray(rgb)


def _resized_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return width and height with the short side at `side`.

    Source: torchvision `_compute_resized_output_size`: the long side is truncated, not rounded.
    """
    width, height = size
    if width <= height:
        return side, int(side * height / width)
    return int(side * width / height), side
