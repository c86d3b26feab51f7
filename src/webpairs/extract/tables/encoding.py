"""Reading tables that are UTF-16 or UTF-32, as spreadsheets save them, as if they were UTF-8."""

from __future__ import annotations

import codecs
from typing import Final, Protocol

_HEAD_BYTES: Final = 4
_READ_BYTES: Final = 1 << 18
_MARKS: Final = (
    # UTF-32's little-endian mark begins with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Readable(Protocol):
    """A stream of bytes."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill the beginning of `buffer`, return how many bytes: 0 at the end."""
        ...


class Utf8Reader:
    """The bytes of `source` as UTF-8; those of another encoding than UTF-16 and UTF-32 as they are.

    The encoding is told by the byte order mark, or by zeros beside the first two characters.
    """

    def __init__(self, source: Readable) -> None:
        self._source = source
        head = bytearray()
        while len(head) < _HEAD_BYTES and (more := self._read(_HEAD_BYTES - len(head))):
            head += more
        self._rest = bytes(head)
        encoding = _encoding(self._rest)
        self._decoder = None
        if encoding is not None:
            self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace")
            self._rest = self._decoder.decode(self._rest).encode()

    def readinto(self, buffer: memoryview) -> int:
        """Fill the beginning of `buffer`, return how many bytes: 0 at the end."""
        if self._decoder is None and not self._rest:
            return self._source.readinto(buffer)
        while not self._rest:
            assert self._decoder is not None
            data = self._read(_READ_BYTES)
            self._rest = self._decoder.decode(data, final=not data).encode("utf-8", "replace")
            if not data and not self._rest:
                return 0
        num = min(len(buffer), len(self._rest))
        buffer[:num] = self._rest[:num]
        self._rest = self._rest[num:]
        return num

    def _read(self, num: int) -> bytes:
        buffer = bytearray(num)
        with memoryview(buffer) as view:
            return bytes(view[: self._source.readinto(view)])


def _encoding(head: bytes) -> str | None:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    if len(head) == _HEAD_BYTES and head[1] == head[3] == 0 and head[0] and head[2]:
        return "utf-16-le"
    if len(head) == _HEAD_BYTES and head[0] == head[2] == 0 and head[1] and head[3]:
        return "utf-16-be"
    return None
