"""Counting what is wrong with a source, so that reading it goes on and nothing is hidden."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

NUM_LISTED: Final = 100
"""Problems of a kind that are listed; all are counted."""


class Problem(StrEnum):
    """What can be wrong with a shard or a sample that is read: the whole list."""

    # of a shard
    SHARD_UNREADABLE = "shard_unreadable"
    """Its metadata cannot be read: it has no samples."""
    IMAGES_MISSING = "images_missing"
    """It has metadata and no images: left out where those are asked for."""
    METADATA_MISSING = "metadata_missing"
    """It has images and no table of metadata: rows are taken from the tar."""
    KEY_MISSING = "key_missing"
    """Its table has no column `key`, which alone says whose image is whose: rows are taken from
    the tar."""
    EMBEDDINGS_MISSING = "embeddings_missing"
    """It has metadata and not both kinds of embeddings: left out where those are asked for."""
    EMBEDDINGS_BROKEN = "embeddings_broken"
    """A file of embeddings is not one of rows of floating-point numbers: left out, as above."""
    EMBEDDINGS_UNALIGNED = "embeddings_unaligned"
    """Embeddings and metadata have other numbers of rows: nothing says which belong together."""
    TAR_BROKEN = "tar_broken"
    """Truncated, or a corrupt header: samples before that point are read."""
    INDEX_WRONG = "index_wrong"
    """Its `.idx` does not lead to its samples: the tar itself is read."""
    COUNT_WRONG = "count_wrong"
    """Its stats give another number of samples than it has."""
    # of rows, counted by the row
    ROW_CORRUPT = "row_corrupt"
    """Values that cannot be meant so (columns that had slipped): read as missing."""
    KEY_REPEATED = "key_repeated"
    """A key that was there before in the shard: left out."""
    NO_IMAGE = "no_image"
    """A row whose image is not there: left out where it is asked for."""
    NO_EMBEDDING = "no_embedding"
    """A row whose embeddings are not there: left out where those are asked for."""
    NO_ROW = "no_row"
    """An image without a row of metadata: left out."""
    IMAGE_BROKEN = "image_broken"
    """An image that cannot be decoded: left out."""


@dataclass(frozen=True, slots=True)
class Found:
    """List of one problem; `key` is empty for one of a whole shard."""

    problem: Problem
    shard: str
    key: str
    detail: str


class Problems:
    """What was found so far; what is read twice is counted once.

    A bit for each row that has a problem: 1.3 kB a shard of 10,000 at most.
    """

    def __init__(self) -> None:
        self._of_shards: dict[tuple[Problem, str], int] = {}
        self._of_rows: dict[tuple[Problem, str], bytearray] = {}
        self._listed: dict[Problem, list[Found]] = {}

    def of_shard(self, problem: Problem, shard: str, detail: str = "", num: int = 1) -> None:
        """Note a shard's problem, or how many of its rows have it."""
        if (problem, shard) not in self._of_shards:
            self._list(Found(problem, shard, "", detail))
        self._of_shards[problem, shard] = num

    def of_row(self, problem: Problem, shard: str, row: int, key: str, detail: str = "") -> None:
        """Note the problem of one row."""
        bits = self._of_rows.setdefault((problem, shard), bytearray())
        place, bit = row >> 3, 1 << (row & 7)
        if place >= len(bits):
            bits.extend(bytes(place + 1 - len(bits)))
        if not bits[place] & bit:
            bits[place] |= bit
            self._list(Found(problem, shard, key, detail))

    def counts(self) -> dict[str, int]:
        """Return how many problems of each kind were met."""
        counts = Counter[str]()
        for (problem, _), num in self._of_shards.items():
            counts[str(problem)] += num
        for (problem, _), bits in self._of_rows.items():
            counts[str(problem)] += int.from_bytes(bits).bit_count()
        return {str(problem): counts[problem] for problem in Problem if counts[problem]}

    def listed(self) -> list[Found]:
        """Return the first `NUM_LISTED` of each kind."""
        return [found for problem in Problem for found in self._listed.get(problem, [])]

    def _list(self, found: Found) -> None:
        listed = self._listed.setdefault(found.problem, [])
        if len(listed) < NUM_LISTED:
            listed.append(found)
