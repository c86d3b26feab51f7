"""Parts of the URLs that are asked for, and where redirects lead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import can_ada

from webpairs.drops import Drop
from webpairs.errors import DataError


class FetchError(DataError):
    """Why an image was not fetched; `status` and `url` as far as it came."""

    def __init__(
        self, drop: Drop, detail: str = "", status: int | None = None, url: str | None = None
    ) -> None:
        super().__init__(drop, detail)
        self.status = status
        self.url = url
        self.retry_after_s: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return FetchError, (self.drop, self.detail, self.status, self.url)


@dataclass(frozen=True, slots=True)
class Place:
    """A URL in the parts that matter here."""

    url: str
    """Without user and password."""
    origin: str
    host: str
    port: int


def place_of(url: str) -> Place | DataError:
    """Return the parts of a URL, or why nobody asks for it."""
    try:
        parsed = can_ada.parse(url)
    except (ValueError, TypeError):
        return DataError(Drop.PROTOCOL, "not a URL")
    if parsed.protocol not in ("http:", "https:"):
        return DataError(Drop.REDIRECT, f"leads to {parsed.protocol}, neither http: nor https:")
    parsed.username = ""
    parsed.password = ""
    parsed.hash = ""
    port = int(parsed.port) if parsed.port else (443 if parsed.protocol == "https:" else 80)
    host = parsed.hostname
    return Place(parsed.href, f"{parsed.protocol}//{parsed.host}", host, port)


def target_of(place: Place, status: int, location: str | None) -> str:
    """Return where a redirect leads; raise FetchError `redirect` when it is nowhere to go."""
    if not location:
        raise FetchError(Drop.REDIRECT, "no Location", status, place.url)
    try:
        target = can_ada.parse(place.url) + location
    except (ValueError, TypeError) as error:
        raise FetchError(Drop.REDIRECT, "Location is not a URL", status, place.url) from error
    if target.protocol not in ("http:", "https:"):
        detail = f"to {target.protocol}, neither http: nor https:"
        raise FetchError(Drop.REDIRECT, detail, status, place.url)
    return target.href
