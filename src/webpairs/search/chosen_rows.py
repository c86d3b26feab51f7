"""Remember which rows the last filters chose: a page asks for the same one again and again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

import numpy as np

from webpairs.load.dataset import Dataset
from webpairs.load.source import Rows
from webpairs.load.where import parse, time_limit
from webpairs.search.row_store import RowStore

KEPT_BYTES: Final = 128_000_000
"""Rows of 16 filters that each choose a million."""


class ChosenRows:
    """Find the rows of expressions; safe to use from several threads."""

    def __init__(self, dataset: Dataset, store: RowStore) -> None:
        """Expressions over columns that `store` does not have are asked of the dataset."""
        self._dataset = dataset
        self._store = store
        self._kept: OrderedDict[str, Rows] = OrderedDict()
        self._lock = threading.Lock()

    def rows(self, expression: str, limit_s: float | None = None) -> Rows:
        """Return the numbers of the samples for which an expression is true, rising.

        Raises ConfigError for an expression that cannot be, or takes longer than `limit_s`.
        """
        with self._lock:
            if (found := self._kept.get(expression)) is not None:
                self._kept.move_to_end(expression)
                return found
        with time_limit(expression, limit_s):
            found = self._find(expression)
        found.flags.writeable = False
        with self._lock:
            self._kept[expression] = found
            while self._kept and sum(one.nbytes for one in self._kept.values()) > KEPT_BYTES:
                self._kept.popitem(last=False)
        return found

    def _find(self, expression: str) -> Rows:
        checked = parse(expression, self._dataset.source.column_names)
        if set(checked.names) <= set(self._store.schema.names):
            return self._store.where(checked)
        chosen = self._dataset.where(expression)
        found: list[Rows] = [np.zeros(0, np.int64)]
        offsets = self._store.offsets
        for place, start in enumerate(offsets[:-1]):
            rows = chosen.view.rows(place, chosen.shard)
            if rows is None:
                rows = np.arange(offsets[place + 1] - start)
            found.append(start + rows)
        return np.concatenate(found)
