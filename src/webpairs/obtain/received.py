"""Answers of the web that a stopped run need not ask for again, in a few files.

    received/00000, 00001 ...       frames: length, CRC-32C, facts as JSON, the image's bytes

The fetcher appends an answer before it hands it on, and begins another file every `SEGMENT_BYTES`.
The shard that asked removes a file once its journal has what came of every answer in it. So few
are there at any time, and most are gone before the system writes them to the disk: they are not
synced, and survive a killed process, not a power cut. A frame that was cut off, and what follows
it in its file, is not there.

Files of several answers, since making a file takes ten times as long as writing an image to one.
"""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import google_crc32c
import orjson

from webpairs.drops import Drop
from webpairs.obtain.fetcher import Fetched, Outcome
from webpairs.obtain.url_parts import FetchError

SEGMENT_BYTES: Final = 4_000_000
_FRAME: Final = struct.Struct("<IQI")
"""CRC-32C of all that follows it, bytes of the whole frame, bytes of the JSON."""


class AnswerWriter:
    """Appends the answers of one fetch, on the fetcher's side."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = -1
        self._segment = -1
        self._num_bytes = 0

    def write(self, url: str, outcome: Outcome) -> int:
        """Write the answer to `url`; return the number of its file. Raises OSError."""
        if self._file < 0 or self._num_bytes >= SEGMENT_BYTES:
            self._begin()
        data = b""
        if isinstance(outcome, Fetched):
            data = outcome.data
            facts: list[Any] = [
                *(outcome.status, outcome.url, outcome.date_ms, outcome.opt_out),
                *(outcome.permissions, outcome.seconds),
            ]
        else:
            facts = [str(outcome.drop), outcome.detail, outcome.status, outcome.url]
        # URLs that servers name may hold lone surrogates, which JSON in UTF-8 does not.
        told = orjson.dumps([url, *map(_text, facts)])
        head = _FRAME.pack(0, _FRAME.size + len(told) + len(data), len(told))
        checksum = google_crc32c.extend(google_crc32c.value(head[4:] + told), data)
        self._num_bytes += os.writev(
            self._file, (struct.pack("<I", checksum) + head[4:], told, data)
        )
        return self._segment

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _begin(self) -> None:
        self.close()
        number = max(_numbers(self._folder), default=-1)
        while self._file < 0:
            number += 1
            try:
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
                self._file = os.open(self._folder / f"{number:05}", flags, 0o644)
            except FileExistsError:  # of the fetch of a worker that was killed just now
                continue
        self._segment, self._num_bytes = number, 0


class ReceivedAnswers:
    """The answers of one shard, on the side of the shard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._segment_of: dict[str, int] = {}
        self._num_left: Counter[int] = Counter()
        self._newest = -1
        """The file that may still grow."""

    def note(self, url: str, segment: int) -> None:
        """Take note that the answer to `url` stands in file `segment`; -1 for none."""
        if segment >= 0:
            self._segment_of[url] = segment
            self._num_left[segment] += 1
            self._newest = max(self._newest, segment)

    def replay(self, urls: set[str]) -> Iterator[tuple[str, Outcome]]:
        """Yield the answers to `urls` that an earlier run received, each once."""
        seen: set[str] = set()
        for segment in sorted(_numbers(self.folder)):
            frames = list(_frames((self.folder / f"{segment:05}").read_bytes()))
            fresh = {url: outcome for url, outcome in frames if url in urls and url not in seen}
            for url in fresh:
                self.note(url, segment)
            if not fresh:
                self._remove(segment)
            self._newest = -1
            seen.update(fresh)
            yield from fresh.items()

    def finished(self, url: str) -> None:
        """Let go of the answer to `url`: the journal has what came of it."""
        segment = self._segment_of.pop(url, -1)
        if segment < 0:
            return
        self._num_left[segment] -= 1
        for one in [one for one, num in self._num_left.items() if not num and one != self._newest]:
            del self._num_left[one]
            self._remove(one)

    def _remove(self, segment: int) -> None:
        (self.folder / f"{segment:05}").unlink(missing_ok=True)


def _numbers(folder: Path) -> list[int]:
    return [int(name) for name in os.listdir(folder) if name.isascii() and name.isdigit()]


def _frames(content: bytes) -> Iterator[tuple[str, Outcome]]:
    """Yield the answers of a file up to the first that is not whole."""
    start = 0
    while start + _FRAME.size <= len(content):
        checksum, num_bytes, num_told = _FRAME.unpack_from(content, start)
        frame = memoryview(content)[start : start + num_bytes]
        if len(frame) != num_bytes or google_crc32c.value(bytes(frame[4:])) != checksum:
            return
        end = _FRAME.size + num_told
        url, *facts = orjson.loads(frame[_FRAME.size : end])
        if isinstance(facts[0], str):
            yield url, FetchError(Drop(facts[0]), *facts[1:])
        else:
            *first, seconds = facts
            yield url, Fetched(bytes(frame[end:]), *first, seconds=tuple(seconds))
        start += num_bytes


def _text(value: object) -> object:
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
