"""Writing the image index: where in the archive each URL was captured, and what it answered.

A row for every response, revisit and resource record of an http(s) URL, whatever was captured:
that an image's URL answered with a page, or an error, must be known too. Columns: `schema.py`.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.extract.page import ExtractStats
from webpairs.extract.url import surt_key
from webpairs.files import write_parquet
from webpairs.run_folder.schema import IMAGE_INDEX, arrow_schema

_SCHEMA: Final = arrow_schema(IMAGE_INDEX)
_ROWS_A_GROUP: Final = 50_000
"""About 15 MB as Python objects: two URLs of 80 characters and ten more values a row."""


class ImageIndexWriter:
    """Writer of the captures of one unit of extract to `path`, atomically, in bounded memory.

    A context manager: on a clean exit the file is synced and renamed to `path`; on an error
    nothing is left behind.
    """

    def __init__(self, path: str | Path, stats: ExtractStats) -> None:
        self._path = Path(path)
        self._stats = stats
        self._rows: list[tuple[Any, ...]] = []
        self._stack = ExitStack()
        self._parquet: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        self._parquet = self._stack.enter_context(write_parquet(self._path, _SCHEMA))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            self._flush()

    def add(
        self,
        *,
        url: str,
        file: str,
        offset: int,
        length: int,
        date_ms: int,
        kind: str,
        status: int,
        digest: str | None = None,
        location: str | None = None,
        refers_to_url: str | None = None,
        refers_to_date_ms: int | None = None,
    ) -> None:
        """Add a capture; URLs are normalised, `length` is 0 when unknown (see `records`)."""
        self._stats.captures += 1
        self._rows.append(
            (
                url,
                surt_key(url),
                file,
                offset,
                length,
                date_ms,
                kind,
                status,
                digest,
                location,
                refers_to_url,
                refers_to_date_ms,
            )
        )
        if len(self._rows) >= _ROWS_A_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        assert self._parquet is not None
        columns = zip(*self._rows, strict=True)
        arrays = [
            pa.array(list(values), field.type)
            for field, values in zip(_SCHEMA, columns, strict=True)
        ]
        self._parquet.write_table(pa.table(arrays, schema=_SCHEMA))
        self._rows = []
