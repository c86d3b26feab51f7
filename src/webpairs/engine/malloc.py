"""Keeping glibc's malloc from holding on to what many threads have freed.

Each thread gets a heap of its own by default, and a heap is given back only where its top is free:
after an hour of images the processes would hold twice what they use (mallopt(3)).
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from typing import Final

# malloc.h
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGE_BYTES: Final = 4 << 20
"""Larger pieces, the pixels of whole photographs, are the system's own and go back at once."""


def give_back_freed() -> None:
    """Give to the system what arrow and malloc keep for later: between stages, which need other
    amounts."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def share_one_heap() -> None:
    """Let all threads of this process share a heap; does nothing where there is no glibc."""
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGE_BYTES)
