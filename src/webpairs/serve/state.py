"""What the answers share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from webpairs.serve.answers.image_url import ImageFetcher
from webpairs.serve.collection import Collection, Served
from webpairs.serve.limits.refusal import UNUSABLE, Refusal
from webpairs.serve.metrics import Metrics
from webpairs.serve.options import ServeOptions

THREADS: Final = 8
"""More than cores: some wait for the disk. Those beyond wait for their turn."""
FILTERS: Final = 64
"""Threads that wait for users' expressions, which processes run (filter_pool.py)."""

MAX_REPLY_BYTES: Final = 64_000_000
"""Of an answer in JSON or a page. Twice the 4 million characters of `load/bounded.py`, each of
which JSON may write as six, are 48 MB: what is larger has other reasons."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class State:
    """The datasets, the counters, and the threads that work for the loop."""

    options: ServeOptions
    metrics: Metrics
    collection: Collection
    images: ImageFetcher
    _threads: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(THREADS))
    _filters: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(FILTERS))

    async def filter(self, function: Callable[[], T]) -> T:
        """Return what a function returns that waits for a user's expression."""
        return await to_thread.run_sync(function, limiter=self._filters)

    async def work(self, function: Callable[[], T]) -> T:
        """Return what a function returns, which a thread runs."""
        return await to_thread.run_sync(function, limiter=self._threads)

    async def reply(self, make: Callable[[], Response]) -> Response:
        """Return an answer that a thread makes: writing JSON or a page takes time, too."""
        response = await self.work(make)
        if len(response.body) > MAX_REPLY_BYTES:
            raise Refusal(
                UNUSABLE,
                f"the answer would have {len(response.body):,} bytes, and at most "
                f"{MAX_REPLY_BYTES:,} are sent: ask for fewer results at once",
            )
        return response


def state_of(request: Request) -> State:
    """Return the state of the server that a request came to."""
    return request.app.state.webpairs


def served_of(request: Request) -> Served:
    """Return the dataset that a request's path names; Refusal where there is none."""
    return state_of(request).collection.get(request.path_params["dataset"])
