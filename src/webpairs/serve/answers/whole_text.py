"""Handing out one text of one row in parts, where replies and pages hold only its begin."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from webpairs.serve.collection import Served
from webpairs.serve.limits.refusal import UNKNOWN, UNUSABLE, Refusal
from webpairs.url_user import without_user

pc: Any = pyarrow.compute  # its functions are made at run time

PART_CHARS: Final = 1_000_000
"""Characters of an answer: at most 6 MB as JSON."""


def part_of(served: Served, key: str, column: str, offset: int) -> dict[str, Any]:
    """Return a column's text from a character on, and how long all of it is.

    Users of URLs are left out, so that parts may be shorter than what they stand for. Raises
    Refusal where there is no such column, or one that holds no texts.
    """
    if column not in served.columns:
        raise Refusal(UNKNOWN, f"{served.name} has no column {column[:200]!r}")
    row, offsets = served.row_of(key), served.vectors.offsets
    place = int(np.searchsorted(offsets, row, "right")) - 1
    here = np.array([row - int(offsets[place])])
    piece = served.searcher.dataset.piece(place, here, [column])
    if piece is None:
        raise Refusal(UNKNOWN, f"the metadata of sample {key} of {served.name} cannot be read")
    array = piece.table.column(column)
    if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        raise Refusal(UNUSABLE, f"column {column} holds values of type {array.type}, not texts")
    chars = pc.utf8_length(array)[0].as_py() or 0
    text = pc.utf8_slice_codeunits(array, offset, offset + PART_CHARS)[0].as_py()
    return {
        "key": key,
        "column": column,
        "offset": offset,
        "chars": chars,
        "text": text and without_user(text),
        "more": offset + PART_CHARS < chars,
    }
