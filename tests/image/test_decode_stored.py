"""JPEGs decode to Pillow's pixels whichever library does it, and are refused when Pillow does."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from webpairs.errors import DataError
from webpairs.image import decode_stored as decode
from webpairs.image.decode_stored import decode_image, decode_rgb, jpeg_size


def jpeg(width: int, height: int, mode: str, **options: Any) -> bytes:
    rng = np.random.default_rng(width * height)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
    out = io.BytesIO()
    image.convert(mode).save(out, "JPEG", **options)
    return out.getvalue()


jpegs = st.builds(
    jpeg,
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["RGB", "L", "CMYK"]),
    quality=st.integers(20, 100),
    subsampling=st.integers(0, 2),
    progressive=st.booleans(),
    comment=st.binary(max_size=20),
)


def said(decode: Callable[[bytes], Any], data: bytes) -> Any:
    """Return pixels, or the error's message."""
    try:
        return np.asarray(decode(data))
    except DataError as error:
        return str(error)


@settings(max_examples=300, deadline=None)
@given(jpegs, st.data())
def test_any_jpeg_is_what_pillow_says(data: bytes, draw: st.DataObject) -> None:
    damage = draw.draw(st.sampled_from(["none", "cut", "changed"]))
    at = draw.draw(st.integers(0, len(data) - 1))
    if damage == "cut":
        data = data[:at]
    elif damage == "changed":
        data = data[:at] + bytes([draw.draw(st.integers(0, 255))]) + data[at + 1 :]
    found, expected = (said(one, data) for one in (decode_rgb, decode_image))
    assert type(found) is type(expected)
    assert np.array_equal(found, expected)
    if isinstance(expected, np.ndarray):
        out = np.empty_like(expected)
        assert decode_rgb(data, out) is out
        assert np.array_equal(out, expected)
        other = np.zeros((1, 99, 3), np.uint8)
        assert np.array_equal(decode_rgb(data, other), expected)
        assert not other.any()


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.booleans())
def test_the_size_is_read_before_anything_is_decoded(
    width: int, height: int, progressive: bool
) -> None:
    size = height, width
    for mode, expected in (("RGB", size), ("L", size), ("CMYK", None)):
        options = {"progressive": progressive, "exif": b"Exif\0\0" + bytes(100)}
        data = jpeg(width, height, mode, **options)
        assert jpeg_size(data) == expected
        assert jpeg_size(data[:200]) in (None, expected)


@settings(deadline=None)
@given(st.binary(max_size=100))
@example(b"\xff\xd8\xff\xe0\0\0" * 9)
def test_no_bytes_end_the_search_for_a_size(data: bytes) -> None:
    assert jpeg_size(data) is None or data.startswith(b"\xff\xd8\xff")
    jpeg_size(b"\xff\xd8\xff" + data)


def test_what_claims_too_much_is_left_to_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(data: bytes, strict: bool, buffer: object) -> None:
        raise AssertionError("memory would be taken for it")

    monkeypatch.setattr(decode, "decode_jpeg", refuse)
    data = jpeg(8, 8, "RGB")
    at = data.index(b"\xff\xc0") + 5
    huge = data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
    with pytest.raises(DataError, match="65535x65535"):
        decode_rgb(huge)
    with pytest.raises(AssertionError):
        decode_rgb(data)
