"""Searching captions for words: what is left where there is no model to embed a text with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute

from webpairs.dataset.sources.source import Rows
from webpairs.search.row_store import RowStore

pc: Any = pyarrow.compute  # its functions are made at run time


def find_words(
    store: RowStore, among: Rows | None, texts: Sequence[str], without: Sequence[str], k: int
) -> Rows:
    """Return the first k rows whose caption has all words of `texts` and none of `without`.

    Only of rising rows `among`, None: of all. Case does not matter; a word may be a part of
    another.
    """
    words = [word for text in texts for word in text.split()]
    not_words = [word for text in without for word in text.split()]
    found: list[Rows] = [np.zeros(0, np.int64)]
    num = 0
    for start, captions in store.column("caption"):
        here = np.arange(start, start + len(captions))
        if among is not None:
            here = among[slice(*np.searchsorted(among, (start, start + len(captions))))]
            if not len(here):
                continue
            captions = captions.take(here - start)
        good = captions.is_valid().to_numpy(zero_copy_only=False)
        for word in words:
            good &= _contain(captions, word)
        for word in not_words:
            good &= ~_contain(captions, word)
        found.append(here[good])
        num += len(found[-1])
        if num >= k:
            break
    return np.concatenate(found)[:k]


def _contain(captions: Any, word: str) -> npt.NDArray[np.bool_]:
    found = pc.match_substring(captions, word, ignore_case=True).fill_null(False)
    return found.to_numpy(zero_copy_only=False)
