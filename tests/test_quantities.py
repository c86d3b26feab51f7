"""Numbers are read with the unit that fits them."""

from __future__ import annotations

import pytest

from webpairs.quantities import counted, size_of


@pytest.mark.parametrize(
    ("num", "noun", "text"),
    [(0, "shard", "0 shards"), (1, "shard", "1 shard"), (1204, "shard", "1,204 shards")],
)
def test_only_one_is_singular(num: int, noun: str, text: str) -> None:
    assert counted(num, noun) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"),
    [
        (1, "1 byte"),
        (10, "10 bytes"),
        (55_572, "55.6 kB"),
        (500_000_000, "500 MB"),
        (4_259_840_000, "4.3 GB"),
    ],
)
def test_sizes_never_read_as_nothing(num_bytes: int, text: str) -> None:
    assert size_of(num_bytes) == text
