"""The ground truth about a candidate of the little web."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

SAMPLE: Final = "sample"
"""The fate of a candidate that a perfect build keeps; every other fate is a `Drop`."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The ground truth about one image and one text on one page."""

    page_url: str
    page_date: str
    """ISO 8601, UTC."""
    position: int
    """Rank of the `<img>` among the page's, from 0."""
    url: str
    """Normalised image URL; as written when it is none."""
    text: str
    """The cleaned text."""
    uid: str
    """Hex; empty when extract drops the candidate."""
    kind: str
    """`true`, `hard:ATTRIBUTE`, `unrelated`, `junk`, `accented`, `foreign` or `short`."""
    fate: str
    """SAMPLE or a `Drop`: what a perfect build makes of it."""
    copies: int = 1
    """How often the page crawl holds this URL with this text; 0 for a `duplicate`."""
    opt_out: str | None = None
    """The signal by which a page that shows this candidate opts out, as a build names it; the
    first by name when several do. A `duplicate` has its own page's."""
    license_id: str | None = None
    license_where: str | None = None
    width_px: int = 0
    height_px: int = 0
    """Of the picture as displayed; 0 when there is none to see."""
    encoding: str = ""
    """One of `image_files.ENCODINGS`."""
    sha256: str = ""
    """Hex, of the picture's file; empty for broken ones."""

    @property
    def is_true(self) -> bool:
        """Say whether the text describes the picture."""
        return self.kind == "true"


def uid_hex(url: str, text: str) -> str:
    """Return a candidate's id as docs/concepts.md defines it, without the code under test."""
    return hashlib.blake2b(f"{url}\0{text}".encode(), digest_size=16).hexdigest()
