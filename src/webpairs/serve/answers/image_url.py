"""Fetching the image of a query by its URL, as images of a build are: guarded, and within limits.

Nothing is kept of it, so what sites say of text and data mining is not asked; robots.txt is.
"""

from __future__ import annotations

import asyncio
from typing import Final

from webpairs.obtain.dns import CachingResolver
from webpairs.obtain.fetcher import Fetched, Fetcher, FetchRules, Outcome, Request
from webpairs.obtain.permissions import SIGNALS
from webpairs.serve.limits.refusal import UNUSABLE, Refusal
from webpairs.serve.metrics import Metrics
from webpairs.serve.options import ServeOptions

MAX_BYTES: Final = 10_000_000
TIMEOUT_S: Final = 10.0
MAX_CHARS: Final = 2_083
"""clip-retrieval's page sends what browsers once took as a URL."""


class ImageFetcher:
    """Fetching images on the loop that is running; `close` it on the same."""

    def __init__(self, options: ServeOptions, metrics: Metrics) -> None:
        self._allowed = options.fetches_images
        self._metrics = metrics
        self._fetcher = Fetcher(
            FetchRules(
                allow_networks=options.allow_network,
                connections=16,
                total_timeout_s=TIMEOUT_S,
                connect_timeout_s=TIMEOUT_S,
                first_byte_timeout_s=TIMEOUT_S,
                retries=0,
                max_bytes=MAX_BYTES,
                ignored_signals=frozenset(SIGNALS) - {"robots.txt"},
            ),
            CachingResolver(),
        )

    async def fetch(self, url: str) -> bytes:
        """Return what is at a URL; raise Refusal where that is not to be had, or not allowed."""
        if not self._allowed:
            raise Refusal(
                UNUSABLE,
                "image_url is off, since others than the server's machine may ask: send the image "
                "itself, or start the server with --allow-image-url",
            )
        if len(url) > MAX_CHARS:
            raise Refusal(UNUSABLE, f"image_url has more than {MAX_CHARS:,} characters")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Outcome] = loop.create_future()

        def done(outcome: Outcome) -> None:
            if not answer.done():
                answer.set_result(outcome)
            if isinstance(outcome, Fetched):
                self._fetcher.consumed(len(outcome.data))

        request = Request(url, done, loop.time() + TIMEOUT_S)
        with self._metrics.time("download_time"):
            self._fetcher.submit(request)
            try:
                async with asyncio.timeout(2 * TIMEOUT_S):
                    outcome = await answer
            except TimeoutError:
                request.cancelled = True
                raise Refusal(UNUSABLE, f"image_url: no image within {2 * TIMEOUT_S:g} s") from None
        if not isinstance(outcome, Fetched):
            raise Refusal(UNUSABLE, f"image_url cannot be fetched: {outcome}")
        return outcome.data

    async def close(self) -> None:
        """End what is under way."""
        await self._fetcher.close()
