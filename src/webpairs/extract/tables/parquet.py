"""Reading tables that are parquet, a batch of rows at a time.

What pages become is known before they are decoded (`parquet_bounds.py`). A column that would become
too large, or holds pictures, is left out; where it is the URL's or the text's, the rows of that row
group are broken. A single row that is larger than a line of a text file may be is broken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.errors import ConfigError
from webpairs.extract.page import ExtractStats
from webpairs.extract.tables.columns import Row, TableColumns, find_layout, unique_names
from webpairs.extract.tables.lines import BROKEN, MAX_LINE_BYTES, SAMPLE_ROWS, RowsOf
from webpairs.extract.tables.sizes import row_bytes
from webpairs.parquet.bounds import ChunkReader, require_footer
from webpairs.run_folder.given import type_of_arrow

_BATCH_ROWS: Final = 8_192
_BATCH_BYTES: Final = 32 << 20
MAX_BINARY_BYTES: Final = 1_024
"""Binary columns with more a row, on average, are pictures or tensors and are left out."""
_BYTES: Final = ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")

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
        require_footer(file)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    try:
        # Without read-ahead reading happens in this thread, where it is told of.
        parquet = pq.ParquetFile(file, pre_buffer=False)
        schema = parquet.schema_arrow
        pictures = _too_big_columns(parquet)
        reader = ChunkReader(file)
        bounds = [_Bounds(parquet, reader, group) for group in range(parquet.num_row_groups)]
    except _FAULTS as error:
        _raise_if_real(error)
        raise ConfigError(
            f"{path}: cannot be read as parquet ({_one_line(error)}): fetch it again"
        ) from error
    for column in sorted(pictures):
        stats.warnings.append(
            f"{name}: column {column[:40]!r} holds pictures or other large bytes and is left out"
        )
    heading = [field for field in schema if field.name not in pictures]
    headings = [field.name for field in heading]
    # The columns of URL and text are known by their names alone.
    named = find_layout(path, headings, [], columns, [type_of_arrow(one.type) for one in heading])
    keys = zip(unique_names(headings), headings, strict=True)
    needed = {heading for key, heading in keys if key in (named.url, named.text)}
    too_large = {
        field: fault
        for one in bounds
        for field, fault in one.faults.items()
        if field not in needed | pictures
    }
    for column, fault in sorted(too_large.items()):
        stats.warnings.append(f"{name}: column {column[:40]!r} {fault} and is left out")
    wanted = [field.name for field in heading if field.name not in too_large]
    names = unique_names(wanted)
    types = [type_of_arrow(field.type) for field in heading if field.name not in too_large]
    options: dict[str, Any] = {
        "use_threads": False,
        "columns": wanted if pictures or too_large else None,
    }

    def batches(group: int, num_rows: int) -> Iterator[list[Row | int]]:
        for batch in parquet.iter_batches(num_rows, row_groups=[group], **options):
            yield _rows_of(batch, names)

    sample: list[Row] = []
    first = next((one for one in bounds if one.num_rows and not one.broken(needed)), None)
    if first is not None:
        try:
            for some in batches(first.group, min(SAMPLE_ROWS, first.batch_rows)):
                sample = [row for row in some if not isinstance(row, int)]
                break
        except _FAULTS as error:
            _raise_if_real(error)
    layout = find_layout(path, wanted, sample, columns, types)

    def rows() -> Iterator[Row | int]:
        for one in bounds:
            left = one.num_rows
            fault = one.broken(needed)
            if fault is not None:
                stats.warnings.append(f"{name}: row group {one.group}: {fault}: it is passed over")
            elif left:
                try:
                    for batch in batches(one.group, one.batch_rows):
                        yield from batch
                        left -= len(batch)
                except _FAULTS as error:
                    _raise_if_real(error)
                    stats.warnings.append(
                        f"{name}: row group {one.group} is damaged ({_one_line(error)}), "
                        "fetch it again"
                    )
            if left > 0:
                yield left

    return layout, rows()


class _Bounds:
    """What a row group becomes when it is decoded."""

    def __init__(self, parquet: pq.ParquetFile, reader: ChunkReader, group: int) -> None:
        """Read the headers of its pages; a column whose pages have none is not looked at."""
        metadata = parquet.metadata.row_group(group)
        self.group = group
        self.num_rows: int = metadata.num_rows
        self.faults: dict[str, str] = {}
        """Of the fields that are not to be decoded: why, as the end of a sentence."""
        row = metadata.total_byte_size / max(1, self.num_rows)
        for place in range(metadata.num_columns if self.num_rows else 0):
            column = metadata.column(place)
            field = column.path_in_schema.partition(".")[0]
            leaf = parquet.schema.column(place)
            nested = leaf.max_repetition_level > 0
            try:
                chunk = reader.read(column, leaf)
            except ValueError as error:
                self.faults.setdefault(field, f"is damaged ({error})")
                continue
            fault = chunk.fault(nested=nested)
            if fault is not None:
                self.faults.setdefault(field, fault)
            row += max(chunk.bytes_a_row if not nested else 0.0, chunk.longest)
        self.batch_rows = max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / max(1.0, row))))
        """How many rows are decoded at once."""

    def broken(self, needed: set[str]) -> str | None:
        """Return why the rows cannot be read, or None."""
        return next(
            (f"column {one[:40]!r} {self.faults[one]}" for one in needed if one in self.faults),
            None,
        )


def _rows_of(batch: pa.RecordBatch, names: Sequence[str]) -> list[Row | int]:
    """Return the rows of a batch; those that are larger than a line may be are `BROKEN`."""
    if not batch.num_columns:
        return [{} for _ in range(batch.num_rows)]
    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        sizes += row_bytes(column)
    fits = sizes <= MAX_LINE_BYTES
    whole = bool(fits.all())
    if not whole:
        batch = batch.filter(pa.array(fits))
    values = [_values(column) for column in batch.columns]
    rows: list[Row | int] = [
        dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)
    ]
    if whole:
        return rows
    found = iter(rows)
    return [next(found) if one else BROKEN for one in fits.tolist()]


def _too_big_columns(parquet: pq.ParquetFile) -> set[str]:
    """Name the columns whose bytes are more than `MAX_BINARY_BYTES` a row.

    Also in structs and lists of structs: `image` of Hugging Face is {bytes, path}.
    """
    metadata = parquet.metadata
    num_bytes: dict[str, int] = {}
    leaves = [parquet.schema.column(place) for place in range(len(parquet.schema))]
    lengths = {leaf.path: max(0, leaf.length) for leaf in leaves}
    is_bytes = {leaf.path: _is_bytes(leaf) for leaf in leaves}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns if group.num_rows else 0)):
            path = column.path_in_schema
            if is_bytes[path]:
                # Equal values are stored once, those of a fixed length have it all the same.
                stored = max(column.total_uncompressed_size, lengths[path] * column.num_values)
                num_bytes[path] = num_bytes.get(path, 0) + stored
    large = [path for path, num in num_bytes.items() if num > MAX_BINARY_BYTES * metadata.num_rows]
    return {
        field.name
        for field in parquet.schema_arrow
        if any(path == field.name or path.startswith(f"{field.name}.") for path in large)
    }


def _is_bytes(leaf: pq.ColumnSchema) -> bool:
    """Return whether a column of the file has bytes that are not said to be text."""
    return leaf.physical_type in _BYTES and leaf.logical_type.type == "NONE"


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
