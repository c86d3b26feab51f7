"""How large the values of a column are as Python objects, before any is made."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its functions are made at run time

_VALUE_BYTES: Final = 8
"""Of a value in a list, whatever it holds: the list's pointer to it."""

Sizes = npt.NDArray[np.int64]


def row_bytes(column: pa.Array) -> Sizes:
    """Return the bytes of each value: those of its texts, and 8 for each number, null and item."""
    kind = column.type
    types = pa.types
    if types.is_dictionary(kind):
        lengths = np.append(row_bytes(column.dictionary), _VALUE_BYTES)
        return lengths[column.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)]
    if types.is_string(kind) or types.is_binary(kind) or _is_large(kind):
        lengths = pc.binary_length(column).fill_null(0)
        return lengths.to_numpy(zero_copy_only=False).astype(np.int64) + _VALUE_BYTES
    if types.is_list(kind) or types.is_large_list(kind) or types.is_map(kind):
        if types.is_map(kind):
            items = row_bytes(column.keys) + row_bytes(column.items)
        else:
            items = row_bytes(column.values)
        ends = np.concatenate(([0], np.cumsum(items)))
        offsets = column.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        return ends[offsets[1:]] - ends[offsets[:-1]] + _VALUE_BYTES
    if types.is_fixed_size_list(kind):
        items = row_bytes(column.flatten()) if not column.null_count else None
        each = kind.list_size
        if items is None:
            return np.full(len(column), _VALUE_BYTES * (1 + each), np.int64)
        return items.reshape(len(column), each).sum(axis=1) + _VALUE_BYTES
    if types.is_struct(kind):
        total = np.full(len(column), _VALUE_BYTES, np.int64)
        for part in column.flatten():
            total += row_bytes(part)
        return total
    return np.full(len(column), _VALUE_BYTES, np.int64)


def _is_large(kind: pa.DataType) -> bool:
    return pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
