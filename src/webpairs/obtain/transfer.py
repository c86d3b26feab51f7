"""Making one HTTP request each with libcurl, many at a time, on an asyncio loop.

Here are the limits and the guard; no redirect is followed and nothing is tried twice (`web`). What
a server does wrong is a DataError, whatever it does.
"""

from __future__ import annotations

import asyncio
import io
import re
import socket
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import pycurl

from webpairs.crawl.http_message import MAX_HEAD_BYTES, parse_head
from webpairs.drops import Drop
from webpairs.errors import DataError
from webpairs.obtain.guard import Guard
from webpairs.obtain.limits import MIN_BYTES_PER_S, Limits

MAX_OTHER_BODY_BYTES: Final = 64 << 10
"""Bodies of errors and redirects are read this far, so that the connection can be used again."""
LARGE_BODY_BYTES: Final = 1 << 20
MAX_LARGE_BODIES: Final = 16
"""Bodies that may grow beyond LARGE_BODY_BYTES at the same time; the others wait. So many times
the largest image, and no more, can be held whatever servers send."""
_RECEIVE_BYTES: Final = 64 << 10

_TIMES: Final = re.compile(r" after \d+ (?:ms|milliseconds)")
_AMOUNTS: Final = re.compile(r" with \d+ .*$")
_ACCEPT: Final = "Accept: image/webp,image/png,image/jpeg,*/*;q=0.5"
_TLS_ERRORS: Final = frozenset((35, 51, 53, 54, 58, 59, 60, 64, 66, 77, 80, 82, 83, 90, 91))
"""libcurl's numbers for what fails between TCP and HTTP (libcurl-errors)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer; names of headers are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    address: str
    connect_s: float
    """DNS apart; 0 on a connection that was open."""
    first_byte_s: float
    total_s: float

    def get(self, name: str) -> str | None:
        """Return the first value of the header `name`, or None."""
        return next((value for key, value in self.headers if key == name), None)


CheckHead = Callable[[int, tuple[tuple[str, str], ...]], None]
"""Look at status and headers before the body is read; raise DataError to leave the body unread."""


class _Request:
    """Following one request on its libcurl handle."""

    def __init__(self, max_bytes: int, check_head: CheckHead | None, *, cut: bool) -> None:
        self.answered: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.check_head = check_head
        self.max_bytes = max_bytes
        self.cut = cut
        self.head = bytearray()
        self.status = 0
        self.headers: tuple[tuple[str, str], ...] = ()
        self.body = io.BytesIO()
        self.num_bytes = 0
        self.failure: DataError | None = None
        self.enough = False
        """The body was cut off on purpose: the answer stands."""
        self.is_large = False
        self.timer: asyncio.TimerHandle | None = None

    def fail(self, error: DataError) -> None:
        if self.failure is None:
            self.failure = error


class _Socket:
    """Lend libcurl a socket, of which pycurl takes a duplicate at once."""

    def __init__(self, lent: socket.socket) -> None:
        self._lent = lent

    def __del__(self) -> None:
        self._lent.close()

    def fileno(self) -> int:
        return self._lent.fileno()


class Transfers:
    """Run requests on the loop that is running; used on that loop alone. Close it in the end."""

    def __init__(
        self,
        limits: Limits,
        guard: Guard,
        *,
        user_agent: str,
        ca_file: str,
        max_connections: int,
        on_connect: Callable[[str, bool], None] | None = None,
    ) -> None:
        """`on_connect` is told each address that a socket was asked for, and whether it got one."""
        self._limits = limits
        self._guard = guard
        self._user_agent = user_agent
        self._ca_file = ca_file
        self._on_connect = on_connect
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._idle: list[pycurl.Curl] = []
        self._requests: dict[pycurl.Curl, _Request] = {}
        self._num_large = 0
        self._paused: deque[pycurl.Curl] = deque()
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, max_connections)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what is under way and close every connection."""
        for handle, request in list(self._requests.items()):
            request.fail(DataError(Drop.TIMEOUT, "stopped"))
            self._settle(handle)
        for handle in self._idle:
            handle.close()
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
        self._multi.close()

    async def get(
        self,
        url: str,
        host: str,
        port: int,
        addresses: Sequence[str],
        *,
        check_head: CheckHead | None = None,
        max_bytes: int | None = None,
        cut: bool = False,
    ) -> Answer:
        """Return the answer to a GET of `url`, of any status, connecting to `addresses` only.

        `cut` keeps the first `max_bytes` of a longer body, which otherwise is `too_large`. Raises
        DataError: connect, tls, timeout, too_slow, too_large, protocol, address_forbidden, and
        what `check_head` raises.
        """
        refused = self._guard.refusal(addresses)
        if refused is not None:
            raise refused
        allowed = [one for one in addresses if self._guard.why_forbidden(one) is None]
        limit = self._limits.max_bytes if max_bytes is None else max_bytes
        request = _Request(limit, check_head, cut=cut)
        handle = self._idle.pop() if self._idle else self._new_handle()
        self._requests[handle] = request
        try:
            handle.setopt(pycurl.URL, url)
            numbers = ",".join(f"[{one}]" if ":" in one else one for one in allowed)
            # "+": an entry that grows old, not one for ever.
            handle.setopt(pycurl.RESOLVE, [f"+{host}:{port}:{numbers}"])
            self._multi.add_handle(handle)
        except (pycurl.error, UnicodeEncodeError) as error:
            self._requests.pop(handle)
            handle.close()
            raise DataError(Drop.PROTOCOL, f"libcurl refuses the URL: {error}") from error
        wait_s = self._limits.connect_timeout_s + self._limits.first_byte_timeout_s
        request.timer = self._loop.call_later(wait_s, self._first_byte_is_late, handle)
        try:
            return await request.answered
        except asyncio.CancelledError:
            if handle in self._requests:
                self._settle(handle)
            raise

    # libcurl's callbacks

    def _new_handle(self) -> pycurl.Curl:
        handle = pycurl.Curl()
        limits = self._limits

        def open_socket(purpose: int, where: tuple[int, int, int, Any]) -> Any:
            return self._open(handle, where)

        def read_head(line: bytes) -> int | None:
            return self._read_head(handle, line)

        def read_body(piece: bytes) -> int | None:
            return self._read_body(handle, piece)

        options: list[tuple[int, Any]] = [
            (pycurl.NOSIGNAL, 1),
            (pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS),
            (pycurl.FOLLOWLOCATION, 0),
            (pycurl.PATH_AS_IS, 1),
            (pycurl.PROXY, ""),  # else http_proxy in the environment would go round the guard
            (pycurl.NETRC, pycurl.NETRC_IGNORED),
            (pycurl.USERAGENT, self._user_agent),
            (pycurl.HTTPHEADER, [_ACCEPT, "Accept-Encoding: identity"]),
            (pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS),
            (pycurl.PIPEWAIT, 1),  # rather a stream of an HTTP/2 connection than one more
            (pycurl.CAINFO, self._ca_file),
            (pycurl.BUFFERSIZE, _RECEIVE_BYTES),
            (pycurl.CONNECTTIMEOUT_MS, int(limits.connect_timeout_s * 1000)),
            (pycurl.TIMEOUT_MS, int(limits.total_timeout_s * 1000)),
            (pycurl.LOW_SPEED_LIMIT, MIN_BYTES_PER_S),
            (pycurl.LOW_SPEED_TIME, max(1, int(limits.stall_timeout_s))),
            (pycurl.OPENSOCKETFUNCTION, open_socket),
            (pycurl.HEADERFUNCTION, read_head),
            (pycurl.WRITEFUNCTION, read_body),
        ]
        for option, value in options:
            handle.setopt(option, value)
        return handle

    def _open(self, handle: pycurl.Curl, where: tuple[int, int, int, Any]) -> Any:
        """Give libcurl a socket for an address, or none: the guard's last word."""
        family, kind, protocol, address = where
        text = address[0] if isinstance(address, tuple) else repr(address)
        reason = self._guard.why_forbidden(text)
        if self._on_connect is not None:
            self._on_connect(text, reason is None)
        if reason is not None:
            self._requests[handle].fail(DataError(Drop.ADDRESS_FORBIDDEN, f"{text} ({reason})"))
            return pycurl.SOCKET_BAD
        try:
            return _Socket(socket.socket(family, kind, protocol))
        except OSError:  # no IPv6 here, say: libcurl tries the next address
            return pycurl.SOCKET_BAD

    def _read_head(self, handle: pycurl.Curl, line: bytes) -> int | None:
        request = self._requests[handle]
        if request.timer is not None:
            request.timer.cancel()
            request.timer = None
        if line.startswith(b"HTTP/"):
            request.head.clear()  # of an interim answer
        request.head += line
        if len(request.head) > MAX_HEAD_BYTES:
            request.fail(DataError(Drop.PROTOCOL, f"more than {MAX_HEAD_BYTES} bytes of headers"))
            return -1
        if line not in (b"\r\n", b"\n") or request.num_bytes:  # more to come, or a trailer
            return None
        head = parse_head(bytes(request.head))
        if head is None:
            request.fail(DataError(Drop.PROTOCOL, "no HTTP status line"))
            return -1
        if head.status < 200:
            return None
        request.status, request.headers = head.status, head.headers
        if request.check_head is None:
            return None
        try:
            request.check_head(request.status, request.headers)
        except DataError as error:
            request.fail(error)
            return -1
        return None

    def _read_body(self, handle: pycurl.Curl, piece: bytes) -> int | None:
        request = self._requests[handle]
        num_bytes = request.num_bytes + len(piece)
        most = request.max_bytes if request.status == 200 else MAX_OTHER_BODY_BYTES
        if num_bytes > most:
            request.body.write(piece[: most - request.num_bytes])
            request.enough = request.cut or request.status != 200
            if not request.enough:
                request.fail(DataError(Drop.TOO_LARGE, f"more than {most} bytes"))
            return -1
        if num_bytes > LARGE_BODY_BYTES and not request.is_large:
            if self._num_large >= MAX_LARGE_BODIES:
                self._paused.append(handle)
                return pycurl.WRITEFUNC_PAUSE
            self._num_large += 1
            request.is_large = True
        request.num_bytes = num_bytes
        request.body.write(piece)
        return None

    def _watch(self, event: int, fd: int, multi: object, data: object) -> None:
        if event in (pycurl.POLL_IN, pycurl.POLL_INOUT):
            self._loop.add_reader(fd, self._ready, fd, pycurl.CSELECT_IN)
        else:
            self._loop.remove_reader(fd)
        if event in (pycurl.POLL_OUT, pycurl.POLL_INOUT):
            self._loop.add_writer(fd, self._ready, fd, pycurl.CSELECT_OUT)
        else:
            self._loop.remove_writer(fd)

    def _set_timer(self, timeout_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if timeout_ms >= 0:
            self._timer = self._loop.call_later(
                timeout_ms / 1000, self._ready, pycurl.SOCKET_TIMEOUT, 0
            )

    # what goes on between the callbacks

    def _ready(self, fd: int, events: int) -> None:
        self._multi.socket_action(fd, events)
        more = 1
        while more:
            more, done, failed = self._multi.info_read()
            for handle in done:
                self._settle(handle)
            for handle, number, message in failed:
                request = self._requests[handle]
                if not request.enough:
                    connected = float(handle.getinfo(pycurl.CONNECT_TIME)) > 0
                    request.fail(_failure(number, message, request, connected=connected))
                self._settle(handle)

    def _first_byte_is_late(self, handle: pycurl.Curl) -> None:
        request = self._requests[handle]
        request.timer = None
        wait_s = self._limits.connect_timeout_s + self._limits.first_byte_timeout_s
        request.fail(DataError(Drop.TIMEOUT, f"no answer within {wait_s:g} s"))
        self._settle(handle)

    def _settle(self, handle: pycurl.Curl) -> None:
        """Take a request off its handle and hand out what came of it."""
        request = self._requests[handle]
        if request.timer is not None:
            request.timer.cancel()
        answer = None
        if request.failure is None:
            connect_s = float(handle.getinfo(pycurl.APPCONNECT_TIME)) or float(
                handle.getinfo(pycurl.CONNECT_TIME)
            )
            answer = Answer(
                request.status,
                request.headers,
                request.body.getvalue(),
                str(handle.getinfo(pycurl.PRIMARY_IP)),
                connect_s,
                float(handle.getinfo(pycurl.STARTTRANSFER_TIME)),
                float(handle.getinfo(pycurl.TOTAL_TIME)),
            )
        self._multi.remove_handle(handle)
        del self._requests[handle]
        self._idle.append(handle)
        if handle in self._paused:
            self._paused.remove(handle)
        if request.is_large:
            self._num_large -= 1
            if self._paused:
                self._loop.call_soon(self._go_on)
        if request.answered.done():
            return
        if answer is not None:
            request.answered.set_result(answer)
        else:
            assert request.failure is not None
            request.answered.set_exception(request.failure)

    def _go_on(self) -> None:
        if self._paused and self._num_large < MAX_LARGE_BODIES:
            self._paused.popleft().pause(pycurl.PAUSE_CONT)


def _failure(number: int, message: str, request: _Request, *, connected: bool) -> DataError:
    """Return the drop reason for libcurl's error `number` (libcurl-errors).

    `connected` is whether TCP ever was.
    """
    # Times differ from run to run, and the drops of two runs shall not.
    message = _TIMES.sub("", message)
    if number == pycurl.E_OPERATION_TIMEDOUT:
        if not connected:
            return DataError(Drop.CONNECT, _AMOUNTS.sub("", message))
        came = bool(request.head) or request.num_bytes > 0
        return DataError(Drop.TOO_SLOW if came else Drop.TIMEOUT, _AMOUNTS.sub("", message))
    if number == pycurl.E_COULDNT_RESOLVE_HOST:
        return DataError(Drop.DNS, message)
    if number == pycurl.E_COULDNT_CONNECT:
        return DataError(Drop.CONNECT, message)
    if number in _TLS_ERRORS:
        return DataError(Drop.TLS, message)
    return DataError(Drop.PROTOCOL, message or f"libcurl error {number}")
