"""Draw embeddings like CLIP's: clusters in a cone, texts in another; write their folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float32]

DIM = 32


def draw_pairs(num: int, seed: int = 0, *, dim: int = DIM) -> tuple[Floats, Floats]:
    """Return image and text embeddings of `num` samples, both (num, dim) of length 1."""
    world = np.random.default_rng(77)
    centres = world.standard_normal((60, dim)) / np.sqrt(dim)
    image_cone, text_cone = world.standard_normal((2, dim)) / np.sqrt(dim)
    rng = np.random.default_rng(seed)
    meant = centres[rng.integers(0, len(centres), num)] + _noise(rng, num, dim, 0.5)
    image = 0.7 * image_cone + meant
    text = 0.9 * text_cone + 0.6 * meant + _noise(rng, num, dim, 0.3)
    return _unit(image), _unit(text)


def write_folder(
    folder: Path,
    image: npt.NDArray[Any],
    text: npt.NDArray[Any],
    sizes: Sequence[int],
    *,
    first: int = 0,
    captions: Sequence[str] | None = None,
) -> Path:
    """Write clip-retrieval's three folders, files of these sizes from number `first` on."""
    start = 0
    for number, size in enumerate(sizes, first):
        span = slice(start, start + size)
        for kind, array in (("img_emb", image), ("text_emb", text)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            np.save(folder / kind / f"{kind}_{number}.npy", array[span])
        (folder / "metadata").mkdir(exist_ok=True)
        rows = range(start, start + size)
        table = {
            "caption": [f"caption of {row}" if captions is None else captions[row] for row in rows],
            "url": [f"https://example.org/{row}.jpg" for row in rows],
            "width": list(rows),
        }
        pq.write_table(pa.table(table), folder / "metadata" / f"metadata_{number}.parquet")
        start += size
    return folder


def brute_force(
    base: npt.NDArray[Any],
    queries: Floats,
    k: int,
    among: npt.NDArray[np.int64] | None = None,
    *,
    unit: bool = True,
) -> npt.NDArray[np.int64]:
    """Return the k nearest rows by NumPy alone, (q, k); not `unit`: by cosine."""
    rows = np.arange(len(base)) if among is None else among
    vectors = base[rows].astype(np.float64)
    if not unit:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return rows[np.argsort(-(queries.astype(np.float64) @ vectors.T), axis=1)[:, :k]]


def share(found: npt.NDArray[np.int64], true: npt.NDArray[np.int64]) -> float:
    """Return the share of true rows that were found."""
    hits = [len(np.intersect1d(one, other)) for one, other in zip(found, true, strict=True)]
    return sum(hits) / true.size


def _noise(rng: np.random.Generator, num: int, dim: int, size: float) -> npt.NDArray[np.float64]:
    return rng.standard_normal((num, dim)) * size / np.sqrt(dim)


def _unit(vectors: npt.NDArray[np.float64]) -> Floats:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
