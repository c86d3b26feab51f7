"""What can go wrong, sorted by what the user can do about it.

WebpairsError
  ConfigError    an option or an input is unusable: change it and run again (exit code 2)
  DataError      this one sample, record or file is bad: it is counted under a `Drop` and skipped
  RunError       the run could not go on (disk full, folder not writable, a unit that keeps
                 killing its worker): mend the cause and run the same line again (exit code 1)
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Drop(StrEnum):
    """Why a candidate is not a sample: the whole list, one reason a candidate.

    A member's value is what stands in `drops/*.parquet`, `stats/*.json` and the funnel.
    """

    # extract: counted per input, no rows are kept
    TEXT_TOO_SHORT = "text_too_short"
    URL_INVALID = "url_invalid"
    URL_UNWANTED = "url_unwanted"
    LANGUAGE = "language"
    ROW_BROKEN = "row_broken"
    RECORD_BROKEN = "record_broken"
    # dedupe
    DUPLICATE = "duplicate"
    OPTED_OUT_PAGE = "opted_out_page"
    BLOCK_LISTED = "block_listed"
    REMOVED = "removed"
    LIMIT = "limit"
    # obtain
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    TOO_SLOW = "too_slow"
    TOO_LARGE = "too_large"
    TOO_SMALL = "too_small"
    HTTP_4XX = "http_4xx"
    HTTP_429 = "http_429"
    HTTP_5XX = "http_5xx"
    REDIRECT = "redirect"
    ADDRESS_FORBIDDEN = "address_forbidden"
    ROBOTS = "robots"
    OPTED_OUT_IMAGE = "opted_out_image"
    PROTOCOL = "protocol"
    NOT_ARCHIVED = "not_archived"
    ARCHIVE_BROKEN = "archive_broken"
    HASH_MISMATCH = "hash_mismatch"
    BLOCK_LISTED_IMAGE = "block_listed_image"
    # decode
    NOT_AN_IMAGE = "not_an_image"
    FORMAT = "format"
    PIXELS = "pixels"
    TRUNCATED = "truncated"
    UNDECODABLE = "undecodable"
    SIDE = "side"
    ASPECT = "aspect"
    # judge
    SIMILARITY = "similarity"
    MINOR_SUSPECTED = "minor_suspected"
    ANIMAL_NSFW = "animal_nsfw"
    PII = "pii"
    EXCLUDED_IMAGE = "excluded_image"

    @property
    def stage(self) -> str:
        """Name the stage that drops for this reason: extract, dedupe, obtain, decode or judge."""
        return _STAGE_OF[self]

    @property
    def sensitive(self) -> bool:
        """Say whether rows dropped for this reason keep only ids and the signal's name.

        Source: the law that nothing sensitive is piled up in side files (docs/concepts.md).
        """
        return self in _SENSITIVE


_FIRST_OF_STAGE: Final = {
    Drop.TEXT_TOO_SHORT: "extract",
    Drop.DUPLICATE: "dedupe",
    Drop.DNS: "obtain",
    Drop.NOT_AN_IMAGE: "decode",
    Drop.SIMILARITY: "judge",
}


def _stages() -> dict[Drop, str]:
    stages: dict[Drop, str] = {}
    stage = ""
    for drop in Drop:
        stage = _FIRST_OF_STAGE.get(drop, stage)
        stages[drop] = stage
    return stages


_STAGE_OF: Final = _stages()
_SENSITIVE: Final = frozenset(
    {
        Drop.OPTED_OUT_PAGE,
        Drop.OPTED_OUT_IMAGE,
        Drop.BLOCK_LISTED,
        Drop.BLOCK_LISTED_IMAGE,
        Drop.REMOVED,
        Drop.MINOR_SUSPECTED,
    }
)


class WebpairsError(Exception):
    """Be the parent of every error this package raises on purpose."""


class ConfigError(WebpairsError):
    """Tell the user which option or input is unusable: the value, the limit and the fix."""


class RunError(WebpairsError):
    """Tell the user why the run stopped, and what to mend before running the same line again."""


class DataError(WebpairsError):
    """Mark one sample as bad: `drop` is counted, `detail` is kept beside it, the run goes on."""

    def __init__(self, drop: Drop, detail: str = "") -> None:
        super().__init__(f"{drop}: {detail}" if detail else str(drop))
        self.drop = drop
        self.detail = detail
