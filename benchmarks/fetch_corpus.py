"""Draw a web of images, good ones and the awkward ones that a crawl meets, with what each URL is.

    ./run python benchmarks/fetch_corpus.py DIR [--jpegs 5000] [--hosts 64] [--port 18080]

    DIR/www/                   what a server gives (benchmarks/support/fetch_web.py)
    DIR/urls.parquet           url, caption, kind; shuffled
    DIR/urls_trickle.parquet   16 URLs at 2 kB/s and 8 that accept and never answer

The mix, for 100 good JPEGs: 6 PNG (a third with alpha, a third with a palette), 4 WebP, 2 GIF, 2
corrupt (cut, a web page, empty, noise), 6 gone (404), 2 redirects, 1 that opts out, 0.5 that opts
out of another robot, 0.8 at 60 kB/s, 0.5 on a closed port. Sizes are log-normal around 735 px of
width, JPEG quality 75 to 90, 30 % of them progressive. URLs are spread over 127.0.1.1 to 127.0.1.N
by Zipf's law, as those of a crawl are over its hosts.
"""

from __future__ import annotations

import argparse
import io
import random
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from decode import draw
from PIL import Image, ImageFilter

BASE_PX = (2600, 2000)
NUM_BASES = 8
SOFT_PX = 1.3
SHARES = {
    "jpg": 1.0,
    "png": 0.06,
    "webp": 0.04,
    "gif": 0.02,
    "corrupt": 0.02,
    "noai": 0.01,
    "noaibot": 0.005,
    "slow": 0.008,
}
"""Of the number of JPEGs; each is a folder below `www`, whose name tells the server what to do."""
NO_FILE = {"404": 0.06, "redirect": 0.02, "refused": 0.005}
NUM_TRICKLE, NUM_HANG = 16, 8
WORDS = ("red", "blue", "old", "small", "city", "garden", "river", "woman", "dog", "boat", "snow")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jpegs", type=int, default=5000)
    parser.add_argument("--hosts", type=int, default=64)
    parser.add_argument("--port", type=int, default=18080)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    www = options.folder / "www"
    jobs = [(kind, n) for kind, share in SHARES.items() for n in range(scaled(share, options))]
    jobs += [("trickle", number) for number in range(NUM_TRICKLE)]
    with ProcessPoolExecutor() as pool:
        sizes = list(pool.map(partial(write, www, options.seed), jobs, chunksize=50))
    rows, trickle = urls_of(jobs, options)
    for name, table in (("urls", rows), ("urls_trickle", trickle)):
        pq.write_table(pa.Table.from_pylist(table), options.folder / f"{name}.parquet")
    mean_kb = sum(sizes[: options.jpegs]) / options.jpegs / 1e3
    print(f"{len(rows):,} URLs, {sum(sizes) / 1e6:.0f} MB; JPEGs of {mean_kb:.0f} kB on average")


def scaled(share: float, options: argparse.Namespace) -> int:
    return max(1, round(share * options.jpegs))


def path_of(kind: str, number: int) -> str:
    extension = kind if kind in ("png", "webp", "gif") else "jpg"
    folder = kind if kind in ("noai", "noaibot", "slow", "trickle") else f"i/{kind}"
    return f"{folder}/{number % 100:02}/{number:06}.{extension}"


def urls_of(
    jobs: list[tuple[str, int]], options: argparse.Namespace
) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Return the rows of the list, shuffled, and those of the list that nobody can finish."""
    rng = random.Random(options.seed)
    hosts = range(1, options.hosts + 1)
    weights = [1 / rank for rank in hosts]

    def row(kind: str, path: str, host: str | None = None) -> dict[str, str]:
        host = host or f"127.0.1.{rng.choices(hosts, weights)[0]}:{options.port}"
        caption = " ".join(rng.choices(WORDS, k=rng.randint(3, 14)))
        return {"url": f"http://{host}/{path}", "caption": caption, "kind": kind}

    rows = [row(kind, path_of(kind, n)) for kind, n in jobs if kind != "trickle"]
    rows += [row("404", f"i/gone/{n}.jpg") for n in range(scaled(NO_FILE["404"], options))]
    for _ in range(scaled(NO_FILE["redirect"], options)):
        target = path_of("jpg", rng.randrange(options.jpegs))
        rows.append(row("redirect", f"r/{target.removeprefix('i/')}"))
    for number in range(scaled(NO_FILE["refused"], options)):
        rows.append(row("refused", f"{number}.jpg", "127.0.1.1:1"))
    rng.shuffle(rows)
    trickle = [row("trickle", path_of("trickle", n)) for n in range(NUM_TRICKLE)]
    hanging = f"127.0.1.1:{options.port + 1}"
    trickle += [row("hang", f"hang/{n}.jpg", hanging) for n in range(NUM_HANG)]
    return rows, trickle


def write(www: Path, seed: int, job: tuple[str, int]) -> int:
    """Write one file; return its bytes."""
    kind, number = job
    data = file_of(kind, number, random.Random(f"{seed} {kind} {number}"))
    path = www / path_of(kind, number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return len(data)


def file_of(kind: str, number: int, rng: random.Random) -> bytes:
    width = round(min(2000, max(300, rng.lognormvariate(6.6, 0.5))))
    height = round(min(2000, max(120, width * rng.choice([0.5625, 0.6667, 0.75, 1, 1.3333, 1.5]))))
    most = {"png": 700, "gif": 400}.get(kind, 2000)
    image = picture(min(width, most), min(height, most), rng)
    out = io.BytesIO()
    if kind == "png":
        if number % 3 == 0:
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        image = image.quantize(64) if number % 3 == 1 else image
        image.save(out, "PNG")
    elif kind == "gif":
        image.quantize(128).save(out, "GIF")
    elif kind == "webp":
        image.save(out, "WEBP", quality=rng.randint(70, 90))
    else:
        progressive = rng.random() < 0.3
        image.save(out, "JPEG", quality=rng.randint(75, 90), progressive=progressive)
    data = out.getvalue()
    if kind == "corrupt":
        page = b"<!DOCTYPE html><title>Access denied</title>" + b"<p>No.</p>" * 300
        return (data[: len(data) // 3], page, b"", rng.randbytes(30_000))[number % 4]
    return data


def picture(width: int, height: int, rng: random.Random) -> Image.Image:
    """Cut a piece out of a large picture, as a camera's, and add a sensor's noise to it."""
    large = base(rng.randrange(NUM_BASES))
    smallest = max(width / BASE_PX[0], height / BASE_PX[1])
    scale = rng.uniform(smallest, max(1.0, smallest))
    sides = (min(BASE_PX[0], width / scale), min(BASE_PX[1], height / scale))
    left, top = (rng.uniform(0, most - side) for most, side in zip(BASE_PX, sides, strict=True))
    box = (left, top, left + sides[0], top + sides[1])
    image = large.resize((width, height), Image.Resampling.BILINEAR, box=box, reducing_gap=2.0)
    # As soft as a lens: JPEGs then have about one bit a pixel.
    image = image.filter(ImageFilter.GaussianBlur(SOFT_PX))
    noise = np.random.default_rng(rng.getrandbits(64)).standard_normal((height, width, 1))
    pixels = np.asarray(image) + noise * rng.uniform(1, 3.5)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@cache
def base(seed: int) -> Image.Image:
    return draw(*BASE_PX, seed=seed)


if __name__ == "__main__":
    main()
