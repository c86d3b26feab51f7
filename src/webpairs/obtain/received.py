"""Answers of the web that a stopped run need not ask for again, a file each.

The fetcher writes an answer before it hands it on; the shard that asked removes the file once its
journal has what came of it. So few are there at any time, and most are gone before the system
writes them to the disk: they are not synced, and survive a killed process, not a power cut. A file
that was cut off is known by its checksum and removed.
"""

from __future__ import annotations

import hashlib
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import google_crc32c
import orjson

from webpairs.errors import Drop
from webpairs.obtain.place import FetchError
from webpairs.obtain.web import Fetched, Outcome

_HEAD: Final = struct.Struct("<II")
"""CRC-32C of all that follows it, and the bytes of the JSON behind; the image comes last."""


def name_of(url: str) -> str:
    """Return the name of the file for the answer to `url`: BLAKE2b-128 in hex."""
    return hashlib.blake2b(url.encode(), digest_size=16).hexdigest()


def keep(folder: Path, url: str, outcome: Outcome) -> None:
    """Write the answer to `url`; raise OSError as writing does."""
    data = b""
    if isinstance(outcome, Fetched):
        data = outcome.data
        facts: list[Any] = [
            outcome.status,
            outcome.url,
            outcome.date_ms,
            outcome.opt_out,
            outcome.permissions,
            outcome.seconds,
        ]
    else:
        facts = [str(outcome.drop), outcome.detail, outcome.status, outcome.url]
    # URLs that servers name may hold lone surrogates, which JSON in UTF-8 does not.
    told = orjson.dumps([_text(one) for one in facts])
    size = struct.pack("<I", len(told))
    checksum = google_crc32c.extend(google_crc32c.value(size + told), data)
    with (folder / name_of(url)).open("wb", buffering=0) as file:
        file.write(b"".join((struct.pack("<I", checksum), size, told, data)))


def read(folder: Path, url: str) -> Outcome | None:
    """Return the answer to `url` that was kept, None where there is none or it was cut off."""
    path = folder / name_of(url)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        checksum, num_told = _HEAD.unpack_from(content)
        if google_crc32c.value(content[4:]) != checksum:
            raise ValueError("cut off")
        end = _HEAD.size + num_told
        facts = orjson.loads(content[_HEAD.size : end])
        if isinstance(facts[0], str):
            return FetchError(Drop(facts[0]), *facts[1:])
        *first, seconds = facts
        return Fetched(content[end:], *first, seconds=tuple(seconds))
    except (struct.error, ValueError, TypeError, IndexError):
        forget(folder, url)
        return None


def forget(folder: Path, url: str) -> None:
    """Remove the answer to `url`, if it was kept."""
    with suppress(FileNotFoundError):
        (folder / name_of(url)).unlink()


def _text(value: object) -> object:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
