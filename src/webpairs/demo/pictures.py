"""Pictures whose whole truth is known, and true and false texts about them.

This is the world that the shipped model `tiny` was trained on (`training/train_tiny.py`): one to
four equal shapes of one colour on a background of another. Whoever changes a value, a phrase or the
drawing here must train `tiny` again.
"""

import math
import random
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageChops, ImageDraw

# RGB in 0..255; any two stay apart after `_COLOUR_JITTER` in each channel.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (210, 30, 35),
    "orange": (245, 135, 20),
    "yellow": (248, 222, 50),
    "green": (40, 145, 55),
    "turquoise": (50, 205, 200),
    "blue": (35, 65, 205),
    "purple": (120, 35, 150),
    "pink": (248, 150, 195),
    "brown": (115, 68, 32),
    "black": (22, 22, 22),
    "white": (246, 246, 246),
    "gray": (132, 132, 132),
}
BACKGROUNDS: tuple[str, ...] = (
    "white", "black", "gray", "blue", "green", "yellow", "pink", "brown",
)  # fmt: skip
SHAPES: tuple[str, ...] = (
    "circle", "square", "triangle", "star", "heart", "cross", "ring", "crescent",
)  # fmt: skip
COUNTS: tuple[int, ...] = (1, 2, 3, 4)

# The attributes whose change `tiny` notices; measured in docs/tiny.md.
HARD_ATTRIBUTES: tuple[str, ...] = ("count", "colour", "shape", "background")

_COLOUR_JITTER = 9
_TURN_DEGREES = {"circle": 0.0, "ring": 0.0, "crescent": 40.0}
_DEFAULT_TURN_DEGREES = 14.0  # a square turned further would be read as a diamond

# Of the centre square: the middle of each cell of the 2 x 2 grid that two to four shapes are put
# in, and how far a shape may stray from it. Radii are of the circle around a shape.
_CELL_CENTRES = ((0.26, 0.26), (0.74, 0.26), (0.26, 0.74), (0.74, 0.74))
_CELL_STRAY = 0.03
_CELL_RADIUS = (0.18, 0.205)
_LONE_STRAY = 0.08
_LONE_RADIUS = (0.28, 0.40)


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything that can be true of a picture.

    `count` is one of COUNTS, `colour` a key of COLOURS, `shape` one of SHAPES, `background` one of
    BACKGROUNDS and never equal to `colour`.
    """

    count: int
    colour: str
    shape: str
    background: str

    def __post_init__(self) -> None:
        if (
            self.count not in COUNTS
            or self.colour not in COLOURS
            or self.shape not in SHAPES
            or self.background not in BACKGROUNDS
            or self.background == self.colour
        ):
            raise ValueError(f"no such scene: {self}; see the values in webpairs.demo.pictures")


def is_held_out(scene: Scene) -> bool:
    """Say whether a scene's colour and shape were never shown together in training.

    16 of the 96 pairs of a colour and a shape are held out; each colour and each shape is in
    others that are not.
    """
    colour = list(COLOURS).index(scene.colour)
    shape = SHAPES.index(scene.shape)
    return (5 * colour + shape) % 6 == 0


def random_scene(rng: random.Random, *, held_out: bool) -> Scene:
    """Draw a scene at random from those held out of training, or from the others."""
    while True:
        colour = rng.choice(list(COLOURS))
        scene = Scene(
            count=rng.choice(COUNTS),
            colour=colour,
            shape=rng.choice(SHAPES),
            background=rng.choice([name for name in BACKGROUNDS if name != colour]),
        )
        if is_held_out(scene) == held_out:
            return scene


def draw(scene: Scene, rng: random.Random, width_px: int, height_px: int) -> Image.Image:
    """Draw a scene as an RGB picture of the given size.

    Every shape lies in the centre square, which is all that CLIP's preprocessing keeps. Grain, soft
    light and weak patterns vary from picture to picture; they make a JPEG of 320 x 320 at quality
    90 larger than the 5,000 bytes below which LAION-400M dropped images.
    """
    grains = np.random.Generator(np.random.PCG64(rng.getrandbits(64)))
    mask = np.asarray(_mask(scene, rng, width_px, height_px), dtype=np.float32)[..., None]
    mask *= 1 / 255
    ground = _paint(COLOURS[scene.background], rng, width_px, height_px)
    paint = _paint(COLOURS[scene.colour], rng, width_px, height_px)
    pixels = ground + mask * (paint - ground)
    grain = grains.standard_normal((height_px, width_px, 1), dtype=np.float32)
    pixels += grain * np.float32(rng.uniform(6, 10))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _paint(
    colour: tuple[int, int, int], rng: random.Random, width_px: int, height_px: int
) -> np.ndarray:
    """Return a colour with jitter, light that falls off to one side, and perhaps weak stripes.

    (height, width, 3) float32, in 0..255 give or take.
    """
    jittered = [channel + rng.uniform(-_COLOUR_JITTER, _COLOUR_JITTER) for channel in colour]
    across = np.linspace(-0.5, 0.5, width_px, dtype=np.float32)[None, :]
    down = np.linspace(-0.5, 0.5, height_px, dtype=np.float32)[:, None]
    angle = rng.uniform(0, 2 * math.pi)
    along = math.cos(angle) * across + math.sin(angle) * down
    light = rng.uniform(0, 24) * along
    if rng.random() < 0.5:
        light = light + rng.uniform(2, 7) * np.sin(along * rng.uniform(20, 160))
    return np.asarray(jittered, dtype=np.float32) + light[..., None].astype(np.float32)


def _mask(scene: Scene, rng: random.Random, width_px: int, height_px: int) -> Image.Image:
    """Return where the shapes are: an "L" picture, 255 inside, with smooth edges."""
    scale = 2  # drawn twice as large and averaged, for Pillow draws polygons with hard edges
    mask = Image.new("L", (width_px * scale, height_px * scale), 0)
    side = min(width_px, height_px) * scale
    left, top = (width_px * scale - side) / 2, (height_px * scale - side) / 2
    if scene.count == 1:
        places = [(0.5, 0.5)]
        radius, stray = rng.uniform(*_LONE_RADIUS), _LONE_STRAY
    else:
        places = rng.sample(_CELL_CENTRES, scene.count)
        radius, stray = rng.uniform(*_CELL_RADIUS), _CELL_STRAY
    for x, y in places:
        middle = (
            left + side * (x + rng.uniform(-stray, stray)),
            top + side * (y + rng.uniform(-stray, stray)),
        )
        limit = _TURN_DEGREES.get(scene.shape, _DEFAULT_TURN_DEGREES)
        _draw_shape(mask, scene.shape, middle, side * radius, rng.uniform(-limit, limit))
    return mask.reduce(scale)


def _draw_shape(
    mask: Image.Image, shape: str, middle: tuple[float, float], radius: float, turn_degrees: float
) -> None:
    """Add a shape that fits into the circle of the radius (in pixels of the mask)."""
    pen = ImageDraw.Draw(mask)

    def disc(x: float, y: float, part: float, ink: int, on: ImageDraw.ImageDraw = pen) -> None:
        x, y = middle[0] + radius * x, middle[1] + radius * y
        reach = radius * part
        on.ellipse((x - reach, y - reach, x + reach, y + reach), fill=ink)

    if shape == "circle":
        disc(0, 0, 0.9, 255)
    elif shape == "ring":
        disc(0, 0, 0.97, 255)
        disc(0, 0, 0.52, 0)
    elif shape == "crescent":
        moon = Image.new("L", mask.size, 0)
        moon_pen = ImageDraw.Draw(moon)
        disc(0, 0, 0.98, 255, moon_pen)
        turn = math.radians(turn_degrees)
        disc(0.5 * math.cos(turn), 0.5 * math.sin(turn), 0.82, 0, moon_pen)
        mask.paste(ImageChops.lighter(mask, moon))
    else:
        turn = math.radians(turn_degrees)
        cosine, sine = math.cos(turn) * radius, math.sin(turn) * radius
        pen.polygon(
            [
                (middle[0] + cosine * x - sine * y, middle[1] + sine * x + cosine * y)
                for x, y in _OUTLINES[shape]
            ],
            fill=255,
        )


def _rays(radii: tuple[float, ...], num_points: int) -> list[tuple[float, float]]:
    """Return points evenly round the middle, the first on top, at the radii in turn."""
    return [
        (
            radii[i % len(radii)] * math.sin(2 * math.pi * i / num_points),
            -radii[i % len(radii)] * math.cos(2 * math.pi * i / num_points),
        )
        for i in range(num_points)
    ]


def _heart() -> list[tuple[float, float]]:
    """Return x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t, scaled to fit."""
    points = []
    for i in range(60):
        t = 2 * math.pi * i / 60
        x = 16 * math.sin(t) ** 3
        y = 13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)
        points.append((x / 17.5, -(y + 2.5) / 17.5))
    return points


# Polygons in the unit circle, y downwards.
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.7, -0.7), (0.7, -0.7), (0.7, 0.7), (-0.7, 0.7)],
    "triangle": _rays((1.0,), 3),
    "star": _rays((1.0, 0.42), 10),
    "heart": _heart(),
    "cross": [
        (-0.28, -0.94), (0.28, -0.94), (0.28, -0.28), (0.94, -0.28), (0.94, 0.28), (0.28, 0.28),
        (0.28, 0.94), (-0.28, 0.94), (-0.28, 0.28), (-0.94, 0.28), (-0.94, -0.28), (-0.28, -0.28),
    ],
}  # fmt: skip

_PLURALS = {"cross": "crosses"}
_NUMBERS = {2: ("two", "2"), 3: ("three", "3"), 4: ("four", "4")}

# {things} is "three red circles", {colour} the background's.
_PHRASES = (
    "{things}",
    "a photo of {things}",
    "a picture of {things}",
    "a drawing of {things}",
    "an image of {things}",
    "an illustration of {things}",
    "a poster with {things} on it",
    "this picture shows {things}",
    "{things} in the middle of the picture",
    "here you can see {things}",
)
_PHRASES_WITH_BACKGROUND = (
    "{things} on a {colour} background",
    "{things} in front of a {colour} background",
    "{things} against a {colour} background",
    "a photo of {things} on a {colour} background",
    "a picture of {things} on a {colour} background",
    "a drawing of {things} on {colour} paper",
    "an illustration of {things} on a {colour} background",
    "a {colour} background with {things}",
    "a {colour} picture with {things} on it",
    "a {colour} wall with {things} painted on it",
    "{things} painted on a {colour} wall",
    "this picture shows {things} on a {colour} background",
)


def caption(scene: Scene, rng: random.Random, *, with_background: bool | None = None) -> str:
    """Write a true text about a scene, as the alt text of a page would read.

    Count, colour and shape are always told; the background in two of three texts unless
    `with_background` decides.
    """
    if with_background is None:
        with_background = rng.random() < 2 / 3
    colour = rng.choice(("gray", "grey")) if scene.colour == "gray" else scene.colour
    if scene.count == 1:
        number = rng.choice(("an" if colour[0] in "aeiou" else "a", "one", "a single"))
        things = f"{number} {colour} {scene.shape}"
    else:
        number = rng.choice(_NUMBERS[scene.count])
        things = f"{number} {colour} {_PLURALS.get(scene.shape, scene.shape + 's')}"
    phrases = _PHRASES_WITH_BACKGROUND if with_background else _PHRASES
    background = scene.background
    if background == "gray":
        background = rng.choice(("gray", "grey"))
    text = rng.choice(phrases).format(things=things, colour=background)
    ending = rng.choice(("", "", "."))
    return (text[0].upper() + text[1:] if rng.random() < 0.7 else text) + ending


def hard_negative(scene: Scene, rng: random.Random, attribute: str) -> str:
    """Write a text that is true of a scene but for one attribute, which it tells wrongly.

    `attribute` is one of HARD_ATTRIBUTES.
    """
    return caption(
        change(scene, rng, attribute),
        rng,
        with_background=True if attribute == "background" else None,
    )


def change(scene: Scene, rng: random.Random, attribute: str) -> Scene:
    """Return the scene with another value of exactly one attribute, one of HARD_ATTRIBUTES."""
    if attribute == "count":
        return replace(scene, count=rng.choice([n for n in COUNTS if n != scene.count]))
    if attribute == "shape":
        return replace(scene, shape=rng.choice([name for name in SHAPES if name != scene.shape]))
    taken = (scene.colour, scene.background)
    if attribute == "colour":
        return replace(scene, colour=rng.choice([name for name in COLOURS if name not in taken]))
    if attribute == "background":
        others = [name for name in BACKGROUNDS if name not in taken]
        return replace(scene, background=rng.choice(others))
    raise ValueError(f"attribute {attribute!r} is none of {', '.join(HARD_ATTRIBUTES)}")


def unrelated_caption(scene: Scene, rng: random.Random) -> str:
    """Write a true text about another scene, which shares no attribute with the given one."""
    while True:
        other = random_scene(rng, held_out=rng.random() < 0.5)
        if all(getattr(other, name) != getattr(scene, name) for name in HARD_ATTRIBUTES):
            return caption(other, rng)


_JUNK_NOUNS = (
    "dog", "cat", "house", "garden", "mountain", "river", "kitchen", "bicycle", "car", "bridge",
    "dress", "shirt", "shoe", "table", "chair", "lamp", "flower", "tree", "beach", "city", "street",
    "church", "museum", "hotel", "school", "office", "team", "family", "wedding", "baby", "horse",
    "bird", "cake", "pizza", "salad", "coffee", "wine", "phone", "laptop", "camera", "watch",
    "ticket", "map", "train", "boat", "castle", "market", "shop", "book", "band", "player", "match",
)  # fmt: skip
_JUNK_PLACES = (
    "Berlin", "London", "Paris", "Madrid", "Tokyo", "the park", "the city", "the old town",
    "summer", "winter", "the morning", "the north", "the mountains", "our office", "our shop",
    "the museum",
)  # fmt: skip
_JUNK_ADJECTIVES = (
    "old", "new", "beautiful", "wooden", "modern", "best", "cheap", "large", "small", "happy",
    "historic", "luxury", "free", "local", "famous", "vintage", "fresh", "natural", "red", "blue",
    "green", "black", "white", "yellow", "pink", "brown",
)  # fmt: skip
_JUNK_NAMES = (
    "Acme", "Northwind", "Globex", "Initech", "Umbrella", "Example", "Contoso", "Fabrikam", "Daily",
    "Morning", "Mueller", "Garcia", "Smith", "Anna", "Peter", "Maria", "James", "Laura",
)  # fmt: skip
_JUNK_TEXTS = (
    "Click here to subscribe", "Click to enlarge", "Read more about this article",
    "Share on Facebook", "Follow us on Twitter", "Subscribe to our newsletter", "Sign up today",
    "Learn more", "Back to top", "Add to cart", "Buy now and save", "Free shipping on all orders",
    "Skip to main content", "Image not available", "No image found", "Loading, please wait",
    "placeholder image", "untitled", "Featured image", "Download the app on the App Store",
    "Get it on Google Play", "Advertisement", "Close this window", "Open menu", "Search this site",
    "Previous slide", "Next slide", "Play video", "Accept all cookies",
    "Privacy policy and terms of service", "All rights reserved", "Contact us", "Five star reviews",
    "A star is born", "Four seasons in one day", "Square footage calculator",
    "Red Cross donation appeal", "Ring the bell to subscribe", "Heart disease and stroke awareness",
    "Love triangle in the new season", "Circle of friends", "Times Square in New York at night",
)  # fmt: skip
_JUNK_FORMS = (
    "IMG_{number}.JPG", "DSC{number}.jpg", "image{number}.png", "photo-{number}-1024x768",
    "Screenshot {number}", "banner_{number}.gif", "{name} logo", "logo of our company {name}",
    "{name} {noun} logo", "the {adjective} {noun} of {name}", "{adjective} {noun} in {place}",
    "a photo of a {adjective} {noun} in {place}", "a {noun} and a {noun2} in {place}",
    "two {noun}s with a {adjective} {noun2}", "three {noun}s in {place}", "{name} {noun} {number}",
    "How to choose the {adjective} {noun} for your {noun2}",
    "{number} ways to buy a {adjective} {noun}", "Buy a {adjective} {noun} from {name}",
    "{name} playing with a {noun}", "portrait of {name}", "profile picture of {name}",
    "a picture of a {noun} next to a {noun2}", "{noun} {noun2} {place}",
    "{adjective} {noun} on a white background", "a {adjective} {noun} on a {adjective2} background",
)  # fmt: skip


def junk_text(rng: random.Random) -> str:
    """Write an alt text that is true of no scene: a file name, a button, another picture's text.

    At least 5 characters, LAION-400M's limit.
    """
    if rng.random() < 0.25:
        return rng.choice(_JUNK_TEXTS)
    return rng.choice(_JUNK_FORMS).format(
        number=rng.randrange(10_000),
        name=rng.choice(_JUNK_NAMES),
        noun=rng.choice(_JUNK_NOUNS),
        noun2=rng.choice(_JUNK_NOUNS),
        place=rng.choice(_JUNK_PLACES),
        adjective=rng.choice(_JUNK_ADJECTIVES),
        adjective2=rng.choice(_JUNK_ADJECTIVES),
    )
