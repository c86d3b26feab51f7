"""Reading LAION-400M as it was published, and what clip-retrieval writes.

    part-00000-....snappy.parquet   the eight columns of LAION-400M, 13 million rows a file
    img_emb/img_emb_0.npy text_emb/text_emb_0.npy metadata/metadata_0.parquet   a million rows each

In the published metadata HEIGHT holds the width and WIDTH the height: its workers wrote
`(width, height)` under `HEIGHT, WIDTH`. Here each is what its name says. Embeddings carry no ids:
row i of the three files of a number belongs together where all three have as many rows, and else
nothing says what does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from webpairs.dataset.features import one_array, raw_needed, strings, table_of
from webpairs.dataset.problems import Problem, Problems
from webpairs.dataset.sources.embeddings import EmbeddingPair, open_pair, open_single, width
from webpairs.dataset.sources.mapped import MappedArray
from webpairs.dataset.sources.parquet import ParquetRows
from webpairs.dataset.sources.source import (
    Embeddings,
    EmptyShard,
    Rows,
    Shard,
    Source,
    natural,
    take,
)
from webpairs.parquet.file import UNREADABLE, read_footer, read_schema

pc: Any = pyarrow.compute  # its functions are made at run time

SIZES_RIGHT: Final = b"webpairs.sizes"
"""Key of a parquet file's metadata: there, HEIGHT and WIDTH are what they say. What webpairs
exports in LAION-400M's form has it; what LAION published has not."""
LARGE_BYTES: Final = 256_000_000
"""A larger file of metadata is read by its row groups, each of them a shard."""
_FILE_DIGITS: Final = 5
_ROW_DIGITS: Final = 8


class LaionMetadata(Source):
    """List of published metadata: a shard is a file, or a row group of a large one."""

    kind = "LAION metadata"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        parts: list[tuple[Path, int | None]] = []
        for path in sorted(folder.glob("*.parquet"), key=lambda path: natural(path.name)):
            groups = [None] if path.stat().st_size <= LARGE_BYTES else _groups(path)
            parts += [(path, group) for group in groups]
        self._parts = tuple(parts)
        self.names = tuple(
            path.name if group is None else f"{path.name}:{group}" for path, group in parts
        )

    @property
    def has_keys(self) -> bool:
        """Say whether the files have a column `key`."""
        return "key" in self._own_names

    @cached_property
    def has_images(self) -> bool:
        """Say that it has none."""
        return False

    @cached_property
    def embedding_size(self) -> int | None:
        """Say that it has no embeddings."""
        return None

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Return the columns of the first file that can be read, and the key they are given."""
        return _with_key(self._own_names)

    @cached_property
    def _own_names(self) -> list[str]:
        return _first_names(path for path, _ in self._parts)

    def num_rows(self, place: int) -> int:
        """Return what the file's footer says."""
        path, group = self._parts[place]
        try:
            footer = read_footer(path)
        except UNREADABLE:
            return 0
        return footer.num_rows if group is None else footer.row_group(group).num_rows

    def open(self, place: int, problems: Problems) -> Shard:
        """Open a file or a row group."""
        path, group = self._parts[place]
        try:
            table = ParquetRows(path, group)
        except UNREADABLE as error:
            problems.of_shard(Problem.SHARD_UNREADABLE, self.names[place], str(error))
            return EmptyShard(self.names[place], ("key",))
        return LaionShard(table, place, self.names[place], problems)

    def places_of(self, key: str) -> Iterable[int]:
        """Return the shard that a key of ours names, all where the files have keys."""
        return _places(self, key)


class EmbeddingFolders(Source):
    """The files of `img_emb`, `text_emb`, if there are any, and `metadata`, by their numbers."""

    kind = "embedding folders of LAION-400M or clip-retrieval"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images = _numbered(folder / "img_emb", "img_emb_*.npy")
        self._texts = _numbered(folder / "text_emb", "text_emb_*.npy")
        if not self._texts:
            self.kind += ", without text embeddings: to be searched, not to be loaded"
        self._tables = _numbered(folder / "metadata", "metadata_*.parquet")
        numbers = {*self._images, *self._texts, *self._tables}
        self.names = tuple(sorted(numbers, key=lambda number: (int(number), number)))

    @property
    def has_keys(self) -> bool:
        """Say whether the files have a column `key`."""
        return "key" in self._own_names

    @cached_property
    def has_images(self) -> bool:
        """Say that it has none."""
        return False

    @property
    def has_texts(self) -> bool:
        """Return whether there are embeddings of texts beside those of images."""
        return bool(self._texts)

    @cached_property
    def embedding_size(self) -> int | None:
        """Return the width of embeddings; None without those of texts."""
        return self.vector_size if self.has_texts else None

    @cached_property
    def vector_size(self) -> int | None:
        """Return the width of the first image embeddings that can be read."""
        for path in self._images.values():
            if (size := width(path)) is not None:
                return size
        return None

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Return the columns of the first file of metadata that can be read, and the key."""
        return _with_key(self._own_names)

    @cached_property
    def _own_names(self) -> list[str]:
        return _first_names(self._tables[name] for name in self.names if name in self._tables)

    def num_rows(self, place: int) -> int:
        """Return how many rows the three files have, 0 where they do not agree."""
        return self.open(place, Problems()).num_rows

    def open(self, place: int, problems: Problems) -> Shard:
        """Open the three files of a number; without one of them there are no rows."""
        name = self.names[place]
        empty = EmptyShard(name, ("key",))
        if name not in self._tables:
            problems.of_shard(Problem.METADATA_MISSING, name, f"no metadata_{name}.parquet")
            return empty
        if name not in self._images or (self.has_texts and name not in self._texts):
            problems.of_shard(Problem.EMBEDDINGS_MISSING, name, f"no {name} of both kinds")
            return empty
        try:
            table = ParquetRows(self._tables[name])
        except UNREADABLE as error:
            problems.of_shard(Problem.SHARD_UNREADABLE, name, str(error))
            return empty
        shape = table.num_rows, self.vector_size
        if not self.has_texts:
            single = open_single(self._images[name], shape, name, problems)
            if single is None:
                return empty
            return LaionShard(table, place, name, problems, single=single)
        pair = open_pair(self._images[name], self._texts[name], shape, name, problems)
        return empty if pair is None else LaionShard(table, place, name, problems, pair)

    def places_of(self, key: str) -> Iterable[int]:
        """Return the shard that a key of ours names, all where the files have keys."""
        return _places(self, key)


class LaionShard(Shard):
    """Reader of rows of a table as published, and the embeddings beside it if there are any."""

    checks_rows = True

    def __init__(
        self,
        table: ParquetRows,
        place: int,
        name: str,
        problems: Problems,
        embeddings: EmbeddingPair | None = None,
        single: MappedArray | None = None,
    ) -> None:
        """`single` are image embeddings that have no text embeddings beside them."""
        super().__init__()
        self.name = name
        self.problems = problems
        self.num_rows = table.num_rows
        self._source = table
        self._place = place
        self._embeddings = embeddings
        self.single = single
        self._own = frozenset(table.schema.names)
        self._swapped = sizes_are_swapped(table.schema)
        self.column_names = _with_key(table.schema.names)

    def read(self, raw_names: Sequence[str]) -> pa.Table:
        """Return columns of all rows."""
        return self._put_right(self._source.read(self._needed(raw_names)), raw_names, 0)

    def stream(
        self, names: Sequence[str], rows: Rows | None, num_rows: int, *, label_names: bool = False
    ) -> Iterator[tuple[Rows, pa.Table]]:
        """Yield rows and their columns as the file's pages come: a shard is a million rows."""
        raw_names = raw_needed(names, self.column_names)
        start = 0
        for batch in self._batches(raw_names, num_rows):
            end = start + batch.num_rows
            here = np.arange(start, end)
            if rows is not None:
                here = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)]
            if len(here):
                raw = take(self._put_right(batch, raw_names, start), here - start)
                self.check(names, here, raw)
                yield here, table_of(names, raw, label_names=label_names)
            start = end

    def embeddings(self, rows: Rows) -> tuple[Embeddings, Embeddings] | None:
        """Return rows of the two `.npy` files."""
        return None if self._embeddings is None else self._embeddings.rows(rows)

    def release(self, rows: Rows) -> None:
        """Let go of a part of the files of embeddings."""
        if self.single is not None:
            self.single.release(int(rows[0]), int(rows[-1]))
        if self._embeddings is not None:
            self._embeddings.release(rows)

    def _batches(self, raw_names: Sequence[str], num_rows: int) -> Iterator[pa.Table]:
        needed = self._needed(raw_names)
        if needed:
            yield from self._source.batches(needed, num_rows)
            return
        for start in range(0, self.num_rows, num_rows):  # keys of ours take no reading
            num = min(num_rows, self.num_rows - start)
            yield pa.table({"row": pa.nulls(num)})

    def _needed(self, raw_names: Sequence[str]) -> list[str]:
        """Return the columns of the file from which the columns `raw_names` are made."""
        names: list[str] = []
        for name in raw_names:
            if name == "key" and name in self._own and "shard_id" in self._own:
                names += ["key", "shard_id"]
            elif name != "key" or name in self._own:
                names.append(_SWAPPED.get(name, name) if self._swapped else name)
        return list(dict.fromkeys(names))

    def _put_right(self, raw: pa.Table, raw_names: Sequence[str], start: int) -> pa.Table:
        columns: dict[str, Any] = {}
        for name in raw_names:
            if name == "key":
                columns[name] = self._keys(raw, start)
            else:
                columns[name] = raw.column(_SWAPPED.get(name, name) if self._swapped else name)
        return pa.table(columns)

    def _keys(self, raw: pa.Table, start: int) -> pa.Array:
        if "key" not in self._own:
            prefix = f"{self._place:0{_FILE_DIGITS}d}"
            rows = range(start, start + raw.num_rows)
            return pa.array([f"{prefix}{row:0{_ROW_DIGITS}d}" for row in rows], pa.string())
        keys = strings(raw.column("key"), raw.num_rows)
        if "shard_id" not in self._own:
            return keys
        # img2dataset of 2021 counted keys within a shard, and said which shard beside.
        shards = strings(raw.column("shard_id"), raw.num_rows)
        digits = 9 if pa.types.is_integer(one_array(raw.column("key")).type) else 0
        shards = pc.utf8_lpad(shards, _FILE_DIGITS, "0")
        return pc.binary_join_element_wise(shards, pc.utf8_lpad(keys, digits, "0"), "")


_SWAPPED: Final = {"HEIGHT": "WIDTH", "WIDTH": "HEIGHT"}


def is_laion_metadata(schema: pa.Schema) -> bool:
    """Say whether a table is metadata as LAION published it."""
    return {"URL", "TEXT"} <= set(schema.names)


def sizes_are_swapped(schema: pa.Schema) -> bool:
    """Say whether HEIGHT holds the width: in LAION-400M's own files, known by their SAMPLE_ID."""
    marked = SIZES_RIGHT in (schema.metadata or {})
    return {"SAMPLE_ID", "HEIGHT", "WIDTH"} <= set(schema.names) and not marked


def _with_key(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(("key", *names)))


def _first_names(paths: Iterable[Path]) -> list[str]:
    """Return the columns of the first file that can be read."""
    for path in paths:
        try:
            return read_schema(path).names
        except UNREADABLE:
            continue
    return []


def _groups(path: Path) -> list[int | None]:
    try:
        return list(range(read_footer(path).num_row_groups))
    except UNREADABLE:
        return [None]


def _numbered(folder: Path, pattern: str) -> dict[str, Path]:
    """Return the files of a folder by the number in their names, which is written as it was."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(pattern)):
        number = path.stem.rpartition("_")[2]
        if number.isdigit():
            found[number] = path
    return found


def _places(source: Source, key: str) -> Iterable[int]:
    ours = len(key) == _FILE_DIGITS + _ROW_DIGITS and key.isdigit()
    if ours and int(key[:_FILE_DIGITS]) < len(source.names):
        yield int(key[:_FILE_DIGITS])
    yield from range(len(source.names))
