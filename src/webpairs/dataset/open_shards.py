"""Keeping the shards open that were used last, so that memory is bounded and rows are near.

Threads may share them: loaders that read ahead do.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa

from webpairs.dataset.features import EMBEDDED, TABULAR
from webpairs.dataset.problems import Problems
from webpairs.dataset.sources.source import Shard, Source
from webpairs.drops import Drop
from webpairs.errors import DataError

MAX_SHARDS: Final = 64
"""Each of them has up to three files mapped."""
MAX_BYTES: Final = 128_000_000
"""Columns of open shards: 50 shards of 10,000 samples. One shard stays whatever its size."""


class OpenShard:
    """An open shard, and its records for those who ask for single rows."""

    def __init__(self, shard: Shard, names: tuple[str, ...]) -> None:
        self.shard = shard
        self._names = names

    @cached_property
    def records(self) -> Records:
        """Return what single rows are read from; made when the first is asked for."""
        return Records(self.shard, self._names)


class OpenShards:
    """Opening the shards of a source when they are needed; pickles without those that are open."""

    def __init__(self, source: Source, names: tuple[str, ...]) -> None:
        """`names` are the features that records have."""
        self.source = source
        self.problems = Problems()
        self._names = names
        self._open: OrderedDict[int, OpenShard] = OrderedDict()
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {"source": self.source, "names": self._names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["source"], state["names"])

    def shard(self, place: int) -> Shard:
        """Return an open shard by its number in the source."""
        return self.opened(place).shard

    def opened(self, place: int) -> OpenShard:
        """Return an open shard and its records; of others, the one used longest ago may close."""
        with self._lock:
            if (opened := self._open.get(place)) is not None:
                self._open.move_to_end(place)
                return opened
            opened = OpenShard(self.source.open(place, self.problems), self._names)
            self._open[place] = opened
            while len(self._open) > 1 and self._is_too_much():
                self._open.popitem(last=False)
            return opened

    def _is_too_much(self) -> bool:
        num_bytes = sum(one.shard.num_bytes for one in self._open.values())
        return len(self._open) > MAX_SHARDS or num_bytes > MAX_BYTES


class OneShard(OpenShards):
    """Keeping open the shard that was used last alone: for a pass that comes to each shard once."""

    def _is_too_much(self) -> bool:
        return True


Reader = Callable[[int], Any]


class Records:
    """Reader of a shard's rows as samples; the image is left to whoever asks."""

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
