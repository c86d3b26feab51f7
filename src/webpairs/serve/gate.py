"""Stand before every request: bound how many there are and how long each takes; set the headers.

Plain ASGI, so that nothing is buffered between an answer and who reads it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webpairs.serve.json import json_response
from webpairs.serve.metrics import Metrics
from webpairs.serve.refusal import BUSY

MAX_REQUESTS: Final = 2_000
"""Under way at once: those that wait for their turn, too."""
TIMEOUT_S: Final = 120.0
"""Of a request, until its answer is taken; a build's slowest picture is a hundredth of it."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Final = {
    # Captions and pictures are strangers': should one ever get through, nothing of it runs.
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
SHARED: Final = frozenset(
    ("/indices-list", "/knn-service", "/metadata", "/metrics-summary", "/config.json")
)
"""What clip-retrieval's page, from wherever it comes, may read: its server lets everybody."""
_log = logging.getLogger("webpairs.serve")


class Gate:
    """Wrap the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._num_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_checked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._metrics.answered(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if scope["path"] in SHARED:
                    headers["access-control-allow-origin"] = "*"
            await send(message)

        if self._num_requests >= MAX_REQUESTS:
            message = f"{MAX_REQUESTS:,} requests are under way: try again in a second"
            answer = json_response({"message": message}, BUSY, {"retry-after": "1"})
            await answer(scope, receive, send_checked)
            return
        self._num_requests += 1
        self._metrics.under_way.set(self._num_requests)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._app(scope, receive, send_checked)
        except TimeoutError:
            if started:
                raise
            message = f"no answer within {TIMEOUT_S:g} s: ask for less, or with a simpler filter"
            answer = json_response({"message": message}, BUSY)
            await answer(scope, receive, send_checked)
        finally:
            self._num_requests -= 1
            self._metrics.under_way.set(self._num_requests)
