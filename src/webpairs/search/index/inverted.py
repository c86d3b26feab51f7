"""Searching an inverted index: the most promising lists by code, the best of them by embedding."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from webpairs.dataset.sources.source import Rows
from webpairs.search.index.centroids import Coarse
from webpairs.search.index.codec import Codec
from webpairs.search.index.exact import Found, nearest
from webpairs.search.index.faiss_library import load_faiss
from webpairs.search.index.file import damaged
from webpairs.search.index.lists import map_lists
from webpairs.search.index.vectors import Floats, Vectors, normalised

EXACT_ROWS: Final = 200_000
"""So few rows are scanned: 12 ms of 512 float16 numbers on one core, 40 when they are picked."""
TUNED_K: Final = (10, 100)
"""Numbers of results for which the effort is measured; for others it follows from these."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much of an index a query looks at."""

    lists: int
    depth: int
    """Vectors, the best by code, that are compared by their embeddings."""
    slack: float
    """Which lists are the most promising (`centroids.Coarse`)."""


@dataclass(frozen=True, slots=True)
class Probing:
    """How queries of one kind are answered; `at` has the effort for each of `TUNED_K`."""

    at: Mapping[int, Effort]

    def effort(self, k: int) -> Effort:
        """Return the effort for k results: a power of k between those that were measured.

        Beyond them as many times the effort as the results: lists that hold only what is near run
        out.
        """
        least, most = (self.at[number] for number in TUNED_K)
        between = min(max(k, TUNED_K[0]), TUNED_K[1])
        share = math.log(between / TUNED_K[0]) / math.log(TUNED_K[1] / TUNED_K[0])
        beyond = max(k / TUNED_K[1], 1)
        lists = least.lists * (most.lists / least.lists) ** share
        depth = least.depth * (most.depth / least.depth) ** share
        return Effort(
            math.ceil(lists * beyond),
            max(k, math.ceil(depth * beyond)),
            least.slack + (most.slack - least.slack) * share,
        )

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in the manifest."""
        return {"effort": {str(k): [*astuple(one)] for k, one in self.at.items()}}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Probing:
        """Return what `as_json` wrote."""
        return cls({int(k): Effort(*one) for k, one in value["effort"].items()})


class Inverted:
    """An inverted index, mapped; safe to search from several threads."""

    def __init__(
        self, trained: Path, lists: Path, sizes: Rows, vectors: Vectors, *, unit: bool
    ) -> None:
        """`unit` says that the embeddings are of length 1."""
        self._codec = Codec.read(trained)
        if (codec := self._codec).num_lists != len(sizes) or codec.inverted.d != vectors.dim:
            found = f"{codec.num_lists} lists of {codec.inverted.d} numbers"
            raise damaged(trained, ValueError(f"it has {found}, not {len(sizes)}, {vectors.dim}"))
        self._lists = map_lists(self._codec, lists, sizes)
        self._vectors = vectors
        self._unit = unit
        self.coarse = Coarse(self._codec.centroids())
        self.sizes = sizes

    def search(
        self, queries: Floats, k: int, probing: Probing, *, among: Rows | None = None
    ) -> Found:
        """Return the k nearest of all rows, or of rising rows `among`, to (q, d) queries.

        What is chosen by a filter may lie anywhere: few rows are scanned, and with more of them
        twice as many lists are read until that changes nothing in the result.
        """
        effort = probing.effort(k)
        if among is None:
            lists = self.coarse.order(queries, effort.slack, effort.lists)
            return self.compare(queries, self.candidates(queries, lists, effort.depth), k)
        if len(among) <= EXACT_ROWS:
            return nearest(self._vectors, queries, k, unit=self._unit, among=among)
        found = [self._search_among(query[None], k, effort, among) for query in queries]
        return Found(
            np.concatenate([one.rows for one in found]),
            np.concatenate([one.similarities for one in found]),
        )

    def _search_among(self, query: Floats, k: int, effort: Effort, among: Rows) -> Found:
        faiss = load_faiss()
        chosen = np.zeros(self._vectors.num_rows, np.bool_)
        chosen[among] = True
        bits = np.packbits(chosen, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)
        order = self.coarse.order(query, effort.slack, self.coarse.num_lists)
        end = min(effort.lists * len(chosen) // len(among), order.shape[1])
        best = self.compare(
            query, self.candidates(query, order[:, :end], effort.depth, selector), k
        )
        while end < order.shape[1]:
            start, end = end, min(2 * end, order.shape[1])
            more = self.candidates(query, order[:, start:end], effort.depth, selector)
            better = self.compare(query, np.concatenate([best.rows, more], axis=1), k)
            if np.array_equal(better.rows, best.rows) and better.rows[0, -1] >= 0:
                return better
            best = better
        return best

    def candidates(self, queries: Floats, lists: Rows, depth: int, selector: Any = None) -> Rows:
        """Return the `depth` best rows by their codes in (q, n) lists, (q, depth), -1 for none."""
        faiss = load_faiss()
        parameters = faiss.SearchParametersIVF(nprobe=lists.shape[1], sel=selector)
        rotated, lists = self._codec.rotated(queries), np.ascontiguousarray(lists)
        # Only codes of differences from a centroid would need the distances to it.
        unused = np.zeros(lists.shape, np.float32)
        distances = np.empty((len(queries), depth), np.float32)
        rows = np.empty((len(queries), depth), np.int64)
        self._codec.inverted.search_preassigned_c(
            len(queries),
            faiss.swig_ptr(rotated),
            depth,
            faiss.swig_ptr(lists),
            faiss.swig_ptr(unused),
            faiss.swig_ptr(distances),
            faiss.swig_ptr(rows),
            False,
            parameters,
        )
        return rows

    def compare(self, queries: Floats, candidates: Rows, k: int) -> Found:
        """Return the k best of (q, n) candidates by their embeddings, exactly."""
        rows = np.full((len(queries), k), -1, np.int64)
        similarities = np.full((len(queries), k), np.nan, np.float32)
        for number, query in enumerate(queries):
            there = candidates[number]
            # A damaged file may name rows that are not there.
            there = there[(there >= 0) & (there < self._vectors.num_rows)]
            cosines = self.cosines(query, there)
            best = np.argsort(-cosines, kind="stable")[:k]
            rows[number, : len(best)] = there[best]
            similarities[number, : len(best)] = cosines[best]
        return Found(rows, similarities)

    def release(self) -> None:
        """Let go of the embeddings that were read: they need not stay in this process's memory."""
        self._vectors.release()

    def cosines(self, query: Floats, rows: Rows) -> Floats:
        """Return how near rows are to a (d,) query by their embeddings, (n,)."""
        taken = self._vectors.take(rows)
        # Not BLAS, whose threads wait for each other on a busy machine: 12 ms instead of 0.3.
        return np.einsum("ij,j->i", taken if self._unit else normalised(taken), query)
