"""Map files into memory, and let go of what has been read, so that memory does not grow with it."""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt

from webpairs.files import open_regular

_PARSING: Final = (ValueError, TypeError, SyntaxError, TokenError)
_LIMITS: Final = (MemoryError, RecursionError, OverflowError)
_FLOATS: Final = (2, 4, 8)
"""Bytes of the floating-point numbers that are read, in either order of bytes."""
_LARGE: Final = 1e30
"""Rows of larger float64 numbers are scaled before they are made float32, which ends at 3.4e38."""


class MappedFile:
    """A file as bytes that the system reads in as they are touched."""

    def __init__(self, path: Path | None) -> None:
        """Raise OSError when it cannot be opened; None is an empty file."""
        self.data: mmap.mmap | bytes = b""
        if path is not None:
            with open_regular(path) as file:
                if file.seek(0, 2):  # an empty file cannot be mapped
                    self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def release(self, start: int, end: int) -> None:
        """Count the pages from `start` to `end` as this process's memory no longer.

        They stay in the system's cache while there is room, and come back when they are touched.
        """
        first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        if end > first and isinstance(self.data, mmap.mmap):
            self.data.madvise(mmap.MADV_DONTNEED, first, end - first)


class MappedArray:
    """The rows of a `.npy` file; `rows` is (n, d)."""

    def __init__(self, path: Path) -> None:
        """Raise OSError or ValueError when it is not a file of floating-point numbers in rows."""
        with open_regular(path) as file:
            shape, self._by_column, dtype = _read_header(file, path)
            self._start = file.tell()
        is_float = dtype.kind == "f" and dtype.itemsize in _FLOATS
        if len(shape) != 2 or min(shape) < 0 or not is_float:
            raise ValueError(
                f"{path} does not hold rows of float16, float32 or float64, but {dtype} in the "
                f"shape {shape}"
            )
        self._file = MappedFile(path)
        count = math.prod(shape)
        there, asked = len(self._file.data), self._start + count * dtype.itemsize
        if there < asked:
            raise ValueError(f"{path} was cut: it has {there:,} bytes, by its header {asked:,}")
        flat: npt.NDArray[Any] = np.frombuffer(self._file.data, dtype, count, self._start)
        self.rows: npt.NDArray[Any] = flat.reshape(shape, order="F" if self._by_column else "C")

    def release(self, first: int, last: int) -> None:
        """Let go of the rows from `first` to `last`; of all, where they are stored by column."""
        if self._by_column:
            self._file.release(self._start, len(self._file.data))
            return
        width = self.rows.shape[1] * self.rows.itemsize
        self._file.release(self._start + first * width, self._start + (last + 1) * width)


def as_float32(rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return vectors (..., d) as float32, the same array where it is; directions stay.

    Rows of float64 numbers that float32 cannot hold are scaled.
    """
    if rows.dtype.itemsize > 4:
        largest = np.abs(rows).max(axis=-1, keepdims=True, initial=0)
        largest[~(np.isfinite(largest) & (largest > _LARGE))] = 1
        rows = rows / largest
    return rows.astype(np.float32, copy=False)


def as_float16(rows: npt.NDArray[Any]) -> npt.NDArray[np.float16]:
    """Return vectors (..., d) as float16, the same array where it is; directions stay.

    A row with numbers that float16 cannot hold (beyond 65,504) is made of length 1.
    """
    if rows.dtype == np.float16:
        return rows.astype(np.float16, copy=False)
    floats = as_float32(rows)
    with np.errstate(over="ignore"):
        halves = floats.astype(np.float16)
    too_large = (np.isinf(halves) & np.isfinite(floats)).any(axis=-1, keepdims=True)
    if too_large.any():
        doubles = floats.astype(np.float64)
        with np.errstate(invalid="ignore", over="ignore"):
            doubles /= np.linalg.norm(doubles, axis=-1, keepdims=True)
            halves = np.where(too_large, doubles.astype(np.float16), halves)
    return halves


def _read_header(file: BinaryIO, path: Path) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and type of a `.npy` file; ValueError where its header is not one."""
    npy = np.lib.format
    try:
        old = npy.read_magic(file) == (1, 0)
        read = npy.read_array_header_1_0 if old else npy.read_array_header_2_0
        return read(file)
    # The header is Python's text of a dict: its parser has limits of its own.
    except (*_PARSING, *_LIMITS) as error:
        raise ValueError(f"{path} is not a .npy file: {type(error).__name__}: {error}") from error
