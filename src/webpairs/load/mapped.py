"""Map files into memory, and let go of what has been read, so that memory does not grow with it."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class MappedFile:
    """Hold a file as bytes that the system reads in as they are touched."""

    def __init__(self, path: Path | None) -> None:
        """Raise OSError when it cannot be opened; None is an empty file."""
        self.data: mmap.mmap | bytes = b""
        if path is not None:
            with path.open("rb") as file:
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
    """Hold the rows of a `.npy` file; `rows` is (n, d)."""

    def __init__(self, path: Path) -> None:
        """Raise OSError or ValueError when it is not a file of numbers in rows."""
        with path.open("rb") as file:
            npy = np.lib.format
            old = npy.read_magic(file) == (1, 0)
            read = npy.read_array_header_1_0 if old else npy.read_array_header_2_0
            shape, by_column, dtype = read(file)
            self._start = file.tell()
        if by_column or len(shape) != 2 or dtype.hasobject:
            raise ValueError(f"{path} holds no rows of numbers")
        self._file = MappedFile(path)
        count = shape[0] * shape[1]
        if len(self._file.data) < self._start + count * dtype.itemsize:
            raise ValueError(f"{path} was cut")
        flat: npt.NDArray[Any] = np.frombuffer(self._file.data, dtype, count, self._start)
        self.rows = flat.reshape(shape)

    def release(self, first: int, last: int) -> None:
        """Let go of the rows from `first` to `last`."""
        width = self.rows.shape[1] * self.rows.itemsize
        self._file.release(self._start + first * width, self._start + (last + 1) * width)
