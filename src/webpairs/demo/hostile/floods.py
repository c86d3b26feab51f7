"""Sending without end, or without haste, or not at all; drop the connection."""

from __future__ import annotations

from typing import Final

from webpairs.demo.hostile.behaviour import Answer, Behaviour, Visit, head, raw, say
from webpairs.demo.hostile.images import jpeg
from webpairs.demo.truth import SAMPLE
from webpairs.drops import Drop

_JPEG: Final = "Content-Type: image/jpeg"
TEN_GB: Final = 10_000_000_000
_PIECE_BYTES: Final = 1 << 20


# Too much -----------------------------------------------------------------------------------------


def _ten_gb(*headers: str) -> Answer:
    async def answer(visit: Visit) -> None:
        await visit.send(head(visit, "200 OK", _JPEG, *headers) + jpeg())
        for _ in range(TEN_GB // _PIECE_BYTES):
            await visit.send(bytes(_PIECE_BYTES))

    return answer


async def _endless_chunks(visit: Visit) -> None:
    await visit.send(head(visit, "200 OK", _JPEG, "Transfer-Encoding: chunked"))
    piece = b"%x\r\n" % _PIECE_BYTES + bytes(_PIECE_BYTES) + b"\r\n"
    for _ in range(TEN_GB // _PIECE_BYTES):
        await visit.send(piece)


async def _claims_8_eib(visit: Visit) -> None:
    await visit.send(head(visit, "200 OK", _JPEG, f"Content-Length: {2**63 - 1}") + jpeg())
    await visit.say_nothing()


async def _endless_head(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(1_000_000):
        await visit.send(b"X-Header-%d: %s\r\n" % (number, b"a" * 1000))


# Too slow -----------------------------------------------------------------------------------------


async def _never(visit: Visit) -> None:
    await visit.say_nothing()


async def _slow_status(visit: Visit) -> None:
    await visit.send_slowly(b"HTTP/1.1 200 " + b"OK" * 10_000)


async def _slow_head(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 200 OK\r\n")
    await visit.send_slowly(b"X-Long: " + b"a" * 10_000)


async def _slow_body(visit: Visit) -> None:
    await visit.send(head(visit, "200 OK", _JPEG, f"Content-Length: {len(jpeg())}"))
    await visit.send_slowly(jpeg())


async def _half_a_body(visit: Visit) -> None:
    await visit.send(head(visit, "200 OK", _JPEG, f"Content-Length: {len(jpeg())}"))
    await visit.send(jpeg()[: len(jpeg()) // 2])
    await visit.say_nothing()


async def _half_a_head(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
    await visit.say_nothing()


# Gone ---------------------------------------------------------------------------------------------


async def _reset_at_once(visit: Visit) -> None:
    await visit.reset()


async def _reset_in_head(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
    await visit.reset()


async def _reset_in_body(visit: Visit) -> None:
    await visit.send(head(visit, "200 OK", _JPEG, f"Content-Length: {len(jpeg())}"))
    await visit.send(jpeg()[: len(jpeg()) // 2])
    await visit.reset()


async def _dying_keep_alive(visit: Visit) -> None:
    await say("200 OK", _JPEG, "Connection: keep-alive", "Keep-Alive: timeout=60", body=jpeg)(visit)
    visit.keep_open = False


BEHAVIOURS: Final = (
    Behaviour(
        name="body-of-10-gb",
        what="a JPEG that goes on for 10 GB, announced",
        expect=Drop.TOO_LARGE,
        answer=_ten_gb(f"Content-Length: {TEN_GB}"),
    ),
    Behaviour(
        name="body-of-10-gb-unannounced",
        what="a JPEG that goes on for 10 GB, its length not told",
        expect=Drop.TOO_LARGE,
        answer=_ten_gb(),
    ),
    Behaviour(
        name="body-of-endless-chunks",
        what="chunk after chunk, 10 GB of them",
        expect=Drop.TOO_LARGE,
        answer=_endless_chunks,
    ),
    Behaviour(
        name="body-of-8-eib-announced",
        what="a Content-Length of 2 to the power of 63, less 1",
        expect=Drop.TOO_LARGE,
        answer=_claims_8_eib,
    ),
    Behaviour(
        name="head-endless",
        what="header lines without end",
        expect=Drop.PROTOCOL,
        answer=_endless_head,
    ),
    Behaviour(
        name="head-line-of-1-mb",
        what="one header line of 1 MB",
        expect=Drop.PROTOCOL,
        answer=say("200 OK", _JPEG, "X-Long: " + "a" * 1_000_000, body=jpeg),
    ),
    Behaviour(
        name="never-answers",
        what="takes the request and says nothing",
        expect=Drop.TIMEOUT,
        answer=_never,
    ),
    Behaviour(
        name="status-trickles",
        what="a status line at ten bytes a second: no answer as long as it has no end",
        expect=Drop.TIMEOUT,
        answer=_slow_status,
    ),
    Behaviour(
        name="head-trickles",
        what="header lines at ten bytes a second",
        expect=Drop.TOO_SLOW,
        answer=_slow_head,
    ),
    Behaviour(
        name="head-stalls",
        what="half a head, then silence",
        expect=Drop.TOO_SLOW,
        answer=_half_a_head,
    ),
    Behaviour(
        name="body-trickles",
        what="a picture at ten bytes a second",
        expect=Drop.TOO_SLOW,
        answer=_slow_body,
    ),
    Behaviour(
        name="body-stalls",
        what="half a picture, then silence",
        expect=Drop.TOO_SLOW,
        answer=_half_a_body,
    ),
    Behaviour(
        name="closes-at-once",
        what="takes the request and closes the connection",
        expect=Drop.PROTOCOL,
        answer=raw(b""),
    ),
    Behaviour(
        name="resets-at-once",
        what="takes the request and resets the connection",
        expect=Drop.PROTOCOL,
        answer=_reset_at_once,
    ),
    Behaviour(
        name="resets-in-head",
        what="a reset in the middle of the head",
        expect=Drop.PROTOCOL,
        answer=_reset_in_head,
    ),
    Behaviour(
        name="resets-in-body",
        what="a reset in the middle of the picture",
        expect=Drop.PROTOCOL,
        answer=_reset_in_body,
    ),
    Behaviour(
        name="keep-alive-that-dies",
        what="promises to keep the connection and closes it after each answer",
        expect=SAMPLE,
        answer=_dying_keep_alive,
        num_urls=4,
    ),
    Behaviour(
        name="connection-never-made",
        what="a port that answers no attempt to connect",
        expect=Drop.CONNECT,
        answer=raw(b""),
        url="http://{host}:{full_port}/picture.jpg",
    ),
    Behaviour(
        name="connection-refused",
        what="a port at which nobody listens",
        expect=Drop.CONNECT,
        answer=raw(b""),
        url="http://{host}:{closed_port}/picture.jpg",
    ),
)
