"""Boxes are blurred by img2dataset's rule, and a row whose boxes are broken is not stored."""

from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import museum_images as museum
from support.run_folders import SmallCrawl

from webpairs import BuildOptions, build_dataset
from webpairs.errors import ConfigError
from webpairs.image.blur import blur_boxes, read_boxes
from webpairs.image.decode import ImageRules, decode
from webpairs.recipes import load_recipe
from webpairs.run_folder.funnel import read_funnel

BOX = (0.25, 0.25, 0.5, 0.75)
RULES = ImageRules.of_recipe(load_recipe("download"))


def noise(width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(1)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def pixels(image: Image.Image) -> Any:
    return np.asarray(image).astype(float)


@pytest.mark.parametrize(
    ("value", "boxes"),
    [
        (None, ()),
        ("", ()),
        (" ", ()),
        ([], ()),
        ("[]", ()),
        ([[0, 0.5, 1, 1.0]], ((0.0, 0.5, 1.0, 1.0),)),
        ("[[0.25, 0.25, 0.5, 0.75]]", (BOX,)),
        ([[-0.1, 0, 1.1, 1]], ((-0.1, 0.0, 1.1, 1.0),)),
    ],
)
def test_boxes_of_tables(value: Any, boxes: Any) -> None:
    assert read_boxes(value) == boxes


@pytest.mark.parametrize(
    "value",
    [
        *("x", "1", 7, {}, [0, 0, 1, 1], [[0, 0, 1]], [[0, 0, 1, None]], [[0, 0, 1, "1"]], [None]),
        *([[0, 0, True, 1]], [[0.5, 0, 0.25, 1]], [[0, 0.9, 1, 0.1]], [[10, 10, 90, 90]]),
        *([[0, 0, float("nan"), 1]], [[0, 0, float("inf"), 1]], [[0, 0, 1, 1]] * 1001),
    ],
    ids=str,
)
def test_what_is_not_boxes(value: Any) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_boxes(value)
    assert str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_boxes_or_an_error(text: str) -> None:
    with suppress(ValueError):
        read_boxes(text)


def by_the_rule(image: Image.Image, box: Any) -> Any:
    """Return what img2dataset's rule gives for one box, in floating point, over the whole."""
    width, height = image.size
    x0, y0, x1, y1 = (int(one * side) for one, side in zip(box, (width, height) * 2, strict=True))
    side = max(x1 - x0, y1 - y0)
    grown = int(0.1 * side)
    mask = np.zeros((height, width, 1))
    mask[max(y0 - grown, 0) : y1 + grown, max(x0 - grown, 0) : x1 + grown] = 1
    reach = int(np.ceil(4 * 0.1 * side))
    kernel = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * (0.1 * side) ** 2))
    kernel /= kernel.sum()

    def blurred(values: Any) -> Any:
        for axis in (0, 1):
            values = np.apply_along_axis(
                lambda row: np.convolve(np.pad(row, reach, "edge"), kernel, "valid"), axis, values
            )
        return values

    soft = blurred(mask)
    return pixels(image) * (1 - soft) + blurred(pixels(image)) * soft


def test_a_box_is_blurred_as_img2dataset_does() -> None:
    image = museum.RGB.resize((200, 160))
    found = pixels(blur_boxes(image, [BOX], image.size))
    assert np.abs(found - by_the_rule(image, BOX)).max() < 6
    assert np.abs(found - by_the_rule(image, BOX)).mean() < 0.5


def test_only_what_is_near_a_box_changes() -> None:
    image = noise(200, 100)
    found = pixels(blur_boxes(image, [BOX], image.size))
    there = found != pixels(image)
    assert not there[:, 150:].any()
    inside = found[40:60, 65:85]
    assert inside.std() < 0.2 * pixels(image)[40:60, 65:85].std()
    for boxes in ((), ((1.2, 0.0, 1.5, 1.0),), ((0.5, 0.5, 0.5, 0.9),)):
        assert blur_boxes(image, boxes, image.size) == image
    everything = pixels(blur_boxes(image, [(-1, -1, 2, 2)], image.size))
    assert everything.std() < 0.2 * pixels(image).std()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
@pytest.mark.parametrize("scaled", [False, True])
def test_boxes_are_those_of_the_picture_as_coded(orientation: int, scaled: bool) -> None:
    image = museum.RGB.resize((1200, 900))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = museum.save(image, "JPEG", quality=95, exif=exif)
    rules = ImageRules.of_recipe(load_recipe("download"), scaled_decode=scaled)
    turned = decode(data, rules, [(0.0, 0.0, 0.3, 0.3)])
    plain = decode(data, rules)
    assert turned.rgb.size == plain.rgb.size
    changed = np.abs(pixels(turned.rgb) - pixels(plain.rgb)).max(axis=2) > 2
    back = {1: 0, 3: 2, 6: 1, 8: 3}[orientation]  # quarter turns to the picture as coded
    changed = np.rot90(changed, back)
    height, width = changed.shape
    assert changed[: height // 4, : width // 4].any()
    assert not changed[height // 2 :].any()
    assert not changed[:, width // 2 :].any()


def stored(run: Path) -> dict[str, Any]:
    """Return the stored picture of each caption."""
    found: dict[str, Any] = {}
    for path in sorted((run / "images").glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore
        for name, data in members.items():
            if name.endswith(".json"):
                caption = orjson.loads(data)["caption"]
                picture = members[name.replace(".json", ".png")]
                found[caption] = pixels(Image.open(io.BytesIO(picture)).convert("RGB"))
    return found


def test_a_build_blurs_the_boxes_of_each_row(
    little_web: SmallCrawl, loose_run: Path, tmp_path: Path
) -> None:
    (url, *_) = pq.read_table(loose_run / "metadata" / "00000.parquet")["URL"].to_pylist()
    whole = [[0.0, 0.0, 1.0, 1.0]]
    boxes = {"sharp": None, "none": [], "soft": whole, "half": [[0.0, 0.0, 0.4, 1.0]]}
    rows = {**boxes, "in pixels": [[10.0, 10.0, 90.0, 90.0]]}
    table = pa.table({"url": [url] * 5, "caption": list(rows), "faces": list(rows.values())})
    pq.write_table(table, tmp_path / "table.parquet")
    options: dict[str, Any] = {
        "inputs": (str(tmp_path / "table.parquet"), *map(str, little_web.files.warc)),
        "images": "archive",
        "model": "none",
        "image_format": "png",
        "workers": 1,
    }
    out = tmp_path / "out"
    build_dataset(BuildOptions(**options, out=str(out), blur_boxes="faces"))
    pictures = stored(out)
    assert "in pixels" not in pictures
    assert read_funnel(out).drops["row_broken"] == 1
    assert (pictures["sharp"] == pictures["none"]).all()
    assert pictures["soft"].std() < pictures["sharp"].std()
    changed = (pictures["half"] != pictures["sharp"]).any(axis=(0, 2))
    assert changed[: len(changed) // 3].any()
    assert not changed[-len(changed) // 8 :].any()
    with pytest.raises(
        ConfigError, match="--blur-boxes: the run has faces, this line asks for none"
    ):
        build_dataset(BuildOptions(**options, out=str(out)))
    with pytest.raises(ConfigError, match=r"no column 'bbox' of boxes .*mend --blur-boxes"):
        build_dataset(BuildOptions(**options, out=str(tmp_path / "other"), blur_boxes="bbox"))
