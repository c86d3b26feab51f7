"""Read the opt-outs that a page or an image answer carries: robots directives, TDM reservation and
usage preferences.

`DIRECTIVES` and `USAGES` are the tables of what counts, with the source of each; `docs/optout.md`
explains them. Extract marks pages with these, dedupe drops what is marked, obtain asks again of
the image.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import http_sf

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

CONTENT_USAGE: Final = "content-usage"
"""Header, and rule in robots.txt: a dictionary of usages, `y` or `n` each.

Source: IETF draft-ietf-aipref-attach-05, sections on the header field and on robots.txt.
"""

USAGES: Final = {
    "train-ai": "IETF, draft-ietf-aipref-vocab-08: training of models",
    "train-genai": "IETF, draft-ietf-aipref-vocab-03: training of generative models",
    "search": "IETF, draft-ietf-aipref-vocab-08: search applications; a dataset that people search",
}
"""Usages whose `n` is an opt-out, the most outspoken first, and where each is defined."""

AGENTS: Final = frozenset(("webpairs", "ccbot"))
"""Names we answer to beside `robots`: our own, and the crawler's whose files we read. What is said
to another agent alone ("googlebot: noindex") is not said to us."""

META_NAMES: Final = frozenset(("robots", TDM_RESERVATION, *AGENTS))
"""Names of `<meta>` that matter here, in small letters; readers may skip all others."""

HEADER_NAMES: Final = frozenset(("x-robots-tag", TDM_RESERVATION, CONTENT_USAGE))
"""Names of response headers that matter here, in small letters."""

_RANK: Final = {directive: rank for rank, directive in enumerate(DIRECTIVES)}
_TDM_RANK: Final = _RANK["noimageindex"] - 0.5  # as outspoken as the first group
_USAGE_RANK: Final = {"train-ai": -1.0, "train-genai": -0.5, "search": len(_RANK)}

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
    content_usages: Iterable[str] = (),
) -> str | None:
    """Return the name of the most outspoken opt-out signal, or None.

    `x_robots_tags`, `tdm_reservations` and `content_usages` are the values of those response
    headers, `metas` pairs of name and content of `<meta>` elements. Names are
    `x-robots-tag:noimageai`, `robots-meta:noai`, `tdm-reservation-header`, `tdm-reservation-meta`,
    `content-usage:train-ai`. Never raises.
    """
    found: list[tuple[float, str]] = []
    for value in x_robots_tags:
        found += [(_RANK[d], f"x-robots-tag:{d}") for d in _header_directives(value)]
    for value in tdm_reservations:
        if value.strip() == "1":
            found.append((_TDM_RANK, "tdm-reservation-header"))
    refused = usages_refused(", ".join(content_usages))
    found += [(_USAGE_RANK[usage], f"content-usage:{usage}") for usage in refused]
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


def usages_refused(value: str) -> list[str]:
    """Return the `USAGES` that a Content-Usage value says `n` to.

    A value that is not a dictionary (RFC 9651) says nothing: draft-ietf-aipref-vocab-08, section on
    processing. Never raises.
    """
    if "n" not in value:
        return []
    try:
        said = http_sf.parse(value.encode(errors="replace"), tltype="dictionary")
    except ValueError:
        return []
    assert isinstance(said, dict)
    return [usage for usage in USAGES if _is_n(said.get(usage))]


def _is_n(member: object) -> bool:
    """Say whether a member, (value, parameters), is the token `n`."""
    match member:
        case (http_sf.Token() as value, _):
            return str(value) == "n"
        case _:
            return False


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
