"""Cutting rows that stand in their final order into shards: `unique/00000.parquet` and on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.files import remove_leftovers, write_json, write_whole
from webpairs.run_folder.layout import ROW_GROUP_ROWS, Keys
from webpairs.run_folder.schema import UNIQUE, arrow_schema

UNIQUE_SCHEMA: Final = arrow_schema(UNIQUE)
_MARK: Final = "shards.json"
_REPETITIVE: Final = frozenset(
    ("license", "language", "license_id", "license_where", "opt_out", "image_source")
) | frozenset(("text_source", "crawl_file", "image_file", "drop", "reason", "stage", "signal"))


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The unique candidates of one shard."""

    number: int
    path: str
    num_candidates: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The shards of a dataset and how many unique candidates `limit` left out."""

    shards: tuple[ShardPlan, ...]
    over_limit: int


def cut_rows(
    tables: Iterable[pa.Table], folder: Path, *, num_rows: int, shard_size: int, over_limit: int
) -> Cut:
    """Write the `num_rows` rows of `tables` as shards of `shard_size`, and the list of them last.

    Columns of `UNIQUE` that `tables` lack are null. The bytes depend on the rows and their order
    alone, not on how `tables` come in pieces.
    """
    num_shards = -(-num_rows // shard_size)
    keys = Keys.for_dataset(num_shards, shard_size)
    rows = Feed(_complete(table) for table in tables)
    shards: list[ShardPlan] = []
    for number in range(num_shards):
        count = min(shard_size, num_rows - number * shard_size)
        path = folder / f"{keys.shard(number)}.parquet"
        with write_whole(path) as temporary:
            write_groups(temporary, rows, UNIQUE_SCHEMA, count)
        shards.append(ShardPlan(number, str(path), count))
    write_json(
        folder / _MARK,
        {
            "shard_size": shard_size,
            "over_limit": over_limit,
            "shards": [{**asdict(shard), "path": Path(shard.path).name} for shard in shards],
        },
    )
    return Cut(tuple(shards), over_limit)


def read_cut(folder: Path, shard_size: int) -> Cut | None:
    """Return what an earlier `cut_rows` finished in `folder`, or None."""
    try:
        mark: dict[str, Any] = orjson.loads((folder / _MARK).read_bytes())
    except FileNotFoundError:
        remove_leftovers(folder)
        return None
    if mark["shard_size"] != shard_size:
        return None
    shards = tuple(
        ShardPlan(shard["number"], str(folder / shard["path"]), shard["num_candidates"])
        for shard in mark["shards"]
    )
    return Cut(shards, mark["over_limit"])


def write_groups(path: Path, rows: Feed, schema: pa.Schema, num_rows: int) -> None:
    """Write the next `num_rows` of `rows` as parquet in row groups of one fixed size."""
    with open_parquet(path, schema) as writer:
        for start in range(0, num_rows, ROW_GROUP_ROWS):
            writer.write_table(rows.take(min(ROW_GROUP_ROWS, num_rows - start)))


def open_parquet(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file of the tables between extract and build.

    They are read whole and in order: statistics would help nobody, and dictionaries of what
    seldom repeats (ids, URLs, texts) would double the time it takes to write.
    """
    repetitive = [name for name in schema.names if name in _REPETITIVE]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=repetitive,  # pyright: ignore[reportArgumentType]  # its stub says bool
        write_statistics=False,
    )


class Feed:
    """A queue of tables: they come in any size and go in the size asked for."""

    def __init__(self, tables: Iterable[pa.Table]) -> None:
        self._tables: Iterator[pa.Table] = iter(tables)
        self._waiting: list[pa.Table] = []
        self._num_waiting = 0

    def take(self, num_rows: int) -> pa.Table:
        """Return the next `num_rows` rows as one contiguous table.

        Contiguous, because where chunks end shows in the pages of a parquet file.
        """
        while self._num_waiting < num_rows:
            table = next(self._tables)
            self._waiting.append(table)
            self._num_waiting += table.num_rows
        rows = pa.concat_tables(self._waiting)
        self._waiting = [rows.slice(num_rows)]
        self._num_waiting -= num_rows
        return rows.slice(0, num_rows).combine_chunks()


def _complete(table: pa.Table) -> pa.Table:
    return pa.Table.from_arrays(
        [
            table.column(field.name).cast(field.type)
            if field.name in table.column_names
            else pa.nulls(table.num_rows, field.type)
            for field in UNIQUE_SCHEMA
        ],
        schema=UNIQUE_SCHEMA,
    )
