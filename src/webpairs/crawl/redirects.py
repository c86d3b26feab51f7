"""Redirects, the same on the live web and in an archive."""

from __future__ import annotations

from typing import Final

REDIRECTS: Final = frozenset((301, 302, 303, 307, 308))
"""Statuses that lead elsewhere by their Location: RFC 9110, 15.4."""
MAX_REDIRECTS: Final = 5
"""That are followed one after the other: RFC 9309, 2.3.1.2 for robots.txt, the same for images."""
