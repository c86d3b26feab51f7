"""Putting together what is searched for: terms to be near to, and terms to keep away from.

The vector of a query is the sum of its terms' vectors, each of length 1 and weighted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from webpairs.errors import ConfigError
from webpairs.search.index.vectors import Floats, Kind, normalised

AWAY: Final = -0.5
"""Weight of a term to keep away from."""


@dataclass(frozen=True, slots=True)
class Term:
    """One term: the (d,) embedding of a text, an image or a sample."""

    vector: Floats
    kind: Kind | None
    """What it is an embedding of; None: that is not known."""
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Query:
    """What an index is asked: a (d,) vector, and what it is like, None: something mixed."""

    vector: Floats
    kind: Kind | None


def combine(terms: Sequence[Term]) -> Query:
    """Return the query that terms make; ConfigError when they cancel each other."""
    weights = np.array([one.weight for one in terms], np.float32)
    vectors = normalised(np.stack([one.vector for one in terms]))
    vector = weights @ vectors
    if not np.isfinite(vector).all() or np.linalg.norm(vector) < 1e-3 * np.abs(weights).sum():
        raise ConfigError("the terms cancel each other: nothing is left to search for")
    first = terms[0].kind
    return Query(vector, first if all(one.kind == first for one in terms) else None)
