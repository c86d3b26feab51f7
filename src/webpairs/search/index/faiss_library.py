"""The one import of faiss, which takes 0.2 s and ships no types, and its threads."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

FEW_QUERIES: Final = 8


def load_faiss() -> Any:
    """Return the module faiss."""
    return import_module("faiss")


@contextmanager
def threads_for(num_queries: int) -> Generator[None]:
    """Answer few queries in this thread alone, so that none waits for another.

    Threads that share one query's millisecond wait for each other longer than they work where the
    machine has anything else to do: 13 ms instead of 0.2 (2 cores, both busy). The number is this
    thread's own.
    """
    faiss = load_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1 if num_queries < FEW_QUERIES else before)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
