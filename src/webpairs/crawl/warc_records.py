"""Reading the records of a WARC file: one pass, bounded memory, every record with its place.

Our own reader, on isal's inflate, because a place is what everything later hangs on. A library's
reader (FastWARC 2.0 was measured: 1.4 times as fast on a crawl of images) tells where a gzip
member begins, but not how long it is, nor where a record stands in a file that was compressed as
a whole; and it ends a file at the first broken member.

Layouts, told apart by the bytes themselves:

- a gzip member per record, as the standard advises (ISO 28500:2017, annex D): `offset` and
  `length` are those of the member in the file;
- plain: `offset` and `length` are the record's;
- several records in one gzip member (a file compressed as a whole): `length` is 0 and `offset`
  counts bytes of the decompressed stream, which can only be read forward.

What is broken is counted in `num_broken` and passed over: reading goes on at the next gzip member
that begins with a record, or at the next line of a plain stream that begins one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from isal import isal_zlib

from webpairs.crawl.http_message import MAX_HEAD_BYTES, Head, parse_head, parse_headers

_READ_BYTES: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 20
_FIRST_STEP_BYTES: Final = 64 << 10
"""Compressed bytes fed to a new member at once; what lies behind its end is copied back."""
_STEP_BYTES: Final = 256 << 10
MAX_RATIO: Final = 200
"""Bytes that a byte of a file may inflate to, over the file: crawls have 3 to 5, deflate's most is
1,032. A member beyond it is broken, so that a file costs what its size tells."""
RATIO_SLACK_BYTES: Final = 256 << 20
"""What may come out before the ratio counts."""
_GZIP_MAGIC: Final = b"\x1f\x8b\x08"
_FAULTS: Final = (
    cast(type[Exception], isal_zlib.error),  # its stub says it is an instance
    ValueError,
    EOFError,
)
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_RECORD_LINE: Final = re.compile(rb"WARC/[01]\.\d{1,2}\r?\n")
"""The first line of a record: versions 0.17, 0.18, 1.0 and 1.1 are in use."""
_RECORD_LINE_SEARCH: Final = re.compile(rb"(?<=\n)WARC/[01]\.\d{1,2}\r?\n")
_LENGTH: Final = re.compile(
    rb"\n[ \t]*Content-Length[ \t]*:[ \t]*(\d{1,15})[ \t]*\r?\n", re.IGNORECASE
)
_TYPE: Final = re.compile(rb"\n[ \t]*WARC-Type[ \t]*:[ \t]*([a-z]+)[ \t]*\r?\n", re.IGNORECASE)
_HTTP: Final = b"HTTP/"
_RECORD_LINE_BYTES: Final = 16


@dataclass(slots=True)
class Record:
    """A record; `payload` is what stands behind the HTTP head, or else the block."""

    head: bytes
    """Version line and WARC headers as they stand."""
    content_length: int
    http: Head | None = None
    payload: bytes = b""
    """As archived (codings not undone), cut at what the reader was asked to keep."""
    whole: bool = True
    """All of the block was in the file, and `payload` is all of it."""
    offset: int = 0
    length: int = 0
    _headers: dict[str, str] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Return the WARC headers, names in lower case; of a repeated one the first."""
        if self._headers is None:  # most records are requests and metadata: nobody asks
            self._headers = dict(reversed(parse_headers(self.head)))
        return self._headers

    @property
    def kind(self) -> str:
        """Return the WARC-Type in lower case."""
        found = _TYPE.search(self.head)
        return found[1].decode().lower() if found else ""

    @property
    def url(self) -> str:
        """Return the target URI, without the angle brackets that WARC 1.0's grammar allowed."""
        return self.headers.get("warc-target-uri", "").strip("<>")


class _BrokenMember(Exception):
    """A gzip member that cannot be inflated."""


@dataclass(slots=True)
class _Members:
    """Inflate a stream of gzip members; a piece never holds bytes of two."""

    stream: BinaryIO
    end: int
    """Where in the file the bytes read so far end."""
    chunk: bytes = b""
    at: int = 0
    start: int = 0
    """Where the member at hand begins in the file."""
    ended: bool = True
    """The last piece was the last of its member."""
    cut: bool = False
    """The file ended inside a member."""
    inflater: isal_zlib.Decompress | None = None
    inflated: int = 0
    """Bytes given so far."""

    @property
    def position(self) -> int:
        """Return where in the file the next byte to inflate stands."""
        return self.end - len(self.chunk) + self.at

    def next_piece(self) -> bytes | None:
        """Return the next piece, maybe empty, or None at the end of the file."""
        step = _STEP_BYTES
        if self.inflater is None:
            if not self.chunk.startswith(_GZIP_MAGIC, self.at) and not self._find_member():
                return None
            self.start, self.ended = self.position, False
            if not self.chunk.startswith(_GZIP_MAGIC[:2], self.at):
                raise _BrokenMember("no gzip member")
            self.inflater = isal_zlib.decompressobj(31)
            step = _FIRST_STEP_BYTES
        inflater = self.inflater
        while True:
            data = inflater.unconsumed_tail
            if not data:
                if self.at == len(self.chunk) and not self._read():
                    self.inflater, self.cut, self.ended = None, True, True
                    return None
                data = self.chunk[self.at : self.at + step]
                self.at += len(data)
                step = _STEP_BYTES
            try:
                piece = inflater.decompress(data, _PIECE_BYTES)
            except _FAULTS as error:
                raise _BrokenMember(str(error)) from error
            if self.inflated + len(piece) > RATIO_SLACK_BYTES + MAX_RATIO * self.position:
                raise _BrokenMember(f"inflates to more than {MAX_RATIO} times its size")
            self.inflated += len(piece)
            if inflater.eof:
                self.at -= len(inflater.unused_data)
                self.inflater, self.ended = None, True
                return piece
            if piece:
                return piece

    def _find_member(self) -> bool:
        """Pass zeros, with which tapes and block devices pad; False at the end of the file."""
        while True:
            rest = self.chunk[self.at : self.at + 2]
            if rest[:1] == b"\0":
                self.at += len(self.chunk) - self.at - len(self.chunk[self.at :].lstrip(b"\0"))
            elif len(rest) == 2:
                return True
            elif not self._read():
                return bool(rest)

    def find_next(self) -> bool:
        """Go to the next member that begins a record, from behind the broken one's first byte."""
        self.inflater, self.ended = None, True
        after = self.start + 1
        begin = self.end - len(self.chunk)
        if after >= begin:
            self.at = after - begin
        elif self.stream.seekable():
            self.stream.seek(after)
            self.chunk, self.at, self.end = b"", 0, after
        while True:
            if len(self.chunk) - self.at < _FIRST_STEP_BYTES:
                self._read()
            found = self.chunk.find(_GZIP_MAGIC, self.at)
            if found < 0:
                self.at = max(self.at, len(self.chunk) - len(_GZIP_MAGIC) + 1)
                if not self._read():
                    self.at = len(self.chunk)
                    return False
                continue
            self.at = found
            if len(self.chunk) - found < 1024:
                self._read()
                found = self.at
            if _begins_record(self.chunk[found : found + 1024]):
                return True
            self.at = found + 1

    def _read(self) -> bool:
        data = self.stream.read(_READ_BYTES)
        self.chunk = self.chunk[self.at :] + data
        self.at = 0
        self.end += len(data)
        return bool(data)


@dataclass(slots=True)
class _Plain:
    """Giving a plain stream in pieces, with the same face as `_Members`."""

    stream: BinaryIO
    position: int
    start: int = 0
    ended: bool = False
    cut: bool = False

    def next_piece(self) -> bytes | None:
        data = self.stream.read(_READ_BYTES)
        self.position += len(data)
        return data or None

    def find_next(self) -> bool:
        return False


def _begins_record(data: bytes) -> bool:
    try:
        return isal_zlib.decompressobj(31).decompress(data, 64).startswith(b"WARC/")
    except _FAULTS:
        return False


def keep_all(_: Record) -> int:
    """Keep every payload whole, however large: for tests and small files."""
    return 1 << 62


class RecordReader:
    """Iterate over the records of `stream`, which stands at byte `start` of its file.

    `keep` says, once the WARC and HTTP heads of a record are known, how many bytes of its payload
    to hold; the rest is passed over. Memory: that, and about 3 MB. `num_broken` counts records
    passed over because they could not be read; `cut` says that the file ended inside a record.
    """

    def __init__(
        self, stream: BinaryIO, keep: Callable[[Record], int] = keep_all, start: int = 0
    ) -> None:
        self.num_broken = 0
        self.cut = False
        self._keep = keep
        self._file_start = start
        self._buffer = b""
        self._at = 0
        self._base = 0  # where the buffer begins in the decompressed stream
        self._member_at = -1  # where the member at hand begins in the decompressed stream
        self._limit: int | None = None  # where, in it, the next record cuts this one short
        first = stream.read(_READ_BYTES)
        end = start + len(first)
        self._pieces: _Members | _Plain
        if first.startswith(b"\x1f\x8b"):
            self._pieces = _Members(stream, end, first)
        else:
            self._pieces = _Plain(stream, end)
            self._buffer, self._base = first, start

    @property
    def bytes_read(self) -> int:
        """Return how many bytes of the file were taken in."""
        return self._pieces.position - self._file_start

    @property
    def _here(self) -> int:
        return self._base + self._at

    def __iter__(self) -> Iterator[Record]:
        while True:
            try:
                record = self._next()
            except _BrokenMember:
                self.num_broken += 1
                self._base += len(self._buffer)
                self._buffer, self._at = b"", 0
                if not self._pieces.find_next():
                    break
                continue
            if record is None:
                break
            yield record
        self.cut = self.cut or self._pieces.cut

    def _next_member(self) -> Record | None:
        """Return the next record if it is one sound, small gzip member, as nearly all are.

        Else None, with nothing passed over: `_next` does the same for any record, slower.
        """
        pieces = self._pieces
        if not pieces.ended or self._at < len(self._buffer) or not self._more():
            return None
        buffer = self._buffer
        if not pieces.ended or not buffer.endswith(b"\r\n\r\n"):
            return None
        end = buffer.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(buffer, 0, end)
        line = _RECORD_LINE.match(buffer)
        if length is None or line is None or end + int(length[1]) + 4 != len(buffer):
            return None
        record = Record(buffer[:end], int(length[1]), offset=self._base)
        stop = len(buffer) - 4
        if buffer.startswith(_HTTP, end):
            record.http = parse_head(buffer[end : min(stop, end + MAX_HEAD_BYTES + 1)])
            if record.http is not None:
                end += record.http.num_bytes
        keep = self._keep(record)
        record.whole = keep >= stop - end
        if keep > 0:
            record.payload = buffer[end : min(stop, end + keep)]
        record.offset, record.length = pieces.start, pieces.position - pieces.start
        self._at = len(buffer)
        return record

    def _next(self) -> Record | None:
        """Return the next record, or None at the end of the file."""
        pieces = self._pieces
        if (found := self._next_member()) is not None:
            return found
        while self._skip_newlines():
            start, member_start = self._here, pieces.start
            self._limit = None
            record = self._read_head(start)
            if record is None:
                if self.cut:
                    return None
                self.num_broken += 1
                if not self._find_record_line():
                    return None
                continue
            own_member = start == self._member_at
            record.offset = start  # for `keep`; the file's own offset is known behind the block
            self._read_block(record, start)
            end = self._finish()
            if isinstance(pieces, _Plain):
                record.length = self._here - start
            elif own_member and end is not None:
                record.offset, record.length = member_start, end - member_start
            return record
        return None

    def _more(self) -> bool:
        """Append the next piece to what is left of the buffer; False at the end of the file."""
        pieces = self._pieces
        new_member = pieces.ended
        piece = pieces.next_piece()
        if piece is None:
            return False
        rest = self._buffer[self._at :]
        self._base += self._at
        self._at = 0
        if new_member:
            self._member_at = self._base + len(rest)
        self._buffer = rest + piece if rest else piece
        return True

    def _more_of_record(self, start: int) -> bool:
        """Append a piece of the record that began at `start`; False where it cannot go on.

        A record may go on in the next gzip member, unless that begins with a record: then the
        Content-Length promised too much.
        """
        if self._limit is not None:
            return False
        if not self._more():
            return False
        member = self._member_at
        if member > start and member >= self._base and self._starts_record(member):
            self._limit = member
            return False
        return True

    def _starts_record(self, position: int) -> bool:
        return _RECORD_LINE.match(self._buffer, position - self._base) is not None

    def _skip_newlines(self) -> bool:
        """Go to the next byte that is not a newline; False at the end of the file."""
        while not self._skip_newlines_here():
            if not self._more():
                return False
        return True

    def _skip_newlines_here(self) -> bool:
        buffer, at, end = self._buffer, self._at, len(self._buffer)
        while at < end and buffer[at] in b"\r\n":
            at += 1
        self._at = at
        return at < end

    def _read_head(self, start: int) -> Record | None:
        """Read WARC headers; None when none stand here, or they lack a usable length.

        Leaves the buffer behind the head, or where the search for the next record may begin.
        Sets `cut` when the file ends inside a head.
        """
        while (end := _HEAD_END.search(self._buffer, self._at)) is None:
            if len(self._buffer) - self._at > MAX_HEAD_BYTES:
                break
            if not self._more_of_record(start):
                self.cut = self._limit is None and self._starts_record(start)
                break
        is_record = self._starts_record(start)
        stop = len(self._buffer) if self._limit is None else self._limit - self._base
        length = None
        if is_record and end is not None and end.end() <= stop:
            length = _LENGTH.search(self._buffer, self._at, end.end())
        if length is None or end is None:
            self._at += 1  # the search must not find this record again
            return None
        head = self._buffer[self._at : end.end()]
        self._at = end.end()
        return Record(head, int(length[1]))

    def _available(self, num_bytes: int) -> int:
        stop = self._base + len(self._buffer) if self._limit is None else self._limit
        return min(num_bytes, stop - self._here)

    def _read_block(self, record: Record, start: int) -> None:
        """Read the block: the HTTP head, as much of the payload as `keep` says, pass the rest."""
        left = record.content_length
        while (have := self._available(left)) < min(left, len(_HTTP)):
            if not self._more_of_record(start):
                break
        if self._buffer.startswith(_HTTP, self._at):
            while (have := self._available(left)) < min(left, MAX_HEAD_BYTES):
                if not self._more_of_record(start):
                    break
            record.http = parse_head(self._buffer[self._at : self._at + have])
        if record.http is not None:
            self._at += record.http.num_bytes
            left -= record.http.num_bytes
        keep = min(left, self._keep(record))
        record.whole = keep == left
        parts: list[bytes] = []
        while True:
            have = self._available(left)
            if keep and have:
                parts.append(self._buffer[self._at : self._at + min(have, keep)])
                keep -= len(parts[-1])
            self._at += have
            left -= have
            if not left:
                break
            if not self._more_of_record(start) and not self._available(left):
                record.whole = False
                self.cut = self._limit is None
                break
        record.payload = parts[0] if len(parts) == 1 else b"".join(parts)

    def _finish(self) -> int | None:
        """Pass the newlines behind a block.

        Return the file offset behind its gzip member, None when the member holds more.
        """
        while True:
            if self._limit is not None and self._here <= self._limit:
                behind = self._buffer[self._at : self._limit - self._base]
                self._at = self._limit - self._base
                return self._pieces.start if not behind.strip(b"\r\n") else None
            if self._skip_newlines_here():
                return None
            if self._pieces.ended or not self._more():
                return self._pieces.position

    def _find_record_line(self) -> bool:
        """Go to the next line that begins a record; False at the end of the file."""
        while True:
            found = _RECORD_LINE_SEARCH.search(self._buffer, self._at)
            position = found.start() if found is not None else len(self._buffer)
            member = self._member_at - self._base
            if self._at <= member < position and self._starts_record(self._member_at):
                position = member
            if position < len(self._buffer):
                self._at = position
                return True
            self._at = max(self._at, len(self._buffer) - _RECORD_LINE_BYTES)
            if not self._more():
                return False
