"""Writing a dataset, or the part of it that is wanted, in another format.

Rows are numbered as `len` counts them; output shard s has the rows [s*n, (s+1)*n), or, shuffled,
the rows that a seeded permutation has at these positions. A shard that is written leaves its mark
`.export/NNNNN.json`; the same line typed again goes on with those that have none, and another line
into the same folder is refused. At the end `export_report.json` holds the counts: rows = samples
written + samples skipped, by reason. Each config has a folder and these files of its own.
`exporter.py` says how a format plugs in.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.checks import resolve_workers
from webpairs.dataset.dataset import Dataset, open_dataset
from webpairs.dataset.sources.source import Rows
from webpairs.engine.link import Link
from webpairs.engine.local import run_units
from webpairs.errors import ConfigError
from webpairs.export.exporter import (
    NUM_LISTED,
    Target,
    TargetReport,
    check_columns,
    schema_of,
)
from webpairs.export.options import FORMATS, ExportOptions
from webpairs.export.shards import (
    WORK,
    ShardsUnit,
    load_exporter,
    mark_of,
    rows_of,
    write_shards,
)
from webpairs.files import is_leftover, remove_leftovers, write_json
from webpairs.progress import RunProgress, StageTotal
from webpairs.quantities import counted
from webpairs.run.link import CoordinatorLink
from webpairs.run_folder.funnel import read_json
from webpairs.run_folder.lock import explained, locked
from webpairs.version import __version__

FORMAT: Final = 1
REPORT: Final = "export_report.json"
_COUNTED_ALONE: Final = 64
"""Shards of the source whose rows are counted without starting processes for it."""
UNITS_A_WORKER: Final = 4
"""So that no worker waits long for the last one. Each unit is a pass over a part of the source."""
MIN_UNIT_ROWS: Final = 50_000
MAX_UNIT_ROWS: Final = 1_000_000
"""Rows of a unit: its numbers are held and sorted, 24 MB, and to open a shard takes as long as to
write a thousand samples of it."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What `export_dataset` wrote."""

    reports: tuple[TargetReport, ...]
    finished_before: bool
    """Whether there was nothing left to do."""
    problems: dict[str, int]
    """What was found wrong with the source, of this run."""

    @property
    def wrote_nothing(self) -> bool:
        """Whether no sample of those chosen could be written."""
        return not any(report.num_samples for report in self.reports)


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
    targets = [_evened(target, int(counts.sum()), options) for target in targets]
    for target in targets:
        _check_folder(target.folder, options)
    with explained(Path(options.out)), ExitStack() as stack:
        for target in targets:
            (target.folder / WORK).mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(target.folder / WORK))
        plans = [_start_or_resume(t, _plan(options, dataset, t, counts)) for t in targets]
        unfinished = [t for t, plan in zip(targets, plans, strict=True) if not plan["finished"]]
        units = [
            unit
            for target in unfinished
            for unit in _units(options, dataset, target, counts, workers)
        ]
        num_rows = int(counts.sum())
        problems = _write_shards(units, num_rows * len(unfinished), workers, progress, link)
        reports = tuple(
            _report_of(target, plan) if plan["finished"] else _report(target, num_rows)
            for target, plan in zip(targets, plans, strict=True)
        )
        if unfinished:
            exporter.finish(reports)
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        for report, plan in zip(reports, plans, strict=True):
            if plan["finished"] is None:
                facts = {**plan, "finished": finished, **_report_json(report)}
                write_json(report.target.folder / REPORT, facts)
            shutil.rmtree(report.target.folder / WORK, ignore_errors=True)
    return ExportResult(reports, not unfinished, problems)


def count_unit(unit: tuple[Dataset, range], link: Link) -> list[int]:
    """Return how many rows of a dataset each of some shards has."""
    dataset, places = unit
    return [dataset.view.count(place, dataset.shard) for place in places]


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
            f"--where {options.where} matches none of the {counted(num, 'sample')} of "
            f"{source.folder}"
        )
    raise ConfigError(f"{source.folder} ({source.kind}) has no samples")


def _planned(target: Target, dataset: Dataset, options: ExportOptions) -> Target:
    size = options.samples_per_shard or target.samples_per_shard
    return replace(
        target,
        samples_per_shard=size,
        schema=target.schema or schema_of(dataset, target.columns),
        embedding_size=dataset.source.embedding_size,
    )


def _evened(target: Target, num_rows: int, options: ExportOptions) -> Target:
    """Return a target whose shards are as large as each other, if that is wanted."""
    if not target.even or options.samples_per_shard is not None:
        return target
    num_shards = -(-num_rows // target.samples_per_shard)
    return replace(target, samples_per_shard=-(-num_rows // num_shards))


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
    options: ExportOptions, dataset: Dataset, target: Target, counts: Rows, workers: int
) -> list[ShardsUnit]:
    """Cut the shards that have no mark into units of neighbours."""
    offsets = np.concatenate([[0], np.cumsum(counts)])
    num_shards = -(-int(offsets[-1]) // target.samples_per_shard)
    left = np.array([n for n in range(num_shards) if not mark_of(target, n).exists()], np.int64)
    in_parts = len(left) / (UNITS_A_WORKER * workers)
    size = max(in_parts, MIN_UNIT_ROWS / target.samples_per_shard)
    size = min(size, len(left) / workers, MAX_UNIT_ROWS / target.samples_per_shard)
    size = max(1, math.ceil(size))
    units: list[ShardsUnit] = []
    for run in np.split(left, np.flatnonzero(np.diff(left) > 1) + 1):
        for start in range(0, len(run), size):
            part = run[start : start + size]
            units.append(
                ShardsUnit(
                    module=FORMATS[options.to],
                    options=options,
                    dataset=dataset,
                    offsets=offsets,
                    target=target,
                    num_shards=num_shards,
                    first=int(part[0]),
                    end=int(part[-1]) + 1,
                )
            )
    return units


def _write_shards(
    units: Sequence[ShardsUnit], num_rows: int, workers: int, progress: RunProgress, link: Any
) -> dict[str, int]:
    """Write the shards of all units; return what was found wrong with the source."""
    left = sum(rows_of(unit.target, n, unit.offsets) for unit in units for n in unit.numbers)
    problems = Counter[str]()
    with (
        progress.stage(StageTotal("export", "samples", num_rows, num_rows - left)),
        closing(run_units(write_shards, units, workers=workers, link=link)) as results,
    ):
        for _, found in results:
            problems.update(found)
    return dict(problems)


def _report(target: Target, num_rows: int) -> TargetReport:
    """Add up the marks of all shards of a target."""
    num_shards = -(-num_rows // target.samples_per_shard)
    marks = [read_json(mark_of(target, number)) for number in range(num_shards)]
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
        target=target,
        num_rows=num_rows,
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
