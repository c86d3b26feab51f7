"""Fetch, resize and store one list of URLs with webpairs and with img2dataset, in turns.

    ./run python benchmarks/fetch_corpus.py CORPUS
    ./run python benchmarks/fetch.py --corpus CORPUS --img2dataset PEER/bin/img2dataset

Needs nginx (Debian: nginx-light), which serves the corpus on loopback, and the peer in an
environment of its own: `uv venv PEER -p 3.11 && uv pip install -p PEER img2dataset setuptools`;
without --img2dataset our own figures are printed alone. Both sides make 256-px pictures with a
white border, JPEG quality 95, in WebDataset tars of 1000 candidates a shard, with as many processes
each; no model is asked. Politeness is off on our side, as the peer has none: one machine plays all
hosts. Processor time is that of all processes a client starts; memory is the sum of their PSS,
sampled. What counts are the ratios of the two runs of one round, as other work on the machine
disturbs both.

    ./run python benchmarks/fetch.py --corpus CORPUS --trickle

asks instead whether hosts that trickle or hang slow the others: webpairs alone, in turns without
and with 24 such URLs in the list; seconds from the first good image to the last one, and in all.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from support.fetch_web import serve
from support.process_tree import Measured, measure

SHARD_SIZE = 1000
OURS, PEER = "webpairs", "img2dataset"


@dataclass(frozen=True, slots=True)
class Run:
    """Hold what one client took for the list, and what it made of it."""

    measured: Measured
    good_urls: list[str]
    outcomes: Counter[str]
    good_s: float | None = None
    """Seconds from the first good image to the last one, where the client says when."""

    @property
    def good(self) -> int:
        return len(self.good_urls)

    @property
    def cpu_ms(self) -> float:
        return 1000 * self.measured.cpu_s / self.good

    @property
    def throughput(self) -> float:
        return self.good / self.measured.wall_s

    def line(self, name: str) -> str:
        took = self.measured
        return (
            f"{name:12} {took.wall_s:7.1f} {self.good:7,} {self.throughput:7.1f} "
            f"{took.cpu_s:7.1f} {self.cpu_ms:7.2f} {took.peak_mb:7.0f}"
        )


HEAD = f"{'':12} {'wall s':>7} {'good':>7} {'good/s':>7} {'cpu s':>7} {'ms/good':>7} {'peak MB':>7}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of fetch_corpus.py")
    parser.add_argument("--img2dataset", metavar="PATH", help="the peer's executable")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--urls", type=int, metavar="N", help="only the list's first N")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="of each client")
    parser.add_argument("--threads", type=int, default=64, help="of each of the peer's processes")
    parser.add_argument("--trickle", action="store_true", help="whether slow hosts slow others")
    parser.add_argument("--options", default="", help="more options for webpairs, in quotes")
    parser.add_argument("--peer-options", default="", help="more options for img2dataset")
    options = parser.parse_args()
    if options.img2dataset and shutil.which(options.img2dataset) is None:
        sys.exit(f"{options.img2dataset} is not an executable: give the path of img2dataset")
    urls = read_list(options.corpus, "urls")
    urls = urls.slice(0, options.urls) if options.urls else urls
    trickle = read_list(options.corpus, "urls_trickle")
    hanging = trickle.filter(pc.equal(trickle["kind"], "hang"))["url"].to_pylist()
    warm_up(options.corpus / "www")
    with serve(options.corpus / "www", urls["url"].to_pylist(), hanging):
        if options.trickle:
            good = urls.filter(pc.equal(urls["kind"], "jpg"))
            compare_trickle(good, pa.concat_tables([good, trickle]), options)
        else:
            compare(urls, options)


def read_list(corpus: Path, name: str) -> pa.Table:
    path = corpus / f"{name}.parquet"
    if not path.exists():
        sys.exit(f"{path} is not there: draw the corpus with benchmarks/fetch_corpus.py")
    return pq.read_table(path, columns=["url", "caption", "kind"])


def warm_up(www: Path) -> None:
    """Read every file, so that no run waits for the disk."""
    for path in www.rglob("*"):
        if path.is_file():
            path.read_bytes()


def compare(urls: pa.Table, options: argparse.Namespace) -> None:
    """Print every run, medians, what became of each kind of URL, and the ratios."""
    kind_of = dict(zip(urls["url"].to_pylist(), urls["kind"].to_pylist(), strict=True))
    clients = [OURS, PEER] if options.img2dataset else [OURS]
    runs: dict[str, list[Run]] = {name: [] for name in clients}
    print(f"{len(urls):,} URLs, {options.processes} processes each\n{HEAD}", flush=True)
    for number in range(options.rounds):
        for name in clients if number % 2 == 0 else clients[::-1]:
            run = (run_webpairs if name == OURS else run_peer)(urls, options)
            runs[name].append(run)
            print(run.line(name), flush=True)
    print("medians")
    for name in clients:
        print(median_line(name, runs[name]))
    print_kinds(kind_of, {name: runs[name][-1] for name in clients})
    if options.img2dataset:
        pairs = list(zip(runs[OURS], runs[PEER], strict=True))
        ratios = {
            "less processor time per good image": [b.cpu_ms / a.cpu_ms for a, b in pairs],
            "more good images a second": [a.throughput / b.throughput for a, b in pairs],
            "less memory": [b.measured.peak_mb / a.measured.peak_mb for a, b in pairs],
        }
        for what, values in ratios.items():
            spread = f"{min(values):.2f} to {max(values):.2f}"
            print(f"{statistics.median(values):5.2f} times {what} ({spread})")


def median_line(name: str, runs: Sequence[Run]) -> str:
    def median(values: list[float]) -> float:
        return statistics.median(values)

    return (
        f"{name:12} {median([r.measured.wall_s for r in runs]):7.1f} "
        f"{median([r.good for r in runs]):7,.0f} {median([r.throughput for r in runs]):7.1f} "
        f"{median([r.measured.cpu_s for r in runs]):7.1f} {median([r.cpu_ms for r in runs]):7.2f} "
        f"{median([r.measured.peak_mb for r in runs]):7.0f}"
    )


def print_kinds(kind_of: dict[str, str], runs: dict[str, Run]) -> None:
    """Print how many of each kind of URL became images, and why the others did not."""
    total = Counter(kind_of.values())
    good = {
        name: Counter(kind_of.get(url, "?") for url in run.good_urls) for name, run in runs.items()
    }
    print(f"\n{'kind':10} {'URLs':>6} " + " ".join(f"{name:>12}" for name in runs))
    for kind, number in total.most_common():
        print(f"{kind:10} {number:6,} " + " ".join(f"{good[name][kind]:12,}" for name in runs))
    for name, run in runs.items():
        print(f"{name}: " + ", ".join(f"{what} {n:,}" for what, n in run.outcomes.most_common()))


def compare_trickle(good: pa.Table, with_trickle: pa.Table, options: argparse.Namespace) -> None:
    """Print what the good images took without and with the slow ones in the list."""
    lists = {"without": good, "with": with_trickle}
    runs: dict[str, list[Run]] = {name: [] for name in lists}
    slow = len(with_trickle) - len(good)
    print(f"{len(good):,} good URLs, without and with {slow} that trickle or hang")
    print(f"{HEAD} {'good ones in s':>15}", flush=True)
    for number in range(options.rounds):
        for name in lists if number % 2 == 0 else reversed(lists):
            run = run_webpairs(lists[name], options)
            runs[name].append(run)
            print(f"{run.line(name)} {run.good_s:15.1f}", flush=True)
    print(", ".join(f"{what} {n:,}" for what, n in runs["with"][-1].outcomes.most_common()))
    spans = {name: statistics.median(run.good_s or 0 for run in runs[name]) for name in lists}
    walls = {name: statistics.median(run.measured.wall_s for run in runs[name]) for name in lists}
    print(
        f"good images with slow hosts beside them: {spans['with'] / spans['without']:.2f} times "
        f"as long; the whole run: {walls['with'] - walls['without']:+.1f} s"
    )


def run_webpairs(urls: pa.Table, options: argparse.Namespace) -> Run:
    """Build in a fresh folder; its pictures are counted and thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [*webpairs_command(write_list(urls, folder), out, options.processes)]
        measured = run_command(command + shlex.split(options.options), Path(folder) / "log")
        tables = [pq.read_table(path) for path in sorted((out / "metadata").glob("*.parquet"))]
        kept = pa.concat_tables(table.select(["URL", "fetch_date"]) for table in tables)
        # Not the slow ones' own time.
        slow = pc.match_substring_regex(kept["URL"], r"/(trickle|hang)/")
        dates = kept.filter(pc.invert(slow))["fetch_date"].cast(pa.int64())
        outcomes = Counter(samples=len(kept))
        for path in (out / "stats").glob("*.json"):
            outcomes.update(json.loads(path.read_bytes()).get("drops", {}))
        good_s = (pc.max(dates).as_py() - pc.min(dates).as_py()) / 1000
        return Run(measured, kept["URL"].to_pylist(), outcomes, good_s)


def webpairs_command(urls: Path, out: Path, processes: int) -> list[str]:
    """Return the line that fetches from loopback as fast as it can, without a model."""
    line = [sys.executable, "-m", "webpairs", "build", str(urls), "--out", str(out)]
    line += ["--images", "web", "--model", "none", "--allow-network", "127.0.0.0/8"]
    line += ["--per-host", "1024", "--per-host-rate", "0"]
    return [*line, "--shard-size", str(SHARD_SIZE), "--workers", str(processes)]


def run_peer(urls: pa.Table, options: argparse.Namespace) -> Run:
    """Do the same with img2dataset; what is not said here is its default."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        given = {
            "url_list": write_list(urls, folder),
            "input_format": "parquet",
            "url_col": "url",
            "caption_col": "caption",
            "output_folder": out,
            "output_format": "webdataset",
            "image_size": 256,
            "resize_mode": "border",
            "encode_quality": 95,
            "number_sample_per_shard": SHARD_SIZE,
            "processes_count": options.processes,
            "thread_count": options.threads,
        }
        command = [options.img2dataset, *(f"--{name}={value}" for name, value in given.items())]
        measured = run_command(command + shlex.split(options.peer_options), Path(folder) / "log")
        columns = ["url", "status", "error_message"]
        paths = sorted(out.glob("*.parquet"))
        rows = pa.concat_tables([pq.read_table(path, columns=columns) for path in paths])
        good = rows.filter(pc.equal(rows["status"], "success"))["url"].to_pylist()
        outcomes = Counter(text or "success" for text in rows["error_message"].to_pylist())
        return Run(measured, good, outcomes)


def write_list(urls: pa.Table, folder: str) -> Path:
    """Write what both sides read: URL and caption, and nothing that tells what to expect."""
    path = Path(folder) / "list.parquet"
    pq.write_table(urls.select(["url", "caption"]), path)
    return path


def run_command(command: list[str], log: Path) -> Measured:
    # The peer's image library would else ask PyPI for a newer version of itself, in every process.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    measured = measure(command, log)
    if measured.exit_code != 0:
        print(log.read_text(errors="replace")[-3000:], file=sys.stderr)
        sys.exit(f"ended with {measured.exit_code}: {shlex.join(command)}")
    return measured


if __name__ == "__main__":
    main()
