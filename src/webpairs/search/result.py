"""What a search found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from webpairs.dataset.features import TABULAR
from webpairs.dataset.sources.source import Source
from webpairs.search.options import FOUND_AT, SearchOptions


@dataclass(frozen=True, slots=True)
class Hit:
    """One result."""

    row: int
    """Its number in the dataset's order."""
    key: str
    uid: str | None
    """Hex; None where samples have none."""
    similarity: float | None
    """To the query; None where captions were searched."""
    columns: Mapping[str, Any]
    """Features under the page's names (`similarity` is that of image and caption, `nsfw` the tag's
    name), and others."""
    folded: tuple[int, ...] = ()
    """Rows that show the same and are less near, where such are folded; best first."""
    cut: tuple[str, ...] = ()
    """Columns whose value is not whole (load/bounded.py)."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "row": self.row,
            "key": self.key,
            "uid": self.uid,
            "similarity": self.similarity,
            "columns": dict(self.columns),
            "folded": list(self.folded),
            "cut": list(self.cut),
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What was found, and what was done instead of what was asked, if anything."""

    hits: tuple[Hit, ...]
    note: str | None = None
    pictures: tuple[bytes | None, ...] = ()
    """Their images, encoded, where those were asked for."""


def shown_columns(source: Source, options: SearchOptions) -> tuple[str, ...]:
    """Return the columns of the samples that are found."""
    own = source.column_names
    more = [name for name in FOUND_AT if name in own] if options.found_at else []
    return (*TABULAR, *more)
