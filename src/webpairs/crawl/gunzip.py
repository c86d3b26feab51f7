"""Decompress crawl files fast, and as far as they go when they are broken.

A crawl file is a chain of gzip members, one a record. ISA-L reads the whole chain as one stream in
C; only when it meets a fault does the slow way take over, from the first byte not yet handed on, to
give what the broken member still holds and go on with the next one. Measured on 26 MB of WAT:
0.15 s, and the same with zlib-ng, or with libdeflate called for each member.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from gzip import BadGzipFile
from typing import BinaryIO, Final, Protocol, cast

from isal import igzip
from isal.igzip_lib import IsalError

MAGIC: Final = b"\x1f\x8b\x08"
_FAULTS: Final = (
    EOFError,
    BadGzipFile,
    zlib.error,
    cast(type[Exception], IsalError),  # its stub says it is an instance
)
MAX_RATIO: Final = 200
"""Bytes that a byte of a crawl file or table may inflate to, over the file: WARCs have 3 to 5, WATs
5 to 10, deflate's most is 1,032."""
RATIO_SLACK_BYTES: Final = 256 << 20
"""What may come out before the ratio counts."""
_READ_BYTES: Final = 1 << 16
_SALVAGE_BYTES: Final = 256
_PADDING: Final = b"\0"


class _Stream(Protocol):
    def readinto(self, buffer: memoryview) -> int: ...


class GunzipReader:
    """Reader of a seekable binary file, gzip-compressed or plain, as one stream of bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._given = 0
        self._salvaged: Iterator[bytes] | None = None
        self._rest = b""
        self.num_broken = 0
        """Gzip members, or stretches between members, that could not be read to their end."""
        self.cut = False
        """Whether the file ends inside a member."""
        is_gzip = file.read(2) == MAGIC[:2]
        file.seek(0)
        # IGzipFile's buffer is of compressed bytes; more than the default brings nothing (measured)
        self._stream = cast(_Stream, igzip.IGzipFile(fileobj=file) if is_gzip else file)

    def readinto(self, buffer: memoryview) -> int:
        """Fill the beginning of `buffer`, return how many bytes: 0 at the end, never an error."""
        if self._salvaged is None:
            try:
                num = self._stream.readinto(buffer)
            except _FAULTS:
                self._salvaged = self._salvage(self._given)
            else:
                self._given += num
                if self._given > RATIO_SLACK_BYTES and self._is_bomb():
                    self.num_broken += 1
                    self._salvaged = iter(())
                    return 0
                return num
        while not self._rest:
            rest = next(self._salvaged, None)
            if rest is None:
                return 0
            self._rest = rest
        num = min(len(buffer), len(self._rest))
        buffer[:num] = self._rest[:num]
        self._rest = self._rest[num:]
        return num

    def _is_bomb(self) -> bool:
        return self._given > RATIO_SLACK_BYTES + MAX_RATIO * self._file.tell()

    def _salvage(self, skip: int) -> Iterator[bytes]:
        """Yield what the members hold, all but the first `skip` bytes."""
        self._file.seek(0)
        for data in self._members():
            if skip < len(data):
                yield data[skip:]
            skip = max(0, skip - len(data))

    def _members(self) -> Iterator[bytes]:
        read = self._file.read
        data = b""
        counted = False  # whether what lies before the next magic belongs to a counted fault
        while True:
            while (at := data.find(MAGIC)) < 0:
                more = read(_READ_BYTES)
                if not more:
                    self.cut = bool(data) and MAGIC.startswith(data)
                    self.num_broken += not (counted or self.cut) and bool(data.strip(_PADDING))
                    return
                data = data + more if len(data) < len(MAGIC) else data[-2:] + more
            self.num_broken += not counted and bool(data[:at].strip(_PADDING))
            counted = False
            data = data[at:]
            member = zlib.decompressobj(31)
            while not member.eof:
                data = data or read(_READ_BYTES)
                if not data:
                    self.cut = True
                    return
                before = member.copy()
                try:
                    decoded = member.decompress(data)
                except zlib.error:
                    self.num_broken += 1
                    counted = True
                    num_sound = 0
                    for decoded in _sound_beginning(before, data):
                        yield decoded
                        num_sound += _SALVAGE_BYTES
                    # From here on for the next member; at least past this one's own magic.
                    data = data[max(num_sound, 1) :]
                    break
                yield decoded
                data = member.unused_data


def _sound_beginning(member: zlib._Decompress, data: bytes) -> Iterator[bytes]:  # pyright: ignore[reportPrivateUsage]
    """Yield what decodes, piece by piece: on an error zlib drops the whole call's output."""
    for start in range(0, len(data), _SALVAGE_BYTES):
        try:
            yield member.decompress(data[start : start + _SALVAGE_BYTES])
        except zlib.error:
            return
