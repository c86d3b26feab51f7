"""Divide vectors into lists: find the centroids, and the list of each vector.

K-means in two levels: the sample is divided into about sqrt(n) parts and each part into its share
of lists, then a round over all corrects the borders. On 1 M vectors, 8,192 lists so found took 50 s
of processor time and their queries read a fifth fewer vectors than with 4,096 lists of plain
k-means, which took 105 s.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.dataset.sources.source import Rows
from webpairs.search.index.faiss_library import load_faiss
from webpairs.search.index.vectors import Floats

SAMPLE_A_LIST: Final = 50
"""Vectors that a centroid is found from; faiss warns below 39."""
LEAST_SAMPLE_A_LIST: Final = 32
MAX_LISTS: Final = 65_536
_ROUNDS: Final = 10
_CORRECTIONS: Final = 3
_TOP_SAMPLE: Final = 256
"""Vectors that a part's centroid is found from."""
_HALF_STEP: Final = 16
"""faiss's float16 kernel wants vectors of so many numbers, or a multiple."""


def num_lists(num_vectors: int, max_sample: int) -> int:
    """Return into how many lists to divide: a power of two about 8 sqrt(n).

    Fewer where the memory for the sample does not reach. Half as many lists let a text query read
    1.6 times the vectors (1 M of them, measured).
    """
    wanted = 2 ** round(math.log2(8 * math.sqrt(num_vectors)))
    affordable = min(num_vectors, max_sample) // LEAST_SAMPLE_A_LIST
    return max(1, min(wanted, MAX_LISTS, 2 ** int(math.log2(max(affordable, 1)))))


def find_centroids(sample: Floats, num: int, seed: int = 1) -> Floats:
    """Return `num` centroids of (n, d) vectors; (num, d), fewer where there are fewer vectors."""
    num_parts = max(1, int(math.sqrt(num)))
    rng = np.random.default_rng(seed)
    picked = rng.permutation(len(sample))[: num_parts * _TOP_SAMPLE]
    parts = _k_means(sample[picked], num_parts, seed)
    part_of = _Flat(parts).assign(sample)
    counts = np.bincount(part_of, minlength=len(parts))
    shares = _shares(counts, num)
    found = [
        _k_means(sample[part_of == part], int(shares[part]), seed)
        for part in np.flatnonzero(shares).tolist()
    ]
    centroids = np.concatenate(found)
    for _ in range(_CORRECTIONS):
        centroids = _corrected(centroids, sample)
    return centroids


def _k_means(sample: Floats, num: int, seed: int) -> Floats:
    faiss = load_faiss()
    if len(sample) <= num:
        return sample
    parameters = faiss.ClusteringParameters()
    parameters.niter = _ROUNDS
    parameters.seed = seed
    parameters.min_points_per_centroid = 1  # it would warn; what is few is decided in num_lists
    parameters.max_points_per_centroid = 4 * _TOP_SAMPLE
    clustering = faiss.Clustering(sample.shape[1], num, parameters)
    clustering.train(np.ascontiguousarray(sample), faiss.IndexFlatL2(sample.shape[1]))
    centroids: Floats = faiss.vector_to_array(clustering.centroids)
    return centroids.reshape(num, sample.shape[1])


def _shares(counts: npt.NDArray[np.int64], num: int) -> npt.NDArray[np.int64]:
    """Divide `num` lists among parts by their sizes: at least one each that is not empty."""
    exact = counts / counts.sum() * num
    shares = np.maximum(np.floor(exact).astype(np.int64), counts > 0)
    for part in np.argsort(shares - exact, kind="stable")[: max(0, num - int(shares.sum()))]:
        shares[part] += 1
    return np.minimum(shares, counts)


def _corrected(centroids: Floats, sample: Floats) -> Floats:
    """Return the means of what is nearest to each centroid."""
    lists = Divider(centroids).assign(sample)
    order = np.argsort(lists, kind="stable")
    there, starts, counts = np.unique(lists[order], return_index=True, return_counts=True)
    corrected = centroids.copy()
    for number, start, count in zip(there.tolist(), starts.tolist(), counts.tolist(), strict=True):
        corrected[number] = sample[order[start : start + count]].mean(axis=0)
    return corrected


class _Flat:
    """Finder of the nearest of few centroids."""

    def __init__(self, centroids: Floats) -> None:
        self._index: Any = load_faiss().IndexFlatL2(centroids.shape[1])
        self._index.add(np.ascontiguousarray(centroids))

    def assign(self, vectors: Floats) -> Rows:
        """Return the number of each vector's nearest centroid, (n,)."""
        return self._index.search(np.ascontiguousarray(vectors), 1)[1][:, 0]


class Divider:
    """Finder of a near centroid of many: the nearest 49 times of 50, in a third of the time."""

    def __init__(self, centroids: Floats) -> None:
        faiss = load_faiss()
        self._index: Any = faiss.IndexHNSWFlat(centroids.shape[1], 32)
        self._index.hnsw.efConstruction = 100
        self._index.add(np.ascontiguousarray(centroids))
        self._index.hnsw.efSearch = 32

    def assign(self, vectors: Floats) -> Rows:
        """Return the number of the list that each vector belongs to, (n,)."""
        return self._index.search(np.ascontiguousarray(vectors), 1)[1][:, 0]


class Coarse:
    """Ordering the lists by how near to a query what is in them may be.

    A list's mean says how near its vectors are on average, not the nearest of them: that lies
    further out the more its vectors are spread. So lists are ordered by q·c + slack * (1 - |c|²),
    where 1 - |c|² is the variance of a list of vectors of length 1. How much slack is best differs
    between queries that are images and those that are texts, far from all images; it is measured
    (`tune.py`). With the best slack a tenth to two thirds of the lists have to be read that have
    to be without (1 M vectors, image and text queries).
    """

    def __init__(self, centroids: Floats) -> None:
        faiss = load_faiss()
        num, dim = centroids.shape
        self._dim = dim
        self._padded = -(-(dim + 1) // _HALF_STEP) * _HALF_STEP
        spread = np.maximum(0, 1 - np.einsum("ij,ij->i", centroids, centroids))
        both = np.zeros((num, self._padded), np.float32)
        both[:, :dim] = centroids
        both[:, dim] = spread
        # Not a product of matrices by BLAS: on a busy machine its threads wait for each other.
        self._index: Any = faiss.IndexScalarQuantizer(
            self._padded, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        self._index.is_trained = True
        self._index.add(both)
        self.num_lists = num

    def order(self, queries: Floats, slack: float, num: int) -> Rows:
        """Return the `num` most promising lists for (q, d) queries, (q, num), best first."""
        both = np.zeros((len(queries), self._padded), np.float32)
        both[:, : self._dim] = queries
        both[:, self._dim] = slack
        return self._index.search(both, min(num, self.num_lists))[1]
