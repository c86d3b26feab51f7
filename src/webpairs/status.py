"""Tell how far a run folder is, from its files alone; a run may be under way beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from webpairs.errors import ConfigError
from webpairs.funnel import Funnel, read_funnel, read_json
from webpairs.manifest import read_manifest
from webpairs.retry_record import RetryRecord, read_retries, unfinished_retry
from webpairs.shard import Keys


@dataclass(frozen=True, slots=True)
class Status:
    """Say what is done, what is left and how fast it went."""

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


def read_status(out: Path) -> Status:
    """Read the status of run folder `out`; raise ConfigError if it is none."""
    if not out.is_dir():
        raise ConfigError(f"{out} is no folder: name the --out of a build")
    manifest = read_manifest(out)
    if manifest is None:
        raise ConfigError(f"{out} has no manifest.json, so it is no run folder")
    stats = out / "stats"
    extract = read_json(stats / "extract.json")
    dedupe = read_json(stats / "dedupe.json")
    shards = [read_json(path) for path in sorted(stats.glob("[0-9]*.json"))]
    retries = read_retries(out)
    shard_seconds = sum(shard["seconds"]["total"] for shard in shards)
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
