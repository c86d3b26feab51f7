"""One fetcher for all processes of a run: hosts, names and permissions are a machine's, not a
worker's.

The coordinator runs the fetcher in a thread; each worker reaches it over a socket pair that it was
born with, on which pickled frames travel (both ends are this program), an image's bytes behind
theirs. What a worker has not taken yet counts against `web.MAX_UNCONSUMED_BYTES`.
"""

from __future__ import annotations

import asyncio
import pickle
import queue
import socket
import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, Self

from webpairs.errors import RunError
from webpairs.figures import FetchFigures
from webpairs.obtain.dns import CachingResolver, Resolver
from webpairs.obtain.fetcher import Fetched, Fetcher, FetchRules, Outcome, Request
from webpairs.obtain.received import AnswerWriter, ReceivedAnswers

_LENGTH: Final = struct.Struct("<Q")
_LENGTHS: Final = struct.Struct("<QQ")
"""Of an answer's pickled part and of the image behind it."""
TELL_BYTES: Final = 1 << 20
"""Consumed bytes are acknowledged to the fetcher in steps of this many, and before waiting."""


class FetchService:
    """Running a fetcher in a thread of this process; `connect` for each who wants to use it."""

    def __init__(self, rules: FetchRules, resolver: Resolver | None = None) -> None:
        self._rules = rules
        self._resolver = resolver
        self._loop = asyncio.new_event_loop()
        self._clients: set[asyncio.Task[None]] = set()
        self._started = threading.Event()
        self._stop = asyncio.Event()
        self._fetcher: Fetcher | None = None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fetcher", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            self._loop.close()
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    def connect(self) -> socket.socket:
        """Return a client's end of a new socket pair."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._loop.call_soon_threadsafe(self._add_client, ours)
        return theirs

    def figures(self) -> FetchFigures:
        """Return what the fetcher has to do."""
        return FetchFigures() if self._fetcher is None else self._fetcher.figures()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            if self._started.is_set():
                raise
            self._failure = error  # who started the fetcher waits for it, and raises it
        finally:
            self._started.set()

    async def _serve(self) -> None:
        resolver = self._resolver or CachingResolver()
        self._fetcher = Fetcher(self._rules, resolver)
        self._started.set()
        await self._stop.wait()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        await self._fetcher.close()
        if isinstance(resolver, CachingResolver):
            await resolver.close()

    def _add_client(self, ours: socket.socket) -> None:
        assert self._fetcher is not None
        client = self._loop.create_task(_serve_client(self._fetcher, ours))
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)


async def _serve_client(fetcher: Fetcher, ours: socket.socket) -> None:
    """Answer a client's requests until it hangs up; then give back what it did not take."""
    reader, writer = await asyncio.open_connection(sock=ours)
    loop = asyncio.get_running_loop()
    waiting: set[Request] = set()
    answers: asyncio.Queue[tuple[int, int, Outcome, int]] = asyncio.Queue()
    writers: list[AnswerWriter] = []
    num_untaken_bytes = 0

    async def send() -> None:
        # One frame after the other: what waits is the images themselves, not copies in a buffer.
        writer.transport.set_write_buffer_limits(high=0)
        while True:
            batch, number, outcome, segment = await answers.get()
            data = b""
            if isinstance(outcome, Fetched):
                data, outcome = outcome.data, replace(outcome, data=b"")
            told = pickle.dumps((batch, number, outcome, segment), protocol=pickle.HIGHEST_PROTOCOL)
            writer.write(_LENGTHS.pack(len(told), len(data)) + told)
            if data:
                writer.write(data)
            await writer.drain()

    def answer(
        request: Request, kept: AnswerWriter | None, batch: int, number: int, outcome: Outcome
    ) -> None:
        nonlocal num_untaken_bytes
        waiting.discard(request)
        segment = -1
        if kept is not None:
            # Without it a stopped run asks again; a disk that is full is told where more depends.
            with suppress(OSError):
                segment = kept.write(request.url, outcome)
        if isinstance(outcome, Fetched):
            num_untaken_bytes += len(outcome.data)
        answers.put_nowait((batch, number, outcome, segment))

    sender = loop.create_task(send())
    try:
        while True:
            size = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))[0]
            kind, *rest = pickle.loads(await reader.readexactly(size))
            if kind == "taken":
                num_untaken_bytes -= rest[0]
                fetcher.consumed(rest[0])
                continue
            batch, urls, deadline_s, folder = rest
            kept = None if folder is None else AnswerWriter(folder)
            writers += [] if kept is None else [kept]
            deadline = loop.time() + deadline_s
            for number, url in enumerate(urls):
                request = Request(url, _ignore, deadline)
                request.done = _Done(answer, request, kept, batch, number)
                waiting.add(request)
                fetcher.submit(request)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        for request in waiting:
            request.cancelled = True
        fetcher.consumed(num_untaken_bytes)
        for one in writers:
            one.close()
        sender.cancel()
        # Before anything is waited for: the service may stop, and cancel this, in between.
        writer.close()
        await asyncio.gather(sender, return_exceptions=True)


class _Done:
    """Handing an outcome to `answer` with the request's place in its batch."""

    __slots__ = ("_answer", "_place")

    def __init__(self, answer: Any, *place: Any) -> None:
        self._answer = answer
        self._place = place

    def __call__(self, outcome: Outcome) -> None:
        self._answer(*self._place, outcome)


def _ignore(outcome: Outcome) -> None:
    del outcome


class FetchClient:
    """Reach the fetch service over a socket; may be used by several threads at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._send_lock = threading.Lock()
        self._lock = threading.Lock()
        self._batches: dict[int, queue.SimpleQueue[tuple[int, Outcome, int] | None]] = {}
        self._num_batches = 0
        self._closed = False
        threading.Thread(target=self._receive, name="fetched", daemon=True).start()

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def fetch(
        self, urls: Sequence[str], deadline_s: float, keep_in: ReceivedAnswers | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield (number of the URL, what came of it) as answers come, each URL once.

        What has not begun after `deadline_s` ends as `timeout`. The service writes each answer
        into the folder of `keep_in` before it sends it.
        """
        if not urls:
            return
        inbox: queue.SimpleQueue[tuple[int, Outcome, int] | None] = queue.SimpleQueue()
        with self._lock:
            batch = self._num_batches
            self._num_batches += 1
            self._batches[batch] = inbox
        num_taken_bytes = 0
        try:
            self._send(
                (
                    "fetch",
                    batch,
                    list(urls),
                    deadline_s,
                    None if keep_in is None else keep_in.folder,
                )
            )
            for _ in urls:
                if num_taken_bytes and (num_taken_bytes >= TELL_BYTES or inbox.empty()):
                    self._send(("taken", num_taken_bytes))
                    num_taken_bytes = 0
                answer = inbox.get() if not self._closed or not inbox.empty() else None
                if answer is None:
                    raise RunError("the fetcher has ended: run the same line again to go on")
                number, outcome, segment = answer
                if isinstance(outcome, Fetched):
                    num_taken_bytes += len(outcome.data)
                if keep_in is not None:
                    keep_in.note(urls[number], segment)
                yield number, outcome
        finally:
            if num_taken_bytes:
                self._send(("taken", num_taken_bytes))
            with self._lock:
                del self._batches[batch]

    def _send(self, message: object) -> None:
        with self._send_lock, suppress(OSError):  # a service that has gone is seen when reading
            self._connection.sendall(_frame(message))

    def _receive(self) -> None:
        try:
            with self._connection.makefile("rb", buffering=1 << 20) as stream:
                while head := stream.read(_LENGTHS.size):
                    num_told, num_data = _LENGTHS.unpack(head)
                    batch, number, outcome, segment = pickle.loads(stream.read(num_told))
                    if isinstance(outcome, Fetched):
                        outcome = replace(outcome, data=stream.read(num_data))
                    with self._lock:
                        inbox = self._batches.get(batch)
                    if inbox is not None:
                        inbox.put((number, outcome, segment))
        except (OSError, EOFError, struct.error, pickle.UnpicklingError):
            pass
        self._closed = True
        self._connection.close()
        with self._lock:
            for inbox in self._batches.values():
                inbox.put(None)


def _frame(message: object) -> bytes:
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data
