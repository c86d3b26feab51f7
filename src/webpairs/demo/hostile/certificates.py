"""Get TLS wrong; most of it only where the server was given certificates to get it wrong with."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

from webpairs.demo.hostile.behaviour import Behaviour, raw, say
from webpairs.demo.hostile.images import jpeg
from webpairs.demo.truth import SAMPLE
from webpairs.drops import Drop

_GOOD: Final = say("200 OK", "Content-Type: image/jpeg", body=jpeg)
_URL: Final = "https://{host}:{tls_port}/picture-{n}.jpg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """The server's side of TLS, once right and three times wrong, for `*.hostile.example`."""

    good: ssl.SSLContext
    expired: ssl.SSLContext
    self_signed: ssl.SSLContext
    wrong_host: ssl.SSLContext

    def of(self, name: str | None) -> ssl.SSLContext:
        """Return the context of a behaviour's `certificate`."""
        match name:
            case "expired":
                return self.expired
            case "self_signed":
                return self.self_signed
            case "wrong_host":
                return self.wrong_host
            case _:
                return self.good


BEHAVIOURS: Final = (
    Behaviour(
        name="tls-good",
        what="a good certificate",
        expect=SAMPLE,
        answer=_GOOD,
        url=_URL,
        certificate="good",
    ),
    Behaviour(
        name="tls-expired",
        what="a certificate that has expired",
        expect=Drop.TLS,
        answer=_GOOD,
        url=_URL,
        certificate="expired",
    ),
    Behaviour(
        name="tls-self-signed",
        what="a certificate that nobody vouches for",
        expect=Drop.TLS,
        answer=_GOOD,
        url=_URL,
        certificate="self_signed",
    ),
    Behaviour(
        name="tls-wrong-host",
        what="the certificate of another host",
        expect=Drop.TLS,
        answer=_GOOD,
        url=_URL,
        certificate="wrong_host",
    ),
    Behaviour(
        name="tls-redirect-to-plain",
        what="a redirect from https to http",
        expect=SAMPLE,
        answer=say("302 Found", "Location: http://{host}:{port}/found.jpg"),
        elsewhere=(("/found.jpg", _GOOD),),
        url=_URL,
        certificate="good",
    ),
    Behaviour(
        name="tls-port-speaks-plain",
        what="https at a port that speaks HTTP without TLS",
        expect=Drop.TLS,
        answer=_GOOD,
        url="https://{host}:{port}/picture-{n}.jpg",
    ),
    Behaviour(
        name="tls-port-hangs-up",
        what="https at a port that closes the connection",
        expect=Drop.TLS,
        answer=raw(b""),
        url="https://{host}:{hangup_port}/picture-{n}.jpg",
    ),
)
