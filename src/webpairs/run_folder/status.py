"""How far a run folder is, from its files alone; a run may be under way beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from webpairs.errors import ConfigError
from webpairs.run_folder.funnel import Funnel, read_funnel
from webpairs.run_folder.layout import Keys
from webpairs.run_folder.lock import is_locked
from webpairs.run_folder.lost_stats import lost_stats
from webpairs.run_folder.manifest import read_manifest
from webpairs.run_folder.retries import RetryRecord, read_retries, unfinished_retry
from webpairs.run_folder.run_json import DedupeForm, ExtractForm, ShardForm, read_form
from webpairs.run_folder.state import RunState, read_state


@dataclass(frozen=True, slots=True)
class Status:
    """What is done, what is left and how fast it went."""

    out: Path
    manifest: dict[str, Any]
    funnel: Funnel
    extracted: bool
    num_shards: int | None
    """With those of retries; None before dedupe is done."""
    missing_shards: tuple[str, ...]
    extract_mb_per_s: float | None
    candidates_per_s: float | None
    """Of the shards that are done, per second of one worker."""
    warnings: tuple[str, ...]
    retries: tuple[RetryRecord, ...]
    is_running: bool
    """Whether a process works on it now."""
    state: RunState | None
    """What that process wrote last, or the last one before that was stopped."""
    lost: tuple[Path, ...]
    """Stats that a finished run had."""

    @property
    def verb(self) -> str:
        """Return the verb that made the folder: build or extract."""
        return self.manifest["verb"]

    @property
    def finished(self) -> bool:
        """Say whether the run is complete, and every retry begun since."""
        return self.manifest["finished"] is not None and self.unfinished_retry is None

    @property
    def unfinished_retry(self) -> RetryRecord | None:
        """Return the retry that is under way or was stopped."""
        return unfinished_retry(self.manifest, self.retries)

    def as_json(self) -> dict[str, Any]:
        """Return the status for programs."""
        retry = self.unfinished_retry
        return {
            "folder": str(self.out),
            "verb": self.verb,
            "finished": self.manifest["finished"] if self.finished else None,
            "running": self.is_running,
            "state": None if self.state is None else self.state.as_json(),
            "funnel": self.funnel.as_json(),
            "shards": self.num_shards,
            "missing_shards": list(self.missing_shards),
            "extract_mb_per_s": self.extract_mb_per_s,
            "candidates_per_s_per_worker": self.candidates_per_s,
            "warnings": list(self.warnings),
            "retries": len(self.retries),
            "unfinished_retry": None if retry is None else retry.number,
            "lost_stats": [str(path) for path in self.lost],
        }


def read_status(out: Path) -> Status:
    """Read the status of run folder `out`; raise ConfigError if it is none."""
    if not out.is_dir():
        raise ConfigError(f"{out} is not a folder: name the --out of a build")
    manifest = read_manifest(out)
    if manifest is None:
        raise ConfigError(f"{out} has no manifest.json, so it is not a run folder")
    stats = out / "stats"
    extract = read_form(stats / "extract.json", ExtractForm)
    dedupe = read_form(stats / "dedupe.json", DedupeForm)
    found = (read_form(path, ShardForm) for path in sorted(stats.glob("[0-9]*.json")))
    shards = [one for one in found if one is not None]
    retries = read_retries(out)
    # The lock first: a run that ends meanwhile is seen with its last figures, not without.
    is_running, state = is_locked(out), read_state(out)
    if state is not None and not state.is_of_this_host:
        is_running = is_running or state.is_alive
    if is_running and state is not None and not state.is_alive:
        state = None  # of an earlier process: the one at work has not written yet
    shard_seconds = sum(shard["seconds"].get("total", 0) for shard in shards)
    return Status(
        out=out,
        manifest=manifest,
        funnel=read_funnel(out),
        extracted=extract is not None,
        num_shards=dedupe["shards"] + sum(len(one.shards) for one in retries) if dedupe else None,
        missing_shards=_missing(manifest, dedupe, retries, {shard["shard"] for shard in shards}),
        extract_mb_per_s=_rate(extract["bytes_read"] / 1e6, extract["seconds"])
        if extract
        else None,
        candidates_per_s=_rate(sum(shard["candidates"] for shard in shards), shard_seconds),
        warnings=tuple(extract["warnings"]) if extract else (),
        retries=retries,
        is_running=is_running,
        state=state,
        lost=lost_stats(out, manifest),
    )


def _missing(
    manifest: dict[str, Any],
    dedupe: dict[str, Any] | None,
    retries: Iterable[RetryRecord],
    done: set[str],
) -> tuple[str, ...]:
    if dedupe is None:
        return ()
    keys = Keys.for_dataset(dedupe["shards"], manifest["options"]["shard_size"])
    built = (keys.shard(number) for number in range(dedupe["shards"]))
    retried = (name for retry in retries for name in retry.shards)
    return tuple(name for name in chain(built, retried) if name not in done)


def _rate(amount: float, seconds: float) -> float | None:
    return amount / seconds if seconds > 0 and amount else None
