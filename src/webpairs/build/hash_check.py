"""Comparing images with the hashes that tables give, and noticing a column of other hashes.

    --check-hashes on    an image that has another hash than its row gives is `hash_mismatch`
                   warn  it is kept and counted
                   off   hashes are not compared

Some tables have a column `md5` or `hash` that is not of the image, but of its URL and text, or of
a file that was resized later. No image ever has such a hash. So the run says, once, that none of
the first hundred images agrees; it goes on, since a person decides.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

from webpairs.drops import Drop
from webpairs.errors import DataError
from webpairs.quantities import counted

CHECKS: Final = ("on", "warn", "off")
DOUBT_AFTER: Final = 100
"""Images that were compared. Where one image in ten still is what its table says, 100 that all
differ come about once in 38,000 runs."""
HASHES_RIGHT: Final = "hashes_right"
HASHES_WRONG: Final = "hashes_wrong"
"""What a unit reports of its hashes, beside other counts."""


def wrong_hash(given: str | None, data: bytes) -> DataError | None:
    """Return what is wrong where a table gave another hash of the image, `sha256:` or `md5:`."""
    if given is None:
        return None
    kind, _, digest = given.partition(":")
    found = hashlib.new(kind, data, usedforsecurity=False).hexdigest()
    if found == digest:
        return None
    return DataError(Drop.HASH_MISMATCH, f"{kind} {found}, the table says {digest}")


def compare_hashes(
    check: str, given: Mapping[int, str | None], data: bytes
) -> tuple[dict[int, DataError], bool | None]:
    """Compare the image `data` with the hashes that its rows give; `check` is one of `CHECKS`.

    Returns the rows to drop, and whether the image agrees; None where nothing was compared.
    """
    if check == "off" or all(digest is None for digest in given.values()):
        return {}, None
    found = {row: wrong_hash(digest, data) for row, digest in given.items()}
    wrong = {row: error for row, error in found.items() if error is not None}
    return {} if check == "warn" else wrong, not wrong


class HashTally:
    """The hashes that one shard compared: images that agree, and images that do not."""

    def __init__(self) -> None:
        self._told = (0, 0)
        self.num_right = 0
        self.num_wrong = 0

    def count(self, right: bool | None) -> None:
        """Count an image that is finished, by what `compare_hashes` found."""
        self.num_right += right is True
        self.num_wrong += right is False

    def news(self) -> dict[str, float]:
        """Return, for a report, what was counted since the last call."""
        right, wrong = self.num_right - self._told[0], self.num_wrong - self._told[1]
        self._told = (self.num_right, self.num_wrong)
        counts: dict[str, float] = {HASHES_RIGHT: right, HASHES_WRONG: wrong}
        return {name: num for name, num in counts.items() if num}


class HashWatch:
    """The hashes that a run compared so far, and the lines that tell about them."""

    def __init__(self, check: str, say: Callable[[str], None]) -> None:
        """`check` is one of `CHECKS`; `say` gets a line."""
        self._check = check
        self._say = say
        self._num_right = 0
        self._num_wrong = 0
        self._doubted = False

    def take(self, counts: Mapping[str, float]) -> dict[str, float]:
        """Count the hashes of a unit's report and return the rest of the report.

        Calls `say`, once, when `DOUBT_AFTER` images were compared and none agrees.
        """
        rest = dict(counts)
        self._num_right += int(rest.pop(HASHES_RIGHT, 0))
        self._num_wrong += int(rest.pop(HASHES_WRONG, 0))
        if self._num_wrong >= DOUBT_AFTER and not self._num_right and not self._doubted:
            self._doubted = True
            fate = "are kept all the same" if self._check == "warn" else "are dropped"
            self._say(
                f"not one of the first {counted(self._num_wrong, 'image')} has the hash that its "
                "table gives (column sha256, md5 or hash): that column is probably not a hash of "
                f"the images. They {fate}; --check-hashes off does not compare (in a new --out, or "
                "afterwards with webpairs retry DIR --reasons hash_mismatch --check-hashes off)"
            )
        return rest

    def end(self) -> None:
        """Say how many images were kept that do not have their hash."""
        if self._check == "warn" and self._num_wrong:
            compared = self._num_right + self._num_wrong
            self._say(
                f"{self._num_wrong:,} of {counted(compared, 'image')} do not have the hash that "
                "the table gives, and were not dropped for it (--check-hashes warn)"
            )
