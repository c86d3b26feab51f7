"""A page's date is the same from its WARC and from its WAT."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.crawl.dates import parse_date


@pytest.mark.parametrize(
    ("date", "milliseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:01.0019Z", 1_001),
        ("1970-01-01T00:00:01.9999Z", 1_999),
        ("2024-05-18T10:11:12.345Z", 1_716_027_072_345),
        ("2024-05-18T12:11:12.345+02:00", 1_716_027_072_345),
        ("2024-05", 1_714_521_600_000),
        ("2024", 1_704_067_200_000),
        ("1969-12-31T23:59:59.5Z", -500),
        ("yesterday", None),
        ("", None),
    ],
)
def test_dates_are_cut_to_milliseconds(date: str, milliseconds: int | None) -> None:
    assert parse_date(date) == milliseconds


@given(st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1)))
def test_no_fraction_is_lost_to_floats(moment: datetime) -> None:
    text = moment.isoformat(timespec="milliseconds")
    found = parse_date(f"{text}Z")
    assert found is not None
    back = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=found)
    assert back.replace(tzinfo=None).isoformat(timespec="milliseconds") == text
