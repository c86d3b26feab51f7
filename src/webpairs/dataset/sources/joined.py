"""Putting embeddings that were computed elsewhere beside the samples they are of.

    webpairs.open("laion-256", embeddings="laion-256-clip")

clip-retrieval leaves out what it cannot read and mixes what several readers hand it, so that a
row's place says nothing. Rows are joined by what they are: url and caption, both after the page's
rules; where one side has no such columns, by key. A sample that has no embedding is left out
where embeddings are asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from webpairs.dataset.features import raw_name
from webpairs.dataset.open_shards import OpenShards
from webpairs.dataset.problems import Problems
from webpairs.dataset.sources.source import PIECE_ROWS, Embeddings, Rows, Shard, Source
from webpairs.errors import ConfigError

Hashes = npt.NDArray[np.uint64]


class JoinedEmbeddings(Source):
    """Giving each sample of one source its embeddings in another.

    Holds 16 bytes for each row of embeddings, from when they are first asked for.
    """

    def __init__(self, samples: Source, embeddings: Source) -> None:
        """Raise ConfigError when nothing says which rows belong together."""
        if embeddings.embedding_size is None:
            raise ConfigError(f"{embeddings.folder} ({embeddings.kind}) has no embeddings to join")
        columns = [samples.column_names, embeddings.column_names]
        if all(raw_name(name, names) for name in ("url", "caption") for names in columns):
            self._by = ("url", "caption")
        elif samples.has_keys and embeddings.has_keys:
            self._by = ("key",)
        else:
            raise ConfigError(
                f"{embeddings.folder} cannot be joined to {samples.folder}: both need columns url "
                "and caption, or key"
            )
        self.kind = f"{samples.kind}, with {embeddings.kind}"
        self.folder = samples.folder
        self.names = samples.names
        self._samples = samples
        self._others = OpenShards(embeddings, ())

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_index"}

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Return the columns of the samples."""
        return self._samples.column_names

    @cached_property
    def has_images(self) -> bool:
        """Say whether the samples have images."""
        return self._samples.has_images

    @cached_property
    def embedding_size(self) -> int | None:
        """Return the width of the embeddings that were joined."""
        return self._others.source.embedding_size

    def num_rows(self, place: int) -> int:
        """Return how many samples a shard has, with embeddings or without."""
        return self._samples.num_rows(place)

    def open(self, place: int, problems: Problems) -> Shard:
        """Open a shard of the samples."""
        return JoinedShard(self._samples.open(place, problems), self, problems)

    def places_of(self, key: str) -> Iterable[int]:
        """Return the shards that may have a sample of this key."""
        return self._samples.places_of(key)

    def locate(self, shard: Shard) -> tuple[Rows, Rows]:
        """Return for each row of a shard where its embeddings are: shard and row, -1: nowhere."""
        hashes, shards, rows = self._index
        wanted = _hashes(shard.table(self._by))
        if not len(hashes):
            return np.full(len(wanted), -1), np.full(len(wanted), -1)
        found = np.minimum(np.searchsorted(hashes, wanted), len(hashes) - 1)
        there = hashes[found] == wanted
        return np.where(there, shards[found], -1), np.where(there, rows[found], -1)

    def fetch(self, shards: Rows, rows: Rows) -> tuple[Embeddings, Embeddings]:
        """Return the embeddings at these shards and rows of the other source, in this order."""
        image = np.empty((len(rows), self.embedding_size or 0), np.float16)
        text = np.empty_like(image)
        for place in np.unique(shards).tolist():
            here = np.flatnonzero(shards == place)
            here = here[np.argsort(rows[here], kind="stable")]
            shard = self._others.shard(place)
            pair = shard.embeddings(rows[here])
            assert pair is not None, "only rows that have embeddings are in the index"
            image[here], text[here] = pair
            shard.release(rows[here])
        return image, text

    @cached_property
    def _index(self) -> tuple[Hashes, npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Return the hash of every row of embeddings, rising, and the shard and row it is at."""
        hashes: list[Hashes] = [np.zeros(0, np.uint64)]
        counts: list[int] = []
        for place in range(len(self._others.source.names)):
            shard = self._others.shard(place)
            if shard.num_rows and shard.embeddings(np.array([0])) is None:
                counts.append(0)
                continue
            counts.append(shard.num_rows)
            for _, table in shard.stream(self._by, None, PIECE_ROWS):
                hashes.append(_hashes(table))
        together = np.concatenate(hashes)
        # Of rows that are there twice the first counts, whatever the order of sorting.
        order = np.argsort(together, kind="stable")
        shards = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        rows = np.concatenate(
            [np.zeros(0, np.int32), *(np.arange(n, dtype=np.int32) for n in counts)]
        )
        return together[order], shards[order], rows[order]


class JoinedShard(Shard):
    """Reader of a shard of samples, and its rows' embeddings from wherever they are."""

    def __init__(self, samples: Shard, source: JoinedEmbeddings, problems: Problems) -> None:
        super().__init__()
        self.name = samples.name
        self.num_rows = samples.num_rows
        self.column_names = samples.column_names
        self.problems = problems
        self._samples = samples
        self._source = source

    def read(self, raw_names: Sequence[str]) -> pa.Table:
        """Return columns of the samples."""
        return self._samples.read(raw_names)

    def table(self, names: Iterable[str], *, label_names: bool = False) -> pa.Table:
        """Return columns of the samples, of all rows."""
        return self._samples.table(names, label_names=label_names)

    def stream(
        self, names: Sequence[str], rows: Rows | None, num_rows: int, *, label_names: bool = False
    ) -> Iterator[tuple[Rows, pa.Table]]:
        """Yield columns of the samples in pieces."""
        return self._samples.stream(names, rows, num_rows, label_names=label_names)

    def images(self, rows: Rows) -> list[bytes | None]:
        """Return images of the samples."""
        return self._samples.images(rows)

    def image(self, row: int) -> bytes | None:
        """Return the image of a sample."""
        return self._samples.image(row)

    def embedded(self, rows: Rows) -> npt.NDArray[np.bool_]:
        """Say which of `rows` have embeddings."""
        return self._places[0][rows] >= 0

    def embeddings(self, rows: Rows) -> tuple[Embeddings, Embeddings]:
        """Return embeddings of `rows`, which have some."""
        shards, places = self._places
        return self._source.fetch(shards[rows], places[rows])

    def release(self, rows: Rows) -> None:
        """Let go of what was read of the samples."""
        self._samples.release(rows)

    @property
    def num_bytes(self) -> int:
        """Return how much memory its columns take."""
        return self._samples.num_bytes + 16 * self.num_rows

    @cached_property
    def _places(self) -> tuple[Rows, Rows]:
        return self._source.locate(self._samples)


def _hashes(table: pa.Table) -> Hashes:
    """Return 64 bits of BLAKE2b of each row's texts, parted by a zero byte: (n,)."""
    texts = [column.to_pylist() for column in table.columns]
    digests = [
        hashlib.blake2b("\0".join(parts).encode(), digest_size=8).digest()
        for parts in zip(*texts, strict=True)
    ]
    return np.frombuffer(b"".join(digests), "<u8")
