"""Start, watch and compare runs: what the tests of whole runs share."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock

from webpairs.demo.crawl_files import CrawlFiles
from webpairs.demo.little_web import LittleWeb

TIMES = ("started", "seconds", "finished")


@dataclass(frozen=True)
class SmallCrawl:
    """Hold a little web and its crawl files."""

    web: LittleWeb
    files: CrawlFiles


def start(
    inputs: Iterable[Path | str], out: Path, *options: str, **popen: Any
) -> subprocess.Popen[str]:
    """Start `webpairs build` with the model tiny in a process group of its own."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "webpairs", "build", *map(str, inputs), "--images", "archive"),
            *("--out", str(out), "--model", "tiny", *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **popen,
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 100) -> tuple[int, str]:
    """Wait for a run; return its exit code and what it said on standard error."""
    try:
        _, errors = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    return process.returncode, errors


def workers_of(coordinator: int) -> list[int]:
    """Return the live worker processes that were started by a coordinator, dead or alive."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        # python -m webpairs.engine.worker SOCKET COORDINATOR
        mine = b"webpairs.engine.worker" in command and command[-2] == b"%d" % coordinator
        if mine and state != "Z":
            found.append(int(folder.name))
    return found


def wait_for(condition: Callable[[], Any], timeout_s: float = 30) -> bool:
    """Wait until `condition` holds; say whether it did."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.01)
    return False


def dataset(out: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a finished run folder but those that hold times."""
    return {
        path.relative_to(out).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file()
        and path.name not in (".lock", "manifest.json")
        and path.parent.name != "stats"
    }


def counts(out: Path) -> dict[str, Any]:
    """Return stats and manifest without their times."""
    found: dict[str, Any] = {}
    for path in (*sorted((out / "stats").glob("*.json")), out / "manifest.json"):
        content = orjson.loads(path.read_bytes())
        found[path.name] = {name: one for name, one in content.items() if name not in TIMES}
    return found


def check_committed_shards(out: Path) -> int:
    """Check that each shard that has its stats is whole; return how many there are."""
    shards = sorted((out / "stats").glob("[0-9]*.json"))
    for path in shards:
        for name, fact in orjson.loads(path.read_bytes())["files"].items():
            data = (out / name).read_bytes()
            assert hashlib.sha256(data).hexdigest() == fact["sha256"], name
    return len(shards)


def check_nothing_left(out: Path, coordinators: Iterable[int]) -> None:
    """Check that a finished run left no process, no lock that holds and no temporary file."""
    for coordinator in coordinators:
        assert wait_for(lambda pid=coordinator: not workers_of(pid)), "a worker outlived its run"
    assert not (out / "work").exists()
    assert [path for path in out.rglob("*") if ".tmp-" in path.name] == []
    with FileLock(out / ".lock", timeout=0):
        pass
    assert os.access(out, os.W_OK)
