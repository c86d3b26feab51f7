"""Opening parquet files of anyone's making: regular files, whose errors are all of one kind."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.errors import DamagedFile
from webpairs.files import require_regular
from webpairs.parquet.bounds import ChunkReader, require_footer

UNREADABLE: Final = (OSError, pa.ArrowException, ValueError)
"""What opening or reading a parquet file that is damaged may raise."""


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Raise DamagedFile for what goes wrong in this block with the parquet file `path`."""
    try:
        require_regular(path)
        yield
    except DamagedFile:
        raise
    except (*UNREADABLE, MemoryError, OverflowError, KeyError) as error:
        raise DamagedFile(path, error) from error


def open_parquet(path: Path, **options: Any) -> pq.ParquetFile:
    """Open a parquet file; raises one of `UNREADABLE` where it is not one."""
    require_regular(path)
    if options.get("metadata") is None:
        with path.open("rb") as file:
            require_footer(file)
    return pq.ParquetFile(path, **options)


def open_bounded(path: Path, names: Sequence[str] | None = None) -> pq.ParquetFile:
    """Open a parquet file whose columns are to be read, None: all; raises one of `UNREADABLE`.

    Also where one of them becomes too large.
    """
    file = open_parquet(path)
    try:
        require_bounded(path, file.metadata, names)
    except BaseException:
        file.close()
        raise
    return file


def require_bounded(
    path: Path, footer: pq.FileMetaData, names: Sequence[str] | None, group: int | None = None
) -> None:
    """Raise ValueError where columns become too large when they are decoded, None: any of them.

    `group` is the row group that is looked at, None: all. See parquet_bounds.py.
    """
    wanted = None if names is None else set(names)
    groups = range(footer.num_row_groups) if group is None else (group,)
    with path.open("rb") as file:
        reader = ChunkReader(file)
        for number in groups:
            metadata = footer.row_group(number)
            for place in range(metadata.num_columns if metadata.num_rows else 0):
                column = metadata.column(place)
                name = column.path_in_schema.partition(".")[0]
                if wanted is not None and name not in wanted:
                    continue
                leaf = footer.schema.column(place)
                fault = reader.read(column, leaf).fault(nested=leaf.max_repetition_level > 0)
                if fault is not None:
                    raise ValueError(f"row group {number}: column {name[:40]!r} {fault}")


def read_schema(path: Path) -> pa.Schema:
    """Return the columns of a parquet file; raises one of `UNREADABLE`."""
    with open_parquet(path) as file:
        return file.schema_arrow


def read_footer(path: Path) -> pq.FileMetaData:
    """Return the footer of a parquet file; raises one of `UNREADABLE`."""
    with open_parquet(path) as file:
        return file.metadata


def read_columns(path: Path, names: Sequence[str] | None = None) -> pa.Table:
    """Return columns of all rows, None: all columns; raises one of `UNREADABLE`."""
    with open_parquet(path) as file:
        require_bounded(path, file.metadata, names)
        return file.read(None if names is None else list(names))
