"""Searching exactly: a scan of the memory-mapped embeddings, all of them or chosen rows, by blocks.

Float16 numbers are multiplied as they are, by faiss's kernel, 24 ns a vector of 512 numbers on one
core: 200,000 of them in 12 ms, where converting them first takes 200.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.dataset.sources.mapped import as_float32
from webpairs.dataset.sources.source import Rows
from webpairs.search.index.faiss_library import load_faiss
from webpairs.search.index.vectors import Floats, Vectors, normalised

BLOCK_ROWS: Final = 4_096
"""4 MB of 512 float16 numbers: the fastest of 512 to 16,384 (12, 16, 15, 16 ms), bounded."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found for q queries: the k nearest, best first; row -1 stands for none."""

    rows: Rows
    """(q, k) int64, numbers in the dataset's order."""
    similarities: Floats
    """(q, k) float32 cosines."""


def nearest(
    vectors: Vectors,
    queries: Floats,
    k: int,
    *,
    unit: bool,
    among: Rows | None = None,
) -> Found:
    """Return the k nearest of all rows, or of rising rows `among`, to (q, d) queries of length 1.

    `unit` says that the embeddings are of length 1; else they are made so, which takes longer.
    Rows without a vector, or with one that has no direction, are never found.
    """
    faiss = load_faiss()
    heap = faiss.ResultHeap(len(queries), k, keep_max=True)
    for rows, block in _blocks(vectors, among):
        found, places = _scan(faiss, block, queries, min(k, len(block)), unit)
        heap.add_result(found, np.where(places < 0, -1, rows[places]))
    heap.finalize()
    return Found(heap.I, np.where(heap.I < 0, np.nan, heap.D))


def _blocks(vectors: Vectors, among: Rows | None) -> Iterator[tuple[Rows, npt.NDArray[Any]]]:
    if among is not None:
        yield from vectors.chosen(among, BLOCK_ROWS)
        return
    for start, block in vectors.blocks(0, vectors.num_rows, BLOCK_ROWS):
        yield np.arange(start, start + len(block)), block


def _scan(
    faiss: Any, block: npt.NDArray[Any], queries: Floats, k: int, unit: bool
) -> tuple[Floats, Rows]:
    """Return cosines and places in the block of the k nearest, (q, k) each."""
    dim = block.shape[1]
    if unit and block.dtype == np.float16:
        index = faiss.IndexScalarQuantizer(
            dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        )
        index.is_trained = True
        index.add_sa_codes(np.ascontiguousarray(block).view(np.uint8))
    else:
        index = faiss.IndexFlatIP(dim)
        index.add(as_float32(block) if unit else normalised(block))
    return index.search(queries, k)
