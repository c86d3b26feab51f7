"""The guard cannot be talked round: whatever URLs, redirects, robots.txt and DNS say, no
connection is opened to an address that is not public or not allowed.

The hostile web listens at 127.0.0.2 too, on the same port, and serves a good picture there: who is
talked round comes back with it. Here only 127.0.0.1 is allowed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_address

import can_ada
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webpairs.demo.hostile.behaviour import FORBIDDEN, SERVED_AT, Behaviour, say
from webpairs.demo.hostile.images import jpeg
from webpairs.demo.hostile.server import HostileWeb
from webpairs.drops import Drop
from webpairs.errors import DataError
from webpairs.obtain.dns import Resolver, StaticResolver
from webpairs.obtain.fetcher import Fetched, FetchError, fetch_all
from webpairs.obtain.limits import FetchRules

RULES = FetchRules(
    allow_networks=(f"{SERVED_AT}/32",),
    per_host_rate=0.0,
    connect_timeout_s=2,
    first_byte_timeout_s=2,
    total_timeout_s=8,
    retries=0,
)

# Hosts that are, or could be taken for, this machine or another place where nobody may go.
HOSTS = {
    "plain": "127.0.0.2",
    "decimal": "2130706434",
    "decimal beyond 32 bits": "6425673730",
    "octal": "0177.0.0.02",
    "octal with many zeros": "000000177.0.0.2",
    "hex": "0x7f.0.0.2",
    "hex in one": "0x7f000002",
    "hex in capitals": "0X7F000002",
    "two parts": "127.2",
    "three parts": "127.0.2",
    "mixed bases": "0x7f.0.0.02",
    "zero": "0",
    "zeros": "0.0.0.0",
    "trailing dot": "127.0.0.2.",
    "two trailing dots": "127.0.0.2..",
    "wide digits": "１２７.０.０.２",
    "circled digits": "①②⑦.⓪.⓪.②",
    "mathematical digits": "𝟏𝟐𝟕.𝟎.𝟎.𝟐",
    "ideographic stops": "127。0。0。2",
    "soft hyphen": "127.0.0.\u00ad2",
    "zero-width space": "127.0.0.\u200b2",
    "percent": "%31%32%37%2e0%2e0%2e2",
    "percent twice": "%2531%2532%2537.0.0.2",
    "tab": "127.0.\t0.2",
    "newline": "127.0.0.\n2",
    "space": "127.0.0.2 ",
    "NUL": "127.0.0.2\0.good.example",
    "v6 loopback": "[::1]",
    "v6 loopback in full": "[0:0:0:0:0:0:0:1]",
    "v6 unspecified": "[::]",
    "mapped": "[::ffff:127.0.0.2]",
    "mapped in hex": "[::ffff:7f00:2]",
    "compatible": "[::127.0.0.2]",
    "NAT64": "[64:ff9b::127.0.0.2]",
    "NAT64 of a network's own": "[64:ff9b:1::7f00:2]",
    "6to4": "[2002:7f00:2::1]",
    "Teredo": "[2001:0:7f00:2::80ff:fffd]",
    "zone": "[fe80::1%25lo]",
    "zone, bare": "[::1%lo]",
    "link-local": "[fe80::1]",
    "unique local": "[fd00:ec2::254]",
    "metadata": "169.254.169.254",
    "metadata of Azure": "168.63.129.16",
    "private": "10.0.0.1",
    "broadcast": "255.255.255.255",
    "multicast": "224.0.0.1",
}
# What stands before and after a host in a URL, so that it looks like another.
AROUND = {
    "userinfo": "http://good.example@{host}:{port}/p.jpg",
    "userinfo with a port": "http://good.example:80@{host}:{port}/p.jpg",
    "userinfo with an at": "http://good.example%40@{host}:{port}/p.jpg",
    "two userinfos": "http://a@good.example@{host}:{port}/p.jpg",
    "fragment": "http://{host}:{port}#@good.example/p.jpg",
    "query": "http://{host}:{port}?@good.example/p.jpg",
    "backslash": "http://{host}:{port}\\@good.example/p.jpg",
    "backslashes for slashes": "http:\\\\{host}:{port}\\p.jpg",
    "one slash": "http:/{host}:{port}/p.jpg",
    "no slash": "http:{host}:{port}/p.jpg",
    "many slashes": "http://///{host}:{port}/p.jpg",
    "newline in the scheme": "ht\ntp://{host}:{port}/p.jpg",
    "capitals": "HTTP://{host}:{port}/p.jpg",
    "tls": "https://{host}:{port}/p.jpg",
    "port with zeros": "http://{host}:00000{port}/p.jpg",
}
URLS = {
    **{name: f"http://{host}:{{port}}/p.jpg" for name, host in HOSTS.items()},
    **{name: url.replace("{host}", FORBIDDEN) for name, url in AROUND.items()},
}
NO_HOST_AT_ALL = {"decimal beyond 32 bits", "percent twice", "NUL", "space", "zone", "zone, bare"}
"""What is not a URL by the WHATWG's rules."""
A_NAME = {"two trailing dots"}
"""What is a name by them, which no name server knows."""
RELATIVE = {"one slash", "no slash"}
"""What in a header is a path on the host that sends it."""


class Opened:
    """Note every address that a socket is asked for; beyond this machine none is given."""

    def __init__(self) -> None:
        self.addresses: list[tuple[str, bool]] = []

    def __call__(self, address: str, allowed: bool) -> None:
        self.addresses.append((address, allowed))
        if not ip_address(address).is_loopback:
            raise AssertionError(f"{address} is not on this machine")  # pycurl: no connection

    @property
    def allowed(self) -> set[str]:
        return {address for address, allowed in self.addresses if allowed}


def _leading(name: str, location: str) -> Behaviour:
    """Lead pictures to `location`."""
    return Behaviour(
        name=name, what="", expect="", answer=say("302 Found", f"Location: {location}")
    )


def _leading_robots(name: str, location: str) -> Behaviour:
    """Lead robots.txt to `location`, and serve pictures."""
    return Behaviour(
        name=name,
        what="",
        expect="",
        answer=say(body=jpeg),
        elsewhere=(("/robots.txt", say("302 Found", f"Location: {location}")),),
    )


def _as_a_header(url: str) -> str:
    """Return a URL as it can stand in a header: without line ends and NUL, in UTF-8."""
    kept = url.translate({ord("\n"): None, ord("\r"): None, 0: None})
    return kept.encode().decode("latin-1")


REDIRECTED = {f"r{number}": name for number, name in enumerate(URLS)}
REDIRECTS = tuple(
    behaviour
    for host, name in REDIRECTED.items()
    for behaviour in (
        _leading(host, _as_a_header(URLS[name])),
        _leading_robots(f"robots-{host}", _as_a_header(URLS[name])),
    )
)


@pytest.fixture(scope="module")
def web() -> Iterator[HostileWeb]:
    with HostileWeb(behaviours=REDIRECTS) as serving:
        yield serving
        assert not serving.bugs


def fetch(
    web: HostileWeb,
    urls: Iterable[str],
    resolver: Resolver | None = None,
    rules: FetchRules = RULES,
) -> tuple[list[Fetched | FetchError], Opened]:
    opened = Opened()
    known = resolver or StaticResolver({**web.names, "good.example": (SERVED_AT,)})
    filled = [url.replace("{port}", str(web.ports.port)) for url in urls]
    outcomes = fetch_all(filled, rules, known, on_connect=opened)
    assert not web.trapped
    return outcomes, opened


def _drops(outcomes: Iterable[Fetched | FetchError]) -> list[str]:
    return ["fetched" if isinstance(one, Fetched) else str(one.drop) for one in outcomes]


def _tried(names: Iterable[str], drops: Iterable[str]) -> dict[str, str]:
    return dict(zip(names, drops, strict=True))


def test_no_spelling_of_an_address_gets_a_connection(web: HostileWeb) -> None:
    outcomes, opened = fetch(web, URLS.values())
    assert not opened.addresses
    assert _tried(URLS, _drops(outcomes)) == {
        **dict.fromkeys(URLS, Drop.ADDRESS_FORBIDDEN),
        **dict.fromkeys(NO_HOST_AT_ALL, Drop.PROTOCOL),
        **dict.fromkeys(A_NAME, Drop.DNS),
    }


def test_no_redirect_leads_there(web: HostileWeb) -> None:
    urls = [f"http://{host}.hostile.example:{{port}}/" for host in REDIRECTED]
    outcomes, opened = fetch(web, urls)
    assert opened.allowed == {SERVED_AT}
    assert _tried(REDIRECTED.values(), _drops(outcomes)) == {
        **dict.fromkeys(URLS, Drop.ADDRESS_FORBIDDEN),
        **dict.fromkeys(NO_HOST_AT_ALL | RELATIVE, Drop.REDIRECT),
        **dict.fromkeys(A_NAME | {"NUL"}, Drop.DNS),  # a header holds no NUL
    }


def test_no_robots_txt_leads_there(web: HostileWeb) -> None:
    urls = [f"http://robots-{host}.hostile.example:{{port}}/" for host in REDIRECTED]
    outcomes, opened = fetch(web, urls)
    assert opened.allowed == {SERVED_AT}
    # A robots.txt that leads nowhere is none (RFC 9309, 2.3.1.2).
    assert _tried(REDIRECTED.values(), _drops(outcomes)) == {
        **dict.fromkeys(URLS, Drop.ADDRESS_FORBIDDEN),
        **dict.fromkeys(NO_HOST_AT_ALL | RELATIVE, "fetched"),
        **dict.fromkeys(A_NAME | {"NUL"}, Drop.DNS),
    }


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.2",),
        ("::1",),
        ("::ffff:127.0.0.2",),
        ("64:ff9b::7f00:2",),
        ("2002:7f00:2::",),
        ("fe80::1%lo",),
        ("0.0.0.0",),
        ("169.254.169.254",),
        ("10.0.0.1", "192.168.1.1", "fd00::1"),
        # What no resolver should give, and what libcurl could read as something else.
        ("",),
        ("localhost",),
        ("127.2",),
        ("0x7f.0.0.2",),
        ("127.0.0.2 ",),
        ("127.0.0.1,127.0.0.2",),
        ("127.0.0.1\n127.0.0.2",),
        ("127.0.0.1:80:127.0.0.2",),
        ("[127.0.0.2]",),
        ("good.example",),
    ],
    ids=repr,
)
def test_no_answer_of_dns_gets_a_connection(web: HostileWeb, addresses: tuple[str, ...]) -> None:
    outcomes, opened = fetch(
        web, ["http://good.example:{port}/p.jpg"], StaticResolver({"good.example": addresses})
    )
    assert not opened.addresses
    assert _drops(outcomes) == [Drop.ADDRESS_FORBIDDEN]


def test_of_several_addresses_only_allowed_ones_are_asked(web: HostileWeb) -> None:
    mixed = ("127.0.0.2", "::1", SERVED_AT, "10.0.0.1")
    outcomes, opened = fetch(
        web,
        ["http://r0.hostile.example:{port}/", "http://good.example:{port}/p.jpg"],
        StaticResolver({"r0.hostile.example": mixed, "good.example": mixed}),
    )
    assert {address for address, _ in opened.addresses} == {SERVED_AT}
    assert _drops(outcomes) == [Drop.ADDRESS_FORBIDDEN, Drop.HTTP_4XX]


class Rebinding:
    """Answer each question for a host with the next of `answers`, for ever round."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self._answers = itertools.cycle(answers)
        self.num_asked = 0

    async def resolve(self, host: str) -> tuple[str, ...]:
        self.num_asked += 1
        answer = next(self._answers)
        if not answer:
            raise DataError(Drop.DNS, "no such name")
        return answer


REBINDINGS: dict[str, Callable[[], Rebinding]] = {
    "good, then bad": lambda: Rebinding((SERVED_AT,), (FORBIDDEN,)),
    "bad, then good": lambda: Rebinding((FORBIDDEN,), (SERVED_AT,)),
    "good twice, then bad": lambda: Rebinding((SERVED_AT,), (SERVED_AT,), (FORBIDDEN,)),
    "good, then both": lambda: Rebinding((SERVED_AT,), (FORBIDDEN, SERVED_AT)),
    "good, gone, bad": lambda: Rebinding((SERVED_AT,), (), (FORBIDDEN,)),
    "good, then v6": lambda: Rebinding((SERVED_AT,), ("::1",), ("::ffff:127.0.0.2",)),
}


@pytest.mark.parametrize("name", REBINDINGS)
def test_a_name_that_changes_its_address_is_judged_each_time(web: HostileWeb, name: str) -> None:
    resolver = REBINDINGS[name]()
    # robots.txt, tdmrep.json, pictures and redirects all ask anew.
    urls = [f"http://r0.hostile.example:{{port}}/{number}.jpg" for number in range(12)]
    _, opened = fetch(web, urls, resolver)
    assert resolver.num_asked > 1
    assert opened.allowed <= {SERVED_AT}


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "all_proxy", "ALL_PROXY"])
def test_no_proxy_in_the_environment_goes_round_it(
    web: HostileWeb, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f"http://{FORBIDDEN}:{web.ports.port}")
    outcomes, opened = fetch(web, ["http://good.example:{port}/p.jpg", "http://10.0.0.1/p.jpg"])
    assert opened.allowed == {SERVED_AT}
    assert _drops(outcomes) == [Drop.HTTP_4XX, Drop.ADDRESS_FORBIDDEN]


@pytest.mark.parametrize("host", [SERVED_AT, "localhost", "pictures.localhost", "LOCALHOST."])
def test_without_leave_this_machine_is_out_of_reach(web: HostileWeb, host: str) -> None:
    rules = FetchRules(per_host_rate=0.0, retries=0)
    outcomes, opened = fetch(web, [f"http://{host}:{{port}}/p.jpg"], StaticResolver({}), rules)
    assert not opened.addresses
    assert _drops(outcomes) == [Drop.ADDRESS_FORBIDDEN]


ODD = st.text("0127.x%@:[]/\\#?f-a。２①\u00ad \t\r\n\0", max_size=20)


def _is_public(url: str) -> bool:
    """Say whether this spells an address of somebody else's machine, which tests leave alone."""
    try:
        host = can_ada.parse(url.replace("{port}", "80")).hostname
        return ip_address(host.strip("[]")).is_global
    except ValueError:
        return False


@given(st.lists(ODD, min_size=20, max_size=60))
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_odd_host_gets_a_connection(web: HostileWeb, hosts: list[str]) -> None:
    urls = [f"http://{host}{where}" for host in hosts for where in ("", ":{port}/", "127.0.0.2/")]
    _, opened = fetch(web, itertools.filterfalse(_is_public, urls), StaticResolver({}))
    assert opened.allowed <= {SERVED_AT}  # "127.1" is its name too
