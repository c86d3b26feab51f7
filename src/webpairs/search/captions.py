"""Search captions for words: what is left where there is no model to embed a text with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute

from webpairs.load.dataset import Dataset
from webpairs.load.source import Rows

pc: Any = pyarrow.compute  # its functions are made at run time


def find_words(
    dataset: Dataset, offsets: Rows, texts: Sequence[str], without: Sequence[str], k: int
) -> Rows:
    """Return the first k samples whose caption has all words of `texts` and none of `without`.

    Case does not matter; a word may be a part of another. `offsets` say where shards begin in the
    numbers that are returned.
    """
    words = [word for text in texts for word in text.split()]
    not_words = [word for text in without for word in text.split()]
    found: list[Rows] = [np.zeros(0, np.int64)]
    num = 0
    for piece in dataset.pieces(["caption"]):
        captions = piece.table.column("caption")
        good = np.ones(len(piece.rows), np.bool_)
        for word in words:
            good &= _contain(captions, word)
        for word in not_words:
            good &= ~_contain(captions, word)
        found.append(offsets[piece.place] + piece.rows[good])
        num += len(found[-1])
        if num >= k:
            break
    return np.concatenate(found)[:k]


def _contain(captions: Any, word: str) -> npt.NDArray[np.bool_]:
    return pc.match_substring(captions, word, ignore_case=True).to_numpy()
