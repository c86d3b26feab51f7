"""Encoding samples as tf.train.Example messages, column by column, without protobuf's objects.

    Example   { features: 1 }
    Features  { feature: 1, a map: entries { key: 1, value: 2 } }
    Feature   { bytes_list: 1 | float_list: 2 | int64_list: 3 }, each { value: 1 }, numbers packed

Source: tensorflow/core/example/example.proto and feature.proto. A column becomes the bytes of its
entry for each row; a row's entries, one after the other, are its message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

_BYTES_LIST: Final = 1
_FLOAT_LIST: Final = 2
_INT64_LIST: Final = 3

Parts = Sequence[Sequence[bytes | memoryview]]
"""Columns whose values, joined, are the entry of each row: a prefix and a value, or both at once.
What is large is not copied before a record is put together."""


def bytes_entries(name: str, values: Sequence[bytes]) -> Parts:
    """Encode one byte string a row."""
    prefix = _prefix_of(name)
    return [prefix(len(value)) for value in values], values


def floats_entries(name: str, values: npt.NDArray[np.floating]) -> Parts:
    """Encode (n, d) numbers as d float32 a row."""
    rows = np.ascontiguousarray(values, "<f4")
    prefix = _number_prefix(name, _FLOAT_LIST, rows.shape[1] * 4)
    return [prefix] * len(rows), _row_bytes(rows)


def integer_entries(name: str, values: Iterable[int]) -> Parts:
    """Encode one integer a row."""
    encode = _integer_entry(name)
    return ([encode(value) for value in values],)


def raw_entries(name: str, values: npt.NDArray[np.generic]) -> Parts:
    """Encode (n, d) numbers as their little-endian bytes, one byte string a row."""
    rows = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return [_prefix_of(name)(rows.shape[1] * rows.itemsize)] * len(rows), _row_bytes(rows)


def examples(columns: Sequence[Parts]) -> list[bytes]:
    """Return a message for each row."""
    parts = [part for column in columns for part in column]
    join = b"".join
    return [join((b"\x0a", varint(sum(map(len, row))), *row)) for row in zip(*parts, strict=True)]


@lru_cache(4096)
def varint(value: int) -> bytes:
    """Return a protobuf varint; negative numbers are 64-bit two's complement, of 10 bytes."""
    value &= 0xFFFF_FFFF_FFFF_FFFF
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _row_bytes(rows: npt.NDArray[np.generic]) -> list[memoryview]:
    data, size = rows.view(np.uint8).reshape(-1).data, rows.shape[1] * rows.itemsize
    return [data[start : start + size] for start in range(0, len(data), size)]


def _entry_prefix(name: str, feature_prefix: bytes, size: int) -> bytes:
    """Return what stands before a value of `size` bytes, which ends the entry of a feature."""
    key = name.encode()
    feature = varint(len(feature_prefix) + size) + feature_prefix
    entry = b"\x0a" + varint(len(key)) + key + b"\x12" + feature
    return b"\x0a" + varint(len(entry) + size) + entry


@lru_cache(64)
def _prefix_of(name: str) -> Callable[[int], bytes]:
    @lru_cache(16_384)
    def prefix(size: int) -> bytes:
        value = b"\x0a" + varint(size)
        values = bytes((_BYTES_LIST << 3 | 2,)) + varint(len(value) + size) + value
        return _entry_prefix(name, values, size)

    return prefix


def _number_prefix(name: str, kind: int, size: int) -> bytes:
    value = b"\x0a" + varint(size)
    values = bytes((kind << 3 | 2,)) + varint(len(value) + size) + value
    return _entry_prefix(name, values, size)


@lru_cache(64)
def _integer_entry(name: str) -> Callable[[int], bytes]:
    @lru_cache(16_384)
    def entry(value: int) -> bytes:
        encoded = varint(value)
        return _number_prefix(name, _INT64_LIST, len(encoded)) + encoded

    return entry
