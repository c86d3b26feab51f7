"""The index of a dataset: what is nearest to a vector.

indexes, rows = open_index(vectors_of(ds.source), "my-dataset/index")
found = indexes["image"].search(queries, k=10, of="text")  # rows in the dataset's order, cosines
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from webpairs.dataset.sources.source import Rows
from webpairs.errors import ConfigError, DamagedFile
from webpairs.search.index.exact import Found, nearest
from webpairs.search.index.faiss_library import threads_for
from webpairs.search.index.file import (
    EXACT,
    ListFiles,
    check_files,
    check_index,
    damaged,
    index_command,
    number_of,
    read_arrays,
    read_index_manifest,
    rows_path,
)
from webpairs.search.index.inverted import Inverted, Probing
from webpairs.search.index.vectors import KINDS, Floats, Kind, Vectors, normalised
from webpairs.search.row_store import RowStore


class Index:
    """Search of the embeddings of one kind; safe to use from several threads."""

    def __init__(self, folder: Path, entry: Mapping[str, Any], vectors: Vectors) -> None:
        """`entry` is what the manifest says of this kind."""
        self.vectors = vectors
        self.recall: dict[Kind, float] = {
            kind: entry["queries"][kind]["recall"]["at_10"]
            for kind in KINDS
            if kind in entry["queries"]
        }
        """Measured share of the ten nearest that is found, for images and texts as queries."""
        self._unit: bool = entry["unit"]
        self._inverted: Inverted | None = None
        if entry["kind"] == EXACT:
            return
        check_files(folder, entry["files"], vectors.source)
        files = ListFiles.of(folder, vectors.kind, number_of(entry["files"]))
        facts = read_arrays(files.facts)
        try:
            self._means: dict[Kind, Floats] = {kind: facts[f"mean_{kind}"] for kind in self.recall}
            sizes: Rows = facts["sizes"]
        except KeyError as error:
            raise damaged(files.facts, error) from error
        self._probings = {kind: Probing.from_json(entry["queries"][kind]) for kind in self.recall}
        self._inverted = Inverted(files.trained, files.lists, sizes, vectors, unit=self._unit)

    @property
    def is_exact(self) -> bool:
        """Say whether every vector is compared, whatever the query."""
        return self._inverted is None

    def search(
        self, queries: Floats, k: int, *, of: Kind | None = None, among: Rows | None = None
    ) -> Found:
        """Return the k nearest of all rows, or of rising rows `among`, to (q, d) queries.

        `of` says what the queries are embeddings of; None: it is told by what they are near to.
        Their length does not matter. Raises ConfigError for queries that cannot be compared.
        """
        directions = _directions(queries, self.vectors.dim)
        k = min(k, self.vectors.num_rows if among is None else len(among))
        if k == 0:
            none = np.zeros((len(directions), 0))
            return Found(none.astype(np.int64), none.astype(np.float32))
        with threads_for(len(directions)):
            return self._search(directions, k, of, among)

    def _search(self, directions: Floats, k: int, of: Kind | None, among: Rows | None) -> Found:
        if self._inverted is None:
            return nearest(self.vectors, directions, k, unit=self._unit, among=among)
        known = tuple(self._probings)
        of = of if of in self._probings else None
        kinds = np.array([known.index(of or self._kind_of(one)) for one in directions])
        order = np.argsort(kinds, kind="stable")
        parts = [
            self._inverted.search(directions[kinds == number], k, self._probings[kind], among=among)
            for number, kind in enumerate(known)
            if (kinds == number).any()
        ]
        back = np.argsort(order, kind="stable")
        return Found(
            np.concatenate([part.rows for part in parts])[back],
            np.concatenate([part.similarities for part in parts])[back],
        )

    def _kind_of(self, query: Floats) -> Kind:
        """Return what a query looks like: images and texts lie apart from each other."""
        return max(self._means, key=lambda kind: float(self._means[kind] @ query))


def open_index(vectors: Mapping[Kind, Vectors], folder: Path) -> tuple[dict[Kind, Index], RowStore]:
    """Return a dataset's index in a folder: of each kind of embeddings, and what results show.

    Shards that were added to the dataset since are left out, so that the rows of both end where
    those of the index end. Raises ConfigError, with the reason and what to do, when there is none,
    or one of something else: another model, other embeddings, other samples.
    """
    manifest = read_index_manifest(folder)
    source = vectors["image"].source
    if manifest is None:
        what = "holds no index that this version reads" if folder.exists() else "does not exist"
        raise ConfigError(f"{folder} {what}: type {index_command(source, folder)} first")
    check_index(folder, manifest, vectors["image"])
    offsets = vectors["image"].offsets[: manifest["source"]["shards"] + 1]
    indexes: dict[Kind, Index] = {
        kind: Index(folder, manifest["indexes"][kind], Vectors(source, kind, offsets))
        for kind in KINDS
        if kind in manifest["indexes"]
    }
    files = manifest["rows"]["files"]
    check_files(folder, files, source)
    path = rows_path(folder, number_of(files))
    try:
        return indexes, RowStore(path, offsets)
    except DamagedFile:
        raise
    except (OSError, ValueError, pa.ArrowException) as error:
        raise damaged(path, error) from error


def _directions(queries: Floats, dim: int) -> Floats:
    if queries.ndim != 2 or queries.shape[1] != dim:
        raise ConfigError(
            f"an embedding of {queries.shape[-1] if queries.ndim else 1} numbers cannot be "
            f"compared with those of {dim}: use the model that made them"
        )
    directions = normalised(queries)
    if np.isnan(directions).any():
        raise ConfigError("an embedding without a direction cannot be searched for: it is 0 or NaN")
    return directions
