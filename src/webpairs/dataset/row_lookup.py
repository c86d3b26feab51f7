"""All facts of rows that are found by key, uid or URL: samples and drops.

    show_rows("my-dataset", "000010023")                     the sample of this key
    show_rows("my-dataset", "1f0c...32 hex digits")          the candidate of this uid
    show_rows("my-dataset", "https://example.org/cat.jpg")   all that the dataset has of this URL

Nothing is read whole. A key names its shard; of other questions one column is read, a row group at
a time and only where the statistics of the group admit it (rows are sorted by uid in most
datasets, so that a uid is in one group). The other columns are read of the rows that are found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute

from webpairs.checks import resolve_workers
from webpairs.dataset.bounded import FILE, Bounds, Row, bounded_rows
from webpairs.dataset.dataset import Dataset, open_dataset
from webpairs.dataset.features import raw_name
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.dataset.sources.tar import BLOCK
from webpairs.drops import Drop
from webpairs.errors import ConfigError
from webpairs.extract.url import normalise_url
from webpairs.ids import url_hash
from webpairs.parquet.file import open_bounded
from webpairs.run_folder.layout import ShardFiles

pc: Any = pyarrow.compute  # its functions are made at run time

By = Literal["key", "uid", "url"]
MAX_ROWS: Final = 1_000
"""Rows of one URL that are shown: a logo may stand under any number of texts."""
DEDUPE: Final = "dedupe"
"""The stem of the file of drops that are of no shard."""
_UID: Final = re.compile(r"[0-9a-fA-F]{32}")


@dataclass(frozen=True, slots=True)
class ShownRow:
    """One sample or drop."""

    kind: Literal["sample", "drop"]
    shard: str
    columns: dict[str, Any]
    """Of a drop those that are stored; ids as bytes."""
    lies_in: tuple[tuple[str, str], ...]
    """What lies where: file and place in it."""
    superseded: bool = False
    """Whether the candidate was tried again, and another row tells what came of it."""
    cut: tuple[str, ...] = ()
    """Columns whose value is not whole (bounded.py)."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "kind": self.kind,
            "shard": self.shard,
            "superseded": self.superseded,
            "columns": self.columns,
            "cut": list(self.cut),
            "lies_in": dict(self.lies_in),
        }


@dataclass(frozen=True, slots=True)
class ShownRows:
    """What a dataset has of a key, uid or URL."""

    folder: Path
    asked: str
    by: By
    rows: tuple[ShownRow, ...]
    num_found: int
    """More than `rows` where a URL has more than `MAX_ROWS`."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "folder": str(self.folder),
            "asked": self.asked,
            "by": self.by,
            "num_found": self.num_found,
            "rows": [row.as_json() for row in self.rows],
        }


def show_rows(folder: str | Path, asked: str) -> ShownRows:
    """Return the rows of a key, uid (32 hex digits) or URL; raise ConfigError if there is none."""
    dataset = open_dataset(folder)
    by: By = "uid" if _UID.fullmatch(asked) else "url" if "://" in asked else "key"
    finder = _Finder(dataset, by, asked)
    found = finder.samples() + finder.drops()
    if not found:
        raise ConfigError(_nothing(dataset, by, asked))
    bounds = FILE.share(1, min(len(found), MAX_ROWS))
    rows = [_tell(dataset, *one, bounds) for one in found[:MAX_ROWS]]
    return ShownRows(dataset.source.folder, asked, by, _superseded(rows), len(found))


_Found = tuple[Literal["sample", "drop"], int, str, int]
"""Kind, number of the shard in the source (-1: of none), its name, row in its file."""


class _Finder:
    """The rows of one question."""

    def __init__(self, dataset: Dataset, by: By, asked: str) -> None:
        self._dataset = dataset
        self._by = by
        self._asked = asked

    def samples(self) -> list[_Found]:
        """Return the samples, in the dataset's order."""
        source = self._dataset.source
        if self._by == "key":
            places = [*source.places_of(self._asked)]
        else:
            places = [*range(len(source.names))]
        with ThreadPoolExecutor(resolve_workers(None)) as pool:
            found = pool.map(self._in_shard, places)
            return [
                ("sample", place, source.names[place], row)
                for place, rows in zip(places, found, strict=True)
                for row in rows
            ]

    def drops(self) -> list[_Found]:
        """Return the drops, those of no shard first, then in the order of shards."""
        source = self._dataset.source
        if not isinstance(source, RunFolder) or self._by == "key":
            return []
        names = [DEDUPE, *source.names]
        column = "uid" if self._by == "uid" else "url_hash"
        values = self._ids() if self._by == "uid" else [url_hash(url) for url in self._urls()]

        def rows(name: str) -> list[int]:
            return [*find_rows(source.folder / "drops" / f"{name}.parquet", column, values)]

        with ThreadPoolExecutor(resolve_workers(None)) as pool:
            return [
                ("drop", place - 1, name, row)
                for place, (name, found) in enumerate(
                    zip(names, pool.map(rows, names), strict=True)
                )
                for row in found
            ]

    def _in_shard(self, place: int) -> list[int]:
        source = self._dataset.source
        name: str | None = self._by
        if self._by == "url":
            name = raw_name("url", source.column_names)
        if name is None or (name != "key" and name not in source.column_names):
            raise ConfigError(f"{source.folder} ({source.kind}) has no column of a {self._by}")
        values: list[Any] = [self._asked] if self._by == "key" else self._urls()
        if self._by == "uid":
            values = [*self._ids(), self._asked.lower()]
        if isinstance(source, RunFolder):
            metadata = ShardFiles.of(source.folder, source.names[place]).metadata
            return [*find_rows(metadata, name, values)]
        shard = source.open(place, self._dataset.problems)
        return _equal(shard.read([name]).column(name), values) if shard.num_rows else []

    def _urls(self) -> list[str]:
        """Return the URL as it was given and as datasets have it."""
        return [*dict.fromkeys(one for one in (normalise_url(self._asked), self._asked) if one)]

    def _ids(self) -> list[bytes]:
        return [bytes.fromhex(self._asked)]


def find_rows(path: Path, column: str, values: Sequence[Any]) -> Iterator[int]:
    """Yield the rows of a parquet file whose column has one of `values`; none if it is not there.

    Raises ConfigError that names a file which cannot be read.
    """
    try:
        with open_bounded(path, [column]) as file:
            place = file.schema_arrow.names.index(column)
            first = 0
            for number in range(file.num_row_groups):
                group = file.metadata.row_group(number)
                if _may_have(group.column(place), values):
                    rows = file.read_row_group(number, [column], use_threads=False)
                    for row in _equal(rows.column(column), values):
                        yield first + row
                first += group.num_rows
    except FileNotFoundError:
        return
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ConfigError(f"{path} cannot be read: {error}: webpairs verify says more") from error


def _may_have(column: Any, values: Sequence[Any]) -> bool:
    statistics = column.statistics
    if statistics is None or not statistics.has_min_max:
        return True
    least, most = statistics.min, statistics.max
    return any(type(value) is not type(least) or least <= value <= most for value in values)


def _equal(column: pa.ChunkedArray, values: Sequence[Any]) -> list[int]:
    kind = column.type
    is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    fitting = [value for value in values if isinstance(value, str) == is_text]
    if not fitting or pa.types.is_null(kind):
        return []
    there = pc.is_in(column, value_set=pa.array(fitting, kind))
    return np.flatnonzero(there.to_numpy()).tolist()


def _tell(
    dataset: Dataset,
    kind: Literal["sample", "drop"],
    place: int,
    shard: str,
    row: int,
    bounds: Bounds,
) -> ShownRow:
    source = dataset.source
    if kind == "drop":
        path = source.folder / "drops" / f"{shard}.parquet"
        told = bounded_rows(_row(path, row), bounds)[0]
        known = {name: value for name, value in told.values.items() if value is not None}
        return ShownRow(kind, shard, known, (("drop", f"{path}, row {row}"),), cut=told.cut)
    piece = dataset.piece(place, np.array([row]), source.column_names)
    told = Row({}) if piece is None else bounded_rows(piece.table, bounds)[0]
    lies_in = _lies_in(source, shard, row) if isinstance(source, RunFolder) else ()
    return ShownRow(kind, shard, told.values, lies_in, cut=told.cut)


def _row(path: Path, row: int) -> pa.Table:
    """Return one row of a parquet file, of which its row group is read."""
    with open_bounded(path) as file:
        for number in range(file.num_row_groups):
            num_rows = file.metadata.row_group(number).num_rows
            if row < num_rows:
                group = file.read_row_group(number, use_threads=False)
                return group.slice(row, 1)
            row -= num_rows
    raise ConfigError(f"{path} has no row {row}")


def _lies_in(source: RunFolder, shard: str, row: int) -> tuple[tuple[str, str], ...]:
    """Return where the parts of a sample lie."""
    files = ShardFiles.of(source.folder, shard)
    found: list[tuple[str, str]] = []
    if (image := _image_place(files, row)) is not None:
        found.append(("image", image))
    found.append(("metadata", f"{files.metadata}, row {row}"))
    for what, path in (
        ("image embedding", files.image_embeddings),
        ("text embedding", files.text_embeddings),
    ):
        if path.exists():
            found.append((what, f"{path}, row {row}"))
    return tuple(found)


def _image_place(files: ShardFiles, row: int) -> str | None:
    """Return member, offset and size of a row's image, of which its tar header is read."""
    try:
        with files.index.open("rb") as index, files.tar.open("rb") as tar:
            index.seek(8 * row)
            tar.seek(start := int.from_bytes(index.read(8), "little"))
            header = tar.read(BLOCK)
            name = header[:100].rstrip(b"\0").decode()
            size = int(header[124:135], 8)
    except (OSError, ValueError, OverflowError):
        return None
    return f"{files.tar}, member {name}, {size} bytes from byte {start + BLOCK}"


def _superseded(rows: list[ShownRow]) -> tuple[ShownRow, ...]:
    """Mark all rows of a candidate but that of its last shard: the later outcome counts."""
    order = {id(row): ("" if row.shard == DEDUPE else row.shard) for row in rows}
    last: dict[Any, str] = {}
    for row in rows:
        uid = row.columns.get("uid")
        last[uid] = max(last.get(uid, ""), order[id(row)])
    return tuple(
        replace(row, superseded=True)
        if row.columns.get("uid") is not None and order[id(row)] < last[row.columns["uid"]]
        else row
        for row in rows
    )


def _nothing(dataset: Dataset, by: By, asked: str) -> str:
    """Return why nothing was found, and what to try."""
    source = dataset.source
    if by == "key":
        names = [source.names[place] for place in source.places_of(asked)]
        if isinstance(source, RunFolder) and names and asked.isdecimal():
            candidate = asked[len(names[0]) :]
            return (
                f"{source.folder} has no sample {asked}: candidate {candidate} of shard {names[0]} "
                "was dropped or is not there. Drops have no key: ask for the uid or the URL"
            )
        return (
            f"{source.folder} has no sample {asked!r}: give a key, a uid (32 hex digits) or a URL"
        )
    if isinstance(source, RunFolder):
        counted = ", ".join(str(drop) for drop in Drop if drop.stage == "extract")
        return (
            f"{source.folder} has no sample and no drop of the {by} {asked}: it was not in the "
            f"inputs, or its reason is one of those that are only counted ({counted}, "
            f"{Drop.DUPLICATE}, {Drop.LIMIT})"
        )
    return f"{source.folder} ({source.kind}) has no sample of the {by} {asked}"
