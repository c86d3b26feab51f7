"""What a behaviour is: a host of its own, what it answers, and what must come of it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

DOMAIN: Final = "hostile.example"
"""Every host is a name below it; `.example` can never be anybody's (RFC 2606)."""

SERVED_AT: Final = "127.0.0.1"
FORBIDDEN: Final = "127.0.0.2"
"""The server listens here too, so that a fetcher that can be talked into coming is seen."""

HOLD_S: Final = 60.0
"""How long a server that says nothing, or too little, keeps a connection."""

_PAUSE_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the server listens; URLs and Locations are templates over these names."""

    port: int
    """Speaks HTTP, well or badly, on 127.0.0.1 and on 127.0.0.2."""
    tls_port: int
    """Speaks TLS; 0 when the server was given no certificates."""
    closed_port: int
    """Refuses connections."""
    full_port: int
    """Lets connections wait for ever: its queue is full."""
    hangup_port: int
    """Accepts and closes."""


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: header names in lower case, the port cut off the host."""

    method: str
    host: str
    path: str
    headers: tuple[tuple[str, str], ...]
    reached_at: str
    """The address of this machine that the connection was made to."""

    def get(self, name: str) -> str | None:
        """Return the first value of a header, or None."""
        return next((value for key, value in self.headers if key == name), None)


class Visit:
    """Answering one request over its connection, byte for byte."""

    def __init__(
        self,
        request: Request,
        times: int,
        ports: Ports,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.request: Final = request
        self.times: Final = times
        """How often this path of this host was asked for, this time included."""
        self.keep_open = False
        """Whether the connection takes another request after this answer."""
        self._ports = ports
        self._reader = reader
        self._writer = writer

    def fill_in(self, template: str) -> str:
        """Put this host's name and the server's ports into a URL or a header."""
        return fill_in(template, self.request.host, self._ports)

    async def send(self, data: bytes) -> None:
        """Send bytes, waiting while the other side takes none."""
        self._writer.write(data)
        await self._writer.drain()

    async def send_slowly(self, data: bytes, step_bytes: int = 1) -> None:
        """Send ten pieces of `step_bytes` a second, for at most `HOLD_S`."""
        for start in range(0, min(len(data), int(HOLD_S / _PAUSE_S) * step_bytes), step_bytes):
            await self.send(data[start : start + step_bytes])
            await asyncio.sleep(_PAUSE_S)

    async def say_nothing(self) -> None:
        """Keep the connection open, without a word, until the other side has had enough."""
        async with asyncio.timeout(HOLD_S):
            await self._reader.read()

    async def reset(self) -> None:
        """End the connection with RST where others send FIN."""
        await asyncio.sleep(_PAUSE_S)  # so that what was sent before is read before
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Answer = Callable[[Visit], Awaitable[None]]
Bytes = bytes | Callable[[], bytes]
"""A body, or what makes it when it is first asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """Description of one way to misbehave (or to be odd and yet right), on a host of its own."""

    name: str
    """The host is `NAME.hostile.example`."""
    what: str
    expect: str
    """What must come of each of its URLs: `truth.SAMPLE`, or a `Drop`."""
    answer: Answer
    """Answers every path but `elsewhere` and those that are about manners, which are not found."""
    url: str = "http://{host}:{port}/picture-{n}.jpg"
    num_urls: int = 1
    addresses: tuple[str, ...] = (SERVED_AT,)
    """What the host's name resolves to; none: the name does not exist."""
    names: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Further names and their addresses; the server answers for those below the host."""
    elsewhere: tuple[tuple[str, Answer], ...] = ()
    """Paths that have an answer of their own: robots.txt, and where redirects lead."""
    certificate: str | None = None
    """The field of `server.Certificates` that the host shows; None: it needs none."""

    @property
    def host(self) -> str:
        """Return the host's name."""
        return f"{self.name}.{DOMAIN}"

    def urls(self, ports: Ports) -> list[str]:
        """Return the URLs to fetch, as a page would spell them."""
        return [
            fill_in(self.url, self.host, ports).replace("{n}", str(number))
            for number in range(1, self.num_urls + 1)
        ]


def fill_in(template: str, host: str, ports: Ports) -> str:
    """Put a host and the ports into `{host}`, `{port}`, `{tls_port}` and the like."""
    for name, value in (
        ("host", host),
        ("port", ports.port),
        ("tls_port", ports.tls_port),
        ("closed_port", ports.closed_port),
        ("full_port", ports.full_port),
        ("hangup_port", ports.hangup_port),
    ):
        template = template.replace("{" + name + "}", str(value))
    return template


# Answers that several behaviours are made of ------------------------------------------------------


async def made(body: Bytes) -> bytes:
    """Return a body, without holding up the other connections while it is made."""
    return body if isinstance(body, bytes) else await asyncio.to_thread(body)


def say(status: str = "200 OK", *headers: str, body: Bytes = b"") -> Answer:
    """Answer as a good server does: a status, these headers, and a body of the right length.

    Headers are Latin-1 and may name `{host}` and ports.
    """

    async def answer(visit: Visit) -> None:
        data = await made(body)
        await visit.send(head(visit, status, *headers, f"Content-Length: {len(data)}"))
        await visit.send(data)
        visit.keep_open = True

    return answer


def raw(data: Bytes) -> Answer:
    """Send these bytes and close the connection."""

    async def answer(visit: Visit) -> None:
        await visit.send(await made(data))

    return answer


def in_turn(*answers: Answer) -> Answer:
    """Give the first answer to the first request of a path and so on, the last to all others."""

    async def answer(visit: Visit) -> None:
        await answers[min(visit.times, len(answers)) - 1](visit)

    return answer


def head(visit: Visit, status: str, *headers: str) -> bytes:
    """Return a status line and headers with their empty line."""
    lines = [f"HTTP/1.1 {status}", *headers, "", ""]
    return visit.fill_in("\r\n".join(lines)).encode("latin-1")


NOT_FOUND: Final = say("404 Not Found", "Content-Type: text/plain", body=b"not found\n")
