"""The worker process: do the units that come from the coordinator's socket until it closes.

Each unit runs in a thread; the main thread reads the socket: units, and answers to what they asked.
"""

from __future__ import annotations

import itertools
import os
import queue
import signal
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from webpairs.engine.link import Preprocess
from webpairs.engine.malloc import share_one_heap

if TYPE_CHECKING:
    from webpairs.obtain.fetcher import Outcome
    from webpairs.obtain.received import ReceivedAnswers
    from webpairs.obtain.service import FetchClient


class SocketLink:
    """Reach the coordinator over the worker's socket, and the fetcher over another."""

    def __init__(
        self, connection: Connection, preprocess: Preprocess, fetch_socket: socket.socket
    ) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._numbers = itertools.count()
        self._asked: dict[int, queue.SimpleQueue[Any]] = {}
        self._fetch_socket = fetch_socket
        self._client: FetchClient | None = None
        self._making_client = threading.Lock()
        self.preprocess = preprocess

    def embed_images(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Ask the coordinator's model."""
        return self._ask("embed_images", batch)

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Ask the coordinator's model."""
        return self._ask("embed_texts", list(texts))

    def fetch(
        self, urls: Sequence[str], deadline_s: float, keep_in: ReceivedAnswers | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Ask the run's fetcher."""
        from webpairs.obtain.service import FetchClient

        with self._making_client:
            if self._client is None:
                self._client = FetchClient(self._fetch_socket)
        return self._client.fetch(urls, deadline_s, keep_in)

    def report(self, counts: Mapping[str, float]) -> None:
        """Tell the coordinator."""
        self.send("report", 0, dict(counts))

    def send(self, kind: str, number: int, value: object) -> None:
        """Send one message."""
        with self._sending:
            self._connection.send((kind, number, value))

    def answered(self, number: int, value: Any) -> None:
        """Hand an answer to the unit that asked."""
        self._asked.pop(number).put(value)

    def _ask(self, kind: str, value: object) -> Any:
        number = next(self._numbers)
        answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._asked[number] = answer
        self.send(kind, number, value)
        return answer.get()


def serve(connection: Connection, fetch_socket: socket.socket) -> None:
    """Do units until the coordinator closes the socket."""
    link = SocketLink(connection, connection.recv(), fetch_socket)

    def do(position: int, function: Any, unit: Any) -> None:
        try:
            answer = ("result", position, function(unit, link))
        except BaseException as error:  # a thread that ends in silence would leave its unit open
            answer = ("raise", position, _portable(error))
        try:
            link.send(*answer)
        except OSError:
            os._exit(0)  # the coordinator has gone

    while True:
        kind, number, value = connection.recv()
        if kind == "unit":
            threading.Thread(target=do, args=(number, *value), daemon=True).start()
        else:
            link.answered(number, value)


def _portable(error: BaseException) -> Exception:
    """Return an error that survives the way through the socket, with its traceback as a note."""
    import pickle
    import traceback

    note = "in a worker:\n" + "".join(traceback.format_exception(error))
    portable = RuntimeError(f"{type(error).__name__}: {error}")
    # A SystemExit, or a panic of a Rust library, must not end the coordinator as its own would.
    if isinstance(error, Exception):
        with suppress(Exception):
            pickle.loads(pickle.dumps(error))
            portable = error
    portable.add_note(note)
    return portable


def end_with(coordinator_pid: int) -> None:
    """End this process when its coordinator does, however it does, even in the middle of a unit."""

    def watch() -> None:
        while os.getppid() == coordinator_pid:
            threading.Event().wait(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Run the worker; its arguments are the numbers of the inherited sockets, to the coordinator
    and to the fetcher, and the coordinator's pid."""
    # Ctrl-C reaches the whole group: the coordinator decides and ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    share_one_heap()
    end_with(int(sys.argv[3]))
    connection = Connection(socket.socket(fileno=int(sys.argv[1])).detach())
    try:
        serve(connection, socket.socket(fileno=int(sys.argv[2])))
    except (EOFError, ConnectionError, BrokenPipeError):
        sys.exit(0)


if __name__ == "__main__":
    main()
