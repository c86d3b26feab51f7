"""The journal of a shard under way: a run that is stopped goes on in the middle of a shard.

    work/journal/00000/log          what is finished: a frame for each few seconds of work
    work/journal/00000/images.tar   the shard's tar so far; each frame says where it ended then
    work/journal/00000/received/    answers of the web whose frame is not written yet

A frame is its length, its CRC-32C, and a payload: facts as JSON, the metadata rows and the drops
as Arrow IPC, and both embeddings as float16, so that replaying it gives the very rows that a run
without a stop would have. The first frame names the shard's candidates and rules: a journal of
others is thrown away.

    samples and drops -> every SYNC_S: sync the tar, append a frame, sync the log, forget answers
    start again       -> replay the frames, cut the tar where the last one says, append to it

A frame that was cut off, and every frame after it, is not there; neither is one whose tar is
shorter than it says. What it held is done again.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import google_crc32c
import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

SYNC_S: Final = 2.0
"""Seconds of finished work that a power cut may cost; a killed process loses what is in memory,
which is as much."""
_FRAME: Final = struct.Struct("<QI")
"""Bytes of the payload, and its CRC-32C."""
_PARTS: Final = struct.Struct("<QQQ")
"""Bytes of the JSON, of the metadata rows and of the drops; the embeddings are the rest."""


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """What was finished since the entry before."""

    rows: pa.Table
    """Metadata of the samples, with the column `given`."""
    drops: pa.Table
    tar_starts: list[int]
    """Where each sample begins in the tar."""
    tar_end: int
    drop_numbers: list[int]
    """Row numbers of the dropped candidates."""
    embeddings: npt.NDArray[np.float16]
    """(2, samples, d): of the images, then of the texts; (2, 0, 0) without a model."""
    facts: dict[str, Any]
    """What the shard's builder counts beside: JSON."""


class ShardJournal:
    """The journal of one shard, open in one process at a time."""

    def __init__(self, folder: Path, identity: str) -> None:
        """`identity` names all that the shard is made from: a digest."""
        self.folder = folder
        self.tar = folder / "images.tar"
        self.received = folder / "received"
        self._identity = identity
        self._log: BinaryIO | None = None
        self._due = time.monotonic() + SYNC_S
        self._forget: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        self.received.mkdir(parents=True, exist_ok=True)
        self._log = (self.folder / "log").open("a+b", buffering=0)
        # The worker of a run that was killed may need an instant to notice, and to end.
        fcntl.flock(self._log, fcntl.LOCK_EX)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._log is not None:
            self._log.close()

    def replay(self) -> list[JournalEntry]:
        """Return what was finished before, and cut off what was not written whole."""
        log = self._open_log()
        entries, end = self._read(log)
        if not end:
            self._start_anew(log)
            return []
        log.truncate(end)
        return entries

    def is_due(self) -> bool:
        """Say whether it is time for another entry."""
        return time.monotonic() >= self._due

    def append(self, entry: JournalEntry) -> None:
        """Write an entry; the tar must have reached the disk before. Raises OSError."""
        log = self._open_log()
        _write(log, _payload(entry))
        os.fdatasync(log.fileno())
        for forget in self._forget:
            forget()
        self._forget.clear()
        self._due = time.monotonic() + SYNC_S

    def forget_later(self, forget: Callable[[], None]) -> None:
        """Call `forget` when the next entry is written: it removes what that entry replaces."""
        self._forget.append(forget)

    def remove(self) -> None:
        """Remove the journal of a shard that is committed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open_log(self) -> BinaryIO:
        assert self._log is not None
        return self._log

    def _start_anew(self, log: BinaryIO) -> None:
        shutil.rmtree(self.received, ignore_errors=True)
        self.received.mkdir()
        self.tar.unlink(missing_ok=True)
        log.truncate(0)
        _write(log, self._identity.encode())

    def _read(self, log: BinaryIO) -> tuple[list[JournalEntry], int]:
        """Return the entries that hold, and where the log ends behind them; 0 of another shard."""
        num_tar_bytes = self.tar.stat().st_size if self.tar.exists() else 0
        log.seek(0)
        frames = _frames(log)
        if next(frames, (b"", 0))[0] != self._identity.encode():
            return [], 0
        entries: list[JournalEntry] = []
        end = _FRAME.size + len(self._identity.encode())
        for payload, behind in frames:
            entry = _entry(payload)
            if entry is None or entry.tar_end > num_tar_bytes:
                break
            entries.append(entry)
            end = behind
        return entries, end


def _write(log: BinaryIO, payload: bytes) -> None:
    frame = memoryview(_FRAME.pack(len(payload), google_crc32c.value(payload)) + payload)
    while frame:  # an unbuffered file may take a part
        frame = frame[log.write(frame) :]


def _frames(log: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield each whole frame's payload, and where it ends."""
    size = os.fstat(log.fileno()).st_size
    position = 0
    while position + _FRAME.size <= size:
        num_bytes, checksum = _FRAME.unpack(log.read(_FRAME.size))
        position += _FRAME.size + num_bytes
        if position > size:
            return
        payload = log.read(num_bytes)
        if len(payload) != num_bytes or google_crc32c.value(payload) != checksum:
            return
        yield payload, position


def _payload(entry: JournalEntry) -> bytes:
    facts = orjson.dumps(
        {
            "tar_starts": entry.tar_starts,
            "tar_end": entry.tar_end,
            "drop_numbers": entry.drop_numbers,
            "dim": entry.embeddings.shape[2],
            "facts": entry.facts,
        }
    )
    rows, drops = _ipc(entry.rows), _ipc(entry.drops)
    sizes = _PARTS.pack(len(facts), len(rows), len(drops))
    return b"".join((sizes, facts, rows, drops, entry.embeddings.tobytes()))


def _entry(payload: bytes) -> JournalEntry | None:
    """Return the entry in `payload`, None where it holds something else."""
    try:
        sizes = _PARTS.unpack_from(payload)
        ends = np.cumsum((_PARTS.size, *sizes)).tolist()
        told, rows, drops = (payload[start:end] for start, end in pairwise(ends))
        values = orjson.loads(told)
        embeddings = np.frombuffer(payload[ends[-1] :], np.float16)
        return JournalEntry(
            rows=_table(rows),
            drops=_table(drops),
            tar_starts=values["tar_starts"],
            tar_end=values["tar_end"],
            drop_numbers=values["drop_numbers"],
            embeddings=embeddings.reshape(2, -1, values["dim"])
            if values["dim"]
            else np.zeros((2, 0, 0), np.float16),
            facts=values["facts"],
        )
    except (struct.error, ValueError, KeyError, TypeError, pa.ArrowException):
        return None


def _ipc(table: pa.Table) -> bytes:
    sink = BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _table(data: bytes) -> pa.Table:
    with pa.ipc.open_stream(data) as reader:
        return reader.read_all()
