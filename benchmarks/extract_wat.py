"""WAT to (url, alt, uid), as cc2dataset does it: megabytes of gzip a second, on one core.

    uv run benchmarks/extract_wat.py --peer-python PEER/bin/python

The peer in an environment of its own (it pins old versions; pyspark is only imported):

    uv venv PEER -p 3.11
    uv pip install -p PEER --no-deps cc2dataset
    uv pip install -p PEER fastwarc pysimdjson loguru pandas pyarrow fsspec fire requests tqdm \\
        pyspark setuptools

Draws a WAT in the layout of Common Crawl's (tests/support/wat_files.py), holds that both find the
pairs that are in it, and then takes turns: webpairs, peer, webpairs, peer ... each in a process of
its own on the same core, the file in the page cache. Seconds are of CPU, which other processes of
a shared machine disturb less than the clock. Beside them: the floors (ISA-L decompressing, FastWARC
reading records without parsing any) and what cleaning, language and writing the file add.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

PEER = """
import io, json, sys, time
from loguru import logger
logger.remove()
from cc2dataset.main import extract_documents_from_wat
data = open(sys.argv[1], "rb").read()
start = time.process_time()
found = extract_documents_from_wat(io.BytesIO(data), "image")
seconds = time.process_time() - start
pairs = [(one["page_url"], one["url"], one["alt"]) for one in found]
json.dump({"seconds": seconds, "num": len(found), "pairs": pairs if len(sys.argv) > 2 else []},
          sys.stdout)
"""


def pairs_as_the_peer(path: str) -> tuple[list[str], list[str], list[str], list[bytes]]:
    """Return pages, URLs, alts and uids of images with an alt text; uncleaned, unfiltered."""
    from webpairs.extract.page import ExtractStats
    from webpairs.extract.url import join_urls
    from webpairs.extract.wat import read_wat
    from webpairs.ids import uids_of

    pages: list[str] = []
    all_urls: list[str] = []
    all_texts: list[str] = []
    uids: list[bytes] = []
    for found in read_wat(path, "x", ExtractStats()):
        urls, texts = join_urls(found.page.base, found.page.url, found.urls), found.texts
        if None in urls:
            texts = [text for url, text in zip(urls, texts, strict=True) if url is not None]
        valid = [url for url in urls if url is not None]
        pages += [found.page.url] * len(valid)
        all_urls += valid
        all_texts += texts
        uids += uids_of(valid, texts)
    return pages, all_urls, all_texts, uids


def extract_whole(path: str) -> int:
    """Extract to a candidates file: cleaned, language told, sorted by bucket, written."""
    from webpairs.extract.candidates import CandidateWriter
    from webpairs.extract.page import ExtractRules, ExtractStats
    from webpairs.extract.wat import extract_wat

    stats = ExtractStats()
    rules = ExtractRules(("alt",), ("src",), 5, ("any",))
    with (
        tempfile.TemporaryDirectory() as folder,
        CandidateWriter(Path(folder) / "c.parquet", rules, stats) as writer,
    ):
        extract_wat(path, "x", writer, stats)
    return stats.written


def decompress(path: str) -> int:
    """Read the file through ISA-L and do nothing with it."""
    from webpairs.crawl.gunzip import GunzipReader

    num = 0
    buffer = memoryview(bytearray(1 << 20))
    with open(path, "rb") as file:
        reader = GunzipReader(file)
        while held := reader.readinto(buffer):
            num += held
    return num


def read_by_fastwarc(path: str) -> int:
    """Read every metadata record's body with FastWARC."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    num = 0
    with open(path, "rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.metadata, parse_http=False):
            num += len(record.reader.read())
    return num


def clean(path: str) -> int:
    """Clean the texts alone; they are collected off the clock."""
    from webpairs.extract.text import clean_texts

    return len(clean_texts(_texts))


def tell_language(path: str) -> int:
    """Tell the language of the cleaned texts alone."""
    from webpairs.extract.language import detect_languages

    return len(detect_languages(_texts)[0])


_texts: list[str] = []

TASKS: dict[str, Callable[[str], object]] = {
    "pairs": pairs_as_the_peer,
    "whole": extract_whole,
    "isal": decompress,
    "fastwarc": read_by_fastwarc,
    "clean": clean,
    "language": tell_language,
}


def run_task(name: str, path: str) -> float:
    """Return the CPU seconds of one run in a process of its own, after a run to warm up."""
    code = f"import extract_wat; extract_wat.time_task({name!r}, {path!r})"
    folder = str(Path(__file__).parent)
    answer = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        check=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": folder},
    )
    return float(answer.stdout)


def time_task(name: str, path: str) -> None:
    """Print the CPU seconds of a task; its imports and models are loaded off the clock."""
    task = TASKS[name]
    if name in ("clean", "language"):
        _texts.extend(pairs_as_the_peer(path)[2])
    warm_up = str(Path(path).with_suffix(".small"))
    if name in ("pairs", "whole", "isal", "fastwarc"):
        task(warm_up)
    elif name == "language":
        from webpairs.extract.language import detect_languages

        detect_languages(["warm up"])
    start = time.process_time()
    task(path)
    print(time.process_time() - start)


def run_peer(python: str, path: str, *, with_pairs: bool = False) -> tuple[float, list[list[str]]]:
    """Return the peer's CPU seconds and, if asked, what it found."""
    arguments = [python, "-c", PEER, path, *(["pairs"] if with_pairs else [])]
    answer = subprocess.run(arguments, capture_output=True, check=True)
    found = json.loads(answer.stdout)
    return found["seconds"], found["pairs"]


def check(path: str, truth: object, peer_python: str | None) -> int:
    """Hold that all pairs are found; return how many."""
    import wat_files

    from webpairs.extract.page import ExtractStats
    from webpairs.extract.url import normalise_url
    from webpairs.extract.wat import read_wat

    assert isinstance(truth, wat_files.Truth)
    found = [
        (page.page.url, url, text, page.page.base, position)
        for page in read_wat(path, "x", ExtractStats())
        for url, text, position in zip(page.urls, page.texts, page.positions, strict=True)
    ]
    assert found == truth.pairs, "not the pairs that were drawn"
    ours = sorted(zip(*pairs_as_the_peer(path)[:3], strict=True))
    if peer_python is not None:
        _, theirs = run_peer(peer_python, path, with_pairs=True)
        normal = [(page, normalise_url(url), text) for page, url, text in theirs]
        # The peer keeps URLs that no browser would fetch.
        assert ours == sorted(pair for pair in normal if pair[1] is not None)
        print(f"pairs: {len(ours):,} of webpairs, {len(theirs):,} of the peer, all alike")
    return len(ours)


def main() -> None:
    """Draw, check, take turns, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pages", type=int, default=5000, help="pages to draw (5000: 31 MB)")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--core", type=int, default=None, help="run on this core alone")
    parser.add_argument("--peer-python", help="the Python of cc2dataset's environment")
    parser.add_argument("--file", help="a WAT file to take instead (not checked)")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    import wat_files

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "drawn.gz")
        small, _ = wat_files.draw_wat(20, 1)
        Path(path).with_suffix(".small").write_bytes(small)
        data, truth = wat_files.draw_wat(options.pages, options.seed)
        if options.file:
            data = Path(options.file).read_bytes()
        Path(path).write_bytes(data)
        num = len(pairs_as_the_peer(path)[0])
        if not options.file:
            num = check(path, truth, options.peer_python)
        size = len(data) / 1e6
        print(f"{size:.1f} MB of gzip, {num:,} pairs, medians of {options.rounds} rounds")
        seconds: dict[str, list[float]] = {name: [] for name in (*TASKS, "peer")}
        for _ in range(options.rounds):
            for name in TASKS:
                seconds[name].append(run_task(name, path))
                if name == "pairs" and options.peer_python:
                    seconds["peer"].append(run_peer(options.peer_python, path)[0])
        rows = {
            "webpairs: url, alt, uid": "pairs",
            "cc2dataset: url, alt, uid": "peer",
            "floor: ISA-L decompresses": "isal",
            "floor: FastWARC reads": "fastwarc",
            "cleaning the texts alone": "clean",
            "language of the texts alone": "language",
            "webpairs: to a candidates file": "whole",
        }
        for label, name in rows.items():
            if seconds[name]:
                median = statistics.median(seconds[name])
                print(
                    f"{label:32} {median:7.3f} s {size / median:8.1f} MB/s {num / median:11,.0f}/s"
                )
        if seconds["peer"]:
            ratios = [b / a for a, b in zip(seconds["pairs"], seconds["peer"], strict=True)]
            print(
                f"webpairs is {statistics.median(ratios):.2f} times as fast as cc2dataset"
                f" (rounds: {min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    main()
