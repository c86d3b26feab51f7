"""Time decode + store per image beside img2dataset's way with OpenCV, and weigh what is given up.

    ./run python benchmarks/decode.py [--peer PYTHON] [--repeats 20] [--copies | --scaled]

PYTHON is an interpreter with OpenCV, e.g. of `uv venv peer && uv pip install --python
peer/bin/python opencv-python-headless`; without it our own figures are printed alone. The pictures
are drawn: noise with the spectrum of photographs, shapes and text. Both sides use one thread, and
its processor time is what counts, so that other work on the machine disturbs less.

`--copies` asks how well filters shrink, after a whole and after a scaled decode: decibels between
the copy (short side 256) and the whole picture, both resized to 224 px as for CLIP.

`--scaled` asks what it would change to let libjpeg shrink while it decodes (Pillow's `draft`), for
a model that reads 224 px and for `tiny`: milliseconds saved, pixels moved, and cosines moved.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import math
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image, ImageDraw, ImageFont

from webpairs.clip.architecture import Preprocessing
from webpairs.clip.model import load_model
from webpairs.clip.preprocess import square
from webpairs.demo import pictures
from webpairs.image import decode as product
from webpairs.image.decode import Decoded, ImageRules, decode, store
from webpairs.image.sniff import FORMATS

SIZES = ((640, 480), (1600, 1200))
NUM_SCENES = 200
RULES = ImageRules(
    min_bytes=5_000,
    max_pixels=89_478_484,
    formats=FORMATS,
    size_px=256,
    resize="border",
    jpeg_quality=95,
)
SCALED = dataclasses.replace(RULES, scaled_decode=True)
# So near to 4:3 that the model's crop of copy and picture is the same; the last does not divide.
COPY_SIZES = ((640, 480), (1024, 768), (1600, 1200), (2048, 1536), (4097, 3073))
COPY_SEEDS = (1, 2, 3)
OTHER_FILTERS = {"lanczos": FilterType.lanczos3, "bilinear": FilterType.bilinear}

# What img2dataset 1.47 does to an image with its defaults (resizer.py), albumentations unrolled:
# decode unchanged, alpha on white, longest side to 256 by INTER_AREA, white border, JPEG 95.
PEER = """
import sys, time, statistics
import cv2, numpy as np
cv2.setNumThreads(1)
def run(data, side=256):
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 4:
        alpha = image[:, :, 3, None]
        image = (alpha / 255 * image[:, :, :3] + 255 - alpha).round().clip(0, 255).astype(np.uint8)
    height, width = image.shape[:2]
    scale = side / max(height, width)
    size = (round(width * scale), round(height * scale))
    image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LANCZOS4)
    top, left = (side - size[1]) // 2, (side - size[0]) // 2
    image = cv2.copyMakeBorder(image, top, side - size[1] - top, left, side - size[0] - left,
                               cv2.BORDER_CONSTANT, value=[255, 255, 255])
    return cv2.imencode(".jpg", image, [int(cv2.IMWRITE_JPEG_QUALITY), 95])[1].tobytes()
repeats = int(sys.argv[1])
for path in sys.argv[2:]:
    data = open(path, "rb").read()
    run(data)
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        run(data)
        times.append(time.thread_time() - start)
    print(1000 * statistics.median(times))
"""  # noqa: E501


# What OpenCV makes of a JPEG with its filter for shrinking, and in what time.
PEER_COPIES = """
import sys, time, statistics
import cv2, numpy as np
cv2.setNumThreads(1)
def run(path, size):
    return cv2.resize(cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED), size,
                      interpolation=cv2.INTER_AREA)
repeats = int(sys.argv[1])
for argument in sys.argv[2:]:
    path, width, height = argument.rsplit(":", 2)
    size = (int(width), int(height))
    np.save(path + ".npy", run(path, size)[..., ::-1])
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        run(path, size)
        times.append(time.thread_time() - start)
    print(1000 * statistics.median(times))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", help="an interpreter that has OpenCV (cv2)")
    parser.add_argument("--repeats", type=int, default=20, help="runs per file; medians are shown")
    weigh = parser.add_mutually_exclusive_group()
    weigh.add_argument("--copies", action="store_true", help="weigh filters and scaled decoding")
    weigh.add_argument("--scaled", action="store_true", help="weigh scaled decoding for a model")
    arguments = parser.parse_args()
    if arguments.scaled:
        weigh_scaled_decoding(arguments.repeats)
    elif arguments.copies:
        weigh_copies(arguments.peer, arguments.repeats)
    else:
        compare(arguments.peer, arguments.repeats)


def draw(width: int, height: int, seed: int) -> Image.Image:
    """Draw noise whose spectrum falls as 1/f, as that of photographs does, with shapes and text."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1

    def noise(exponent: float) -> np.ndarray:
        spectrum = np.fft.rfft2(rng.normal(size=(height, width))) / frequency**exponent
        plane = np.fft.irfft2(spectrum, s=(height, width))
        return plane / plane.std()

    light = noise(1.2)  # colours of photographs vary less, and more slowly, than their light
    planes = [128 + 45 * light + 15 * noise(1.5) for _ in range(3)]
    image = Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for number in range(16):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
        side = int(rng.integers(width // 60, width // 6))
        fill = tuple(int(level) for level in rng.integers(0, 256, 3))
        (pen.ellipse if number % 2 else pen.rectangle)((x, y, x + side, y + side), fill=fill)
    for _ in range(4):
        place = (int(rng.integers(0, width // 2)), int(rng.integers(0, height)))
        font = ImageFont.load_default(size=int(rng.integers(height // 30, height // 8)))
        pen.text(place, "Sale: 50 % off today", fill=(10, 10, 10), font=font)
    return image


def encode(image: Image.Image, format: str) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **({} if format == "png" else {"quality": 85}))
    return out.getvalue()


def median_ms(function: Callable[[], object], repeats: int) -> float:
    function()
    times: list[float] = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return 1000 * statistics.median(times)


def compare(peer: str | None, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        paths: list[Path] = []
        for size in SIZES:
            for format in FORMATS:
                paths.append(Path(folder) / f"{size[0]}x{size[1]}.{format}")
                paths[-1].write_bytes(encode(draw(*size, seed=1), format))
        theirs = run_peer(peer, PEER, repeats, list(map(str, paths)))
        print(
            f"{'file':>16} {'KB':>6} {'decode ms':>10} {'+ store ms':>10} {'scaled ms':>10}"
            f" {'peer ms':>9} ratio scaled"
        )
        for path, their_ms in zip(paths, theirs, strict=True):
            data = path.read_bytes()
            decode_ms = median_ms(lambda data=data: decode(data, RULES), repeats)
            whole_ms, scaled_ms = (
                median_ms(lambda data=data, of=of: store(decode(data, of), data, of), repeats)
                for of in (RULES, SCALED)
            )
            beside = ""
            if their_ms:
                beside = (
                    f" {their_ms:>9.2f} {their_ms / whole_ms:>5.2f} {their_ms / scaled_ms:>6.2f}"
                )
            print(
                f"{path.name:>16} {len(data) / 1000:>6.0f} {decode_ms:>10.2f} {whole_ms:>10.2f}"
                f" {scaled_ms:>10.2f}{beside}"
            )


def run_peer(
    peer: str | None, script: str, repeats: int, arguments: list[str]
) -> list[float | None]:
    """Return the peer's milliseconds per argument, or say why there are none."""
    if peer is None:
        print("No --peer given: ours alone.")
        return [None] * len(arguments)
    line = [peer, "-c", script, str(repeats), *arguments]
    done = subprocess.run(line, capture_output=True, text=True, timeout=600)
    if done.returncode:
        print(f"{peer} cannot run the peer: {done.stderr.strip().splitlines()[-1]}")
        return [None] * len(arguments)
    return [float(line) for line in done.stdout.split()]


def weigh_copies(peer: str | None, repeats: int) -> None:
    """Print how close to the whole picture copies are, before and after JPEG, and their time."""
    whole = dataclasses.replace(RULES, resize="keep-ratio")
    scaled = dataclasses.replace(SCALED, resize="keep-ratio")
    ways: dict[str, Callable[[bytes], Image.Image]] = {
        name: lambda data, of=of: resampled(decode(data, whole).rgb, of)
        for name, of in OTHER_FILTERS.items()
    }
    ways["bicubic"] = lambda data: product._resize(decode(data, whole), whole)
    ways["bicubic, scaled"] = lambda data: product._resize(decode(data, scaled), scaled)
    print(f"{'JPEG':>10} {'copy':>15} {'decoded':>10} {'dB':>6} {'JPEG dB':>8} {'ms':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for size in COPY_SIZES:
            paths = [Path(folder) / f"{size[0]}x{size[1]}-{seed}.jpeg" for seed in COPY_SEEDS]
            for path, seed in zip(paths, COPY_SEEDS, strict=True):
                path.write_bytes(encode(draw(*size, seed=seed), "jpeg"))
            files = [path.read_bytes() for path in paths]
            truth = [at_224(whole_of(data)) for data in files]
            for name, way in ways.items():
                copies = [way(data) for data in files]
                ms = median_ms(lambda way=way, data=files[0]: way(data), repeats)
                shown = decode(files[0], scaled if "scaled" in name else whole).rgb.size
                print_copies(size, name, shown, copies, truth, ms)
            width, height = resampled_size(*size)
            asked = [f"{path}:{width}:{height}" for path in paths]
            times = run_peer(peer, PEER_COPIES, repeats, asked) if peer else [None]
            if times[0]:
                copies = [Image.fromarray(np.load(f"{path}.npy")) for path in paths]
                print_copies(size, "OpenCV's area", size, copies, truth, times[0])


def print_copies(
    size: tuple[int, int],
    name: str,
    shown: tuple[int, int],
    copies: list[Image.Image],
    truth: list[np.ndarray],
    ms: float,
) -> None:
    coded = [Image.open(io.BytesIO(encode_copy(copy))) for copy in copies]
    before, after = (
        statistics.mean(decibels(at_224(a), b) for a, b in zip(of, truth, strict=True))
        for of in (copies, coded)
    )
    print(
        f"{size[0]:>5}x{size[1]:<4} {name:>15} {shown[0]:>5}x{shown[1]:<4} {before:>6.1f}"
        f" {after:>8.1f} {ms:>6.2f}",
        flush=True,
    )


def resampled_size(width: int, height: int) -> tuple[int, int]:
    """Return the size of a copy with a short side of 256."""
    short = min(width, height)
    return round(RULES.size_px * width / short), round(RULES.size_px * height / short)


def resampled(rgb: Image.Image, filter: FilterType) -> Image.Image:
    copy = Image.new("RGB", resampled_size(*rgb.size))
    Resizer().resize_pil(rgb, copy, ResizeOptions(resize_alg=ResizeAlg.convolution(filter)))
    return copy


def encode_copy(copy: Image.Image) -> bytes:
    out = io.BytesIO()
    copy.save(out, "JPEG", quality=RULES.jpeg_quality, subsampling="4:2:0")
    return out.getvalue()


def decibels(one: np.ndarray, other: np.ndarray) -> float:
    return 10 * math.log10(255**2 / np.square(one - other).mean())


def weigh_scaled_decoding(repeats: int) -> None:
    """Print what 1/2, 1/4 and 1/8 change when they leave 1.07 to 4 times what the model reads."""
    tiny = load_model("tiny")
    rng = random.Random(1)
    scenes = [pictures.random_scene(rng, held_out=True) for _ in range(NUM_SCENES)]
    texts = tiny.embed_texts([pictures.caption(scene, rng) for scene in scenes])
    print(
        "left: short side of what is decoded, in sides of what the model reads; ms: decoding alone;"
        "\nlevels: of 255, after CLIP's preprocessing to 224 px and in the stored copy;"
        f"\ntiny: {NUM_SCENES} scenes of as many times its side, |change of similarity|"
        f"\n{'JPEG':>10} {'scale':>5} {'left':>5} {'ms whole':>9} {'ms':>6} {'224: mean':>9}"
        f" {'99.9 %':>6} {'stored':>6} {'tiny: mean':>10} {'most':>7} {'1 - cos, most':>13}"
    )
    for scale in (2, 4, 8):
        for left in (1.07, 1.5, 2.0, 2.7, 4.0):
            height = 24 * round(224 * scale * left / 24)  # so that both sides divide by 8
            if height > 2400:
                continue
            files = [encode(draw(height * 4 // 3, height, seed), "jpeg") for seed in range(4)]
            whole = [whole_of(data) for data in files]
            shrunk = [shrunk_of(data, scale) for data in files]
            whole_ms = median_ms(lambda files=files: whole_of(files[0]), repeats)
            ms = median_ms(lambda files=files, scale=scale: shrunk_of(files[0], scale), repeats)
            pairs = list(zip(whole, shrunk, strict=True))
            moved = np.stack([at_224(one) - at_224(other) for one, other in pairs])
            stored = [stored_pixels(one) - stored_pixels(other) for one, other in pairs]
            height = 8 * round(tiny.side_px * scale * left / 8)
            files = [
                encode(pictures.draw(scene, random.Random(n), height, height), "jpeg")
                for n, scene in enumerate(scenes)
            ]
            embeddings = [
                tiny.embed_images(np.stack([tiny.preprocess(image) for image in images]))
                for images in (
                    [whole_of(data) for data in files],
                    [shrunk_of(data, scale) for data in files],
                )
            ]
            similarity = [(one * texts).sum(-1) for one in embeddings]
            change = np.abs(similarity[0] - similarity[1])
            cosine = (embeddings[0] * embeddings[1]).sum(-1)
            print(
                f"{whole[0].width:>5}x{whole[0].height:<4} {'1/' + str(scale):>5} {left:>5.2f}"
                f" {whole_ms:>9.1f} {ms:>6.1f} {np.abs(moved).mean():>9.2f}"
                f" {np.percentile(np.abs(moved), 99.9):>6.1f} {np.abs(stored).mean():>6.2f}"
                f" {change.mean():>10.5f} {change.max():>7.4f} {1 - cosine.min():>13.5f}",
                flush=True,
            )


def whole_of(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def shrunk_of(data: bytes, scale: int) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.draft("RGB", (image.width // scale, image.height // scale))
    return image.convert("RGB")


def stored_pixels(image: Image.Image) -> np.ndarray:
    stored = store(Decoded(image, "jpeg", *image.size), b"", RULES)
    return np.asarray(Image.open(io.BytesIO(stored.data)), float)


def at_224(image: Image.Image) -> np.ndarray:
    """Preprocess as ViT-B/32 does."""
    return np.asarray(square(image, Preprocessing(side_px=224)), float)


if __name__ == "__main__":
    main()
