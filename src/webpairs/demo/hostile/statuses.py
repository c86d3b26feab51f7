"""Answering with every status that is not a picture, and with some that look like none."""

from __future__ import annotations

from typing import Final

from webpairs.demo.hostile.behaviour import Behaviour, Visit, head, in_turn, raw, say
from webpairs.demo.hostile.images import jpeg
from webpairs.demo.truth import SAMPLE
from webpairs.drops import Drop

_GOOD: Final = say("200 OK", "Content-Type: image/jpeg", body=jpeg)
_STORM: Final = 20
"""More URLs than a fetcher can be after at once on one host."""


def _status(status: str, expect: str, what: str = "") -> Behaviour:
    """Answer every picture with a status, a sorry page and a picture's type."""
    return Behaviour(
        name=f"status-{status[:3]}",
        what=what or status,
        expect=expect,
        answer=say(status, "Content-Type: image/jpeg", body=b"sorry\n"),
    )


async def _continue_for_ever(visit: Visit) -> None:
    for _ in range(1_000_000):
        await visit.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)


async def _continue(visit: Visit) -> None:
    await visit.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await _GOOD(visit)


async def _early_hints(visit: Visit) -> None:
    await visit.send(head(visit, "103 Early Hints", "Link: <http://127.0.0.2/>; rel=preload"))
    await _GOOD(visit)


BEHAVIOURS: Final = (
    Behaviour(
        name="status-100-first",
        what="100 Continue, which nobody asked for, then the picture",
        expect=SAMPLE,
        answer=_continue,
    ),
    Behaviour(
        name="status-103-first",
        what="103 Early Hints, which would have this machine ask elsewhere, then the picture",
        expect=SAMPLE,
        answer=_early_hints,
    ),
    Behaviour(
        name="status-100-for-ever",
        what="100 Continue again and again",
        expect=Drop.PROTOCOL,
        answer=_continue_for_ever,
    ),
    Behaviour(
        name="status-101",
        what="101 Switching Protocols, which nobody asked for",
        expect=Drop.PROTOCOL,
        answer=raw(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
        ),
    ),
    Behaviour(
        name="status-204",
        what="204 No Content",
        expect=Drop.PROTOCOL,
        answer=raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    ),
    Behaviour(
        name="status-206",
        what="206 Partial Content, half a picture, which nobody asked for",
        expect=Drop.PROTOCOL,
        answer=say(
            "206 Partial Content",
            "Content-Range: bytes 0-14999/30000",
            body=lambda: jpeg()[:15_000],
        ),
    ),
    Behaviour(
        name="status-without-reason",
        what="a status line that ends behind 200",
        expect=SAMPLE,
        answer=say("200", "Content-Type: image/jpeg", body=jpeg),
    ),
    _status("401 Unauthorized", Drop.HTTP_4XX, "401 without a challenge"),
    _status("403 Forbidden", Drop.HTTP_4XX),
    Behaviour(
        name="status-404-with-a-picture",
        what="404 with a sound picture for a body",
        expect=Drop.HTTP_4XX,
        answer=say("404 Not Found", "Content-Type: image/jpeg", body=jpeg),
    ),
    _status("410 Gone", Drop.HTTP_4XX),
    _status("451 Unavailable For Legal Reasons", Drop.HTTP_4XX),
    _status("500 Internal Server Error", Drop.HTTP_5XX),
    _status("999 Request Denied", Drop.PROTOCOL, "999, a number that no standard knows"),
    Behaviour(
        name="status-429-then-picture",
        what="429 with a Retry-After of a second, then the picture",
        expect=SAMPLE,
        answer=in_turn(say("429 Too Many Requests", "Retry-After: 1"), _GOOD),
    ),
    Behaviour(
        name="status-429-for-a-day",
        what="429 with a Retry-After of a day",
        expect=Drop.HTTP_429,
        answer=say("429 Too Many Requests", "Retry-After: 86400"),
    ),
    Behaviour(
        name="status-429-for-ages",
        what="429 with a Retry-After of a hundred digits",
        expect=Drop.HTTP_429,
        answer=say("429 Too Many Requests", "Retry-After: " + "9" * 100),
    ),
    Behaviour(
        name="status-429-until-nonsense",
        what="429 with a Retry-After that is neither a number nor a date",
        expect=Drop.HTTP_429,
        answer=say("429 Too Many Requests", "Retry-After: -1, next week"),
    ),
    Behaviour(
        name="status-429",
        what="429 without a Retry-After, every time",
        expect=Drop.HTTP_429,
        answer=say("429 Too Many Requests"),
    ),
    Behaviour(
        name="status-503-then-picture",
        what="503 once, then the picture",
        expect=SAMPLE,
        answer=in_turn(say("503 Service Unavailable"), _GOOD),
    ),
    Behaviour(
        name="status-503-storm",
        what=f"503 for {_STORM} pictures, every time",
        expect=Drop.HTTP_5XX,
        answer=say("503 Service Unavailable"),
        num_urls=_STORM,
    ),
)
