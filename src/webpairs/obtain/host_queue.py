"""One request, and the queue of the host that it waits for."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from webpairs.figures import HostFigures

if TYPE_CHECKING:
    from webpairs.obtain.fetcher import Outcome


@dataclass(slots=True, eq=False)
class Request:
    """Asking for one image; the rest is where the request stands."""

    url: str
    done: Callable[[Outcome], None]
    deadline: float
    """On the loop's clock; what was not begun by then ends as `timeout`."""
    cancelled: bool = False
    num_redirects: int = 0
    num_tries: int = 0


@dataclass(slots=True, eq=False)
class HostQueue:
    """One host: what waits for it, when it may be asked again, how fast it is."""

    name: str
    queue: deque[Request] = field(default_factory=deque[Request])
    active: int = 0
    next_time: float = 0.0
    """On the loop's clock: not to be asked before."""
    interval_s: float = 0.0
    timer: asyncio.TimerHandle | None = None
    is_ready: bool = False
    """Waits for a free connection."""
    num_backing_off: int = 0
    """Requests that will be tried again after a while."""
    num_asked: int = 0
    busy_since: float = 0.0
    """On the loop's clock: the last time that it had nothing to do before."""
    num_ended: int = 0
    """Requests that left it since then."""

    @property
    def num_waiting(self) -> int:
        """Return the requests that it holds up."""
        return len(self.queue) + self.active + self.num_backing_off

    def figures(self, now: float, num_asked: int) -> HostFigures:
        """Return its figures at `now` on the loop's clock; `num_asked` counts all hosts."""
        limit = 1 / self.interval_s if self.interval_s else math.inf
        busy_s = now - self.busy_since
        # A host that has never answered gets slower by itself as time goes by.
        seen = (self.num_ended + 1) / busy_s if busy_s > 0 else math.inf
        return HostFigures(
            self.name,
            self.num_waiting,
            self.num_asked / max(1, num_asked),
            min(limit, seen),
            max(0.0, self.next_time - now - self.interval_s),
        )
