"""Take the pictures of the docs: build the demo, report on it, serve it, let Chromium draw that.

    ./run python docs/make_screenshots.py [--demo DIR]

Needs Chromium (Debian: `apt-get install chromium`). The demo's pictures are drawn, so that nobody
is in them.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from PIL import Image

from webpairs import run_demo
from webpairs.report.options import ReportOptions
from webpairs.report.write import write_report
from webpairs.search.index.build import build_index
from webpairs.search.options import IndexOptions

DOCS = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
MOST_BYTES = 400_000
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
PAGE_PX = (1280, 760)
WAIT_MS = 5_000
NUM_COLOURS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--demo", help="where the demo is, or is to be [a temporary folder]")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        demo = Path(arguments.demo or folder) / "demo"
        dataset = run_demo(demo, workers=1, images="archive").build.out
        picture_of_report(dataset, Path(folder))
        picture_of_page(dataset)


def picture_of_report(dataset: Path, folder: Path) -> None:
    """Draw parts of a dataset's report: its head in light, similarities in dark colours."""
    page = folder / "report.html"
    write_report(ReportOptions(folders=(str(dataset),), out=str(page), images=True))
    light = draw(page.as_uri(), 880, 1500)
    part = folder / "part.html"
    part.write_text(only(page.read_text(), "similarity"))
    dark = draw(part.as_uri(), 880, 1500, dark=True)
    both = Image.new("RGB", (2 * light.width, light.height))
    both.paste(light, (0, 0))
    both.paste(dark, (light.width, 0))
    save(both, DOCS / "report.png")


def picture_of_page(dataset: Path) -> None:
    """Draw the search page: what a text found in light, one sample of it in dark colours."""
    build_index(IndexOptions(source=str(dataset)))
    command = [sys.executable, "-m", "webpairs", "serve", str(dataset), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as server:
        try:
            address = next(
                found[0] for line in server.stdout or () if (found := ADDRESS.search(line.decode()))
            )
            asked = f"{address}/?q=a+red+ring&not=blue&unique=1"
            with urllib.request.urlopen(
                f"{address}/api/{dataset.name}/search?q=a+star&k=1"
            ) as reply:
                key = json.load(reply)["hits"][0]["key"]
            light = draw(asked, *PAGE_PX, wait_ms=WAIT_MS)
            sample = f"{address}/?q=a+star&unique=1&sample={key}"
            dark = draw(sample, *PAGE_PX, dark=True, wait_ms=WAIT_MS)
        finally:
            server.terminate()
    both = Image.new("RGB", (light.width, 2 * light.height))
    both.paste(light, (0, 0))
    both.paste(dark, (0, light.height))
    save(both, DOCS / "page.png")


def only(page: str, section: str) -> str:
    """Return a page of one section: Chromium's command draws a page from its top on."""
    page = re.sub(r"<header>.*?</header>\s*<nav.*?</nav>", "", page, flags=re.DOTALL)
    other = rf'<section id="(?!{section}").*?</section>'
    return re.sub(other, "", page, flags=re.DOTALL)


def draw(url: str, width: int, height: int, *, dark: bool = False, wait_ms: int = 0) -> Image.Image:
    """Return what Chromium draws of a page in a window of this size, after its scripts waited."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"none of {', '.join(BROWSERS)} is there: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "shot.png"
        command = [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
            *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", "--hide-scrollbars", f"--user-data-dir={folder}/profile"),
            *(f"--window-size={width},{height}", f"--screenshot={shot}"),
            *(["--blink-settings=preferredColorScheme=0"] if dark else []),
            *([f"--virtual-time-budget={wait_ms}"] if wait_ms else []),
            url,
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        with Image.open(shot) as image:
            return image.convert("RGB")


def save(image: Image.Image, path: Path) -> None:
    """Write a picture as a small PNG."""
    out = io.BytesIO()
    palette = image.quantize(NUM_COLOURS, dither=Image.Dither.NONE)
    palette.save(out, "PNG", optimize=True)
    if len(out.getvalue()) > MOST_BYTES:
        sys.exit(f"{path.name} would have {len(out.getvalue()):,} bytes, at most {MOST_BYTES:,}")
    path.write_bytes(out.getvalue())
    print(f"{path.name}: {image.width}x{image.height}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
