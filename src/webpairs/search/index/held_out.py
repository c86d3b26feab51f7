"""Held-out queries and their true nearest neighbours, found while an index is built.

Queries are rows picked at random: their image and their text, against all other rows. A query's own
row is not a result, and it is not among the vectors that centroids are found from, so that it is a
query that the index never saw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from webpairs.dataset.sources.source import Rows
from webpairs.search.index.faiss_library import load_faiss
from webpairs.search.index.inverted import TUNED_K
from webpairs.search.index.vectors import KINDS, Floats, Kind, Vectors, normalised

NUM_QUERIES: Final = 400
"""Of each kind. Half of them tune, half of them measure: 2,000 results of 10 queries, so that the
recall's standard error is at most 0.01 where results were independent."""
KEPT: Final = max(TUNED_K) + 1
"""Nearest rows that are kept: the query's own may be among them."""
_SEED: Final = 20210820
TIE: Final = 1e-5
"""Cosines that differ by less count as equal: float32 sums in another order differ by 1e-6."""


@dataclass(frozen=True, slots=True)
class Queries:
    """The rows that are queries, and their vectors of each kind, (q, d), of length 1."""

    rows: Rows
    vectors: Mapping[Kind, Floats]


@dataclass(slots=True)
class Nearest:
    """The nearest rows so far to each query of one kind, best first: (q, n) each."""

    similarities: Floats
    rows: Rows
    lists: Rows
    """The list that each row is in."""

    @classmethod
    def empty(cls, num_queries: int) -> Nearest:
        """Return no neighbours: arrays (num_queries, 0)."""
        return cls(
            np.zeros((num_queries, 0), np.float32),
            np.zeros((num_queries, 0), np.int64),
            np.zeros((num_queries, 0), np.int64),
        )

    def add(self, other: Nearest) -> None:
        """Take over what is nearer, up to `KEPT` rows."""
        similarities = np.concatenate([self.similarities, other.similarities], axis=1)
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :KEPT]
        self.similarities = np.take_along_axis(similarities, order, 1)
        rows, lists = (
            np.concatenate(pair, axis=1)
            for pair in ((self.rows, other.rows), (self.lists, other.lists))
        )
        self.rows = np.take_along_axis(rows, order, 1)
        self.lists = np.take_along_axis(lists, order, 1)

    def without(self, own: Rows) -> Nearest:
        """Return the nearest rows that are not the query's own, one less."""
        num = self.rows.shape[1] - 1
        # Its own row goes last, if it is there, and the last of the others if it is not.
        order = np.argsort(self.rows == own[:, None], axis=1, kind="stable")[:, :num]
        return Nearest(
            np.take_along_axis(self.similarities, order, 1),
            np.take_along_axis(self.rows, order, 1),
            np.take_along_axis(self.lists, order, 1),
        )


Truth = dict[Kind, Nearest]
"""For each kind of query."""


def pick_queries(source_vectors: Mapping[Kind, Vectors]) -> Rows:
    """Return rows picked at random that have a vector of each kind, rising."""
    num_rows = source_vectors["image"].num_rows
    rng = np.random.default_rng(_SEED)
    picked = np.unique(rng.integers(0, num_rows, 2 * NUM_QUERIES))
    found = queries_at(picked, source_vectors).vectors.values()
    good = np.logical_and.reduce([np.isfinite(one).all(axis=1) for one in found])
    return np.sort(rng.permutation(picked[good])[:NUM_QUERIES])


def queries_at(rows: Rows, source_vectors: Mapping[Kind, Vectors]) -> Queries:
    """Return the queries that some rows are."""
    return Queries(
        rows, {kind: normalised(vectors.take(rows)) for kind, vectors in source_vectors.items()}
    )


def nearest_in_block(queries: Queries, block: Floats, rows: Rows, lists: Rows) -> Truth:
    """Return the nearest of a block's (n, d) vectors of length 1, in their lists, to each query."""
    faiss = load_faiss()
    truth: Truth = {}
    for kind, vectors in queries.vectors.items():
        k = min(KEPT, len(block))
        similarities, places = faiss.knn(
            vectors, np.ascontiguousarray(block), k, metric=faiss.METRIC_INNER_PRODUCT
        )
        truth[kind] = Nearest(similarities, rows[places], lists[places])
    return truth


def merged(parts: list[Truth], num_queries: int) -> Truth:
    """Return the nearest of all parts."""
    truth: Truth = {}
    for part in parts:
        for kind, one in part.items():
            truth.setdefault(kind, Nearest.empty(num_queries)).add(one)
    return truth


def to_arrays(truth: Truth) -> dict[str, Any]:
    """Return a truth as arrays by name, to be written."""
    return {
        f"{kind}_{name}": getattr(one, name)
        for kind, one in truth.items()
        for name in ("similarities", "rows", "lists")
    }


def from_arrays(arrays: Mapping[str, Any]) -> Truth:
    """Return what `to_arrays` gave."""
    return {
        kind: Nearest(
            arrays[f"{kind}_similarities"], arrays[f"{kind}_rows"], arrays[f"{kind}_lists"]
        )
        for kind in KINDS
        if kind == KINDS[0] or f"{kind}_rows" in arrays
    }
