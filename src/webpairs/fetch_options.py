"""How the web is asked: what a user gives, what a run folder remembers, and the defaults.

    given now  >  manifest.json of the run folder ("web")  >  DEFAULTS

A run that stops and goes on, and every retry, owes the same politeness to the same hosts and
reaches the same networks. So the manifest keeps these options, and another value is taken only
when it is given: None means "not given".
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from webpairs.checks import check_range
from webpairs.errors import ConfigError
from webpairs.obtain.guard import Guard
from webpairs.obtain.limits import FetchRules

DEFAULTS: Final[Mapping[str, Any]] = {
    "per_host": 4,
    "per_host_rate": 8.0,
    "connections": 256,
    "timeout_s": 60.0,
    "retries": 2,
    "allow_network": (),
    "contact": "",
}
"""The values of options that nobody gave."""
OPTION_NAMES: Final[Mapping[str, str]] = {
    "per_host": "--per-host",
    "per_host_rate": "--per-host-rate",
    "connections": "--connections",
    "timeout_s": "--timeout",
    "retries": "--retries",
    "allow_network": "--allow-network",
    "contact": "--contact",
}
"""The names of the fields of `FetchOptions` on the command line."""
_CONTACT: Final = re.compile(r"[!-~]+@[!-~]+|https?://[!-~]+")
"""Printable ASCII only: it travels in a header."""
_PASSWORD: Final = re.compile(r"https?://[^/?#]*@")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchOptions:
    """How the web is asked; None is "not given".

    per_host: requests to one host at once (default 4)
    per_host_rate: requests a second to one host, 0 for no limit (default 8)
    connections: requests under way at once (default 256)
    timeout_s: seconds that a request may take in all (default 60)
    retries: more tries where they can help (default 2)
    allow_network: networks (CIDR) that may be reached although they are not public; an empty
        tuple, or one empty text, takes back those that a run folder remembers (default none)
    contact: mail address or URL for the owners of sites; an empty text takes back the one that a
        run folder remembers (default none)
    """

    per_host: int | None = None
    per_host_rate: float | None = None
    connections: int | None = None
    timeout_s: float | None = None
    retries: int | None = None
    allow_network: tuple[str, ...] | None = None
    contact: str | None = None

    def fetch_values(self, remembered: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return a value for every field: as given, else as `remembered`, else the default."""
        known = {**DEFAULTS, **{n: v for n, v in (remembered or {}).items() if n in DEFAULTS}}
        values = {
            field.name: value
            for field in fields(FetchOptions)
            if (value := getattr(self, field.name)) is not None
        }
        values = {**known, **values}
        # JSON has lists where the options have tuples.
        values["allow_network"] = tuple(one for one in values["allow_network"] if one)
        return values

    def rules_with(self, *, ignored_signals: frozenset[str], keep_opted_out: bool) -> FetchRules:
        """Return how the web is asked; raise ConfigError for what cannot be."""
        values = self.fetch_values()
        check_range("--per-host", values["per_host"], 1, 1024, "requests at once")
        check_range("--connections", values["connections"], 1, 10_000, "requests at once")
        check_range("--retries", values["retries"], 0, 20, "more tries")
        if not 0 <= values["per_host_rate"] <= 100_000:
            raise ConfigError(
                f"--per-host-rate {values['per_host_rate']:g} is out of range: use requests a "
                "second, or 0 for no limit"
            )
        if not 1 <= values["timeout_s"] <= 3600:
            raise ConfigError(f"--timeout {values['timeout_s']:g} is out of range: use 1 to 3600 s")
        contact = values["contact"]
        if contact and not _CONTACT.fullmatch(contact):
            raise ConfigError(
                f"--contact {contact!r} is neither: use a mail address or a URL that site "
                "owners can write to"
            )
        if _PASSWORD.match(contact):
            raise ConfigError(
                "--contact is a URL with a user or a password, which every site would read: "
                "leave them out"
            )
        Guard(values["allow_network"])
        return FetchRules(
            contact=contact or None,
            allow_networks=values["allow_network"],
            per_host=values["per_host"],
            per_host_rate=values["per_host_rate"],
            connections=values["connections"],
            total_timeout_s=values["timeout_s"],
            retries=values["retries"],
            ignored_signals=ignored_signals,
            keep_opted_out=keep_opted_out,
        )


def as_typed(values: Mapping[str, Any]) -> str:
    """Return options as they are typed: `--per-host 4 --contact me@example.org`."""
    parts: list[str] = []
    for name, option in OPTION_NAMES.items():
        if name in values:
            value = values[name]
            many = value if isinstance(value, (tuple, list)) else (value,)
            parts += [f"{option} {_typed(one)}" for one in many or ("",)]
    return " ".join(parts)


def _typed(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else shlex.quote(str(value))
