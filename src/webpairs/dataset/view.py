"""Which rows of a source a dataset has: all, those of an expression, those that were picked."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.dataset.sources.source import Rows, Shard, Source
from webpairs.dataset.where import Expression

GetShard = Callable[[int], Shard]
"""Opens a shard by its place, or hands out the open one."""

KEPT_BYTES: Final = 64_000_000
"""Chosen rows that are remembered, so that a shard is not searched again at every pass."""


class View(ABC):
    """The rows of each shard that belong to the dataset."""

    source: Source

    @abstractmethod
    def rows(self, place: int, open_shard: GetShard) -> Rows | None:
        """Return the rows of a shard, rising; None when it is all of them."""

    @abstractmethod
    def count(self, place: int, open_shard: GetShard) -> int:
        """Return how many rows of a shard there are."""


class AllRows(View):
    """Taking every row of the source."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def rows(self, place: int, open_shard: GetShard) -> Rows | None:
        """Return None: all."""
        return None

    def count(self, place: int, open_shard: GetShard) -> int:
        """Return what stats or footers say."""
        return self.source.num_rows(place)


class WhereRows(View):
    """Taking the rows of another view for which an expression is true."""

    def __init__(self, parent: View, expression: Expression) -> None:
        self.source = parent.source
        self._parent = parent
        self._expression = expression
        self._kept: OrderedDict[int, Rows] = OrderedDict()
        self._counts: dict[int, int] = {}
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_kept": OrderedDict()}
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._lock = threading.RLock()

    def rows(self, place: int, open_shard: GetShard) -> Rows | None:
        """Return the rows of a shard that match; reads the columns of the expression alone."""
        with self._lock:
            return self._rows(place, open_shard)

    def _rows(self, place: int, open_shard: GetShard) -> Rows:
        if place in self._kept:
            self._kept.move_to_end(place)
            return self._kept[place]
        within = self._parent.rows(place, open_shard)
        if within is not None and not len(within):
            found = within
        else:
            found = self._expression.rows(open_shard(place))
            if within is not None:
                found = np.intersect1d(found, within, assume_unique=True)
        self._counts[place] = len(found)
        self._kept[place] = found
        while len(self._kept) > 1 and sum(one.nbytes for one in self._kept.values()) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return found

    def count(self, place: int, open_shard: GetShard) -> int:
        """Return how many rows of a shard match."""
        if place not in self._counts:
            self.rows(place, open_shard)
        return self._counts[place]


class PickedRows(View):
    """Taking rows of another view by their numbers in it."""

    def __init__(self, parent: View, offsets: npt.NDArray[np.int64], picked: Rows) -> None:
        """`picked` are numbers in `parent`, rising; `offsets` where its shards begin there."""
        self.source = parent.source
        self._parent = parent
        self._offsets = offsets
        self._picked = picked

    @cached_property
    def _ranges(self) -> npt.NDArray[np.int64]:
        return np.searchsorted(self._picked, self._offsets)

    def rows(self, place: int, open_shard: GetShard) -> Rows | None:
        """Return the picked rows of a shard."""
        start, end = self._ranges[place : place + 2]
        here = self._picked[start:end] - self._offsets[place]
        if not len(here):
            return here
        within = self._parent.rows(place, open_shard)
        return here if within is None else within[here]

    def count(self, place: int, open_shard: GetShard) -> int:
        """Return how many rows of a shard were picked."""
        return int(self._ranges[place + 1] - self._ranges[place])
