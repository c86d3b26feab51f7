"""Measuring how similar embeddings are by chance: below that, a similarity says little.

A search always finds something, also where nothing fits. So pairs of samples are chosen at random,
which have nothing to do with each other, and their similarities taken as a measure. For a text that
is searched in pictures these are the similarities of captions and pictures of other samples; they
depend on the model and on the dataset, as the similarities of results do.

With the demo's dataset (362 samples, model tiny) 1 in 100 such pairs reaches 0.263: of "a red ring"
9 results are above, of "a photograph of a cat", which is not in it, none.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from webpairs.search.index.vectors import Kind, normalised
from webpairs.serve.collection import Served

SHARE: Final = 0.01
"""Part of the pairs chosen at random that reach the similarity which is returned."""
NUM_ROWS: Final = 1_000
"""Samples chosen at random; each is paired with each other one: a million pairs."""
LEAST_ROWS: Final = 32
"""With fewer samples, 1 in 100 of their pairs is a handful, and nothing is returned."""
SEED: Final = 0


def similarity_by_chance(served: Served, of: Kind | None, among: Kind) -> float | None:
    """Return the similarity that SHARE of all pairs chosen at random reaches.

    `of` is what the query is an embedding of, `among` what it is compared with. Returns None where
    the query mixes kinds, or the dataset has too few embeddings of a kind.
    """
    if of is None or of not in served.searcher.indexes:
        return None
    if (of, among) not in served.chances:
        served.chances[of, among] = _measure(served, of, among)
    return served.chances[of, among]


def _measure(served: Served, of: Kind, among: Kind) -> float | None:
    total = served.vectors.num_rows
    rng = np.random.default_rng(SEED)
    rows = np.sort(rng.choice(total, min(NUM_ROWS, total), replace=False))
    queries, others = (served.searcher.index(kind).vectors.take(rows) for kind in (of, among))
    # A row without an embedding is NaN; zeros have no direction.
    there = np.isfinite(queries).all(1) & np.isfinite(others).all(1)
    there &= queries.any(1) & others.any(1)
    queries, others = queries[there], others[there]
    if len(queries) < LEAST_ROWS:
        return None
    similarities = normalised(queries) @ normalised(others).T
    apart = ~np.eye(len(similarities), dtype=bool)
    return float(np.quantile(similarities[apart], 1 - SHARE))
