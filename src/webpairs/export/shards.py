"""Writing some output shards that follow each other: the unit of work of an export.

Their rows are read in one pass over the source, in its order. Where that is the order of the
output, the samples go straight to the exporter; shuffled ones are put in order on disk first.
"""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from webpairs.dataset.columns import Piece
from webpairs.dataset.dataset import Dataset
from webpairs.dataset.open_shards import OneShard
from webpairs.dataset.order import Permutation
from webpairs.dataset.problems import Found, Problem, Problems
from webpairs.dataset.sources.source import Rows
from webpairs.dataset.view import GetShard, View
from webpairs.engine.link import Link
from webpairs.errors import RunError
from webpairs.export.exporter import Batch, Exporter, OutputShard, Target
from webpairs.export.options import ExportOptions
from webpairs.export.reorder import reordering
from webpairs.files import write_json

WORK: Final = ".export"
"""Folder of the marks of shards that are written; removed at the end."""
UNREADABLE: Final = "unreadable"
"""Rows that the source counts and cannot read, such as all of a shard that is damaged."""
IMAGE_BUCKET_ROWS: Final = 512
BUCKET_ROWS: Final = 4_096
"""Samples that are put in order in memory: 8 MB, of images at 256 pixels or of embeddings."""
_LEFT_OUT: Final = (Problem.NO_IMAGE, Problem.NO_EMBEDDING)
"""Rows that the source has and does not hand out."""


@dataclass(frozen=True, slots=True)
class ShardsUnit:
    """Output shards from `first` to before `end`, and their rows."""

    module: str
    """Of the format."""
    options: ExportOptions
    dataset: Dataset
    offsets: Rows
    """(shards of the source + 1,): where each begins in the numbers of rows."""
    target: Target
    num_shards: int
    """Of the whole target."""
    first: int
    end: int

    @property
    def numbers(self) -> range:
        """Return the numbers of its shards."""
        return range(self.first, self.end)


def mark_of(target: Target, number: int) -> Path:
    """Return the file that says that a shard is written."""
    return target.folder / WORK / f"{number:05d}.json"


def rows_of(target: Target, number: int, offsets: Rows) -> int:
    """Return how many rows an output shard is to have."""
    size = target.samples_per_shard
    return min(size, int(offsets[-1]) - number * size)


def load_exporter(module: str, options: ExportOptions) -> Exporter:
    """Return the exporter of a format; its module is imported here."""
    return importlib.import_module(module).exporter(options)


def write_shards(unit: ShardsUnit, link: Link) -> dict[str, int]:
    """Write shards and their marks, those that have one left alone.

    Returns what was found wrong with the source.
    """
    numbers = [n for n in unit.numbers if not mark_of(unit.target, n).exists()]
    if not numbers:
        return {}
    rows = _UnitRows(unit, numbers[0], numbers[-1] + 1)
    exporter = load_exporter(unit.module, unit.options)
    with ExitStack() as stack:
        if unit.options.shuffle is None:
            batches_of = _Split(rows.pieces(), unit.target.samples_per_shard).shard
        else:
            batches_of = stack.enter_context(_shuffled(rows, unit.target, link))
        for place, number in enumerate(numbers):
            shard = OutputShard(unit.target, number, unit.num_shards)
            exporter.write_shard(shard, _reported(batches_of(place), link))
            rows.account(shard, place, rows_of(unit.target, number, unit.offsets))
            _write_mark(shard)
    return rows.problems.counts()


@contextmanager
def _shuffled(
    rows: _UnitRows, target: Target, link: Link
) -> Generator[Callable[[int], Iterator[Batch]]]:
    """Read all samples and give a function that hands out those of a shard in their order."""
    size = target.samples_per_shard
    bucket_rows = min(size, IMAGE_BUCKET_ROWS if target.images else BUCKET_ROWS)
    with reordering(target.folder / WORK, rows.num_rows, bucket_rows) as reorder:
        for batch, positions in rows.pieces():
            reorder.add(batch, positions)
            link.report({"read": batch.num_rows})
        reorder.flush()
        yield lambda place: reorder.between(place * size, (place + 1) * size)


def _write_mark(shard: OutputShard) -> None:
    facts = {
        "samples": shard.num_samples,
        "bytes": shard.num_bytes,
        "skipped": dict(shard.skipped),
        "noted": dict(shard.noted),
        "listed": shard.listed,
        "facts": shard.facts,
    }
    write_json(mark_of(shard.target, shard.number), facts)


def _reported(batches: Iterator[Batch], link: Link) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        link.report({"done": batch.num_rows})


class _Split:
    """Handing out batches that come in order shard by shard; those that span two are cut."""

    def __init__(self, pieces: Iterator[tuple[Batch, Rows]], size: int) -> None:
        self._pieces = pieces
        self._size = size
        self._pending: tuple[Batch, Rows] | None = None

    def shard(self, place: int) -> Iterator[Batch]:
        """Yield the samples of a shard; to be asked for one shard after the other."""
        while True:
            if self._pending is None:
                self._pending = next(self._pieces, None)
                if self._pending is None:
                    return
            batch, positions = self._pending
            num = int(np.searchsorted(positions, (place + 1) * self._size))
            if num == len(positions):
                self._pending = None
                yield batch
                continue
            self._pending = batch.part(num), positions[num:]
            if num:
                yield batch.part(0, num)
            return


class RowProblems(Problems):
    """Remembering which rows had a problem, until they are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[tuple[str, int, Found]] = []

    def of_row(self, problem: Problem, shard: str, row: int, key: str, detail: str = "") -> None:
        """Note the problem of one row."""
        super().of_row(problem, shard, row, key, detail)
        self._rows.append((shard, row, Found(problem, shard, key, detail)))

    def taken(self) -> list[tuple[str, int, Found]]:
        """Return shard, row and problem of those that were not asked for yet."""
        taken, self._rows = self._rows, []
        return taken


class _UnitRows(View):
    """Taking the rows of some output shards that follow each other."""

    def __init__(self, unit: ShardsUnit, first: int, end: int) -> None:
        source = unit.dataset.source
        self.source = source
        self.problems = RowProblems()
        self._parent = unit.dataset.view
        self._offsets = unit.offsets
        self._target = unit.target
        self._size = unit.target.samples_per_shard
        shards = OneShard(source, tuple(unit.dataset.features))
        shards.problems = self.problems
        self._dataset = Dataset(self, shards)
        self._place_of = {name: place for place, name in enumerate(source.names)}
        self._found: defaultdict[int, list[Found]] = defaultdict(list)
        """Problems of rows by the output shard they belong to."""
        self._told: set[str] = set()
        num_rows = int(unit.offsets[-1])
        numbers = np.arange(first * self._size, min(num_rows, end * self._size))
        self.num_rows = len(numbers)
        self._order: Rows | None = None
        """Position of each picked row; None: as they rise."""
        if unit.options.shuffle is not None:
            numbers = Permutation(num_rows, unit.options.shuffle)(numbers)
            self._order = np.argsort(numbers)
            numbers = numbers[self._order]
        self._picked = numbers
        self._starts = np.searchsorted(self._picked, self._offsets)

    def rows(self, place: int, open_shard: GetShard) -> Rows | None:
        """Return the picked rows that a shard of the source really has."""
        start, end = self._starts[place : place + 2]
        here = self._picked[start:end] - self._offsets[place]
        if not len(here):
            return here
        within = self._parent.rows(place, open_shard)
        if within is None:
            return here[here < open_shard(place).num_rows]
        return within[here[here < len(within)]]

    def count(self, place: int, open_shard: GetShard) -> int:
        """Return how many rows of a shard were picked."""
        return int(self._starts[place + 1] - self._starts[place])

    def pieces(self) -> Iterator[tuple[Batch, Rows]]:
        """Yield samples in the source's order, and their positions, from the first shard's on."""
        target = self._target
        schema = target.schema
        assert schema is not None
        pieces = self._dataset.pieces(
            schema.names,
            images=target.images,
            embeddings=target.embeddings,
            places=np.flatnonzero(np.diff(self._starts)).tolist(),
        )
        for piece in pieces:
            self._take_problems()
            yield _batch(piece, schema), self._positions(piece.place, piece.rows)
        self._take_problems()

    def account(self, shard: OutputShard, place: int, num_rows: int) -> None:
        """Add to what was skipped the rows that were not handed out, so that all add up."""
        for found in self._found.pop(place, ()):
            if found.problem in _LEFT_OUT:
                shard.skip(str(found.problem), found.key, found.detail)
            else:
                shard.noted[str(found.problem)] += 1
        left = num_rows - shard.num_samples - shard.skipped.total()
        if not left:
            return
        shard.skipped[UNREADABLE] += left
        for found in self.problems.listed():
            detail = f"{found.shard}: {found.problem}"
            if not found.key and detail not in self._told:
                self._told.add(detail)
                shard.listed.append((UNREADABLE, "", detail))

    def _take_problems(self) -> None:
        for name, row, found in self.problems.taken():
            position = self._positions(self._place_of[name], np.array([row]))[0]
            self._found[int(position) // self._size].append(found)

    def _positions(self, place: int, rows: Rows) -> Rows:
        """Return the positions in the output of rows of a shard of the source."""
        within = self._parent.rows(place, self._dataset.shard)
        numbers = rows if within is None else np.searchsorted(within, rows)
        picked = np.searchsorted(self._picked, numbers + self._offsets[place])
        return picked if self._order is None else self._order[picked]


def _batch(piece: Piece, schema: pa.Schema) -> Batch:
    image, text = piece.image_embeddings, piece.text_embeddings
    return Batch(
        _cast(piece.table, schema),
        piece.images,
        None if image is None else np.ascontiguousarray(image),
        None if text is None else np.ascontiguousarray(text),
    )


def _cast(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return the columns with the types that all shards are to have."""
    try:
        return table.select(schema.names).cast(schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        types = zip(table.schema, schema, strict=True)
        differing = [f"{old.name} ({old.type}, {new.type})" for old, new in types if old != new]
        raise RunError(
            f"columns have other types in other shards: {', '.join(differing)}: leave them out of "
            f"--columns ({error})"
        ) from error
