"""Reading image and text embeddings of a shard: two `.npy` files whose rows are its rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from webpairs.dataset.problems import Problem, Problems
from webpairs.dataset.sources.mapped import MappedArray, as_float16
from webpairs.dataset.sources.source import Embeddings, Rows


class EmbeddingPair:
    """Image and text embeddings, both (n, d)."""

    def __init__(self, image: MappedArray, text: MappedArray) -> None:
        self._both = (image, text)

    def rows(self, rows: Rows) -> tuple[Embeddings, Embeddings]:
        """Return rising `rows` as float16: views of the files when they are neighbours."""
        image, text = (_pick(one.rows, rows) for one in self._both)
        return image, text

    def row(self, row: int) -> tuple[Embeddings, Embeddings]:
        """Return one row, as (d,) float16, much faster than `rows` does."""
        image, text = self._both
        return as_float16(image.rows[row]), as_float16(text.rows[row])

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
        problems.of_shard(Problem.EMBEDDINGS_BROKEN, shard, str(error))
        return None
    return EmbeddingPair(*both) if _fit(both, shape, shard, problems) else None


def open_single(
    image: Path, shape: tuple[int, int | None], shard: str, problems: Problems
) -> MappedArray | None:
    """Map the image embeddings of a shard that has no others, as `open_pair` does."""
    try:
        found = MappedArray(image)
    except (OSError, ValueError) as error:
        problems.of_shard(Problem.EMBEDDINGS_BROKEN, shard, str(error))
        return None
    return found if _fit((found,), shape, shard, problems) else None


def _fit(
    found: Sequence[MappedArray], shape: tuple[int, int | None], shard: str, problems: Problems
) -> bool:
    """Tell whether embeddings have the shape they must have; note as a problem where not."""
    wrong = [one.rows.shape for one in found if one.rows.shape != shape]
    if wrong:
        there = f"{wrong[0][0]} rows of {wrong[0][1]}"
        detail = f"metadata has {shape[0]} rows, embeddings have {there} numbers, not {shape[1]}"
        if wrong[0][1] == shape[1]:
            detail = f"metadata has {shape[0]} rows, embeddings have {wrong[0][0]}"
        problems.of_shard(Problem.EMBEDDINGS_UNALIGNED, shard, detail)
    return not wrong


def width(path: Path) -> int | None:
    """Return how many numbers an embedding of a file has; None when it cannot be read."""
    try:
        return MappedArray(path).rows.shape[1]
    except (OSError, ValueError):
        return None


def _pick(embeddings: Embeddings, rows: Rows) -> Embeddings:
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return as_float16(embeddings[rows[0] : rows[-1] + 1])
    return as_float16(embeddings[rows])
