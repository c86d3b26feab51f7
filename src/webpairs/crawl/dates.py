"""Dates of records: WARC-Date and WARC-Refers-To-Date, the same in WARC and WAT files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


@lru_cache(maxsize=64)
def parse_date(date: str) -> int | None:
    """Return a WARC-Date in milliseconds since 1970 UTC, cut, or None when it is not a date.

    WARC 1.1 allows fractions of a second, and less than seconds (W3C-NOTE-datetime).
    """
    date = date.strip()
    if len(date) in (4, 7):
        date = f"{date}-01-01" if len(date) == 4 else f"{date}-01"
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND
