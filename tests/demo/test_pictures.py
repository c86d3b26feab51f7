"""The drawn world: what its texts claim is what its pictures show."""

import io
import random
from itertools import product

import numpy as np
import pytest

from webpairs.demo.pictures import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    HARD_ATTRIBUTES,
    SHAPES,
    Scene,
    caption,
    change,
    draw,
    hard_negative,
    is_held_out,
    junk_text,
    random_scene,
    unrelated_caption,
)

NUMBERS = {"a": 1, "an": 1, "one": 1, "single": 1, "two": 2, "2": 2, "three": 3, "3": 3}
NUMBERS |= {"four": 4, "4": 4}


def told(text: str) -> dict[str, object]:
    """Read the attributes off a text, by the words next to its shape."""
    words = text.lower().rstrip(".").replace("grey", "gray").split()
    forms = {shape: shape for shape in SHAPES} | {shape + "s": shape for shape in SHAPES}
    forms["crosses"] = "cross"
    [place] = [place for place, word in enumerate(words) if word in forms]
    colours = [(i, word) for i, word in enumerate(words) if word in COLOURS]
    found: dict[str, object] = {
        "shape": forms[words[place]],
        "colour": words[place - 1],
        "count": NUMBERS[words[place - 2]],
    }
    others = [word for i, word in colours if i != place - 1]
    if others:
        [found["background"]] = others
    return found


@pytest.mark.parametrize("held_out", [False, True])
def test_scenes_keep_to_their_side_of_the_split(held_out: bool) -> None:
    rng = random.Random(1)
    for _ in range(500):
        assert is_held_out(random_scene(rng, held_out=held_out)) == held_out


def test_every_value_is_seen_in_training() -> None:
    pairs = {
        (colour, shape)
        for colour, shape in product(COLOURS, SHAPES)
        if not is_held_out(Scene(1, colour, shape, "white" if colour != "white" else "black"))
    }
    assert len(pairs) == 80
    assert {colour for colour, _ in pairs} == set(COLOURS)
    assert {shape for _, shape in pairs} == set(SHAPES)


def test_the_split_does_not_depend_on_count_or_background() -> None:
    for colour, shape in product(COLOURS, SHAPES):
        sides = {
            is_held_out(Scene(count, colour, shape, background))
            for count, background in product(COUNTS, BACKGROUNDS)
            if background != colour
        }
        assert len(sides) == 1


@pytest.mark.parametrize(
    "scene",
    [
        (0, "red", "star", "blue"),
        (1, "mauve", "star", "blue"),
        (1, "red", "cube", "blue"),
        (1, "red", "star", "orange"),
        (1, "blue", "star", "blue"),
    ],
)
def test_impossible_scenes_are_refused(scene: tuple[int, str, str, str]) -> None:
    with pytest.raises(ValueError, match="no such scene"):
        Scene(*scene)


@pytest.mark.parametrize("seed", range(5))
def test_a_seed_decides_everything(seed: int) -> None:
    def made() -> tuple[object, ...]:
        rng = random.Random(seed)
        scene = random_scene(rng, held_out=False)
        texts = [hard_negative(scene, rng, name) for name in HARD_ATTRIBUTES]
        pixels = draw(scene, rng, 96, 64).tobytes()
        return scene, caption(scene, rng), texts, junk_text(rng), pixels

    assert made() == made()


def test_captions_are_true() -> None:
    rng = random.Random(2)
    for _ in range(2000):
        scene = random_scene(rng, held_out=rng.random() < 0.5)
        for name, value in told(caption(scene, rng)).items():
            assert getattr(scene, name) == value


def test_the_background_is_told_when_asked_for() -> None:
    rng = random.Random(3)
    for with_background in [True, False] * 300:
        scene = random_scene(rng, held_out=False)
        text = caption(scene, rng, with_background=with_background)
        assert ("background" in told(text)) == with_background


@pytest.mark.parametrize("attribute", HARD_ATTRIBUTES)
def test_hard_negatives_are_wrong_in_exactly_one_attribute(attribute: str) -> None:
    rng = random.Random(4)
    for _ in range(500):
        scene = random_scene(rng, held_out=rng.random() < 0.5)
        claims = told(hard_negative(scene, rng, attribute))
        wrong = [name for name, value in claims.items() if getattr(scene, name) != value]
        assert wrong == [attribute]


def test_an_unknown_attribute_is_refused() -> None:
    rng = random.Random(5)
    with pytest.raises(ValueError, match="'size' is none of count, colour"):
        change(random_scene(rng, held_out=False), rng, "size")


def test_unrelated_captions_are_wrong_in_everything_they_tell() -> None:
    rng = random.Random(6)
    for _ in range(500):
        scene = random_scene(rng, held_out=True)
        for name, value in told(unrelated_caption(scene, rng)).items():
            assert getattr(scene, name) != value


def test_junk_is_long_enough_and_tells_no_shape() -> None:
    rng = random.Random(7)
    shapes = {form for shape in SHAPES for form in (shape + "s", "crosses")}
    for _ in range(2000):
        text = junk_text(rng)
        assert len(text) >= 5
        assert not shapes & set(text.lower().split())


@pytest.mark.parametrize("size", [(320, 320), (400, 320), (320, 480), (640, 640)])
def test_files_are_larger_than_laions_5000_bytes(size: tuple[int, int]) -> None:
    rng = random.Random(8)
    for _ in range(4):
        picture = draw(random_scene(rng, held_out=False), rng, *size)
        assert (picture.mode, picture.size) == ("RGB", size)
        for kind in ("JPEG", "WEBP"):
            file = io.BytesIO()
            picture.save(file, kind, quality=90)
            assert len(file.getvalue()) > 10_000


@pytest.mark.parametrize("size", [(200, 120), (120, 200)])
def test_shapes_lie_in_the_centre_square(size: tuple[int, int]) -> None:
    rng = random.Random(9)
    width, height = size
    for shape, count in product(SHAPES, COUNTS):
        pixels = np.asarray(draw(Scene(count, "black", shape, "white"), rng, width, height))
        dark = pixels.mean(axis=2) < 128
        side = min(size)
        left, top = (width - side) // 2, (height - side) // 2
        inside = dark[top : top + side, left : left + side].sum()
        assert inside > 0.05 * side * side
        assert dark.sum() == inside


def num_islands(dark: np.ndarray) -> int:
    """Count connected regions by flooding, less the specks that grain leaves at edges."""
    left = {(int(y), int(x)) for y, x in np.argwhere(dark)}
    islands = 0
    while left:
        shore, area = [left.pop()], 0
        while shore:
            area += 1
            y, x = shore.pop()
            for place in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                if place in left:
                    left.remove(place)
                    shore.append(place)
        islands += area > 20
    return islands


@pytest.mark.parametrize("shape", SHAPES)
def test_as_many_shapes_are_drawn_as_counted(shape: str) -> None:
    rng = random.Random(10)
    for count in COUNTS * 3:
        pixels = np.asarray(draw(Scene(count, "black", shape, "white"), rng, 160, 160))
        assert num_islands(pixels.mean(axis=2) < 128) == count
