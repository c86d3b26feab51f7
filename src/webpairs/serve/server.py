"""The server: it listens, says where, and ends when it is asked to."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from webpairs.errors import ConfigError
from webpairs.serve.app import make_app
from webpairs.serve.collection import Collection
from webpairs.serve.metrics import Metrics
from webpairs.serve.options import ServeOptions

HEAD_TIMEOUT_S: Final = 20.0
"""From a connection, or from a request's first byte, to the end of its head."""
MAX_HEAD_BYTES: Final = 65_536
MAX_HEADERS: Final = 100
"""A browser sends about 20."""
KEEP_ALIVE_S: Final = 30
GRACE_S: Final = 5
BACKLOG: Final = 2_048
_PIECE_BYTES: Final = 4_096
"""The head is counted in pieces: one that came with the end of a request before it is, too."""
_MESSAGE: Final = (
    f'{{"message":"the head of a request has at most {MAX_HEAD_BYTES:,} bytes and {MAX_HEADERS} '
    'headers: send large values as the body of a POST"}'
).encode()
_HEAD_TOO_LARGE: Final = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(_MESSAGE), _MESSAGE)
)


class ImpatientProtocol(HttpToolsProtocol):
    """Close connections whose request does not come: uvicorn waits for it without end."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Start to wait for the first request."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._head_is_there()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head of a request has no end."""
        for start in range(0, len(data), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            if self._head_timer is not None:
                self._head_bytes += len(piece)
                if self._head_bytes > MAX_HEAD_BYTES:
                    self._refuse_head()
            if self.transport.is_closing():
                return
            super().data_received(piece)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, unless there are too many."""
        if len(self.headers) >= MAX_HEADERS:
            self._refuse_head()
        else:
            super().on_header(name, value)

    def on_message_begin(self) -> None:
        """Wait for the end of the head."""
        super().on_message_begin()
        if self._head_timer is None:
            self._wait_for_head()

    def on_headers_complete(self) -> None:
        """Wait no longer; the body has limits of its own."""
        self._head_is_there()
        if not self.transport.is_closing():
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body, unless its request was refused."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End a request, unless it was refused."""
        if not self.transport.is_closing():
            super().on_message_complete()

    def _refuse_head(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(_HEAD_TOO_LARGE)
            self.transport.close()

    def _wait_for_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._close)

    def _head_is_there(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close(self) -> None:
        self._head_timer = None
        self.transport.close()


def serve(options: ServeOptions, ready: Callable[[str, Collection], None]) -> None:
    """Serve until SIGINT or SIGTERM; `ready` is told the address and what is served.

    Raises ConfigError before anything is listened to, and when the port cannot be had.
    """
    listening = _listen(options)
    try:
        metrics = Metrics()
        collection = Collection(options, metrics)
        app = make_app(options, collection, metrics)
        config = uvicorn.Config(
            app,
            loop="asyncio",  # libcurl's sockets are watched by it
            http=ImpatientProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            backlog=BACKLOG,
        )
        host, port = listening.getsockname()[:2]
        logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
        shown = f"[{host}]" if ":" in host else host
        for number in (signal.SIGINT, signal.SIGTERM):
            # uvicorn ends in order, then raises what it got again: here it has done its work.
            signal.signal(number, _ignore)
        ready(f"http://{shown}:{port}", collection)
        # Started beside it: the first filter need not wait for it, and nor need anything else.
        threading.Thread(target=collection.filters.start, daemon=True).start()
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        listening.close()


def _ignore(number: int, frame: FrameType | None) -> None:
    return


def _listen(options: ServeOptions) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise ConfigError(
            f"--host {options.host!r} is not an address of this machine: use 127.0.0.1, or "
            f"0.0.0.0 for all ({error.strerror})"
        ) from error
    family, kind, protocol, _, address = found[0]
    listening = socket.socket(family, kind, protocol)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"cannot listen at {options.host} port {options.port}: {error.strerror}; use another "
            "--port, or 0 for any that is free"
        ) from error
    listening.setblocking(False)
    return listening
