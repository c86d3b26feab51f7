"""Ids of candidates, made from what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def url_hash(url: str) -> bytes:
    """Return BLAKE2b-64 of a URL: what stands for it where the URL itself must not."""
    return hashlib.blake2b(url.encode(), digest_size=8).digest()


def uid_of(url: str, text: str) -> bytes:
    """Return the 16-byte id of a candidate: BLAKE2b-128 of url, a zero byte and text.

    Both normalised. Neither can hold a zero byte, so no two candidates share the hashed bytes
    (md5(alt + url), as cc2dataset has it, does not separate them).
    """
    return hashlib.blake2b(f"{url}\0{text}".encode(), digest_size=16).digest()


def uids_of(urls: Sequence[str], texts: Sequence[str]) -> list[bytes]:
    """Return `uid_of` of each pair."""
    blake2b = hashlib.blake2b
    return [
        blake2b(f"{url}\0{text}".encode(), digest_size=16).digest()
        for url, text in zip(urls, texts, strict=True)
    ]
