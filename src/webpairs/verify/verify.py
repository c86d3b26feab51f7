"""Verifying a dataset: is every byte, row and number what it was when the dataset was made?

A run folder is held against its own stats and manifest, what others wrote against itself. Nothing
is changed. Shards are checked in parallel; memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from webpairs.checks import resolve_workers
from webpairs.dataset.problems import Problems
from webpairs.dataset.sources.recognise import recognise
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.dataset.sources.source import PIECE_ROWS, Source
from webpairs.engine.local import run_units
from webpairs.errors import ConfigError
from webpairs.parquet.file import UNREADABLE, open_bounded
from webpairs.progress import RunProgress, StageTotal
from webpairs.run.link import CoordinatorLink
from webpairs.run_folder.layout import ShardFiles
from webpairs.run_folder.schema import UID
from webpairs.verify.findings import Fault, Findings
from webpairs.verify.ids import Ids, Repeats, find_repeats
from webpairs.verify.run_folder import plan_run_folder
from webpairs.verify.shard import verify_shard
from webpairs.verify.source import (
    PlacesUnit,
    files_of,
    missing_names,
    num_bytes,
    verify_places,
)

UNITS_A_WORKER: Final = 16
"""Work units per worker for foreign datasets. Few: each unit pickles the names of all shards."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What was looked at and what is wrong with it."""

    folder: Path
    kind: str
    deep: bool
    num_shards: int
    num_samples: int
    findings: Findings

    @property
    def good(self) -> bool:
        """Say whether nothing is wrong."""
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "folder": str(self.folder),
            "kind": self.kind,
            "deep": self.deep,
            "good": self.good,
            "shards": self.num_shards,
            "samples": self.num_samples,
            "counts": self.findings.counts(),
            "findings": [one.as_json() for one in self.findings.listed],
            "unlisted": [
                {"file": file, "fault": str(fault), "num": num}
                for (file, fault), num in self.findings.unlisted.items()
            ],
        }


def verify_dataset(
    folder: str | Path,
    *,
    deep: bool = False,
    workers: int | None = None,
    progress: RunProgress | None = None,
) -> Verification:
    """Verify a folder that `webpairs.open` opens.

    `deep` also decodes every image and multiplies embeddings, which takes minutes per million
    images. Raises ConfigError where there is no dataset.
    """
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers {workers} is out of range: use 1 or more processes")
    progress = progress or RunProgress(quiet=True)
    workers = resolve_workers(workers)
    source = recognise(Path(folder))
    findings = Findings()
    if isinstance(source, RunFolder):
        num_samples = _verify_run(source, deep, workers, progress, findings)
    else:
        num_samples = _verify_source(source, deep, workers, progress, findings)
    return Verification(source.folder, source.kind, deep, len(source.names), num_samples, findings)


def _verify_run(
    source: RunFolder, deep: bool, workers: int, progress: RunProgress, findings: Findings
) -> int:
    plan = plan_run_folder(source, deep=deep, findings=findings)
    num_samples = 0
    with progress.stage(StageTotal("verify", "MB", sum(plan.num_bytes) / 1e6)):
        link = CoordinatorLink(progress)
        results = run_units(verify_shard, plan.units, workers=workers, link=link)
        # Closed at once, so that workers end before an error is shown.
        with closing(results):
            for _, report in results:
                findings.merge(report.findings)
                num_samples += report.num_samples
    if len(plan.units) > 1:
        repeats = find_repeats(partial(_uids, source), len(source.names))
        _add_repeats(
            Fault.UID_REPEATED,
            repeats,
            findings,
            [f"metadata/{name}.parquet" for name in source.names],
        )
    return num_samples


def _verify_source(
    source: Source, deep: bool, workers: int, progress: RunProgress, findings: Findings
) -> int:
    for name in missing_names(source.names):
        findings.add(Fault.SHARD_MISSING, name, "its number lies between those of others")
    sizes = num_bytes(source)
    num_places = len(source.names)
    step = max(1, -(-num_places // (UNITS_A_WORKER * workers)))
    units = [
        PlacesUnit(source, tuple(places), tuple(sizes[place] for place in places), deep)
        for start in range(0, num_places, step)
        if (places := range(start, min(start + step, num_places)))
    ]
    num_samples = 0
    named = len({len(name) for name in source.names}) == 1
    with progress.stage(StageTotal("verify", "MB", sum(sizes) / 1e6)):
        link = CoordinatorLink(progress)
        results = run_units(verify_places, units, workers=workers, link=link)
        with closing(results):
            for _, report in results:
                findings.merge(report.findings)
                num_samples += report.num_samples
                named &= report.named
    # Keys that begin with their shard's name are unique if they are so in their shard.
    if source.has_keys and num_places > 1 and not named:
        repeats = find_repeats(partial(_keys, source), num_places)
        files = [files_of(source, name)[0] for name in source.names]
        _add_repeats(Fault.KEY_REPEATED, repeats, findings, files)
    return num_samples


def _add_repeats(fault: Fault, repeats: Repeats, findings: Findings, files: Sequence[str]) -> None:
    for shard, key, first in repeats.listed:
        findings.add(fault, files[shard], f"sample {first} has it too", key)
    if (more := repeats.num - len(repeats.listed)) > 0:
        findings.add(fault, ".", f"{more} more samples in all shards", num=more)


def _uids(source: RunFolder, place: int) -> Iterator[Ids]:
    """Yield the uids of a run folder's shard; what cannot be read was told before."""
    path = ShardFiles.of(source.folder, source.names[place]).metadata
    try:
        with open_bounded(path, ["uid", "key"]) as file:
            if file.schema_arrow.field("uid").type != UID:
                return
            for batch in file.iter_batches(PIECE_ROWS, columns=["uid", "key"]):
                columns = (batch.column(name).to_pylist() for name in ("uid", "key"))
                yield list(zip(*columns, strict=True))
    except (*UNREADABLE, KeyError):
        return


def _keys(source: Source, place: int) -> Iterator[Ids]:
    """Yield keys of others' shards, and 128 bits of their BLAKE2b for ids."""
    shard = source.open(place, Problems())
    for _, table in shard.stream(["key"], None, PIECE_ROWS):
        keys = table.column("key").to_pylist()
        yield [(hashlib.blake2b(key.encode(), digest_size=16).digest(), key) for key in keys]
