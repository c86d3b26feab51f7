"""Listing everything the hostile web does: the one table that the server, tests and docs read."""

from __future__ import annotations

from typing import Final

from webpairs.demo.hostile import (
    addresses,
    certificates,
    codings,
    floods,
    framing,
    images,
    manners,
    redirects,
    statuses,
)
from webpairs.demo.hostile.behaviour import Behaviour

THEMES: Final[dict[str, tuple[Behaviour, ...]]] = {
    "Addresses": addresses.BEHAVIOURS,
    "Certificates": certificates.BEHAVIOURS,
    "Too much, too slow, gone": floods.BEHAVIOURS,
    "Heads, lengths, chunks": framing.BEHAVIOURS,
    "Content codings": codings.BEHAVIOURS,
    "Statuses": statuses.BEHAVIOURS,
    "Redirects": redirects.BEHAVIOURS,
    "Manners": manners.BEHAVIOURS,
    "Files": images.BEHAVIOURS,
}

BEHAVIOURS: Final = tuple(one for theme in THEMES.values() for one in theme)
