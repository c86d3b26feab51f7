"""Errors hold what a user needs and no more."""

from __future__ import annotations

from webpairs.drops import Drop
from webpairs.errors import MAX_DETAIL_CHARS, DataError
from webpairs.obtain.url_parts import FetchError


def test_a_detail_that_a_server_wrote_is_cut() -> None:
    for error in (DataError(Drop.PROTOCOL, "x" * 70_000), FetchError(Drop.PROTOCOL, "x" * 70_000)):
        assert error.detail == "x" * MAX_DETAIL_CHARS + "..."
        assert len(str(error)) < MAX_DETAIL_CHARS + 50
    assert DataError(Drop.PROTOCOL, "short").detail == "short"
