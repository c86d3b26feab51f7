"""Hold some neighbouring samples of one shard, as a dataset hands them out."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from webpairs.load.source import Embeddings, Rows


@dataclass(frozen=True, slots=True)
class Piece:
    """Hold the samples: row i of each part is the same one."""

    place: int
    """Number of the shard in the source."""
    rows: Rows
    """Their rows in the shard, rising."""
    table: pa.Table
    """The columns that were asked for."""
    images: list[bytes] | None = None
    """Encoded, none missing."""
    image_embeddings: Embeddings | None = None
    text_embeddings: Embeddings | None = None
    """Both (n, d) float16."""
