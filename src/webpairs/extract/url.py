"""Making the URLs of pages and images absolute, comparable and safe to store.

All parsing is WHATWG parsing (https://url.spec.whatwg.org/), as browsers do it, by ada through
can_ada. Measured on one core: 0.5 us a parse, against 2.6 to 5 us through ada-url's Python layer;
a regular expression that proves a URL already normal costs as much as the parse it would save,
so every URL takes the same path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import can_ada

from webpairs.url_user import without_user

MAX_URL_CHARS: Final = 8190
"""Longer URLs are invalid to us: the longest request line Apache takes (LimitRequestLine)."""

UNWANTED_SUFFIXES: Final = (".svg", ".svgz", ".gif", ".ico")
"""Kinds of pictures that are drawings, animations or icons (LAION-400M's list, by path only)."""

_C0_OR_SPACE: Final = "".join(map(chr, range(0x21)))
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_HOST_ONLY: Final = re.compile(r"(?:[A-Za-z]+:)?[/\\]{2}[^/\\]*")
_TAB_OR_NEWLINE: Final = str.maketrans("", "", "\t\n\r")
_WWW: Final = re.compile(r"www[0-9]*\.")
_HTTP: Final = ("http://", "https://")


def normalise_url(url: str) -> str | None:
    """Return the WHATWG serialisation of an absolute http(s) URL, or None.

    Without its fragment, user and password.
    """
    if len(url) > MAX_URL_CHARS:
        return None
    try:
        return _http_href(can_ada.parse(url))
    except (ValueError, TypeError):  # TypeError: a lone surrogate
        return None


def join_url(base: str | None, page_url: str, src: str) -> str | None:
    """Return the normalised URL that a browser on the page would fetch for `src`, or None.

    `base` is `<base href>` as written; it may itself be relative to the page. An empty `src` is
    no URL (HTML, "update the image data"), nor is one that leads elsewhere than http(s).
    """
    return join_urls(base, page_url, (src,))[0]


def join_urls(base: str | None, page_url: str, sources: Iterable[str]) -> list[str | None]:
    """Join each of a page's `sources` as `join_url` does, parsing the base once."""
    document = _document_base(base, page_url)
    urls: list[str | None] = []
    add = urls.append
    for src in sources:
        try:
            href = str(can_ada.parse(src) if document is None else document + src)
        except (ValueError, TypeError):
            add(None)
            continue
        if "#" in href:  # a serialised URL has no other # than the fragment's
            href = href.partition("#")[0]
        if "@" in href:
            href = without_user(href)
        if not href.startswith(_HTTP) or len(href) > MAX_URL_CHARS or not src or src.isspace():
            add(None)
        else:
            add(href)
    return urls


def _document_base(base: str | None, page_url: str) -> can_ada.URL | None:
    """Return the document base URL (HTML, "document base URL"), None when there is none.

    A base that cannot be parsed, or that is a data: or javascript: URL, is as if it were not there.
    """
    try:
        page = can_ada.parse(page_url)
    except (ValueError, TypeError):
        page = None
    if base is None or len(base) > MAX_URL_CHARS:
        return page
    try:
        document = can_ada.parse(base) if page is None else page + base
    except (ValueError, TypeError):
        return page
    return page if document.protocol in ("data:", "javascript:") else document


def _http_href(url: can_ada.URL) -> str | None:
    href = without_user(str(url).partition("#")[0])
    return href if href.startswith(_HTTP) and len(href) <= MAX_URL_CHARS else None


def is_unwanted(src: str) -> bool:
    """Say whether an image source, as written, cannot be or is not worth a candidate.

    True for schemes other than http(s) (data:, javascript:, mailto:, blob:, about: ...) and for
    the suffixes in `UNWANTED_SUFFIXES`, any case, at the end of the *path*: unlike LAION, which
    looked anywhere in the URL, `a.gif.jpg` and `a.jpg?x=.gif` are wanted.
    """
    # Fast path, no change of meaning: nothing to strip, a plain http(s) or relative source.
    if "\t" in src or "\n" in src or "\r" in src:  # the URL parser removes them wherever they are
        src = src.translate(_TAB_OR_NEWLINE)
    if src[:1] <= " " or src[-1:] <= " ":
        src = src.strip(_C0_OR_SPACE)
    if not src.startswith(_HTTP):
        scheme = _SCHEME.match(src)
        if scheme is not None and scheme[1].lower() not in ("http", "https"):
            return True
    path = src
    if "#" in path:
        path = path.partition("#")[0]
    if "?" in path:
        path = path.partition("?")[0]
    return path[-5:].lower().endswith(UNWANTED_SUFFIXES) and not _HOST_ONLY.fullmatch(path)


def surt_key(url: str) -> str:
    """Return the key under which URLs that differ in scheme, `www` or port default are one.

    Host labels reversed and joined by commas, `www`, `www2` ... cut off, then the port unless it
    is the scheme's default, then `)`, path and query: `http://www.a.com/x?y` is `com,a)/x?y`.
    An IPv4 or IPv6 host stays as it is. Expects a normalised URL; other text is returned as it
    is. Source: SURT, as the Wayback Machine's indexes use it (internetarchive/surt).
    """
    if not url.startswith(_HTTP):
        return url
    rest = url.partition("://")[2]
    cut = min((i for i in (rest.find("/"), rest.find("?")) if i >= 0), default=len(rest))
    authority, path = rest[:cut], rest[cut:] or "/"
    authority = authority.rpartition("@")[2]
    host, colon, port = authority.rpartition(":")
    if not colon or "]" in port:
        host, port = authority, ""
    if not (host.startswith("[") or host.replace(".", "").isdigit()):
        # A www in front of a bare suffix ("www.com") is the site's own name and stays.
        bare = _WWW.sub("", host, count=1) if _WWW.match(host) else host
        host = ",".join(reversed((bare if "." in bare else host).split(".")))
    return f"{host}:{port}){path}" if port else f"{host}){path}"
