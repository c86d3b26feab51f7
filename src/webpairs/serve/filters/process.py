"""Run strangers' filters in processes that the system bounds, and that can be killed at any time.

    server ──control socket── template: imports, opened datasets; forks when told to
       └──── a socket each ──── filter process: a request in, rows or a sentence out

Neither DuckDB's memory limit nor its interrupt reaches all that an expression can do. A filter
process may use `MEMORY_BYTES` more than it begins with (RLIMIT_DATA: what it allocates; files that
are mapped do not count) and writes no file. Forking one takes milliseconds, since the template has
everything loaded, so killing one costs little. The template ends with the server, whatever ended
that, and its children with it.

Messages to the template: `fork` with a socket, `kill PID`, `nice PID`. A filter process first says
its PID, then answers each request (4 bytes: which dataset; the expression) with a letter and bytes:
R and row numbers (int64), C and why the expression cannot be, M for memory that was not to be
had, F and the name of an error.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pickle
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

import numpy as np

from webpairs.dataset import where
from webpairs.engine.malloc import share_one_heap
from webpairs.errors import ConfigError
from webpairs.search.chosen_rows import RowFinder

MEMORY_BYTES: Final = 512_000_000
"""Twice what DuckDB may take, and a group of rows of a metadata file."""
BYTES_PER_ROW: Final = 24
"""Row numbers of a filter that chooses all, while they are put together."""
CPU_S: Final = 60
"""Seconds of computing until the system ends a filter process that the server did not."""
_PR_SET_PDEATHSIG: Final = 1
"""Source: prctl(2); the signal that a process gets when its parent ends."""
NICENESS: Final = 10
MESSAGE_BYTES: Final = 32
"""Of a message to the template, filled up with spaces."""


def main() -> None:
    """Be the template: argument 1 is the control socket's file descriptor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    share_one_heap()
    control = socket.socket(fileno=int(sys.argv[1]))
    finders: Sequence[RowFinder] = pickle.load(sys.stdin.buffer)  # the server's own
    importlib.import_module("duckdb")  # so that no child has to
    children: set[int] = set()
    while True:
        data, sockets, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
        if not data:
            break
        _reap(children)
        verb, _, number = data.decode().strip().partition(" ")
        if verb == "fork":
            child = os.fork()
            if child == 0:
                control.close()
                _serve(finders, sockets[0])
            os.close(sockets[0])
            children.add(child)
        elif int(number) in children:
            # Only this process reaps its children, so the number is still that of the child.
            if verb == "kill":
                os.kill(int(number), signal.SIGKILL)
            else:
                with suppress(OSError):
                    os.setpriority(os.PRIO_PROCESS, int(number), NICENESS)
    for child in children:
        with suppress(OSError):
            os.kill(child, signal.SIGKILL)
    os._exit(0)


def _reap(children: set[int]) -> None:
    with suppress(ChildProcessError):
        while ended := os.waitpid(-1, os.WNOHANG)[0]:
            children.discard(ended)


def _serve(finders: Sequence[RowFinder], number: int) -> None:
    """Answer requests of a socket until it closes; never returns."""
    status = 1
    try:
        _end_with_parent()
        connection = Connection(number)
        where.prepare()
        _limit(max((one.num_rows for one in finders), default=0))
        connection.send_bytes(str(os.getpid()).encode())
        while True:
            _limit_time()
            request = connection.recv_bytes()
            finder = finders[int.from_bytes(request[:4], "big")]
            connection.send_bytes(_answer(finder, request[4:].decode()))
    except (EOFError, OSError):
        status = 0
    finally:
        os._exit(status)


def _answer(finder: RowFinder, expression: str) -> bytes:
    try:
        return b"R" + np.ascontiguousarray(finder.find(expression), "<i8").tobytes()
    except ConfigError as error:
        return b"C" + str(error).encode(errors="replace")
    except MemoryError:
        return b"M"
    except Exception as error:
        return b"F" + type(error).__name__.encode()


def _end_with_parent() -> None:
    with suppress(OSError, AttributeError):  # Linux has it; elsewhere the CPU limit remains
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _limit(num_rows: int) -> None:
    with suppress(OSError, ValueError):  # some systems have no such limits
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        pages = int(Path("/proc/self/statm").read_bytes().split()[5])
        most = pages * resource.getpagesize() + MEMORY_BYTES + BYTES_PER_ROW * num_rows
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _limit_time() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + CPU_S
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
