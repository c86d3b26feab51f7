"""Which requests are answered: a website open in the user's browser may not read the datasets.

Three ways lead a stranger's page to a server on this machine, or on a network that the browser is
in. A page asks by a name of its own that it lets point here (DNS rebinding): the Host is then not
one of the server's. It asks by the server's address: browsers say so (`Sec-Fetch-Site`, `Origin`).
It shows what it cannot read, such as pictures: `Cross-Origin-Resource-Policy` forbids it. Programs
that are not browsers send none of these headers, and are answered.

Sources: W3C Fetch Metadata Request Headers; WHATWG Fetch, 3.2 to 3.7.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from webpairs.serve.limits.refusal import BROKEN, FORBIDDEN, MISDIRECTED, Refusal
from webpairs.serve.options import ANY, ServeOptions

PAGES: Final = ("/", "/sample/")
"""Where links of other sites may lead: the page, and its pages of samples."""
PREFLIGHT_S: Final = 86_400
_SAME_ORIGIN: Final = "same-origin"
_TYPED: Final = "none"
"""The user typed the address, or took a bookmark: there is no page that asks, and no Origin."""
_SAME: Final = frozenset((_SAME_ORIGIN, _TYPED))
_HOST: Final = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{0,5})?")
"""RFC 9110, 7.2 and RFC 3986, 3.2: a name or an address, and a port; nobody sends a user."""


class Callers:
    """The hosts that the server answers as, and the origins of pages that may read from it."""

    def __init__(self, options: ServeOptions) -> None:
        self._is_local = options.is_local
        self._any_host = ANY in options.allow_host
        names = {"localhost", *options.allow_host}
        if not options.is_everywhere:
            names.add(options.host)
        if not options.is_local:
            names.add(socket.gethostname())
        self._names = frozenset(_bare(name) for name in names)
        self._any_origin = ANY in options.allow_origin
        self._origins = frozenset(one.lower() for one in options.allow_origin)

    def check(self, method: str, path: str, http_version: str, headers: Headers) -> None:
        """Raise Refusal for a request that a stranger's page may have made."""
        self._check_host(http_version, headers)
        if self.answers_origin(headers):
            return
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        is_own = origin is None or _is_own(origin, headers)
        # Behind a proxy Host may be another than the browser's, which says same-origin then.
        if site == _SAME_ORIGIN or (site in (None, _TYPED) and is_own):
            return
        if site is not None and _is_link(method, path, headers):
            return
        who = repr((origin or headers.get("referer") or "another site")[:200])
        raise Refusal(
            FORBIDDEN,
            f"a page of {who} asks: pages of other origins may read nothing here, unless the "
            "server is started with --allow-origin and theirs",
        )

    def answers_origin(self, headers: Headers) -> bool:
        """Tell whether a page of an allowed origin asks."""
        if self._any_origin:
            return True
        origin = headers.get("origin")
        if origin is None and self._origins and headers.get("sec-fetch-site") not in _SAME:
            # Pictures are asked for without Origin.
            parts = urlsplit(headers.get("referer", ""))
            origin = f"{parts.scheme}://{parts.netloc}"
        return origin is not None and origin.lower() in self._origins

    def headers(self, request: Headers) -> dict[str, str]:
        """Return what an answer says to browsers about who may read it."""
        found = {"cross-origin-resource-policy": "same-origin"}
        if self._origins:
            found["vary"] = "Origin, Sec-Fetch-Site"
        if self.answers_origin(request):
            found["cross-origin-resource-policy"] = "cross-origin"
            origin = request.get("origin")
            if self._any_origin:
                found["access-control-allow-origin"] = "*"
            elif origin is not None:
                found["access-control-allow-origin"] = origin
        return found

    def preflight(self, method: str, headers: Headers) -> Mapping[str, str] | None:
        """Return the answer to a browser that asks whether a page may ask; None: it does not."""
        if method != "OPTIONS" or "access-control-request-method" not in headers:
            return None
        return {
            "access-control-allow-methods": "GET, POST",
            "access-control-allow-headers": "content-type",
            "access-control-max-age": str(PREFLIGHT_S),
        }

    def _check_host(self, http_version: str, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) > 1 or (not hosts and http_version != "1.0"):
            raise Refusal(BROKEN, "a request names its host once, in the header Host")
        is_known = all(
            _HOST.fullmatch(one) and self._knows(_bare(_without_port(one))) for one in hosts
        )
        if not self._any_host and not is_known:
            raise Refusal(
                MISDIRECTED,
                f"this server does not answer as {hosts[0][:200]!r}: ask it by its address, or "
                "start it with --allow-host and that name",
            )

    def _knows(self, name: str) -> bool:
        if name in self._names or name.endswith(".localhost"):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # An address cannot be made to point elsewhere.
        return address.is_loopback or not self._is_local


def _is_own(origin: str, headers: Headers) -> bool:
    """Tell whether an Origin is the server's own, as far as its Host says."""
    parts = urlsplit(origin.lower())
    default = {"http": ":80", "https": ":443"}.get(parts.scheme)
    return default is not None and parts.netloc.removesuffix(default) == headers.get(
        "host", ""
    ).lower().removesuffix(default)


def _is_link(method: str, path: str, headers: Headers) -> bool:
    """Tell whether a link of another site leads the whole window to the page."""
    return (
        method in ("GET", "HEAD")
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
        and (path == PAGES[0] or path.startswith(PAGES[1]))
    )


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host.partition("]")[0][1:]
    return host.partition(":")[0]


def _bare(name: str) -> str:
    return name.lower().removeprefix("[").removesuffix("]").removesuffix(".")
