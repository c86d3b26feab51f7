"""The fused unit of a build: obtain -> decode -> embed -> judge -> write, one shard at a time.

An image that is dropped never touches the disk. The embedding that is stored comes from the very
decode that was scored, so that `img . txt` is the similarity of every row, within float16.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.blur import Box, read_boxes
from webpairs.engine.link import Link, Preprocess
from webpairs.errors import DataError, Drop
from webpairs.hash_check import HashTally
from webpairs.image import ImageRules, Stored, decode, store
from webpairs.judge import judge
from webpairs.obtain.archive import ArchiveReader
from webpairs.shard import GivenColumns, Keys, Row, ShardFiles, ShardWriter

BATCH_IMAGES: Final = 64
"""Images embedded at once, with their texts: images get no faster from 16 on, texts half as fast
again (17.9 ms a text among 16, 11.6 ms among 64; `benchmarks/clip_pair.py`)."""
UNSCORED_BATCH_IMAGES: Final = 16
"""Images written at once where no model wants many: fewer wait in memory."""
MAX_IN_FLIGHT_BYTES: Final = 8_000_000
"""Received bytes that may wait for decoding, one image of any allowed size apart."""
MAX_IMAGE_BYTES: Final = 100_000_000
READ_ROWS: Final = 1_024


SHARD_DEADLINE_S: Final = 3 * 3600.0
"""What a shard has not begun to fetch by then ends as `timeout`. At the default rate a host can be
asked for 80,000 images in that time, more than a shard has."""


@dataclass(frozen=True, slots=True)
class BuildUnit:
    """Say what a shard is made of."""

    number: int
    keys: Keys
    candidates: Path
    out: Path
    archive: tuple[tuple[str, str], ...] | None
    """Names of crawl files and their paths; None when images come from the web."""
    image_rules: ImageRules
    threshold: float | None
    """None when nothing is scored: there is no model."""
    keep_opted_out: bool
    ignored_signals: frozenset[str]
    decode_threads: int
    """More than one where there are fewer shards than workers; never changes the shard."""
    given_columns: GivenColumns = ()
    blur_column: str | None = None
    """The table's column of boxes to blur, under its name in the dataset."""
    check_hashes: str = "on"
    """One of `hash_check.CHECKS`."""


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
    """What the model sees: (side, side, 3); empty without a model."""
    stored: Stored
    sha256: bytes
    num_bytes: int
    format: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class _Obtained:
    """What came of asking for one image: `data`, or the `error` instead."""

    numbers: list[int]
    """Rows of the candidates that want it."""
    data: bytes = b""
    opt_out: str | None = None
    """The opt-out of the image's answer that the rows are kept in spite of."""
    facts: Row = field(default_factory=dict[str, Any])
    """Columns that are known only now."""
    error: DataError | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """An image on its way through the decoder, which alone still holds its bytes."""

    numbers: list[int]
    opt_out: str | None
    facts: Row
    num_bytes: int
    picture: Future[_Picture]


_Pair = tuple[int, Row, int]
"""Row number, candidate, index into the pictures of the batch."""
_Dropped = tuple[int, Row, DataError, float | None]
"""Row number, candidate, why, similarity."""
_NO_PIXELS: Final = np.zeros((0, 0, 3), np.uint8)


def build_shard(unit: BuildUnit, link: Link) -> ShardCounts:
    """Build and commit one shard; return what became of its candidates."""
    name = unit.keys.shard(unit.number)
    started = datetime.now(UTC)
    clock = time.perf_counter()
    builder = _ShardBuilder(unit, link)
    with ShardWriter(ShardFiles.of(unit.out, name), unit.given_columns) as writer:
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
                "hashes": builder.hashes(),
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
        self._batch_images = UNSCORED_BATCH_IMAGES if unit.threshold is None else BATCH_IMAGES
        self._text_embeddings: dict[str, npt.NDArray[np.float32]] = {}
        self._table: pa.Table | None = None
        """Candidates whose images come in any order."""
        self._streamed: dict[int, Row] = {}
        """Candidates that were read and are not written yet, where images come in order."""
        self._hashes = HashTally(unit.check_hashes)
        self._embed_s = 0.0
        self._write_s = 0.0
        self._decode_s = 0.0
        self._connect_s = 0.0
        self._first_byte_s = 0.0
        self._receive_s = 0.0

    def seconds(self) -> dict[str, float]:
        """Return where the time went: of fetching, the sum over requests, many at a time."""
        seconds = {"decode": self._decode_s, "embed": self._embed_s, "write": self._write_s}
        if self._unit.archive is None:
            seconds |= {
                "connect": self._connect_s,
                "first_byte": self._first_byte_s,
                "receive": self._receive_s,
            }
        return {name: round(value, 3) for name, value in seconds.items()}

    def hashes(self) -> dict[str, int]:
        """Return how many images had the hash that a table gives, and how many another."""
        return {"right": self._hashes.num_right, "wrong": self._hashes.num_wrong}

    def run(self, writer: ShardWriter) -> ShardCounts:
        batch: list[_Asked] = []
        with ThreadPoolExecutor(self._unit.decode_threads, "decode") as pool:
            obtained = self._from_web() if self._unit.archive is None else self._from_archive()
            for asked in self._decode(pool, obtained):
                batch.append(asked)
                if len(batch) == self._batch_images:
                    self._finish(batch, writer)
                    batch = []
            self._finish(batch, writer)
        return self._counts

    def _from_archive(self) -> Iterator[_Obtained]:
        """Yield the shard's images in the order of its rows, which is that of the archive."""
        paths = dict(self._unit.archive or ())
        with ArchiveReader(paths, MAX_IMAGE_BYTES, self._unit.ignored_signals) as reader:
            for rows in _images(self._unit.candidates):
                self._streamed.update(rows)
                numbers = [number for number, _ in rows]
                first = rows[0][1]
                if first["drop"] is not None:
                    yield _Obtained(numbers, error=DataError(Drop(first["drop"])))
                    continue
                self._counts.images += 1
                try:
                    payload = reader.read(
                        first["image_file"], first["image_offset"], first["image_length"]
                    )
                    if payload.opt_out is not None and not self._unit.keep_opted_out:
                        raise DataError(Drop.OPTED_OUT_IMAGE, payload.opt_out)
                except DataError as error:
                    yield _Obtained(numbers, error=error)
                else:
                    yield _Obtained(numbers, payload.data, payload.opt_out)

    def _from_web(self) -> Iterator[_Obtained]:
        """Yield the shard's images as they come; each URL is asked for once."""
        from webpairs.obtain.web import Fetched

        self._table = table = pq.read_table(self._unit.candidates)
        hashes = table.column("hash_given").to_pylist()
        wanted_by: dict[str, list[int]] = {}
        for number, url in enumerate(table.column("url").to_pylist()):
            wanted_by.setdefault(url, []).append(number)
        urls = list(wanted_by)
        self._counts.images = len(urls)
        for place, outcome in self._link.fetch(urls, SHARD_DEADLINE_S):
            numbers = wanted_by[urls[place]]
            if not isinstance(outcome, Fetched):
                facts = {"http_status": outcome.status, "final_url": outcome.url}
                yield _Obtained(numbers, facts=facts, error=outcome)
                continue
            connect_s, first_byte_s, receive_s = outcome.seconds
            self._connect_s += connect_s
            self._first_byte_s += first_byte_s
            self._receive_s += receive_s
            facts = {
                "final_url": outcome.url,
                "http_status": outcome.status,
                "fetch_date": outcome.date_ms,
                "permissions": outcome.permissions,
            }
            wrong = self._hashes.wrong({n: hashes[n] for n in numbers}, outcome.data)
            for number, error in wrong.items():
                yield _Obtained([number], facts=facts, error=error)
            right = [number for number in numbers if number not in wrong]
            if right:
                yield _Obtained(right, outcome.data, outcome.opt_out, facts)

    def _decode(self, pool: ThreadPoolExecutor, images: Iterable[_Obtained]) -> Iterator[_Asked]:
        """Yield images in the order they come, decoded or failed, a bounded number ahead."""
        ahead: deque[_Asked] = deque()
        preprocess = None if self._unit.threshold is None else self._link.preprocess
        for obtained in images:
            data, facts = obtained.data, obtained.facts
            if obtained.error is not None:
                future: Future[_Picture] = Future()
                future.set_exception(obtained.error)
                ahead.append(_Asked(obtained.numbers, obtained.opt_out, facts, len(data), future))
            else:
                self._counts.image_bytes += len(data)
                for boxes, numbers in self._by_boxes(obtained.numbers).items():
                    future = pool.submit(self._prepare, data, boxes, preprocess)
                    ahead.append(_Asked(numbers, obtained.opt_out, facts, len(data), future))
            while len(ahead) > 2 * self._batch_images or (
                len(ahead) > 1
                and sum(a.num_bytes for a in ahead if not a.picture.done()) > MAX_IN_FLIGHT_BYTES
            ):
                yield ahead.popleft()
        yield from ahead

    def _by_boxes(self, numbers: list[int]) -> dict[tuple[Box, ...], list[int]]:
        """Return the candidates of an image by the boxes that are to be blurred for them."""
        column = self._unit.blur_column
        if column is None:
            return {(): numbers}
        found: dict[tuple[Box, ...], list[int]] = {}
        for number in numbers:
            if self._table is None:
                given = self._streamed[number]["given"]
            else:
                given = self._table.column("given")[number].as_py()
            boxes = () if given is None else read_boxes(orjson.loads(given).get(column))
            found.setdefault(boxes, []).append(number)
        return found

    def _prepare(
        self, data: bytes, boxes: tuple[Box, ...], preprocess: Preprocess | None
    ) -> _Picture:
        """Decode an image and keep what model and tar need of it; runs in a decode thread."""
        clock = time.thread_time()
        rules = self._unit.image_rules
        decoded = decode(data, rules, boxes)
        picture = _Picture(
            pixels=_NO_PIXELS if preprocess is None else preprocess(decoded.rgb),
            stored=store(decoded, data, rules),
            sha256=hashlib.sha256(data).digest(),
            num_bytes=len(data),
            format=decoded.format,
            width=decoded.width,
            height=decoded.height,
        )
        self._decode_s += time.thread_time() - clock
        return picture

    def _finish(self, batch: list[_Asked], writer: ShardWriter) -> None:
        """Embed, judge and write one batch of images with all their texts."""
        before = self._counts.samples, Counter(self._counts.drops)
        pairs: list[_Pair] = []
        dropped: list[_Dropped] = []
        pictures: list[_Picture] = []
        numbers = [number for asked in batch for number in asked.numbers]
        rows = dict(zip(numbers, self._rows(numbers), strict=True))
        for asked in batch:
            # Not raised here: its traceback would hold this batch, and the batch it.
            error = asked.picture.exception()
            if isinstance(error, DataError):
                dropped += [
                    (number, {**rows[number], **asked.facts}, error, None)
                    for number in asked.numbers
                ]
                continue
            picture = asked.picture.result()
            for number in asked.numbers:
                # What the page said comes first: it was there before anyone asked for the image.
                opt_out = rows[number]["opt_out"] or asked.opt_out
                known = {**rows[number], **asked.facts, "opt_out": opt_out}
                pairs.append((number, known, len(pictures)))
            pictures.append(picture)
        if self._unit.threshold is None:
            self._write_unscored(pairs, pictures, writer)
        else:
            dropped += self._write_scored(pairs, pictures, self._unit.threshold, writer)
        clock = time.perf_counter()
        for number, row, error, score in dropped:
            writer.add_drop(number, drop_row(row, error, score))
            self._counts.drops[error.drop] += 1
        self._counts.candidates += len(numbers)
        self._write_s += time.perf_counter() - clock
        news = self._counts.drops - before[1]
        self._link.report(
            {"done": len(numbers), "samples": self._counts.samples - before[0]}
            | {str(drop): num for drop, num in news.items()}
            | self._hashes.news()
        )

    def _rows(self, numbers: list[int]) -> list[Row]:
        """Return candidates by their row numbers; what was streamed is let go."""
        if self._table is not None:
            return self._table.take(pa.array(numbers, pa.int64())).to_pylist()
        return [self._streamed.pop(number) for number in numbers]

    def _write_unscored(
        self, pairs: list[_Pair], pictures: list[_Picture], writer: ShardWriter
    ) -> None:
        """Write every pair, with the similarity that its table gave."""
        clock = time.perf_counter()
        for number, row, index in pairs:
            stored = pictures[index].stored
            sample = self._sample_row(number, row, pictures[index], row["similarity_given"])
            writer.add_sample(sample, stored.data, stored.extension, None)
            self._counts.samples += 1
        self._write_s += time.perf_counter() - clock

    def _write_scored(
        self, pairs: list[_Pair], pictures: list[_Picture], threshold: float, writer: ShardWriter
    ) -> list[_Dropped]:
        """Embed and judge; write the pairs that are kept and return the others."""
        dropped: list[_Dropped] = []
        image_embeddings, text_embeddings = self._embed(pictures, [row for _, row, _ in pairs])
        clock = time.perf_counter()
        of_pair = image_embeddings[[index for _, _, index in pairs]]
        # Row by row in float64: the sum's order does not depend on how many rows there are.
        similarity = (of_pair.astype(np.float64) * text_embeddings.astype(np.float64)).sum(axis=1)
        for pair, drop, score, image, text in zip(
            pairs,
            judge(similarity, threshold),
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
            stored = picture.stored
            writer.add_sample(sample, stored.data, stored.extension, (image, text))
            self._counts.samples += 1
        self._write_s += time.perf_counter() - clock
        return dropped

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

    def _sample_row(
        self, number: int, row: Row, picture: _Picture, similarity: float | None
    ) -> Row:
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
            "NSFW": row["nsfw_given"],
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
