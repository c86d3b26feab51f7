"""Keeping codes and row numbers list by list: in parts while an index is built, then in one file.

A part holds some thousand neighbouring rows: the sizes of its lists, then all row numbers, then all
codes, both in the order of the lists. The lists of all parts, and those of the index that is
extended, follow each other in the new file: for each list its codes, then its row numbers, as
faiss's inverted lists on disk want them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.dataset.sources.source import Rows
from webpairs.files import write_whole
from webpairs.search.index.codec import ID_BYTES, Codec, Codes
from webpairs.search.index.faiss_library import load_faiss
from webpairs.search.index.file import damaged

_TOGETHER: Final = 8
"""Lists have room for a multiple of so many vectors, so that numbers stand at multiples of 8."""


@dataclass(frozen=True, slots=True)
class Lists:
    """Inverted lists that are mapped: list i has rows[starts[i]:starts[i + 1]]."""

    sizes: Rows
    """(lists,) int64"""
    rows: Sequence[Rows]
    codes: Sequence[Codes]
    """For each list."""


def write_part(path: Path, lists: Rows, rows: Rows, codes: Codes, num_lists: int) -> None:
    """Write the vectors of some rows, each with the list it is in."""
    order = np.argsort(lists, kind="stable")
    sizes = np.bincount(lists, minlength=num_lists).astype(np.int64)
    with write_whole(path) as temporary, temporary.open("wb") as file:
        for array in (sizes, rows[order], codes[order]):
            file.write(np.ascontiguousarray(array).data)


def read_part(path: Path, num_lists: int, code_bytes: int) -> Lists:
    """Map a part."""
    data: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
    sizes = data[: num_lists * ID_BYTES].view(np.int64)
    num = int(sizes.sum())
    middle = (num_lists + num) * ID_BYTES
    rows = data[num_lists * ID_BYTES : middle].view(np.int64)
    codes = data[middle:].reshape(num, code_bytes)
    ends = np.concatenate([[0], np.cumsum(sizes)]).tolist()
    spans = [slice(start, end) for start, end in pairwise(ends)]
    return Lists(sizes, [rows[span] for span in spans], [codes[span] for span in spans])


def read_lists(path: Path, sizes: Rows, code_bytes: int) -> Lists:
    """Map the lists of an index."""
    data: npt.NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
    rows: list[Rows] = []
    codes: list[Codes] = []
    for size, room, start in _table(sizes, code_bytes).tolist():
        middle = start + room * code_bytes
        codes.append(data[start : start + size * code_bytes].reshape(size, code_bytes))
        rows.append(data[middle : middle + size * ID_BYTES].view(np.int64))
    return Lists(sizes, rows, codes)


def write_lists(path: Path, parts: Sequence[Lists], code_bytes: int) -> Rows:
    """Write the lists of all parts, list by list, and return their sizes."""
    sizes: Rows = np.stack([part.sizes for part in parts]).sum(axis=0)
    with write_whole(path) as temporary, temporary.open("wb") as file:
        for number, (size, room, _) in enumerate(_table(sizes, code_bytes).tolist()):
            for part in parts:
                file.write(part.codes[number].data)
            file.write(bytes((room - size) * code_bytes))
            for part in parts:
                file.write(part.rows[number].data)
            file.write(bytes((room - size) * ID_BYTES))
    return sizes


def map_lists(codec: Codec, path: Path, sizes: Rows) -> Any:
    """Give a codec's index its lists, mapped; return what has to live as long as it."""
    faiss = load_faiss()
    table = _table(sizes, codec.code_bytes)
    needed = sum(room for _, room, _ in table.tolist()) * (codec.code_bytes + ID_BYTES)
    if (sizes < 0).any() or path.stat().st_size < needed:
        raise damaged(path, ValueError(f"its lists take {needed:,} bytes, which it has not"))
    lists = faiss.OnDiskInvertedLists(codec.num_lists, codec.code_bytes, str(path))
    lists.lists.resize(len(table))
    faiss.memcpy(lists.lists.data(), faiss.swig_ptr(table), table.nbytes)
    lists.totsize = path.stat().st_size
    lists.read_only = True
    lists.prefetch_nthread = 0  # it would start 32 threads for each query
    if lists.totsize:
        lists.do_mmap()
    codec.inverted.replace_invlists(lists, False)
    codec.inverted.ntotal = int(sizes.sum())
    return lists


def _table(sizes: Rows, code_bytes: int) -> npt.NDArray[np.uint64]:
    """Return size, room and first byte of each list: (lists, 3), as faiss's OnDiskOneList."""
    room = -(-sizes // _TOGETHER) * _TOGETHER
    num_bytes = room * (code_bytes + ID_BYTES)
    starts = np.cumsum(num_bytes) - num_bytes
    return np.ascontiguousarray(np.stack([sizes, room, starts], axis=1), np.uint64)
