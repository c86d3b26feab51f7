"""Judging is a pure function of stored scores."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.build.judge import judge
from webpairs.drops import Drop


@pytest.mark.parametrize(
    ("similarity", "kept"),
    [
        (0.3, True),  # "less than 0.3" is dropped, so 0.3 itself stays
        (math.nextafter(0.3, 0), False),
        (math.nextafter(0.3, 1), True),
        (1.0, True),
        (-1.0, False),
        (math.nan, False),
    ],
)
def test_the_threshold_itself_is_kept(similarity: float, kept: bool) -> None:
    assert judge(np.array([similarity]), 0.3) == [None if kept else Drop.SIMILARITY]


def test_no_pairs_no_verdicts() -> None:
    assert judge(np.zeros(0), 0.3) == []


scores = st.lists(st.floats(-1, 1), max_size=50)
thresholds = st.floats(-1, 1)


@given(scores, thresholds, thresholds)
def test_a_stricter_threshold_is_a_where_on_the_looser_ones_scores(
    values: list[float], one: float, other: float
) -> None:
    loose, strict = sorted((one, other))
    similarity = np.array(values, dtype=np.float64)
    kept = similarity[[drop is None for drop in judge(similarity, loose)]]
    again = kept[[drop is None for drop in judge(kept, strict)]]
    at_once = similarity[[drop is None for drop in judge(similarity, strict)]]
    assert again.tolist() == at_once.tolist() == kept[kept >= strict].tolist()


@given(scores)
def test_minus_one_keeps_every_cosine(values: list[float]) -> None:
    assert judge(np.array(values, dtype=np.float64), -1) == [None] * len(values)
