"""Read image and text embeddings of a shard: two `.npy` files whose rows are its rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from webpairs.load.mapped import MappedArray
from webpairs.load.problems import Problem, Problems
from webpairs.load.source import Embeddings, Rows


class EmbeddingPair:
    """Hold image and text embeddings, both (n, d)."""

    def __init__(self, image: MappedArray, text: MappedArray) -> None:
        self._both = (image, text)

    def rows(self, rows: Rows) -> tuple[Embeddings, Embeddings]:
        """Return rising `rows` as float16: views of the files when they are neighbours."""
        image, text = (_pick(one.rows, rows) for one in self._both)
        return image, text

    def row(self, row: int) -> tuple[Embeddings, Embeddings]:
        """Return one row, as (d,) float16, much faster than `rows` does."""
        image, text = self._both
        half = np.float16
        return image.rows[row].astype(half, copy=False), text.rows[row].astype(half, copy=False)

    def release(self, rows: Rows) -> None:
        """Let go of what is between the first of `rows` and the last."""
        for one in self._both:
            one.release(int(rows[0]), int(rows[-1]))


def open_pair(
    image: Path, text: Path, shape: tuple[int, int | None], shard: str, problems: Problems
) -> EmbeddingPair | None:
    """Map two files that have to be of this shape; None when they are not, noted as a problem.

    Nothing but the position joins embeddings to rows: where the numbers differ, nothing does.
    """
    try:
        both = MappedArray(image), MappedArray(text)
    except FileNotFoundError as error:
        problems.of_shard(Problem.EMBEDDINGS_MISSING, shard, str(error.filename))
        return None
    except (OSError, ValueError) as error:
        problems.of_shard(Problem.EMBEDDINGS_MISSING, shard, str(error))
        return None
    shapes = [one.rows.shape for one in both]
    if shapes != [shape, shape]:
        detail = f"{shape[0]} rows of {shape[1]} numbers expected, there are {shapes}"
        problems.of_shard(Problem.EMBEDDINGS_UNALIGNED, shard, detail)
        return None
    return EmbeddingPair(*both)


def width(path: Path) -> int | None:
    """Return how many numbers an embedding of a file has; None when it cannot be read."""
    try:
        return MappedArray(path).rows.shape[1]
    except (OSError, ValueError):
        return None


def _pick(embeddings: Embeddings, rows: Rows) -> Embeddings:
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return embeddings[rows[0] : rows[-1] + 1].astype(np.float16, copy=False)
    return embeddings[rows].astype(np.float16, copy=False)
