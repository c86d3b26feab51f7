"""Stats that a finished run folder has lost: without them its rows do not count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from webpairs.errors import RunError
from webpairs.run_folder.layout import Keys, ShardFiles
from webpairs.run_folder.retries import read_retries
from webpairs.run_folder.run_json import DedupeForm, read_form


def lost_stats(out: Path, manifest: Mapping[str, Any]) -> tuple[Path, ...]:
    """Return the stats that the finished run of `manifest` wrote to `out` and that are not there.

    Shards of a retry that is not finished are not lost: they are still to come.
    """
    if manifest["finished"] is None:
        return ()
    return tuple(path for path in _stats_of(out, manifest) if not path.exists())


def check_stats(out: Path, manifest: Mapping[str, Any]) -> None:
    """Raise RunError for a finished run folder that has lost stats."""
    lost = lost_stats(out, manifest)
    if not lost:
        return
    shown = ", ".join(str(path) for path in lost[:3])
    more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
    raise RunError(
        f"{out} was finished, but {shown}{more} {'is' if len(lost) == 1 else 'are'} missing, and "
        "what belongs to it does not count: put it back from a copy, or build again into a new "
        "--out"
    )


def _stats_of(out: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    stats = out / "stats"
    yield stats / "extract.json"
    if manifest["verb"] != "build":
        return
    yield stats / "dedupe.json"
    num_retries = manifest.get("retries", 0)
    for number in range(num_retries):
        yield stats / f"retry-{number:05}.json"
    dedupe = read_form(stats / "dedupe.json", DedupeForm)
    if dedupe is None:
        return
    keys = Keys.for_dataset(dedupe["shards"], manifest["options"]["shard_size"])
    for number in range(dedupe["shards"]):
        yield ShardFiles.of(out, keys.shard(number)).stats
    for retry in read_retries(out)[:num_retries]:
        for name in retry.shards:
            yield ShardFiles.of(out, name).stats
