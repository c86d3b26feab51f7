"""Choosing the thresholds, and the bins, that similarities are shown in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from webpairs.report.gather import Gathered
from webpairs.report.tally import Tally

NUM_THRESHOLDS: Final = 24
AROUND: Final = 100
"""Thousandths on either side of the threshold that was used."""
NUM_BINS: Final = 60
_STEPS_PER_UNIT: Final = (200, 100, 50, 20, 10)


def other_thresholds(datasets: Sequence[Gathered]) -> list[float]:
    """Return thresholds around those that were used, else where most similarities are; rising.

    None where nothing was scored.
    """
    tallies = _scored(datasets)
    used = [round(1000 * one.threshold) for one in datasets if one.threshold is not None]
    edges = _even(tallies, NUM_THRESHOLDS, 0.001)
    if not used or not edges or not edges[0] <= min(used) / 1000 <= max(used) / 1000 <= edges[-1]:
        return _even(tallies, NUM_THRESHOLDS, 0.02)
    first, last = min(used) - AROUND, max(used) + AROUND
    step = 10 if last - first <= 4 * AROUND else 50
    return [k / 1000 for k in range(first, last + 1, step) if abs(k) <= 1000]


def similarity_edges(datasets: Sequence[Gathered]) -> list[float]:
    """Return edges of even bins over nearly all similarities, kept and dropped."""
    return _even(_scored(datasets), NUM_BINS, 0.001)


def _scored(datasets: Sequence[Gathered]) -> list[Tally]:
    """Return the tallies of kept and dropped similarities that have any."""
    tallies = [
        tally for one in datasets for tally in (one.tallies["similarity"], one.dropped_similarity)
    ]
    return [one for one in tallies if one.total]


def _even(tallies: Sequence[Tally], num: int, share: float) -> list[float]:
    """Return at most `num` round numbers over all but the outmost `share` of each tally."""
    if not tallies:
        return []
    spans = [one.span(share) for one in tallies]
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    per_unit = next(
        (one for one in _STEPS_PER_UNIT if (high - low) * one <= num - 2), _STEPS_PER_UNIT[-1]
    )
    # A quantile is an edge of 0.001, which is off its round number by less than 1e-9.
    first = min(math.floor(low * per_unit + 1e-9), per_unit - 1)
    last = max(math.floor(high * per_unit + 1e-9), first) + 1
    return [k / per_unit for k in range(first, last + 1) if abs(k) <= per_unit]
