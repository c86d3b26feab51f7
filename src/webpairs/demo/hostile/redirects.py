"""Sending visitors on: round in circles, too far, nowhere, or where they must not go."""

from __future__ import annotations

from typing import Final

from webpairs.demo.hostile.behaviour import Answer, Behaviour, Visit, head, say
from webpairs.demo.hostile.images import jpeg
from webpairs.demo.truth import SAMPLE
from webpairs.drops import Drop

_GOOD: Final = say("200 OK", "Content-Type: image/jpeg", body=jpeg)


def _found(location: str) -> Answer:
    return say("302 Found", f"Location: {location}", body=b"moved\n")


def _leads(name: str, what: str, location: str, expect: str) -> Behaviour:
    """Redirect the picture to `location`; whatever path of the host that is holds a picture."""
    return Behaviour(
        name=f"redirect-{name}",
        what=what,
        expect=expect,
        answer=_found(location),
        elsewhere=(("/found.jpg", _GOOD), ("/f%C3%BCnd.jpg", _GOOD), ("/fo%20und.jpg", _GOOD)),
        names=(("private.{host}", ("10.0.0.1",)),),
    )


def _chain(num_redirects: int, expect: str) -> Behaviour:
    async def answer(visit: Visit) -> None:
        step = int(visit.request.path.rpartition("-")[2].removesuffix(".jpg"))
        if step > num_redirects:
            await _GOOD(visit)
        else:
            await _found(f"/picture-{step + 1}.jpg")(visit)

    return Behaviour(
        name=f"redirect-chain-of-{num_redirects}",
        what=f"{num_redirects} redirects, then the picture; 5 are followed",
        expect=expect,
        answer=answer,
    )


async def _by_every_status(visit: Visit) -> None:
    status = (301, 302, 303, 307, 308)[int(visit.request.path[-5]) - 1]
    await say(f"{status} Moved", "Location: /found.jpg")(visit)


async def _endless_body(visit: Visit) -> None:
    await visit.send(head(visit, "302 Found", "Location: /found.jpg", "Transfer-Encoding: chunked"))
    for _ in range(100_000):
        await visit.send(b"10000\r\n" + bytes(0x10000) + b"\r\n")


BEHAVIOURS: Final = (
    Behaviour(
        name="redirect-by-every-status",
        what="301, 302, 303, 307 and 308 to a picture",
        expect=SAMPLE,
        answer=_by_every_status,
        elsewhere=(("/found.jpg", _GOOD),),
        num_urls=5,
    ),
    _leads("relative", "a Location relative to the path", "found.jpg", SAMPLE),
    _leads("with-dots", "a Location that climbs above the root", "../../../found.jpg", SAMPLE),
    _leads("without-scheme", "a Location without a scheme", "//{host}:{port}/found.jpg", SAMPLE),
    _leads("with-fragment", "a Location with a fragment", "/found.jpg#top", SAMPLE),
    _leads("beyond-ascii", "a Location with a UTF-8 letter", "/f\xc3\xbcnd.jpg", SAMPLE),
    _leads("with-space", "a Location with a space", "/fo und.jpg", SAMPLE),
    _leads(
        "with-password",
        "a Location with a user and a password, which are not sent",
        "http://user:secret@{host}:{port}/found.jpg",
        SAMPLE,
    ),
    _chain(5, SAMPLE),
    _chain(6, Drop.REDIRECT),
    _leads("to-itself", "a Location that is the same URL", "/picture-1.jpg", Drop.REDIRECT),
    Behaviour(
        name="redirect-circle",
        what="two URLs that lead to each other",
        expect=Drop.REDIRECT,
        answer=_found("/two.jpg"),
        elsewhere=(("/two.jpg", _found("/picture-1.jpg")),),
    ),
    Behaviour(
        name="redirect-to-ever-new-hosts",
        what="a Location on a new name, and so for ever",
        expect=Drop.REDIRECT,
        answer=_found("http://a.{host}:{port}/picture.jpg"),
        names=tuple(("a." * depth + "{host}", ("127.0.0.1",)) for depth in range(1, 10)),
    ),
    Behaviour(
        name="redirect-without-location",
        what="302 without a Location",
        expect=Drop.REDIRECT,
        answer=say("302 Found", body=b"moved\n"),
    ),
    Behaviour(
        name="redirect-of-many-choices",
        what="300 without a Location",
        expect=Drop.REDIRECT,
        answer=say("300 Multiple Choices", body=b"choose\n"),
    ),
    Behaviour(
        name="redirect-not-modified",
        what="304, though nobody said what they had",
        expect=Drop.REDIRECT,
        answer=say("304 Not Modified"),
    ),
    _leads("to-file", "file:///etc/passwd", "file:///etc/passwd", Drop.REDIRECT),
    _leads("to-ftp", "an FTP server", "ftp://{host}/found.jpg", Drop.REDIRECT),
    _leads(
        "to-gopher",
        "gopher, which can speak any protocol",
        "gopher://{host}:{port}/_GET",
        Drop.REDIRECT,
    ),
    _leads("to-javascript", "javascript:", "javascript:alert(1)", Drop.REDIRECT),
    _leads("to-data", "a data: URL", "data:image/png;base64,iVBORw0KGgo=", Drop.REDIRECT),
    _leads("to-bad-url", "a URL with an impossible port", "http://{host}:99999/", Drop.REDIRECT),
    _leads("to-binary", "bytes that are not a name", "http://\xff\xfe\x80/", Drop.REDIRECT),
    _leads("too-long", "a Location of 20,000 characters", "/" + "a" * 20_000, Drop.REDIRECT),
    _leads("to-unknown-name", "a name that does not exist", "http://no.{host}:{port}/", Drop.DNS),
    *(
        _leads(name, what, location, Drop.ADDRESS_FORBIDDEN)
        for name, what, location in (
            ("to-loopback", "127.0.0.2", "http://127.0.0.2:{port}/found.jpg"),
            ("to-decimal", "127.0.0.2 as a number", "http://2130706434:{port}/found.jpg"),
            ("to-v6", "the machine itself, in IPv6", "http://[::1]:{port}/found.jpg"),
            ("to-mapped", "127.0.0.2 within IPv6", "//[::ffff:127.0.0.2]:{port}/found.jpg"),
            ("to-unspecified", "0.0.0.0", "http://0.0.0.0:{port}/found.jpg"),
            ("to-metadata", "a cloud's metadata service", "http://169.254.169.254/latest/"),
            ("to-private-name", "a name in a private network", "http://private.{host}:{port}/"),
        )
    ),
    Behaviour(
        name="redirect-with-endless-body",
        what="a redirect whose own body does not end; only its head matters",
        expect=SAMPLE,
        answer=_endless_body,
        elsewhere=(("/found.jpg", _GOOD),),
    ),
)
