"""Finding the records of a WAT file that may hold an image, in memory that does not grow.

Records lie in a buffer of decompressed bytes and are found by Content-Length. Writers count the
closing line ends into it, leave them out, or miscount by a few bytes: then the next line that
begins a record, at most MAX_SHIFT_BYTES away, ends this one. One that does not end near where it
says is counted as broken, and reading goes on at the next line that begins a record.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO, Final, Protocol

import orjson

from webpairs.crawl.gunzip import GunzipReader
from webpairs.drops import Drop

MAX_RECORD_BYTES: Final = 32 << 20
"""A longer record is broken. Common Crawl cuts pages at 5 MiB; links take a few times that."""

MAX_SHIFT_BYTES: Final = 1024
"""How far from where its Content-Length says a record may end."""

_BLOCK_BYTES: Final = 1 << 20
_MAX_HEADER_BYTES: Final = 1 << 16

_LENGTH: Final = b"\r\nContent-Length: "
_BEGINNING: Final = re.compile(rb"WARC/[0-9]\.[0-9]+\r?\n[A-Za-z]")
"""Begins a record, and cannot stand inside JSON, where a line end is escaped."""
_MAX_BEGINNING_BYTES: Final = 16
_BEGINNING_BEHIND_A_LINE: Final = b"\nWARC/"
_LENGTH_OF_ANY_FORM: Final = re.compile(rb"\n[ \t]*content-length[ \t]*:[ \t]*([0-9]+)", re.I)
_MAX_DIGITS: Final = 15

_BRACE: Final = ord("}")

# What `_locate` and `_end_of` say instead of where a record's body starts or ends.
_INCOMPLETE: Final = -1
_BROKEN: Final = -2


class _Buffer:
    """A stretch of the decompressed file; `data[:held]` is filled."""

    def __init__(self, reader: GunzipReader) -> None:
        self._reader = reader
        self.data = bytearray(4 * _BLOCK_BYTES)
        self.held = 0
        self.passed = 0
        """Bytes of the file before `data`."""
        self.more = True

    def fill(self, at: int) -> int:
        """Read another block, dropping what lies before `at`; return where that is now."""
        data = self.data
        if self.held + _BLOCK_BYTES > len(data):
            left = data[at : self.held]
            data[: len(left)] = left
            self.passed += at
            self.held = len(left)
            at = 0
            if self.held + _BLOCK_BYTES > len(data):
                data.extend(bytes(len(data)))
        with memoryview(data) as view:
            num = self._reader.readinto(view[self.held : self.held + _BLOCK_BYTES])
        self.held += num
        self.more = num > 0
        return at


class RecordStats(Protocol):
    """Counts of what a reader of records saw."""

    records: int
    bytes_read: int
    warnings: list[str]
    """One line for each incomplete file."""

    def drop(self, reason: Drop, num: int = 1) -> None:
        """Count `num` under `reason`."""
        ...


def read_wat_records(
    file: BinaryIO, name: str, stats: RecordStats
) -> Iterator[tuple[bytearray, int, int, int]]:
    """Yield offset, in the decompressed file, and body of each JSON record that may have an image.

    Counts all records, and pages without an image, into `stats`; adds a warning about a file that
    ends early or is damaged. Never raises on any bytes; OSError when the file cannot be read.
    """
    reader = GunzipReader(file)
    buffer = _Buffer(reader)
    data, held = buffer.data, 0
    at = num_broken = 0
    lost = cut = False  # whether we look for the next beginning; whether the file's end is missing
    while True:
        if lost:
            following = _BEGINNING.search(data, at, held)
            if following is None and buffer.more:
                at = buffer.fill(max(at, held - _MAX_BEGINNING_BYTES))
                held = buffer.held
                continue
            num_broken += following is not None or not cut
            if following is None:
                break
            at = following.start()
            lost = cut = False
        while at < held and data[at] in b"\r\n":
            at += 1
        start, end = _locate(data, at, held)
        found = _end_of(data, start, end, held, more=buffer.more) if start > 0 else start
        if found > 0:
            stats.records += 1
            if _may_be_of_a_page(data, at, start, found):
                yield data, start, found, buffer.passed + at
            at = found
            continue
        may_be_whole = found == _INCOMPLETE and end - start <= MAX_RECORD_BYTES
        if may_be_whole and buffer.more:
            at = buffer.fill(at)
            held = buffer.held
            continue
        if at == held and not buffer.more:
            break
        cut = may_be_whole
        # What begins here does not end where it says.
        at += 1
        lost = True
    stats.bytes_read += file.tell()
    stats.drop(Drop.RECORD_BROKEN, max(num_broken, reader.num_broken))
    if cut or reader.cut:
        stats.warnings.append(
            f"{name}: ends inside a record: {stats.records} records were read, fetch it again"
        )
    elif reader.num_broken:
        stats.warnings.append(
            f"{name}: {reader.num_broken} damaged gzip members were passed over, fetch it again"
        )


def _end_of(data: bytearray, start: int, end: int, held: int, *, more: bool) -> int:
    """Return where a record ends: where it says, or near it where the next one begins.

    `_INCOMPLETE` when that is not held, `_BROKEN` when it ends elsewhere.
    """
    if end < held or (end == held and not more):
        ends_line = end == held or data[end] in b"\r\n"
        near = max(start, end - MAX_SHIFT_BYTES)
        if ends_line and data.find(_BEGINNING_BEHIND_A_LINE, near, end) < 0:
            return end
    behind = end + MAX_SHIFT_BYTES + _MAX_BEGINNING_BYTES
    if more and held < behind:
        return _INCOMPLETE
    near = max(start, end - MAX_SHIFT_BYTES)
    following = _BEGINNING.search(data, near, min(held, behind))
    if following is not None:
        true_end = following.start()
        return true_end if true_end == end or _is_json(data, start, true_end) else _BROKEN
    if not more and abs(held - end) <= MAX_SHIFT_BYTES and _is_json(data, start, held):
        return held
    return _INCOMPLETE if end > held else _BROKEN


def _is_json(data: bytearray, start: int, end: int) -> bool:
    """Tell a record that is miscounted from one that lost its end."""
    with memoryview(data) as view, suppress(ValueError):
        orjson.loads(view[start:end])
        return True
    return False


def _may_be_of_a_page(data: bytearray, at: int, start: int, end: int) -> bool:
    """Say whether a record must be parsed: those of requests and the like have no such key.

    An odd end may be broken JSON: the parser will tell.
    """
    return (data.find(b"HTML-Metadata", start, end) >= 0 or data[end - 1] != _BRACE) and data.find(
        b"application/json", at, start
    ) >= 0


def _locate(data: bytearray, at: int, held: int) -> tuple[int, int]:
    """Return where the body of the record at `at` starts and ends; the end may not be held yet.

    Instead of a start, `_INCOMPLETE` when the header's end is not held, `_BROKEN` when what is
    there is no record.
    """
    if not data.startswith(b"WARC/", at):
        incomplete = held - at < len(b"WARC/") and b"WARC/".startswith(data[at:held])
        return (_INCOMPLETE if incomplete else _BROKEN), 0
    header_end = data.find(b"\r\n\r\n", at, held)
    if header_end - at > _MAX_HEADER_BYTES:
        return _BROKEN, 0
    length_at = data.find(_LENGTH, at, header_end) if header_end >= 0 else -1
    if length_at >= 0:
        digits = data[length_at + len(_LENGTH) : data.find(b"\r", length_at + 2, header_end + 1)]
        if digits.isdigit() and len(digits) <= _MAX_DIGITS:
            return header_end + 4, header_end + 4 + int(digits)
    return _locate_any_form(data, at, held)


def _locate_any_form(data: bytearray, at: int, held: int) -> tuple[int, int]:
    """Do as `_locate` for headers in other spellings and with bare line feeds."""
    ends = [(data.find(blank, at, held), len(blank)) for blank in (b"\r\n\r\n", b"\n\n")]
    ends = [(end, size) for end, size in ends if end >= 0]
    if not ends:
        return (_INCOMPLETE if held - at <= _MAX_HEADER_BYTES else _BROKEN), 0
    header_end, size = min(ends)
    length = _LENGTH_OF_ANY_FORM.search(data, at, header_end)
    if length is None or len(length[1]) > _MAX_DIGITS:
        return _BROKEN, 0
    return header_end + size, header_end + size + int(length[1])
