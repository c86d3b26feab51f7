"""Writing files that are there whole or not at all; open only what is a regular file.

A path in a dataset's folder, or in a request, may name a pipe, a socket or a device: opening one
can wait for ever, and reading one need not end. `open_regular` is the one way to open such paths.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

_TEMPORARY: Final = ".tmp-"
MAX_JSON_BYTES: Final = 256 << 20
"""A file of settings or counts; `stats/retry-*.json` of a million shards has about 80 MB."""
_KINDS: Final = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def open_regular(path: Path | str) -> io.BufferedReader:
    """Open a regular file, or a link to one, for reading bytes.

    Raises OSError for what is not there or cannot be opened, and for all that is not a regular
    file; never waits for whoever may write to a pipe.
    """
    return io.BufferedReader(io.FileIO(regular_descriptor(path)))


def regular_descriptor(path: Path | str) -> int:
    """Return a descriptor of a regular file, open for reading; raises as `open_regular` does."""
    # Looked at before it is opened: opening a device may do something, such as rewind a tape.
    require_regular(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def require_regular(path: Path | str) -> None:
    """Raise OSError unless `path` is a regular file or a link to one."""
    _require_regular(os.stat(path).st_mode, path)


def read_regular(path: Path | str, max_bytes: int = MAX_JSON_BYTES) -> bytes:
    """Return the bytes of a regular file; OSError where it has more than `max_bytes`."""
    with open_regular(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        size = os.stat(path).st_size
        reason = f"{size:,} bytes are too many, {max_bytes:,} are read at most"
        raise OSError(errno.EFBIG, reason, str(path))
    return data


def _require_regular(mode: int, path: Path | str) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        kind = next((name for is_one, name in _KINDS if is_one(mode)), "something else")
        raise OSError(errno.EINVAL, f"{kind} instead of a regular file", str(path))


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
