"""The few rows that are shown as they are: at random, or nearest to the threshold."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.dataset.sources.source import Rows
from webpairs.report.tally import Floats

NUM_NEAREST: Final = 12
NUM_RANDOM: Final = 24
SEED: Final = 0
TEXT_CHARS: Final = 300
"""Longer texts are cut."""


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a shard: a sample, or a drop, which has no key."""

    place: int
    """Number of the shard: in the source for samples, in the run folder for drops."""
    row: int
    similarity: float | None
    key: str = ""
    text: str = ""
    host: str = ""
    nsfw: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "similarity": self.similarity,
            "key": self.key or None,
            "text": self.text,
            "host": self.host,
        }


class Nearest:
    """Keeping the lowest of similarities above a threshold, or the highest below it.

    Among equals the one that stands first in the dataset is nearer, so that the outcome does not
    depend on how rows come in batches.
    """

    def __init__(self, *, above: bool, num: int = NUM_NEAREST) -> None:
        self._sign = 1.0 if above else -1.0
        self._num = num
        self._held: list[tuple[float, int, int, Example]] = []

    def add(
        self,
        similarities: Floats,
        place: int,
        rows: Sequence[int] | npt.NDArray[Any],
        example: Callable[[int], Example],
    ) -> None:
        """Look at the similarities of rows of a shard, NaN for none.

        `example` returns what is kept of one of them, by its number in `similarities`.
        """
        distances = self._sign * similarities
        worst = self._held[-1][0] if len(self._held) == self._num else np.inf
        near = np.flatnonzero(distances <= worst)  # False for NaN
        if len(near) > self._num:
            # Equals of the last one stay, for the order of rows to decide; all may be equal.
            limit = np.partition(distances[near], self._num - 1)[self._num - 1]
            below, equal = near[distances[near] < limit], near[distances[near] == limit]
            first = np.argsort(np.asarray(rows)[equal], kind="stable")[: self._num]
            near = np.concatenate((below, equal[first]))
        new = [
            (float(distances[one]), place, int(rows[one]), example(one)) for one in near.tolist()
        ]
        self._held = heapq.nsmallest(self._num, [*self._held, *new], key=lambda held: held[:3])

    @property
    def found(self) -> tuple[Example, ...]:
        """Return what is held, the nearest first."""
        return tuple(held[3] for held in self._held)


def choose_rows(num_rows: Sequence[int], num: int) -> list[Rows]:
    """Choose up to `num` rows of shards of these sizes at random; for each shard, rising."""
    ends = np.cumsum(num_rows, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    picked = np.sort(np.random.default_rng(SEED).choice(total, min(num, total), replace=False))
    places = np.searchsorted(picked, [0, *ends.tolist()])
    starts = [0, *ends.tolist()]
    return [
        picked[places[number] : places[number + 1]] - starts[number]
        for number in range(len(num_rows))
    ]
