"""Show that the memory of a build does not grow with its input: 1x, 4x, 16x.

    ./run python benchmarks/build_memory.py [--images 2000] [--workers 1]

Writes WARC files of pages with JPEG images (a pool of drawn pictures under distinct URLs), builds
each with `tiny` in a fresh process and prints the peak resident memory of its largest process.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from webpairs.demo.pictures import caption, draw, random_scene

IMAGES_A_PAGE = 20
POOL = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000, help="images of the smallest input")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{'input':>6} {'images':>8} {'MB':>7} {'seconds':>8} {'peak MB':>8} {'of 1x':>6}")
    base = 0.0
    for factor in (1, 4, 16):
        with tempfile.TemporaryDirectory() as folder:
            warc = Path(folder) / "crawl.warc.gz"
            write_warc(warc, arguments.images * factor)
            seconds, peak_mb = build(warc, Path(folder) / "out", arguments.workers)
            base = base or peak_mb
            size_mb = warc.stat().st_size / 1e6
            print(
                f"{factor:>5}x {arguments.images * factor:>8,} {size_mb:>7.1f} {seconds:>8.1f} "
                f"{peak_mb:>8.0f} {peak_mb / base:>6.2f}",
                flush=True,
            )


def write_warc(path: Path, num_images: int) -> None:
    """Write pages of `IMAGES_A_PAGE` images each, and the images."""
    rng = random.Random(1)
    pool: list[tuple[bytes, str]] = []
    for _ in range(POOL):
        scene = random_scene(rng, held_out=True)
        data = io.BytesIO()
        draw(scene, rng, 400, 400).save(data, "JPEG", quality=90)
        pool.append((data.getvalue(), caption(scene, rng)))
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=True)
        for page in range(0, num_images, IMAGES_A_PAGE):
            tags: list[str] = []
            for number in range(page, min(page + IMAGES_A_PAGE, num_images)):
                data, text = pool[number % POOL]
                url = f"http://pictures.example/{number}.jpg"
                _write(writer, url, "image/jpeg", data)
                tags.append(f'<img src="/{number}.jpg" alt="{text} {number}">')
            html = f"<html><body>{''.join(tags)}</body></html>".encode()
            _write(writer, f"http://pictures.example/page{page}.html", "text/html", html)


def _write(writer: WARCWriter, url: str, content_type: str, body: bytes) -> None:
    head = StatusAndHeaders("200 OK", [("Content-Type", content_type)], protocol="HTTP/1.1")
    record = writer.create_warc_record(url, "response", payload=io.BytesIO(body), http_headers=head)
    writer.write_record(record)


def build(warc: Path, out: Path, workers: int) -> tuple[float, float]:
    """Build in a fresh process; return its seconds and the peak MB of its largest process."""
    clock = time.perf_counter()
    command = [sys.executable, "-m", "webpairs", "build", str(warc), "--out", str(out)]
    command += ["--model", "tiny", "--shard-size", "1000", "--workers", str(workers)]
    devnull = os.open(os.devnull, os.O_WRONLY)
    pid = os.posix_spawn(
        sys.executable,
        command,
        os.environ,
        file_actions=[(os.POSIX_SPAWN_DUP2, devnull, 1), (os.POSIX_SPAWN_DUP2, devnull, 2)],
    )
    _, status, usage = os.wait4(pid, 0)
    if status != 0:
        sys.exit(f"the build ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - clock, usage.ru_maxrss / 1e3


if __name__ == "__main__":
    main()
