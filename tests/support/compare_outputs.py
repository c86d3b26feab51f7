"""Compare what two versions of webpairs write, byte for byte: a check of changes of form alone.

    python tests/support/compare_outputs.py make OUT CRAWL_FOLDER -- COMMAND...
    python tests/support/compare_outputs.py compare OUT_OF_ONE OUT_OF_OTHER

`make` runs COMMAND (`./run webpairs` of a checkout) on the demo, on the WARC files of a folder, and
on what it built: every export, an index, a report, a card. `compare` names each file that differs.
Times of day, durations and rates are set to zero before; all else must be equal.
It imports nothing of webpairs, since the two versions have other modules.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

_TABLED = re.compile(rb">\d+\.\d<")
"""A number of seconds in a table of a report."""
FORMATS = (
    *("tfds", "tfds-array-record", "huggingface", "webdataset", "laion"),
    *("csv", "files", "parquet", "embedding-atlas"),
)
_OF_TIME = re.compile(r"second|time|finished|started|_at$|date|rate|elapsed|mark|path|pid")
"""Names of fields in JSON files that hold times or durations, or the folder that was written to."""
_DATE = re.compile(rb"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)?)?( UTC)?")
_DURATION = re.compile(rb"\d+(\.\d+)?( ?(s|min|h|ms)\b| seconds?| minutes?)")


def make(out: Path, crawls: Path, command: list[str]) -> None:
    """Write everything that is compared below the new folder `out`."""
    out.mkdir(parents=True)

    def run(*arguments: str) -> None:
        print("webpairs", *arguments, flush=True)
        subprocess.run(
            [*command, *arguments], check=True, cwd=out, stdout=subprocess.DEVNULL, timeout=1800
        )

    run("demo", "--images", "archive", "--out", "demo")
    inputs = sorted(str(path) for path in crawls.glob("*.warc.gz"))
    build = ("build", *inputs, "--images", "archive", "--model", "tiny", "--threshold", "-1")
    run(*build, "--languages", "any", "--shard-size", "1000", "--out", "crawl")
    for source in ("demo/dataset", "crawl"):
        name = source.partition("/")[0]
        run("index", source)
        run("report", source, "--out", f"{name}-report.html")
        run("card", source, "--out", f"{name}-card.md")
        run("card", source, "--croissant", "--out", f"{name}-croissant.json")
        for to in FORMATS:
            run("export", source, "--to", to, "--out", f"exports/{name}-{to}")


def compare(one: Path, other: Path) -> list[str]:
    """Return a line for each file that only one of two folders has, or that differs."""
    names = {
        path.relative_to(folder).as_posix()
        for folder in (one, other)
        for path in folder.rglob("*")
        if path.is_file()
    }
    lines: list[str] = []
    for name in sorted(names):
        files = one / name, other / name
        if not all(file.exists() for file in files):
            lines.append(f"{name}: only one has it")
        elif plain(files[0], one) != plain(files[1], other):
            lines.append(f"{name}: differs")
    print(f"{len(names)} files compared, {len(lines)} differ")
    return lines


def plain(path: Path, root: Path) -> Any:
    """Return what a file holds, without times and without the name of the folder `root`."""
    data = path.read_bytes().replace(str(root).encode(), b"ROOT")
    if path.suffix == ".json":
        return _without_times(json.loads(data))
    if path.suffix in (".html", ".md"):
        return _TABLED.sub(b">0<", _DURATION.sub(b"0", _DATE.sub(b"0", data)))
    return data


def _without_times(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        # Under `seconds` stand a number for each stage.
        times = {key: f"{name} {key}" if name == "seconds" else key for key in value}
        return {key: _without_times(inner, times[key]) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_times(inner, name) for inner in value]
    return 0 if _OF_TIME.search(name) and isinstance(value, (int, float, str)) else value


def main() -> None:
    """Run one of the two verbs."""
    own, _, command = " ".join(sys.argv[1:]).partition(" -- ")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    making = verbs.add_parser("make")
    making.add_argument("out", type=Path)
    making.add_argument("crawls", type=Path)
    comparing = verbs.add_parser("compare")
    comparing.add_argument("one", type=Path)
    comparing.add_argument("other", type=Path)
    options = parser.parse_args(own.split())
    if options.verb == "make":
        make(options.out.resolve(), options.crawls.resolve(), command.split())
        return
    lines = compare(options.one.resolve(), options.other.resolve())
    print("\n".join(lines))
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
