"""Drawing a sample of the image embeddings onto a plane, parted into clusters.

Clusters are k-means'; the plane is the one in which their centres lie furthest apart (the first
two principal components of the centres, each weighted by its size). It is linear: what is near in
the plane may be far apart in truth, what is far apart is not near. All is NumPy's: what does more
(UMAP, t-SNE) takes a compiler at run time or minutes, and says less about distances.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.clusters import distances, k_means, num_clusters, plane_of
from webpairs.report.examples import SEED, Example

Floats = npt.NDArray[np.float32]

NUM_POINTS: Final = 2_000
LEAST_POINTS: Final = 20
"""Of fewer there is nothing to see."""
NUM_TYPICAL: Final = 3
NUM_WORDS: Final = 4
_WORD: Final = re.compile(r"[^\W\d_]{3,30}")


@dataclass(frozen=True, slots=True)
class Points:
    """Some samples of one shard."""

    examples: tuple[Example, ...]
    embeddings: Floats
    """(n, d) of their images, of length 1."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Description of one cluster by what is nearest to its centre."""

    size: int
    x: float
    y: float
    words: tuple[str, ...]
    """Words that its captions have more often than others'."""
    typical: tuple[Example, ...]
    """The samples nearest to the centre, captions all different."""


@dataclass(frozen=True, slots=True)
class Map:
    """Points (n, 2), the cluster of each, and the clusters, the largest first."""

    points: Floats
    labels: npt.NDArray[np.int64]
    clusters: tuple[Cluster, ...]
    spread: float
    """Part of the whole variance that the plane shows, 0 to 1."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "method": "k-means; principal plane of the cluster centres",
            "seed": SEED,
            "spread": round(self.spread, 4),
            "clusters": [
                {
                    "size": one.size,
                    "centre": [round(one.x, 4), round(one.y, 4)],
                    "words": list(one.words),
                    "captions": [example.text for example in one.typical],
                }
                for one in self.clusters
            ],
            "points": [
                [round(float(x), 4), round(float(y), 4), int(label)]
                for (x, y), label in zip(self.points, self.labels, strict=True)
            ],
        }


def draw_map(parts: Sequence[Points], seed: int = SEED) -> Map | None:
    """Part points into clusters and lay them out; None when they are too few."""
    parts = [one for one in parts if one.examples]
    examples = [example for one in parts for example in one.examples]
    if len(examples) < LEAST_POINTS:
        return None
    embeddings = np.concatenate([one.embeddings for one in parts]).astype(np.float32)
    captions = [example.text for example in examples]
    centred = embeddings - embeddings.mean(axis=0)
    labels, centres = k_means(centred, num_clusters(len(centred)), seed)
    plane = plane_of(centres, np.bincount(labels, minlength=len(centres)))
    points = centred @ plane.T
    order = np.argsort(-np.bincount(labels, minlength=len(centres)), kind="stable")
    labels = np.argsort(order)[labels]
    centres = centres[order]
    words = _telling_words(captions, labels, len(centres))
    clusters: list[Cluster] = []
    for number, centre in enumerate(centres):
        here = np.flatnonzero(labels == number)
        if not len(here):
            continue
        nearest = here[np.argsort(distances(centred[here], centre[None])[:, 0], kind="stable")]
        typical: dict[str, Example] = {}
        for one in nearest.tolist():
            typical.setdefault(captions[one], examples[one])
            if len(typical) == NUM_TYPICAL:
                break
        x, y = np.median(points[here], axis=0).tolist()
        clusters.append(Cluster(len(here), x, y, words[number], tuple(typical.values())))
    whole = float((centred**2).sum())
    spread = float((points**2).sum()) / whole if whole else 0.0
    return Map(points, labels, tuple(clusters), spread)


def _telling_words(
    captions: Sequence[str], labels: npt.NDArray[np.int64], num_clusters: int
) -> list[tuple[str, ...]]:
    """Return for each cluster the words whose share in it exceeds their share in all the most.

    Weighed as p log(p / q): a word has to be frequent as well as telling.
    """
    words = [frozenset(_WORD.findall(caption.lower())) for caption in captions]
    everywhere = Counter(word for one in words for word in one)
    telling: list[tuple[str, ...]] = []
    for number in range(num_clusters):
        here = [words[one] for one in np.flatnonzero(labels == number).tolist()]
        counts = Counter(word for one in here for word in one)
        weights = {
            word: (num / len(here))
            * float(np.log((num / len(here)) / (everywhere[word] / len(captions))))
            for word, num in counts.items()
            if num > 1
        }
        best = sorted(weights, key=lambda word: (-weights[word], word))[:NUM_WORDS]
        telling.append(tuple(word for word in best if weights[word] > 0.01))
    return telling
