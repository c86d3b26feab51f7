"""Open parquet files of anyone's making: regular files, whose errors are all of one kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.files import require_regular

UNREADABLE: Final = (OSError, pa.ArrowException, ValueError)
"""What opening or reading a parquet file that is damaged may raise."""


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
