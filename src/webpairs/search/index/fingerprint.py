"""A digest of a dataset's embeddings and metadata, which an index is checked against.

Of a run folder it is made of the file digests in the shards' stats, which are read and not computed
again; of other folders, of rows that are picked from every file of embeddings and of the footer of
every file of metadata, which has the sizes of its columns and their least and greatest values. A
dataset whose shards were only added to begins with the same digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import orjson

from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.files import open_regular, read_regular
from webpairs.run_folder.layout import ShardFiles
from webpairs.search.index.vectors import Vectors, vector_kinds

PICKED_ROWS: Final = 16
"""Rows of a file that are compared where nothing states its digest."""
_MOST_FOOTER: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Identify the first shards of a dataset."""

    shards: int
    rows: int
    digest: str

    def as_json(self) -> dict[str, Any]:
        """Return it as it stands in the manifest."""
        return {"shards": self.shards, "rows": self.rows, "digest": self.digest}


def fingerprints(vectors: Vectors, counts: Iterable[int]) -> list[Fingerprint]:
    """Return the fingerprints of the first `counts` shards, which have to rise."""
    found: list[Fingerprint] = []
    digest = blake2b(digest_size=16)
    shards = _shards(vectors)
    done = 0
    for count in counts:
        for _ in range(count - done):
            digest.update(next(shards))
        done = count
        found.append(Fingerprint(count, int(vectors.offsets[count]), digest.hexdigest()))
    return found


def _shards(vectors: Vectors) -> Iterator[bytes]:
    """Yield for each shard what identifies it, as bytes of one length."""
    both = [Vectors(vectors.source, kind, vectors.offsets) for kind in vector_kinds(vectors.source)]
    for place, name in enumerate(vectors.source.names):
        num_rows = int(vectors.offsets[place + 1] - vectors.offsets[place])
        content = _stated(vectors, name) or _picked(both, place) + _footer(vectors, name)
        parts = (name.encode(), b"%d" % num_rows, content)
        yield blake2b(b"\0".join(parts), digest_size=16).digest()


def _stated(vectors: Vectors, name: str) -> bytes | None:
    """Return the digests that a shard's stats state; None where they state none."""
    if not isinstance(vectors.source, RunFolder):
        return None
    out = vectors.source.folder
    files = ShardFiles.of(out, name)
    try:
        stated = orjson.loads(read_regular(files.stats))["files"]
        digests = [
            stated[path.relative_to(out).as_posix()]["sha256"]
            for path in (files.metadata, files.image_embeddings, files.text_embeddings)
        ]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return "".join(digests).encode()


def _picked(both: Iterable[Vectors], place: int) -> bytes:
    parts: list[bytes] = []
    for vectors in both:
        if (shard := vectors.shard(place)) is None:
            parts.append(b"none")
            continue
        rows = np.linspace(0, len(shard) - 1, PICKED_ROWS).astype(np.int64)
        parts.append(shard[rows].tobytes())
    return b"\0".join(parts)


def _footer(vectors: Vectors, name: str) -> bytes:
    """Return the footer of a shard's metadata; parquet says at the end how long it is."""
    path = vectors.source.folder / "metadata" / f"metadata_{name}.parquet"
    if isinstance(vectors.source, RunFolder):
        path = ShardFiles.of(vectors.source.folder, name).metadata
    try:
        with open_regular(path) as file:
            end = file.seek(0, 2)
            file.seek(max(0, end - 8))
            length = int.from_bytes(file.read(4), "little")
            file.seek(max(0, end - 8 - min(length, _MOST_FOOTER)))
            return b"%d" % end + file.read()
    except OSError:
        return b"none"
