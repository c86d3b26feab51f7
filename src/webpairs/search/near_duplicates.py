"""Fold results that show the same: of each group the best stays.

As clip-retrieval does it: vectors whose cosine is above 0.94 are the same, and what is the same as
the same thing is too (connected components). Source: `connected_components_dedup` and
`get_non_uniques` of clip_retrieval/clip_back.py.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from webpairs.dataset.sources.source import Rows
from webpairs.search.index.vectors import Floats, normalised

SAME: Final = 0.94
_BLOCK: Final = 1_024


def group_copies(vectors: Floats, same: float = SAME) -> Rows:
    """Return for each of (n, d) vectors, best first, the number of the first of its group."""
    directions = normalised(vectors)
    num = len(directions)
    first = np.arange(num)
    for start in range(0, num, _BLOCK):
        near = directions[start : start + _BLOCK] @ directions.T > same
        for place in range(len(near)):
            groups = np.append(first[near[place]], first[start + place])
            if (groups != groups[0]).any():
                first[np.isin(first, groups)] = groups.min()
    return first


def fold_copies(vectors: Floats, same: float = SAME) -> list[Rows]:
    """Return the groups of (n, d) vectors, best first: the places of each, the first its best."""
    first = group_copies(vectors, same)
    order = np.argsort(first, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(first[order])) + 1) if len(order) else []


def keep_first(vectors: Floats, same: float = SAME) -> Rows:
    """Return the places of the vectors that stay, rising."""
    return np.flatnonzero(group_copies(vectors, same) == np.arange(len(vectors)))
