"""Columns of whatever type become the page's features; images of whatever mode its pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import webpairs
from webpairs.dataset.features import FEATURES, TABULAR, feature_array
from webpairs.errors import ConfigError, DataError
from webpairs.image.decode_stored import decode_rgb

NAN = float("nan")


@pytest.mark.parametrize(
    ("feature", "raw", "values"),
    [
        ("caption", pa.array(["a", None, ""]), ["a", "", ""]),
        ("caption", pa.array([2021, None]), ["2021", ""]),
        ("caption", pa.array([b"caf\xc3\xa9", b"caf\xe9", None]), ["café", "caf\ufffd", ""]),
        ("caption", pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
        ("caption", pa.array(["a"], pa.large_string()), ["a"]),
        ("caption", pa.nulls(2), ["", ""]),
        ("caption", pa.array([["a", "b"], None]), ["a", ""]),
        ("license", pa.array(["?", None, "", "by"]), ["", "", "", "by"]),
        ("license", pa.array([NAN, None]), ["", ""]),
        ("nsfw", pa.array(["NSFW", "UNSURE", "UNLIKELY", "UNTAGGED"]), [2, 1, 0, 3]),
        ("nsfw", pa.array([None, "", "nsfw", "0.31"]), [3, 3, 3, 3]),
        ("nsfw", pa.array([True, False]), [3, 3]),
        ("similarity", pa.array([0.445, None, NAN, 0.0]), [0.445, -1.0, -1.0, 0.0]),
        ("similarity", pa.array([6016.0, -6.0, 1.0005, float("inf")]), [-1.0, -1.0, 1.0005, -1.0]),
        ("similarity", pa.array(["0.3", " 3e-1", "", "x", None]), [0.3, 0.3, -1.0, -1.0, -1.0]),
        ("similarity", pa.array([[0.3]]), [-1.0]),
        ("original_width", pa.array([640, None, -1, 2**40]), [640, 0, 0, 0]),
        ("original_width", pa.array([640.0, NAN, None]), [640, 0, 0]),
        ("original_width", pa.array(["640", "wide"]), [640, 0]),
    ],
)
def test_values_become_what_the_page_means(feature: str, raw: pa.Array, values: list[Any]) -> None:
    half = len(raw) // 2
    for column in (pa.chunked_array([raw]), pa.chunked_array([raw[:half], raw[half:]])):
        found = feature_array(feature, column, len(raw))
        assert found.to_pylist() == values
        types = {"nsfw": "int64", "similarity": "double", "original_width": "int32"}
        assert str(found.type) == types.get(feature, "string")


@pytest.mark.parametrize("feature", TABULAR)
def test_what_a_source_has_not_is_missing(feature: str) -> None:
    missing = {"nsfw": 3, "similarity": -1.0, "original_height": 0, "original_width": 0}
    assert feature_array(feature, None, 2).to_pylist() == [missing.get(feature, "")] * 2
    assert feature_array(feature, None, 0).to_pylist() == []


def test_the_page_s_order_is_the_alphabet_s() -> None:
    assert list(FEATURES) == sorted(FEATURES)


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "pixel"),
    [
        (encoded(Image.new("RGB", (5, 3), (9, 99, 199)), "PNG"), (9, 99, 199)),
        (encoded(Image.new("L", (5, 3), 77), "JPEG"), (77, 77, 77)),
        (encoded(Image.new("CMYK", (5, 3), (0, 0, 0, 0)), "JPEG"), (255, 255, 255)),
        (encoded(Image.new("RGBA", (5, 3), (9, 99, 199, 0)), "PNG"), (9, 99, 199)),
        (encoded(Image.new("P", (5, 3), 1), "GIF"), None),
        (encoded(Image.new("1", (5, 3), 1), "PNG"), (255, 255, 255)),
        (encoded(Image.fromarray(np.full((3, 5), 40_000, np.uint16)), "PNG"), (156, 156, 156)),
        (encoded(Image.new("RGB", (5, 3), (9, 99, 199)), "WEBP", lossless=True), (9, 99, 199)),
        (encoded(Image.new("RGB", (5, 3), (9, 99, 199)), "BMP"), (9, 99, 199)),
    ],
)
def test_images_decode_to_three_channels(data: bytes, pixel: tuple[int, ...] | None) -> None:
    pixels = decode_rgb(data)
    assert (pixels.shape, pixels.dtype, pixels.flags.writeable) == ((3, 5, 3), np.uint8, True)
    assert pixel is None or tuple(pixels[1, 2]) == pixel


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=200), st.integers(0, 300), st.sampled_from(["PNG", "JPEG", "GIF", "WEBP"])
)
def test_broken_images_raise_one_error(noise: bytes, place: int, format: str) -> None:
    data = encoded(Image.new("RGB", (40, 30), (9, 99, 199)), format)
    for broken in (noise, data[:place], data[:place] + noise + data[place:]):
        try:
            decode_rgb(broken)
        except DataError:
            continue


def test_what_is_no_dataset_is_refused_with_what_it_is(tmp_path: Path, loose_run: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        webpairs.open(tmp_path / "absent")
    with pytest.raises(
        ConfigError, match="is not a dataset: it is empty\naccepted:\n  a run folder"
    ):
        webpairs.open(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "b.txt").write_text("x")
    (tmp_path / "README").write_text("x")
    with pytest.raises(ConfigError, match=r"it holds 2 \*\.txt, 1 \* without a suffix"):
        webpairs.open(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        webpairs.open(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match=r"loose is run folder: name it"):
        webpairs.open(loose_run.parent)
    pa.parquet.write_table(pa.table({"id": [1], "label": [2]}), tmp_path / "c.parquet")
    with pytest.raises(ConfigError, match="the columns are id, label"):
        webpairs.open(tmp_path)
