"""Decide whether an image may be taken: what its site says, and what its own answer says.

`SIGNALS` is the one table of what is asked; `docs/manners.md` explains it. What a page says is
marked when it is extracted (`extract/optout.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from webpairs.drops import Drop
from webpairs.errors import ConfigError
from webpairs.extract.optout import CONTENT_USAGE, TDM_RESERVATION, opt_out_of
from webpairs.obtain.robots import CONTENT_SIGNAL, Robots

if TYPE_CHECKING:
    from webpairs.obtain.tdmrep import Tdmrep

SIGNALS: Final = {
    "robots.txt": "RFC 9309, Robots Exclusion Protocol; the two below stand in it too",
    CONTENT_SIGNAL: "Cloudflare, Content Signals Policy, September 2025: a rule in robots.txt",
    CONTENT_USAGE: "IETF, draft-ietf-aipref-attach-05: a header, and a rule in robots.txt",
    "tdmrep.json": "TDM Reservation Protocol, W3C Community Group Final Report, May 2024: a file",
    TDM_RESERVATION: "TDM Reservation Protocol, ibid.: a header",
    "x-robots-tag": "Google, X-Robots-Tag specifications; DeviantArt's noai and noimageai, 2022",
}
"""What is asked of sites and answers, by the names that `--ignore-signals` takes; its source."""


def check_signals(names: Sequence[str]) -> None:
    """Raise ConfigError for a name that is none of `SIGNALS`."""
    for name in names:
        if name not in SIGNALS:
            raise ConfigError(
                f"--ignore-signals {name!r} is unknown: use one or more of {', '.join(SIGNALS)}"
            )


@dataclass(frozen=True, slots=True)
class SitePermissions:
    """What a site says about all it has; None is a file that was not asked for."""

    robots: Robots | None
    tdmrep: Tdmrep | None

    def refusal(self, url: str, ignored: frozenset[str]) -> tuple[Drop, str] | None:
        """Return why `url` may not be taken, and the signal that says so; None if it may."""
        if self.robots is not None:
            if not self.robots.allows(url):
                why = self.robots.status if self.robots.is_closed else "forbidden to webpairs"
                return Drop.ROBOTS, f"robots.txt: {why}"
            usage = self.robots.refused_usage(url, ignored)
            if usage is not None:
                return Drop.OPTED_OUT_IMAGE, usage
        if self.tdmrep is not None and self.tdmrep.reserves(url):
            return Drop.OPTED_OUT_IMAGE, "tdmrep.json"
        return None

    def evidence(self) -> str:
        """Return what was asked and what was answered, for the column `permissions`."""
        robots = "not asked" if self.robots is None else self.robots.status
        tdmrep = "not asked" if self.tdmrep is None else self.tdmrep.status
        return f"robots.txt {robots}; tdmrep.json {tdmrep}"


def answer_opt_out(headers: Sequence[tuple[str, str]], ignored: frozenset[str]) -> str | None:
    """Return the name of the most outspoken opt-out in an image's answer, or None.

    Names of headers are in lower case; those in `ignored` do not count.
    """

    def values(name: str) -> list[str]:
        return [] if name in ignored else [value for key, value in headers if key == name]

    return opt_out_of(
        values("x-robots-tag"),
        tdm_reservations=values(TDM_RESERVATION),
        content_usages=values(CONTENT_USAGE),
    )
