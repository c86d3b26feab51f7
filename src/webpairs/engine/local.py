"""Mapping a stage over its units in processes of this machine.

A worker is `python -m webpairs.engine.worker` with one socket to the coordinator, over which units,
results, embedding requests and progress travel, and one to the run's fetcher; so a script without
an `if __name__` guard, or a notebook, can build as well. The coordinator serves them in one
thread.

A worker that dies is replaced and its unit done again (outputs of a unit are idempotent). A worker
whose coordinator dies sees the end of the socket and ends itself; nothing outlives a run.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Final, Protocol, TypeVar, cast

from webpairs.engine.link import Link
from webpairs.errors import RunError

Unit = TypeVar("Unit")
Result = TypeVar("Result")

MAX_TRIES: Final = 3
"""A unit that kills its worker this often stops the run: something is wrong with it."""
STOP_TIMEOUT_S: Final = 5.0


class CoordinatorLink(Link, Protocol):
    """The link of units in this process, and the way to the fetcher for others."""

    def fetch_socket(self) -> socket.socket:
        """Return a new socket to the run's fetcher; of a run without one, one that is shut."""
        ...

    def stop_fetching(self) -> None:
        """End every `fetch` of this process with RunError."""
        ...


def run_units(
    function: Callable[[Unit, Link], Result],
    units: Sequence[Unit],
    *,
    workers: int,
    link: CoordinatorLink,
    in_flight: int = 1,
) -> Generator[tuple[int, Result]]:
    """Yield (position of the unit, its result) as units finish.

    A worker does `in_flight` units at once, in threads: more than one for units that wait for
    others. With one worker everything runs in this process, in order if one at a time. `function`
    is a function of a module of this package; units and results are picklable. Raises what
    `function` raises, and RunError for a unit whose worker died `MAX_TRIES` times.
    """
    if workers == 1 or len(units) <= 1:
        if in_flight == 1 or len(units) <= 1:
            for position, unit in enumerate(units):
                yield position, function(unit, link)
        else:
            yield from _run_in_threads(function, units, in_flight, link)
        return
    pool = _Pool(link, in_flight)
    try:
        yield from pool.run(function, units, min(workers, len(units)))
    finally:
        pool.stop()


def _run_in_threads(
    function: Callable[[Unit, Link], Result],
    units: Sequence[Unit],
    in_flight: int,
    link: CoordinatorLink,
) -> Generator[tuple[int, Result]]:
    waiting = deque(enumerate(units))
    done: queue.SimpleQueue[tuple[int, Result | None, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            try:
                position, unit = waiting.popleft()
            except IndexError:
                return
            try:
                done.put((position, function(unit, link), None))
            except BaseException as error:
                done.put((position, None, error))
                return

    # Daemons, or a thread that waits for a slow host would hold up Ctrl-C.
    threads = [threading.Thread(target=work, daemon=True) for _ in range(in_flight)]
    for thread in threads:
        thread.start()
    try:
        for _ in units:
            position, result, error = done.get()
            if error is not None:
                raise error
            yield position, cast(Result, result)
    finally:
        waiting.clear()
        if any(thread.is_alive() for thread in threads):
            link.stop_fetching()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


@contextmanager
def _restored(mask: Collection[int]) -> Generator[None]:
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


class _Worker:
    """One worker process and the coordinator's end of its socket."""

    def __init__(self, fetch_socket: socket.socket) -> None:
        ours, theirs = socket.socketpair()
        # Ctrl-C reaches the whole group, and a worker that is just starting would print a
        # traceback; a blocked signal is inherited.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        with theirs, fetch_socket, _restored(before):
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "webpairs.engine.worker",
                    str(theirs.fileno()),
                    str(fetch_socket.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno(), fetch_socket.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self.connection = Connection(ours.detach())
        self.positions: set[int] = set()

    def stop(self, deadline: float) -> None:
        """End the process: politely until `deadline` (monotonic seconds), then for certain."""
        with suppress(OSError):
            self.connection.close()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - time.monotonic()))
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class _Pool:
    def __init__(self, link: CoordinatorLink, in_flight: int) -> None:
        self._link = link
        self._in_flight = in_flight
        self._workers: list[_Worker] = []

    def _start(self) -> _Worker:
        worker = _Worker(self._link.fetch_socket())
        with suppress(OSError):
            worker.connection.send(self._link.preprocess)
        return worker

    def stop(self) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for worker in self._workers:
            worker.process.terminate()
        for worker in self._workers:
            worker.stop(deadline)

    def run(
        self, function: Callable[[Any, Link], Any], units: Sequence[Any], num_workers: int
    ) -> Iterator[Any]:
        for _ in range(num_workers):
            self._workers.append(self._start())
        waiting = deque(enumerate(units))
        tries = [0] * len(units)

        def give(worker: _Worker) -> None:
            while waiting and len(worker.positions) < self._in_flight:
                position, unit = waiting.popleft()
                worker.positions.add(position)
                tries[position] += 1
                # A worker that just died is found when its socket is read.
                with suppress(OSError):
                    worker.connection.send(("unit", position, (function, unit)))

        for worker in self._workers:
            give(worker)
        while any(worker.positions for worker in self._workers):
            by_connection = {worker.connection: worker for worker in self._workers}
            for ready in wait(list(by_connection)):
                assert isinstance(ready, Connection)
                worker = by_connection[ready]
                # Only reading tells of a dead worker: a unit's own OSError must not look like one.
                try:
                    kind, number, value = worker.connection.recv()
                except (EOFError, OSError):
                    self._replace(worker, units, waiting, tries, give)
                    continue
                if kind == "result":
                    worker.positions.discard(number)
                    give(worker)
                    yield number, value
                else:
                    self._serve(worker, kind, number, value)

    def _serve(self, worker: _Worker, kind: str, number: int, value: Any) -> None:
        """Answer what a unit asks or tells; raise what it raised."""
        if kind == "raise":
            raise value
        if kind == "report":
            self._link.report(value)
            return
        embed = self._link.embed_images if kind == "embed_images" else self._link.embed_texts
        answer = embed(value)
        # A worker that died meanwhile is found when its socket is read.
        with suppress(OSError):
            worker.connection.send(("answer", number, answer))

    def _replace(
        self,
        worker: _Worker,
        units: Sequence[Any],
        waiting: deque[tuple[int, Any]],
        tries: list[int],
        give: Callable[[_Worker], None],
    ) -> None:
        worker.stop(time.monotonic() + STOP_TIMEOUT_S)
        for position in sorted(worker.positions, reverse=True):
            if tries[position] >= MAX_TRIES:
                code = worker.process.returncode
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                raise RunError(
                    f"a worker died {MAX_TRIES} times on the same unit ({how}): "
                    f"{_shown(units[position])}; if the system killed it for memory (signal 9), "
                    "use fewer --workers or less --max-memory; then run the same line again"
                )
            waiting.appendleft((position, units[position]))
        self._workers[self._workers.index(worker)] = fresh = self._start()
        give(fresh)


def _shown(unit: object) -> str:
    text = repr(unit)
    return text if len(text) <= 200 else text[:200] + "..."
