"""The permutation is one, whatever its size; its seed decides; it mixes as chance does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webpairs.dataset.order import Permutation


@settings(deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**63 - 1))
def test_every_number_once(num: int, seed: int) -> None:
    numbers = Permutation(num, seed)(np.arange(num))
    assert np.array_equal(np.sort(numbers), np.arange(num))


@settings(deadline=None)
@given(st.integers(1, 2**40), st.integers(0, 2**63 - 1), st.data())
def test_a_part_is_as_in_the_whole(num: int, seed: int, data: st.DataObject) -> None:
    positions = np.array(data.draw(st.lists(st.integers(0, num - 1), max_size=20)), np.int64)
    numbers = Permutation(num, seed)(positions)
    assert ((numbers >= 0) & (numbers < num)).all()
    one_by_one = [int(Permutation(num, seed)(positions[i : i + 1])[0]) for i in range(len(numbers))]
    assert numbers.tolist() == one_by_one
    assert len(set(numbers.tolist())) == len(set(positions.tolist()))


def test_another_seed_is_another_order() -> None:
    orders = {tuple(Permutation(50, seed)(np.arange(50)).tolist()) for seed in range(200)}
    assert len(orders) == 200


@pytest.mark.parametrize("num", [1000, 4096, 4097, 100_000])
def test_neighbours_are_strangers(num: int) -> None:
    numbers = Permutation(num, 1)(np.arange(num)).astype(float)
    # Both are 0 +- 1 / sqrt(num) of a random order.
    for one, other in ((numbers[:-1], numbers[1:]), (np.arange(num), numbers)):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(num)
    # Each tenth of the output has rows of each tenth of the input, as many as chance gives.
    tenths = np.histogram2d(np.arange(num), numbers, bins=10)[0]
    assert np.abs(tenths - num / 100).max() < 6 * np.sqrt(num / 100)


def test_the_order_is_a_promise() -> None:
    """An export that goes on under a later version must meet the same order."""
    assert Permutation(10, 0)(np.arange(10)).tolist() == [4, 5, 3, 9, 0, 2, 6, 1, 8, 7]
