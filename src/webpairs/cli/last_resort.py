"""The last resort: an unexpected error's traceback goes to a file, a line to the user."""

from __future__ import annotations

import os
import platform
import re
import select
import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from webpairs.version import __version__

EXIT_CODE: Final = 70
"""Source: EX_SOFTWARE, sysexits.h: an internal fault."""
MAX_CHARS: Final = 1_000_000
"""A longer text loses its middle: a recursion of many thousand frames says little there."""
MAX_MESSAGE_CHARS: Final = 200

_USER: Final = re.compile(r"(?<=://)[^/\s'\"]*@")
_QUERY: Final = re.compile(r"(\b[a-zA-Z][\w+.-]*://[^\s'\"?]*)\?[^\s'\"]*")
"""Presigned URLs carry their signature there."""
_TOKEN: Final = re.compile(r"\bhf_[A-Za-z0-9]{8,}")
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028\u2029]+")


def told_of(error: BaseException, argv: Sequence[str]) -> str:
    """Return the line about an unexpected error, whose traceback is kept in the file it names.

    The file is in `work/` of the run folder that was being written, else in TMPDIR. If neither can
    be written to, the traceback goes to standard error.
    """
    text = _report(error, argv)
    path = _kept(text, vars(error).get("run_folder"))
    if path is None:
        print(text, file=sys.stderr)
        where = "its traceback is above, since no file can be written"
    else:
        where = f"its traceback is in {path}"
    name = type(error).__name__
    # Of a MemoryError it may say which array was too large.
    message = _UNPRINTABLE.sub(" ", without_secrets(str(error)))[:MAX_MESSAGE_CHARS].strip()
    what = f"{name}: {message}" if message else name
    if isinstance(error, MemoryError):
        return f"out of memory ({what}): use fewer --workers or less --max-memory; {where}"
    return f"unexpected error ({what}): this is a fault of webpairs; {where}, please report it"


def without_secrets(text: str) -> str:
    """Return `text` without user names, passwords and queries of URLs, and without tokens."""
    return _TOKEN.sub("hf_***", _QUERY.sub(r"\1?***", _USER.sub("***@", text)))


def is_broken(output: int | None) -> bool:
    """Say whether the reader of standard output has gone (`| head -1`); None is an output that was
    never there."""
    if output is None:
        return True
    poll = select.poll()
    poll.register(output, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _report(error: BaseException, argv: Sequence[str]) -> str:
    lines = [
        f"webpairs {__version__}, Python {platform.python_version()}, {platform.platform()}",
        f"{datetime.now(UTC).isoformat(timespec='seconds')}, process {os.getpid()}",
        f"command: {shlex.join(map(without_secrets, argv))}",
        "",
        without_secrets("".join(traceback.format_exception(error))),
    ]
    text = "\n".join(lines)
    if len(text) > MAX_CHARS:
        half = MAX_CHARS // 2
        text = f"{text[:half]}\n... {len(text) - MAX_CHARS} characters ...\n{text[-half:]}"
    return text


def _kept(text: str, run_folder: Path | None) -> Path | None:
    """Return the new file that holds `text`; None if there is nowhere to write it."""
    folders: list[Path | None] = [None]  # TMPDIR
    if run_folder is not None:
        folders.insert(0, run_folder / "work")
    for folder in folders:
        # tempfile raises FileNotFoundError where no temporary folder can be used.
        with suppress(OSError):
            if folder is not None:
                folder.mkdir(exist_ok=True)
            number, name = tempfile.mkstemp(".txt", "webpairs-error-", folder)
            try:
                with open(number, "w", encoding="utf-8", errors="backslashreplace") as file:
                    file.write(text)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
            return Path(name)
    return None
