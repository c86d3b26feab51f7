"""Figures of a stage: which host decides on the time left, how it is said, what is read back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.figures import FetchFigures, HostFigures, StageFigures, duration_text, rate_text


def stage(
    done: float = 3_000, waiting: int = 0, asked: int = 5_000, *hosts: HostFigures, **changes: Any
) -> StageFigures:
    values = {"elapsed_s": 100.0, "done_before": 0.0, "total": 5_000.0, **changes}
    fetch = FetchFigures(asked, waiting, hosts)
    return StageFigures("build", "candidates", done=done, fetch=fetch, **values)


SLOW = HostFigures("pics.example", waiting=1_900, share=0.4, rate=8.0)
QUICK = HostFigures("cdn.example", waiting=100, share=0.02, rate=80.0)

ESTIMATES = [
    ("the stage's own rate", stage(), 2_000 / 30, None),
    ("a host's queue", stage(3_000, 2_000, 5_000, SLOW, QUICK), 1_900 / 8, SLOW),
    # 100 of 2,000 are with the fetcher, 1,900 come later, of which 0.4 are for this host.
    (
        "and its share of what comes later",
        stage(3_000, 100, 3_100, HostFigures("pics.example", 100, 0.4, 8.0)),
        (100 + 0.4 * 1_900) / 8,
        HostFigures("pics.example", 100, 0.4, 8.0),
    ),
    ("a queue shorter than the rest", stage(3_000, 2_000, 5_000, QUICK), 2_000 / 30, None),
    (
        "a pause that was asked for",
        stage(4_990, 10, 5_000, HostFigures("busy.example", 10, 0.1, 10.0, 60.0)),
        61,
        HostFigures("busy.example", 10, 0.1, 10.0, 60.0),
    ),
    ("a start that took over", stage(done_before=2_000), 2_000 / 10, None),
    ("nothing done yet", stage(0), None, None),
    ("nothing done yet, but a queue", stage(0, 5_000, 5_000, SLOW), 1_900 / 8, SLOW),
    ("before anything was answered", stage(0, 9, 9, HostFigures("a", 9, 1, math.inf)), None, None),
    ("nothing left", stage(5_000), 0, None),
    ("more done than there were", stage(5_001), 0, None),
]


@pytest.mark.parametrize(("figures", "seconds", "slowest"), [e[1:] for e in ESTIMATES])
def test_the_time_left_is_the_larger_estimate(
    figures: StageFigures, seconds: float | None, slowest: HostFigures | None
) -> None:
    assert figures.seconds_left == (None if seconds is None else pytest.approx(seconds))
    assert figures.slowest == slowest


@pytest.mark.parametrize("figures", [e[1] for e in ESTIMATES])
def test_what_is_written_is_read(figures: StageFigures) -> None:
    assert StageFigures.from_json(json.loads(json.dumps(figures.as_json()))) == figures


@pytest.mark.parametrize(
    "change",
    [
        {"name": "a\x1b[2Jb"},
        {"name": 5},
        {"unit": ""},
        {"total": "much"},
        {"counts": {"\n": 1}},
        {"hosts": [{"host": "a\x07", "waiting": 1, "share": 0, "rate": 1, "pause_s": 0}]},
        {"hosts": [{"host": "a", "waiting": 1, "share": 0, "rate": 0, "pause_s": 0}]},
        {"hosts": [{}]},
    ],
)
def test_what_a_run_never_wrote_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        StageFigures.from_json({**stage().as_json(), **change})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (40, "40 s"),
        (99, "99 s"),
        (120, "2 min"),
        (237.5, "4 min"),
        (5_999, "1 h 40 min"),
        (7 * 3600 + 60, "7 h 1 min"),
        (100 * 3600, "4 days 4 h"),
    ],
)
def test_how_long_is_said_in_two_units_at_most(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("rate", "text"), [(8.0, "8/s"), (0.25, "0.2/s"), (2.5, "2.5/s"), (1234.5, "1,234/s")]
)
def test_a_rate_has_the_digits_that_matter(rate: float, text: str) -> None:
    assert rate_text(rate) == text


@given(
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.integers(0, 10_000),
    st.floats(0, 1e6),
    st.lists(
        st.builds(
            HostFigures,
            st.just("a.example"),
            st.integers(1, 10_000),
            st.floats(0, 2),
            st.floats(1e-3, 1e6) | st.just(math.inf),
            st.floats(0, 1e3),
        ),
        max_size=5,
    ),
)
def test_the_estimate_is_never_below_either(
    done: int, waiting: int, asked: int, elapsed_s: float, hosts: list[HostFigures]
) -> None:
    figures = stage(done, waiting, asked, *hosts, elapsed_s=elapsed_s, total=10_000.0)
    seconds = figures.seconds_left
    assert figures.num_later >= 0
    if done < 10_000 and seconds is not None:
        for host in hosts:
            assert seconds >= host.seconds_left()
        if figures.rate:
            assert seconds >= figures.left / figures.rate
