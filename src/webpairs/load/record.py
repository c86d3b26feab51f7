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
        table = shard.table([name for name in names if name in TABULAR])
        self._readers: list[tuple[str, Reader]] = []
        for name in names:
            if name in TABULAR:
                self._readers.append((name, _reader(table.column(name).chunk(0))))
            elif name in EMBEDDED:
                self._readers.append((name, _embedding_reader(shard, EMBEDDED.index(name))))
            else:
                self._readers.append((name, _nothing))

    def read(self, row: int) -> dict[str, Any]:
        """Return the sample at a row of the shard."""
        return {name: read(row) for name, read in self._readers}


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


def _embedding_reader(shard: Shard, which: int) -> Reader:
    def read(row: int) -> Any:
        rows = np.array([row])
        pair = shard.embeddings(rows) if shard.embedded(rows)[0] else None
        if pair is None:
            raise DataError(Drop.NOT_AN_IMAGE, f"row {row} of {shard.name} has no embeddings")
        return pair[which][0]

    return read


def _nothing(row: int) -> None:
    return None
