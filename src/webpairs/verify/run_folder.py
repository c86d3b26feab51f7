"""Verifying a run folder as a whole: its counts, its shards and who owns each file.

manifest.json      what the run was asked for, and the funnel
stats/             the counts of each stage, and of each shard, which make its commit mark
everything else    belongs to a shard that is committed, or to a stage that is known
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import orjson

from webpairs.dataset.sources.run_folder import COLUMNS, RunFolder
from webpairs.drops import Drop
from webpairs.errors import ConfigError
from webpairs.files import is_leftover, read_regular, require_regular
from webpairs.parquet.file import UNREADABLE, open_bounded
from webpairs.run_folder.funnel import Funnel, read_funnel
from webpairs.run_folder.layout import Keys, ShardFiles
from webpairs.run_folder.manifest import NAME as MANIFEST
from webpairs.run_folder.status import read_status
from webpairs.verify.findings import Fault, Findings
from webpairs.verify.shard import ShardUnit, data_bytes

_OF_RUN: Final = frozenset(
    (
        *(".lock", MANIFEST, "stats/extract.json", "stats/dedupe.json", "drops/dedupe.parquet"),
        *("README.md", "croissant.json"),
    )
)
"""Files of the run itself, and what `webpairs card` writes beside them."""
_LATER: Final = ("index/", "report/")
"""Folders of later stages, which own whatever is in them."""
_WRONG: Final = (ValueError, KeyError, TypeError, AttributeError)
"""What reading JSON of another form may raise."""


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What is to be done shard by shard."""

    units: tuple[ShardUnit, ...]
    num_bytes: tuple[int, ...]
    """Of the files of each."""


def plan_run_folder(source: RunFolder, *, deep: bool, findings: Findings) -> RunPlan:
    """Check what belongs to no single shard, and say which shards there are to check.

    There are none where manifest or counts say nothing about them. Raises ConfigError for a folder
    of `webpairs extract`, which has no samples.
    """
    out = source.folder
    manifest = _read(out, MANIFEST, Fault.MANIFEST_BROKEN, findings)
    if manifest is not None and manifest.get("verb") == "extract":
        raise ConfigError(f"{out} holds candidates of webpairs extract, and no samples to verify")
    _check_owners(source, manifest, findings)
    stats = ["stats/extract.json", "stats/dedupe.json"]
    stats += [f"stats/{path.name}" for path in sorted((out / "stats").glob("retry-*.json"))]
    readable = [_read(out, name, Fault.STATS_BROKEN, findings) is not None for name in stats]
    if manifest is None or not all(readable):
        return RunPlan((), ())
    _check_counts(out, manifest, findings)
    try:
        facts = _facts(out, manifest)
    except _WRONG as error:
        findings.add(Fault.MANIFEST_BROKEN, MANIFEST, _said(error))
        return RunPlan((), ())
    units = tuple(
        ShardUnit(
            out=out,
            name=name,
            key_width=facts.key_width,
            embedding_size=facts.embedding_size,
            threshold=facts.threshold,
            columns=source.column_files,
            deep=deep,
        )
        for name in source.names
    )
    return RunPlan(units, tuple(data_bytes(out, name) for name in source.names))


@dataclass(frozen=True, slots=True)
class _Facts:
    key_width: int
    embedding_size: int | None
    threshold: float | None


def _facts(out: Path, manifest: dict[str, Any]) -> _Facts:
    """Return what the manifest says of all shards; raises as JSON of another form does."""
    num_shards = orjson.loads(read_regular(out / "stats" / "dedupe.json"))["shards"]
    keys = Keys.for_dataset(num_shards, int(manifest["options"]["shard_size"]))
    model = manifest["model"]
    return _Facts(
        key_width=keys.shard_digits + keys.row_digits,
        embedding_size=None if model is None else int(model["dim"]),
        threshold=None if model is None else float(model["threshold"]),
    )


def _check_counts(out: Path, manifest: dict[str, Any], findings: Findings) -> None:
    """Check that the run is whole, and that its counts add up."""
    try:
        funnel = read_funnel(out)
        status = read_status(out)
    except (*_WRONG, ConfigError, AssertionError) as error:
        findings.add(Fault.FUNNEL_WRONG, "stats", f"the counts cannot be read: {_said(error)}")
        return
    if not status.finished:
        findings.add(Fault.UNFINISHED, MANIFEST, "the run was not finished")
    for name in status.missing_shards:
        findings.add(Fault.SHARD_MISSING, f"stats/{name}.json", "the run planned this shard")
    _check_funnel(funnel, manifest, findings, complete=not status.missing_shards)
    _check_opt_outs(out, findings)


def _check_funnel(
    funnel: Funnel, manifest: dict[str, Any], findings: Findings, *, complete: bool
) -> None:
    found = funnel.as_json()
    if complete and (funnel.left or not funnel.balanced):
        detail = (
            f"{funnel.found} candidates are not {funnel.samples} samples and "
            f"{funnel.drops.total()} drops"
        )
        findings.add(Fault.FUNNEL_WRONG, "stats", detail)
    told = manifest.get("funnel")
    if told is None or told == found:
        return
    if not isinstance(told, dict):
        findings.add(Fault.MANIFEST_BROKEN, MANIFEST, "its funnel is not JSON object")
        return
    wrong = [name for name in {**found, **told} if told.get(name) != found.get(name)]
    for name in wrong:
        detail = f"{name} is {told.get(name)}, {found.get(name)} by the stats"
        findings.add(Fault.FUNNEL_WRONG, MANIFEST, detail)


def _check_opt_outs(out: Path, findings: Findings) -> None:
    """Compare the rows of `drops/dedupe.parquet` with the count of dedupe."""
    name = "drops/dedupe.parquet"
    drops = orjson.loads(read_regular(out / "stats" / "dedupe.json"))["drops"]
    declared = sum(num for reason, num in drops.items() if Drop(reason).sensitive)
    path = out / name
    if not path.is_file():
        if declared:
            findings.add(Fault.FILE_MISSING, name, f"{declared} opt-outs by stats/dedupe.json")
        return
    try:
        with open_bounded(path) as file:
            num_rows = sum(batch.num_rows for batch in file.iter_batches())
    except UNREADABLE as error:
        findings.add(Fault.FILE_BROKEN, name, _said(error))
        return
    if num_rows != declared:
        detail = f"{num_rows} rows, {declared} by stats/dedupe.json"
        findings.add(Fault.COUNT_WRONG, name, detail)


def _check_owners(source: RunFolder, manifest: dict[str, Any] | None, findings: Findings) -> None:
    """Look at the name of every file there is: each has an owner."""
    committed = frozenset(source.names)
    running = manifest is not None and manifest.get("finished") is None
    for name in _names(source.folder):
        try:
            require_regular(source.folder / name)
        except OSError as error:
            findings.add(Fault.FILE_BROKEN, name, str(error.strerror))
            continue
        if name in _OF_RUN or name.startswith(_LATER) or _is_retry(name):
            continue
        if is_leftover(Path(name)):
            if not running:
                findings.add(Fault.STRANGER, name, "a process that was killed left it")
        elif name.startswith("work/"):
            if not running:
                findings.add(Fault.STRANGER, name, "the run is finished and needs it no longer")
        elif (shard := _shard_of(name)) is None:
            findings.add(Fault.STRANGER, name, "it belongs to no stage and no shard")
        elif shard not in committed:
            detail = f"its shard has no stats/{shard}.json"
            findings.add(Fault.UNCOMMITTED, name, detail)


def _shard_of(name: str) -> str | None:
    """Return the number of the shard that a file belongs to by its name."""
    path = PurePosixPath(name)
    number = path.name.partition(".")[0].rpartition("_")[2]
    if not number.isdigit():
        return None
    files = ShardFiles.of(Path(), number)
    known = {one.as_posix() for one in (*files.data, files.stats)}
    is_column = path.parts[0] == COLUMNS and path.parts[2:] == (f"{number}.parquet",)
    return number if name in known or is_column else None


def _names(folder: Path) -> Iterator[str]:
    """Yield the name of every file, relative to the folder."""
    for base, folders, files in os.walk(folder):
        folders.sort()
        for file in sorted(files):
            yield (Path(base) / file).relative_to(folder).as_posix()


def _is_retry(name: str) -> bool:
    return PurePosixPath(name).match("stats/retry-*.json")


def _read(out: Path, name: str, fault: Fault, findings: Findings) -> dict[str, Any] | None:
    """Return a JSON object, None when there is none, which is noted."""
    try:
        content = orjson.loads(read_regular(out / name))
    except FileNotFoundError:
        findings.add(Fault.FILE_MISSING, name, "every run folder has it")
        return None
    except (OSError, ValueError) as error:
        findings.add(fault, name, _said(error))
        return None
    if not isinstance(content, dict):
        findings.add(fault, name, "it is not JSON object")
        return None
    return content


def _said(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return (str(error).strip() or type(error).__name__).splitlines()[0]
