"""The fused unit of a build: obtain -> decode -> embed -> judge -> write, one shard at a time.

An image that is dropped never touches the disk. The embedding that is stored comes from the very
decode that was scored, so that `img . txt` is the similarity of every row, within float16.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from webpairs.engine.link import Link, Preprocess
from webpairs.errors import DataError, Drop
from webpairs.image import ImageRules, Stored, decode, store
from webpairs.judge import judge
from webpairs.obtain.archive import ArchiveReader
from webpairs.shard import Keys, Row, ShardFiles, ShardWriter

BATCH_IMAGES: Final = 64
"""Images embedded at once, with their texts: images get no faster from 16 on, texts half as fast
again (17.9 ms a text among 16, 11.6 ms among 64; `benchmarks/clip_pair.py`)."""
MAX_IN_FLIGHT_IMAGES: Final = 2 * BATCH_IMAGES
MAX_IN_FLIGHT_BYTES: Final = 64_000_000
"""Received bytes that may wait for decoding, one image of any allowed size apart."""
MAX_IMAGE_BYTES: Final = 100_000_000
READ_ROWS: Final = 1_024


@dataclass(frozen=True, slots=True)
class BuildUnit:
    """Say what a shard is made of; `archive` maps the names of crawl files to their paths."""

    number: int
    keys: Keys
    candidates: Path
    out: Path
    archive: tuple[tuple[str, str], ...]
    image_rules: ImageRules
    threshold: float
    keep_opted_out: bool
    decode_threads: int
    """More than one where there are fewer shards than workers; never changes the shard."""


@dataclass(slots=True)
class ShardCounts:
    """Count what became of a shard's candidates: candidates = samples + sum of drops."""

    candidates: int = 0
    samples: int = 0
    drops: Counter[Drop] = field(default_factory=Counter[Drop])
    images: int = 0
    """Distinct images asked for: several texts of one image count once."""
    image_bytes: int = 0
    texts_embedded: int = 0


@dataclass(frozen=True, slots=True)
class _Picture:
    """An image that was obtained and decoded, small enough to wait for its batch."""

    pixels: npt.NDArray[np.uint8]
    """What the model sees: (side, side, 3)."""
    stored: Stored
    sha256: bytes
    num_bytes: int
    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """One image and the candidates that want it: (row number, candidate)."""

    rows: list[tuple[int, Row]]
    opt_out: str | None
    """The opt-out of the image's answer that the rows are kept in spite of."""
    num_bytes: int
    picture: Future[_Picture]


def build_shard(unit: BuildUnit, link: Link) -> ShardCounts:
    """Build and commit one shard; return what became of its candidates."""
    name = unit.keys.shard(unit.number)
    started = datetime.now(UTC)
    clock = time.perf_counter()
    builder = _ShardBuilder(unit, link)
    with ShardWriter(ShardFiles.of(unit.out, name)) as writer:
        counts = builder.run(writer)
        seconds = time.perf_counter() - clock
        writer.commit(
            {
                "shard": name,
                "candidates": counts.candidates,
                "samples": counts.samples,
                "drops": {str(drop): num for drop, num in sorted(counts.drops.items())},
                "images": counts.images,
                "image_bytes": counts.image_bytes,
                "texts_embedded": counts.texts_embedded,
                "started": started.isoformat(),
                "seconds": {"total": round(seconds, 3), **builder.seconds()},
            }
        )
    return counts


class _ShardBuilder:
    def __init__(self, unit: BuildUnit, link: Link) -> None:
        self._unit = unit
        self._link = link
        self._counts = ShardCounts()
        self._text_embeddings: dict[str, npt.NDArray[np.float32]] = {}
        self._embed_s = 0.0
        self._write_s = 0.0

    def seconds(self) -> dict[str, float]:
        """Return where the time went; obtaining and decoding overlap with embedding."""
        return {"embed": round(self._embed_s, 3), "write": round(self._write_s, 3)}

    def run(self, writer: ShardWriter) -> ShardCounts:
        batch: list[_Asked] = []
        with (
            ThreadPoolExecutor(self._unit.decode_threads, "decode") as pool,
            ArchiveReader(dict(self._unit.archive), MAX_IMAGE_BYTES) as reader,
        ):
            for asked in self._obtain(pool, reader):
                batch.append(asked)
                if len(batch) == BATCH_IMAGES:
                    self._finish(batch, writer)
                    batch = []
            self._finish(batch, writer)
        return self._counts

    def _obtain(self, pool: ThreadPoolExecutor, reader: ArchiveReader) -> Iterator[_Asked]:
        """Yield the shard's images in order, decoded or failed, a bounded number ahead."""
        ahead: deque[_Asked] = deque()
        for rows in _images(self._unit.candidates):
            future: Future[_Picture] = Future()
            first = rows[0][1]
            num_bytes = 0
            opt_out: str | None = None
            if first["drop"] is not None:
                future.set_exception(DataError(Drop(first["drop"])))
            else:
                self._counts.images += 1
                try:
                    payload = reader.read(
                        first["image_file"], first["image_offset"], first["image_length"]
                    )
                    opt_out = payload.opt_out
                    if opt_out is not None and not self._unit.keep_opted_out:
                        raise DataError(Drop.OPTED_OUT_IMAGE, opt_out)
                    num_bytes = len(payload.data)
                    self._counts.image_bytes += num_bytes
                    future = pool.submit(
                        _prepare, payload.data, self._unit.image_rules, self._link.preprocess
                    )
                except DataError as error:
                    future.set_exception(error)
            ahead.append(_Asked(rows, opt_out, num_bytes, future))
            while len(ahead) > MAX_IN_FLIGHT_IMAGES or (
                len(ahead) > 1
                and sum(a.num_bytes for a in ahead if not a.picture.done()) > MAX_IN_FLIGHT_BYTES
            ):
                yield ahead.popleft()
        yield from ahead

    def _finish(self, batch: list[_Asked], writer: ShardWriter) -> None:
        """Embed, judge and write one batch of images with all their texts."""
        before = self._counts.samples, Counter(self._counts.drops)
        pairs: list[tuple[int, Row, int]] = []  # row number, candidate, index into pictures
        dropped: list[tuple[int, Row, DataError, float | None]] = []
        pictures: list[_Picture] = []
        for asked in batch:
            try:
                picture = asked.picture.result()
            except DataError as error:
                dropped += [(number, row, error, None) for number, row in asked.rows]
                continue
            for number, row in asked.rows:
                # What the page said comes first: it was there before anyone asked for the image.
                marked = {**row, "opt_out": row["opt_out"] or asked.opt_out}
                pairs.append((number, marked, len(pictures)))
            pictures.append(picture)
        image_embeddings, text_embeddings = self._embed(pictures, [row for _, row, _ in pairs])
        clock = time.perf_counter()
        of_pair = image_embeddings[[index for _, _, index in pairs]]
        # Row by row in float64: the sum's order does not depend on how many rows there are.
        similarity = (of_pair.astype(np.float64) * text_embeddings.astype(np.float64)).sum(axis=1)
        for pair, drop, score, image, text in zip(
            pairs,
            judge(similarity, self._unit.threshold),
            similarity.tolist(),
            of_pair,
            text_embeddings,
            strict=True,
        ):
            number, row, index = pair
            if drop is not None:
                dropped.append((number, row, DataError(drop), score))
                continue
            picture = pictures[index]
            sample = self._sample_row(number, row, picture, score)
            writer.add_sample(sample, picture.stored.data, picture.stored.extension, image, text)
            self._counts.samples += 1
        for _, row, error, score in sorted(dropped, key=lambda one: one[0]):
            writer.add_drop(drop_row(row, error, score))
            self._counts.drops[error.drop] += 1
        num_done = sum(len(asked.rows) for asked in batch)
        self._counts.candidates += num_done
        self._write_s += time.perf_counter() - clock
        news = self._counts.drops - before[1]
        self._link.report(
            {"done": num_done, "samples": self._counts.samples - before[0]}
            | {str(drop): num for drop, num in news.items()}
        )

    def _embed(
        self, pictures: list[_Picture], rows: list[Row]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return (pictures, d) and (rows, d); a text of the shard is embedded once."""
        clock = time.perf_counter()
        if pictures:
            images = self._link.embed_images(np.stack([picture.pixels for picture in pictures]))
        else:
            images = np.zeros((0, 1), np.float32)
        known = self._text_embeddings
        new = list(dict.fromkeys(row["text"] for row in rows if row["text"] not in known))
        if new:
            known.update(zip(new, self._link.embed_texts(new), strict=True))
            self._counts.texts_embedded += len(new)
        texts = (
            np.stack([known[row["text"]] for row in rows])
            if rows
            else np.zeros((0, images.shape[1]), np.float32)
        )
        self._embed_s += time.perf_counter() - clock
        return images, texts

    def _sample_row(self, number: int, row: Row, picture: _Picture, similarity: float) -> Row:
        key = self._unit.keys.sample(self._unit.number, number)
        stored = picture.stored
        return {
            **row,
            "SAMPLE_ID": int(key),
            "URL": row["url"],
            "TEXT": row["text"],
            "HEIGHT": picture.height,
            "WIDTH": picture.width,
            "LICENSE": row["license"],
            "NSFW": None,
            "similarity": similarity,
            "key": key,
            "sha256": picture.sha256,
            "stored_sha256": hashlib.sha256(stored.data).digest(),
            "bytes": picture.num_bytes,
            "format": picture.format,
            "stored_width": stored.width,
            "stored_height": stored.height,
            "nsfw_score": None,
            "tags": [],
        }


def drop_row(row: Row, error: DataError, similarity: float | None) -> Row:
    """Return the drops columns of a candidate; a sensitive reason keeps no url and no text."""
    drop = error.drop
    ids = {
        "uid": row["uid"],
        "url_hash": hashlib.blake2b(row["url"].encode(), digest_size=8).digest(),
        "reason": str(drop),
        "stage": drop.stage,
    }
    if drop.sensitive:
        return ids | {"signal": error.detail or None}
    return {**row, **ids, "similarity": similarity, "detail": error.detail or None}


def _images(candidates: Path) -> Iterator[list[tuple[int, Row]]]:
    """Yield the candidates that want the same image, in row order.

    Rows stand in the order of the archive, so those of one image are neighbours; a candidate that
    was dropped before reading stands alone.
    """
    group: list[tuple[int, Row]] = []
    number = 0
    with pq.ParquetFile(candidates) as file:
        for batch in file.iter_batches(READ_ROWS):
            for row in batch.to_pylist():
                if group and not _same_image(group[0][1], row):
                    yield group
                    group = []
                group.append((number, row))
                number += 1
    if group:
        yield group


def _same_image(one: Row, other: Row) -> bool:
    return (
        one["drop"] is None
        and other["drop"] is None
        and one["image_file"] == other["image_file"]
        and one["image_offset"] == other["image_offset"]
    )


def _prepare(data: bytes, rules: ImageRules, preprocess: Preprocess) -> _Picture:
    """Decode an image and keep what the model and the tar need of it; runs in the decode thread."""
    decoded = decode(data, rules)
    return _Picture(
        pixels=preprocess(decoded.rgb),
        stored=store(decoded, data, rules),
        sha256=hashlib.sha256(data).digest(),
        num_bytes=len(data),
        format=decoded.format,
        width=decoded.width,
        height=decoded.height,
    )
