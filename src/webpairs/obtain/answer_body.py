"""Undoing the content codings of answers, beside the loop that fetches them."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from webpairs.crawl.http_message import Body, Head, decode_body
from webpairs.obtain.transfer import Answer

THREADS: Final = 2
"""Bodies decoded at once. Nobody asks for coded images, so few come; each may take 50 MB."""

MIN_S: Final = 1.0
"""Ten times what 50 MB take."""


class BodyDecoder:
    """Decoder of bodies on own threads; used on the loop that is running. Close it in the end."""

    def __init__(self, timeout_s: float) -> None:
        """`timeout_s` bounds a request whose body is decoded; at least MIN_S are for decoding."""
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")

    async def decode(self, answer: Answer, max_bytes: int) -> Body:
        """Return the body of an answer with its codings undone, at most `max_bytes` of it."""
        head = Head(answer.status, answer.headers, 0)
        if not (head.get("content-encoding") or head.get("transfer-encoding")):
            return Body(answer.body[:max_bytes], too_large=len(answer.body) > max_bytes)
        left_s = max(MIN_S, self._timeout_s - answer.total_s)
        loop = asyncio.get_running_loop()
        work = partial(self._undo, head, answer.body, max_bytes, left_s)
        return await loop.run_in_executor(self._threads, work)

    def _undo(self, head: Head, raw: bytes, max_bytes: int, left_s: float) -> Body:
        # Chunks were joined by libcurl.
        return decode_body(head, raw, max_bytes, dechunked=True, until_s=time.monotonic() + left_s)

    def close(self) -> None:
        """Let what is under way end, which the timeout bounds."""
        self._threads.shutdown(cancel_futures=True)
