"""Fetching images from the live web: fast by keeping many hosts busy, polite to each of them.

A request waits in its host's queue until the host may be asked again (`FetchRules.per_host`,
`per_host_rate`, Retry-After, Crawl-delay). It ends after at most MAX_REDIRECTS redirects, each
asked for anew at its own host, and `retries` more tries where trying again can help; then its
`done` is called once. A site that fails DOWN_AFTER times in a row is left alone for a while, and
every request has a deadline, so that a shard always ends.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import certifi

from webpairs.crawl.redirects import MAX_REDIRECTS, REDIRECTS
from webpairs.drops import Drop
from webpairs.errors import DataError
from webpairs.figures import MAX_HOSTS, FetchFigures, HostFigures
from webpairs.obtain.answer_body import BodyDecoder
from webpairs.obtain.dns import CachingResolver, Resolver, known_addresses
from webpairs.obtain.guard import Guard
from webpairs.obtain.host_queue import HostQueue, Request
from webpairs.obtain.limits import FetchRules
from webpairs.obtain.permissions import answer_opt_out
from webpairs.obtain.site_permissions import MAX_SITES, Sites
from webpairs.obtain.transfer import Answer, Transfers
from webpairs.obtain.url_parts import (
    FetchError,
    Place,
    place_of,
    target_of,
)

__all__ = ["FetchError", "FetchRules", "Fetched", "Fetcher", "Outcome", "Request", "fetch_all"]

MAX_RETRY_AFTER_S: Final = 60.0
"""A host that asks for a longer pause is not asked again in this run."""
FIRST_BACK_OFF_S: Final = 1.0
"""Doubled with each try."""
DOWN_AFTER: Final = 8
DOWN_S: Final = 600.0
MAX_UNCONSUMED_BYTES: Final = 16_000_000
"""Images that wait for who asked for them; nothing new is asked for beyond."""

_OK: Final = frozenset((200, 203))
_MAY_PASS: Final = frozenset(
    (Drop.CONNECT, Drop.TIMEOUT, Drop.HTTP_429, Drop.HTTP_5XX, Drop.PROTOCOL)
)
"""What another try may mend; a name that does not exist, a certificate, a 404 stay as they are."""
_SITE_IS_DOWN: Final = frozenset(
    (Drop.DNS, Drop.CONNECT, Drop.TLS, Drop.TIMEOUT, Drop.ADDRESS_FORBIDDEN)
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """An image's bytes as the server has them, codings undone."""

    data: bytes
    status: int
    url: str
    """After redirects."""
    date_ms: int
    """Milliseconds since 1970 UTC."""
    opt_out: str | None
    """The signal in the answer that was overruled by `keep_opted_out`."""
    permissions: str
    """What the site was asked, and what it answered."""
    seconds: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """To connect (TLS included), from then to the first byte, from then to the last."""


Outcome = Fetched | FetchError


@dataclass(slots=True)
class _Health:
    """How a site (scheme, host and port) fared last."""

    num_failures: int = 0
    """In a row."""
    down: FetchError | None = None
    """Why it is left alone for now."""
    down_until: float = 0.0


@dataclass(frozen=True, slots=True)
class _Moved:
    """A redirect: the next URL to ask for."""

    url: str
    status: int


class Fetcher:
    """Fetching what is submitted, on the loop that is running; used on that loop alone."""

    def __init__(
        self,
        rules: FetchRules,
        resolver: Resolver,
        *,
        on_connect: Callable[[str, bool], None] | None = None,
    ) -> None:
        """`on_connect` as in `Transfers`."""
        self._rules = rules
        self._resolver = resolver
        self._loop = asyncio.get_running_loop()
        self._guard = Guard(rules.allow_networks)
        self._transfers = Transfers(
            rules.limits,
            self._guard,
            user_agent=rules.user_agent,
            ca_file=os.environ.get("SSL_CERT_FILE") or certifi.where(),
            max_connections=2 * rules.connections,
            on_connect=on_connect,
        )
        self._hosts: dict[str, HostQueue] = {}
        self._ready: deque[HostQueue] = deque()
        self._health: dict[str, _Health] = {}
        self._decoder = BodyDecoder(rules.total_timeout_s)
        self._sites = Sites(self._get, self._decoder, rules.ignored_signals)
        self._tasks: set[asyncio.Task[None]] = set()
        self._num_active = 0
        self._num_unconsumed_bytes = 0
        self._num_asked = 0

    async def close(self) -> None:
        """End what is under way, without calling its `done`."""
        for host in self._hosts.values():
            host.queue.clear()
            if host.timer is not None:
                host.timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._transfers.close()
        self._decoder.close()

    def submit(self, request: Request) -> None:
        """Queue a request; its `done` is called once, later, on this loop."""
        self._num_asked += 1
        self._enqueue(request, front=False)

    def consumed(self, num_bytes: int) -> None:
        """Say that `num_bytes` of what was handed out are no longer held."""
        self._num_unconsumed_bytes -= num_bytes
        self._start_ready()

    def figures(self) -> FetchFigures:
        """Return what waits, and for which hosts the longest; any thread may ask."""
        now = self._loop.time()
        # Other threads: the tuple is made in one step, while the loop adds and removes hosts.
        waiting = [host for host in tuple(self._hosts.values()) if host.num_waiting]
        hosts = (host.figures(now, self._num_asked) for host in waiting)
        return FetchFigures(
            self._num_asked,
            sum(host.num_waiting for host in waiting),
            tuple(heapq.nlargest(MAX_HOSTS, hosts, key=HostFigures.seconds_left)),
        )

    # Queues

    def _enqueue(self, request: Request, *, front: bool, again: bool = False) -> None:
        place = place_of(request.url)
        if isinstance(place, DataError):
            self._loop.call_soon(self._finish, request, _with_url(place, request.url))
            return
        # Nobody is asked, so nobody's turn is waited for.
        known = known_addresses(place.host)
        refused = None if known is None else self._guard.refusal(known)
        if refused is not None:
            self._loop.call_soon(self._finish, request, _with_url(refused, request.url))
            return
        host = self._hosts.get(place.host)
        if host is None:
            rate = self._rules.per_host_rate
            host = self._hosts[place.host] = HostQueue(
                place.host, interval_s=1 / rate if rate > 0 else 0.0
            )
        if not host.num_waiting:
            host.busy_since = max(self._loop.time(), host.next_time)
            host.num_ended = 0
        host.num_asked += not again
        if front:
            host.queue.appendleft(request)
        else:
            host.queue.append(request)
        self._wake(host)

    def _wake(self, host: HostQueue) -> None:
        """Let a host's next request start when it may."""
        self._line_up(host)
        self._start_ready()

    def _line_up(self, host: HostQueue) -> None:
        """Put a host among the ready ones: now, or at the host's next time."""
        if host.is_ready or not host.queue or host.active >= self._rules.per_host:
            return
        wait_s = host.next_time - self._loop.time()
        if wait_s > 0:
            if host.timer is None:
                host.timer = self._loop.call_later(wait_s, self._wake_late, host)
            return
        host.is_ready = True
        self._ready.append(host)

    def _wake_late(self, host: HostQueue) -> None:
        host.timer = None
        self._wake(host)

    def _start_ready(self) -> None:
        """Start requests while there are connections and room for images, a host at a time."""
        while (
            self._ready
            and self._num_active < self._rules.connections
            and self._num_unconsumed_bytes < MAX_UNCONSUMED_BYTES
        ):
            host = self._ready.popleft()
            host.is_ready = False
            if host.queue:
                self._start(host, host.queue.popleft())
            self._line_up(host)

    def _start(self, host: HostQueue, request: Request) -> None:
        now = self._loop.time()
        if request.cancelled:
            return
        host.num_ended += 1  # but for those that go on to `_run`
        if now > request.deadline:
            self._loop.call_soon(
                self._finish,
                request,
                FetchError(Drop.TIMEOUT, "not its turn before the shard's deadline"),
            )
            return
        place = place_of(request.url)
        assert isinstance(place, Place)  # or it would not have been queued
        health = self._health.get(place.origin)
        if health is not None and health.down is not None:
            if now < health.down_until:
                self._loop.call_soon(self._finish, request, health.down)
                return
            del self._health[place.origin]
        host.num_ended -= 1
        host.next_time = max(now, host.next_time) + host.interval_s
        host.active += 1
        self._num_active += 1
        task = self._loop.create_task(self._run(host, request, place))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, host: HostQueue, request: Request, place: Place) -> None:
        try:
            outcome = await self._attempt(host, place)
        except DataError as error:
            outcome = _with_url(error, request.url)
        except Exception as error:
            # Nobody would ever hear of the request again, and its shard would not end.
            detail = f"a fault of webpairs: {type(error).__name__}: {error}"
            outcome = FetchError(Drop.PROTOCOL, detail, None, request.url)
        finally:
            host.active -= 1
            self._num_active -= 1
        self._note(place, outcome)
        host.num_ended += 1  # but for those that are tried again
        if isinstance(outcome, _Moved):
            request.num_redirects += 1
            if request.num_redirects > MAX_REDIRECTS:
                outcome = FetchError(
                    Drop.REDIRECT,
                    f"more than {MAX_REDIRECTS} redirects",
                    outcome.status,
                    outcome.url,
                )
                self._finish(request, outcome)
            else:
                request.url = outcome.url
                self._enqueue(request, front=True)
        elif isinstance(outcome, FetchError) and self._may_pass(request, place, outcome):
            delay_s = FIRST_BACK_OFF_S * 2**request.num_tries
            if outcome.retry_after_s is not None:
                delay_s = max(outcome.retry_after_s, 0.0)
                # Who asks for a pause gets it, from all requests.
                host.next_time = max(host.next_time, self._loop.time() + delay_s)
            request.num_tries += 1
            host.num_ended -= 1
            host.num_backing_off += 1
            self._loop.call_later(delay_s, self._try_again, host, request)
        else:
            self._finish(request, outcome)
        self._wake(host)
        self._forget_idle(host)

    def _try_again(self, host: HostQueue, request: Request) -> None:
        self._enqueue(request, front=True, again=True)
        host.num_backing_off -= 1

    def _forget_idle(self, host: HostQueue) -> None:
        """Let go of a host that nobody waits for and that has nothing to be remembered."""
        busy = host.queue or host.active or host.timer or host.is_ready
        if len(self._hosts) > MAX_SITES and not busy and self._loop.time() >= host.next_time:
            self._hosts.pop(host.name, None)

    def _may_pass(self, request: Request, place: Place, error: FetchError) -> bool:
        """Say whether another try may help."""
        health = self._health.get(place.origin)
        wait_s = error.retry_after_s
        return (
            error.drop in _MAY_PASS
            and error.status not in (501, 505)
            and request.num_tries < self._rules.retries
            and (health is None or health.down is None)
            and not request.cancelled
            and (wait_s is None or wait_s <= MAX_RETRY_AFTER_S)
        )

    def _note(self, place: Place, outcome: Outcome | _Moved) -> None:
        """Remember whether a site works; leave it alone when it fails again and again."""
        if not (isinstance(outcome, FetchError) and outcome.drop in _SITE_IS_DOWN):
            self._health.pop(place.origin, None)
            return
        health = self._health.setdefault(place.origin, _Health())
        health.num_failures += 1
        if health.num_failures >= DOWN_AFTER and health.down is None:
            detail = f"{place.origin} failed {DOWN_AFTER} times in a row"
            if outcome.drop is Drop.ADDRESS_FORBIDDEN:
                detail = outcome.detail  # it names the option that may help
            health.down = FetchError(outcome.drop, detail)
            health.down_until = self._loop.time() + DOWN_S

    def _finish(self, request: Request, outcome: Outcome) -> None:
        if request.cancelled:
            return
        request.cancelled = True
        if isinstance(outcome, Fetched):
            self._num_unconsumed_bytes += len(outcome.data)
        request.done(outcome)

    # One try

    async def _attempt(self, host: HostQueue, place: Place) -> Outcome | _Moved:
        site = await self._sites.permissions(place)
        if site.robots is not None:
            host.interval_s = max(host.interval_s, site.robots.crawl_delay_s or 0.0)
        refused = site.refusal(place.url, self._rules.ignored_signals)
        if refused is not None:
            drop, detail = refused
            if drop is not Drop.OPTED_OUT_IMAGE or not self._rules.keep_opted_out:
                raise DataError(drop, detail)
        opt_out: str | None = refused[1] if refused is not None else None

        def check(status: int, headers: tuple[tuple[str, str], ...]) -> None:
            nonlocal opt_out
            if status not in _OK:
                return
            signal = answer_opt_out(headers, self._rules.ignored_signals)
            if signal is not None:
                if not self._rules.keep_opted_out:
                    raise FetchError(Drop.OPTED_OUT_IMAGE, signal, status, place.url)
                opt_out = opt_out or signal
            length = next((value for name, value in headers if name == "content-length"), "")
            if length.isdecimal() and int(length[:18]) > self._rules.max_bytes:
                raise FetchError(
                    Drop.TOO_LARGE, f"{length[:18]} bytes announced", status, place.url
                )

        answer = await self._get(place, check)
        if answer.status in REDIRECTS:
            return _Moved(target_of(place, answer.status, answer.get("location")), answer.status)
        if answer.status not in _OK:
            raise _refused(answer, place.url)
        return Fetched(
            data=await self._decoded(answer, place),
            status=answer.status,
            url=place.url,
            date_ms=int(time.time() * 1000),
            opt_out=opt_out,
            permissions=site.evidence(),
            seconds=(
                answer.connect_s,
                max(0.0, answer.first_byte_s - answer.connect_s),
                max(0.0, answer.total_s - answer.first_byte_s),
            ),
        )

    async def _get(self, place: Place, check: Any = None, **how: Any) -> Answer:
        addresses = await self._resolver.resolve(place.host)
        return await self._transfers.get(
            place.url, place.host, place.port, addresses, check_head=check, **how
        )

    async def _decoded(self, answer: Answer, place: Place) -> bytes:
        body = await self._decoder.decode(answer, self._rules.max_bytes)
        if body.too_slow:
            detail = f"not decompressed within {self._rules.total_timeout_s:g} s"
            raise FetchError(Drop.TOO_SLOW, detail, answer.status, place.url)
        if body.too_large:
            detail = f"more than {self._rules.max_bytes} bytes when decompressed"
            raise FetchError(Drop.TOO_LARGE, detail, answer.status, place.url)
        if not body.whole:
            coding = answer.get("content-encoding")
            detail = f"content coding {coding!r} cannot be undone"
            raise FetchError(Drop.PROTOCOL, detail, answer.status, place.url)
        return body.data


def fetch_all(
    urls: Sequence[str],
    rules: FetchRules,
    resolver: Resolver | None = None,
    *,
    deadline_s: float = 3600.0,
    on_connect: Callable[[str, bool], None] | None = None,
) -> list[Fetched | FetchError]:
    """Fetch `urls` and return what came of each, in their order; holds all of it in memory."""

    async def fetch() -> list[Fetched | FetchError]:
        loop = asyncio.get_running_loop()
        fetcher = Fetcher(rules, resolver or CachingResolver(), on_connect=on_connect)
        outcomes: dict[int, Outcome] = {}
        finished = loop.create_future()

        def done(number: int, outcome: Outcome) -> None:
            outcomes[number] = outcome
            if isinstance(outcome, Fetched):
                fetcher.consumed(len(outcome.data))
            if len(outcomes) == len(urls):
                finished.set_result(None)

        try:
            for number, url in enumerate(urls):
                fetcher.submit(
                    Request(
                        url, lambda outcome, n=number: done(n, outcome), loop.time() + deadline_s
                    )
                )
            if urls:
                await finished
        finally:
            await fetcher.close()
        return [outcomes[number] for number in range(len(urls))]

    return asyncio.run(fetch())


def _refused(answer: Answer, url: str) -> FetchError:
    """Return the drop reason for an answer that is not an image."""
    status = answer.status
    if status == 429:
        drop = Drop.HTTP_429
    elif 400 <= status < 500:
        drop = Drop.HTTP_4XX
    elif 500 <= status < 600:
        drop = Drop.HTTP_5XX
    elif 300 <= status < 400:
        drop = Drop.REDIRECT
    else:
        drop = Drop.PROTOCOL
    error = FetchError(drop, f"status {status}", status, url)
    if status in (429, 503):
        error.retry_after_s = _retry_after_s(answer.get("retry-after"))
    return error


def _retry_after_s(value: str | None) -> float | None:
    """Return the seconds that a Retry-After asks to wait (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    value = value.strip()
    if value.isdecimal():
        return float(value[:9])
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - datetime.now(UTC)).total_seconds())


def _with_url(error: DataError, url: str) -> FetchError:
    return (
        error if isinstance(error, FetchError) else FetchError(error.drop, error.detail, None, url)
    )
