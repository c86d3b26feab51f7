"""The worker process: take units from the coordinator's socket until it closes."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import numpy.typing as npt

from webpairs.engine.link import Preprocess


class SocketLink:
    """Reach the coordinator over the worker's socket; asked by one thread at a time."""

    def __init__(self, connection: Connection, preprocess: Preprocess) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.preprocess = preprocess

    def embed_images(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Ask the coordinator's model."""
        return self._ask("embed_images", batch)

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Ask the coordinator's model."""
        return self._ask("embed_texts", list(texts))

    def report(self, counts: Mapping[str, float]) -> None:
        """Tell the coordinator."""
        with self._lock:
            self._connection.send(("report", dict(counts)))

    def _ask(self, kind: str, value: object) -> Any:
        with self._lock:
            self._connection.send((kind, value))
            return self._connection.recv()


def serve(connection: Connection) -> None:
    """Do units until the coordinator closes the socket."""
    link = SocketLink(connection, connection.recv())
    while True:
        function, unit = connection.recv()
        try:
            answer = ("result", function(unit, link))
        except Exception as error:
            answer = ("raise", _portable(error))
        connection.send(answer)


def _portable(error: Exception) -> Exception:
    """Return an error that survives the way through the socket, with its traceback as a note."""
    import pickle
    import traceback

    note = "in a worker:\n" + "".join(traceback.format_exception(error))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.add_note(note)
    return error


def end_with(coordinator_pid: int) -> None:
    """End this process when its coordinator does, however it does, even in the middle of a unit."""

    def watch() -> None:
        while os.getppid() == coordinator_pid:
            threading.Event().wait(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """Run the worker; its arguments are the inherited socket's number and the coordinator's pid."""
    # Ctrl-C reaches the whole group: the coordinator decides and ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with(int(sys.argv[2]))
    connection = Connection(socket.socket(fileno=int(sys.argv[1])).detach())
    try:
        serve(connection)
    except (EOFError, ConnectionError, BrokenPipeError):
        sys.exit(0)


if __name__ == "__main__":
    main()
