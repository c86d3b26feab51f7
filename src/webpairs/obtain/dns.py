"""Finding the addresses of hosts: asked of the system's name servers once, remembered for a while.

Hosts come as WHATWG URL parsing leaves them: lower case, punycode, IPv4 in dotted form whatever
was written, IPv6 in brackets. Addresses go out unjudged: `guard` decides which may be reached.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Protocol

import aiodns
import pycares

from webpairs.drops import Drop
from webpairs.errors import DataError

MIN_TTL_S: Final = 60
"""Found addresses are kept at least so long: short times to live steer users, not crawlers."""
MAX_TTL_S: Final = 3600
ABSENT_S: Final = 600
"""How long to believe that a host has no address; RFC 2308, 5, advises one to three hours at most,
and what a crawl asks for again within minutes is not worth another question."""
FAILED_S: Final = 30
"""How long to leave servers alone that failed or kept silent; RFC 2308, 7, allows five minutes."""

_LOOPBACK: Final = ("127.0.0.1", "::1")


class Resolver(Protocol):
    """Turning hosts into addresses."""

    async def resolve(self, host: str) -> tuple[str, ...]:
        """Give the IPv4 and IPv6 addresses of `host` as text, the best to try first, never none.

        Raises DataError(Drop.DNS) when there are none or nobody answered.
        """
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What one look-up gave: addresses and how long they hold, or why there are none."""

    addresses: tuple[str, ...] = ()
    ttl_s: int = 0
    failure: str = ""
    is_absent: bool = False
    """Whether the name servers answered that there is no such host or no address for it."""

    @property
    def keep_s(self) -> int:
        """Say for how many seconds not to ask again."""
        if self.addresses:
            return min(max(self.ttl_s, MIN_TTL_S), MAX_TTL_S)
        return ABSENT_S if self.is_absent else FAILED_S


class Lookup(Protocol):
    """Asking once, without remembering."""

    async def look_up(self, host: str) -> Answer:
        """Ask for the addresses of `host`; what goes wrong on the network is an answer too."""
        ...

    async def close(self) -> None:
        """Let go of sockets and threads."""
        ...


class CaresLookup:
    """Asking through c-ares: `/etc/hosts` first, then name servers, A and AAAA at once.

    `nameservers` are addresses; those of `/etc/resolv.conf` when none are given. Every server is
    tried `num_tries` times; the first wait is `timeout_s`, and later ones are longer.
    Defaults are those of c-ares 1.34. Belongs to the event loop of the first look-up.
    """

    def __init__(
        self,
        nameservers: tuple[str, ...] = (),
        *,
        port: int = 53,
        timeout_s: float = 2.0,
        num_tries: int = 3,
    ) -> None:
        self._nameservers = nameservers
        self._port = port
        self._timeout_s = timeout_s
        self._num_tries = num_tries
        self._channel: aiodns.DNSResolver | None = None

    async def look_up(self, host: str) -> Answer:
        """Ask for the addresses of `host`, as it stands: search domains are not appended."""
        if self._channel is None:  # not in __init__, where no event loop need be running
            self._channel = aiodns.DNSResolver(
                nameservers=self._nameservers or None,
                loop=asyncio.get_running_loop(),
                # EDNS is c-ares' default, and any flag given replaces the default ones.
                flags=pycares.ARES_FLAG_NOSEARCH | pycares.ARES_FLAG_EDNS,
                timeout=self._timeout_s,
                tries=self._num_tries,
                udp_port=self._port,
                tcp_port=self._port,
            )
        try:
            found = await self._channel.getaddrinfo(host, type=socket.SOCK_STREAM)
        except aiodns.error.DNSError as error:
            code, text = error.args
            return Answer(failure=str(text), is_absent=code in _ABSENT)
        # pycares gives addresses as bytes, whatever its annotations say.
        addresses = dict.fromkeys(node.addr[0].decode() for node in found.nodes)
        if not addresses:
            return Answer(failure="no addresses", is_absent=True)
        # An alias on the way may hold for less time than the address it leads to.
        ttl_s = min(record.ttl for record in (*found.nodes, *found.cnames))
        return Answer(tuple(addresses), ttl_s)

    async def close(self) -> None:
        """Give up what is being asked, and close the channel."""
        if self._channel is not None:
            await self._channel.close()


_ABSENT: Final = frozenset(
    {
        aiodns.error.ARES_ENOTFOUND,  # NXDOMAIN
        aiodns.error.ARES_ENODATA,
        aiodns.error.ARES_EBADNAME,  # no name server can know it: an empty or overlong label
    }
)


class CachingResolver:
    """Resolve through `lookup` (c-ares unless given), asking once a host at a time.

    Remembers answers and failures of at most `max_hosts` hosts; the oldest leave first. At most
    `max_in_flight` hosts are asked for at once, and others wait. `clock` counts seconds.
    For one event loop. Close it.
    """

    def __init__(
        self,
        lookup: Lookup | None = None,
        *,
        max_hosts: int = 100_000,
        max_in_flight: int = 200,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup: Lookup = CaresLookup() if lookup is None else lookup
        self._max_hosts = max_hosts
        self._slots = asyncio.Semaphore(max_in_flight)
        self._clock = clock
        self._answers: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        """Host -> until when, and what."""
        self._in_flight: dict[str, asyncio.Task[Answer]] = {}
        self._is_closed = False

    async def resolve(self, host: str) -> tuple[str, ...]:
        """Give the addresses of `host`, as `Resolver` says; raise DataError(Drop.DNS)."""
        known = known_addresses(host)
        if known is not None:
            return known
        answer = self._remembered(host) or await self._ask(host)
        if not answer.addresses:
            raise DataError(Drop.DNS, answer.failure)
        return answer.addresses

    def _remembered(self, host: str) -> Answer | None:
        expires_at, answer = self._answers.get(host, (0.0, None))
        return answer if answer is not None and self._clock() < expires_at else None

    async def _ask(self, host: str) -> Answer:
        if self._is_closed:
            raise DataError(Drop.DNS, "the resolver is closed")
        # The ASCII rule keeps NUL, where C would end the name, and needless IDNA away.
        if not (host and host.isascii() and host.isprintable()):
            return Answer(failure="not a host name", is_absent=True)
        task = self._in_flight.get(host)
        if task is None:
            task = self._in_flight[host] = asyncio.create_task(self._look_up(host))
        # `wait` leaves the task alone when this caller is cancelled: others may wait for it too.
        await asyncio.wait((task,))
        if task.cancelled():
            raise DataError(Drop.DNS, "the resolver is closed")
        return task.result()

    async def _look_up(self, host: str) -> Answer:
        try:
            async with self._slots:
                answer = await self._lookup.look_up(host)
        finally:
            del self._in_flight[host]
        self._answers.pop(host, None)  # so that the new answer is the newest
        self._answers[host] = (self._clock() + answer.keep_s, answer)
        while len(self._answers) > self._max_hosts:
            self._answers.popitem(last=False)
        return answer

    async def close(self) -> None:
        """Give up what is being asked; those who wait get a DataError."""
        self._is_closed = True
        tasks = list(self._in_flight.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._lookup.close()


class StaticResolver:
    """Resolve from a mapping of hosts to addresses, without a network: for tests and the demo.

    `*.example` stands for every name below `example` that is not listed itself; the nearest
    such entry counts.
    """

    def __init__(self, addresses: Mapping[str, Iterable[str]]) -> None:
        self._addresses = {host: tuple(found) for host, found in addresses.items()}

    async def resolve(self, host: str) -> tuple[str, ...]:
        """Give the addresses of `host`, as `Resolver` says; raise DataError(Drop.DNS)."""
        literal = _literal(host)
        if literal is not None:
            return (literal,)
        labels = host.removesuffix(".").split(".")
        patterns = [".".join(labels)]
        patterns += [".".join(("*", *labels[start:])) for start in range(1, len(labels))]
        for pattern in patterns:
            if found := self._addresses.get(pattern):
                return found
        if _is_localhost(host):
            return _LOOPBACK
        raise DataError(Drop.DNS, "not a known host")


def known_addresses(host: str) -> tuple[str, ...] | None:
    """Return the addresses of a host for which nobody needs to be asked; None of all others."""
    literal = _literal(host)
    if literal is not None:
        return (literal,)
    return _LOOPBACK if _is_localhost(host) else None


def _literal(host: str) -> str | None:
    """Give back a host that is an address already, without the brackets of IPv6."""
    text = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        ip_address(text)
    except ValueError:
        return None
    return text


def _is_localhost(host: str) -> bool:
    # RFC 6761, 6.3: never asked of a name server, whose answer could be anything.
    return host.removesuffix(".").rpartition(".")[2] == "localhost"
