"""Reading what a folder tells about its making beside its rows: manifest, stats, retries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from webpairs.dataset.sources.img2dataset import Img2datasetFolder
from webpairs.describe.info import run_status
from webpairs.drops import Drop
from webpairs.files import read_regular
from webpairs.run_folder.funnel import read_json
from webpairs.run_folder.retries import RetryRecord
from webpairs.run_folder.run_json import ShardForm, read_form
from webpairs.run_folder.status import Status

NUM_STATUSES: Final = 100
_UNSEEN: Final = (Drop.DUPLICATE, Drop.LIMIT)
"""Reasons of dedupe that are counted and have no rows."""


@dataclass(frozen=True, slots=True)
class RetryOutcome:
    """What came of one retry so far: its committed shards."""

    record: RetryRecord
    finished: bool
    samples: int
    drops: Counter[Drop]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "number": self.record.number,
            "when": self.record.when,
            "finished": self.finished,
            "reasons": [str(reason) for reason in self.record.reasons],
            "taken": _counts(self.record.taken),
            "samples": self.samples,
            "drops": _counts(self.drops),
        }


@dataclass(frozen=True, slots=True)
class Run:
    """What a run folder tells."""

    status: Status
    seconds: Mapping[str, float]
    """Where the time went, summed over shards; `extract` and `dedupe` as the clock ran."""
    image_bytes: int
    retries: tuple[RetryOutcome, ...]

    @property
    def model(self) -> Mapping[str, Any] | None:
        """Return the model that scored, None if nothing was scored."""
        return self.status.manifest.get("model")

    @property
    def threshold(self) -> float | None:
        """Return the similarity from which on pairs were kept."""
        return None if self.model is None else self.status.manifest["options"]["threshold"]

    @property
    def first_retried(self) -> int | None:
        """Return the number of the first shard of the first retry."""
        return self.retries[0].record.first_shard if self.retries else None

    @property
    def drops_with_rows(self) -> dict[str, int]:
        """Return how many rows of each reason `drops/` has to hold."""
        return {
            str(drop): num
            for drop, num in self.status.funnel.drops.items()
            if num and drop.stage != "extract" and drop not in _UNSEEN
        }

    def shown_manifest(self) -> dict[str, Any]:
        """Return the manifest for others to read: inputs by name, without where they lay."""
        inputs = [
            {name: value for name, value in one.items() if name != "path"}
            for one in self.status.manifest.get("inputs") or []
        ]
        return {**self.status.manifest, "inputs": inputs}

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "finished": self.status.finished,
            "missing_shards": list(self.status.missing_shards),
            "funnel": self.status.funnel.as_json(),
            "seconds": dict(self.seconds),
            "image_bytes": self.image_bytes,
            "retries": [one.as_json() for one in self.retries],
            "threshold": self.threshold,
            "manifest": self.shown_manifest(),
        }


@dataclass(frozen=True, slots=True)
class Downloads:
    """What the stats of img2dataset tell, summed over shards."""

    asked: int
    successes: int
    failed_to_download: int
    failed_to_resize: int
    statuses: Mapping[str, int]
    """What it said of each URL, the most frequent ones."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "asked": self.asked,
            "successes": self.successes,
            "failed_to_download": self.failed_to_download,
            "failed_to_resize": self.failed_to_resize,
            "statuses": dict(self.statuses),
        }


def read_run(out: Path) -> Run:
    """Read what a run folder tells; ConfigError when its counts cannot be read."""
    status = run_status(out)
    seconds: Counter[str] = Counter()
    image_bytes = 0
    outcomes: dict[str, tuple[int, Counter[Drop]]] = {}
    retried = {name for retry in status.retries for name in retry.shards}
    for path in sorted((out / "stats").glob("[0-9]*.json")):
        if (stats := read_form(path, ShardForm)) is None:
            continue
        seconds.update(stats.get("seconds") or {})
        image_bytes += stats.get("image_bytes", 0)
        if path.stem in retried:
            drops = Counter({Drop(name): num for name, num in stats["drops"].items()})
            outcomes[path.stem] = stats["samples"], drops
    for stage in ("extract", "dedupe"):
        path = out / "stats" / f"{stage}.json"
        if path.exists():
            seconds[stage] = (read_json(path) or {}).get("seconds", 0)
    return Run(
        status=status,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        image_bytes=image_bytes,
        retries=tuple(
            _outcome(record, outcomes, finished=record is not status.unfinished_retry)
            for record in status.retries
        ),
    )


def read_downloads(source: Img2datasetFolder) -> Downloads | None:
    """Add up the `NNNNN_stats.json` of an img2dataset folder; None where there are none."""
    totals: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    num_files = 0
    for name in source.names:
        try:
            stats = orjson.loads(read_regular(source.folder / f"{name}_stats.json"))
            counted = {key: int(stats.get(key) or 0) for key in _IMG2DATASET}
            said = {str(key): int(num) for key, num in (stats.get("status_dict") or {}).items()}
        except (OSError, ValueError, TypeError, AttributeError):
            continue  # `webpairs.open` does without as well
        totals.update(counted)
        statuses.update(said)
        num_files += 1
    if not num_files:
        return None
    top = sorted(statuses.items(), key=lambda one: (-one[1], one[0]))[:NUM_STATUSES]
    return Downloads(
        asked=totals["count"],
        successes=totals["successes"],
        failed_to_download=totals["failed_to_download"],
        failed_to_resize=totals["failed_to_resize"],
        statuses=dict(top),
    )


_IMG2DATASET: Final = ("count", "successes", "failed_to_download", "failed_to_resize")


def committed(out: Path) -> list[str]:
    """Return the names of a run folder's committed shards."""
    return sorted(path.stem for path in (out / "stats").glob("[0-9]*.json"))


def _outcome(
    record: RetryRecord, outcomes: Mapping[str, tuple[int, Counter[Drop]]], *, finished: bool
) -> RetryOutcome:
    done = [outcomes[name] for name in record.shards if name in outcomes]
    drops = sum((drops for _, drops in done), Counter[Drop]())
    return RetryOutcome(record, finished, sum(samples for samples, _ in done), drops)


def _counts(counts: Counter[Drop]) -> dict[str, int]:
    return {str(drop): counts[drop] for drop in Drop if counts[drop]}
