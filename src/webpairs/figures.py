"""How far a stage is, which host holds it up, and how long it will take: plain figures.

The time left is the larger of two estimates: what is left at the stage's rate so far, and the
longest queue of a single host. A polite fetcher asks a host for 8 pictures a second; where one host
has 1,900 of the last 2,000, the stage takes 4 minutes more, however fast the others were.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

MAX_HOSTS: Final = 5
"""Hosts named at once: the slowest. A list of all would say what is about to be fetched."""
_PRINTABLE: Final = re.compile(r"[ -~]{1,300}")
"""A run folder may come from someone else; names of hosts have at most 253 characters (DNS)."""
NAMED_FROM_S: Final = 10.0
"""A host whose queue takes less is not worth a line."""


@dataclass(frozen=True, slots=True)
class HostFigures:
    """One host with requests that wait for it."""

    host: str
    waiting: int
    """Requests that wait, are under way or will be tried again."""
    share: float
    """Requests to this host so far, of all requests so far: what further shards will bring."""
    rate: float
    """Requests that it ends a second; infinite before anything is known."""
    pause_s: float = 0.0
    """Seconds that it must be left alone first (Retry-After)."""

    def seconds_left(self, num_later: float = 0) -> float:
        """Return how long its queue takes, with its share of `num_later` requests to come."""
        return self.pause_s + (self.waiting + self.share * num_later) / self.rate


@dataclass(frozen=True, slots=True)
class FetchFigures:
    """What the fetcher has to do."""

    asked: int = 0
    """Requests handed to it so far."""
    waiting: int = 0
    """Requests that have no answer yet."""
    hosts: tuple[HostFigures, ...] = ()
    """The slowest, at most `MAX_HOSTS`; the first one needs the longest."""


@dataclass(frozen=True, slots=True)
class StageFigures:
    """One stage under way."""

    name: str
    unit: str
    total: float
    done: float
    done_before: float
    """Of `done`, by an earlier start of the run."""
    elapsed_s: float
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    """Samples, and drops by reason, since this start."""
    fetch: FetchFigures = field(default_factory=FetchFigures)

    @property
    def left(self) -> float:
        """Return the units that are not done."""
        return max(0.0, self.total - self.done)

    @property
    def rate(self) -> float:
        """Return the units a second since this start."""
        return (self.done - self.done_before) / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def num_later(self) -> float:
        """Return the units that nobody has asked the fetcher for yet."""
        asked = self.total - self.done_before - self.fetch.asked
        return max(0.0, min(asked, self.left - self.fetch.waiting))

    @property
    def slowest(self) -> HostFigures | None:
        """Return the host that the stage will wait for: whose queue takes longer than the rest."""
        hosts = self.fetch.hosts
        if not hosts:
            return None
        host = max(hosts, key=lambda one: one.seconds_left(self.num_later))
        seconds = host.seconds_left(self.num_later)
        rest = self.left / self.rate if self.rate else 0.0
        return host if seconds >= max(rest, NAMED_FROM_S) else None

    @property
    def seconds_left(self) -> float | None:
        """Return the larger estimate; None before the first unit is done."""
        queues = [host.seconds_left(self.num_later) for host in self.fetch.hosts]
        if not self.left:
            return 0.0
        if not self.rate:
            return max(queues, default=0.0) or None
        return max([self.left / self.rate, *queues])

    def as_json(self) -> dict[str, Any]:
        """Return the figures as `work/state.json` and `status --json` have them."""
        seconds = self.seconds_left
        return {
            "name": self.name,
            "unit": self.unit,
            "total": self.total,
            "done": self.done,
            "done_before": self.done_before,
            "elapsed_s": round(self.elapsed_s, 3),
            "rate": self.rate,
            "seconds_left": seconds,
            "counts": dict(self.counts),
            "asked": self.fetch.asked,
            "waiting": self.fetch.waiting,
            "hosts": [
                {
                    "host": one.host,
                    "waiting": one.waiting,
                    "share": one.share,
                    "rate": one.rate if math.isfinite(one.rate) else None,
                    "pause_s": one.pause_s,
                    "seconds_left": one.seconds_left(self.num_later),
                }
                for one in self.fetch.hosts
            ],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the figures in `content`; raise KeyError, TypeError or ValueError without."""
        hosts = tuple(
            HostFigures(
                printable(one["host"]),
                int(one["waiting"]),
                float(one["share"]),
                math.inf if one["rate"] is None else float(one["rate"]),
                float(one["pause_s"]),
            )
            for one in content["hosts"][:MAX_HOSTS]
        )
        if any(host.rate <= 0 for host in hosts):
            raise ValueError("a rate that is not above 0")
        return cls(
            name=printable(content["name"]),
            unit=printable(content["unit"]),
            total=float(content["total"]),
            done=float(content["done"]),
            done_before=float(content["done_before"]),
            elapsed_s=float(content["elapsed_s"]),
            counts={printable(name): int(num) for name, num in content["counts"].items()},
            fetch=FetchFigures(int(content["asked"]), int(content["waiting"]), hosts),
        )


def printable(text: object) -> str:
    """Return `text` if a terminal can show it as it is; raise ValueError for anything else."""
    if not isinstance(text, str) or not _PRINTABLE.fullmatch(text):
        raise ValueError(f"{text!r} is not a short printable text")
    return text


def duration_text(seconds: float) -> str:
    """Return `40 s`, `4 min`, `3 h 5 min` or `2 days 4 h`."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days:,} days {hours} h"


def rate_text(rate: float) -> str:
    """Return `123/s`, or `2.5/s` where whole numbers would say little."""
    return f"{rate:,.1f}/s" if rate < 10 and rate != round(rate) else f"{rate:,.0f}/s"
