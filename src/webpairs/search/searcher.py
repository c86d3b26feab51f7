"""Search a dataset: by text, image, key or vector, among all samples or those of an expression.

searcher = Searcher.open("my-dataset")
query = combine([searcher.text("a red car")])
for hit in searcher.search(query, k=20, where="similarity > 0.32"):
    print(hit.key, hit.similarity, hit.columns["caption"])
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from webpairs.errors import ConfigError
from webpairs.load.dataset import Dataset, open_dataset
from webpairs.load.features import TABULAR
from webpairs.load.source import Rows
from webpairs.search.captions import find_words
from webpairs.search.copies import keep_first
from webpairs.search.index import Index, open_index
from webpairs.search.index_file import index_folder
from webpairs.search.model import NoModel, embed_images, load_model_of, read_image
from webpairs.search.options import MAX_K, SearchOptions
from webpairs.search.query import AWAY, Query, Term, combine
from webpairs.search.vectors import KINDS, Floats, Kind, Vectors

if TYPE_CHECKING:
    from webpairs.clip.model import Model

UNIQUE_MORE: Final = 4
"""So many times as many results are looked at where copies are folded."""


@dataclass(frozen=True, slots=True)
class Hit:
    """Hold one result."""

    row: int
    """Its number in the dataset's order."""
    key: str
    uid: str | None
    """Hex; None where samples have none."""
    similarity: float | None
    """To the query; None where captions were searched."""
    columns: Mapping[str, Any]
    """Features under the page's names (`similarity` is that of image and caption), and others."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "row": self.row,
            "key": self.key,
            "uid": self.uid,
            "similarity": self.similarity,
            "columns": dict(self.columns),
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Say what was found, and what was done instead of what was asked, if anything."""

    hits: tuple[Hit, ...]
    note: str | None = None
    pictures: tuple[bytes | None, ...] = ()
    """Their images, encoded, where those were asked for."""


class Searcher:
    """Hold a dataset, its indexes and its model; safe to use from several threads."""

    def __init__(
        self, dataset: Dataset, indexes: Mapping[Kind, Index], model: str | None = None
    ) -> None:
        """`model` is a spec where the dataset does not say which model made its embeddings."""
        if not indexes:
            raise ConfigError(f"{dataset.source.folder} has an index of nothing: index it again")
        self.dataset = dataset
        self.indexes = indexes
        self._spec = model
        self._vectors = next(iter(indexes.values())).vectors
        # Open shards and the model are shared; neither is made for several threads.
        self._lock = threading.RLock()

    @classmethod
    def open(
        cls, folder: str | Path, *, index: str | None = None, model: str | None = None
    ) -> Searcher:
        """Open a dataset and its index, by default the one in its folder.

        Raises ConfigError when there is none, or one of something else.
        """
        dataset = open_dataset(folder)
        vectors: dict[Kind, Vectors] = {kind: Vectors(dataset.source, kind) for kind in KINDS}
        found = open_index(vectors, index_folder(dataset.source, index))
        return cls(dataset, found, model)

    @cached_property
    def model(self) -> Model:
        """Return the model that made the embeddings; raises NoModel where it cannot be had."""
        with self._lock:
            return load_model_of(self.dataset.source, self._vectors.dim, self._spec)

    def index(self, kind: str | None) -> Index:
        """Return the index of a kind of embeddings; None: of images if they are indexed."""
        wanted = kind or next(one for one in KINDS if one in self.indexes)
        for known, index in self.indexes.items():
            if known == wanted:
                return index
        raise ConfigError(
            f"{wanted} embeddings are not indexed: type webpairs index "
            f"{self.dataset.source.folder} --what {wanted} first"
        )

    def text(self, text: str, weight: float = 1.0) -> Term:
        """Return a text as a term."""
        model = self.model
        with self._lock:
            return Term(model.embed_texts([text])[0], "text", weight)

    def image(self, data: bytes, weight: float = 1.0) -> Term:
        """Return an encoded image as a term; ConfigError where it cannot be decoded."""
        model = self.model
        with self._lock:
            return Term(embed_images(model, [data])[0], "image", weight)

    def like(self, key: str, kind: Kind = "image", weight: float = 1.0) -> Term:
        """Return the embedding of a sample as a term; ConfigError when there is no such key."""
        row = self.row_of(key)
        vector = self.index(kind).vectors.take(np.array([row]))[0]
        if np.isnan(vector).any():
            raise ConfigError(f"sample {key} has no {kind} embedding")
        return Term(vector, kind, weight)

    def row_of(self, key: str) -> int:
        """Return a sample's number in the dataset's order; ConfigError when there is none."""
        with self._lock:
            for place in self.dataset.source.places_of(key):
                if (row := self.dataset.shard(place).row_of(key)) is not None:
                    return int(self._vectors.offsets[place]) + row
        raise ConfigError(f"{self.dataset.source.folder} has no sample {key!r}")

    def rows_where(self, expression: str) -> Rows:
        """Return the numbers of the samples for which an expression is true, rising."""
        with self._lock:
            chosen = self.dataset.where(expression)
            offsets = self._vectors.offsets
            found: list[Rows] = [np.zeros(0, np.int64)]
            for place in range(len(chosen.source.names)):
                rows = chosen.view.rows(place, chosen.shard)
                if rows is None:
                    rows = np.arange(offsets[place + 1] - offsets[place])
                found.append(offsets[place] + rows)
        return np.concatenate(found)

    def search(
        self,
        query: Query,
        k: int,
        *,
        kind: str | None = None,
        where: str | None = None,
        unique: bool = False,
        columns: Sequence[str] = TABULAR,
    ) -> list[Hit]:
        """Return the k samples whose embeddings of a kind are nearest to a query, best first.

        With `unique`, of those that show the same only the best.
        """
        among = None if where is None else self.rows_where(where)
        index = self.index(kind)
        wanted = min(k * UNIQUE_MORE, MAX_K) if unique else k
        found = index.search(query.vector[None], wanted, of=query.kind, among=among)
        rows, similarities = found.rows[0], found.similarities[0]
        there = rows >= 0
        rows, similarities = rows[there], similarities[there]
        if unique:
            kept = keep_first(index.vectors.take(rows))[:k]
            rows, similarities = rows[kept], similarities[kept]
        return self.hits(rows, similarities, columns)

    def search_captions(
        self,
        texts: Sequence[str],
        without: Sequence[str],
        k: int,
        *,
        where: str | None = None,
        columns: Sequence[str] = TABULAR,
    ) -> list[Hit]:
        """Return the first k samples whose caption has these words; no model is needed."""
        with self._lock:
            dataset = self.dataset if where is None else self.dataset.where(where)
            rows = find_words(dataset, self._vectors.offsets, texts, without, k)
        return self.hits(rows, None, columns)

    def hits(
        self, rows: Rows, similarities: Floats | None, columns: Sequence[str] = TABULAR
    ) -> list[Hit]:
        """Return samples by their numbers, in this order, with columns of metadata.

        Samples whose shard cannot be read are left out.
        """
        has_uid = "uid" in self.dataset.source.column_names
        names = list(dict.fromkeys(("key", *(("uid",) if has_uid else ()), *columns)))
        places = np.searchsorted(self._vectors.offsets, rows, "right") - 1
        found: dict[int, dict[str, Any]] = {}
        with self._lock:
            for place in np.flatnonzero(np.bincount(places)).tolist():
                first = int(self._vectors.offsets[place])
                here = np.sort(rows[places == place]) - first
                piece = self.dataset.piece(place, here, names)
                if piece is not None:
                    numbers = (piece.rows + first).tolist()
                    found |= zip(numbers, piece.table.to_pylist(), strict=True)
        hits: list[Hit] = []
        for number, row in enumerate(rows.tolist()):
            if (sample := found.get(row)) is not None:
                uid = sample.get("uid")
                hits.append(
                    Hit(
                        row,
                        sample["key"],
                        uid.hex() if isinstance(uid, bytes) else None,
                        None if similarities is None else float(similarities[number]),
                        {name: sample[name] for name in columns},
                    )
                )
        return hits

    def pictures(self, rows: Sequence[int]) -> list[bytes | None]:
        """Return the encoded images of samples by their numbers; None where there is none."""
        if not self.dataset.source.has_images:
            return [None] * len(rows)
        offsets = self._vectors.offsets
        with self._lock:
            places = (np.searchsorted(offsets, rows, "right") - 1).tolist()
            return [
                self.dataset.shard(place).image(row - int(offsets[place]))
                for row, place in zip(rows, places, strict=True)
            ]


def search_dataset(options: SearchOptions) -> SearchResult:
    """Search a dataset once.

    Without a model, texts are looked for in captions instead, and the result says so. Raises
    ConfigError for what cannot be searched for.
    """
    searcher = Searcher.open(options.source, index=options.index, model=options.model)
    kind = searcher.index(options.kind).vectors.kind
    images = [read_image(path) for path in options.images]
    terms = [searcher.like(key, kind) for key in options.like]
    try:
        terms += [searcher.image(data) for data in images]
        terms += [searcher.text(text) for text in options.texts]
        terms += [searcher.text(text, AWAY) for text in options.without]
    except NoModel as error:
        if options.images or options.like:
            raise
        hits = searcher.search_captions(
            options.texts, options.without, options.k, where=options.where
        )
        note = f"no model, so captions were searched for the words: {error}"
    else:
        query = combine(terms)
        hits = searcher.search(
            query, options.k, kind=kind, where=options.where, unique=options.unique
        )
        note = None
    pictures = searcher.pictures([hit.row for hit in hits]) if options.pictures else ()
    return SearchResult(tuple(hits), note, tuple(pictures))
