"""What the readers of crawl files and tables hand to the candidate writer."""

from __future__ import annotations

from dataclasses import dataclass, field

from webpairs.drops import Drop
from webpairs.extract.tables.columns import NAMED_AS_USUAL, TableColumns


@dataclass(frozen=True, slots=True)
class ExtractRules:
    """Which candidates extract keeps; fields as in `webpairs.recipes.Recipe`."""

    texts: tuple[str, ...]
    image_sources: tuple[str, ...]
    min_text_chars: int
    languages: tuple[str, ...]
    table_columns: TableColumns = NAMED_AS_USUAL
    """The columns that options name in tables."""


@dataclass(frozen=True, slots=True)
class Page:
    """What all candidates of one captured page share."""

    url: str
    """WARC-Target-URI as written."""
    base: str | None
    """`<base href>` as written, or None."""
    crawl_file: str
    crawl_offset: int
    crawl_date_ms: int
    """Milliseconds since 1970 UTC."""
    license: str = "?"
    """LAION's column: the licence link as it stood, or `?`."""
    license_id: str | None = None
    license_where: str | None = None
    opt_out: str | None = None
    """Name of the opt-out signal found on the page, or None."""


@dataclass(slots=True)
class TableRows:
    """Rows of one table as columns of equal length."""

    crawl_file: str
    """The table's name."""
    numbers: list[int] = field(default_factory=list[int])
    """Of the rows in the table, from 0."""
    urls: list[str] = field(default_factory=list[str])
    """As they stood, empty where there is none; so are the texts."""
    texts: list[str] = field(default_factory=list[str])
    licenses: list[str] = field(default_factory=list[str])
    """Links as they stood, or what stands for one, or `?` or nothing."""
    similarities: list[float | None] = field(default_factory=list[float | None])
    nsfw: list[str | None] = field(default_factory=list[str | None])
    hashes: list[str | None] = field(default_factory=list[str | None])
    """`sha256:` or `md5:` and the hex digest."""
    given: list[str | None] = field(default_factory=list[str | None])
    """All other columns, a JSON object."""


@dataclass(slots=True)
class ExtractStats:
    """Count what one unit of extract saw; every image with a text ends in `written` or `drops`."""

    inputs: int = 0
    bytes_read: int = 0
    records: int = 0
    """Of crawl files, and rows of tables."""
    pages: int = 0
    found: int = 0
    """Images with a text beside them (non-empty before cleaning), and rows of tables:
    found = written + drops (RECORD_BROKEN apart: it counts records, whose candidates nobody saw).
    """
    written: int = 0
    drops: dict[Drop, int] = field(default_factory=dict[Drop, int])
    captures: int = 0
    """Rows of the image index (archive mode)."""
    warnings: list[str] = field(default_factory=list[str])
    """One line for each truncated or otherwise incomplete input: its name and what was read."""

    def drop(self, reason: Drop, num: int = 1) -> None:
        """Count `num` candidates under `reason`."""
        if num:
            self.drops[reason] = self.drops.get(reason, 0) + num
