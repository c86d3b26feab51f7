"""The fused unit of a build: obtain -> decode -> embed -> judge -> write, one shard at a time.

An image that is dropped never touches the disk. The embedding that is stored comes from the very
decode that was scored, so that `img . txt` is the similarity of every row, within float16.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow.compute as pc

from webpairs.build.hash_check import HashTally
from webpairs.build.journal import ShardJournal
from webpairs.build.judge import judge
from webpairs.build.rows import Picture, drop_row, sample_row
from webpairs.build.shard_writer import GivenColumns, ShardWriter
from webpairs.build.sources import ArchiveImages, ImageSource, Obtained, WebImages
from webpairs.drops import Drop
from webpairs.engine.link import Link, Preprocess
from webpairs.errors import DataError
from webpairs.image.blur import Box, read_boxes
from webpairs.image.decode import ImageRules, decode, store
from webpairs.run_folder.layout import Keys, ShardFiles
from webpairs.run_folder.rows import Facts, KnownCandidate
from webpairs.version import __version__

BATCH_IMAGES: Final = 64
"""Images embedded at once, with their texts: images get no faster from 16 on, texts half as fast
again (17.9 ms a text among 16, 11.6 ms among 64; `benchmarks/clip_pair.py`)."""
UNSCORED_BATCH_IMAGES: Final = 16
"""Images written at once where no model wants many: fewer wait in memory."""
MAX_IN_FLIGHT_BYTES: Final = 8_000_000
"""Received bytes that may wait for decoding, one image of any allowed size apart."""


@dataclass(frozen=True, slots=True)
class BuildUnit:
    """What a shard is made of."""

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
    """Counting what became of a shard's candidates: candidates = samples + sum of drops."""

    candidates: int = 0
    samples: int = 0
    drops: Counter[Drop] = field(default_factory=Counter[Drop])
    images: int = 0
    """Distinct images asked for: several texts of one image count once."""
    image_bytes: int = 0
    texts_embedded: int = 0


@dataclass(frozen=True, slots=True)
class _Asked:
    """An image on its way through the decoder, which alone still holds its bytes."""

    numbers: list[int]
    opt_out: str | None
    facts: Facts
    num_bytes: int
    picture: Future[Picture]
    is_last: bool = True
    """Whether nothing of the same image comes after it: then the image is counted."""
    hash_right: bool | None = None


class _Pair(NamedTuple):
    """A candidate whose image was decoded."""

    number: int
    """Of its row in the shard."""
    row: KnownCandidate
    picture: int
    """Index into the pictures of the batch."""


class _Dropped(NamedTuple):
    """A candidate that ends here."""

    number: int
    row: KnownCandidate
    error: DataError
    similarity: float | None


_NO_PIXELS: Final = np.zeros((0, 0, 3), np.uint8)


def build_shard(unit: BuildUnit, link: Link) -> ShardCounts:
    """Build and commit one shard, or go on with it; return what became of its candidates."""
    name = unit.keys.shard(unit.number)
    started = datetime.now(UTC)
    with (
        ShardJournal(unit.out / "work" / "journal" / name, _identity(unit)) as journal,
        ShardWriter(ShardFiles.of(unit.out, name), unit.given_columns, journal) as writer,
    ):
        builder = _ShardBuilder(unit, link, writer)
        counts = builder.run(journal)
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
                "seconds": {name: round(value, 3) for name, value in builder.seconds().items()},
            }
        )
    return counts


def _identity(unit: BuildUnit) -> str:
    """Return a digest of all that decides on the shard's bytes: what a journal must agree with.

    Weights are not among them: a run with other weights is refused before (`manifest`).
    """
    facts = asdict(unit)
    for name in ("candidates", "out", "archive", "decode_threads"):
        del facts[name]
    with unit.candidates.open("rb") as file:
        facts["candidates"] = hashlib.file_digest(file, "sha256").hexdigest()
    told = orjson.dumps([__version__, facts], default=sorted, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told).hexdigest()


class _ShardBuilder:
    def __init__(self, unit: BuildUnit, link: Link, writer: ShardWriter) -> None:
        self._unit = unit
        self._link = link
        self._writer = writer
        self._counts = ShardCounts()
        self._batch_images = UNSCORED_BATCH_IMAGES if unit.threshold is None else BATCH_IMAGES
        self._text_embeddings: dict[str, npt.NDArray[np.float32]] = {}
        self._hashes = HashTally()
        self._embedded_before: set[str] = set()
        """Texts that an earlier, stopped run embedded: counted once."""
        self._source: ImageSource
        self._started_s = time.perf_counter()
        self._seconds = defaultdict[str, float](float)
        """Seconds by what they were spent on, of the runs before as well."""

    def seconds(self) -> dict[str, float]:
        """Return where the time went: of fetching, the sum over requests, many at a time."""
        total = {"total": time.perf_counter() - self._started_s}
        spent = {"decode": 0.0, "embed": 0.0, "write": 0.0}
        for part in (total, self._seconds, self._source.seconds()):
            spent |= {name: spent.get(name, 0.0) + value for name, value in part.items()}
        return spent

    def hashes(self) -> dict[str, int]:
        """Return how many images had the hash that a table gives, and how many another."""
        return {"right": self._hashes.num_right, "wrong": self._hashes.num_wrong}

    def run(self, journal: ShardJournal) -> ShardCounts:
        done = self._restore()
        if self._unit.archive is None:
            self._source = WebImages(self._unit, done, self._link, journal)
        else:
            self._source = ArchiveImages(self._unit, done)
        batch: list[_Asked] = []
        with ThreadPoolExecutor(self._unit.decode_threads, "decode") as pool:
            for asked in self._decode(pool, self._source):
                batch.append(asked)
                if len(batch) == self._batch_images:
                    self._finish(batch)
                    batch = []
            self._finish(batch)
        self._counts.images = self._source.num_images
        return self._counts

    def _restore(self) -> frozenset[int]:
        """Take over what the journal has; return the row numbers of its candidates."""
        done: set[int] = set()
        for entry in self._writer.restore():
            self._counts.image_bytes = entry.facts["image_bytes"]
            self._hashes.num_right = entry.facts["hashes"]["right"]
            self._hashes.num_wrong = entry.facts["hashes"]["wrong"]
            self._seconds = defaultdict(float, entry.facts["seconds"])
            keys: list[str] = entry.rows.column("key").to_pylist()
            done.update(int(key[-self._unit.keys.row_digits :]) for key in keys)
            done.update(entry.drop_numbers)
            self._counts.samples += len(keys)
            self._counts.drops.update(map(Drop, entry.drops.column("reason").to_pylist()))
            if self._unit.threshold is not None:
                scored = entry.drops.filter(pc.field("similarity").is_valid())
                for column in (entry.rows.column("TEXT"), scored.column("text")):
                    self._embedded_before.update(column.to_pylist())
        self._counts.candidates = len(done)
        self._counts.texts_embedded = len(self._embedded_before)
        if done:
            drops = {str(drop): num for drop, num in self._counts.drops.items()}
            self._link.report(
                {"done": len(done), "samples": self._counts.samples} | drops | self._hashes.news()
            )
        return frozenset(done)

    def _facts(self) -> dict[str, Any]:
        """Return what the journal keeps beside rows."""
        return {
            "image_bytes": self._counts.image_bytes,
            "hashes": self.hashes(),
            "seconds": self.seconds(),
        }

    def _decode(self, pool: ThreadPoolExecutor, images: Iterable[Obtained]) -> Iterator[_Asked]:
        """Yield images in the order they come, decoded or failed, a bounded number ahead."""
        ahead: deque[_Asked] = deque()
        preprocess = None if self._unit.threshold is None else self._link.preprocess
        for obtained in images:
            data, facts, opt_out = obtained.data, obtained.facts, obtained.opt_out
            pictures: list[tuple[list[int], Future[Picture]]]
            if obtained.error is not None:
                future: Future[Picture] = Future()
                future.set_exception(obtained.error)
                pictures = [(obtained.numbers, future)]
            else:
                pictures = [
                    (numbers, pool.submit(self._prepare, data, boxes, preprocess))
                    for boxes, numbers in self._by_boxes(obtained.numbers).items()
                ]
            for numbers, picture in pictures:
                is_last = picture is pictures[-1][1]
                right = obtained.hash_right if is_last else None
                ahead.append(_Asked(numbers, opt_out, facts, len(data), picture, is_last, right))
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
            given = self._source.given(number)
            boxes = () if given is None else read_boxes(orjson.loads(given).get(column))
            found.setdefault(boxes, []).append(number)
        return found

    def _prepare(
        self, data: bytes, boxes: tuple[Box, ...], preprocess: Preprocess | None
    ) -> Picture:
        """Decode an image and keep what model and tar need of it; runs in a decode thread."""
        clock = time.thread_time()
        rules = self._unit.image_rules
        decoded = decode(data, rules, boxes)
        picture = Picture(
            pixels=_NO_PIXELS if preprocess is None else preprocess(decoded.rgb),
            stored=store(decoded, data, rules),
            sha256=hashlib.sha256(data).digest(),
            num_bytes=len(data),
            format=decoded.format,
            width=decoded.width,
            height=decoded.height,
        )
        self._seconds["decode"] += time.thread_time() - clock
        return picture

    def _finish(self, batch: list[_Asked]) -> None:
        """Embed, judge and write one batch of images with all their texts."""
        before = self._counts.samples, Counter(self._counts.drops)
        pairs: list[_Pair] = []
        dropped: list[_Dropped] = []
        pictures: list[Picture] = []
        numbers = [number for asked in batch for number in asked.numbers]
        rows = dict(zip(numbers, self._source.rows(numbers), strict=True))
        for asked in batch:
            # Not raised here: its traceback would hold this batch, and the batch it.
            error = asked.picture.exception()
            if isinstance(error, DataError):
                dropped += [
                    _Dropped(number, {**rows[number], **asked.facts}, error, None)
                    for number in asked.numbers
                ]
                continue
            picture = asked.picture.result()
            for number in asked.numbers:
                # What the page said comes first: it was there before anyone asked for the image.
                opt_out = rows[number]["opt_out"] or asked.opt_out
                known: KnownCandidate = {**rows[number], **asked.facts, "opt_out": opt_out}
                pairs.append(_Pair(number, known, len(pictures)))
            pictures.append(picture)
        if self._unit.threshold is None:
            self._write_unscored(pairs, pictures)
        else:
            dropped += self._write_scored(pairs, pictures, self._unit.threshold)
        clock = time.perf_counter()
        for number, row, error, score in dropped:
            self._writer.add_drop(number, drop_row(row, error, score))
            self._counts.drops[error.drop] += 1
        self._counts.candidates += len(numbers)
        for asked in batch:
            self._counts.image_bytes += asked.num_bytes if asked.is_last else 0
            self._hashes.count(asked.hash_right)
        self._source.finished(numbers)
        self._writer.note(self._facts)
        self._seconds["write"] += time.perf_counter() - clock
        news = self._counts.drops - before[1]
        self._link.report(
            {"done": len(numbers), "samples": self._counts.samples - before[0]}
            | {str(drop): num for drop, num in news.items()}
            | self._hashes.news()
        )

    def _key(self, number: int) -> str:
        return self._unit.keys.sample(self._unit.number, number)

    def _write_unscored(self, pairs: list[_Pair], pictures: list[Picture]) -> None:
        """Write every pair, with the similarity that its table gave."""
        clock = time.perf_counter()
        for number, row, index in pairs:
            stored = pictures[index].stored
            sample = sample_row(self._key(number), row, pictures[index], row["similarity_given"])
            self._writer.add_sample(sample, stored.data, stored.extension, None)
            self._counts.samples += 1
        self._seconds["write"] += time.perf_counter() - clock

    def _write_scored(
        self, pairs: list[_Pair], pictures: list[Picture], threshold: float
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
                dropped.append(_Dropped(number, row, DataError(drop), score))
                continue
            picture = pictures[index]
            sample = sample_row(self._key(number), row, picture, score)
            stored = picture.stored
            self._writer.add_sample(sample, stored.data, stored.extension, (image, text))
            self._counts.samples += 1
        self._seconds["write"] += time.perf_counter() - clock
        return dropped

    def _embed(
        self, pictures: list[Picture], rows: Sequence[KnownCandidate]
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
            self._counts.texts_embedded += len(set(new) - self._embedded_before)
        texts = (
            np.stack([known[row["text"]] for row in rows])
            if rows
            else np.zeros((0, images.shape[1]), np.float32)
        )
        self._seconds["embed"] += time.perf_counter() - clock
        return images, texts
