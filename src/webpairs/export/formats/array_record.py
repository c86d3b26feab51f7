"""Write ArrayRecord files, which are read at random: the library's own writer, as TFDS calls it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

_OPTIONS: Final = "group_size:1,zstd:1"
"""A record each is found alone, as TFDS has it; the library's own zstd level takes three times as
long for files of the same size (images of 12 kB, embeddings of 4 kB)."""


class ArrayRecordFile:
    """Append records to a new file; it is whole when the block ends without an error."""

    def __init__(self, path: Path) -> None:
        from array_record.python.array_record_module import ArrayRecordWriter

        self._writer: Any = ArrayRecordWriter(str(path), _OPTIONS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()

    def write(self, records: Iterable[bytes]) -> None:
        """Write records in their order."""
        for record in records:
            self._writer.write(record)
