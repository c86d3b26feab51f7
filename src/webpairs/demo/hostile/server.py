"""Serving the hostile web on this machine, byte by byte: no HTTP library would misbehave so."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections import Counter, deque
from types import TracebackType
from typing import Final, Self

from webpairs.crawl.http_message import parse_headers
from webpairs.demo.hostile.behaviour import (
    DOMAIN,
    FORBIDDEN,
    NOT_FOUND,
    SERVED_AT,
    Answer,
    Behaviour,
    Ports,
    Request,
    Visit,
    fill_in,
    say,
)
from webpairs.demo.hostile.behaviours import BEHAVIOURS
from webpairs.demo.hostile.certificates import Certificates
from webpairs.demo.hostile.images import jpeg
from webpairs.obtain.dns import StaticResolver

MAX_CONNECTIONS: Final = 1024
CONNECTION_S: Final = 120.0
"""No connection lives longer, whatever both sides do."""
LAST_BYTES_S: Final = 10.0
"""How long to wait for the other side to take the end of an answer."""
MAX_LOGGED: Final = 100_000
_MAX_HEAD_BYTES: Final = 64 << 10
_TLS_HELLO: Final = b"\x16"  # a handshake record (RFC 8446, 5.1)

_NO_MANNERS: Final = ("/robots.txt", "/.well-known/", "/ai.txt")
_TRAPPED: Final[Answer] = say("200 OK", "Content-Type: image/jpeg", body=jpeg)


class HostileWeb:
    """Listen on 127.0.0.1, and where nobody may come, from `with` to its end; in a thread.

    Without `certificates` the behaviours that need one are left out.
    """

    def __init__(
        self,
        certificates: Certificates | None = None,
        behaviours: tuple[Behaviour, ...] = BEHAVIOURS,
    ) -> None:
        self.behaviours: Final = tuple(
            one for one in behaviours if one.certificate is None or certificates is not None
        )
        self.requests: deque[Request] = deque(maxlen=MAX_LOGGED)
        """What was asked, in order, at either address; `demo --hostile` and tests look at it."""
        self.trapped: deque[str] = deque(maxlen=MAX_LOGGED)
        """Who connected to the forbidden address."""
        self.bugs: deque[Exception] = deque(maxlen=MAX_LOGGED)
        """What went wrong here, not on the other side; a test wants none."""
        self._certificates = certificates
        self._by_name = {one.name: one for one in self.behaviours}
        self._times: Counter[tuple[str, str]] = Counter()
        self.num_open = 0
        """Connections that others made and nobody has closed yet."""
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        plain, trap = _listen_at_both()
        tls = _listen() if self._certificates is not None else None
        hangup = _listen()
        closed = socket.socket()
        closed.bind((SERVED_AT, 0))  # taken, so that nobody listens there
        full = _listen(backlog=0)
        waiting = [socket.socket() for _ in range(2)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        self._sockets = [closed, full, *waiting]
        self.ports = Ports(
            port=_port(plain),
            tls_port=_port(tls) if tls is not None else 0,
            closed_port=_port(closed),
            full_port=_port(full),
            hangup_port=_port(hangup),
        )
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: self._run(started, plain, trap, tls, hangup), name="hostile web"
        )
        self._thread.start()
        started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()
        for one in self._sockets:
            one.close()

    @property
    def urls(self) -> list[tuple[Behaviour, str]]:
        """Return every URL to fetch, with what it belongs to."""
        return [(one, url) for one in self.behaviours for url in one.urls(self.ports)]

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Return the addresses of every host that has any."""
        names: dict[str, tuple[str, ...]] = {}
        for one in self.behaviours:
            hosts = [("{host}", one.addresses), *one.names]
            for template, addresses in hosts:
                if addresses:
                    names[fill_in(template, one.host, self.ports)] = addresses
        return names

    @property
    def resolver(self) -> StaticResolver:
        """Return the name service of this web."""
        return StaticResolver(self.names)

    # In the thread

    def _run(
        self,
        started: threading.Event,
        plain: socket.socket,
        trap: socket.socket,
        tls: socket.socket | None,
        hangup: socket.socket,
    ) -> None:
        with contextlib.closing(self._loop):
            self._loop.set_exception_handler(_ignore)
            self._loop.run_until_complete(self._serve(started, plain, trap, tls, hangup))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())

    async def _serve(
        self,
        started: threading.Event,
        plain: socket.socket,
        trap: socket.socket,
        tls: socket.socket | None,
        hangup: socket.socket,
    ) -> None:
        servers = [
            await asyncio.start_server(self._meet, sock=plain, limit=_MAX_HEAD_BYTES),
            await asyncio.start_server(self._meet, sock=trap, limit=_MAX_HEAD_BYTES),
            await asyncio.start_server(_hang_up, sock=hangup),
        ]
        if tls is not None:
            servers.append(
                await asyncio.start_server(
                    self._meet, sock=tls, ssl=self._tls(), ssl_handshake_timeout=10
                )
            )
        started.set()
        await self._stopped.wait()
        await _let_begin()  # a server that closes while it accepts loses the connection
        for server in servers:
            server.close()
        await _let_begin()  # a task that is cancelled before it began does not close its socket
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await _let_begin()  # transports close their sockets in a callback

    def _tls(self) -> ssl.SSLContext:
        """Return a context that shows each host the certificate its behaviour asks for."""
        certificates = self._certificates
        assert certificates is not None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

        def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            behaviour = self._behaviour(name or "")
            chosen = behaviour.certificate if behaviour is not None else None
            connection.context = certificates.of(chosen)

        context.sni_callback = choose
        return context

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests, one after the other."""
        reached_at = str(writer.get_extra_info("sockname")[0])
        if reached_at == FORBIDDEN:
            self.trapped.append(str(writer.get_extra_info("peername")))
        self.num_open += 1
        try:
            if self.num_open <= MAX_CONNECTIONS:
                async with asyncio.timeout(CONNECTION_S):
                    while await self._answer(reader, writer, reached_at):
                        pass
            writer.close()
            async with asyncio.timeout(LAST_BYTES_S):
                await writer.wait_closed()
        except (OSError, EOFError, TimeoutError, asyncio.LimitOverrunError):
            pass  # the other side has gone, or makes no sense
        except Exception as error:
            self.bugs.append(error)
        finally:
            writer.transport.abort()
            # The loop closes the socket only in a later callback.
            with contextlib.suppress(OSError, ssl.SSLError):
                await writer.wait_closed()
            self.num_open -= 1

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, reached_at: str
    ) -> bool:
        """Answer the next request; return whether another may follow."""
        first = await reader.readexactly(1)
        if first == _TLS_HELLO:
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return False
        request = _parse(first + await reader.readuntil(b"\r\n\r\n"), reached_at)
        self.requests.append(request)
        self._times[request.host, request.path] += 1
        visit = Visit(request, self._times[request.host, request.path], self.ports, reader, writer)
        await self._answer_of(request)(visit)
        return visit.keep_open and (request.get("connection") or "").lower() != "close"

    def _answer_of(self, request: Request) -> Answer:
        behaviour = self._behaviour(request.host)
        if request.reached_at != SERVED_AT:
            return NOT_FOUND if request.path.startswith(_NO_MANNERS) else _TRAPPED
        if behaviour is None:
            return NOT_FOUND
        elsewhere = dict(behaviour.elsewhere).get(request.path)
        if elsewhere is not None:
            return elsewhere
        return NOT_FOUND if request.path.startswith(_NO_MANNERS) else behaviour.answer

    def _behaviour(self, host: str) -> Behaviour | None:
        """Return the behaviour whose host, or a name below it, this is."""
        below, dot, domain = host.rpartition("." + DOMAIN)
        if not dot or domain:
            return None
        name = below.rpartition(".")[2]
        return self._by_name.get(name)


async def _let_begin() -> None:
    """Let what was scheduled begin, and what that schedules."""
    for _ in range(5):
        await asyncio.sleep(0)


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


def _ignore(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Say nothing of connections that broke: breaking them is what this web is for."""


def _listen(address: str = SERVED_AT, port: int = 0, backlog: int = 512) -> socket.socket:
    listening = socket.socket()
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening


def _listen_at_both() -> tuple[socket.socket, socket.socket]:
    """Listen at the good and at the forbidden address, on the same port."""
    for _ in range(20):
        plain = _listen()
        try:
            return plain, _listen(FORBIDDEN, _port(plain))
        except OSError:  # another program has the port there
            plain.close()
    raise OSError(f"no port is free at both {SERVED_AT} and {FORBIDDEN}")


def _port(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def _parse(head: bytes, reached_at: str) -> Request:
    line = head.partition(b"\r\n")[0].decode("latin-1")
    method, _, rest = line.partition(" ")
    headers = parse_headers(head)
    authority = next((value for name, value in headers if name == "host"), "")
    host = authority if authority.endswith("]") else authority.rpartition(":")[0] or authority
    return Request(method, host.lower(), rest.rpartition(" ")[0], headers, reached_at)
