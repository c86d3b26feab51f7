"""Bringing pixels to sRGB, which is what models were trained on and what is stored."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from itertools import product
from typing import Final

from PIL import Image, ImageCms

# Bytes 16 to 19 of a profile: the colour space of its data (ICC.1:2022, 7.2.8).
_PROFILE_SPACE: Final = {"RGB": b"RGB ", "L": b"GRAY", "CMYK": b"CMYK"}
_GRID: Final = (0, 16, 32, 64, 96, 128, 160, 192, 224, 255)

SAME_WITHIN: Final = 1
"""A profile that moves no colour of a 10-step grid by more than this many levels of 255 is sRGB:
HP's, Apple's, Google's and Facebook's variants are told by what they do, not by their names."""

_MAX_TRANSFORMS: Final = 32
"""Transforms kept: the web uses a handful of profiles; one takes 0.1 to 1.5 MB."""

_transforms: OrderedDict[tuple[bytes, str], ImageCms.ImageCmsTransform | None] = OrderedDict()
_lock = threading.Lock()


def convert_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return `image` (mode RGB, L or CMYK) as sRGB in mode RGB.

    A profile that is broken or belongs to another colour space counts as none; without one, RGB and
    grey are sRGB already, and CMYK is converted by Pillow's formula, (255 - c)(255 - k) / 255.
    """
    transform = _transform(profile, image.mode) if profile else None
    if transform is not None:
        try:
            return transform.apply(image)
        except (ImageCms.PyCMSError, ValueError, OSError):
            pass
    return image if image.mode == "RGB" else image.convert("RGB")


def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return what brings `mode` under `profile` to sRGB; None when nothing needs to be done."""
    key = (hashlib.blake2b(profile, digest_size=16).digest(), mode)
    with _lock:
        if key in _transforms:
            _transforms.move_to_end(key)
            return _transforms[key]
    transform = _build(profile, mode)
    with _lock:
        _transforms[key] = transform
        while len(_transforms) > _MAX_TRANSFORMS:
            _transforms.popitem(last=False)
    return transform


def _build(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    if profile[16:20] != _PROFILE_SPACE[mode]:
        return None
    try:
        transform = ImageCms.ImageCmsTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.PERCEPTUAL,
        )
        if mode == "CMYK":
            return transform
        grid = _grid(mode)
        before, after = grid.convert("RGB").tobytes(), transform.apply(grid).tobytes()
    except (ImageCms.PyCMSError, ValueError, OSError, TypeError):
        return None
    moved = max(abs(one - other) for one, other in zip(before, after, strict=True))
    return transform if moved > SAME_WITHIN else None


def _grid(mode: str) -> Image.Image:
    if mode == "L":
        return Image.frombytes("L", (256, 1), bytes(range(256)))
    colours = bytes(channel for colour in product(_GRID, repeat=3) for channel in colour)
    return Image.frombytes("RGB", (len(colours) // 3, 1), colours)
