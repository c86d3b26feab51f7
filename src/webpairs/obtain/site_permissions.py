"""What sites allow: asked once a day, remembered for every request."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import Final, Protocol

from webpairs.crawl.redirects import MAX_REDIRECTS, REDIRECTS
from webpairs.drops import Drop
from webpairs.errors import DataError
from webpairs.obtain.answer_body import BodyDecoder
from webpairs.obtain.permissions import SitePermissions
from webpairs.obtain.robots import MAX_ROBOTS_BYTES, read_robots
from webpairs.obtain.tdmrep import MAX_TDMREP_BYTES, read_tdmrep
from webpairs.obtain.transfer import Answer
from webpairs.obtain.url_parts import Place, place_of, target_of

MAX_SITES: Final = 20_000
"""Sites whose permissions are remembered; the ones not asked for longest are asked anew."""
PERMISSIONS_AGE_S: Final = 24 * 3600.0
"""RFC 9309, 2.4."""


class Get(Protocol):
    """Making one request, as `Transfers.get` does."""

    async def __call__(self, place: Place, *, max_bytes: int, cut: bool) -> Answer:
        """Return the answer."""
        ...


class Sites:
    """Know what sites (scheme, host and port) allow; used on the running loop alone."""

    def __init__(self, get: Get, decoder: BodyDecoder, ignored_signals: frozenset[str]) -> None:
        self._get = get
        self._decoder = decoder
        self._ignored = ignored_signals
        self._loop = asyncio.get_running_loop()
        self._sites: OrderedDict[str, tuple[float, asyncio.Future[SitePermissions]]] = OrderedDict()

    async def permissions(self, place: Place) -> SitePermissions:
        """Return what the site of `place` allows, asked once for all who wait.

        Raises DataError when nothing at all can be had from the site: name, address, TCP or TLS.
        """
        known = self._sites.get(place.origin)
        if known is None or known[0] < self._loop.time():
            asked: asyncio.Future[SitePermissions] = self._loop.create_task(self._ask(place))
            known = (self._loop.time() + PERMISSIONS_AGE_S, asked)
            self._sites[place.origin] = known
            # An error is for those who wait now: the next one asks again.
            asked.add_done_callback(partial(self._forget_failed, place.origin))
        self._sites.move_to_end(place.origin)
        while len(self._sites) > MAX_SITES and next(iter(self._sites.values()))[1].done():
            self._sites.popitem(last=False)
        return await asyncio.shield(known[1])

    def _forget_failed(self, origin: str, asked: asyncio.Future[SitePermissions], /) -> None:
        if asked.cancelled() or asked.exception() is not None:
            known = self._sites.get(origin)
            if known is not None and known[1] is asked:
                del self._sites[origin]

    async def _ask(self, place: Place) -> SitePermissions:
        robots = tdmrep = None
        if "robots.txt" not in self._ignored:
            status, body = await self._file(place.origin + "/robots.txt", MAX_ROBOTS_BYTES)
            robots = read_robots(status, body)
        if "tdmrep.json" not in self._ignored:
            url = place.origin + "/.well-known/tdmrep.json"
            status, body = await self._file(url, MAX_TDMREP_BYTES)
            tdmrep = read_tdmrep(status, body)
        return SitePermissions(robots, tdmrep)

    async def _file(self, url: str, max_bytes: int) -> tuple[int | None, bytes]:
        """Return status and body of a site's file, redirects followed; None when unreachable."""
        for _ in range(1 + MAX_REDIRECTS):
            place = place_of(url)
            if isinstance(place, DataError):
                return 404, b""
            try:
                answer = await self._get(place, max_bytes=max_bytes, cut=True)
            except DataError as error:
                if error.drop in (Drop.DNS, Drop.CONNECT, Drop.TLS, Drop.ADDRESS_FORBIDDEN):
                    raise
                return None, b""
            if answer.status not in REDIRECTS:
                body = await self._decoder.decode(answer, max_bytes)
                if not body.data and not body.whole:  # a coding that nobody can undo says nothing
                    return None, b""
                return answer.status, body.data
            try:
                url = target_of(place, answer.status, answer.get("location"))
            except DataError:
                break
        return 404, b""  # RFC 9309, 2.3.1.2: too many redirects may be taken as unavailable
