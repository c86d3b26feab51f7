"""Read samples from wherever they stand, in whatever order: what makes a shuffled batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from webpairs.load.columns import Columns, join, of_piece, pick
from webpairs.load.features import EMBEDDED, FEATURES, TABULAR

if TYPE_CHECKING:
    from webpairs.load.dataset import Dataset

Numbers = npt.NDArray[np.int64]


def gather(
    dataset: Dataset,
    names: Sequence[str],
    places: Numbers,
    rows: Numbers,
    decode: Callable[[bytes], Any] | None,
) -> tuple[Columns, int]:
    """Return columns of the samples at `rows` of the shards `places`, and how many these are.

    `rows` count what the dataset chooses of a shard; images are as `decode` makes them. Samples
    come in the order they are asked for; those that cannot be read are left out, and are in the
    dataset's problems.
    """
    tabular = [name for name in names if name in TABULAR or name not in FEATURES]
    images, embeddings = "image" in names, any(name in EMBEDDED for name in names)
    found: list[Columns] = []
    found_asked: list[Numbers] = []
    by_shard = np.lexsort((rows, places))
    for asked in np.split(by_shard, np.flatnonzero(np.diff(places[by_shard])) + 1):
        place = int(places[asked[0]])
        chosen = dataset.view.rows(place, dataset.shard)
        here = rows[asked] if chosen is None else chosen[rows[asked]]
        piece = dataset.piece(place, here, tabular, images=images, embeddings=embeddings)
        if piece is None:
            continue
        asked = asked[np.isin(here, piece.rows, assume_unique=True)]
        columns = of_piece(piece, names)
        if piece.images is not None and decode is not None:
            columns["image"], good = dataset.decode_images(piece, decode)
            columns, asked = pick(columns, good), asked[good]
        if len(asked):
            found.append(columns)
            found_asked.append(asked)
    if not found:
        return {}, 0
    in_order = np.argsort(np.concatenate(found_asked))
    return pick(join(found), in_order), len(in_order)
