"""Serve small datasets to tests: in this process, or at a port of this machine."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator, Iterator
from typing import Any

import uvicorn
from starlette.testclient import TestClient

from webpairs.serve.app import make_app
from webpairs.serve.collection import Collection
from webpairs.serve.metrics import Metrics
from webpairs.serve.options import ServeOptions
from webpairs.serve.server import ImpatientProtocol


def make(*folders: Any, **options: Any) -> Any:
    """Return the application that serves folders."""
    asked = ServeOptions(sources=tuple(map(str, folders)), **options)
    metrics = Metrics()
    return make_app(asked, Collection(asked, metrics), metrics)


@contextlib.contextmanager
def client_of(*folders: Any, **options: Any) -> Iterator[TestClient]:
    """Yield a client of a server that has no socket."""
    app = make(*folders, **options)
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        yield client


@contextlib.contextmanager
def listening(*folders: Any, **options: Any) -> Generator[tuple[str, int]]:
    """Yield host and port of a server that runs in a thread until the block ends."""
    config = uvicorn.Config(
        make(*folders, **options),
        host="127.0.0.1",
        port=0,
        loop="asyncio",
        http=ImpatientProtocol,
        ws="none",
        log_config=None,
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()
    finally:
        server.should_exit = True
        thread.join(20)
