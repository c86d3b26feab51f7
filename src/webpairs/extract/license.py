"""Finding the Creative Commons licence that a page states, and name it.

LAION-400M took, for each image, the last link before it that contained
`creativecommons.org/licenses/`: images above the notice got `?`, public-domain marks and
`<link rel=license>` were never seen, and share buttons that carry such a link in their query
counted. Here the statement belongs to the page, stands anywhere on it, and the surest place wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

Where = Literal["a", "link", "meta", "json-ld"]

NO_LICENSE: Final = "?"
"""LAION's column when a page states none."""

MAX_LICENSE_CHARS: Final = 500
"""A longer link is not a licence (LAION cut at 80 from November 2021 on)."""

HOST: Final = "creativecommons.org"
"""Readers may skip every link that does not contain this (in any case)."""


class LicenseLink(NamedTuple):
    """A link that may be a licence: where it stood, as written, and its `rel`."""

    where: Where
    href: str
    rel: str = ""


class License(NamedTuple):
    """What a page says: the link as it stood, its SPDX-like id if known, and the place."""

    link: str
    id: str | None
    where: Where


# Host by name, not anywhere in the URL; any port of CC's site ("de.creativecommons.org").
_CC: Final = re.compile(
    r"\s*(?:https?:)?(?://)?(?:[a-z0-9\-]+\.)*creativecommons\.org/+"
    r"(?P<kind>licen[sc]es|publicdomain)/+"
    r"(?:(?P<terms>[a-z0-9+\-]+)"
    r"(?:/+(?P<version>[0-9]\.[0-9]))?"
    r"(?:/+(?P<place>[a-z]{2}|igo|scotland)(?=$|[/?#\s\"']))?)?",
    re.IGNORECASE,
)
_TERMS: Final = ("BY", "NC", "ND", "SA")  # the order in SPDX ids; old links have by-nd-nc
_PUBLIC_DOMAIN: Final = {"zero": "CC0", "mark": "PDM"}

_SUREST: Final = {"link": 1, "meta": 3, "json-ld": 4, "a": 5}
_REL_LICENSE_A: Final = 2
_UNNAMED: Final = 6


def find_license(links: Iterable[LicenseLink]) -> License | None:
    """Return the licence that a page states, or None.

    The surest place wins: `<link>`, then `<a rel=license>` (HTML: "the main content of the
    current document is covered by it"), then `<meta>`, then JSON-LD, then any other `<a>`, then a
    link of CC's that names no licence we know; among equals the last, as LAION did, since
    the page's own notice stands in the footer. Links to other hosts than CC's are passed over.
    """
    best: License | None = None
    best_rank = _UNNAMED + 1
    for where, href, rel in links:
        matched = _CC.match(href) if len(href) <= MAX_LICENSE_CHARS else None
        if matched is None:
            continue
        license_id = _id_of(matched)
        if license_id is None:
            rank = _UNNAMED
        elif where == "a" and "license" in rel.lower().split():
            rank = _REL_LICENSE_A
        else:
            rank = _SUREST[where]
        if rank <= best_rank:
            best, best_rank = License(href.strip(), license_id, where), rank
    return best


def license_id(href: str) -> str | None:
    """Return the SPDX-like id of a Creative Commons link, or None.

    `CC-BY-4.0`, `CC-BY-NC-SA-3.0`, with a jurisdiction `CC-BY-3.0-DE`, without a version
    `CC-BY`; `CC0-1.0`, `PDM-1.0` (the public domain mark, which SPDX does not list), `CC-PDDC`.
    Deeds and legal codes in any language are the licence they explain.
    """
    matched = _CC.match(href)
    return None if matched is None else _id_of(matched)


def _id_of(matched: re.Match[str]) -> str | None:
    terms = (matched["terms"] or "").lower()
    version, place = matched["version"], matched["place"]
    if matched["kind"].lower() == "publicdomain":
        if terms == "certification":
            return "CC-PDDC"
        name = _PUBLIC_DOMAIN.get(terms)
        return None if name is None else f"{name}-{version or '1.0'}"
    if terms == "publicdomain":
        return "CC-PDDC"
    named = set(terms.upper().split("-"))
    if not named <= set(_TERMS):
        return None
    parts = ["CC", *(term for term in _TERMS if term in named)]
    if version:
        parts.append(version)
        if place:
            parts.append(place.upper())
    return "-".join(parts)
