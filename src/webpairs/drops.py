"""Every drop reason, with its stage, its meaning, and whether it is sensitive or reserved."""

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
    def meaning(self) -> str:
        """Return what the reason means, as part of a sentence."""
        return _MEANINGS[self]

    @property
    def reserved(self) -> bool:
        """Tell whether the reason is set aside for later: nothing drops for it yet."""
        return self in _RESERVED

    @property
    def sensitive(self) -> bool:
        """Say whether rows dropped for this reason keep only ids and the signal's name.

        Source: the law that nothing sensitive is piled up in side files (docs/concepts.md).
        """
        return self in _SENSITIVE


_OF_STAGE: Final = {
    "extract": (
        Drop.TEXT_TOO_SHORT,
        Drop.URL_INVALID,
        Drop.URL_UNWANTED,
        Drop.LANGUAGE,
        Drop.ROW_BROKEN,
        Drop.RECORD_BROKEN,
    ),
    "dedupe": (
        Drop.DUPLICATE,
        Drop.OPTED_OUT_PAGE,
        Drop.BLOCK_LISTED,
        Drop.REMOVED,
        Drop.LIMIT,
    ),
    "obtain": (
        Drop.DNS,
        Drop.CONNECT,
        Drop.TLS,
        Drop.TIMEOUT,
        Drop.TOO_SLOW,
        Drop.TOO_LARGE,
        Drop.TOO_SMALL,
        Drop.HTTP_4XX,
        Drop.HTTP_429,
        Drop.HTTP_5XX,
        Drop.REDIRECT,
        Drop.ADDRESS_FORBIDDEN,
        Drop.ROBOTS,
        Drop.OPTED_OUT_IMAGE,
        Drop.PROTOCOL,
        Drop.NOT_ARCHIVED,
        Drop.ARCHIVE_BROKEN,
        Drop.HASH_MISMATCH,
        Drop.BLOCK_LISTED_IMAGE,
    ),
    "decode": (
        Drop.NOT_AN_IMAGE,
        Drop.FORMAT,
        Drop.PIXELS,
        Drop.TRUNCATED,
        Drop.UNDECODABLE,
        Drop.SIDE,
        Drop.ASPECT,
    ),
    "judge": (
        Drop.SIMILARITY,
        Drop.MINOR_SUSPECTED,
        Drop.ANIMAL_NSFW,
        Drop.PII,
        Drop.EXCLUDED_IMAGE,
    ),
}
_STAGE_OF: Final = {drop: stage for stage, drops in _OF_STAGE.items() for drop in drops}
_MEANINGS: Final = {
    Drop.TEXT_TOO_SHORT: "the cleaned text has fewer characters than the recipe asks for",
    Drop.URL_INVALID: "the image's URL cannot be parsed, or is not http or https",
    Drop.URL_UNWANTED: "the URL is a data: or script URL, or its path ends in svg, gif or ico",
    Drop.LANGUAGE: "the text is not in one of the wanted languages",
    Drop.ROW_BROKEN: "a row of a table cannot be read as a URL and a text",
    Drop.RECORD_BROKEN: "a record of a crawl file cannot be read",
    Drop.DUPLICATE: "the same URL with the same text was found before",
    Drop.OPTED_OUT_PAGE: "a page that the candidate was found on opts out of AI use",
    Drop.BLOCK_LISTED: "the URL or its host is on a block-list",
    Drop.REMOVED: "the candidate was removed from the dataset on request",
    Drop.LIMIT: "--limit took other candidates",
    Drop.DNS: "the host has no address, or its name servers do not answer",
    Drop.CONNECT: "no TCP connection was made within its time",
    Drop.TLS: "the TLS handshake failed, or the certificate is not valid for the host",
    Drop.TIMEOUT: "the answer did not begin within its time, or the shard's time was over",
    Drop.TOO_SLOW: "the answer came slower than the least rate that is waited for",
    Drop.TOO_LARGE: "the answer is larger than an image may be",
    Drop.TOO_SMALL: "the image has fewer bytes than the recipe asks for",
    Drop.HTTP_4XX: "the server answered with a status from 400 to 499, but for 429",
    Drop.HTTP_429: "the server still answered 429 (too many requests) at the last try",
    Drop.HTTP_5XX: "the server still answered with a status from 500 to 599 at the last try",
    Drop.REDIRECT: "the redirects are too many, or lead in a circle, or not to an http URL",
    Drop.ADDRESS_FORBIDDEN: "the host's address is not public, and not within --allow-network",
    Drop.ROBOTS: "the site's robots.txt forbids fetching the image",
    Drop.OPTED_OUT_IMAGE: "the image's answer or its site opts out of AI use",
    Drop.PROTOCOL: "the answer is not HTTP that can be read, or its codings cannot be undone",
    Drop.NOT_ARCHIVED: "the archive has no answer for the image's URL",
    Drop.ARCHIVE_BROKEN: "the archive's record of the image cannot be read",
    Drop.HASH_MISMATCH: "the received bytes do not have the hash that the table names",
    Drop.BLOCK_LISTED_IMAGE: "the image's hash is on a block-list",
    Drop.NOT_AN_IMAGE: "the received bytes are something else, such as an HTML page",
    Drop.FORMAT: "the image is of a format that the recipe does not take",
    Drop.PIXELS: "the image has more pixels than may be decoded",
    Drop.TRUNCATED: "the received bytes end before the image does",
    Drop.UNDECODABLE: "the image is damaged, or its decoder refuses it",
    Drop.SIDE: "the image's shorter side has fewer pixels than --min-side",
    Drop.ASPECT: "the image is too long or too wide: beyond --max-aspect or what can be stored",
    Drop.SIMILARITY: "image and text are less similar than the threshold",
    Drop.MINOR_SUSPECTED: "tagged as NSFW or unsure, and a minor is suspected",
    Drop.ANIMAL_NSFW: "tagged as NSFW or unsure, and an animal is suspected",
    Drop.PII: "the text holds personal data",
    Drop.EXCLUDED_IMAGE: "the image is nearly one of a set that is to be left out",
}
_RESERVED: Final = frozenset(
    {
        Drop.BLOCK_LISTED,
        Drop.REMOVED,
        Drop.BLOCK_LISTED_IMAGE,
        Drop.MINOR_SUSPECTED,
        Drop.ANIMAL_NSFW,
        Drop.PII,
        Drop.EXCLUDED_IMAGE,
    }
)
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
