"""Read samples from wherever they stand, in whatever order: what makes a shuffled batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from webpairs.load.columns import Columns, merge, of_piece
from webpairs.load.dataset import Dataset
from webpairs.load.features import EMBEDDED, FEATURES, TABULAR

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gathered:
    """Hold samples in the order in which they were asked for, without those that have no image."""

    columns: Columns
    """Images are encoded; empty when there are no samples."""
    places: Numbers
    """Their shards."""
    rows: Numbers
    """Their rows there."""


def gather(dataset: Dataset, names: Sequence[str], places: Numbers, rows: Numbers) -> Gathered:
    """Read columns of the samples at `rows` of the shards `places`.

    `rows` count what the dataset chooses of a shard. What cannot be read is left out, and is in
    the dataset's problems.
    """
    tabular = [name for name in names if name in TABULAR or name not in FEATURES]
    images, embeddings = "image" in names, any(name in EMBEDDED for name in names)
    found: list[Columns] = []
    found_asked: list[Numbers] = [np.zeros(0, np.int64)]
    found_rows: list[Numbers] = [np.zeros(0, np.int64)]
    by_shard = np.lexsort((rows, places))
    for asked in np.split(by_shard, np.flatnonzero(np.diff(places[by_shard])) + 1):
        place = int(places[asked[0]])
        chosen = dataset.view.rows(place, dataset.shard)
        here = rows[asked] if chosen is None else chosen[rows[asked]]
        piece = dataset.piece(place, here, tabular, images=images, embeddings=embeddings)
        if piece is None:
            continue
        if len(piece.rows) < len(here):
            asked = asked[np.isin(here, piece.rows, assume_unique=True)]
        found.append(of_piece(piece, names))
        found_asked.append(asked)
        found_rows.append(piece.rows)
    asked = np.concatenate(found_asked)
    in_order = np.argsort(asked)
    columns = merge(found, in_order) if found else {}
    return Gathered(columns, places[asked[in_order]], np.concatenate(found_rows)[in_order])
