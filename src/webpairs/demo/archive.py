"""Archive the pictures of a little web: the URLs they have, and what a crawler got there.

An archive holds a picture plainly or in one of its ways: behind redirects, as a revisit, in chunks.
What no build can use it holds too, or lacks. `live.LiveArchive` holds what servers answer today.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import quote, urlsplit

from PIL import Image

from webpairs.demo import image_files
from webpairs.demo.oddities import BROKEN
from webpairs.demo.page import Answer, Revisit, chunked
from webpairs.drops import Drop

JPEG: Final = "image/jpeg"


class Archive:
    """Collection of the answers a crawler got; give pictures their URLs."""

    hosts: Sequence[str] = (
        "http://photos.example",
        "https://www.shapes.example",
        "https://xn--bcher-kva.example",
        "https://art.example:8443",
    )
    """Where the pages are, and pictures beside them."""
    cdn: str = "https://cdn.pictures.example"
    """Where pictures are that are not on their page's own host."""
    ways: Sequence[str] = (
        "chunked",
        "redirect",
        "redirects",
        "revisit",
        "revisit-by-digest",
        "not-modified",
        "resource",
        "other-scheme",
    )
    """How pictures are held, other than plainly."""
    broken: Mapping[str, Drop] = BROKEN
    """Names of pictures that no build can use, and why."""
    keeps_captures: bool = True
    """A URL has as many pictures as it was captured with, each of its date."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._answers: list[Answer] = []
        self._num_urls = 0

    def by_date(self) -> tuple[Answer, ...]:
        """Return all answers in the order of their dates."""
        return tuple(sorted(self._answers, key=lambda answer: (answer.date, answer.url)))

    def add(self, answer: Answer) -> None:
        """Add an answer as it is: a page's."""
        self._answers.append(answer)

    def answer(
        self, url: str, date: datetime, status: int, body: bytes, kind: str,
        *more: tuple[str, str],
    ) -> Answer:  # fmt: skip
        """Add what a server said at a URL: a body of a Content-Type, with `more` headers."""
        size = ("Content-Length", str(len(body)))
        headers = (("Server", "little-web"), ("Content-Type", kind), size, *more)
        answer = Answer(url, date, status, headers, body)
        self._answers.append(answer)
        return answer

    def hold(self, page_url: str, page_date: datetime, body: bytes, kind: str, way: str) -> str:
        """Add a sound picture, captured with its page, in one of `ways` or plainly.

        `kind` is its Content-Type. Returns its URL.
        """
        extension = kind.removeprefix("image/").replace("jpeg", "jpg")
        url = self._new_url(page_url, extension)
        date = self._soon(page_date)
        match way:
            case "redirect":
                target = self._new_url(page_url, extension)
                self._redirect(url, target, date)
                self.answer(target, date, 200, body, kind)
            case "redirects":
                hop, target = (self._new_url(page_url, extension) for _ in range(2))
                self._redirect(url, hop, date)
                self._redirect(hop, target, date)
                self.answer(target, date, 200, body, kind)
            case "revisit" | "revisit-by-digest":
                mirror = self._new_url(page_url, extension)
                original = self.answer(mirror, date - timedelta(days=1), 200, body, kind)
                revisit = Revisit(
                    "identical-payload-digest", original, by_digest_only=way != "revisit"
                )
                self.add(replace(original, url=url, date=date, body=b"", revisit=revisit))
            case "not-modified":
                original = self.answer(url, date - timedelta(days=2), 200, body, kind)
                revisit = Revisit("server-not-modified", original)
                self.add(Answer(url, date, 304, (("Server", "little-web"),), b"", revisit))
            case "resource":
                headers = (("Content-Type", kind),)
                self.add(Answer(url, date, 200, headers, body, is_resource=True))
            case "chunked":
                headers = (("Content-Type", kind), ("Transfer-Encoding", "chunked"))
                self.add(Answer(url, date, 200, headers, chunked(body)))
            case "other-scheme":
                swapped = url.replace("http", "https") if url[4] == ":" else "http" + url[5:]
                self.answer(url if ":8443" in url else swapped, date, 200, body, kind)
            case _:
                self.answer(url, date, 200, body, kind)
        return url

    def hold_broken(self, page_url: str, page_date: datetime, drawn: Image.Image, name: str) -> str:
        """Add what is left of a picture that is broken in the way `name`, one of `broken`.

        Returns its URL.
        """
        jpeg = image_files.encode(drawn, "jpeg")
        url = self._new_url(page_url, "jpg")
        date = self._soon(page_date)
        redirected = self._new_url(page_url, "jpg")
        match name:
            case "missing":
                pass
            case "redirect-to-missing":
                self._redirect(url, redirected, date)
            case "redirect-loop":
                self._redirect(url, redirected, date)
                self._redirect(redirected, url, date)
            case "not-found":
                self.answer(url, date, 404, b"<h1>Not found</h1>", "text/html")
            case "too-many-requests":
                self.answer(url, date, 429, b"<h1>Later, please</h1>", "text/html")
            case "server-error":
                self.answer(url, date, 503, b"<h1>Out of order</h1>", "text/html")
            case "opted-out":
                self.answer(url, date, 200, jpeg, JPEG, ("X-Robots-Tag", "noai, noimageai"))
            case "thumbnail":
                self.answer(url, date, 200, image_files.tiny_jpeg(drawn), JPEG)
            case "empty":
                self.answer(url, date, 200, b"", JPEG)
            case "html":
                page = b"<!DOCTYPE html><title>Please log in</title>" + b"<p>members only</p>" * 400
                self.answer(url, date, 200, page, JPEG)
            case "gif":
                self.answer(url, date, 200, image_files.gif(drawn), JPEG)
            case "truncated-jpeg":
                self.answer(url, date, 200, image_files.truncated(jpeg), JPEG)
            case "truncated-png":
                png = image_files.encode(drawn, "png")
                self.answer(url, date, 200, image_files.truncated(png), "image/png")
            case "scrambled":
                self.answer(url, date, 200, image_files.scrambled_jpeg(jpeg), JPEG)
            case "huge":
                self.answer(url, date, 200, image_files.huge_png(), "image/png")
            case _:
                raise ValueError(f"{name!r} is none of {', '.join(self.broken)}")
        return url

    def _redirect(self, url: str, target: str, date: datetime) -> None:
        location = self._rng.choice(
            (target, urlsplit(target)._replace(scheme="", netloc="").geturl())
        )
        if urlsplit(target)[:2] != urlsplit(url)[:2]:
            location = target
        self.answer(url, date, 301, b"", "text/html", ("Location", location))

    def _soon(self, page_date: datetime) -> datetime:
        """Return a moment shortly after the page was captured."""
        return page_date + timedelta(seconds=self._rng.randint(1, 50))

    def _new_url(self, page_url: str, extension: str) -> str:
        """Return a normalised URL that no picture has: on the page's host or elsewhere."""
        parts = urlsplit(page_url)
        host = self._rng.choice((f"{parts.scheme}://{parts.netloc}",) * 3 + (self.cdn,))
        return host + self._new_path(extension)

    def _new_path(self, extension: str) -> str:
        """Return a normalised path that no picture has on any host."""
        self._num_urls += 1
        number = self._num_urls
        return self._rng.choice(
            (
                f"/pictures/{number}.{extension}",
                f"/pictures/{number}.{extension}",
                f"/2024/05/shapes-{number}.{extension}",
                f"/news/2024/img/{number}-large.{extension}",
                quote(f"/my pictures/{number} (1).{extension}", safe="/()"),
                quote(f"/bilder/größe-{number}.{extension}"),
                f"/resize.php/{number}.{extension}?w=640&id={number}",
            )
        )
