"""Read a site's `/.well-known/tdmrep.json`: where it reserves the rights of text and data mining.

Source: TDM Reservation Protocol, W3C Community Group Final Report of 10 May 2024, section on the
file on the origin server. A rule's `location` is a path of robots.txt, `*` and `$` included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import orjson
from protego import Protego

from webpairs.obtain.robots import AGENT

MAX_TDMREP_BYTES: Final = 256 << 10
MAX_RULES: Final = 1_000
"""Read of a file; each is matched on its own."""


@dataclass(frozen=True, slots=True)
class Tdmrep:
    """What a site reserves."""

    status: str
    """What was answered: a status, `unreachable`, or a status and `unreadable`."""
    rules: tuple[tuple[Protego, int, bool], ...] = ()
    """Where a rule holds, the length of its location, and whether it reserves."""

    def reserves(self, url: str) -> bool:
        """Say whether the rights in `url` are reserved.

        The report does not say which of several rules counts. Here the first that holds and the
        longest one must both say 0, or the right is reserved.
        """
        held = [
            (length, reserved)
            for rules, length, reserved in self.rules
            if not rules.can_fetch(url, AGENT)
        ]
        return bool(held) and (held[0][1] or max(held, key=lambda rule: rule[0])[1])


def read_tdmrep(status: int | None, body: bytes) -> Tdmrep:
    """Read what a site answered to a request for its tdmrep.json; `status` None: nothing.

    A file that is not there, or is no such file, reserves nothing. Never raises.
    """
    if status is None:
        return Tdmrep("unreachable")
    if not 200 <= status < 300:
        return Tdmrep(str(status))
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Tdmrep(f"{status} unreadable")
    if isinstance(said, dict):
        said = [said]  # one rule without its list, as some sites have it
    if not isinstance(said, list):
        return Tdmrep(f"{status} unreadable")
    rules = [_read_rule(rule) for rule in said[:MAX_RULES]]
    return Tdmrep(str(status), tuple(rule for rule in rules if rule is not None))


def _read_rule(rule: Any) -> tuple[Protego, int, bool] | None:
    if not isinstance(rule, dict):
        return None
    location, reservation = rule.get("location", "/"), rule.get("tdm-reservation")
    if not isinstance(location, str) or str(reservation).strip() not in ("0", "1"):
        return None
    location = location.strip().partition("#")[0]
    if not location.startswith(("/", "*")) or len(location.splitlines()) != 1:
        return None
    where = Protego.parse(f"User-agent: *\nDisallow: {location}")
    return where, len(location), str(reservation).strip() == "1"
