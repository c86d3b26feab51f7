"""Counting numbers in fine bins, from which coarser ones and quantiles are taken later.

A bin holds values from its edge up to, and without, the next edge. Counts are exact; quantiles
are as fine as the bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class Bins:
    """Counts between rising `edges`: one fewer than those; none lies outside."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Return how many values were counted."""
        return sum(self.counts)

    @property
    def shares(self) -> tuple[float, ...]:
        """Return each count as a part of all."""
        total = self.total
        return tuple(num / total if total else 0.0 for num in self.counts)


class Tally:
    """Counts of numbers between rising `edges`, which hold all values that can be."""

    def __init__(self, edges: Sequence[float] | Floats) -> None:
        self.edges: Floats = np.asarray(edges, np.float64)
        self.counts = np.zeros(len(self.edges) - 1, np.int64)
        self.missing = 0
        self.least = np.inf
        self.most = -np.inf
        self.sum = 0.0

    def add(self, values: Floats) -> None:
        """Count values; NaN is missing."""
        known = values[~np.isnan(values)]
        self.missing += len(values) - len(known)
        if not len(known):
            return
        self.least = min(self.least, float(known.min()))
        self.most = max(self.most, float(known.max()))
        self.sum += float(known.sum())
        places = np.searchsorted(self.edges, known, side="right") - 1
        # What is beyond the edges, such as an image of 2 million pixels a side, is in the outmost.
        places = np.clip(places, 0, len(self.counts) - 1)
        self.counts += np.bincount(places, minlength=len(self.counts))

    @property
    def total(self) -> int:
        """Return how many values were counted."""
        return int(self.counts.sum())

    def at_least(self, limit: float) -> int:
        """Return how many values are `limit`, which has to be an edge, or more."""
        (place,) = np.flatnonzero(self.edges == limit)
        return int(self.counts[place:].sum())

    def quantile(self, share: float) -> float:
        """Return the edge of the bin that the value at this place of the sorted ones is in."""
        return self._edge_of(int(share * (self.total - 1)))

    def span(self, share: float) -> tuple[float, float]:
        """Return the edges of the bins between which all values but a `share` at each end are."""
        left_out = int(share * self.total)
        return self._edge_of(left_out), self._edge_of(self.total - 1 - left_out)

    def bins(self, edges: Sequence[float]) -> Bins:
        """Return counts between some of the fine edges; the outmost take what is beyond them."""
        places = np.searchsorted(self.edges, edges)
        if not np.array_equal(self.edges[places], edges):
            raise ValueError("coarse edges have to be among the fine ones")
        places[0], places[-1] = 0, len(self.counts)
        running = np.concatenate(([0], np.cumsum(self.counts)))
        counts = np.diff(running[places])
        return Bins(tuple(map(float, edges)), tuple(counts.tolist()))

    def _edge_of(self, place: int) -> float:
        """Return the edge of the bin that holds the value at this place of the sorted ones."""
        return float(self.edges[np.searchsorted(np.cumsum(self.counts), place, side="right")])

    def as_json(self, edges: Sequence[float]) -> dict[str, Any]:
        """Return counts, coarse bins and quantiles for programs."""
        bins = self.bins(edges)
        return {
            "counted": self.total,
            "missing": self.missing,
            "least": self.least if self.total else None,
            "most": self.most if self.total else None,
            # In digits that do not depend on the order of summing.
            "mean": float(f"{self.sum / self.total:.6g}") if self.total else None,
            "quantiles": {f"{share:g}": self.quantile(share) for share in QUANTILES}
            if self.total
            else {},
            "edges": list(bins.edges),
            "counts": list(bins.counts),
        }


def unit_edges(end: int) -> Floats:
    """Return edges for whole numbers from 0 up to `end`, each alone, and one bin for the rest."""
    return np.append(np.arange(end + 1, dtype=np.float64), np.inf)


def growing_edges(exact: int, end: int) -> Floats:
    """Return edges for whole numbers: each alone up to `exact`, then bins that grow by 1.1 %.

    These are 64 to an octave, so that `octave_edges` are among them. Both numbers have to be
    powers of two; the last bin takes what is `end` or more.
    """
    growing = np.round(2 ** (np.arange(64 * np.log2(exact), 64 * np.log2(end) + 1) / 64))
    return np.append(np.unique(np.concatenate((np.arange(exact), growing))), np.inf)


def octave_edges(low: int, high: int, num: int) -> tuple[float, ...]:
    """Return whole numbers from 2 ** low to 2 ** high, `num` to an octave."""
    edges = (round(2 ** (k / num)) for k in range(num * low, num * high + 1))
    return tuple(dict.fromkeys(map(float, edges)))
