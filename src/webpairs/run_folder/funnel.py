"""Where every candidate went: the counts of a run folder, added up from its stats."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from webpairs.drops import Drop
from webpairs.errors import DamagedFile
from webpairs.files import read_regular
from webpairs.run_folder.retries import read_retries
from webpairs.run_folder.run_json import DedupeForm, ExtractForm, ShardForm, read_form


@dataclass(slots=True)
class Funnel:
    """Counts of a run: found = samples + sum of drops + left.

    `Drop.RECORD_BROKEN` counts records of crawl files, whose candidates nobody saw; it stands
    beside the sum. `left` candidates wait for a shard that is not committed yet.
    """

    records: int = 0
    pages: int = 0
    found: int = 0
    samples: int = 0
    left: int = 0
    broken_records: int = 0
    drops: Counter[Drop] = field(default_factory=Counter[Drop])

    @property
    def balanced(self) -> bool:
        """Say whether every candidate is accounted for."""
        return self.found == self.samples + self.left + self.drops.total()

    def as_json(self) -> dict[str, Any]:
        """Return the funnel as it stands in the manifest."""
        return {
            "records": self.records,
            "broken_records": self.broken_records,
            "pages": self.pages,
            "candidates": self.found,
            "drops": {str(drop): self.drops[drop] for drop in Drop if self.drops[drop]},
            "left": self.left,
            "samples": self.samples,
        }


def read_funnel(out: Path) -> Funnel:
    """Add up the stats of run folder `out`, finished or not.

    A candidate that was tried again counts once: under its earlier reason until the shard that
    tries it again is committed, from then on as that shard says.
    """
    funnel = Funnel()
    stats = out / "stats"
    extract = read_form(stats / "extract.json", ExtractForm)
    if extract is not None:
        funnel.records = extract["records"]
        funnel.pages = extract["pages"]
        funnel.found = extract["found"]
        drops = _drops(extract)
        funnel.broken_records = drops.pop(Drop.RECORD_BROKEN, 0)
        funnel.drops += drops
    dedupe = read_form(stats / "dedupe.json", DedupeForm)
    if dedupe is not None:
        funnel.drops += _drops(dedupe)
    committed: set[str] = set()
    for path in sorted(stats.glob("[0-9]*.json")):
        shard = read_form(path, ShardForm)
        if shard is None:  # moved away since it was listed
            continue
        funnel.samples += shard["samples"]
        funnel.drops += _drops(shard)
        committed.add(path.stem)
    # After the shards: a retry is recorded before its first shard is there.
    for retry in read_retries(out):
        for name, earlier in retry.shards.items():
            if name in committed:
                funnel.drops.subtract(earlier)
    funnel.left = funnel.found - funnel.samples - funnel.drops.total()
    return funnel


def read_json(path: Path) -> Any:
    """Return the JSON in `path`, or None if there is no such file; raises DamagedFile."""
    try:
        return orjson.loads(read_regular(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise DamagedFile(path, error) from error


def _drops(stats: dict[str, Any]) -> Counter[Drop]:
    return Counter({Drop(name): num for name, num in stats["drops"].items()})
