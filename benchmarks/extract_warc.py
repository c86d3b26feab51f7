"""Time extraction from WARC beside FastWARC plus the bare parser, on one core, and weigh it.

    ./run python benchmarks/extract_warc.py FILE.warc.gz [--repeats 5] [--memory]

Three ways through the same file, in turns, the median of each, in MB of HTML (as served, codings
undone) per second of processor time, so that other work on the machine disturbs less:

    floor   FastWARC reads the responses, resiliparse (lexbor) parses the pages; nothing is taken
    read    our reader and HTML module: every candidate as written, licence, opt-outs
    whole   the extract stage: URLs joined, texts cleaned, languages, uids, parquet, image index

`--memory` runs the whole stage on the file once, 4 and 16 times over, each in a process of its
own, and prints the peak of resident memory.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.parse.html import HTMLTree

from webpairs.crawl.http_message import decode_body
from webpairs.crawl.inputs import find_inputs
from webpairs.crawl.warc_records import RecordReader
from webpairs.extract.html import read_html
from webpairs.extract.page import ExtractRules
from webpairs.extract.unit import extract_unit, plan_units
from webpairs.extract.warc import MAX_PAGE_BYTES, is_page, page_bytes

RULES = ExtractRules(("alt",), ("src",), 5, ("any",))


def floor(path: Path) -> int:
    """Return the bytes of HTML that were parsed."""
    num_bytes = 0
    with path.open("rb") as file:
        # No decoding: FastWARC 2.0 raises on bodies that are chunked by their header alone.
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            if record.http_headers.status_code != 200:
                continue
            if (record.http_content_type or "") in ("text/html", "application/xhtml+xml"):
                html = record.reader.read()
                num_bytes += len(html)
                HTMLTree.parse(html.decode("utf-8", "replace"))
    return num_bytes


def read(path: Path) -> int:
    """Return the bytes of HTML that were read."""
    num_bytes = 0
    with path.open("rb") as file:
        for record in RecordReader(file, page_bytes):
            if record.kind == "response" and record.http is not None and is_page(record):
                body = decode_body(record.http, record.payload, MAX_PAGE_BYTES)
                num_bytes += len(body.data)
                read_html(body.data, record.http.get("content-type"), RULES)
    return num_bytes


def whole(path: Path) -> int:
    """Do the stage; the bytes of HTML are known from `read`."""
    with tempfile.TemporaryDirectory() as folder:
        (unit,) = plan_units(find_inputs([str(path)]), folder, RULES, archive=True)
        extract_unit(unit)
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    ways: dict[str, Callable[[Path], int]] = {"floor": floor, "read": read, "whole": whole}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    num_bytes = {name: way(options.path) for name, way in ways.items()}  # warms up, too
    if num_bytes["floor"] != num_bytes["read"]:
        print(f"note: the bytes differ: {num_bytes}")
    for _ in range(options.repeats):
        for name, way in ways.items():
            start = time.process_time()
            way(options.path)
            seconds[name].append(time.process_time() - start)
    floor_s = statistics.median(seconds["floor"])
    file_mb = options.path.stat().st_size / 1e6
    print(f"{num_bytes['read'] / 1e6:.1f} MB of HTML, file {file_mb:.1f} MB")
    for name in ways:
        median = statistics.median(seconds[name])
        print(
            f"{name:6} {median:7.3f} s  {num_bytes['read'] / 1e6 / median:7.1f} MB/s of HTML"
            f"  {floor_s / median:5.2f} of the floor"
        )
    if options.memory:
        weigh(options.path)


def weigh(path: Path) -> None:
    """Print the peak memory of the whole stage on 1, 4 and 16 copies of the file in one."""
    for times in (1, 4, 16):
        with tempfile.TemporaryDirectory() as folder:
            large = Path(folder) / f"{times}.warc.gz"
            with large.open("wb") as file:
                for _ in range(times):
                    file.write(path.read_bytes())
            command = [sys.executable, __file__, str(large), "--peak-of-whole"]
            print(f"{times:2} times: {subprocess.check_output(command, text=True).strip()} MB")


if __name__ == "__main__":
    if sys.argv[2:] == ["--peak-of-whole"]:
        whole(Path(sys.argv[1]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    else:
        main()
