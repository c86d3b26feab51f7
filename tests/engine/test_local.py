"""Units in processes: in whatever process they run, and however one of them dies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import engine_units
from support.paths import TESTS

from webpairs.engine.local import MAX_TRIES, run_units
from webpairs.errors import ConfigError, RunError


class FakeLink:
    """Embed by arithmetic, so that answers can be told apart, and add up the reports."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.askers = 0
        self.stopped = False

    @property
    def preprocess(self) -> Any:
        return engine_units.double

    def embed_images(self, batch: Any) -> Any:
        self.askers += 1
        return batch.reshape(len(batch), -1).sum(axis=1, keepdims=True).astype(np.float32)

    def embed_texts(self, texts: Sequence[str]) -> Any:
        return np.array([[len(text)] for text in texts], dtype=np.float32)

    def fetch(self, urls: Sequence[str], deadline_s: float, keep_in: Any = None) -> Any:
        raise AssertionError("nothing is fetched here")

    def fetch_socket(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.close()
        return theirs

    def stop_fetching(self) -> None:
        self.stopped = True

    def report(self, counts: Mapping[str, float]) -> None:
        self.counts.update(counts)


@pytest.fixture(autouse=True)
def units_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)


def children() -> list[int]:
    """Return the worker processes of this process that are alive."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if (
            folder.name.isdigit()
            and int(status[1]) == os.getpid()
            and status[0] != "Z"
            and b"webpairs.engine.worker" in command
        ):
            found.append(int(folder.name))
    return found


@pytest.fixture(autouse=True)
def nothing_outlives_a_run() -> Any:
    yield
    assert children() == []


@pytest.mark.parametrize("workers", [1, 3])
def test_every_unit_is_done_once(workers: int) -> None:
    link = FakeLink()
    results = dict(run_units(engine_units.square, list(range(20)), workers=workers, link=link))
    assert results == {number: number**2 for number in range(20)}
    assert link.counts == {"done": 20, "sum": sum(range(20))}


def test_one_worker_is_this_process_and_in_order() -> None:
    results = list(run_units(engine_units.pid, [0, 1, 2], workers=1, link=FakeLink()))
    assert results == [(0, os.getpid()), (1, os.getpid()), (2, os.getpid())]


def test_a_single_unit_starts_no_process() -> None:
    assert list(run_units(engine_units.pid, [0], workers=4, link=FakeLink())) == [(0, os.getpid())]
    assert list(run_units(engine_units.pid, [], workers=4, link=FakeLink())) == []


def test_several_workers_are_other_processes_no_more_than_units() -> None:
    pids = {pid for _, pid in run_units(engine_units.slow_pid, [0, 1], workers=9, link=FakeLink())}
    assert len(pids) == 2
    assert os.getpid() not in pids


@pytest.mark.parametrize("workers", [1, 2])
def test_units_reach_the_one_model(workers: int) -> None:
    link = FakeLink()
    results = dict(run_units(engine_units.embed, [1, 2, 3], workers=workers, link=link))
    # Each unit embeds two images of side 2 (12 numbers) and the texts "a", "bb".
    assert results == {
        number - 1: ([[12.0 * number], [24.0 * number]], [[1.0], [2.0]]) for number in (1, 2, 3)
    }
    assert link.askers == 3


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("config", ConfigError, "this option"),
        ("full", OSError, "No space left"),
        ("eof", EOFError, "short"),
        ("value", ValueError, "seven"),
    ],
)
def test_what_a_unit_raises_arrives(
    workers: int, kind: str, error: type[Exception], message: str
) -> None:
    """An OSError or EOFError of the unit is not mistaken for a dead worker."""
    with pytest.raises(error, match=message) as caught:
        list(run_units(engine_units.fail, [kind, kind], workers=workers, link=FakeLink()))
    if error is OSError:
        assert caught.value.errno == 28
    if workers > 1:
        assert "in a worker" in caught.value.__notes__[0]
        assert "engine_units.py" in caught.value.__notes__[0]


def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    with pytest.raises(RuntimeError, match="Unportable: 1 and 2") as caught:
        list(run_units(engine_units.fail, ["unportable"] * 2, workers=2, link=FakeLink()))
    assert "in a worker" in caught.value.__notes__[0]


def test_an_error_of_the_model_is_no_dead_worker() -> None:
    class Broken(FakeLink):
        def embed_images(self, batch: Any) -> Any:
            raise OSError("the model's file is gone")

    with pytest.raises(OSError, match="file is gone"):
        list(run_units(engine_units.embed, [1, 2], workers=2, link=Broken()))


def test_an_exception_stops_the_other_workers_at_once() -> None:
    with pytest.raises(ValueError, match="seven"):
        list(run_units(engine_units.fail_or_spin, ["spin", "fail"], workers=2, link=FakeLink()))
    assert children() == []


def test_a_caller_that_stops_reading_stops_the_workers() -> None:
    results = run_units(engine_units.slow_pid, list(range(50)), workers=2, link=FakeLink())
    next(results)
    assert len(children()) == 2
    results.close()
    assert children() == []


def test_ctrl_c_is_the_coordinators_alone() -> None:
    """From a worker's first instant on: a traceback of a starting worker is not a message."""
    mine = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    results = run_units(engine_units.slow_pid, list(range(50)), workers=2, link=FakeLink())
    next(results)
    for worker in children():
        status = Path(f"/proc/{worker}/status").read_text()
        blocked = int(status.partition("SigBlk:")[2].split()[0], 16)
        assert blocked & (1 << (signal.SIGINT - 1))
        assert not blocked & (1 << (signal.SIGTERM - 1)), "the coordinator ends workers with it"
    results.close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mine


@pytest.mark.parametrize("how", ["kill", "exit"])
def test_a_dead_worker_is_replaced_and_its_unit_done_again(tmp_path: Path, how: str) -> None:
    units = [(number, str(tmp_path), how if number == 3 else "") for number in range(8)]
    results = dict(run_units(engine_units.die_once, units, workers=2, link=FakeLink()))
    assert results == {number: number for number in range(8)}
    assert (tmp_path / "3").read_text() == "xx", "tried twice"
    assert (tmp_path / "4").read_text() == "x"


@pytest.mark.parametrize("workers", [1, 2])
def test_units_that_wait_for_others_are_under_way_at_once(tmp_path: Path, workers: int) -> None:
    units = [(number, str(tmp_path)) for number in range(7)]
    results = run_units(engine_units.meet, units, workers=workers, link=FakeLink(), in_flight=3)
    assert dict(results) == {number: number for number in range(7)}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_one_of_several_units_at_once_ends_the_run(workers: int) -> None:
    link = FakeLink()
    with pytest.raises(ConfigError, match="this option"):
        list(run_units(engine_units.fail, ["config"] * 6, workers=workers, link=link, in_flight=3))


def test_a_worker_that_dies_while_it_asks_is_replaced(tmp_path: Path) -> None:
    units = [(number, str(tmp_path)) for number in range(4)]
    results = dict(run_units(engine_units.die_asking, units, workers=2, link=FakeLink()))
    assert results == {number: number for number in range(4)}


def test_a_unit_that_keeps_killing_its_worker_stops_the_run(tmp_path: Path) -> None:
    units = [(number, str(tmp_path), "always" if number == 1 else "") for number in range(4)]
    with pytest.raises(RunError) as caught:
        list(run_units(engine_units.die_once, units, workers=2, link=FakeLink()))
    assert "signal 9" in str(caught.value)
    assert f"{MAX_TRIES} times" in str(caught.value)
    assert "--workers" in str(caught.value)
    assert "always" in str(caught.value), "the unit is named"
    assert "\n" not in str(caught.value)
    assert (tmp_path / "1").read_text() == "x" * MAX_TRIES


_COORDINATOR = """
import engine_link
from support import engine_units
from webpairs.engine.local import run_units
list(run_units(engine_units.{function}, ["spin", "spin"], workers=2, link=engine_link.FakeLink()))
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("function", ["spin_noting_pid", "sleep_noting_pid"])
def test_workers_end_when_their_coordinator_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    """Even in the middle of a unit that never looks at its socket."""
    monkeypatch.setenv("NOTE", str(tmp_path))
    (tmp_path / "engine_link.py").write_text(
        "import socket\n"
        "class FakeLink:\n    preprocess = print\n    def report(self, counts): pass\n"
        "    def fetch_socket(self): return socket.socketpair()[0]\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with subprocess.Popen(
        [sys.executable, "-c", _COORDINATOR.format(function=function)]
    ) as coordinator:
        deadline = time.monotonic() + 60
        while len(pids := list(tmp_path.glob("pid-*"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(pids) == 2, "both workers work"
        coordinator.send_signal(signal.SIGKILL)
    workers = [int(path.name.removeprefix("pid-")) for path in pids]
    deadline = time.monotonic() + 20  # it takes 0.2 s; a busy machine may need longer
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(alive, workers))
