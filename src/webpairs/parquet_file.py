"""Open parquet files of anyone's making: regular files, whose errors are all of one kind."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.files import require_regular
from webpairs.run_json import DamagedFile

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
    return pq.ParquetFile(path, **options)


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
        return file.read(None if names is None else list(names))
