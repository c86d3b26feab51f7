"""Where the images of a shard come from: the web, in the order of its answers, or the archive.

A source yields `Obtained` for images that are not finished yet, and hands out the candidates that
want them. What its shard's journal has is left out, and is not asked for again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, cast

import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.build.hash_check import compare_hashes
from webpairs.build.journal import ShardJournal
from webpairs.drops import Drop
from webpairs.engine.link import Link
from webpairs.errors import DataError
from webpairs.image.limits import MAX_IMAGE_BYTES
from webpairs.obtain.archive import ArchiveReader
from webpairs.run_folder.rows import Candidate, Facts

if TYPE_CHECKING:
    from webpairs.build.build_shard import BuildUnit
    from webpairs.obtain.fetcher import Outcome

READ_ROWS: Final = 1_024
SHARD_DEADLINE_S: Final = 3 * 3600.0
"""What a shard has not begun to fetch by then ends as `timeout`. At the default rate a host can be
asked for 80,000 images in that time, more than a shard has."""


@dataclass(frozen=True, slots=True)
class Obtained:
    """What came of asking for one image: `data`, or the `error` instead."""

    numbers: list[int]
    """Rows of the candidates that want it."""
    data: bytes = b""
    opt_out: str | None = None
    """The opt-out of the image's answer that the rows are kept in spite of."""
    facts: Facts = field(default_factory=Facts)
    """Columns that are known only now."""
    error: DataError | None = None
    hash_right: bool | None = None
    """Whether it has the hash that its table gives; at the last of several for one URL."""


class ImageSource(Protocol):
    """The images of one shard that are not finished yet."""

    num_images: int
    """Distinct images of the whole shard, those of the journal included; complete at the end."""

    def __iter__(self) -> Iterator[Obtained]:
        """Yield images as they come."""
        ...

    def rows(self, numbers: Sequence[int]) -> list[Candidate]:
        """Return candidates by their row numbers; each is asked for once."""
        ...

    def given(self, number: int) -> str | None:
        """Return the column `given` of a candidate that `rows` was not asked for yet."""
        ...

    def finished(self, numbers: Sequence[int]) -> None:
        """Let go of what came of these candidates: it is with the shard's writer."""
        ...

    def seconds(self) -> dict[str, float]:
        """Return where the time of requests went, many at a time."""
        ...


class ArchiveImages:
    """Images out of crawl files, in the order of the shard's rows, which is that of the archive."""

    def __init__(self, unit: BuildUnit, done: frozenset[int]) -> None:
        self._unit = unit
        self._done = done
        self._streamed: dict[int, Candidate] = {}
        """Candidates that were read and are not written yet."""
        self.num_images = 0

    def __iter__(self) -> Iterator[Obtained]:
        """Yield the images in order."""
        paths = dict(self._unit.archive or ())
        with ArchiveReader(paths, MAX_IMAGE_BYTES, self._unit.ignored_signals) as reader:
            for group in _images(self._unit.candidates):
                first = group[0][1]
                self.num_images += first["drop"] is None
                rows = [row for row in group if row[0] not in self._done]
                if rows:
                    self._streamed.update(rows)
                    yield self._obtain(reader, [number for number, _ in rows], first)

    def rows(self, numbers: Sequence[int]) -> list[Candidate]:
        """Return candidates by their row numbers, and let go of them."""
        return [self._streamed.pop(number) for number in numbers]

    def given(self, number: int) -> str | None:
        """Return the column `given` of a candidate."""
        return self._streamed[number]["given"]

    def finished(self, numbers: Sequence[int]) -> None:
        """Let go of nothing: the archive is read again from any place."""

    def seconds(self) -> dict[str, float]:
        """Return nothing: no requests are made."""
        return {}

    def _obtain(self, reader: ArchiveReader, numbers: list[int], first: Candidate) -> Obtained:
        if first["drop"] is not None:
            return Obtained(numbers, error=DataError(Drop(first["drop"])))
        file, offset, length = first["image_file"], first["image_offset"], first["image_length"]
        # Every candidate that the archive join did not drop has a record.
        assert file is not None
        assert offset is not None
        assert length is not None
        try:
            payload = reader.read(file, offset, length)
            if payload.opt_out is not None and not self._unit.keep_opted_out:
                raise DataError(Drop.OPTED_OUT_IMAGE, payload.opt_out)
        except DataError as error:
            return Obtained(numbers, error=error)
        return Obtained(numbers, payload.data, payload.opt_out)


class WebImages:
    """Images from the web, in the order of the answers; each URL is asked for once.

    An answer that an earlier, stopped run received is taken from the journal's folder instead.
    """

    def __init__(
        self, unit: BuildUnit, done: frozenset[int], link: Link, journal: ShardJournal
    ) -> None:
        self._link = link
        from webpairs.obtain.received import ReceivedAnswers

        self._received = ReceivedAnswers(journal.received)
        self._check_hashes = unit.check_hashes
        self._forget_later = journal.forget_later
        self._table = table = pq.read_table(unit.candidates)
        self._hashes: list[str | None] = table.column("hash_given").to_pylist()
        self._urls: list[str] = table.column("url").to_pylist()
        self._wanted_by: dict[str, list[int]] = {}
        for number, url in enumerate(self._urls):
            if number not in done:
                self._wanted_by.setdefault(url, []).append(number)
        self._num_left = Counter({url: len(wants) for url, wants in self._wanted_by.items()})
        self.num_images = len(set(self._urls))
        self._seconds = {"connect": 0.0, "first_byte": 0.0, "receive": 0.0}

    def __iter__(self) -> Iterator[Obtained]:
        """Yield the images as answers come, those that are there already first."""
        missing = dict.fromkeys(self._wanted_by)
        for url, outcome in self._received.replay(set(missing)):
            del missing[url]
            yield from self._obtained(url, outcome)
        to_ask = list(missing)
        for place, outcome in self._link.fetch(to_ask, SHARD_DEADLINE_S, self._received):
            yield from self._obtained(to_ask[place], outcome)

    def rows(self, numbers: Sequence[int]) -> list[Candidate]:
        """Return candidates by their row numbers."""
        rows = self._table.take(pa.array(numbers, pa.int64())).to_pylist()
        return cast("list[Candidate]", rows)

    def given(self, number: int) -> str | None:
        """Return the column `given` of a candidate."""
        return self._table.column("given")[number].as_py()

    def finished(self, numbers: Sequence[int]) -> None:
        """Let the journal forget the answers that these candidates were the last to want."""
        for number in numbers:
            url = self._urls[number]
            self._num_left[url] -= 1
            if not self._num_left[url]:
                self._forget_later(partial(self._received.finished, url))

    def seconds(self) -> dict[str, float]:
        """Return the sums over requests."""
        return self._seconds

    def _obtained(self, url: str, outcome: Outcome) -> Iterator[Obtained]:
        """Yield what came of a URL: candidates whose table names another hash stand apart."""
        from webpairs.obtain.fetcher import Fetched

        numbers = self._wanted_by[url]
        if not isinstance(outcome, Fetched):
            facts: Facts = {"http_status": outcome.status, "final_url": outcome.url}
            yield Obtained(numbers, facts=facts, error=outcome)
            return
        for name, seconds in zip(self._seconds, outcome.seconds, strict=True):
            self._seconds[name] += seconds
        facts = {
            "final_url": outcome.url,
            "http_status": outcome.status,
            "fetch_date": outcome.date_ms,
            "permissions": outcome.permissions,
        }
        wrong, is_right = compare_hashes(
            self._check_hashes, {number: self._hashes[number] for number in numbers}, outcome.data
        )
        right = [number for number in numbers if number not in wrong]
        parts = [Obtained([number], facts=facts, error=error) for number, error in wrong.items()]
        if right:
            parts.append(Obtained(right, outcome.data, outcome.opt_out, facts))
        yield from parts[:-1]
        yield replace(parts[-1], hash_right=is_right)


def _images(candidates: Path) -> Iterator[list[tuple[int, Candidate]]]:
    """Yield the candidates that want the same image, in row order.

    Rows stand in the order of the archive, so those of one image are neighbours; a candidate that
    was dropped before reading stands alone.
    """
    group: list[tuple[int, Candidate]] = []
    number = 0
    with pq.ParquetFile(candidates) as file:
        for batch in file.iter_batches(READ_ROWS):
            for row in cast("list[Candidate]", batch.to_pylist()):
                if group and not _same_image(group[0][1], row):
                    yield group
                    group = []
                group.append((number, row))
                number += 1
    if group:
        yield group


def _same_image(one: Candidate, other: Candidate) -> bool:
    return (
        one["drop"] is None
        and other["drop"] is None
        and one["image_file"] == other["image_file"]
        and one["image_offset"] == other["image_offset"]
    )
