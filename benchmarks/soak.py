"""Fetch 200,000 URLs and watch whether memory and open files grow.

    ./run python benchmarks/soak.py --corpus CORPUS [--urls 200000] [--at-most-s 3600]

CORPUS is drawn by benchmarks/fetch_corpus.py; its good JPEGs are asked for again and again under
`?n=0`, `?n=1` ..., so that every URL is another one. nginx serves them on loopback, webpairs stores
them at 256 px without a model. Each second the processes' memory (the sum of their PSS) and open
files are added up. What counts is the time from the first image to the end, without the reading of
the list before: flat means that neither has, on average over the last third of it, more than 1.15
times what it has over the middle third. Exits with 1 where it grows.

After --at-most-s the build is stopped as Ctrl-C does, and what was seen until then is printed. The
pictures need about 25 kB of disk each; --folder says where (default: the system's temporary one).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fetch import read_list, webpairs_command
from support.fetch_web import serve
from support.process_tree import Sample, measure

MOST_GROWTH = 1.15
STOPPED = 128 + 15  # the exit code after SIGTERM
BARS = "▁▂▃▄▅▆▇█"
WIDTH = 72


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of fetch_corpus.py")
    parser.add_argument("--urls", type=int, default=200_000)
    parser.add_argument("--at-most-s", type=float, default=3600)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--folder", help="where the dataset is written for the while")
    options = parser.parse_args()
    listed = read_list(options.corpus, "urls")
    good = listed.filter(pc.equal(listed["kind"], "jpg"))["url"].to_pylist()
    with (
        tempfile.TemporaryDirectory(dir=options.folder) as folder,
        serve(options.corpus / "www", good),
    ):
        soak(good, Path(folder), options)


def soak(good: list[str], folder: Path, options: argparse.Namespace) -> None:
    """Build, watch, print; exit with 1 where memory or open files grow."""
    urls = folder / "list.parquet"
    write_list(urls, good, options.urls)
    out = folder / "out"
    begun: list[float] = []
    said = [0.0]

    def watch(sample: Sample) -> None:
        if not begun and any((out / "images").glob("*")):
            begun.append(sample.seconds)
        if sample.seconds - said[0] >= 60:
            said[0] = sample.seconds
            print(
                f"{sample.seconds:6.0f} s {samples_of(out):9,} images {sample.pss_mb:6.0f} MB "
                f"{sample.num_files:6,} files",
                flush=True,
            )

    command = webpairs_command(urls, out, options.processes)
    measured = measure(
        command, folder / "log", every_s=1.0, at_most_s=options.at_most_s, watch=watch
    )
    if measured.exit_code not in (0, STOPPED) or not begun:
        print((folder / "log").read_text(errors="replace")[-3000:], file=sys.stderr)
        sys.exit(f"the build ended with {measured.exit_code}")
    num = samples_of(out)
    stopped = "" if measured.exit_code == 0 else f", stopped after {options.at_most_s:.0f} s"
    print(
        f"{num:,} images of {options.urls:,} URLs in {measured.wall_s:.0f} s{stopped}; "
        f"{1000 * measured.cpu_s / max(num, 1):.2f} ms of processor each; "
        f"peak {measured.peak_mb:.0f} MB"
    )
    # The last sample may show processes that are ending.
    while_fetching = [one for one in measured.samples if one.seconds >= begun[0]][:-1]
    if len(while_fetching) < 3:
        sys.exit("too short to say anything: take more URLs")
    grew = [
        print_series("memory, MB", [one.pss_mb for one in while_fetching]),
        print_series("open files", [float(one.num_files) for one in while_fetching]),
        print_series("processes", [float(one.num_processes) for one in while_fetching]),
    ]
    sys.exit("not flat" if any(grew) else 0)


def write_list(path: Path, good: list[str], num: int) -> None:
    """Write `num` URLs of the good images, each a different one."""
    numbers = range(num)
    urls = [f"{good[number % len(good)]}?n={number}" for number in numbers]
    texts = [f"picture {number}" for number in numbers]
    pq.write_table(pa.table({"url": urls, "caption": texts}), path)


def samples_of(out: Path) -> int:
    """Return how many images the committed shards hold."""
    return sum(
        json.loads(path.read_bytes()).get("samples", 0)
        for path in (out / "stats").glob("[0-9]*.json")
    )


def print_series(name: str, values: list[float]) -> bool:
    """Print the averages of the thirds and the course of it; say whether it grew."""
    third = len(values) // 3
    parts = values[:third], values[third : 2 * third], values[2 * third :]
    first, middle, last = (statistics.fmean(part) for part in parts)
    grew = last > MOST_GROWTH * middle
    print(
        f"{name:10}  thirds {first:8,.1f} {middle:8,.1f} {last:8,.1f}   last / middle "
        f"{last / middle:.3f}{' GREW' if grew else ''}   most {max(values):,.0f}"
    )
    print(f"{'':10}  {sparkline(values)}")
    return grew


def sparkline(values: list[float]) -> str:
    """Return the values as `WIDTH` bars from zero to the most, each the average of its while."""
    width = min(WIDTH, len(values))
    edges = [len(values) * place // width for place in range(width + 1)]
    means = [statistics.fmean(values[a:b]) for a, b in pairwise(edges)]
    most = max(means) or 1
    return "".join(BARS[min(len(BARS) - 1, int(len(BARS) * mean / most))] for mean in means)


if __name__ == "__main__":
    main()
