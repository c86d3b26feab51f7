"""Part embeddings into clusters, and find the plane in which the clusters lie furthest apart.

Linear, in NumPy alone: what is near in the plane may be far apart in truth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

MAX_CLUSTERS: Final = 10
POINTS_A_CLUSTER: Final = 25
"""As many at least, on average: fewer clusters where there are few points."""
_MAX_ROUNDS: Final = 100


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """A point and two directions in the space of the embeddings."""

    centre: Floats
    """(d,)"""
    directions: Floats
    """(2, d), each of length 1."""

    def project(self, points: Floats) -> Floats:
        """Return x and y (n, 2) of points (n, d)."""
        # Unlike a product of matrices: the same sum whatever other points stand beside it.
        return np.einsum("nd,kd->nk", points - self.centre, self.directions)


def fit_plane(points: Floats, seed: int) -> Plane:
    """Return the plane of points (n, d), one at least."""
    centre = points.mean(axis=0)
    labels, centres = k_means(points - centre, num_clusters(len(points)), seed)
    directions = plane_of(centres, np.bincount(labels, minlength=len(centres)))
    return Plane(centre, directions.astype(np.float32))


def unit_rows(embeddings: npt.NDArray[np.floating]) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return embeddings (n, d) at length 1, and which of them have a length: others are 0."""
    points = embeddings.astype(np.float32)
    lengths = np.linalg.norm(points, axis=1)
    good = np.isfinite(lengths) & (lengths > 0)
    points[~good] = 0
    points[good] /= lengths[good, None]
    return points, good


def num_clusters(num_points: int) -> int:
    """Return into how many clusters so many points are parted."""
    return max(2, min(MAX_CLUSTERS, num_points // POINTS_A_CLUSTER))


def k_means(points: Floats, num: int, seed: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Part (n, d) points into clusters; return the cluster of each, and the centres (k, d).

    Starts from k-means++ (Arthur and Vassilvitskii, 2007): centres are drawn far from each other.
    There are fewer clusters when points coincide.
    """
    rng = np.random.default_rng(seed)
    centres = points[[int(rng.integers(len(points)))]]
    nearest = distances(points, centres)[:, 0]
    while len(centres) < num and nearest.sum() > 0:
        chosen = int(rng.choice(len(points), p=nearest / nearest.sum()))
        centres = np.concatenate((centres, points[[chosen]]))
        nearest = np.minimum(nearest, distances(points, points[[chosen]])[:, 0])
    labels = distances(points, centres).argmin(axis=1)
    for _ in range(_MAX_ROUNDS):
        sizes = np.bincount(labels, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, points)
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
        moved = distances(points, centres).argmin(axis=1)
        if np.array_equal(moved, labels):
            break
        labels = moved
    return labels, centres


def distances(points: Floats, centres: Floats) -> npt.NDArray[np.float64]:
    """Return squared distances (n, k)."""
    squares = (points**2).sum(axis=1)[:, None] + (centres**2).sum(axis=1)
    return np.maximum(squares - 2 * points @ centres.T, 0).astype(np.float64)


def plane_of(centres: Floats, sizes: npt.NDArray[np.int64]) -> Floats:
    """Return two directions (2, d) of length 1 along which the centres differ most."""
    weighted = centres * np.sqrt(sizes)[:, None].astype(np.float32)
    directions = np.linalg.svd(weighted, full_matrices=False)[2][:2]
    if len(directions) < 2:  # a single centre
        directions = np.concatenate((directions, np.zeros_like(directions)))[:2]
    # A direction has no sign of its own: its largest part is made positive.
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(2), largest])
    return directions * np.where(signs == 0, 1, signs)[:, None].astype(np.float32)
