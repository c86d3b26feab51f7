"""Refusals, in every way that a site can; and attempts to make a visitor leave something."""

from __future__ import annotations

from typing import Final

from webpairs.demo.hostile.behaviour import NOT_FOUND, Answer, Behaviour, Bytes, Visit, head, say
from webpairs.demo.hostile.images import html, jpeg
from webpairs.demo.truth import SAMPLE
from webpairs.drops import Drop

_GOOD: Final = say("200 OK", "Content-Type: image/jpeg", body=jpeg)
_FORBIDS: Final = b"User-agent: *\nDisallow: /\n"


def _padding() -> bytes:
    return b"# nothing to see here\n" * 480_000


def _robots(name: str, what: str, expect: str, answer: Answer) -> Behaviour:
    return Behaviour(
        name=f"robots-{name}",
        what=f"robots.txt {what}",
        expect=expect,
        answer=_GOOD,
        elsewhere=(("/robots.txt", answer),),
    )


def _rules(name: str, what: str, expect: str, rules: Bytes) -> Behaviour:
    return _robots(name, what, expect, say("200 OK", "Content-Type: text/plain", body=rules))


def _reserved(name: str, what: str, expect: str, file: bytes) -> Behaviour:
    found = say("200 OK", "Content-Type: application/json", body=file)
    return Behaviour(
        name=name,
        what=what,
        expect=expect,
        answer=_GOOD,
        elsewhere=(("/.well-known/tdmrep.json", found),),
    )


def _header(name: str, header: str, expect: str) -> Behaviour:
    return Behaviour(
        name=name,
        what=f"`{header}` on the image",
        expect=expect,
        answer=say("200 OK", "Content-Type: image/jpeg", header, body=jpeg),
    )


async def _never(visit: Visit) -> None:
    await visit.say_nothing()


async def _trickle(visit: Visit) -> None:
    await visit.send(head(visit, "200 OK", "Content-Type: text/plain", "Content-Length: 5000"))
    await visit.send_slowly(b"#" * 5000)


async def _closes(visit: Visit) -> None:
    await visit.send(b"")


def _moved(location: str) -> Answer:
    return say("301 Moved Permanently", f"Location: {location}")


BEHAVIOURS: Final = (
    _rules("forbids", "forbids everything to everybody", Drop.ROBOTS, _FORBIDS),
    _rules(
        "forbids-us",
        "forbids everything to us alone",
        Drop.ROBOTS,
        b"User-agent: *\nAllow: /\n\nUser-agent: WebPairs\nDisallow: /\n",
    ),
    _rules(
        "forbids-others",
        "forbids everything to another robot",
        SAMPLE,
        b"User-agent: otherbot\nDisallow: /\n",
    ),
    _rules(
        "forbids-elsewhere",
        "forbids another folder",
        SAMPLE,
        b"User-agent: *\nDisallow: /private/\n",
    ),
    _robots("not-found", "is not there", SAMPLE, NOT_FOUND),
    _robots("denied", "is 403: no rules (RFC 9309, 2.3.1.3)", SAMPLE, say("403 Forbidden")),
    _robots("broken", "is 500: nothing is allowed", Drop.ROBOTS, say("500 Oops")),
    _robots("hangs", "never answers: nothing is allowed", Drop.ROBOTS, _never),
    _robots("trickles", "comes at ten bytes a second: nothing is allowed", Drop.ROBOTS, _trickle),
    _robots("hangs-up", "is a closed connection: nothing is allowed", Drop.ROBOTS, _closes),
    _robots(
        "circle",
        "leads to itself: none (RFC 9309, 2.3.1.2)",
        SAMPLE,
        _moved("/robots.txt"),
    ),
    Behaviour(
        name="robots-moved",
        what="robots.txt leads to a file that forbids everything",
        expect=Drop.ROBOTS,
        answer=_GOOD,
        elsewhere=(("/robots.txt", _moved("/rules.txt")), ("/rules.txt", say(body=_FORBIDS))),
    ),
    _robots(
        "to-loopback",
        "leads to an address that must not be asked",
        Drop.ADDRESS_FORBIDDEN,
        _moved("http://127.0.0.2:{port}/robots.txt"),
    ),
    _rules(
        "of-10-mb",
        "forbids everything and goes on for 10 MB",
        Drop.ROBOTS,
        lambda: _FORBIDS + _padding(),
    ),
    _rules(
        "of-10-mb-then-forbids",
        "forbids everything behind 10 MB: only the beginning is read (RFC 9309, 2.5)",
        SAMPLE,
        lambda: _padding() + _FORBIDS,
    ),
    _robots("is-html", "is a page", SAMPLE, say("200 OK", "Content-Type: text/html", body=html)),
    _rules("is-binary", "is random bytes", SAMPLE, bytes(range(256)) * 40),
    _rules(
        "signals-no-training",
        "allows everything, with `Content-Signal: search=yes,ai-train=no`",
        Drop.OPTED_OUT_IMAGE,
        b"User-agent: *\nContent-Signal: search=yes,ai-train=no\nAllow: /\n",
    ),
    _rules(
        "refuses-training",
        "allows everything, with `Content-Usage: /picture train-ai=n`",
        Drop.OPTED_OUT_IMAGE,
        b"User-agent: *\nContent-Usage: /picture train-ai=n\nAllow: /\n",
    ),
    _rules(
        "refuses-training-elsewhere",
        "allows everything, with `Content-Usage: /private/ train-ai=n`",
        SAMPLE,
        b"User-agent: *\nContent-Usage: /private/ train-ai=n\nAllow: /\n",
    ),
    Behaviour(
        name="robots-forbids-where-redirect-leads",
        what="robots.txt allows the URL and forbids the one that it redirects to",
        expect=Drop.ROBOTS,
        answer=_moved("/private/picture.jpg"),
        elsewhere=(
            ("/robots.txt", say(body=b"User-agent: *\nDisallow: /private/\n")),
            ("/private/picture.jpg", _GOOD),
        ),
    ),
    _reserved(
        "tdmrep-reserves",
        "/.well-known/tdmrep.json reserves every path",
        Drop.OPTED_OUT_IMAGE,
        b'[{"location": "/", "tdm-reservation": 1}]',
    ),
    _reserved(
        "tdmrep-reserves-elsewhere",
        "/.well-known/tdmrep.json reserves another folder",
        SAMPLE,
        b'[{"location": "/private/", "tdm-reservation": 1}]',
    ),
    _reserved("tdmrep-is-no-json", "/.well-known/tdmrep.json is not JSON", SAMPLE, b"[{" * 40_000),
    _header("header-noai", "X-Robots-Tag: noai", Drop.OPTED_OUT_IMAGE),
    _header("header-noimageai", "X-Robots-Tag: noimageai", Drop.OPTED_OUT_IMAGE),
    _header("header-noindex", "X-Robots-Tag: noindex", Drop.OPTED_OUT_IMAGE),
    _header("header-noai-to-us", "X-Robots-Tag: webpairs: noai", Drop.OPTED_OUT_IMAGE),
    _header("header-noai-to-others", "X-Robots-Tag: otherbot: noai", SAMPLE),
    _header("header-tdm-reserved", "tdm-reservation: 1", Drop.OPTED_OUT_IMAGE),
    _header("header-tdm-free", "tdm-reservation: 0", SAMPLE),
    _header("header-no-training", "Content-Usage: train-ai=n", Drop.OPTED_OUT_IMAGE),
    _header("header-training-free", "Content-Usage: train-ai=y", SAMPLE),
    _header("header-usage-is-no-dictionary", "Content-Usage: train-ai=n;;", SAMPLE),
    Behaviour(
        name="cookies",
        what="sets cookies with a redirect; none may come back",
        expect=SAMPLE,
        answer=say(
            "302 Found",
            "Location: /found.jpg",
            "Set-Cookie: id=7; Path=/",
            "Set-Cookie: all=7; Domain=hostile.example; Path=/",
        ),
        elsewhere=(("/found.jpg", _GOOD),),
        num_urls=2,
    ),
    Behaviour(
        name="asks-for-password",
        what="401 with challenges of three kinds; nobody logs in",
        expect=Drop.HTTP_4XX,
        answer=say(
            "401 Unauthorized",
            'WWW-Authenticate: Basic realm="photos"',
            'WWW-Authenticate: Digest realm="photos", nonce="7", qop="auth"',
            "WWW-Authenticate: Negotiate",
        ),
    ),
    Behaviour(
        name="password-in-url",
        what="a user and a password in the URL, which are not sent",
        expect=SAMPLE,
        answer=_GOOD,
        url="http://user:secret@{host}:{port}/picture-{n}.jpg",
    ),
    Behaviour(
        name="alternative-service",
        what="says by Alt-Svc that it is better asked elsewhere",
        expect=SAMPLE,
        answer=say(
            "200 OK",
            'Alt-Svc: h2="127.0.0.2:{port}"; ma=86400, http/1.1="127.0.0.2:{port}"; ma=86400',
            "Strict-Transport-Security: max-age=86400; includeSubDomains",
            body=jpeg,
        ),
        num_urls=3,
    ),
)
