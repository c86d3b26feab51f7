"""Pages of the little web: what stands on them, and how a server sends it."""

from __future__ import annotations

import gzip
import html
import json
import zlib
from dataclasses import dataclass
from datetime import datetime
from html.entities import codepoint2name
from typing import Final

import brotli

CHARSETS: Final = (
    ("utf-8", "header"),
    ("utf-8", "meta"),
    ("windows-1252", "header"),
    ("utf-8", "bom"),
    ("iso-8859-15", "http-equiv"),
    ("utf-16-le", "bom"),
)
"""What a page is encoded in, and where it says so."""

TRANSFERS: Final = ("plain", "gzip", "chunked", "br", "deflate", "gzip+chunked")
"""How a page travels: its Content-Encoding and Transfer-Encoding."""

_REASONS: Final = {
    200: "OK",
    301: "Moved Permanently",
    304: "Not Modified",
    404: "Not Found",
    429: "Too Many Requests",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Revisit:
    """Which earlier answer a crawler found again (WARC 1.1, 6.7)."""

    profile: str
    """`identical-payload-digest` or `server-not-modified`."""
    of: Answer
    by_digest_only: bool = False
    """Leave WARC-Refers-To-* out, as older crawlers did."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a crawler got for one request."""

    url: str
    date: datetime
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    """As it travelled: compressed, in chunks; empty for a revisit."""
    revisit: Revisit | None = None
    is_resource: bool = False
    """The archive holds the bytes alone, without the HTTP answer (WARC 1.1, 6.4)."""
    page: WebPage | None = None

    @property
    def message(self) -> bytes:
        """Return the whole HTTP/1.1 message, as it travelled."""
        head = f"HTTP/1.1 {self.status} {_REASONS[self.status]}\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in self.headers
        )
        return f"{head}\r\n".encode() + self.body


@dataclass(frozen=True, slots=True)
class Img:
    """An `<img>`: its attributes as a parser returns them, alt None when absent."""

    src: str
    alt: str | None


@dataclass(frozen=True, slots=True)
class Licence:
    """The licence that a page puts its pictures under, and where it says so."""

    spdx: str
    where: str
    """`a`, `link`, `meta` or `json-ld`."""
    url: str
    rel: str | None = "license"


@dataclass(frozen=True, slots=True)
class OptOut:
    """How a page asks not to be used: a signal in its head or in its HTTP headers."""

    where: str
    """`meta` or `header`."""
    name: str
    value: str
    signal: str = ""
    """How a build names it; empty for a look-alike that opts nothing out."""


@dataclass(frozen=True, slots=True)
class WebPage:
    """A page as its author wrote it."""

    url: str
    date: datetime
    title: str
    base: str | None
    images: tuple[Img, ...]
    licence: Licence | None
    signals: tuple[OptOut, ...]
    """Opt-outs, and look-alikes that are none."""
    charset: tuple[str, str]
    transfer: str
    with_entities: bool
    """Write é as `&eacute;` and a no-break space as `&nbsp;`."""

    def metas(self) -> list[tuple[str, str]]:
        """Return name and content of the page's `<meta>`s."""
        metas = [("description", f"{self.title} and more pictures")]
        metas += [(s.name, s.value) for s in self.signals if s.where == "meta"]
        if self.licence is not None and self.licence.where == "meta":
            metas.append(("dcterms.license", self.licence.url))
        return metas

    def links(self) -> list[tuple[str, str]]:
        """Return rel and href of the page's `<link>`s."""
        links = [("stylesheet", "/style.css")]
        if self.licence is not None and self.licence.where == "link":
            links.append((self.licence.rel or "license", self.licence.url))
        return links

    def anchors(self) -> list[tuple[str, str | None, str]]:
        """Return href, rel and text of the links at the page's foot."""
        anchors: list[tuple[str, str | None, str]] = [("/", None, "Home")]
        if self.licence is not None and self.licence.where == "a":
            anchors.append((self.licence.url, self.licence.rel, "Some rights reserved"))
        return anchors

    def html(self) -> str:
        """Return the page's source."""
        escape = self._escape
        charset, where = self.charset
        head = [f"<title>{escape(self.title)}</title>"]
        if where == "meta":
            head.insert(0, f'<meta charset="{charset}">')
        elif where == "http-equiv":
            head.insert(
                0, f'<meta http-equiv="Content-Type" content="text/html; charset={charset}">'
            )
        if self.base is not None:
            head.append(f'<base href="{escape(self.base)}">')
        head += [f'<meta name="{name}" content="{escape(text)}">' for name, text in self.metas()]
        head += [f'<link rel="{rel}" href="{escape(href)}">' for rel, href in self.links()]
        if self.licence is not None and self.licence.where == "json-ld":
            data = {"@context": "https://schema.org", "@type": "WebPage"}
            data |= {"name": self.title, "license": self.licence.url}
            head.append(f'<script type="application/ld+json">{json.dumps(data)}</script>')
        body = [f"<h1>{escape(self.title)}</h1>"]
        for img in self.images:
            alt = "" if img.alt is None else f' alt="{escape(img.alt)}"'
            body.append(f'<p><img src="{escape(img.src)}"{alt}></p>')
        body.append("<footer>")
        for href, rel, text in self.anchors():
            how = f' rel="{rel}"' if rel else ""
            body.append(f'<a href="{escape(href)}"{how}>{escape(text)}</a>')
        body.append("</footer>")
        return "\n".join(
            (
                "<!DOCTYPE html>",
                '<html lang="en">',
                "<head>",
                *head,
                "</head>",
                "<body>",
                *body,
                "</body>",
                "</html>",
                "",
            )
        )

    def answer(self) -> Answer:
        """Return the page as its server sends it."""
        charset, where = self.charset
        body = self.html().encode(charset, "xmlcharrefreplace")
        if where == "bom":
            body = "\ufeff".encode(charset) + body
        kind = f"text/html; charset={charset}" if where == "header" else "text/html"
        headers = [("Server", "little-web"), ("Content-Type", kind)]
        headers += [(s.name, s.value) for s in self.signals if s.where == "header"]
        for step in self.transfer.split("+"):
            match step:
                case "gzip":
                    body = gzip.compress(body, 6, mtime=0)
                case "br":
                    body = brotli.compress(body, quality=4)
                case "deflate":
                    body = zlib.compress(body, 6)
                case _:
                    continue
            headers.append(("Content-Encoding", step))
        if self.transfer.endswith("chunked"):
            body = chunked(body)
            headers.append(("Transfer-Encoding", "chunked"))
        else:
            headers.append(("Content-Length", str(len(body))))
        return Answer(self.url, self.date, 200, tuple(headers), body, page=self)

    def _escape(self, text: str) -> str:
        escaped = html.escape(text)
        if not self.with_entities:
            return escaped
        return "".join(
            f"&{codepoint2name[ord(c)]};" if ord(c) > 127 and ord(c) in codepoint2name else c
            for c in escaped
        )


def chunked(body: bytes, size: int = 4_096) -> bytes:
    """Return a body in the chunks of HTTP/1.1 (RFC 9112, 7.1)."""
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
