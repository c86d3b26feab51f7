"""The pictures of a little web as servers answer for them today, instead of an archive.

All hosts share one port and one server on this machine; `LiveArchive.addresses` says where each
name leads, as a name server would. What only archives know does not occur; what only the live web
knows does: `ONLY_LIVE`.
"""

from __future__ import annotations

import json
import random
from datetime import datetime
from typing import Final

from PIL import Image

from webpairs.demo import image_files
from webpairs.demo.archive import JPEG, Archive
from webpairs.demo.oddities import BROKEN
from webpairs.drops import Drop

SERVER: Final = "127.0.0.1"
"""Where the one server listens."""
NOBODY: Final = "127.0.0.2"
"""Where nothing listens: on Linux all of 127.0.0.0/8 is this machine."""
PRIVATE: Final = "10.0.0.1"
"""An address of somebody's inner network (RFC 1918): no public name should lead there."""
METADATA_SERVICE: Final = "http://169.254.169.254/latest/meta-data/"
"""Where clouds tell a machine its secrets: the usual aim of forged requests."""

ONLY_LIVE: Final = {
    "members-only": Drop.ROBOTS,
    "reserved": Drop.OPTED_OUT_IMAGE,
    "no-such-host": Drop.DNS,
    "closed-port": Drop.CONNECT,
    "redirect-inside": Drop.ADDRESS_FORBIDDEN,
    "private-address": Drop.ADDRESS_FORBIDDEN,
}
"""Pictures that only the live web can withhold, and why they cannot be had."""
LIVE_BROKEN: Final = {
    **BROKEN,
    "missing": Drop.HTTP_4XX,
    "redirect-to-missing": Drop.HTTP_4XX,
    **ONLY_LIVE,
}

_PAGE_HOSTS: Final = (
    "photos.example",
    "www.shapes.example",
    "xn--bcher-kva.example",
    "art.example",
)
_CDN: Final = "cdn.pictures.example"
_BUSY: Final = "busy.example"  # hosts that say "later" have no other pictures, which would wait
_DOWN: Final = "down.example"
_RESERVED: Final = "reserved.example"
_CLOSED: Final = "closed.example"
_INSIDE: Final = "inside.example"
_UNKNOWN: Final = "unknown.example"  # no name server knows it

_ROBOTS_TXT: Final = (
    "# Look-alikes first: other agents and other paths.\n"
    "User-agent: otherbot\n"
    "Disallow: /\n"
    "\n"
    "User-agent: *\n"
    "Disallow: /members/\n"
    "Disallow: /*.html$\n"
)
_TDMREP: Final = [{"location": "/*", "tdm-reservation": 1}]
"""Source: TDM Reservation Protocol, W3C Community Group Final Report, section on tdmrep.json."""


class LiveArchive(Archive):
    """Collecting what servers answer; give pictures URLs on hosts of one port."""

    ways = ("chunked", "redirect", "redirects")
    broken = LIVE_BROKEN
    keeps_captures = False

    def __init__(self, rng: random.Random, port: int) -> None:
        super().__init__(rng)
        self._port = port
        self.hosts = tuple(map(self._origin, _PAGE_HOSTS))
        self.cdn = self._origin(_CDN)
        self.addresses = {
            **dict.fromkeys((*_PAGE_HOSTS, _CDN, _BUSY, _DOWN, _RESERVED), SERVER),
            _CLOSED: NOBODY,
            _INSIDE: PRIVATE,
        }

    def add_site_files(self, date: datetime) -> None:
        """Add what hosts say about all of their pictures; the others say nothing."""
        for host in self.hosts:
            self.answer(f"{host}/robots.txt", date, 200, _ROBOTS_TXT.encode(), "text/plain")
        url = f"{self._origin(_RESERVED)}/.well-known/tdmrep.json"
        self.answer(url, date, 200, json.dumps(_TDMREP).encode(), "application/json")

    def hold_broken(self, page_url: str, page_date: datetime, drawn: Image.Image, name: str) -> str:
        """Add what is left of a picture that is broken in the way `name`, one of `broken`."""
        jpeg = image_files.encode(drawn, "jpeg")
        match name:
            case "too-many-requests":
                url = self._on(_BUSY)
                self.answer(url, page_date, 429, b"<h1>Later, please</h1>", "text/html")
            case "server-error":
                url = self._on(_DOWN)
                self.answer(url, page_date, 503, b"<h1>Out of order</h1>", "text/html")
            case "members-only":
                url = self._rng.choice(self.hosts) + "/members" + self._new_path("jpg")
                self.answer(url, page_date, 200, jpeg, JPEG)
            case "reserved":
                url = self._on(_RESERVED)
                self.answer(url, page_date, 200, jpeg, JPEG)
            case "no-such-host":
                url = self._on(_UNKNOWN)
            case "closed-port":
                url = self._on(_CLOSED)
            case "private-address":
                url = self._on(_INSIDE)
            case "redirect-inside":
                url = self._new_url(page_url, "jpg")
                self._redirect(url, METADATA_SERVICE, page_date)
            case _:
                return super().hold_broken(page_url, page_date, drawn, name)
        return url

    def _origin(self, host: str) -> str:
        return f"http://{host}" if self._port == 80 else f"http://{host}:{self._port}"

    def _on(self, host: str) -> str:
        """Return the URL of a new picture on a host."""
        return self._origin(host) + self._new_path("jpg")
