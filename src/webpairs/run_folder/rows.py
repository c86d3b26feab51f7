"""Rows of a run folder's tables while a shard is built, so that a misspelt column is an error.

The columns are those of schema.py; a test compares the two. What they mean stands there.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict


class Candidate(TypedDict):
    """A row of `work/unique/`: a candidate that waits for its image."""

    uid: bytes
    url: str
    text: str
    license: str
    language: str | None
    language_score: float | None
    license_id: str | None
    license_where: str | None
    opt_out: str | None
    image_source: str | None
    text_source: str | None
    page_url: str | None
    crawl_file: str | None
    crawl_offset: int | None
    crawl_date: datetime | None
    position: int
    similarity_given: float | None
    url_given: str | None
    text_given: str | None
    nsfw_given: str | None
    hash_given: str | None
    given: str | None
    copies: int
    final_url: str | None
    http_status: int | None
    fetch_date: datetime | int | None
    image_file: str | None
    image_offset: int | None
    image_length: int | None
    drop: str | None


class Facts(TypedDict, total=False):
    """What obtaining an image tells, whether it succeeded or not."""

    final_url: str | None
    http_status: int | None
    fetch_date: datetime | int | None
    """Or milliseconds since 1970, UTC."""
    permissions: str | None


class KnownCandidate(Candidate, total=False):
    """A candidate after its image was asked for."""

    permissions: str | None


class Sample(TypedDict):
    """A row of `metadata/`, and `given`, which becomes a table's own columns."""

    SAMPLE_ID: int
    URL: str
    TEXT: str
    HEIGHT: int
    WIDTH: int
    LICENSE: str
    NSFW: str | None
    similarity: float | None
    key: str
    uid: bytes
    sha256: bytes
    stored_sha256: bytes
    bytes: int
    format: str
    stored_width: int
    stored_height: int
    language: str | None
    language_score: float | None
    license_id: str | None
    license_where: str | None
    opt_out: str | None
    image_source: str | None
    text_source: str | None
    page_url: str | None
    crawl_file: str | None
    crawl_offset: int | None
    crawl_date: datetime | None
    copies: int
    final_url: str | None
    http_status: int | None
    fetch_date: datetime | int | None
    image_file: str | None
    image_offset: int | None
    permissions: str | None
    similarity_given: float | None
    url_given: str | None
    text_given: str | None
    nsfw_score: float | None
    tags: list[dict[str, Any]] | None
    given: str | None


class DroppedCandidate(TypedDict, total=False):
    """A row of `drops/`; columns that it lacks are null."""

    uid: bytes
    url_hash: bytes
    reason: str
    stage: str
    signal: str | None
    similarity: float | None
    http_status: int | None
    final_url: str | None
    detail: str | None
    copies: int | None
    url: str | None
    text: str | None
    license: str | None
    language: str | None
    language_score: float | None
    license_id: str | None
    license_where: str | None
    opt_out: str | None
    image_source: str | None
    text_source: str | None
    page_url: str | None
    crawl_file: str | None
    crawl_offset: int | None
    crawl_date: datetime | None
    position: int | None
    similarity_given: float | None
    url_given: str | None
    text_given: str | None
    nsfw_given: str | None
    hash_given: str | None
    given: str | None
