"""Giving each filter a process, short ones at once, long ones when there is room.

A filter begins in one of the quick places. If it is not done after `QUICK_S`, it moves to one of
the slow places and goes on at low priority; where those are taken, its process is killed and it
waits for one, to begin again. So a short filter waits for at most `QUICK_S` per filter before it,
however long those take.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Final

import numpy as np

from webpairs.dataset.sources.source import Rows
from webpairs.dataset.where_text import check_size, shown
from webpairs.quantities import size_of
from webpairs.search.chosen_rows import RowFinder
from webpairs.serve.filters.process import MEMORY_BYTES, MESSAGE_BYTES
from webpairs.serve.limits.refusal import BUSY, UNUSABLE, Refusal

LIMIT_S: Final = 20.0
"""Of a filter, from when it has a slow place."""
QUICK_S: Final = 1.0
QUICK: Final = 2
"""Filters that run in quick places at once."""
SLOW: Final = 2
MAX_WAITING: Final = 8
"""Filters that wait for a slow place; more are refused."""
WAIT_S: Final = 60.0
"""Seconds that a filter waits for a place, and that a process may take to start."""
_KEPT: Final = 2
"""Processes that are kept for the next filters."""


class FilterPool:
    """Runs filters; safe to use from several threads. Starts nothing before the first one."""

    def __init__(self) -> None:
        self._finders: list[RowFinder] = []
        self._template: _Template | None = None
        self._idle: list[_Process] = []
        self._lock = threading.Lock()
        self._closed = False
        self._quick = threading.Semaphore(QUICK)
        self._slow = threading.Semaphore(SLOW)
        self._waiting = threading.Semaphore(MAX_WAITING)

    def add(self, finder: RowFinder) -> None:
        """Make the rows of a dataset known, before the first filter runs."""
        self._finders.append(finder)

    def start(self) -> None:
        """Start a process for the first filter, so that it need not wait for it."""
        with suppress(Refusal):  # the first filter says it
            self._put_back(self._take())

    def close(self) -> None:
        """End every process."""
        with self._lock:
            self._closed = True
            template, self._template = self._template, None
            idle, self._idle = self._idle, []
        for process in idle:
            process.connection.close()
        if template is not None:
            template.close()

    def find(self, finder: RowFinder, expression: str) -> Rows:
        """Return the rows for which an expression is true, rising.

        Raises ConfigError or Refusal for one that cannot be, takes too much memory or too long.
        """
        check_size(expression)
        request = self._finders.index(finder).to_bytes(4, "big") + expression.encode(
            errors="surrogatepass"
        )
        with _turn(self._quick):
            process = self._take()
            process.ask(request)
            if process.answers_within(QUICK_S):
                return self._rows(process, expression)
            has_turn = self._slow.acquire(blocking=False)
            if not has_turn:
                process.kill()
        if has_turn:
            try:
                process.be_nice()
                return self._finish(process, expression)
            finally:
                self._slow.release()
        if not self._waiting.acquire(blocking=False):
            raise Refusal(
                BUSY, f"{MAX_WAITING} slow filters wait already: use a simpler one", _LATER
            )
        try:
            with _turn(self._slow):
                process = self._take()
                process.be_nice()
                process.ask(request)
                return self._finish(process, expression)
        finally:
            self._waiting.release()

    def _finish(self, process: _Process, expression: str) -> Rows:
        if process.answers_within(LIMIT_S):
            return self._rows(process, expression)
        process.kill()
        raise Refusal(
            UNUSABLE,
            f"where {shown(expression)} takes longer than {LIMIT_S:g} s: use a simpler expression",
        )

    def _rows(self, process: _Process, expression: str) -> Rows:
        """Return what a process answered, or raise it."""
        answer = process.answer()
        if answer is None or answer[:1] == b"M":
            process.kill()
            raise Refusal(
                UNUSABLE,
                f"where {shown(expression)} needs more than {size_of(MEMORY_BYTES)} of memory: "
                "use a simpler expression",
            )
        self._put_back(process)
        if answer[:1] == b"R":
            return np.frombuffer(answer, "<i8", offset=1).astype(np.int64)
        message = answer[1:].decode(errors="replace")
        if answer[:1] == b"F":
            message = f"where {shown(expression)} cannot be answered ({message})"
        raise Refusal(UNUSABLE, message)

    def _take(self) -> _Process:
        """Return a process that waits for a request."""
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if not process.answers_within(0):
                    return process
                process.connection.close()  # it ended while it waited
            if self._closed:
                raise Refusal(BUSY, "the server ends")
            if self._template is None or not self._template.lives:
                if self._template is not None:
                    self._template.close()
                self._template = _Template(self._finders)
            template = self._template
        return template.fork()

    def _put_back(self, process: _Process) -> None:
        with self._lock:
            if not process.is_nice and len(self._idle) < _KEPT and self._template is not None:
                self._idle.append(process)
                return
        process.connection.close()


class _Template:
    """The process that filter processes are copies of."""

    def __init__(self, finders: Sequence[RowFinder]) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "webpairs.serve.filters.process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.PIPE,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
                start_new_session=True,  # Ctrl-C is the server's
            )
        begin = self._process.stdin
        assert begin is not None
        with suppress(OSError), begin:
            pickle.dump(list(finders), begin)

    @property
    def lives(self) -> bool:
        """Tell whether the process is there."""
        return self._process.poll() is None

    def fork(self) -> _Process:
        """Return a new filter process; Refusal where there is none to be had."""
        ours, theirs = socket.socketpair()
        with theirs:
            self.tell("fork", theirs.fileno())
        connection = Connection(ours.detach())
        with suppress(OSError, EOFError):
            if connection.poll(WAIT_S):
                return _Process(connection, int(connection.recv_bytes(20)), self)
        connection.close()
        raise Refusal(BUSY, "no filter can be run now: try again in a second", _LATER)

    def tell(self, message: str, *descriptors: int) -> None:
        """Send a message; one that a dead process does not get is lost."""
        with self._lock, suppress(OSError):
            socket.send_fds(self._control, [message.ljust(MESSAGE_BYTES).encode()], descriptors)

    def close(self) -> None:
        """End it and its children."""
        self._control.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._process.kill()
        self._process.wait()


class _Process:
    """A filter process and the server's end of its socket."""

    def __init__(self, connection: Connection, number: int, template: _Template) -> None:
        self.connection = connection
        self.is_nice = False
        self._number = number
        self._template = template

    def ask(self, request: bytes) -> None:
        """Send a request; whether it came is seen by the answer."""
        with suppress(OSError):
            self.connection.send_bytes(request)

    def answers_within(self, limit_s: float) -> bool:
        """Tell whether there is an answer, or the process ended, within a time."""
        try:
            return self.connection.poll(limit_s)
        except OSError:
            return True

    def answer(self) -> bytes | None:
        """Return its answer; None when the process ended instead."""
        try:
            return self.connection.recv_bytes()
        except (OSError, EOFError):
            return None

    def be_nice(self) -> None:
        """Let other processes go first from now on."""
        self.is_nice = True
        self._template.tell(f"nice {self._number}")

    def kill(self) -> None:
        """End it now."""
        self._template.tell(f"kill {self._number}")
        self.connection.close()


@contextmanager
def _turn(places: threading.Semaphore) -> Generator[None]:
    if not places.acquire(timeout=WAIT_S):
        raise Refusal(BUSY, "too many filters are under way: try again in a minute", _LATER)
    try:
        yield
    finally:
        places.release()


_LATER: Final = {"retry-after": "10"}
