"""Read tables that are parquet, a batch of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, Final, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.errors import ConfigError
from webpairs.extract.page import ExtractStats
from webpairs.extract.table_columns import Row, TableColumns, find_layout, unique_names
from webpairs.extract.table_given import type_of_arrow
from webpairs.extract.table_lines import SAMPLE_ROWS, RowsOf

_BATCH_ROWS: Final = 8_192
_BATCH_BYTES: Final = 32 << 20
MAX_BINARY_BYTES: Final = 1_024
"""Binary columns with more a row, on average, are pictures or tensors and are left out."""

_FAULTS: Final = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError)


class _Scalar(Protocol):
    def as_py(self) -> Any: ...


def read_parquet(
    path: str, name: str, file: BinaryIO, columns: TableColumns, stats: ExtractStats
) -> RowsOf:
    """Read a parquet file; of a damaged row group what comes before the damage.

    Columns are carried in the types of the schema. Raises ConfigError when the footer cannot be
    read, OSError when the file cannot.
    """
    try:
        # Without read-ahead reading happens in this thread, where it is told of.
        parquet = pq.ParquetFile(file, pre_buffer=False)
        schema = parquet.schema_arrow
        too_big = _too_big_columns(parquet)
    except _FAULTS as error:
        _raise_if_real(error)
        raise ConfigError(
            f"{path}: cannot be read as parquet ({_one_line(error)}): fetch it again"
        ) from error
    for column in sorted(too_big):
        stats.warnings.append(
            f"{name}: column {column[:40]!r} holds pictures or other large bytes and is left out"
        )
    wanted = [field.name for field in schema if field.name not in too_big]
    names = unique_names(wanted)
    types = [type_of_arrow(field.type) for field in schema if field.name not in too_big]
    options: dict[str, Any] = {"use_threads": False, "columns": wanted if too_big else None}

    def batches(group: int, num_rows: int) -> Iterator[list[Row]]:
        for batch in parquet.iter_batches(num_rows, row_groups=[group], **options):
            values = [_values(column) for column in batch.columns]
            # Zipped without columns there would be no rows.
            yield [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]

    sample: list[Row] = []
    if parquet.num_row_groups:
        try:
            sample = next(batches(0, min(SAMPLE_ROWS, _batch_rows(parquet))), [])
        except _FAULTS as error:
            _raise_if_real(error)
    layout = find_layout(path, wanted, sample, columns, types)

    def rows() -> Iterator[Row | int]:
        for group in range(parquet.num_row_groups):
            left = parquet.metadata.row_group(group).num_rows
            try:
                for batch in batches(group, _batch_rows(parquet)):
                    yield from batch
                    left -= len(batch)
            except _FAULTS as error:
                _raise_if_real(error)
                stats.warnings.append(
                    f"{name}: row group {group} is damaged ({_one_line(error)}), fetch it again"
                )
            if left > 0:
                yield left

    return layout, rows()


def _batch_rows(parquet: pq.ParquetFile) -> int:
    """Return how many rows fit in `_BATCH_BYTES`, on average."""
    metadata = parquet.metadata
    groups = range(metadata.num_row_groups)
    num_bytes = sum(metadata.row_group(group).total_byte_size for group in groups)
    return max(1, min(_BATCH_ROWS, _BATCH_BYTES * metadata.num_rows // max(1, num_bytes)))


def _too_big_columns(parquet: pq.ParquetFile) -> set[str]:
    """Name the columns whose bytes are more than `MAX_BINARY_BYTES` a row.

    Also in structs and lists of structs: `image` of Hugging Face is {bytes, path}.
    """
    metadata = parquet.metadata
    num_bytes: dict[str, int] = {}
    leaves = map(parquet.schema.column, range(len(parquet.schema)))
    is_bytes = {leaf.path: _is_bytes(leaf) for leaf in leaves}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            path = column.path_in_schema
            if is_bytes[path]:
                num_bytes[path] = num_bytes.get(path, 0) + column.total_uncompressed_size
    large = [path for path, num in num_bytes.items() if num > MAX_BINARY_BYTES * metadata.num_rows]
    return {
        field.name
        for field in parquet.schema_arrow
        if any(path == field.name or path.startswith(f"{field.name}.") for path in large)
    }


def _is_bytes(leaf: pq.ColumnSchema) -> bool:
    """Return whether a column of the file has bytes that are not said to be text."""
    return leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type == "NONE"


def _values(column: pa.Array) -> list[Any]:
    """Return a column as Python values; those that Python cannot hold are None."""
    kind = column.type
    try:
        if pa.types.is_timestamp(kind):  # Python has no nanoseconds, nor time zones by name
            unit = "us" if kind.unit == "ns" else kind.unit
            column = column.cast(pa.timestamp(unit, "UTC" if kind.tz else None), safe=False)
        elif pa.types.is_float16(kind):
            column = column.cast(pa.float32())
        return column.to_pylist()
    except _FAULTS:
        return [_value(scalar) for scalar in column]


def _value(scalar: _Scalar) -> Any:
    try:
        return scalar.as_py()
    except _FAULTS:
        return None


def _raise_if_real(error: Exception) -> None:
    """Raise an error of the disk or the network; those of damaged bytes have no number."""
    if isinstance(error, OSError) and error.errno is not None:
        raise error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
