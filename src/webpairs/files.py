"""Write files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

_TEMPORARY: Final = ".tmp-"


def temporary_name(path: Path) -> Path:
    """Return a name beside `path` that no other process uses; `remove_leftovers` knows it."""
    return path.with_name(f"{_TEMPORARY}{os.getpid()}-{path.name}")


@contextmanager
def write_whole(path: Path) -> Generator[Path]:
    """Yield a temporary name to write to; sync and rename it to `path` on a clean exit.

    Whatever goes wrong inside, `path` is untouched and the temporary file is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


@contextmanager
def write_parquet(path: Path, schema: pa.Schema, **options: Any) -> Generator[pq.ParquetWriter]:
    """Yield a writer of zstd-compressed parquet; `path` is there whole or not at all."""
    with (
        write_whole(path) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", **options) as writer,
    ):
        yield writer


def sync(path: Path) -> None:
    """Make the bytes of a file, or the names in a folder, reach the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with write_whole(path) as temporary:
        temporary.write_bytes(
            orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n"
        )


def is_leftover(path: Path) -> bool:
    """Say whether `path` is a temporary name, of a process that works or was killed."""
    return path.name.startswith(_TEMPORARY)


def remove_leftovers(folder: Path) -> int:
    """Remove what killed processes left under temporary names in `folder`, at any depth."""
    num_removed = 0
    for path in sorted(folder.rglob(f"{_TEMPORARY}*")):
        path.unlink(missing_ok=True)
        num_removed += 1
    return num_removed
