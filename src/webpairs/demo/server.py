"""Serving a live little web on this machine: all its hosts on one port, told apart by name."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any, Final
from urllib.parse import urlsplit

from webpairs.demo.little_web import LittleWeb
from webpairs.demo.live import SERVER
from webpairs.demo.page import Answer
from webpairs.errors import ConfigError

_IDLE_S: Final = 60
"""Seconds after which a connection without requests is closed."""
_STOP_S: Final = 5
"""Seconds that open connections have to end when the server stops."""
_NOT_FOUND: Final = (
    b"HTTP/1.1 404 Not Found\r\nServer: little-web\r\nContent-Type: text/html\r\n"
    b"Content-Length: 18\r\n\r\n<h1>Not found</h1>"
)


@contextmanager
def served(web: LittleWeb, port: int) -> Generator[None]:
    """Answer for a web that was drawn live for this port of 127.0.0.1, until the block ends.

    HTTP/1.1 with connections kept open. Every answer is sent as it was drawn, byte for byte;
    what was not drawn is 404. Raises ConfigError when another program has the port.
    """
    messages = {_place(answer): answer.message for answer in web.answers}
    try:
        server = _Server(port, messages)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise ConfigError(
            f"port {port} of {SERVER}, which the little web's URLs name, is taken by another "
            "program: end that one and run the same line again, or name another folder with --out"
        ) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="little-web")
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        server.close_connections()
        thread.join()


def _place(answer: Answer) -> tuple[str, str]:
    """Return what a request says to get an answer: its Host header and its target."""
    parts = urlsplit(answer.url)
    return parts.netloc, parts.path + (f"?{parts.query}" if parts.query else "")


class _Server(ThreadingTCPServer):
    """Serving each connection in a thread of its own; know them all, so that none outlives it.

    Not http.server's class, which asks a name server who 127.0.0.1 is.
    """

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, messages: Mapping[tuple[str, str], bytes]) -> None:
        self.messages = messages
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__((SERVER, port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._changed:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up in the middle is an ordinary thing."""

    def close_connections(self) -> None:
        """End what is open, and wait until the threads that served it are done with it."""
        with self._changed:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:  # the client was faster
                    continue
            self._changed.wait_for(lambda: not self._connections, _STOP_S)


class _Handler(BaseHTTPRequestHandler):
    """Answering the requests of one connection."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S

    def do_GET(self) -> None:
        """Send what was drawn for this host and target, in one piece."""
        assert isinstance(self.server, _Server)
        place = (self.headers.get("Host", "").lower(), self.path)
        self.wfile.write(self.server.messages.get(place, _NOT_FOUND))

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""
