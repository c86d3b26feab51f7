"""Read the opt-outs that a page or an image answer carries: robots directives and TDM reservation.

`DIRECTIVES` is the one table of what counts, with the source of each; `docs/optout.md` explains
it. Extract marks pages with these, dedupe drops what is marked, obtain asks again of the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

DIRECTIVES: Final = {
    # Said to datasets and models.
    "noai": "DeviantArt, A New Directive for Opting Out of AI Datasets, November 2022",
    "noimageai": "DeviantArt, A New Directive for Opting Out of AI Datasets, November 2022",
    "noml": "noml.info, open letter of Mojeek and others, 2023",
    # Said to indexes of images: a dataset that people search is one.
    "noimageindex": "Google, Robots meta tag and X-Robots-Tag specifications; img2dataset's list",
    "none": "Google, ibid.: equals noindex, nofollow",
    "noindex": "Google, ibid.; img2dataset's list",
}
"""Robots directives that are an opt-out, the most outspoken first, and where each is defined."""

TDM_RESERVATION: Final = "tdm-reservation"
"""Header and meta name; 1 reserves the rights of text and data mining, 0 does not.

Source: TDM Reservation Protocol, W3C Community Group Final Report, section on HTTP headers and
HTML metadata; Directive (EU) 2019/790, article 4(3).
"""

AGENTS: Final = frozenset(("webpairs", "ccbot"))
"""Names we answer to beside `robots`: our own, and the crawler's whose files we read. What is said
to another agent alone ("googlebot: noindex") is not said to us."""

META_NAMES: Final = frozenset(("robots", TDM_RESERVATION, *AGENTS))
"""Names of `<meta>` that matter here, in small letters; readers may skip all others."""

HEADER_NAMES: Final = frozenset(("x-robots-tag", TDM_RESERVATION))
"""Names of response headers that matter here, in small letters."""

_RANK: Final = {directive: rank for rank, directive in enumerate(DIRECTIVES)}
_TDM_RANK: Final = _RANK["noimageindex"] - 0.5  # as outspoken as the first group

# Rules that carry a value after a colon and so look like an agent's name (Google, ibid.).
_VALUED: Final = frozenset(
    ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")
)
_AGENT: Final = re.compile(r"\s*([a-z0-9_.*/\-]+)\s*:(.*)", re.DOTALL)
_SEPARATOR: Final = re.compile(r"[,;]")


def opt_out_of(
    x_robots_tags: Iterable[str],
    metas: Iterable[tuple[str, str]] = (),
    tdm_reservations: Iterable[str] = (),
) -> str | None:
    """Return the name of the most outspoken opt-out signal, or None.

    `x_robots_tags` and `tdm_reservations` are the values of those response headers, `metas` pairs
    of name and content of `<meta>` elements. Names are `x-robots-tag:noimageai`,
    `robots-meta:noai`, `tdm-reservation-header`, `tdm-reservation-meta`. Never raises.
    """
    found: list[tuple[float, str]] = []
    for value in x_robots_tags:
        found += [(_RANK[d], f"x-robots-tag:{d}") for d in _header_directives(value)]
    for value in tdm_reservations:
        if value.strip() == "1":
            found.append((_TDM_RANK, "tdm-reservation-header"))
    for name, content in metas:
        name = name.strip().lower()
        if name == TDM_RESERVATION:
            if content.strip() == "1":
                found.append((_TDM_RANK, "tdm-reservation-meta"))
        elif name == "robots" or name in AGENTS:
            words = re.split(r"[,;\s]+", content.lower())
            found += [(_RANK[word], f"robots-meta:{word}") for word in words if word in _RANK]
    # Of equals the header, which came first, is named: min keeps the first.
    return min(found, key=lambda ranked: ranked[0])[1] if found else None


def _header_directives(value: str) -> list[str]:
    """Return the directives of an X-Robots-Tag value that are said to us.

    An agent's name holds for the rules after it, to the end of the value or the next name.
    """
    directives: list[str] = []
    ours = True
    for part in _SEPARATOR.split(value.lower()):
        named = _AGENT.match(part)
        if named is not None:
            if named[1] in _VALUED:
                continue
            ours = named[1] == "*" or named[1] in AGENTS
            part = named[2]
        if ours:
            directives += [word for word in part.split() if word in _RANK]
    return directives
