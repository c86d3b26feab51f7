"""Remembering which rows the last filters chose: a page asks for the same one again and again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

import numpy as np

from webpairs.dataset.dataset import Dataset
from webpairs.dataset.sources.source import Rows
from webpairs.dataset.where import parse
from webpairs.search.row_store import RowStore

KEPT_BYTES: Final = 128_000_000
"""Rows of 16 filters that each choose a million."""
KEPT_FILTERS: Final = 1_000
_ENTRY_BYTES: Final = 500
"""Of an entry beside its text and rows; a filter that chooses nothing takes memory, too."""


class RowFinder:
    """Finds the rows of an expression; pickles, so that another process can do so."""

    def __init__(self, dataset: Dataset, store: RowStore) -> None:
        """Expressions over columns that `store` does not have are asked of the dataset."""
        self._dataset = dataset
        self._store = store

    @property
    def num_rows(self) -> int:
        """Return how many rows there are to choose from."""
        return int(self._store.offsets[-1])

    def find(self, expression: str) -> Rows:
        """Return the numbers of the samples for which an expression is true, rising."""
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


FindRows = Callable[[RowFinder, str], Rows]


class ChosenRows:
    """Rows of the last expressions; safe to use from several threads.

    Who asks for an expression that another thread looks for already waits for that one's answer.
    """

    def __init__(self, finder: RowFinder, find: FindRows = RowFinder.find) -> None:
        """`find` looks for rows that are not remembered."""
        self._finder = finder
        self._find = find
        self._kept: OrderedDict[str, Rows] = OrderedDict()
        self._looking: dict[str, Future[Rows]] = {}
        self._lock = threading.Lock()

    def rows(self, expression: str) -> Rows:
        """Return the numbers of the samples for which an expression is true, rising.

        Raises ConfigError for an expression that cannot be.
        """
        with self._lock:
            if (found := self._kept.get(expression)) is not None:
                self._kept.move_to_end(expression)
                return found
            mine: Future[Rows] = Future()
            looking = self._looking.setdefault(expression, mine)
        if looking is not mine:
            return looking.result()
        try:
            found = self._find(self._finder, expression)
            found.flags.writeable = False
        except BaseException as error:
            self._done(expression)
            mine.set_exception(error)
            raise
        self._done(expression, found)
        mine.set_result(found)
        return found

    def _done(self, expression: str, found: Rows | None = None) -> None:
        with self._lock:
            del self._looking[expression]
            if found is None:
                return
            self._kept[expression] = found
            # The last one stays, whatever its size: the same request asks for it again.
            while len(self._kept) > 1 and (
                len(self._kept) > KEPT_FILTERS or self._num_bytes() > KEPT_BYTES
            ):
                self._kept.popitem(last=False)

    def _num_bytes(self) -> int:
        return sum(rows.nbytes + 4 * len(text) + _ENTRY_BYTES for text, rows in self._kept.items())
