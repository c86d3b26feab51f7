"""Killed at any moment and typed again, a build ends with the bytes of an undisturbed one.

The slow test takes a crawl of one's own:

    WEBPAIRS_TEST_WARC=site.warc.gz uv run pytest -m slow tests/e2e/test_kill_resume.py
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
from support.run_folders import (
    SmallCrawl,
    check_committed_shards,
    check_nothing_left,
    dataset,
    finish,
    start,
    wait_for,
    workers_of,
)

SHARDS = ("--threshold", "-1", "--shard-size")


def kill(process_id: int, whole_group: bool) -> None:
    if whole_group:
        os.killpg(process_id, signal.SIGKILL)
    else:
        os.kill(process_id, signal.SIGKILL)


def kill_at_random(
    inputs: Iterable[Path],
    out: Path,
    options: tuple[str, ...],
    rng: random.Random,
    *,
    num_kills: int,
    longest_s: float,
) -> list[int]:
    """Start, kill and start again until `num_kills` runs were killed or one ended by itself.

    Coordinators alone and whole groups are killed by turns; the next run starts at once, while
    orphaned workers may still be about. Returns the ids of the coordinators that were killed.
    """
    killed: list[int] = []
    while len(killed) < num_kills:
        process = start(inputs, out, *options)
        ended = wait_for(lambda run=process: run.poll() is not None, rng.uniform(0, longest_s))
        if ended:
            code, errors = finish(process)
            assert code == 0, errors
            break
        kill(process.pid, whole_group=len(killed) % 2 == 1)
        code, errors = finish(process)
        assert "Traceback" not in errors
        assert code == -signal.SIGKILL
        check_committed_shards(out)
        killed.append(process.pid)
    return killed


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_killed_a_few_times(
    little_web: SmallCrawl, loose_run: Path, tmp_path: Path, workers: str
) -> None:
    """Each run is killed after it committed one more shard, so that every kill hits new work."""
    out, options = tmp_path / "out", (*SHARDS, "40", "--workers", workers)
    killed: list[int] = []
    for num_shards in (1, 3):
        process = start(little_web.files.warc, out, *options)
        assert wait_for(
            lambda run=process, num=num_shards: (
                run.poll() is not None or len(list((out / "stats").glob("[0-9]*.json"))) >= num
            ),
            90,
        )
        if process.poll() is None:
            kill(process.pid, whole_group=num_shards == 3)
            killed.append(process.pid)
        finish(process)
        check_committed_shards(out)
    code, errors = finish(start(little_web.files.warc, out, *options))
    assert code == 0, errors
    assert dataset(out) == dataset(loose_run)
    check_nothing_left(out, killed)
    assert killed, "no run was killed: nothing was tested"


def test_killed_before_it_has_a_manifest(little_web: SmallCrawl, tmp_path: Path) -> None:
    """What a run leaves that was killed in its first write does not make it a stranger's folder."""
    out = tmp_path / "out"
    out.mkdir()
    (out / ".lock").touch()
    (out / ".tmp-99999-manifest.json").write_bytes(b"{")
    options = (*SHARDS, "40", "--limit", "5", "--workers", "1")
    code, errors = finish(start(little_web.files.warc, out, *options))
    assert code == 0, errors
    check_nothing_left(out, [])


@pytest.mark.slow
@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_killed_at_thirty_random_moments(
    little_web: SmallCrawl, tmp_path: Path, workers: str
) -> None:
    inputs, size = little_web.files.warc, "20"
    if given := os.environ.get("WEBPAIRS_TEST_WARC"):
        inputs, size = [Path(given)], "100"
    options = (*SHARDS, size, "--languages", "any", "--workers", workers)
    begun = time.monotonic()
    code, errors = finish(start(inputs, tmp_path / "undisturbed", *options), 3_600)
    assert code == 0, errors
    longest_s = time.monotonic() - begun
    undisturbed = dataset(tmp_path / "undisturbed")

    rng = random.Random(f"thirty kills, {workers} workers")
    killed: list[int] = []
    rounds = 0
    while len(killed) < 30:
        # A run that goes on is shorter each time and at last ends by itself: then from the start.
        out = tmp_path / f"round-{rounds}"
        rounds += 1
        here = kill_at_random(
            inputs, out, options, rng, num_kills=30 - len(killed), longest_s=longest_s
        )
        killed += here
        code, errors = finish(start(inputs, out, *options), 3_600)
        assert code == 0, errors
        assert dataset(out) == undisturbed
        check_nothing_left(out, here)
    assert not any(map(workers_of, killed))
    print(f"{len(killed)} kills in {rounds} rounds, undisturbed {longest_s:.1f} s")
