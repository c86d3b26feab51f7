"""Numbers of variable length, as Thrift's compact protocol and parquet's encodings write them."""

from __future__ import annotations

from typing import Final

_MAX_SHIFT: Final = 70
"""Seven bits a byte: ten bytes hold 64 bits."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number that begins at byte `at`, and where it ends.

    Raises ValueError where it does not end.
    """
    number = shift = 0
    while shift < _MAX_SHIFT:
        try:
            byte = data[at]
        except IndexError:
            break
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
    raise ValueError("a number does not end")


def signed(number: int) -> int:
    """Return the number with a sign that is meant (zigzag: 0, -1, 1, -2, ...), within 64 bits."""
    number &= 2**64 - 1
    return (number >> 1) ^ -(number & 1)
