"""Reading what img2dataset wrote, as WebDataset tars or as parquet, and other people's tars.

    NNNNN.tar      KEY.jpg KEY.txt KEY.json of the images that were obtained, in the order they came
    NNNNN.parquet  a row a URL, those that failed too, in that order; with `--output_format parquet`
                   it has the images as well
    NNNNN_stats.json

Rows are joined to images by key: their order is that of the answers, and failures stand between
them. Today's keys are unique in the dataset (shard, then row); those of 2021 start anew in every
shard, and get its name before them here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute

from webpairs.crawl.lenient_json import read_json_value
from webpairs.dataset.features import one_array, strings
from webpairs.dataset.problems import Problem, Problems
from webpairs.dataset.sources.mapped import MappedFile
from webpairs.dataset.sources.parquet import ParquetRows
from webpairs.dataset.sources.source import EmptyShard, Rows, Shard, Source, natural
from webpairs.dataset.sources.tar import IMAGE_EXTENSIONS, Members, TarImages, list_members
from webpairs.files import read_regular
from webpairs.parquet.file import UNREADABLE, read_schema

pc: Any = pyarrow.compute  # its functions are made at run time

KEYS_ARE_UNIQUE: Final = b"webpairs.keys"
"""Key of a parquet file's metadata: its keys are unique in the dataset and begin with no shard's
name. What webpairs packs anew has it."""
_SUCCESS: Final = "success"


class Img2datasetFolder(Source):
    """List of the shards of an img2dataset output folder, or of a folder of WebDataset tars."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._tars = frozenset(path.stem for path in folder.glob("*.tar"))
        self._tables = frozenset(path.stem for path in folder.glob("*.parquet"))
        self.names = tuple(sorted({*self._tars, *self._tables}, key=natural))
        if not self._tars:
            self.kind = "img2dataset output, parquet"
        elif self._tables:
            self.kind = "img2dataset output, WebDataset"
        else:
            self.kind = "WebDataset tars"

    @cached_property
    def has_images(self) -> bool:
        """Say that it has."""
        return True

    @cached_property
    def embedding_size(self) -> int | None:
        """Say that it has no embeddings."""
        return None

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Return the columns of the first shard that can be read."""
        for place in range(len(self.names)):
            shard = self.open(place, Problems())
            if not isinstance(shard, EmptyShard):
                return shard.column_names
        return ("key",)

    @cached_property
    def keys_start_anew(self) -> bool:
        """Say whether keys are unique within a shard only, as img2dataset wrote them in 2021.

        Told by a shard that is not the first: a key that is unique begins with its number.
        """
        if self._keys_are_marked:
            return False
        for name in reversed(self.names):
            if not name.strip("0"):
                continue
            try:
                keys = self._some_keys(name)
            except UNREADABLE:
                continue
            if keys:
                return not all(key.startswith(name) for key in keys)
        return False

    def num_rows(self, place: int) -> int:
        """Return how many images the stats of a shard say were obtained; else, count them."""
        name = self.names[place]
        if name not in self._tables:
            try:
                members = list_members(MappedFile(self.folder / f"{name}.tar"))
            except OSError:
                return 0
            return sum(members.image(key) is not None for key in members.by_key)
        if self._tars and name not in self._tars:
            return 0
        successes = self._successes(name)
        return self.open(place, Problems()).num_rows if successes is None else successes

    def open(self, place: int, problems: Problems) -> Shard:
        """Open a shard: its table, and when images are asked for its tar."""
        name = self.names[place]
        prefix = name if self.keys_start_anew else ""
        table, tar = self.folder / f"{name}.parquet", self.folder / f"{name}.tar"
        try:
            if name not in self._tables:
                if self._tables:
                    problems.of_shard(Problem.METADATA_MISSING, name, str(tar))
                return JsonShard(tar, name, prefix, problems)
            if self._tars:
                if name not in self._tars:
                    problems.of_shard(Problem.IMAGES_MISSING, name, f"{table} has no tar")
                    return EmptyShard(name, ("key",))
                rows = ParquetRows(table)
                if "key" not in rows.schema.names:
                    problems.of_shard(Problem.KEY_MISSING, name, _lacks(rows, "key"))
                    return JsonShard(tar, name, prefix, problems)
                shard: Shard = TarShard(rows, tar, name, prefix, problems)
            else:
                shard = ParquetShard(ParquetRows(table), name, prefix, problems)
        except UNREADABLE as error:
            problems.of_shard(Problem.SHARD_UNREADABLE, name, str(error))
            return EmptyShard(name, ("key",))
        if (num := self._successes(name)) not in (None, shard.num_rows):
            detail = f"{num} in stats, {shard.num_rows} in {table}"
            problems.of_shard(Problem.COUNT_WRONG, name, detail)
        return shard

    def places_of(self, key: str) -> Iterable[int]:
        """Return the shard whose name the key begins with; any, where keys do not tell."""
        named = [place for place, name in enumerate(self.names) if key.startswith(name)]
        return range(len(self.names)) if self._keys_are_marked or not named else named

    @cached_property
    def _keys_are_marked(self) -> bool:
        """Say whether the tables say that keys are unique whatever they begin with."""
        for name in self.names:
            if name not in self._tables:
                continue
            try:
                schema = read_schema(self.folder / f"{name}.parquet")
            except UNREADABLE:
                continue
            return KEYS_ARE_UNIQUE in (schema.metadata or {})
        return False

    def _successes(self, name: str) -> int | None:
        """Return how many images a shard's stats say were obtained; None without stats."""
        try:
            return int(orjson.loads(read_regular(self.folder / f"{name}_stats.json"))["successes"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _some_keys(self, name: str) -> list[str]:
        rows = ParquetRows(self.folder / f"{name}.parquet") if name in self._tables else None
        if rows is not None and "key" in rows.schema.names:
            for batch in rows.batches(["key"], 8):
                keys = one_array(batch.column("key"))
                if pa.types.is_integer(keys.type):
                    return [""]  # 2021
                return [key for key in strings(keys, len(keys)).to_pylist() if key]
            return []
        return list(list_members(MappedFile(self.folder / f"{name}.tar")).by_key)[:8]


class _TableShard(Shard):
    """Reader of the rows of a table that were obtained; `key` is made unique by `prefix`."""

    checks_rows = True

    def __init__(self, table: ParquetRows, name: str, prefix: str, problems: Problems) -> None:
        super().__init__()
        self.name = name
        self.problems = problems
        self._source = table
        self._prefix = prefix
        self.column_names = tuple(field.name for field in table.schema if not _is_image(field))
        self._places, self._keys = self._chosen_rows()
        self.num_rows = len(self._places)

    def read(self, raw_names: Sequence[str]) -> pa.Table:
        """Return columns of the rows that were obtained."""
        table = self._source.read([name for name in raw_names if name != "key"])
        if len(self._places) < self._source.num_rows:
            table = table.take(pa.array(self._places))
        keys = self._keys
        if "key" in raw_names and self._prefix:
            keys = pc.binary_join_element_wise(self._prefix, keys, "")
        return pa.table({n: keys if n == "key" else table.column(n) for n in raw_names})

    def format_keys(self, keys: pa.Array) -> pa.Array:
        """Return keys as text; numbers as img2dataset wrote them in 2021, with 9 digits."""
        return pa.array([None if key is None else f"{key:09d}" for key in keys.to_pylist()])

    def is_there(self, places: Rows) -> Rows:
        """Return which of these rows of the table have an image, as far as the table says."""
        return places

    def _chosen_rows(self) -> tuple[Rows, pa.StringArray]:
        """Return which rows of the table were obtained, and their keys as in the tar."""
        names = ["key", *(["status"] if "status" in self.column_names else [])]
        table = self._source.read(names)
        keys = one_array(table.column("key"))
        if pa.types.is_integer(keys.type):
            keys = self.format_keys(keys)
        keys = strings(keys, len(keys))
        good = keys.is_valid().to_numpy(zero_copy_only=False)
        if "status" in names:
            status = strings(table.column("status"), table.num_rows)
            good &= pc.equal(status, _SUCCESS).fill_null(False).to_numpy(zero_copy_only=False)
        places = self.is_there(np.flatnonzero(good))
        keys = keys.take(pa.array(places))
        if num := len(keys) - pc.count_distinct(keys).as_py():
            first = np.sort(np.unique(keys.to_numpy(zero_copy_only=False), return_index=True)[1])
            self.problems.of_shard(Problem.KEY_REPEATED, self.name, "in the table", num)
            places, keys = places[first], keys.take(pa.array(first))
        return places, keys


class TarShard(_TableShard):
    """Joining the rows of a table to the images of a tar, by key."""

    def __init__(
        self, table: ParquetRows, tar: Path, name: str, prefix: str, problems: Problems
    ) -> None:
        self._tar = tar
        super().__init__(table, name, prefix, problems)

    def format_keys(self, keys: pa.Array) -> pa.Array:
        """Return numbers with as many digits as they have in the tar."""
        first = next(iter(list_members(MappedFile(self._tar)).by_key), "")
        width = len(first) if first.isdigit() else 1
        return pa.array(
            [None if key is None else f"{key:0{width}d}" for key in keys.to_pylist()], pa.string()
        )

    def images(self, rows: Rows) -> list[bytes | None]:
        """Cut images out of the tar."""
        return self._images.images(rows)

    def image(self, row: int) -> bytes | None:
        """Cut one image out of the tar."""
        return self._images.image(row)

    def release(self, rows: Rows) -> None:
        """Let go of a part of the tar."""
        self._images.release(rows)

    @cached_property
    def _images(self) -> TarImages:
        return TarImages(self._tar, self._keys, self.name, self.problems)


class ParquetShard(_TableShard):
    """Reader of rows and images from one parquet file."""

    def __init__(self, table: ParquetRows, name: str, prefix: str, problems: Problems) -> None:
        column = image_column(table.schema)
        if "key" not in table.schema.names:
            raise ValueError(_lacks(table, "key"))
        if column is None:
            raise ValueError(_lacks(table, "jpg"))
        self._column = column
        self._group_starts = table.group_starts()
        self._held: tuple[int, pa.ChunkedArray] | None = None
        super().__init__(table, name, prefix, problems)

    def images(self, rows: Rows) -> list[bytes | None]:
        """Read the row groups that hold the images of `rows`, one at a time."""
        places = self._places[rows]
        groups = np.searchsorted(self._group_starts, places, side="right") - 1
        images: list[bytes | None] = []
        for group in np.unique(groups).tolist():
            within = places[groups == group] - self._group_starts[group]
            images += self._group(group).take(pa.array(within)).to_pylist()
        return images

    def _group(self, group: int) -> pa.ChunkedArray:
        """Return the images of a row group; the last one is kept."""
        if self._held is None or self._held[0] != group:
            table = self._source.read_groups([group], [self._column])
            self._held = group, table.column(0)
        return self._held[1]


class JsonShard(Shard):
    """Reader of a tar that has no table beside it: its rows are its `.json` and `.txt` members."""

    checks_rows = True

    def __init__(self, tar: Path, name: str, prefix: str, problems: Problems) -> None:
        super().__init__()
        self.name = name
        self.problems = problems
        mapped = MappedFile(tar)
        members = list_members(mapped)
        keys = [key for key in members.by_key if members.image(key) is not None]
        self.num_rows = len(keys)
        if members.broken is not None:
            problems.of_shard(Problem.TAR_BROKEN, name, members.broken)
        without = (key for key in members.by_key if members.image(key) is None)
        for number, key in enumerate(without, len(keys)):
            problems.of_row(Problem.NO_IMAGE, name, number, prefix + key, members.why(key))
        rows = [_json_row(mapped, members, key) for key in keys]
        names = dict.fromkeys(name for row in rows for name in row if name != "key")
        self._table = pa.table(
            {"key": pa.array([prefix + key for key in keys], pa.string())}
            | {name: _any_array([row.get(name) for row in rows]) for name in names}
        )
        self.column_names = tuple(self._table.column_names)
        self._images = TarImages(tar, pa.array(keys, pa.string()), name, problems)

    def read(self, raw_names: Sequence[str]) -> pa.Table:
        """Return fields of the JSON, null where a sample has none."""
        return self._table.select(list(raw_names))

    def images(self, rows: Rows) -> list[bytes | None]:
        """Cut images out of the tar."""
        return self._images.images(rows)

    def image(self, row: int) -> bytes | None:
        """Cut one image out of the tar."""
        return self._images.image(row)

    def release(self, rows: Rows) -> None:
        """Let go of a part of the tar."""
        self._images.release(rows)


def image_column(schema: pa.Schema) -> str | None:
    """Return which column of a table holds encoded images."""
    return next((field.name for field in schema if _is_image(field)), None)


def _lacks(table: ParquetRows, name: str) -> str:
    """Say that a table has no column of this name, and which ones it has."""
    return f"{table.path} has no column {name}, but {', '.join(table.schema.names)}"


def _is_image(field: pa.Field) -> bool:
    is_bytes = pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type)
    return is_bytes and field.name.lower() in IMAGE_EXTENSIONS


def _json_row(tar: MappedFile, members: Members, key: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    there = members.by_key[key]
    if (member := there.get("json")) is not None:
        try:
            fields = read_json_value(tar.data[slice(*member)])
        except ValueError:
            fields = None
        if isinstance(fields, dict):
            row = _with_one_caption(fields)
    if (member := there.get("txt")) is not None and not row.get("caption"):
        row["caption"] = tar.data[slice(*member)].decode(errors="replace")
    return row


def _with_one_caption(row: dict[str, Any]) -> dict[str, Any]:
    """Return a sample's JSON with one text as its caption: the first, where it is a list of them.

    All of them stay in `captions`.
    """
    for name in ("caption", "captions"):
        held = row.get(name)
        if not isinstance(held, list):
            continue
        texts = [one for one in held if isinstance(one, str) and one]  # pyright: ignore[reportUnknownVariableType]
        caption = row.get("caption")
        first = caption if isinstance(caption, str) else next(iter(texts), None)  # pyright: ignore[reportUnknownArgumentType]
        return {**row, "caption": first, "captions": held}
    return row


def _any_array(values: list[Any]) -> pa.Array:
    """Return values of JSON as a column; as text where their types do not go together."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        return pa.array([_as_text(one) for one in values], pa.string())


def _as_text(value: Any) -> str | None:
    """Return a value of JSON as text; None for null, and for what is nested too deep to show."""
    if value is None or isinstance(value, str):
        return value
    try:
        return str(value)
    except RecursionError:
        return None
