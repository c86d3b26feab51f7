"""Pixels are those of torchvision's Resize and CenterCrop on PIL images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.peers import import_peer

from webpairs.clip.architecture import Preprocessing
from webpairs.clip.preprocess import square
from webpairs.errors import ConfigError


def _picture(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(width * 10_007 + height)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_a_square_of_the_right_size_is_left_alone() -> None:
    picture = _picture(48, 48)
    for mode in ("shortest", "squash"):
        pixels = square(picture, Preprocessing(48, resize_mode=mode))
        assert np.array_equal(pixels, np.asarray(picture))


# Worked out by torchvision's rules: the long side is truncated, half a pixel goes to even.
@pytest.mark.parametrize(
    ("size", "resized", "left", "top"),
    [
        ((100, 67), (71, 48), 12, 0),  # 48 * 100 / 67 = 71.6; (71 - 48) / 2 = 11.5
        ((67, 100), (48, 71), 0, 12),
        ((97, 96), (48, 48), 0, 0),  # 48.5
        ((98, 96), (49, 48), 0, 0),  # 0.5 rounds to 0
        ((102, 96), (51, 48), 2, 0),  # 1.5 rounds to 2
    ],
)
def test_rounding(size: tuple[int, int], resized: tuple[int, int], left: int, top: int) -> None:
    picture = _picture(*size)
    whole = np.asarray(picture.resize(resized, Image.Resampling.BICUBIC))
    expected = whole[top : top + 48, left : left + 48]
    assert np.array_equal(square(picture, Preprocessing(48)), expected)


def test_a_very_long_picture_takes_little_memory_and_shows_its_middle() -> None:
    picture = _picture(48 * 40, 48)
    middle = np.asarray(picture)[:, 936:984]
    assert np.abs(square(picture, Preprocessing(48)).astype(int) - middle).max() <= 1
    assert square(_picture(60_000, 1), Preprocessing(48)).shape == (48, 48, 3)


@pytest.mark.parametrize(
    "wrong", [{"interpolation": "nearest"}, {"resize_mode": "longest"}], ids=str
)
def test_what_is_not_known_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong.values()))):
        Preprocessing(48, **wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.compare
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")
def test_pixels_are_open_clips() -> None:
    import_peer("open_clip")
    from open_clip.transform import image_transform

    steps = {
        mode: image_transform(48, is_train=False, resize_mode=mode).transforms[:-2]
        for mode in ("shortest", "squash")
    }

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(st.integers(1, 300), st.integers(1, 300), st.sampled_from(["shortest", "squash"]))
    def check(width: int, height: int, mode: str) -> None:
        if max(width, height) > 32 * min(width, height):
            return  # the docstring of `square`: at most a level
        picture = theirs = _picture(width, height)
        for step in steps[mode]:
            theirs = step(theirs)
        ours = square(picture, Preprocessing(48, resize_mode=mode))
        assert np.array_equal(ours, np.asarray(theirs))

    check()


@pytest.mark.compare
@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")
def test_pixels_are_transformers_where_it_resizes_alike() -> None:
    transformers = import_peer("transformers")
    processor = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}
    )
    differences = [0.0]
    preprocessing = Preprocessing(48)
    for width, height in [(48, 48), (96, 96), (200, 100), (100, 200), (301, 96), (77, 48)]:
        picture = _picture(width, height)
        theirs = processor(picture, return_tensors="np")["pixel_values"][0].transpose(1, 2, 0)
        ours = (square(picture, preprocessing) / 255 - preprocessing.mean) / preprocessing.std
        if (max(width, height) * 48 // min(width, height) - 48) % 2 == 0:
            # of an odd margin transformers leaves the other half pixel out
            differences.append(np.abs(ours - theirs).max())
    print(f"\nnormalised pixels: max |difference| {max(differences):.1e}")
    assert max(differences) < 1e-5
