"""Where every candidate went: the counts of a run folder, added up from its stats."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from webpairs.errors import Drop
from webpairs.files import read_regular
from webpairs.quantities import counted
from webpairs.retry_record import read_retries
from webpairs.run_json import DamagedFile, DedupeForm, ExtractForm, ShardForm, read_form


@dataclass(slots=True)
class Funnel:
    """Count a run: found = samples + sum of drops + left.

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


def funnel_table(funnel: Funnel, *, to_candidates: bool = False) -> Table:
    """Return the funnel as a table: stage by stage, what went and what stayed.

    With `to_candidates` it ends there, as `webpairs extract` does.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    table.add_column("what")
    table.add_column("candidates", justify="right")
    table.add_column("of found", justify="right")

    def row(stage: str, what: str, num: int, style: str | None = None) -> None:
        share = f"{num / funnel.found:.1%}" if funnel.found else "-"
        table.add_row(stage, what, f"{num:,}", share, style=style)

    where = (
        f"on {counted(funnel.pages, 'page')}" if funnel.pages or not funnel.found else "in tables"
    )
    row("extract", f"found {where}", funnel.found, "bold")
    for drop in Drop:
        if funnel.drops[drop]:
            row(drop.stage, f"- {drop}", -funnel.drops[drop])
    if to_candidates:
        row("write", "candidates", funnel.left, "bold")
    else:
        if funnel.left:
            row("", "left to do", funnel.left)
        row("write", "samples", funnel.samples, "bold")
    if funnel.broken_records:
        table.caption = (
            f"beside these, {counted(funnel.broken_records, 'record')} could not be read"
        )
    return table


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
