"""Set two datasets side by side: what differs in their counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from webpairs.drops import Drop
from webpairs.report.blocks import Cell, Section, Table, number
from webpairs.report.gather import Gathered
from webpairs.safe_text import web

_ORDER: Final = ("samples", "shards", "candidates found")
_MIDDLES: Final = {
    "similarity": "similarity",
    "shorter_side": "shorter side, pixels",
    "aspect": "width : height",
    "bytes": "bytes of an image",
    "caption_chars": "caption length, characters",
}
_NAMED: Final = {
    "license": "samples with a licence",
    "opt_out": "samples kept in spite of an opt-out",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of both datasets, None where one does not tell it."""

    what: str
    a: float | None
    b: float | None

    @property
    def more(self) -> float | None:
        """Return how much more B has."""
        return None if self.a is None or self.b is None else self.b - self.a

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"what": self.what, "a": self.a, "b": self.b, "difference": self.more}


def differences(a: Gathered, b: Gathered) -> list[Difference]:
    """Return the counts and middles that either dataset tells."""
    runs = [one.run for one in (a, b) if one.run is not None]
    reasons = [drop for drop in Drop if any(run.status.funnel.drops[drop] for run in runs)]
    first, second = (_numbers(one, reasons) for one in (a, b))
    names = dict.fromkeys((*(name for name in _ORDER if name in first | second), *first, *second))
    return [Difference(name, first.get(name), second.get(name)) for name in names]


def compare_section(a: Gathered, b: Gathered) -> Section:
    """Show what differs, and what A and B are."""
    rows: list[tuple[Cell, ...]] = [
        (one.what, _shown(one.a), _shown(one.b), _signed(one), _relative(one))
        for one in differences(a, b)
    ]
    return Section(
        "differences",
        "Differences",
        (),
        (Table(("what", "A", "B", "B − A", "B : A"), tuple(rows)),),
        pair=False,
    )


def sides(datasets: Sequence[Gathered]) -> Table:
    """Say which dataset is A, and which is B."""
    rows = tuple(
        (letter, web(one.name), one.kind) for letter, one in zip("AB", datasets, strict=True)
    )
    return Table(("", "folder", "kind"), rows, counts=False)


def _numbers(one: Gathered, reasons: Sequence[Drop]) -> dict[str, float]:
    found: dict[str, float] = {"samples": one.num_samples, "shards": one.num_shards}
    if one.run is not None:
        funnel = one.run.status.funnel
        found["candidates found"] = funnel.found
        found |= {f"dropped: {drop}": funnel.drops[drop] for drop in reasons}
        if one.threshold is not None:
            found["threshold"] = one.threshold
    if one.downloads is not None:
        found["URLs asked for"] = one.downloads.asked
    if one.named("host").total:
        found["domains"] = one.named("host").distinct
        found["domains that have half of the samples"] = one.hosts.half
    for name, what in _MIDDLES.items():
        if one.tallies[name].total:
            found[f"median {what}"] = one.tallies[name].quantile(0.5)
    for column, what in _NAMED.items():
        if one.has(column):
            found[what] = one.named(column).total
    return found


def _shown(value: float | None) -> str:
    return "not told" if value is None else number(value)


def _signed(one: Difference) -> str:
    if one.more is None:
        return "-"
    sign = "+" if one.more > 0 else "−" if one.more < 0 else ""
    return f"{sign}{number(abs(one.more))}" if one.more else "0"


def _relative(one: Difference) -> str:
    if not one.a or one.b is None:
        return "-"
    return f"{one.b / one.a:.3g}"
