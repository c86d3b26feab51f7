"""How the web is asked: limits of a request, what a host is spared, which signals count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from webpairs.image.limits import MAX_IMAGE_BYTES
from webpairs.version import __version__

MIN_BYTES_PER_S: Final = 500
"""Slower than this over the stall time is not a download but a trickle: 5 kB would take 10 s."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounding one request."""

    connect_timeout_s: float
    """TCP and TLS."""
    first_byte_timeout_s: float
    """From then to the first byte of the answer."""
    stall_timeout_s: float
    """A body slower than MIN_BYTES_PER_S for so long ends."""
    total_timeout_s: float
    max_bytes: int
    """Of the body as it travels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRules:
    """How the web is asked; `ConfigError` for networks and signals that do not exist."""

    contact: str | None = None
    """Mail address or URL for the owners of sites, told in the User-Agent."""
    allow_networks: tuple[str, ...] = ()
    """CIDRs that may be reached although they are not public."""
    per_host: int = 4
    per_host_rate: float = 8.0
    """Requests a second; 0 for no limit."""
    connections: int = 256
    """Requests under way at once."""
    connect_timeout_s: float = 10.0
    first_byte_timeout_s: float = 20.0
    stall_timeout_s: float = 15.0
    total_timeout_s: float = 60.0
    retries: int = 2
    max_bytes: int = MAX_IMAGE_BYTES
    ignored_signals: frozenset[str] = frozenset()
    """Names of `permissions.SIGNALS`."""
    keep_opted_out: bool = False
    """Give images whose own answer opts out, with the signal's name."""

    @property
    def user_agent(self) -> str:
        """Return who asks: the name that robots.txt is read for, the version, the contact."""
        who = f"+{self.contact}" if self.contact else "image-text dataset builder"
        return f"webpairs/{__version__} ({who})"

    @property
    def limits(self) -> Limits:
        """Return the limits of one request."""
        return Limits(
            connect_timeout_s=min(self.connect_timeout_s, self.total_timeout_s),
            first_byte_timeout_s=self.first_byte_timeout_s,
            stall_timeout_s=self.stall_timeout_s,
            total_timeout_s=self.total_timeout_s,
            max_bytes=self.max_bytes,
        )
