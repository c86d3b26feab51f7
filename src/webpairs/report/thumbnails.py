"""Making thumbnails of a few samples, as data: URIs that stand in the page."""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Iterable, Mapping

import numpy as np

from webpairs.dataset.dataset import Dataset
from webpairs.errors import DataError
from webpairs.image.thumbnail import thumbnail

Where = tuple[int, int]
"""Number of the shard in the source, and row."""
Pictures = Mapping[Where, str]
"""Thumbnails, as data: URIs."""


def thumbnails(ds: Dataset, wanted: Iterable[Where]) -> Pictures:
    """Return thumbnails of the samples that have a good image, in JPEG.

    Images of this dataset's own tars alone are read; nothing is fetched.
    """
    if not ds.source.has_images:
        return {}
    rows_of: defaultdict[int, set[int]] = defaultdict(set)
    for place, row in wanted:
        rows_of[place].add(row)
    made: dict[Where, str] = {}
    for place, rows in rows_of.items():
        piece = ds.piece(place, np.array(sorted(rows)), ["key"], images=True)
        if piece is None:
            continue
        for row, image in zip(piece.rows.tolist(), piece.images or (), strict=True):
            try:
                made[place, row] = _data_uri(thumbnail(image))
            except DataError:
                continue  # webpairs verify tells of it
    return made


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
