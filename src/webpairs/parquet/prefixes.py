"""How long texts are that a page of parquet stores without what they share with the one before.

DELTA_BYTE_ARRAY stores of a value how much of the previous one it begins with, and the rest: a page
of 4 MB may hold the same 4 MB a thousand times. The lengths of the beginnings stand first, packed
as differences.

Source: Apache Parquet, `Encodings.md` (DELTA_BYTE_ARRAY = 7, DELTA_BINARY_PACKED = 5).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.parquet.varint import read_varint, signed

_MAX_BITS: Final = 32
"""Of a difference between lengths, which are int32."""


def prefix_bytes(values: bytes, most: int) -> int:
    """Return how many bytes the values of a page take from those before them.

    `values` begins behind the levels. Raises ValueError for what is not DELTA_BYTE_ARRAY, or has
    more than `most` values.
    """
    return int(_lengths(values, most).clip(min=0).sum())


def _lengths(data: bytes, most: int) -> npt.NDArray[np.int64]:
    """Return numbers that are DELTA_BINARY_PACKED; sums wrap at 32 bits as a decoder's do."""
    block, at = read_varint(data, 0)
    num_parts, at = read_varint(data, at)
    count, at = read_varint(data, at)
    first, at = read_varint(data, at)
    if count > most or not 0 < num_parts <= block or block % (8 * num_parts):
        raise ValueError(f"{count} lengths in blocks of {block}, each of {num_parts} parts")
    size = block // num_parts
    steps: list[npt.NDArray[Any]] = [np.array([signed(first)], np.int64)]
    left = count - 1
    while left > 0:
        least, at = read_varint(data, at)
        widths = data[at : at + num_parts]
        if len(widths) < num_parts:
            raise ValueError("a block of lengths does not end")
        at += num_parts
        for bits in widths:
            if left <= 0:
                break
            num = min(size, left)
            steps.append(_unpacked(data, at, bits, size, num) + signed(least))
            at += size * bits // 8
            left -= num
    sums = np.cumsum(np.concatenate(steps)[:count])
    return sums.astype(np.uint32).astype(np.int32).astype(np.int64)


def _unpacked(data: bytes, at: int, bits: int, size: int, num: int) -> npt.NDArray[np.int64]:
    """Return the first `num` of `size` numbers of `bits` bits, the lowest bit first."""
    if not bits:
        return np.zeros(num, np.int64)
    num_bytes = size * bits // 8
    if bits > _MAX_BITS or at + num_bytes > len(data):
        raise ValueError("a block of lengths does not end")
    packed = np.frombuffer(data, np.uint8, num_bytes, at)
    each = np.unpackbits(packed, bitorder="little").reshape(size, bits)[:num]
    return each.astype(np.int64) @ (1 << np.arange(bits, dtype=np.int64))
