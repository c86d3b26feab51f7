"""Read single rows of an open shard: a few microseconds each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from webpairs.errors import DataError, Drop
from webpairs.load.features import EMBEDDED, TABULAR
from webpairs.load.source import Shard

Reader = Callable[[int], Any]


class Records:
    """Read a shard's rows as samples; the image is left to whoever asks."""

    def __init__(self, shard: Shard, names: tuple[str, ...]) -> None:
        """`names` are features; `image` stays None."""
        self._shard = shard
        self._has_embeddings = any(name in EMBEDDED for name in names)
        table = shard.table([name for name in names if name in TABULAR])
        self._readers: list[tuple[str, Reader]] = []
        for name in names:
            if name in TABULAR:
                self._readers.append((name, _reader(table.column(name).chunk(0))))
            else:
                self._readers.append((name, _nothing))

    def read(self, row: int) -> dict[str, Any]:
        """Return the sample at a row of the shard."""
        sample = {name: read(row) for name, read in self._readers}
        if self._has_embeddings:
            pair = self._shard.embedding(row)
            if pair is None:
                detail = f"row {row} of {self._shard.name} has no embeddings"
                raise DataError(Drop.NOT_AN_IMAGE, detail)
            sample["image_embedding"], sample["text_embedding"] = pair
        return sample


def _reader(array: pa.Array) -> Reader:
    if not pa.types.is_string(array.type):
        return array.to_numpy().__getitem__
    # A scalar of arrow costs a microsecond, a slice of its buffer a quarter.
    _, places, data = array.buffers()
    offsets = np.frombuffer(places, np.int32)[array.offset :].data
    text = memoryview(b"" if data is None else data)

    def read(row: int) -> str:
        return str(text[offsets[row] : offsets[row + 1]], "utf-8")

    return read


def _nothing(row: int) -> None:
    return None
