"""Measuring how much effort finds as much as was asked for, and how much is really found.

On half of the held-out queries the least effort is looked for: how many lists, in which order
(`centroids.Coarse`), and how many candidates are compared by their embeddings. On the other half
its recall is measured, and that number is the one that is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from webpairs.dataset.sources.source import Rows
from webpairs.search.index.held_out import TIE, Nearest
from webpairs.search.index.inverted import TUNED_K, Effort, Inverted, Probing
from webpairs.search.index.vectors import Floats

_SLACKS: Final = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7)
_DEPTHS: Final = {10: (2, 4, 8, 16, 32, 64), 100: (2, 4, 8)}
"""Candidates that are compared for each result, by the number of results."""
_MARGIN: Final = 0.01
"""Recall that the tuning half must reach above the target, against selection bias. It is raised by
the same step until the held-out half reaches the target."""
_RELEASED_QUERIES: Final = 4
"""Mapped pages of embeddings are dropped (madvise) after this many queries."""
_SCAN_S: Final = 30e-9
_COMPARE_S: Final = 1e-6
"""What a code that is read and a candidate that is compared cost (2 cores, AVX-512)."""


@dataclass(frozen=True, slots=True)
class Measured:
    """How queries of one kind are answered, and which share of the k nearest that finds."""

    probing: Probing
    recall: Mapping[int, float]
    """For each of `TUNED_K`, on queries that did not tune."""
    num_queries: int

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in the manifest."""
        recall = {f"at_{k}": round(share, 4) for k, share in self.recall.items()}
        return {**self.probing.as_json(), "recall": {**recall, "queries": self.num_queries}}


@dataclass(frozen=True, slots=True)
class _Half:
    """Some queries, their own rows and what is nearest to each, of other rows."""

    queries: Floats
    own: Rows
    nearest: Nearest


def tune(index: Inverted, queries: Floats, own: Rows, nearest: Nearest, target: float) -> Measured:
    """Return the least effort that finds the share `target` of what is nearest.

    Where no effort that is tried does, the one that finds most.
    """
    nearest = nearest.without(own)
    halves = [
        _Half(
            queries[half],
            own[half],
            Nearest(nearest.similarities[half], nearest.rows[half], nearest.lists[half]),
        )
        for half in (slice(0, None, 2), slice(1, None, 2))
    ]
    tuning, measuring = halves
    share = min(target + 2 * _MARGIN, 1.0)
    needed = {slack: _lists_needed(index, tuning, slack, share) for slack in _SLACKS}
    efforts: dict[int, Effort] = {}
    recall: dict[int, float] = {}
    for k in TUNED_K:
        slack = min(_SLACKS, key=lambda one: needed[one][k][1])
        wanted = target
        while wanted < 1 and (wanted == target or recall[k] < target):
            wanted = min(wanted + _MARGIN, 1.0)
            efforts[k] = _least_effort(index, tuning, k, slack, wanted)
            recall[k] = _recall(index, measuring, k, efforts[k])
    return Measured(Probing(efforts), recall, len(measuring.queries))


def _lists_needed(
    index: Inverted, half: _Half, slack: float, share: float
) -> dict[int, tuple[int, float]]:
    """Return for each of `TUNED_K` how many lists have that share of the nearest, and vectors."""
    order = index.coarse.order(half.queries, slack, index.coarse.num_lists)
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.arange(order.shape[1])[None], 1)
    found: dict[int, tuple[int, float]] = {}
    for k in TUNED_K:
        needed = np.sort(np.take_along_axis(ranks, half.nearest.lists[:, :k], 1), axis=None)
        num = int(needed[min(len(needed) - 1, int(share * len(needed)))]) + 1
        found[k] = num, float(index.sizes[order[:, :num]].sum(axis=1).mean())
    return found


def _least_effort(index: Inverted, half: _Half, k: int, slack: float, target: float) -> Effort:
    """Return what reaches the target at the least cost, else what comes nearest to it."""
    tried: list[tuple[bool, float, Effort]] = []
    for share in sorted({target, target + (1 - target) / 4, (1 + target) / 2, 0.998}):
        num, scanned = _lists_needed(index, half, slack, share)[k]
        lists = index.coarse.order(half.queries, slack, num)
        for many in _DEPTHS[k]:
            depth = k * many
            recall = _share(index, half, k, index.candidates(half.queries, lists, depth + 1))
            cost = scanned * _SCAN_S + depth * _COMPARE_S
            # What misses the target is worse the more it misses, whatever it costs.
            missed = recall < target
            tried.append((missed, -recall if missed else cost, Effort(num, depth, slack)))
            if not missed:
                break
        if not tried[-1][0] and tried[-1][2].depth == k * _DEPTHS[k][0]:
            break  # more lists can only cost more
    return min(tried, key=lambda one: one[:2])[2]


def _recall(index: Inverted, half: _Half, k: int, effort: Effort) -> float:
    """Return which share of the k nearest a search finds."""
    lists = index.coarse.order(half.queries, effort.slack, effort.lists)
    return _share(index, half, k, index.candidates(half.queries, lists, effort.depth + 1))


def _share(index: Inverted, half: _Half, k: int, candidates: Rows) -> float:
    """Return which share of the k nearest is among candidates; equally near ones are as good.

    Of candidates one more than the depth are looked at: the query's own row is not a result.
    """
    least = half.nearest.similarities[:, k - 1] - TIE
    hits = 0
    for number, query in enumerate(half.queries):
        if number % _RELEASED_QUERIES == 0:
            index.release()
        there = candidates[number][candidates[number] >= 0]
        others = there[there != half.own[number]][: candidates.shape[1] - 1]
        hits += min(int((index.cosines(query, others) >= least[number]).sum()), k)
    return hits / (k * len(half.queries))
