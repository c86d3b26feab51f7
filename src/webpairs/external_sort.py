"""Sorting and join more rows than fit in memory: DuckDB, told how much it may have."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from webpairs.errors import RunError

BATCH_ROWS: Final = 16_384
"""Rows handed over at a time: about 5 MB of candidates."""

_DUCKDB_SHARE: Final = 0.5
"""Part of the memory that DuckDB may plan with. Its limit is not the whole of RSS: allocator
slack, arrow batches on the way in and out and the interpreter come on top (measured by
`benchmarks/dedupe.py`)."""
_LEAST_DUCKDB_BYTES: Final = 100_000_000
"""Below this DuckDB cannot sort wide rows at all, whatever it may spill."""


@contextmanager
def open_duckdb(
    temporary: Path, *, memory_bytes: int, threads: int
) -> Generator[duckdb.DuckDBPyConnection]:
    """Yield a connection that spills to the folder `temporary`, which is removed afterwards.

    Raises RunError, naming the fix, when memory or disk do not suffice.
    """
    # What a killed process left under the same name goes first.
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        with _explain_shortage(temporary, memory_bytes):
            connection = duckdb.connect(
                config={
                    "memory_limit": f"{duckdb_bytes(memory_bytes)}B",
                    "threads": threads,
                    "temp_directory": str(temporary),
                    # Order is asked for where it matters; keeping it elsewhere costs memory.
                    "preserve_insertion_order": False,
                    # A build works without a network: nothing is fetched behind the user's back.
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                }
            )
            # Progress is shown by us, never by a library's own bar.
            connection.execute("SET enable_progress_bar = false")
            try:
                yield connection
            finally:
                connection.close()
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


_ID: Final = pa.binary(16)
"""The type of ids, as schema.py has it."""


def duckdb_bytes(memory_bytes: int) -> int:
    """Return how many of a process's `memory_bytes` DuckDB may plan with."""
    return max(_LEAST_DUCKDB_BYTES, int(memory_bytes * _DUCKDB_SHARE))


def stream(connection: duckdb.DuckDBPyConnection, sql: str) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a query in batches of at most `BATCH_ROWS`, never all at once."""
    yield from connection.sql(sql).to_arrow_reader(BATCH_ROWS)


def expose(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
) -> None:
    """Let queries read the stream `batches` of `schema` as table `name`, once.

    To DuckDB ids are pairs of integers (`uid_high`, `uid_low`), which it compares without
    following a pointer, and dates are integers (milliseconds), which it hands back unchanged.
    """
    plain = pa.schema([part for field in schema for part in _plain_fields(field)])
    reader = pa.RecordBatchReader.from_batches(plain, (_to_plain(b, plain) for b in batches))
    connection.register(name, reader)


def from_plain(batch: pa.RecordBatch, schema: pa.Schema) -> pa.Table:
    """Return rows of a query as a table of `schema`: what `expose` did, undone."""
    arrays: list[pa.Array] = []
    for field in schema:
        if field.type == _ID:
            halves = [batch.column(f"{field.name}_{half}").to_numpy() for half in ("high", "low")]
            packed = pa.py_buffer(np.stack(halves, axis=1).astype(">u8").tobytes())
            arrays.append(pa.FixedSizeBinaryArray.from_buffers(_ID, batch.num_rows, [None, packed]))
        else:
            arrays.append(batch.column(field.name).cast(field.type))
    return pa.Table.from_arrays(arrays, schema=schema)


def id_words(ids: pa.ChunkedArray | pa.Array) -> npt.NDArray[np.uint64]:
    """Return 16-byte ids as (n, 2) integers that sort as the bytes do."""
    array: pa.Array = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    data = np.frombuffer(array.buffers()[1], ">u8", count=2 * len(array), offset=16 * array.offset)
    return data.reshape(-1, 2).astype(np.uint64)


def _plain_fields(field: pa.Field) -> list[pa.Field]:
    if field.type == _ID:
        return [pa.field(f"{field.name}_{half}", pa.uint64()) for half in ("high", "low")]
    if pa.types.is_timestamp(field.type):
        return [pa.field(field.name, pa.int64())]
    return [pa.field(field.name, field.type)]


def _to_plain(batch: pa.RecordBatch, plain: pa.Schema) -> pa.RecordBatch:
    arrays: list[pa.Array] = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.type == _ID:
            words = id_words(column)
            arrays += [pa.array(np.ascontiguousarray(words[:, half])) for half in (0, 1)]
        else:
            arrays.append(column.cast(plain.field(name).type))
    return pa.RecordBatch.from_arrays(arrays, schema=plain)


@contextmanager
def _explain_shortage(temporary: Path, memory_bytes: int) -> Generator[None]:
    try:
        yield
    except duckdb.OutOfMemoryException as error:
        raise RunError(
            f"sorting ran out of its {memory_bytes / 1e6:,.0f} MB of memory or of disk at "
            f"{temporary.parent}: raise --max-memory, lower --workers or free disk there "
            f"({_first_line(error)})"
        ) from error
    except duckdb.IOException as error:
        raise RunError(
            f"cannot read or spill rows at {temporary.parent}: free disk there or raise "
            f"--max-memory ({_first_line(error)})"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunError(f"the disk is full at {temporary.parent}: free some and go on") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
