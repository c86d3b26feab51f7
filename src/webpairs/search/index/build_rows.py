"""Writing what results show of every sample into one file: shard after shard, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from webpairs.dataset.features import TABULAR, one_array
from webpairs.dataset.problems import Problems
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.dataset.sources.source import Rows, Source
from webpairs.files import write_whole
from webpairs.progress import RunProgress, StageTotal
from webpairs.search.index.file import are_whole, number_of, rows_path
from webpairs.search.index.vectors import Vectors
from webpairs.search.row_store import BATCH_ROWS, COUNTED, SCHEMA, RowStore

_UNREADABLE: Final = (OSError, ValueError, pa.ArrowException)


def build_rows(
    folder: Path,
    vectors: Vectors,
    there: Mapping[str, Any] | None,
    num_known: int,
    progress: RunProgress,
) -> dict[str, Any]:
    """Return the manifest's entry of the rows in a folder, whose file is there.

    `there` is the entry of the index that is replaced, and `num_known` how many of the dataset's
    first shards it has.
    """
    offsets = vectors.offsets
    known: RowStore | None = None
    if there is not None and num_known and are_whole(folder, there["files"]):
        if num_known == len(offsets) - 1 and not there["unreadable"]:
            return dict(there)
        known = RowStore(rows_path(folder, number_of(there["files"])), offsets[: num_known + 1])
    path = rows_path(folder, 0 if there is None else number_of(there["files"]) + 1)
    if (store := _opened(path, offsets)) is None:
        with progress.stage(StageTotal("rows", "samples", vectors.num_rows)):
            _write(path, vectors.source, offsets, known, progress)
        store = RowStore(path, offsets)
    return {"files": {path.name: path.stat().st_size}, "unreadable": store.num_unreadable}


def _opened(path: Path, offsets: Rows) -> RowStore | None:
    """Return rows that were written before the build was stopped; None: none, or of fewer."""
    try:
        return RowStore(path, offsets)
    except _UNREADABLE:
        return None


def _write(
    path: Path,
    source: Source,
    offsets: Rows,
    known: RowStore | None,
    progress: RunProgress,
) -> None:
    """Write the rows of all shards.

    `known` has those of the first shards, which are copied where they are whole.
    """
    schema = _schema_of(source)
    if known is not None and known.schema != schema:
        known = None
    num_known = 0 if known is None else len(known.offsets) - 1
    with (
        write_whole(path) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for place, (start, end) in enumerate(pairwise(offsets.tolist())):
            batches = known.shard(place) if known is not None and place < num_known else None
            if batches is None:
                batches = _read(source, place, end - start, schema)
            for batch in batches:
                writer.write_batch(batch)
            progress.add({"done": end - start})


def _schema_of(source: Source) -> pa.Schema:
    """Return the columns that rows of a source have."""
    more = COUNTED if isinstance(source, RunFolder) else ()
    names = [name for name in more if name in source.column_names]
    return pa.schema([*SCHEMA, *(pa.field(name, pa.string()) for name in names)])


def _read(source: Source, place: int, num_rows: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a shard in batches; those that cannot be read without a key."""
    pending: list[pa.RecordBatch] = []
    num_pending, left = 0, num_rows
    for piece in _pieces(source, place, schema):
        batch = piece.slice(0, left)
        left -= batch.num_rows
        while num_pending + batch.num_rows >= BATCH_ROWS:
            part = batch.slice(0, BATCH_ROWS - num_pending)
            yield pa.concat_batches([*pending, part])
            batch = batch.slice(part.num_rows)
            pending, num_pending = [], 0
        if batch.num_rows:
            pending.append(batch)
            num_pending += batch.num_rows
    while left or num_pending:
        missing = min(left, BATCH_ROWS - num_pending)
        yield pa.concat_batches([*pending, _without_key(missing, schema)])
        left -= missing
        pending, num_pending = [], 0


def _pieces(source: Source, place: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a shard as far as they can be read."""
    shard = source.open(place, Problems())
    known = {*TABULAR, "key", *shard.column_names}
    names = [name for name in schema.names if name in known]
    try:
        for rows, table in shard.stream(names, None, BATCH_ROWS, label_names=True):
            yield _batch(table, len(rows), schema)
    except _UNREADABLE:
        return


def _batch(table: pa.Table, num_rows: int, schema: pa.Schema) -> pa.RecordBatch:
    columns: list[pa.Array] = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(num_rows, field.type))
            continue
        column = one_array(table.column(field.name))
        if field.name == "uid" and not _is_binary(column.type):
            column = pa.nulls(num_rows, field.type)  # another's column, of another meaning
        columns.append(column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _is_binary(type: pa.DataType) -> bool:
    return pa.types.is_binary(type) or pa.types.is_fixed_size_binary(type)


def _without_key(num_rows: int, schema: pa.Schema) -> pa.RecordBatch:
    columns = [pa.nulls(num_rows, field.type) for field in schema]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
