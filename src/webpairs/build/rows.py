"""A candidate's row in the dataset, once its outcome is known: a sample's, or a drop's."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from webpairs.errors import DataError
from webpairs.ids import url_hash
from webpairs.image.decode import Stored
from webpairs.run_folder.rows import DroppedCandidate, KnownCandidate, Sample


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that was obtained and decoded, small enough to wait for its batch."""

    pixels: npt.NDArray[np.uint8]
    """What the model sees: (side, side, 3); empty without a model."""
    stored: Stored
    sha256: bytes
    num_bytes: int
    format: str
    width: int
    height: int


def sample_row(key: str, row: KnownCandidate, picture: Picture, similarity: float | None) -> Sample:
    """Return the metadata columns of a pair that is kept."""
    stored = picture.stored
    return {
        "SAMPLE_ID": int(key),
        "URL": row["url"],
        "TEXT": row["text"],
        "HEIGHT": picture.height,
        "WIDTH": picture.width,
        "LICENSE": row["license"],
        "NSFW": row["nsfw_given"],
        "similarity": similarity,
        "key": key,
        "uid": row["uid"],
        "sha256": picture.sha256,
        "stored_sha256": hashlib.sha256(stored.data).digest(),
        "bytes": picture.num_bytes,
        "format": picture.format,
        "stored_width": stored.width,
        "stored_height": stored.height,
        "language": row["language"],
        "language_score": row["language_score"],
        "license_id": row["license_id"],
        "license_where": row["license_where"],
        "opt_out": row["opt_out"],
        "image_source": row["image_source"],
        "text_source": row["text_source"],
        "page_url": row["page_url"],
        "crawl_file": row["crawl_file"],
        "crawl_offset": row["crawl_offset"],
        "crawl_date": row["crawl_date"],
        "copies": row["copies"],
        "final_url": row["final_url"],
        "http_status": row["http_status"],
        "fetch_date": row["fetch_date"],
        "image_file": row["image_file"],
        "image_offset": row["image_offset"],
        "permissions": row.get("permissions"),
        "similarity_given": row["similarity_given"],
        "url_given": row["url_given"],
        "text_given": row["text_given"],
        "nsfw_score": None,
        "tags": [],
        "given": row["given"],
    }


def drop_row(row: KnownCandidate, error: DataError, similarity: float | None) -> DroppedCandidate:
    """Return the drops columns of a candidate; a sensitive reason keeps no url and no text."""
    drop = error.drop
    if drop.sensitive:
        return {
            "uid": row["uid"],
            "url_hash": url_hash(row["url"]),
            "reason": str(drop),
            "stage": drop.stage,
            "signal": error.detail or None,
        }
    return {
        "uid": row["uid"],
        "url_hash": url_hash(row["url"]),
        "reason": str(drop),
        "stage": drop.stage,
        "similarity": similarity,
        "http_status": row["http_status"],
        "final_url": row["final_url"],
        "detail": error.detail or None,
        "copies": row["copies"],
        "url": row["url"],
        "text": row["text"],
        "license": row["license"],
        "language": row["language"],
        "language_score": row["language_score"],
        "license_id": row["license_id"],
        "license_where": row["license_where"],
        "opt_out": row["opt_out"],
        "image_source": row["image_source"],
        "text_source": row["text_source"],
        "page_url": row["page_url"],
        "crawl_file": row["crawl_file"],
        "crawl_offset": row["crawl_offset"],
        "crawl_date": row["crawl_date"],
        "position": row["position"],
        "similarity_given": row["similarity_given"],
        "url_given": row["url_given"],
        "text_given": row["text_given"],
        "nsfw_given": row["nsfw_given"],
        "hash_given": row["hash_given"],
        "given": row["given"],
    }
