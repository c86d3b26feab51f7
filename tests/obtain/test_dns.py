"""Resolve without a network: from a mapping, from a scripted look-up, and from a small name server
on this machine that c-ares really asks."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import wraps
from typing import Any

import pytest

from webpairs.drops import Drop
from webpairs.errors import DataError
from webpairs.obtain.dns import (
    ABSENT_S,
    FAILED_S,
    MAX_TTL_S,
    MIN_TTL_S,
    Answer,
    CachingResolver,
    CaresLookup,
    StaticResolver,
)
from webpairs.obtain.guard import Guard


def in_a_loop(
    test: Callable[..., Coroutine[Any, Any, None]],
) -> Callable[..., None]:
    """Run a coroutine as a test, in a loop that reports whatever was left over."""

    @wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named), debug=True)

    return run


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Script:
    """Answer look-ups from a mapping, and note them; hosts in `held` wait until released."""

    def __init__(self, **answers: Answer) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.is_closed = False
        self.num_waiting = 0
        self.released = asyncio.Event()
        self.released.set()

    async def look_up(self, host: str) -> Answer:
        self.asked.append(host)
        self.num_waiting += 1
        try:
            await self.released.wait()
        finally:
            self.num_waiting -= 1
        return self.answers[host]

    async def close(self) -> None:
        self.is_closed = True


async def reason(coming: Coroutine[Any, Any, tuple[str, ...]]) -> str:
    """Say why a host did not resolve."""
    with pytest.raises(DataError) as raised:
        await coming
    assert raised.value.drop is Drop.DNS
    return raised.value.detail


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


FOUND = Answer(("8.8.8.8", "2001:4860:4860::8888"), ttl_s=300)
ABSENT = Answer(failure="no such host", is_absent=True)
FAILED = Answer(failure="timeout")


@pytest.mark.parametrize(
    ("answer", "keep_s"),
    [
        (Answer(("8.8.8.8",), ttl_s=0), MIN_TTL_S),
        (Answer(("8.8.8.8",), ttl_s=-1), MIN_TTL_S),
        (Answer(("8.8.8.8",), ttl_s=61), 61),
        (Answer(("8.8.8.8",), ttl_s=3599), 3599),
        (Answer(("8.8.8.8",), ttl_s=2**31 - 1), MAX_TTL_S),
        (ABSENT, ABSENT_S),
        (FAILED, FAILED_S),
    ],
)
@in_a_loop
async def test_answers_are_kept_for_their_time_and_no_longer(answer: Answer, keep_s: int) -> None:
    script, clock = Script(host=answer), Clock()
    resolver = CachingResolver(script, clock=clock)

    async def resolve() -> None:
        if answer.addresses:
            assert await resolver.resolve("host") == answer.addresses
        else:
            assert await reason(resolver.resolve("host")) == answer.failure

    await resolve()
    clock.now_s += keep_s - 0.5
    await resolve()
    assert script.asked == ["host"]
    clock.now_s += 0.5
    await resolve()
    assert script.asked == ["host", "host"]
    clock.now_s += keep_s - 0.5
    await resolve()
    assert script.asked == ["host", "host"]
    await resolver.close()


@in_a_loop
async def test_a_host_is_asked_for_once_however_many_want_it() -> None:
    script = Script(a=FOUND, b=ABSENT)
    script.released.clear()
    resolver = CachingResolver(script)
    found = [asyncio.create_task(resolver.resolve("a")) for _ in range(5)]
    absent = [asyncio.create_task(reason(resolver.resolve("b"))) for _ in range(5)]
    await settle()
    assert sorted(script.asked) == ["a", "b"]
    found[0].cancel()  # the others still want the answer that it asked for
    await settle()
    script.released.set()
    assert await asyncio.gather(*found[1:]) == [FOUND.addresses] * 4
    assert await asyncio.gather(*absent) == [ABSENT.failure] * 5
    assert found[0].cancelled()
    assert sorted(script.asked) == ["a", "b"]
    await resolver.close()


@in_a_loop
async def test_look_ups_in_flight_are_bounded() -> None:
    hosts = [f"host{number}" for number in range(10)]
    script = Script(**dict.fromkeys(hosts, FOUND))
    script.released.clear()
    resolver = CachingResolver(script, max_in_flight=3)
    tasks = [asyncio.create_task(resolver.resolve(host)) for host in hosts]
    await settle()
    assert script.num_waiting == len(script.asked) == 3
    script.released.set()
    assert await asyncio.gather(*tasks) == [FOUND.addresses] * 10
    assert sorted(script.asked) == sorted(hosts)
    await resolver.close()


@in_a_loop
async def test_the_oldest_answers_leave_when_there_are_too_many() -> None:
    script, clock = Script(a=FOUND, b=FOUND, c=ABSENT), Clock()
    resolver = CachingResolver(script, max_hosts=2, clock=clock)
    await resolver.resolve("a")
    await resolver.resolve("b")
    clock.now_s += 400
    await resolver.resolve("a")  # expired; now newer than b
    await reason(resolver.resolve("c"))
    script.asked.clear()
    await resolver.resolve("a")
    await reason(resolver.resolve("c"))
    assert script.asked == []
    await resolver.resolve("b")
    assert script.asked == ["b"]
    await resolver.close()


@in_a_loop
async def test_closing_lets_nobody_wait_for_ever() -> None:
    script = Script(a=FOUND)
    script.released.clear()
    resolver = CachingResolver(script)
    waiting = asyncio.create_task(reason(resolver.resolve("a")))
    await settle()
    await resolver.close()
    assert await waiting == "the resolver is closed"
    assert await reason(resolver.resolve("b")) == "the resolver is closed"
    assert script.asked == ["a"]
    assert script.is_closed
    assert script.num_waiting == 0


@in_a_loop
async def test_a_fault_of_the_look_up_reaches_who_asked_and_is_not_remembered() -> None:
    script = Script()
    resolver = CachingResolver(script)
    for _ in range(2):
        with pytest.raises(KeyError):
            await resolver.resolve("a")
    assert script.asked == ["a", "a"]
    await resolver.close()


WITHOUT_ASKING = [
    ("8.8.8.8", ("8.8.8.8",)),
    ("2001:db8::1", ("2001:db8::1",)),
    ("[::1]", ("::1",)),
    ("[::ffff:a00:1]", ("::ffff:a00:1",)),
    ("localhost", ("127.0.0.1", "::1")),
    ("localhost.", ("127.0.0.1", "::1")),
    ("a.b.localhost", ("127.0.0.1", "::1")),
]


@pytest.mark.parametrize(("host", "addresses"), WITHOUT_ASKING)
@in_a_loop
async def test_addresses_and_localhost_are_never_asked_for(
    host: str, addresses: tuple[str, ...]
) -> None:
    script = Script()
    resolver = CachingResolver(script)
    assert await resolver.resolve(host) == addresses
    assert script.asked == []
    assert await StaticResolver({}).resolve(host) == addresses
    await resolver.close()


@in_a_loop
async def test_localhost_resolves_for_the_guard_to_refuse() -> None:
    found = await StaticResolver({}).resolve("localhost")
    assert [Guard().why_forbidden(address) for address in found] == ["loopback", "loopback"]


@pytest.mark.parametrize("host", ["", "h\0st", "höst", "h\nst", "\ud800"])
@in_a_loop
async def test_what_is_no_host_name_is_not_asked_for(host: str) -> None:
    script = Script()
    resolver = CachingResolver(script)
    assert await reason(resolver.resolve(host)) == "not a host name"
    assert script.asked == []
    await resolver.close()


@pytest.mark.parametrize(
    ("host", "addresses"),
    [
        ("shop.example", ("127.0.0.1",)),
        ("shop.example.", ("127.0.0.1",)),
        ("img.shop.example", ("127.0.0.2", "::1")),
        ("a.b.shop.example", ("127.0.0.2", "::1")),
        ("x.cdn.shop.example", ("127.0.0.3",)),
        ("cdn.shop.example", ("127.0.0.2", "::1")),
        ("little.localhost", ("127.0.0.4",)),
        ("example", None),
        ("notshop.example", None),
        ("shop.example.com", None),
        ("empty.example", None),
        ("", None),
    ],
)
@in_a_loop
async def test_static_hosts_and_wildcards(host: str, addresses: tuple[str, ...] | None) -> None:
    resolver = StaticResolver(
        {
            "shop.example": ("127.0.0.1",),
            "*.shop.example": ["127.0.0.2", "::1"],
            "*.cdn.shop.example": ["127.0.0.3"],
            "little.localhost": ["127.0.0.4"],
            "empty.example": [],
        }
    )
    if addresses is None:
        assert await reason(resolver.resolve(host)) == "not a known host"
    else:
        assert await resolver.resolve(host) == addresses


# A small name server: what it knows, as records of (owner, type, time to live, data).
A, CNAME, AAAA = 1, 5, 28
SERVFAIL, NXDOMAIN, REFUSED = 2, 3, 5


def name_bytes(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def a(owner: str, ttl_s: int, address: str) -> tuple[str, int, int, bytes]:
    return (owner, A, ttl_s, socket.inet_pton(socket.AF_INET, address))


def aaaa(owner: str, ttl_s: int, address: str) -> tuple[str, int, int, bytes]:
    return (owner, AAAA, ttl_s, socket.inet_pton(socket.AF_INET6, address))


ZONE = {
    "both.example": [
        a("both.example", 300, "192.0.2.1"),
        a("both.example", 200, "192.0.2.2"),
        aaaa("both.example", 250, "2001:db8::1"),
    ],
    "four.example": [a("four.example", 120, "192.0.2.4")],
    "six.example": [aaaa("six.example", 130, "2001:db8::6")],
    "alias.example": [
        ("alias.example", CNAME, 90, name_bytes("target.example")),
        a("target.example", 300, "192.0.2.3"),
    ],
    "nowhere.example": [("nowhere.example", CNAME, 90, name_bytes("target.example"))],
    "empty.example": [],
    "broken.example": SERVFAIL,
    "refused.example": REFUSED,
    "silent.example": None,
    "dotless": [a("dotless", 60, "192.0.2.9")],
    # Servers that know A and fail when asked for AAAA are common.
    "deaf.example": {A: [a("deaf.example", 300, "192.0.2.5")], AAAA: None},
    "half.example": {A: [], AAAA: SERVFAIL},
}


class NameServer(asyncio.DatagramProtocol):
    """Answer from ZONE: NXDOMAIN for names it lacks, a code for numbers, silence for None.

    A mapping there says it for A and AAAA apart.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        end, labels = 12, list[str]()
        while data[end]:
            labels.append(data[end + 1 : end + 1 + data[end]].decode().lower())
            end += 1 + data[end]
        host = ".".join(labels)
        (kind,) = struct.unpack_from(">H", data, end + 1)
        self.asked.append((host, kind))
        known: Any = ZONE.get(host, NXDOMAIN)
        if isinstance(known, dict):
            known = known[kind]
        if known is None:
            return
        records = [] if isinstance(known, int) else [r for r in known if r[1] in (kind, CNAME)]
        code = known if isinstance(known, int) else 0
        reply = data[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(records), 0, 0)
        reply += data[12 : end + 5]
        for owner, record_kind, ttl_s, content in records:
            reply += name_bytes(owner)
            reply += struct.pack(">HHIH", record_kind, 1, ttl_s, len(content)) + content
        self.transport.sendto(reply, addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[tuple[NameServer, CaresLookup]]:
    """Run a name server on this machine, and c-ares asking it with short timeouts."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    lookup = CaresLookup(("127.0.0.1",), port=port, timeout_s=0.25, num_tries=2)
    try:
        yield server, lookup
    finally:
        await lookup.close()
        transport.close()
        await settle()


NO_DATA = "DNS server returned answer with no data"


@in_a_loop
async def test_c_ares_reads_what_a_name_server_says() -> None:
    expected = {
        "both.example": Answer(("192.0.2.1", "192.0.2.2", "2001:db8::1"), ttl_s=200),
        "four.example": Answer(("192.0.2.4",), ttl_s=120),
        "four.example.": Answer(("192.0.2.4",), ttl_s=120),
        "six.example": Answer(("2001:db8::6",), ttl_s=130),
        "alias.example": Answer(("192.0.2.3",), ttl_s=90),
        "dotless": Answer(("192.0.2.9",), ttl_s=60),
        "deaf.example": Answer(("192.0.2.5",), ttl_s=300),
        "missing.example": Answer(failure="Domain name not found", is_absent=True),
        "empty.example": Answer(failure=NO_DATA, is_absent=True),
        "nowhere.example": Answer(failure=NO_DATA, is_absent=True),
        "half.example": Answer(failure="DNS server returned general failure"),
        "broken.example": Answer(failure="DNS server returned general failure"),
        "refused.example": Answer(failure="DNS server refused query"),
        "silent.example": Answer(failure="Timeout while contacting DNS servers"),
        "a..example": Answer(failure="Misformatted domain name", is_absent=True),
        "x" * 64 + ".example": Answer(failure="Misformatted domain name", is_absent=True),
        ("x" * 63 + ".") * 4 + "example": Answer(
            failure="Misformatted domain name", is_absent=True
        ),
    }
    async with name_server() as (server, lookup):
        answers = await asyncio.gather(*map(lookup.look_up, expected))
        found = dict(zip(expected, answers, strict=True))
        # The order is c-ares' choice: it depends on which routes this machine has.
        found = {
            host: replace(answer, addresses=tuple(sorted(answer.addresses)))
            for host, answer in found.items()
        }
        assert found == expected
        # Names are asked for as they stand: no search domain is appended to those that fail.
        assert {host for host, _ in server.asked} <= {host.rstrip(".") for host in expected}
        assert server.asked.count(("silent.example", A)) == 2


@in_a_loop
async def test_the_whole_way_to_a_name_server_and_back() -> None:
    async with name_server() as (server, lookup):
        resolver = CachingResolver(lookup)
        found = await asyncio.gather(*(resolver.resolve("four.example") for _ in range(3)))
        assert found == [("192.0.2.4",)] * 3
        assert await reason(resolver.resolve("missing.example")) == "Domain name not found"
        assert sorted(server.asked) == [
            ("four.example", A),
            ("four.example", AAAA),
            ("missing.example", A),
            ("missing.example", AAAA),
        ]
        waiting = asyncio.create_task(reason(resolver.resolve("silent.example")))
        while ("silent.example", AAAA) not in server.asked:
            await asyncio.sleep(0.01)
        await resolver.close()
        assert await waiting == "the resolver is closed"


@in_a_loop
async def test_a_resolver_that_was_never_asked_closes() -> None:
    await CachingResolver().close()
