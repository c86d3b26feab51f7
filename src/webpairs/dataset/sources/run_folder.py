"""Reading run folders: what `webpairs build` wrote, and the column files that were added later."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import orjson
import pyarrow as pa

from webpairs.dataset.problems import Problem, Problems
from webpairs.dataset.sources.embeddings import EmbeddingPair, open_pair, width
from webpairs.dataset.sources.parquet import ParquetRows
from webpairs.dataset.sources.source import (
    Embeddings,
    EmptyShard,
    Rows,
    Shard,
    Source,
    align,
)
from webpairs.dataset.sources.tar import TarImages
from webpairs.files import read_regular
from webpairs.parquet.file import UNREADABLE, read_footer, read_schema
from webpairs.run_folder.layout import ShardFiles
from webpairs.run_folder.run_json import MAX_SAMPLES
from webpairs.run_folder.schema import METADATA

COLUMNS: Final = "columns"
"""Folder of the column files: `columns/NAME/SHARD.parquet` has `key` and further columns."""


class RunFolder(Source):
    """List of the committed shards of a run folder."""

    kind = "run folder"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names = tuple(sorted(path.stem for path in (folder / "stats").glob("[0-9]*.json")))
        added = sorted((folder / COLUMNS).glob("*")) if (folder / COLUMNS).is_dir() else []
        self.column_files = tuple(path.name for path in added if path.is_dir())

    @cached_property
    def has_images(self) -> bool:
        """Say whether any shard has a tar: one in which nothing was kept has none."""
        return any(ShardFiles.of(self.folder, name).tar.exists() for name in self.names)

    @cached_property
    def embedding_size(self) -> int | None:
        """Return the width of the first shard's embeddings."""
        for name in self.names:
            size = width(ShardFiles.of(self.folder, name).image_embeddings)
            if size is not None:
                return size
        return None

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Return the columns of the first shard's metadata, then those of its column files."""
        for name in self.names:
            try:
                own = read_schema(ShardFiles.of(self.folder, name).metadata).names
            except UNREADABLE:
                continue
            return tuple(dict.fromkeys((*own, *self._added_names)))
        return tuple(column.name for column in METADATA)

    def num_rows(self, place: int) -> int:
        """Return how many samples the stats of a shard say it has."""
        name = self.names[place]
        if (declared := self._declared(name)) is not None:
            return declared
        try:
            return read_footer(ShardFiles.of(self.folder, name).metadata).num_rows
        except UNREADABLE:
            return 0

    def open(self, place: int, problems: Problems) -> Shard:
        """Open a shard's files."""
        name = self.names[place]
        files = ShardFiles.of(self.folder, name)
        declared = self._declared(name)
        if declared == 0 and not files.metadata.exists():
            return EmptyShard(name, self.column_names)  # nothing of it was kept
        try:
            shard = RunShard(files, name, self._added(name), self.embedding_size, problems)
        except UNREADABLE as error:
            problems.of_shard(Problem.SHARD_UNREADABLE, name, str(error))
            return EmptyShard(name, self.column_names)
        if declared is not None and declared != shard.num_rows:
            detail = f"{declared} in stats, {shard.num_rows} in metadata"
            problems.of_shard(Problem.COUNT_WRONG, name, detail)
        return shard

    def places_of(self, key: str) -> Iterable[int]:
        """Return the shard whose name the key begins with."""
        return [place for place, name in enumerate(self.names) if key.startswith(name)]

    def _declared(self, name: str) -> int | None:
        """Return how many samples the stats of a shard say it has, None if they do not say."""
        try:
            stats = orjson.loads(read_regular(ShardFiles.of(self.folder, name).stats))
            num = int(stats["samples"])
            return num if 0 <= num <= MAX_SAMPLES else None
        except (OSError, ValueError, KeyError, TypeError, OverflowError):
            return None

    @cached_property
    def _added_names(self) -> list[str]:
        """Return the columns that column files add, told by the first file of each folder."""
        names: list[str] = []
        for folder in self.column_files:
            for path in sorted((self.folder / COLUMNS / folder).glob("*.parquet"))[:1]:
                names += [name for name in read_schema(path).names if name != "key"]
        return names

    def _added(self, name: str) -> dict[str, Path]:
        """Return the columns that column files add to a shard, and the file each is in."""
        added: dict[str, Path] = {}
        for folder in self.column_files:
            path = self.folder / COLUMNS / folder / f"{name}.parquet"
            if path.exists():
                columns = (column for column in read_schema(path).names if column != "key")
                added |= dict.fromkeys(columns, path)
        return added


class RunShard(Shard):
    """Reader of one committed shard: rows of all its files are in the same order."""

    def __init__(
        self,
        files: ShardFiles,
        name: str,
        added: dict[str, Path],
        embedding_size: int | None,
        problems: Problems,
    ) -> None:
        super().__init__()
        self.name = name
        self._files = files
        self._added = added
        self._embedding_size = embedding_size
        self._problems = problems
        self._metadata = ParquetRows(files.metadata)
        own = self._metadata.schema.names
        self.num_rows = self._metadata.num_rows
        self.column_names = tuple(dict.fromkeys((*own, *added)))
        self._own = frozenset(own)

    def read(self, raw_names: Sequence[str]) -> pa.Table:
        """Read columns of the metadata, and of column files by key."""
        own = [name for name in raw_names if name in self._own]
        table = self._metadata.read(own)
        columns: dict[str, pa.ChunkedArray] = dict(zip(own, table.columns, strict=True))
        added = [name for name in raw_names if name not in self._own]
        for path in dict.fromkeys(self._added.get(name) for name in added):
            names = [name for name in added if self._added.get(name) == path]
            columns |= zip(names, self._read_added(path, names), strict=True)
        return pa.table({name: columns[name] for name in raw_names})

    def images(self, rows: Rows) -> list[bytes | None]:
        """Cut images out of the tar."""
        return self._images.images(rows)

    def image(self, row: int) -> bytes | None:
        """Cut one image out of the tar."""
        return self._images.image(row)

    def embeddings(self, rows: Rows) -> tuple[Embeddings, Embeddings] | None:
        """Return rows of the two `.npy` files."""
        return None if self._embeddings is None else self._embeddings.rows(rows)

    def embedding(self, row: int) -> tuple[Embeddings, Embeddings] | None:
        """Return one row of the two `.npy` files."""
        return None if self._embeddings is None else self._embeddings.row(row)

    def release(self, rows: Rows) -> None:
        """Let go of parts of those files that were mapped."""
        if "_images" in self.__dict__:
            self._images.release(rows)
        if "_embeddings" in self.__dict__ and self._embeddings is not None:
            self._embeddings.release(rows)

    @cached_property
    def _images(self) -> TarImages:
        keys = self.table(["key"]).column("key").combine_chunks()
        files = self._files
        return TarImages(files.tar, keys, self.name, self._problems, files.index)

    @cached_property
    def _embeddings(self) -> EmbeddingPair | None:
        shape = self.num_rows, self._embedding_size
        files = self._files
        paths = files.image_embeddings, files.text_embeddings
        return open_pair(*paths, shape, self.name, self._problems)

    def _read_added(self, path: Path | None, names: Sequence[str]) -> list[pa.ChunkedArray]:
        if path is None:  # a column file that other shards have
            return [pa.chunked_array([pa.nulls(self.num_rows)]) for _ in names]
        keys = self.table(["key"]).column("key").combine_chunks()
        return align(keys, ParquetRows(path).read(["key", *names])).columns
