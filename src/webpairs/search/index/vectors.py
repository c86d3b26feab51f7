"""The embeddings of one kind of a whole dataset, memory-mapped, by the number of their row.

Rows are numbered in the dataset's order: those of the first shard, then those of the second. The
files are `.npy` of floating-point numbers of any precision and order, (n, d); nothing of them is
copied but the rows that are asked for. Files with another number of rows than their shard are left
out.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from webpairs.dataset.sources.laion import EmbeddingFolders
from webpairs.dataset.sources.mapped import MappedArray, as_float32
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.dataset.sources.source import Rows, Source
from webpairs.errors import ConfigError
from webpairs.run_folder.layout import ShardFiles

Kind = Literal["image", "text"]
Floats = npt.NDArray[np.float32]
KINDS: Final[tuple[Kind, ...]] = ("image", "text")
MAX_MAPPED: Final = 16_384
"""Files that stay mapped: Linux maps 65,530 parts in a process (vm.max_map_count)."""
_RELEASED_ROWS: Final = 2_048
UNIT: Final = 0.02
"""How far from 1 a length of float16 numbers may be, and the vector count as normalised; rounding
alone makes less than 0.001."""


class Vectors:
    """Reader of embeddings of one kind; safe to use from several threads."""

    def __init__(self, source: Source, kind: Kind, offsets: Rows | None = None) -> None:
        """Raise ConfigError when the source has no embeddings of its own.

        `offsets` are those of the same source, where they are known.
        """
        dim = vector_size(source)
        if dim is None or kind not in vector_kinds(source):
            raise ConfigError(
                f"{source.folder} ({source.kind}) has no embeddings of its own: index a run folder "
                "that was scored, or embedding folders"
            )
        self.source = source
        self.kind: Kind = kind
        self.dim: int = dim
        if offsets is None:
            counts = [source.num_rows(place) for place in range(len(source.names))]
            offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        self.offsets = offsets
        """(shards + 1,): the number of each shard's first row, and how many rows there are."""
        self._mapped: OrderedDict[int, MappedArray | None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def num_rows(self) -> int:
        """Return how many rows the dataset has, with embeddings or without."""
        return int(self.offsets[-1])

    def path(self, place: int) -> Path:
        """Return the file of a shard."""
        name = self.source.names[place]
        if isinstance(self.source, RunFolder):
            files = ShardFiles.of(self.source.folder, name)
            return files.image_embeddings if self.kind == "image" else files.text_embeddings
        folder = "img_emb" if self.kind == "image" else "text_emb"
        return self.source.folder / folder / f"{folder}_{name}.npy"

    def shard(self, place: int) -> npt.NDArray[Any] | None:
        """Return the rows of a shard as they are in its file; None where it has none that fit."""
        mapped = self._map(place)
        return None if mapped is None else mapped.rows

    def take(self, rows: Rows) -> Floats:
        """Return the vectors of `rows`, in this order, (n, d) float32; NaN where there is none."""
        taken = np.full((len(rows), self.dim), np.nan, np.float32)
        for place, here in self._by_shard(rows):
            if (shard := self.shard(place)) is not None:
                taken[here] = as_float32(shard[rows[here] - self.offsets[place]])
        return taken

    def take_rising(self, rows: Rows) -> Floats:
        """Return the vectors of many rising `rows`, letting go of what was read.

        Around each row that is touched the system maps 64 kB of what it has in its cache: of rows
        here and there soon the whole file.
        """
        taken = np.empty((len(rows), self.dim), np.float32)
        for start in range(0, len(rows), _RELEASED_ROWS):
            part = slice(start, start + _RELEASED_ROWS)
            taken[part] = self.take(rows[part])
            self.release()
        return taken

    def blocks(
        self, start: int, end: int, size: int, *, release: bool = False
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Yield rows from `start` to `end` as they are in the files, and the number of the first.

        At most `size` at a time, never across shards. With `release` what was read is let go of,
        so that this process's memory does not grow with the dataset.
        """
        place = int(np.searchsorted(self.offsets, start, "right")) - 1
        while place < len(self.source.names) and self.offsets[place] < end:
            first = int(self.offsets[place])
            mapped = self._map(place)
            if mapped is not None:
                stop = min(end, int(self.offsets[place + 1])) - first
                for row in range(max(start - first, 0), stop, size):
                    last = min(row + size, stop)
                    yield first + row, mapped.rows[row:last]
                    if release:
                        mapped.release(row, last - 1)
            place += 1

    def chosen(self, rows: Rows, size: int) -> Iterator[tuple[Rows, npt.NDArray[Any]]]:
        """Yield rising `rows` and their vectors as they are in the files, at most `size` each."""
        for place, here in self._by_shard(rows):
            if (shard := self.shard(place)) is not None:
                for start in range(0, len(here), size):
                    part = rows[here[start : start + size]]
                    yield part, shard[part - self.offsets[place]]

    def release(self) -> None:
        """Let go of everything that was read: it need not stay in this process's memory."""
        with self._lock:
            for mapped in self._mapped.values():
                if mapped is not None:
                    mapped.release(0, len(mapped.rows) - 1)

    def _by_shard(self, rows: Rows) -> Iterator[tuple[int, Rows]]:
        """Yield shards, and which of `rows` are in them, in their order."""
        places = np.searchsorted(self.offsets, rows, "right") - 1
        order = np.argsort(places, kind="stable")
        starts = np.flatnonzero(np.diff(places[order], prepend=-1))
        for here in np.split(order, starts[1:]) if len(rows) else ():
            yield int(places[here[0]]), here

    def _map(self, place: int) -> MappedArray | None:
        with self._lock:
            if place in self._mapped:
                self._mapped.move_to_end(place)
                return self._mapped[place]
            mapped = self._open(place)
            self._mapped[place] = mapped
            while len(self._mapped) > MAX_MAPPED:
                self._mapped.popitem(last=False)
            return mapped

    def _open(self, place: int) -> MappedArray | None:
        num = int(self.offsets[place + 1] - self.offsets[place])
        if not num:
            return None
        try:
            mapped = MappedArray(self.path(place))
        except (OSError, ValueError):
            return None
        return mapped if mapped.rows.shape == (num, self.dim) else None


def vectors_of(source: Source) -> dict[Kind, Vectors]:
    """Return the embeddings of each kind; raises ConfigError when the source has none."""
    first = Vectors(source, KINDS[0])
    return {kind: Vectors(source, kind, first.offsets) for kind in vector_kinds(source)}


def vector_size(source: Source) -> int | None:
    """Return how many numbers the embeddings of a source have, None where it has none."""
    if isinstance(source, EmbeddingFolders):
        return source.vector_size
    return source.embedding_size if isinstance(source, RunFolder) else None


def vector_kinds(source: Source) -> tuple[Kind, ...]:
    """Return the kinds of embeddings that a source has: those of images, at least."""
    return KINDS if source.embedding_size is not None else KINDS[:1]


def normalised(vectors: npt.NDArray[Any]) -> Floats:
    """Return vectors as float32 of length 1; NaN where they have no direction."""
    floats = as_float32(vectors)
    if floats is vectors:
        floats = floats.copy()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        floats /= np.linalg.norm(floats, axis=-1, keepdims=True)
    floats[~np.isfinite(floats).all(axis=-1)] = np.nan
    return floats


def lengths(vectors: Floats) -> Floats:
    """Return the lengths of float32 vectors; NaN or infinite where a number is none."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
