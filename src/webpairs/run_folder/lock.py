"""A run folder: check that it may be written, lock it, explain what the system refuses."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from webpairs.errors import ConfigError, RunError
from webpairs.files import is_leftover

_MENDABLE: Final = frozenset(
    (errno.EACCES, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EPERM, errno.EROFS)
)
"""What a machine may refuse in the middle of a run and its user can mend."""
LOCK_S: Final = 0.5
"""How long to try: `webpairs status` holds the lock for an instant to see whether it is free."""
RUN_FOLDER: Final = frozenset(
    (
        *(".lock", "manifest.json", "candidates", "columns", "drops", "embeddings", "images"),
        *("index", "metadata", "report", "stats", "work"),
    )
)
"""What a run folder may hold."""


def checked_out(text: str, arguments: Sequence[str]) -> Path:
    """Return the run folder, made and writable, and not among what is read."""
    if "://" in text:
        raise ConfigError(f"--out {text} is a URL: use a local folder")
    out = Path(text)
    where = out.resolve()
    for argument in arguments:
        folder = Path(argument).resolve()
        if folder.is_dir() and (folder == where or folder in where.parents):
            raise ConfigError(
                f"--out {text} lies inside the input {argument}, so that it would be read as "
                "input: name a folder elsewhere"
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make --out {text}: {error.strerror}") from error
    if not os.access(out, os.W_OK | os.X_OK):
        raise ConfigError(f"cannot write to --out {text}: check its permissions")
    # A run that was killed before it had a manifest leaves a temporary one.
    strangers = [
        path.name for path in out.iterdir() if path.name not in RUN_FOLDER and not is_leftover(path)
    ]
    if strangers and not (out / "manifest.json").exists():
        raise ConfigError(
            f"--out {text} holds other files ({', '.join(sorted(strangers)[:3])}): "
            "name a new or empty folder"
        )
    return out


@contextmanager
def explained(out: Path) -> Generator[None]:
    """Turn what the system refuses while writing into a RunError that names the fix."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise RunError(
                f"the disk is full at {out}: free some space, then run the same line again"
            ) from error
        if error.errno in _MENDABLE:
            where = error.filename or out
            raise RunError(
                f"{where}: {error.strerror}: mend this, then run the same line again"
            ) from error
        raise


@contextmanager
def locked(out: Path) -> Generator[None]:
    """Hold the run folder; the system lets go of it however the process ends."""
    lock = FileLock(out / ".lock", timeout=LOCK_S, poll_interval=0.02)
    try:
        lock.acquire()
    except Timeout:
        raise ConfigError(
            f"another webpairs works on {out}: wait for it, or name another --out"
        ) from None
    try:
        yield
    finally:
        lock.release()


def is_locked(out: Path) -> bool:
    """Say whether a process works on run folder `out`; the system knows, whatever it wrote."""
    try:
        lock = os.open(out / ".lock", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(lock)
    return False
