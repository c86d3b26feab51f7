"""What a report is put together from: tallies, names, the nearest ones, texts, thresholds."""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webpairs.dataset.hosts import host_names
from webpairs.report import names as names_module
from webpairs.report.blocks import percent, whole_numbers
from webpairs.report.examples import Example, Nearest, choose_rows
from webpairs.report.names import NameCounts
from webpairs.report.samples import BINS, crawl_names, new_tallies
from webpairs.report.tally import Tally, growing_edges, octave_edges
from webpairs.report.thresholds import other_thresholds, similarity_edges

FLOATS = st.lists(st.floats(-2, 2) | st.just(math.nan), max_size=60)


@settings(deadline=None)
@given(FLOATS, st.integers(1, 30))
def test_a_tally_counts_as_numpy_does(values: list[float], size: int) -> None:
    edges = np.arange(-20, 21) / 10
    tally = Tally(edges)
    for start in range(0, len(values), size):
        tally.add(np.array(values[start : start + size], np.float64))
    known = [one for one in values if not math.isnan(one)]
    assert (tally.total, tally.missing) == (len(known), len(values) - len(known))
    coarse = tally.bins((-2.0, -0.5, 0.0, 0.3, 2.0))
    expected = [
        sum(low <= one < high for one in known)
        for low, high in ((-9, -0.5), (-0.5, 0.0), (0.0, 0.3), (0.3, 9))
    ]
    assert list(coarse.counts) == expected
    assert tally.at_least(0.3) == sum(one >= 0.3 for one in known)
    if known:
        assert (tally.least, tally.most) == (min(known), max(known))


@settings(deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=60), st.sampled_from([0, 0.25, 0.5, 1]))
def test_quantiles_of_whole_numbers(values: list[int], share: float) -> None:
    tally = Tally(growing_edges(4096, 2**20))
    tally.add(np.array(values, np.float64))
    assert tally.quantile(share) == sorted(values)[math.floor(share * (len(values) - 1))]


def test_an_edge_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="among the fine ones"):
        Tally([0, 1, 2]).bins((0, 1.5, 2))


def test_every_coarse_edge_is_a_fine_one() -> None:
    assert BINS.keys() == new_tallies().keys()
    for name, tally in new_tallies().items():
        assert set(BINS[name]) <= set(tally.edges.tolist()), name


def test_octaves() -> None:
    assert octave_edges(4, 6, 2) == (16, 23, 32, 45, 64)


NAMES = st.lists(st.sampled_from(["a", "b", "é", "", "a b", "'", None]) | st.text(max_size=3))


@settings(deadline=None)
@given(st.lists(NAMES, max_size=8), st.sampled_from([1, 3, 10**6]))
def test_names_are_counted_however_often_they_are_added_up(
    batches: list[list[str | None]], compact_rows: int
) -> None:
    with pytest.MonkeyPatch.context() as patch, duckdb.connect() as duck:
        patch.setattr(names_module, "COMPACT_ROWS", compact_rows)
        counts = NameCounts(duck)
        for batch in batches:
            counts.add("kind", pa.array(batch, pa.string()))
            counts.add("other", pa.array(["x"]))
        expected = Counter(name for batch in batches for name in batch if name is not None)
        found = counts.top("kind", 1000)
        concentration = counts.concentration("kind", (1, 2))
    assert dict(found.top) == expected
    assert (found.total, found.distinct) == (expected.total(), len(expected))
    assert list(found.top) == sorted(expected.items(), key=lambda one: (-one[1], one[0].encode()))
    nums = sorted(expected.values(), reverse=True)
    if nums:
        assert concentration.shares == {
            1: pytest.approx(nums[0] / sum(nums)),
            2: pytest.approx(sum(nums[:2]) / sum(nums)),
        }
        half = next(k for k in range(len(nums) + 1) if 2 * sum(nums[:k]) >= sum(nums))
        assert concentration.half == half
        assert concentration.curve[-1] == (len(nums), 1.0)


SIMILARITIES = st.lists(st.sampled_from([0.1, 0.2, 0.3]) | st.floats(-1, 1) | st.just(math.nan))


@settings(deadline=None)
@given(st.lists(SIMILARITIES, max_size=6), st.booleans(), st.integers(1, 5))
def test_the_nearest_are_those_that_sorting_finds(
    shards: list[list[float]], above: bool, num: int
) -> None:
    nearest = Nearest(above=above, num=num)
    for place, values in reversed(list(enumerate(shards))):
        rows = np.arange(len(values)) * 2

        def example(one: int, place: int = place, rows: Any = rows) -> Example:
            return Example(place, int(rows[one]), None)

        nearest.add(np.array(values, np.float64), place, rows, example)
    every = [
        (value if above else -value, place, 2 * row)
        for place, values in enumerate(shards)
        for row, value in enumerate(values)
        if not math.isnan(value)
    ]
    expected = [(place, row) for _, place, row in sorted(every)[:num]]
    assert [(one.place, one.row) for one in nearest.found] == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=8), st.integers(0, 30))
def test_chosen_rows_are_rows(sizes: list[int], num: int) -> None:
    chosen = choose_rows(sizes, num)
    assert [list(rows) == sorted(set(rows.tolist())) for rows in chosen] == [True] * len(sizes)
    assert sum(map(len, chosen)) == min(num, sum(sizes))
    for rows, size in zip(chosen, sizes, strict=True):
        assert all(0 <= row < size for row in rows.tolist())


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://example.org/a.jpg", "example.org"),
        ("HTTP://Example.ORG:8080/a", "example.org"),
        ("https://user:pass@example.org/a", "example.org"),
        ("https://example.org", "example.org"),
        ("https://example.org?x=//evil.example/", "example.org"),
        ("https://example.org#@evil.example", "example.org"),
        ("http://[2001:DB8::1]:80/a", "[2001:db8::1]"),
        ("https://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("data:image/png;base64,AAAA", None),
        ("//example.org/a.jpg", None),
        ("", None),
    ],
)
def test_hosts(url: str, host: str | None) -> None:
    assert host_names(pa.array([url])).to_pylist() == [host]


@pytest.mark.parametrize(
    ("file", "crawl"),
    [
        ("crawl-data/CC-MAIN-2024-22/segments/17/wat/CC-MAIN-2024-00012.warc.wat.gz", None),
        ("CC-MAIN-20240518012345-20240518034500-00123.warc.gz", "CC-MAIN"),
        ("little-web-0-00001.warc.gz", "little-web"),
        ("/data/links.parquet", "links"),
        ("part-00003.snappy.parquet", "part-00003.snappy"),
        ("2024.csv", "2024"),
        ("00001.jsonl.gz", "00001"),
    ],
)
def test_crawls(file: str, crawl: str | None) -> None:
    assert crawl_names(pa.array([file])).to_pylist() == [crawl or "CC-MAIN-2024-22"]


def test_numbers_for_people() -> None:
    assert [percent(part) for part in (0, 1, 0.348, 0.99999, 0.05, 0.00012, 1e-9)] == [
        *("0%", "100%", "34.8%", "99.9%", "5.00%", "0.01%", "<0.01%"),
    ]
    assert [whole_numbers(5, 6), whole_numbers(5, 10), whole_numbers(1000, math.inf)] == [
        *("5", "5 to 9", "1,000 and more"),
    ]


@settings(deadline=None)
@given(
    kept=st.lists(st.floats(-1, 1), min_size=1, max_size=40),
    dropped=st.lists(st.floats(-1, 1), max_size=40),
    threshold=st.none() | st.floats(-1, 1),
)
def test_thresholds_are_round_and_cover_what_there_is(
    kept: list[float], dropped: list[float], threshold: float | None
) -> None:
    tallies = new_tallies(), new_tallies()
    tallies[0]["similarity"].add(np.array(kept))
    tallies[1]["similarity"].add(np.array(dropped, np.float64))
    one: Any = SimpleNamespace(
        tallies=tallies[0], dropped_similarity=tallies[1]["similarity"], threshold=threshold
    )
    for chosen in (other_thresholds([one]), similarity_edges([one])):
        assert 2 <= len(chosen) <= 61
        assert chosen == sorted(set(chosen))
        assert all(abs(round(edge * 1000) - edge * 1000) < 1e-9 for edge in chosen)
    if threshold is not None and min(kept) <= threshold <= max(kept):
        assert round(threshold, 3) in other_thresholds([one])
    edges = similarity_edges([one])
    assert edges[0] <= min(kept + dropped) + 1e-9
    assert edges[-1] == 1 or edges[-1] > max(kept + dropped) - 0.001
