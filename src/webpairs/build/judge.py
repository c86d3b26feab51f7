"""Turning scores into keep or drop: pure functions of stored scores, nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from webpairs.drops import Drop


def judge(similarity: npt.NDArray[np.float64], threshold: float) -> list[Drop | None]:
    """Return for each pair None (keep) or the reason to drop it.

    `similarity` is (n,) float64, cosines. A pair at the threshold is kept, as LAION-400M states
    ("dropped all samples with less than 0.3"). NaN, which no finite embedding gives, is dropped.
    """
    return [None if value >= threshold else Drop.SIMILARITY for value in similarity.tolist()]
