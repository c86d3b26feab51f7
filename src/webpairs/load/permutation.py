"""Shuffle row numbers without a list of them: a keyed permutation of 0..n-1, any part at a time."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]

_ROUNDS: Final = 6
"""Four rounds of a Feistel network are a strong pseudo-random permutation (Luby and Rackoff 1988)
where the round function is random; two more, since ours is a hash."""
_GOLDEN: Final = 0x9E3779B97F4A7C15
"""Step of SplitMix64 (Steele, Lea, Flood 2014), whose finaliser is the round function."""


class Permutation:
    """Map positions to the numbers 0..n-1, each to another one, in an order that `seed` decides.

    A Feistel network over the least even number of bits that hold n; what falls outside is put
    through it again until it falls inside (cycle walking, Black and Rogaway 2002): less than four
    times on average. Depends on `num`, `seed` and nothing else.
    """

    def __init__(self, num: int, seed: int) -> None:
        self.num = num
        half_bits = max(1, (max(num - 1, 1).bit_length() + 1) // 2)
        self._half_bits = np.uint64(half_bits)
        self._mask = np.uint64((1 << half_bits) - 1)
        state = _mixed(np.array([seed % 2**64], np.uint64))[0]
        steps = np.arange(1, _ROUNDS + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        self._keys = _mixed(state ^ steps)

    def __call__(self, positions: Numbers) -> Numbers:
        """Return the numbers at `positions`, all of them in 0..n-1."""
        numbers = self._once(positions.astype(np.uint64))
        outside = np.flatnonzero(numbers >= self.num)
        while len(outside):
            numbers[outside] = self._once(numbers[outside])
            outside = outside[numbers[outside] >= self.num]
        return numbers.astype(np.int64)

    def _once(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = numbers >> self._half_bits, numbers & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mixed(right ^ key) & self._mask)
        return (left << self._half_bits) | right


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return SplitMix64's finaliser of each number."""
    mixed = numbers + np.uint64(_GOLDEN)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
