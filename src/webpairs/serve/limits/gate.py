"""Limits of requests: who may ask, how many at once, for how long; and the headers.

Plain ASGI, so that nothing is buffered between an answer and who reads it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from webpairs.serve.limits.callers import Callers
from webpairs.serve.limits.refusal import BUSY, Refusal, json_response
from webpairs.serve.metrics import Metrics

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
_log = logging.getLogger("webpairs.serve")


class Gate:
    """Wrap the application."""

    def __init__(self, app: ASGIApp, metrics: Metrics, callers: Callers) -> None:
        self._app = app
        self._metrics = metrics
        self._callers = callers
        self._num_requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, asked = False, Headers(scope=scope)

        async def send_checked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self._metrics.answered(message["status"])
                headers = MutableHeaders(scope=message)
                for name, value in (HEADERS | self._callers.headers(asked)).items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._callers.check(scope["method"], scope["path"], scope["http_version"], asked)
        except Refusal as refusal:
            answer = json_response({"message": refusal.message}, refusal.status)
            await answer(scope, receive, send_checked)
            return
        if (allowed := self._callers.preflight(scope["method"], asked)) is not None:
            await Response(status_code=204, headers=allowed)(scope, receive, send_checked)
            return
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
