"""Searching a dataset: by text, image, key or vector, among all samples or those of an expression.

searcher = Searcher.open("my-dataset")
query = combine([searcher.text("a red car")])
for hit in searcher.search(query, k=20, where="similarity > 0.32"):
    print(hit.key, hit.similarity, hit.columns["caption"])
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from webpairs.dataset.bounded import LIST, Bounds, Row, bounded_rows
from webpairs.dataset.dataset import Dataset, open_dataset
from webpairs.dataset.features import TABULAR
from webpairs.dataset.sources.source import Rows, take
from webpairs.errors import ConfigError
from webpairs.quantities import counted
from webpairs.search.captions import find_words
from webpairs.search.chosen_rows import ChosenRows, FindRows, RowFinder
from webpairs.search.index.file import index_command, index_folder
from webpairs.search.index.index import Index, open_index
from webpairs.search.index.vectors import KINDS, Floats, Kind, normalised, vectors_of
from webpairs.search.model import NoModel, embed_images, load_model_of, read_image
from webpairs.search.near_duplicates import fold_copies
from webpairs.search.options import MAX_K, SearchOptions
from webpairs.search.query import AWAY, Query, Term, combine
from webpairs.search.result import Hit, SearchResult, shown_columns
from webpairs.search.row_store import RowStore

if TYPE_CHECKING:
    from webpairs.clip.model import Model

MIN_CANDIDATES: Final = 128
"""Results that are looked for even where fewer are asked for: pages of the first follow from one
search."""
DEDUP_OVERFETCH: Final = 4
"""Candidates fetched for each result when near-duplicates are folded."""


@dataclass(frozen=True, slots=True)
class NotIndexed:
    """Samples that a dataset got after it was indexed, and the command that adds them."""

    num_samples: int
    command: str

    @property
    def fact(self) -> str:
        """Return the fact alone, without names of folders."""
        return f"{counted(self.num_samples, 'new sample')} of this dataset cannot be found yet"

    def __str__(self) -> str:
        return f"{self.fact}: {self.command} adds what is new"


class Searcher:
    """A dataset, its indexes and its model; safe to use from several threads.

    Only the model is used by one thread at a time: nothing else waits for it.
    """

    def __init__(
        self,
        dataset: Dataset,
        indexes: Mapping[Kind, Index],
        rows: RowStore,
        model: str | None = None,
        not_indexed: NotIndexed | None = None,
        find_rows: FindRows = RowFinder.find,
    ) -> None:
        """`model` is a spec where the dataset does not say which model made its embeddings.

        `find_rows` runs expressions; a server does so where their time and memory are bounded.
        """
        if not indexes:
            raise ConfigError(f"{dataset.source.folder} has an index of nothing: index it again")
        self.dataset = dataset
        self.indexes = indexes
        self.not_indexed = not_indexed
        self._spec = model
        self._vectors = next(iter(indexes.values())).vectors
        self._rows = rows
        self.finder = RowFinder(dataset, rows)
        self._chosen = ChosenRows(self.finder, find_rows)
        self._model: Model | None = None
        self._model_lock = threading.RLock()

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        index: str | None = None,
        model: str | None = None,
        find_rows: FindRows = RowFinder.find,
    ) -> Searcher:
        """Open a dataset and its index, by default the one in its folder.

        Raises ConfigError when there is none, or one of something else.
        """
        dataset = open_dataset(folder)
        vectors, where = vectors_of(dataset.source), index_folder(dataset.source, index)
        found, rows = open_index(vectors, where)
        num_missing = vectors["image"].num_rows - int(rows.offsets[-1])
        command = index_command(dataset.source, where)
        missing = NotIndexed(num_missing, command) if num_missing else None
        return cls(dataset, found, rows, model, missing, find_rows)

    @property
    def model(self) -> Model:
        """Return the model that made the embeddings; raises NoModel where it cannot be had."""
        with self._model_lock:
            if self._model is None:
                source = self.dataset.source
                self._model = load_model_of(source, self._vectors.dim, self._spec)
            return self._model

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
        with self._model_lock:
            return Term(self.model.embed_texts([text])[0], "text", weight)

    def image(self, data: bytes, weight: float = 1.0) -> Term:
        """Return an encoded image as a term; ConfigError where it cannot be decoded."""
        with self._model_lock:
            return Term(embed_images(self.model, [data])[0], "image", weight)

    def like(self, key: str, kind: Kind = "image", weight: float = 1.0) -> Term:
        """Return the embedding of a sample as a term; ConfigError when there is no such key."""
        row = self.row_of(key)
        vector = self.index(kind).vectors.take(np.array([row]))[0]
        if np.isnan(vector).any():
            raise ConfigError(f"sample {key} has no {kind} embedding")
        if np.isnan(normalised(vector)).any():
            raise ConfigError(
                f"the {kind} embedding of sample {key} has no direction: it is 0, or not finite"
            )
        return Term(vector, kind, weight)

    def row_of(self, key: str) -> int:
        """Return a sample's number in the dataset's order; ConfigError when there is none."""
        for place in self.dataset.source.places_of(key):
            if place >= self._rows.num_shards:
                if self.dataset.shard(place).row_of(key) is not None:
                    raise ConfigError(f"sample {key} is not indexed yet: {self.not_indexed}")
                continue
            if (row := self._rows.row_of(key, place)) is not None:
                return row
        raise ConfigError(f"{self.dataset.source.folder} has no sample {key!r}")

    def rows_where(self, expression: str) -> Rows:
        """Return the numbers of the samples for which an expression is true, rising.

        Those of the last expressions are remembered. Raises ConfigError that says what is wrong
        with the expression.
        """
        return self._chosen.rows(expression)

    def search(
        self,
        query: Query,
        k: int,
        *,
        offset: int = 0,
        kind: str | None = None,
        where: str | None = None,
        unique: bool = False,
        columns: Sequence[str] = TABULAR,
        bounds: Bounds = LIST,
    ) -> list[Hit]:
        """Return the k samples whose embeddings of a kind are nearest to a query, best first.

        The first `offset` of them are left out. With `unique`, of those that show the same only
        the best; the others are in its `folded`. How many results are looked at rises in large
        steps, so that the next page seldom follows from another search.
        """
        among = None if where is None else self.rows_where(where)
        index = self.index(kind)
        end = offset + k
        looked_at = max(MIN_CANDIDATES, 2 ** math.ceil(math.log2(end)))
        wanted = min(looked_at * DEDUP_OVERFETCH if unique else looked_at, MAX_K)
        found = index.search(query.vector[None], wanted, of=query.kind, among=among)
        rows, similarities = found.rows[0], found.similarities[0]
        there = rows >= 0
        rows, similarities = rows[there], similarities[there]
        if not unique:
            return self.hits(rows[offset:end], similarities[offset:end], columns, bounds)
        groups = fold_copies(index.vectors.take(rows))[offset:end]
        best = np.array([group[0] for group in groups], np.int64)
        folded = {int(rows[group[0]]): tuple(rows[group[1:]].tolist()) for group in groups}
        hits = self.hits(rows[best], similarities[best], columns, bounds)
        return [replace(hit, folded=folded[hit.row]) for hit in hits]

    def search_captions(
        self,
        texts: Sequence[str],
        without: Sequence[str],
        k: int,
        *,
        where: str | None = None,
        columns: Sequence[str] = TABULAR,
        bounds: Bounds = LIST,
    ) -> list[Hit]:
        """Return the first k samples whose caption has these words; no model is needed."""
        among = None if where is None else self.rows_where(where)
        rows = find_words(self._rows, among, texts, without, k)
        return self.hits(rows, None, columns, bounds)

    def hits(
        self,
        rows: Rows,
        similarities: Floats | None,
        columns: Sequence[str] = TABULAR,
        bounds: Bounds = LIST,
    ) -> list[Hit]:
        """Return samples by their numbers, in this order, with columns of metadata.

        Long values are cut, and users of URLs left out (load/bounded.py). Samples whose metadata
        cannot be read are left out. Columns that are not the page's are read from the shards,
        which takes longer.
        """
        others = [name for name in columns if name not in TABULAR]
        more = self._columns_of(rows, others, bounds) if others else None
        hits: list[Hit] = []
        for number, (row, sample) in enumerate(
            zip(rows.tolist(), self._rows.rows(rows, bounds), strict=True)
        ):
            if sample is None or (more is not None and row not in more):
                continue
            known, cut = sample.values, sample.cut
            uid: bytes | None = known["uid"]
            key = known["key"]
            if more is not None:
                known, cut = known | more[row].values, (*cut, *more[row].cut)
            similarity = None if similarities is None else float(similarities[number])
            shown = {name: known[name] for name in columns}
            text = None if uid is None else uid.hex()
            cut = tuple(name for name in columns if name in cut)
            hits.append(Hit(row, key, text, similarity, shown, cut=cut))
        return hits

    def _columns_of(self, rows: Rows, names: Sequence[str], bounds: Bounds) -> dict[int, Row]:
        """Return columns by the number of the row, without what cannot be read."""
        places = np.searchsorted(self._vectors.offsets, rows, "right") - 1
        found: dict[int, Row] = {}
        for place in np.unique(places).tolist():
            first = int(self._vectors.offsets[place])
            here = np.unique(rows[places == place]) - first
            piece = self.dataset.piece(place, here, names)
            if piece is not None:
                share = bounds.share(len(here), len(rows))
                numbers = (piece.rows + first).tolist()
                found |= zip(numbers, bounded_rows(piece.table, share), strict=True)
        return found

    def table(self, rows: Rows | None, names: Sequence[str], most: int) -> pa.Table:
        """Return columns of `rows`, None: of all, of at most the first `most` in shard order.

        The tag by its name. Rows that cannot be read are left out.
        """
        rising = None if rows is None else np.sort(rows)
        if set(names) <= set(self._rows.schema.names):
            return self._rows.table(rising, names, most)
        tables: list[pa.Table] = []
        for place, (start, end) in enumerate(pairwise(self._vectors.offsets.tolist())):
            if rising is None:
                here = np.arange(end - start)
            else:
                here = rising[slice(*np.searchsorted(rising, (start, end)))] - start
            if most > 0 and len(here):
                shard = self.dataset.shard(place).table(names, label_names=True)
                tables.append(take(shard, here[here < shard.num_rows][:most]))
                most -= tables[-1].num_rows
        if not tables:
            return pa.table({name: pa.array([], pa.null()) for name in names})
        return pa.concat_tables(tables, promote_options="permissive")

    def pictures(self, rows: Sequence[int]) -> list[bytes | None]:
        """Return the encoded images of samples by their numbers; None where there is none."""
        if not self.dataset.source.has_images:
            return [None] * len(rows)
        offsets = self._vectors.offsets
        places = (np.searchsorted(offsets, rows, "right") - 1).tolist()
        return [
            self.dataset.shard(place).image(row - int(offsets[place]))
            for row, place in zip(rows, places, strict=True)
        ]


def search_dataset(options: SearchOptions) -> SearchResult:
    """Search a dataset once; without a query, list the samples of `where` in the order of keys.

    Without a model, texts are looked for in captions instead, and the result says so. Raises
    ConfigError for what cannot be searched for.
    """
    if not options.has_query:
        from webpairs.search.first_rows import first_rows

        return first_rows(options)
    searcher = Searcher.open(options.source, index=options.index, model=options.model)
    columns = shown_columns(searcher.dataset.source, options)
    kind = searcher.index(options.kind).vectors.kind
    images = [read_image(path) for path in options.images]
    terms = [searcher.like(key, kind) for key in options.like]
    notes = [] if searcher.not_indexed is None else [str(searcher.not_indexed)]
    try:
        terms += [_image_term(searcher, *one) for one in zip(options.images, images, strict=True)]
        terms += [searcher.text(text) for text in options.texts]
        terms += [searcher.text(text, AWAY) for text in options.without]
    except NoModel as error:
        if options.images or options.like:
            raise
        hits = searcher.search_captions(
            options.texts, options.without, options.k, where=options.where, columns=columns
        )
        notes.append(f"no model, so captions were searched for the words: {error}")
    else:
        query = combine(terms)
        hits = searcher.search(
            query,
            options.k,
            kind=kind,
            where=options.where,
            unique=options.unique,
            columns=columns,
        )
    pictures = searcher.pictures([hit.row for hit in hits]) if options.pictures else ()
    return SearchResult(tuple(hits), "; ".join(notes) or None, tuple(pictures))


def _image_term(searcher: Searcher, path: str, data: bytes) -> Term:
    try:
        return searcher.image(data)
    except NoModel:
        raise
    except ConfigError as error:
        raise ConfigError(f"--image {path}: {error}") from error
