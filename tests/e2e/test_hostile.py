"""Every behaviour of the hostile web ends as its table says, and costs no more than it may."""

from __future__ import annotations

import os
import threading
import time
import tracemalloc
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
from support.certificate_files import make_certificates

from webpairs.demo.hostile.behaviour import SERVED_AT, Behaviour, Request
from webpairs.demo.hostile.behaviours import BEHAVIOURS
from webpairs.demo.hostile.images import HEIGHT, WIDTH, picture
from webpairs.demo.hostile.server import HostileWeb
from webpairs.demo.truth import SAMPLE
from webpairs.errors import DataError
from webpairs.image.decode import Decoded, ImageRules, decode
from webpairs.obtain.fetcher import Fetched, FetchError, fetch_all
from webpairs.obtain.limits import FetchRules
from webpairs.recipes.laion400m import RECIPE
from webpairs.version import __version__

RULES = FetchRules(
    contact="someone@example.org",
    allow_networks=(f"{SERVED_AT}/32",),
    per_host_rate=0.0,
    connections=64,
    connect_timeout_s=1,
    first_byte_timeout_s=1.5,
    stall_timeout_s=1,
    total_timeout_s=8,
    retries=1,
    max_bytes=4_000_000,
)
IMAGE_RULES = ImageRules(
    min_bytes=RECIPE.min_image_bytes,
    max_pixels=RECIPE.max_pixels,
    formats=RECIPE.formats,
    size_px=RECIPE.image_size_px,
    resize=RECIPE.resize,
    jpeg_quality=RECIPE.jpeg_quality,
)
NAMES = [one.name for one in BEHAVIOURS]
SHOWS_SOMETHING_ELSE = {"png-ribbon"}


@dataclass(frozen=True)
class Visited:
    """What is left after every URL was fetched."""

    web: HostileWeb
    outcomes: dict[str, list[tuple[str, Fetched | FetchError]]]
    opened: set[tuple[str, bool]]
    """Every address that a socket was asked for, and whether it got one."""
    left: set[str]
    """Threads and open files that were not there before, once the server has seen the end."""

    def pictures_asked_for(self, name: str) -> list[Request]:
        host = f"{name}.hostile.example"
        return [
            one for one in self.web.requests if one.host == host and one.path.startswith("/picture")
        ]


@pytest.fixture(scope="module")
def visited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visited]:
    authority = make_certificates(tmp_path_factory.mktemp("certificates"))
    opened: set[tuple[str, bool]] = set()
    with pytest.MonkeyPatch.context() as patch, HostileWeb(authority.certificates) as web:
        patch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        before = _in_use()
        urls = web.urls
        fetched = fetch_all(
            [url for _, url in urls],
            RULES,
            web.resolver,
            on_connect=lambda address, allowed: opened.add((address, allowed)),
        )
        # The server shares this process. It learns of the end of its connections, up to a hundred
        # in one turn of its loop, and closes their sockets when its thread comes to it.
        _wait_until(lambda: web.num_open == 0 and _in_use() <= before)
        left = _in_use() - before
        outcomes: dict[str, list[tuple[str, Fetched | FetchError]]] = defaultdict(list)
        for (one, url), outcome in zip(urls, fetched, strict=True):
            outcomes[one.name].append((url, outcome))
        yield Visited(web, dict(outcomes), opened, left)
        assert not web.bugs


def _in_use() -> set[str]:
    """Return every thread and open file by name: those of earlier tests may end meanwhile."""
    # The server makes its bodies in threads that stay for the next one.
    names = {
        f"thread {one.name} {one.ident}"
        for one in threading.enumerate()
        if not one.name.startswith("asyncio_")
    }
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # such as the folder just listed
            names.add(f"file {number} {os.readlink(f'/proc/self/fd/{number}')}")
    return names


def _wait_until(holds: Callable[[], bool]) -> None:
    """Wait until `holds`, at most as long as a busy machine may need; the tests say if it did."""
    deadline = time.monotonic() + 60
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)


def _fate(outcome: Fetched | FetchError) -> tuple[str, str | Decoded]:
    if not isinstance(outcome, Fetched):
        return str(outcome.drop), outcome.detail
    try:
        return SAMPLE, decode(outcome.data, IMAGE_RULES)
    except DataError as error:
        return str(error.drop), error.detail


@pytest.mark.parametrize("one", BEHAVIOURS, ids=NAMES)
def test_it_ends_as_the_table_says(visited: Visited, one: Behaviour) -> None:
    outcomes = visited.outcomes[one.name]
    assert len(outcomes) == one.num_urls
    for url, outcome in outcomes:
        fate, found = _fate(outcome)
        assert fate == one.expect, f"{url}: {found}"
        if isinstance(found, Decoded) and one.name not in SHOWS_SOMETHING_ELSE:
            assert (found.width, found.height) == (WIDTH, HEIGHT)
            apart = np.abs(np.asarray(found.rgb, np.int16) - np.asarray(picture(), np.int16))
            assert apart.mean() < 8, url


def test_every_drop_says_why(visited: Visited) -> None:
    silent = [
        (url, str(outcome.drop))
        for outcomes in visited.outcomes.values()
        for url, outcome in outcomes
        if isinstance(outcome, FetchError) and not outcome.detail
    ]
    assert not silent


def test_nobody_goes_where_nobody_may(visited: Visited) -> None:
    assert not visited.web.trapped
    assert {address for address, allowed in visited.opened if allowed} == {SERVED_AT}


def test_nothing_is_left_behind(visited: Visited) -> None:
    assert visited.web.num_open == 0
    assert not visited.left


def test_requests_tell_who_asks_and_nothing_else(visited: Visited) -> None:
    names = {name for request in visited.web.requests for name, _ in request.headers}
    assert names <= {"host", "user-agent", "accept", "accept-encoding"}
    agents = {request.get("user-agent") for request in visited.web.requests}
    assert agents == {f"webpairs/{__version__} (+someone@example.org)"}
    assert {request.method for request in visited.web.requests} == {"GET"}


def test_robots_txt_comes_first_and_once(visited: Visited) -> None:
    first: dict[str, str] = {}
    times: Counter[str] = Counter()
    for request in visited.web.requests:
        first.setdefault(request.host, request.path)
        times[request.host] += request.path == "/robots.txt"
    assert set(first.values()) == {"/robots.txt"}
    fine = [one for one in BEHAVIOURS if one.expect == SAMPLE and "robots" not in one.name]
    # Once for each origin: a host that leads from https to http is two.
    assert {times[one.host] for one in fine if not one.certificate and not one.names} == {1}


@pytest.mark.parametrize("name", ["status-503-storm", "status-500", "status-429"])
def test_servers_in_trouble_are_asked_once_more_at_most(visited: Visited, name: str) -> None:
    asked = Counter(request.path for request in visited.pictures_asked_for(name))
    assert asked
    assert max(asked.values()) <= 1 + RULES.retries


@pytest.mark.parametrize(
    "name", ["status-404-with-a-picture", "status-410", "status-403", "status-429-for-a-day"]
)
def test_a_clear_no_is_not_asked_again(visited: Visited, name: str) -> None:
    assert len(visited.pictures_asked_for(name)) == 1


@pytest.mark.parametrize("name", ["robots-forbids", "robots-hangs", "tdmrep-reserves"])
def test_where_the_site_says_no_no_picture_is_asked_for(visited: Visited, name: str) -> None:
    assert not visited.pictures_asked_for(name)


def test_a_flood_costs_as_much_memory_as_the_largest_image() -> None:
    floods = {
        "body-of-10-gb",
        "body-of-10-gb-unannounced",
        "body-of-endless-chunks",
        "gzip-bomb",
        "head-endless",
        "redirect-with-endless-body",
    }
    chosen = tuple(one for one in BEHAVIOURS if one.name in floods)
    assert len(chosen) == len(floods)
    with HostileWeb(behaviours=chosen) as web:
        tracemalloc.start()
        try:
            fetch_all([url for _, url in web.urls], RULES, web.resolver)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    # Both sides: at most the largest image each, twice while its coding is undone, and what the
    # server is sending, twice while it waits in a buffer.
    assert peak < len(floods) * (2 * RULES.max_bytes + 2 * (10 << 20))
