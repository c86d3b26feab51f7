"""Write a dataset, or the part of it that is wanted, in another format.

Rows are numbered as `len` counts them; output shard s has the rows [s*n, (s+1)*n), or, shuffled,
the rows that a seeded permutation has at these positions. A shard that is written leaves its mark
`.export/NNNNN.json`; the same line typed again goes on with those that have none, and another line
into the same folder is refused. At the end `export_report.json` holds the counts: rows = samples
written + samples skipped, by reason. Each config has a folder and these files of its own.
`exporter.py` says how a format plugs in.
"""

from __future__ import annotations

import importlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from webpairs import __version__
from webpairs.coordinator import CoordinatorLink
from webpairs.engine.link import Link
from webpairs.engine.local import run_units
from webpairs.errors import ConfigError, RunError
from webpairs.files import is_leftover, remove_leftovers, write_json
from webpairs.funnel import read_json
from webpairs.load.dataset import IMAGE_PIECE_ROWS, Dataset, Piece, open_dataset
from webpairs.load.export_options import FORMATS, ExportOptions
from webpairs.load.exporter import (
    NUM_LISTED,
    Batch,
    Exporter,
    OutputShard,
    Target,
    TargetReport,
    check_columns,
    schema_of,
)
from webpairs.load.permutation import Permutation
from webpairs.load.problems import Problem
from webpairs.load.source import PIECE_ROWS, Embeddings, Rows
from webpairs.load.view import GetShard, View
from webpairs.options import resolve_workers
from webpairs.progress import RunProgress, StageTotal
from webpairs.run_folder import explained, locked

FORMAT: Final = 1
REPORT: Final = "export_report.json"
WORK: Final = ".export"
"""Marks of the shards that are written; removed at the end."""
_COUNTED_ALONE: Final = 64
"""Shards of the source whose rows are counted without starting processes for it."""
_LEFT_OUT: Final = (Problem.NO_IMAGE, Problem.NO_EMBEDDING)
"""Rows that the source has and does not hand out."""
_UNREADABLE: Final = "unreadable"
"""Rows that the source counts and cannot read, such as all of a shard that is damaged."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """Say what `export_dataset` wrote."""

    reports: tuple[TargetReport, ...]
    finished_before: bool
    """Whether there was nothing left to do."""
    problems: dict[str, int]
    """What was found wrong with the source, of this run."""


@dataclass(frozen=True, slots=True)
class ShardUnit:
    """Name one output shard and its rows."""

    module: str
    """Of the format."""
    options: ExportOptions
    dataset: Dataset
    offsets: Rows
    """(shards of the source + 1,): where each begins in the numbers of rows."""
    target: Target
    number: int
    num_shards: int
    start: int
    end: int
    """Its positions in the output."""

    @property
    def mark(self) -> Path:
        """Return the file that says that it is written."""
        return self.target.folder / WORK / f"{self.number:05d}.json"


def export_dataset(options: ExportOptions, progress: RunProgress | None = None) -> ExportResult:
    """Write a dataset in another format, or go on with it; return what was written.

    Raises ConfigError before any work for what cannot be done, and where another export is in the
    folder; RunError when the run cannot go on. Stopped at any instant and called again, it ends
    with the same files, whatever the number of workers.
    """
    progress = progress or RunProgress(quiet=True)
    dataset = open_dataset(options.source)
    if options.where is not None:
        dataset = dataset.where(options.where)
    check_columns(dataset, options.columns or ())
    exporter = load_exporter(FORMATS[options.to], options)
    targets = [_planned(target, dataset, options) for target in exporter.targets(dataset)]
    link, workers = CoordinatorLink(progress), resolve_workers(options.workers)
    counts = _count_rows(dataset, workers, link)
    _check_rows(counts, dataset, options)
    for target in targets:
        _check_folder(target.folder, options)
    with explained(Path(options.out)), ExitStack() as stack:
        for target in targets:
            (target.folder / WORK).mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(target.folder / WORK))
        plans = [_start_or_resume(t, _plan(options, dataset, t, counts)) for t in targets]
        units = [
            _units(options, dataset, target, counts)
            for target, plan in zip(targets, plans, strict=True)
            if plan["finished"] is None
        ]
        problems = _write_shards([unit for some in units for unit in some], workers, progress, link)
        written = {some[0].target.config: _report(some) for some in units}
        reports = tuple(
            written.get(target.config) or _report_of(target, plan)
            for target, plan in zip(targets, plans, strict=True)
        )
        if units:
            exporter.finish(reports)
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        for report, plan in zip(reports, plans, strict=True):
            if plan["finished"] is None:
                facts = {**plan, "finished": finished, **_report_json(report)}
                write_json(report.target.folder / REPORT, facts)
            shutil.rmtree(report.target.folder / WORK, ignore_errors=True)
    return ExportResult(reports, not units, problems)


def load_exporter(module: str, options: ExportOptions) -> Exporter:
    """Return the exporter of a format; its module is imported here."""
    return importlib.import_module(module).exporter(options)


def write_shard_unit(unit: ShardUnit, link: Link) -> dict[str, int]:
    """Write one shard and its mark, unless it has one; return what was wrong with the source."""
    if unit.mark.exists():
        return {}
    exporter = load_exporter(unit.module, unit.options)
    shard = OutputShard(unit.target, unit.number, unit.num_shards)
    rows = _UnitRows(unit)
    dataset = Dataset(rows)
    exporter.write_shard(shard, _counted(rows.batches(dataset), link))
    _account(shard, dataset, unit.end - unit.start)
    write_json(
        unit.mark,
        {
            "samples": shard.num_samples,
            "bytes": shard.num_bytes,
            "skipped": dict(shard.skipped),
            "noted": dict(shard.noted),
            "listed": shard.listed,
            "facts": shard.facts,
        },
    )
    return dataset.problems.counts()


def count_unit(unit: tuple[Dataset, range], link: Link) -> list[int]:
    """Return how many rows of a dataset each of some shards has."""
    dataset, places = unit
    return [dataset.view.count(place, dataset.shard) for place in places]


class _UnitRows(View):
    """Take the rows of one output shard, and hand them out in the order they have there."""

    def __init__(self, unit: ShardUnit) -> None:
        self.source = unit.dataset.source
        self._parent = unit.dataset.view
        self._offsets = unit.offsets
        self._target = unit.target
        numbers = np.arange(unit.start, unit.end)
        self._shuffled = unit.options.shuffle is not None
        if unit.options.shuffle is not None:
            numbers = Permutation(int(unit.offsets[-1]), unit.options.shuffle)(numbers)
        self._order = np.argsort(numbers)
        """Position in the shard of each picked row."""
        self._picked = numbers[self._order]
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

    def batches(self, dataset: Dataset) -> Iterator[Batch]:
        """Yield the samples in the order of the output shard."""
        schema = self._target.schema
        assert schema is not None
        pieces = dataset.pieces(
            schema.names,
            images=self._target.images,
            embeddings=self._target.embeddings,
            places=np.flatnonzero(np.diff(self._starts)).tolist(),
        )
        if self._shuffled:
            yield from self._reordered(pieces, dataset, schema)
            return
        for piece in pieces:
            pair = None
            if piece.image_embeddings is not None and piece.text_embeddings is not None:
                pair = piece.image_embeddings, piece.text_embeddings
            yield _batch(_cast(piece.table, schema), piece.images, pair)

    def _reordered(
        self, pieces: Iterator[Piece], dataset: Dataset, schema: pa.Schema
    ) -> Iterator[Batch]:
        """Yield samples that were read in the source's order as they follow in the shard."""
        tables: list[pa.Table] = []
        images: list[bytes] = []
        pairs: list[tuple[Embeddings, Embeddings]] = []
        positions: list[Rows] = []
        for piece in pieces:
            tables.append(_cast(piece.table, schema))
            images += piece.images or ()
            if piece.image_embeddings is not None and piece.text_embeddings is not None:
                # Copies: what is mapped is let go of when the next piece is asked for.
                pairs.append((np.array(piece.image_embeddings), np.array(piece.text_embeddings)))
            positions.append(self._positions(dataset, piece.place, piece.rows))
        if not tables:
            return
        table = pa.concat_tables(tables)
        both = [np.concatenate(side) for side in zip(*pairs, strict=True)]
        order = np.argsort(np.concatenate(positions))
        size = IMAGE_PIECE_ROWS if self._target.images else PIECE_ROWS
        for start in range(0, len(order), size):
            part = order[start : start + size]
            yield _batch(
                table.take(pa.array(part)),
                [images[row] for row in part.tolist()] if self._target.images else None,
                (both[0][part], both[1][part]) if both else None,
            )

    def _positions(self, dataset: Dataset, place: int, rows: Rows) -> Rows:
        """Return where in the output shard these rows of a shard of the source go."""
        within = self._parent.rows(place, dataset.shard)
        numbers = rows if within is None else np.searchsorted(within, rows)
        return self._order[np.searchsorted(self._picked, numbers + self._offsets[place])]


def _batch(
    table: pa.Table, images: list[bytes] | None, pair: tuple[Embeddings, Embeddings] | None
) -> Batch:
    if pair is None:
        return Batch(table, images, None, None)
    return Batch(table, images, np.ascontiguousarray(pair[0]), np.ascontiguousarray(pair[1]))


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


def _counted(batches: Iterator[Batch], link: Link) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        link.report({"done": batch.num_rows})


def _account(shard: OutputShard, dataset: Dataset, num_rows: int) -> None:
    """Add to what was skipped the rows that the source did not hand out, so that all add up."""
    counts = dataset.problems.counts()
    for problem in _LEFT_OUT:
        if counts.get(problem):
            shard.skipped[str(problem)] += counts[problem]
    for found in dataset.problems.listed():
        if found.problem in _LEFT_OUT:
            shard.listed.append((str(found.problem), found.key, found.detail))
    left = num_rows - shard.num_samples - shard.skipped.total()
    if left:
        shard.skipped[_UNREADABLE] += left
        for found in dataset.problems.listed():
            if not found.key:
                shard.listed.append((_UNREADABLE, "", f"{found.shard}: {found.problem}"))
    if corrupt := counts.get(Problem.ROW_CORRUPT):
        shard.noted[str(Problem.ROW_CORRUPT)] += corrupt


def _count_rows(dataset: Dataset, workers: int, link: CoordinatorLink) -> npt.NDArray[np.int64]:
    """Return how many rows of the dataset each shard of the source has."""
    num = len(dataset.source.names)
    if num <= _COUNTED_ALONE:
        return np.array(count_unit((dataset, range(num)), link), np.int64)
    size = max(1, num // (4 * workers))
    units = [(dataset, range(start, min(num, start + size))) for start in range(0, num, size)]
    counts = np.zeros(num, np.int64)
    with closing(run_units(count_unit, units, workers=workers, link=link)) as results:
        for position, found in results:
            counts[units[position][1]] = found
    return counts


def _check_rows(counts: Rows, dataset: Dataset, options: ExportOptions) -> None:
    """Raise ConfigError where there is nothing to write."""
    if counts.sum():
        return
    source = dataset.source
    if options.where is not None:
        num = sum(map(source.num_rows, range(len(source.names))))
        raise ConfigError(
            f"--where {options.where} matches none of the {num:,} samples of {source.folder}"
        )
    raise ConfigError(f"{source.folder} ({source.kind}) has no samples")


def _planned(target: Target, dataset: Dataset, options: ExportOptions) -> Target:
    size = options.samples_per_shard or target.samples_per_shard
    return replace(
        target,
        samples_per_shard=size,
        schema=schema_of(dataset, target.columns),
        embedding_size=dataset.source.embedding_size,
    )


def _plan(options: ExportOptions, dataset: Dataset, target: Target, counts: Rows) -> dict[str, Any]:
    """Return what decides on the files: another export must not go on with this one's."""
    source = dataset.source
    names = "\0".join(source.names).encode()
    return {
        "format": FORMAT,
        "webpairs": __version__,
        "to": options.to,
        "name": options.name,
        "config": target.config,
        "where": options.where,
        "columns": list(target.columns),
        "shuffle": options.shuffle,
        "samples_per_shard": target.samples_per_shard,
        "source": {
            "folder": source.folder.resolve().name,
            "kind": source.kind,
            "shards": len(source.names),
            "rows": int(counts.sum()),
            "digest": blake2b(names + counts.tobytes(), digest_size=16).hexdigest(),
        },
        "finished": None,
    }


def _check_folder(folder: Path, options: ExportOptions) -> None:
    """Raise ConfigError for a folder that is in the source, or somebody else's."""
    source, where = Path(options.source).resolve(), folder.resolve()
    if source == where or source in where.parents or where in source.parents:
        raise ConfigError(
            f"--out {options.out} and the source {options.source} lie in each other: "
            "name a folder elsewhere"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strangers = [
            path.name for path in folder.iterdir() if path.name != WORK and not is_leftover(path)
        ]
    except OSError as error:
        raise ConfigError(f"cannot write to --out {options.out}: {error.strerror}") from error
    if strangers and not (folder / REPORT).exists():
        raise ConfigError(
            f"{folder} holds other files ({', '.join(sorted(strangers)[:3])}): "
            "name a new or empty folder"
        )


def _start_or_resume(target: Target, plan: dict[str, Any]) -> dict[str, Any]:
    """Write the plan as the report of an export that is under way, or compare it with what is."""
    there = read_json(target.folder / REPORT)
    if there is None:
        write_json(target.folder / REPORT, plan)
        return plan
    differences = [
        f"  {name}: there {old}, asked {new}"
        for name, old, new in _flat(there, plan)
        if old != new and name not in ("webpairs", "finished")
    ]
    if differences:
        raise ConfigError(
            f"{target.folder} holds another export; ask for the same, or name another --out:\n"
            + "\n".join(differences)
        )
    if there["finished"] is None:
        remove_leftovers(target.folder)
    return there


def _flat(there: Mapping[str, Any], plan: Mapping[str, Any]) -> Iterable[tuple[str, Any, Any]]:
    for name, new in plan.items():
        old = there.get(name)
        if isinstance(new, dict):
            theirs = old if isinstance(old, dict) else {}
            for key in sorted({*new, *theirs}):
                yield f"{name} {key}", theirs.get(key), new.get(key)
        else:
            yield name, old, new


def _units(
    options: ExportOptions, dataset: Dataset, target: Target, counts: Rows
) -> list[ShardUnit]:
    offsets = np.concatenate([[0], np.cumsum(counts)])
    num_rows, size = int(offsets[-1]), target.samples_per_shard
    num_shards = -(-num_rows // size)
    return [
        ShardUnit(
            module=FORMATS[options.to],
            options=options,
            dataset=dataset,
            offsets=offsets,
            target=target,
            number=number,
            num_shards=num_shards,
            start=number * size,
            end=min(num_rows, (number + 1) * size),
        )
        for number in range(num_shards)
    ]


def _write_shards(
    units: Sequence[ShardUnit], workers: int, progress: RunProgress, link: CoordinatorLink
) -> dict[str, int]:
    """Write the shards that have no mark; return what was found wrong with the source."""
    left = [unit for unit in units if not unit.mark.exists()]
    done = sum(unit.end - unit.start for unit in units) - sum(u.end - u.start for u in left)
    total = sum(unit.end - unit.start for unit in units)
    problems = Counter[str]()
    with (
        progress.stage(StageTotal("export", "samples", total, done)),
        closing(run_units(write_shard_unit, left, workers=workers, link=link)) as results,
    ):
        for _, found in results:
            problems.update(found)
    return dict(problems)


def _report(units: Sequence[ShardUnit]) -> TargetReport:
    """Add up the marks of all shards of a target."""
    marks = [read_json(unit.mark) for unit in units]
    skipped, noted, num_listed = Counter[str](), Counter[str](), Counter[str]()
    listed: list[tuple[str, str, str]] = []
    for mark in marks:
        skipped.update(mark["skipped"])
        noted.update(mark["noted"])
        for reason, key, detail in mark["listed"]:
            num_listed[reason] += 1
            if num_listed[reason] <= NUM_LISTED:
                listed.append((reason, key, detail))
    return TargetReport(
        target=units[0].target,
        num_rows=units[-1].end,
        shard_samples=tuple(mark["samples"] for mark in marks),
        num_bytes=sum(mark["bytes"] for mark in marks),
        skipped=dict(sorted(skipped.items())),
        noted=dict(sorted(noted.items())),
        listed=listed,
        facts=[mark["facts"] for mark in marks],
    )


def _report_json(report: TargetReport) -> dict[str, Any]:
    return {
        "rows": report.num_rows,
        "samples": report.num_samples,
        "skipped": report.skipped,
        "noted": report.noted,
        "bytes": report.num_bytes,
        "shard_samples": report.shard_samples,
        "listed": report.listed,
        "facts": report.facts,
    }


def _report_of(target: Target, there: Mapping[str, Any]) -> TargetReport:
    """Return the report of a target that was finished before."""
    return TargetReport(
        target=target,
        num_rows=there["rows"],
        shard_samples=tuple(there["shard_samples"]),
        num_bytes=there["bytes"],
        skipped=there["skipped"],
        noted=there["noted"],
        listed=[(reason, key, detail) for reason, key, detail in there["listed"]],
        facts=there["facts"],
    )
