"""Draw training pictures once, and keep them as CLIP's preprocessing would see them."""

import io
import multiprocessing
import random
from pathlib import Path

import numpy as np
from PIL import Image

from webpairs.demo.pictures import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    SHAPES,
    Scene,
    draw,
    random_scene,
)

SIDE_PX = 64
PART_SCENES = 2_500

# Short sides of what the demo draws; the smaller ones, quicker to draw, more often.
_SHORT_SIDES_PX = (320, 320, 320, 360, 400, 480, 640)


def as_seen(scene: Scene, rng: random.Random) -> np.ndarray:
    """Draw a scene at some size, store it as JPEG, WebP or PNG, and return it as CLIP sees it.

    (64, 64, 3) uint8: short side to 64 px by Pillow's bicubic filter, then the centre square.
    """
    short = rng.choice(_SHORT_SIDES_PX)
    long = short if rng.random() < 0.6 else round(short * rng.uniform(1.05, 1.5))
    width, height = (short, long) if rng.random() < 0.5 else (long, short)
    picture = draw(scene, rng, width, height)
    kind = rng.choice(("JPEG", "JPEG", "JPEG", "JPEG", "JPEG", "JPEG", "PNG", "WEBP"))
    if kind != "PNG":
        data = io.BytesIO()
        picture.save(data, kind, quality=rng.randint(75, 95), method=0)  # method: WebP's fastest
        picture = Image.open(data).convert("RGB")
    return preprocess(picture)


def preprocess(picture: Image.Image) -> np.ndarray:
    """Return the centre square of an RGB picture, (64, 64, 3) uint8, resized as CLIP does."""
    width, height = picture.size
    short = min(width, height)
    # torchvision's Resize: the long side is cut to whole pixels
    size = (int(SIDE_PX * width / short), int(SIDE_PX * height / short))
    pixels = np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
    top, left = round((size[1] - SIDE_PX) / 2), round((size[0] - SIDE_PX) / 2)
    return pixels[top : top + SIDE_PX, left : left + SIDE_PX]


def _render_part(job: tuple[str, int, bool]) -> str:
    path, seed, held_out = job
    if not Path(path).exists():
        rng = random.Random(seed)
        scenes = [random_scene(rng, held_out=held_out) for _ in range(PART_SCENES)]
        pictures = np.stack([as_seen(scene, rng) for scene in scenes])
        with Path(path + ".part").open("wb") as file:
            np.savez(file, pictures=pictures, scenes=np.array([encode(s) for s in scenes]))
        Path(path + ".part").rename(path)
    return path


def encode(scene: Scene) -> tuple[int, int, int, int]:
    """Return a scene as four indexes: count, colour, shape, background."""
    return (
        COUNTS.index(scene.count),
        list(COLOURS).index(scene.colour),
        SHAPES.index(scene.shape),
        BACKGROUNDS.index(scene.background),
    )


def render(
    folder: Path, num_parts: int, *, seed: int, held_out: bool, processes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return pictures (n, 64, 64, 3) uint8 and scenes (n, 4); draw only what is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    name = "held-out" if held_out else "train"
    jobs = [
        (str(folder / f"{name}-{seed + part}.npz"), seed + part, held_out)
        for part in range(num_parts)
    ]
    with multiprocessing.Pool(processes) as pool:
        parts = [np.load(path) for path in pool.map(_render_part, jobs, chunksize=1)]
    return (
        np.concatenate([part["pictures"] for part in parts]),
        np.concatenate([part["scenes"] for part in parts]),
    )
