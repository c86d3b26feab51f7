"""What a retry took from earlier shards: `stats/retry-00000.json`, written before it starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webpairs.drops import Drop
from webpairs.files import write_json
from webpairs.run_folder.run_json import RetryForm, read_form


@dataclass(frozen=True, slots=True)
class RetryRecord:
    """Which candidates a retry takes: those whose latest outcome was one of `reasons`.

    `shards` maps the name of each of its shards to how many of its candidates were dropped before
    for which reason. Until such a shard is committed, its candidates count as they did.
    """

    number: int
    reasons: tuple[Drop, ...]
    first_shard: int
    shards: Mapping[str, Counter[Drop]]
    when: str
    check_hashes: str = "on"
    """What it does about hashes that tables give (`hash_check.CHECKS`)."""

    @property
    def taken(self) -> Counter[Drop]:
        """Return how many candidates are tried again, by the reason they were dropped for."""
        return sum(self.shards.values(), Counter[Drop]())


def read_retries(out: Path) -> tuple[RetryRecord, ...]:
    """Return the retries of run folder `out`, the first one first."""
    paths = (path for path in (out / "stats").glob("retry-*.json") if _digits(path).isdecimal())
    found = (read_form(path, RetryForm) for path in sorted(paths, key=_number))
    return tuple(_from_json(one) for one in found if one is not None)


def write_retry(out: Path, record: RetryRecord) -> None:
    """Record a retry, whole or not at all."""
    write_json(
        out / "stats" / f"retry-{record.number:05}.json",
        {
            "number": record.number,
            "reasons": [str(reason) for reason in record.reasons],
            "taken": _to_json(record.taken),
            "first_shard": record.first_shard,
            "num_shards": len(record.shards),
            "when": record.when,
            "check_hashes": record.check_hashes,
            "shards": {name: _to_json(counts) for name, counts in record.shards.items()},
        },
    )


def unfinished_retry(
    manifest: Mapping[str, Any], retries: Sequence[RetryRecord]
) -> RetryRecord | None:
    """Return the retry that was begun and not finished; the manifest counts the finished ones."""
    return retries[-1] if len(retries) > manifest.get("retries", 0) else None


def _number(path: Path) -> int:
    return int(_digits(path))


def _digits(path: Path) -> str:
    return path.stem.removeprefix("retry-")


def _from_json(content: Mapping[str, Any]) -> RetryRecord:
    return RetryRecord(
        number=content["number"],
        reasons=tuple(map(Drop, content["reasons"])),
        first_shard=content["first_shard"],
        shards={
            name: Counter({Drop(reason): num for reason, num in counts.items()})
            for name, counts in content["shards"].items()
        },
        when=content["when"],
        check_hashes=content.get("check_hashes", "on"),
    )


def _to_json(counts: Counter[Drop]) -> dict[str, int]:
    return {str(reason): counts[reason] for reason in Drop if counts[reason]}
