"""Reading a site's robots.txt: where we may fetch, how fast, and which usages it refuses.

Groups, paths and precedence are Protego's reading of RFC 9309. Rules about usages stand in the same
groups (`Content-Usage` of the IETF draft, `Content-Signal` of Cloudflare); they are rewritten as
Allow and Disallow, so that Protego reads them too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from protego import Protego

from webpairs.extract.optout import CONTENT_USAGE, USAGES, usages_refused

MAX_ROBOTS_BYTES: Final = 500 << 10
"""Read of a file, its beginning; RFC 9309, 2.5 wants 500 KiB at least."""
AGENT: Final = "webpairs"
"""The product token (RFC 9309, 2.2.1) that we look for."""
MAX_CRAWL_DELAY_S: Final = 60.0
"""A longer Crawl-delay, which no standard defines, is kept as this one."""

CONTENT_SIGNAL: Final = "content-signal"
SIGNALS_REFUSED: Final = {
    "ai-train": "Cloudflare, Content Signals Policy (contentsignals.org), September 2025",
    "search": "Cloudflare, ibid.: a search index; a dataset that people search is one",
}
"""Uses whose `no` is an opt-out, the most outspoken first, and where each is defined."""
_SIGNAL: Final = re.compile(r"([a-z-]+)\s*=\s*([a-z]+)")
_AGENT_LINES: Final = ("user-agent", "useragent", "user agent")
_GROUP_LINES: Final = ("allow", "disallow", "crawl-delay", CONTENT_USAGE, CONTENT_SIGNAL)


@dataclass(frozen=True, slots=True)
class Robots:
    """What a site's robots.txt allows to us."""

    status: str
    """What was answered: a status, or `unreachable`."""
    rules: Protego | None
    """None: nothing is allowed when `is_closed`, else everything."""
    is_closed: bool = False
    refusals: tuple[tuple[str, Protego], ...] = ()
    """Name of a usage, and the rules in which it is disallowed somewhere."""

    def allows(self, url: str) -> bool:
        """Say whether `url` may be fetched."""
        if self.rules is None:
            return not self.is_closed
        return self.rules.can_fetch(url, AGENT)

    def refused_usage(self, url: str, ignored: frozenset[str]) -> str | None:
        """Return the name of the most outspoken usage that is refused for `url`, or None.

        Names are `content-usage-robots:train-ai`, `content-signal:ai-train` and the like; those of
        the families in `ignored` do not count.
        """
        for name, rules in self.refusals:
            family = CONTENT_USAGE if name.startswith(CONTENT_USAGE) else CONTENT_SIGNAL
            if family not in ignored and not rules.can_fetch(url, AGENT):
                return name
        return None

    @property
    def crawl_delay_s(self) -> float | None:
        """Return the seconds that should lie between two requests, at most MAX_CRAWL_DELAY_S."""
        delay_s = self.rules.crawl_delay(AGENT) if self.rules is not None else None
        return None if delay_s is None else min(delay_s, MAX_CRAWL_DELAY_S)


def read_robots(status: int | None, body: bytes) -> Robots:
    """Read what a site answered to a request for its robots.txt; `status` None: nothing.

    RFC 9309, 2.3.1: no file (400 to 499) allows everything; one that cannot be reached (500 to 599,
    nothing) allows nothing, and so does 429, which says that the site cannot answer now. Never
    raises, whatever `body` is.
    """
    if status is None:
        return Robots("unreachable", None, is_closed=True)
    if status == 429 or status >= 500:
        return Robots(str(status), None, is_closed=True)
    if not 200 <= status < 300:
        return Robots(str(status), None)
    text = body[:MAX_ROBOTS_BYTES].decode("utf-8-sig", "replace")
    return Robots(str(status), Protego.parse(text), refusals=tuple(_refusals(text)))


def _refusals(text: str) -> Iterator[tuple[str, Protego]]:
    """Yield the usages that a file refuses anywhere, and where."""
    small = text.lower()
    if CONTENT_USAGE in small:
        for usage in USAGES:
            rules = _as_rules(text, CONTENT_USAGE, lambda said, u=usage: _may_use(said, u))
            if rules is not None:
                yield f"content-usage-robots:{usage}", rules
    if CONTENT_SIGNAL in small:
        for use in SIGNALS_REFUSED:
            rules = _as_rules(text, CONTENT_SIGNAL, lambda said, u=use: _is_signalled(said, u))
            if rules is not None:
                yield f"content-signal:{use}", rules


def _as_rules(text: str, field: str, may: Callable[[str], bool | None]) -> Protego | None:
    """Return rules that disallow the paths for which lines of `field` say no; None if none does.

    `may` reads the line's value behind its path: yes, no, or nothing said.
    """
    lines = ["User-agent: *", "Allow:"]  # a group for what stands before any other
    refuses = False
    for line in text.splitlines():
        name, _, value = line.partition("#")[0].partition(":")
        name, value = name.strip().lower(), value.strip()
        if name in _AGENT_LINES:
            lines.append(f"User-agent: {value}")
        elif name in _GROUP_LINES:
            path, said = "/", value
            if value.startswith("/"):
                path, _, said = value.partition(" ")
            answer = may(said.strip()) if name == field else None
            refuses = refuses or answer is False
            if answer is None:
                lines.append("Allow:")  # says nothing, but ends the list of agents all the same
            else:
                lines.append(f"{'Allow' if answer else 'Disallow'}: {path}")
    return Protego.parse("\n".join(lines)) if refuses else None


def _may_use(said: str, usage: str) -> bool | None:
    if usage in usages_refused(said):
        return False
    return True if usage in said else None


def _is_signalled(said: str, use: str) -> bool | None:
    value = dict(_SIGNAL.findall(said.lower())).get(use)
    return {"yes": True, "no": False}.get(value or "")
