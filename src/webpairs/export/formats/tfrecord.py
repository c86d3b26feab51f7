"""Writing TFRecord files: records behind their lengths, both checked by a masked crc32c.

A frame is length (u64), masked crc32c of these 8 bytes (u32), the record, its masked crc32c (u32),
all little-endian. Source: tensorflow/core/lib/io/record_writer.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import BinaryIO, Final

import google_crc32c

FRAME_BYTES: Final = 16
"""What a record takes beside itself."""
_MASK: Final = 0xA282EAD8
"""Source: tensorflow/core/lib/hash/crc32c.h, `kMaskDelta`."""
_LENGTH: Final = struct.Struct("<Q")
_CRC: Final = struct.Struct("<I")


def masked_crc(data: bytes) -> int:
    """Return crc32c rotated by 15 bits and shifted by a constant, as TFRecord stores it."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF


class TFRecordWriter:
    """Append records to an open file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, records: Iterable[bytes]) -> None:
        """Write records in their order, each in its frame."""
        parts: list[bytes] = []
        for record in records:
            length = _LENGTH.pack(len(record))
            parts += (length, _CRC.pack(masked_crc(length)), record, _CRC.pack(masked_crc(record)))
        # One write: `writelines` makes a system call or two of each record.
        self._file.write(b"".join(parts))
