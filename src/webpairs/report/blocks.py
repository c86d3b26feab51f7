"""What the page is made of: sections of leads, bars, plots, tables and samples.

A cell is a text of ours, a text of the web (`Web`), or a number; the template escapes all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from webpairs.report.gather import Gathered
from webpairs.report.plots import Axis, Plot, Series, histogram
from webpairs.report.tally import Tally
from webpairs.safe_text import Web, web

Cell = str | Web | int
COLOURS: Final = ("one", "two")
"""Of the first dataset and of the one it is compared with."""
NUM_BARS: Final = 12
NUM_ROWS: Final = 100


@dataclass(frozen=True, slots=True)
class Table:
    """Rows; the first column names, the others count."""

    kind = "table"
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""
    counts: bool = True
    """Whether all but the first column are numbers; else words, and the heads go without saying."""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of bars: a name, and for each dataset a count and its part of the whole.

    `rest` are parts that follow in a fainter colour: dropped beside kept.
    """

    name: Cell
    counts: tuple[str, ...]
    parts: tuple[float, ...]
    rest: tuple[float, ...] = ()
    style: str = ""
    """total or loss, for the funnel; missing, for what has no name."""


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars, and the further ones that are folded away."""

    kind = "bars"
    title: str
    heads: tuple[str, ...]
    """Of each dataset's count."""
    bars: tuple[Bar, ...]
    more: tuple[Bar, ...] = ()
    note: str = ""
    wide: bool = False
    """Whether it takes the width of the page."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot and the table behind it."""

    kind = "figure"
    title: str
    plot: Plot
    table: Table
    note: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    """Variable of colour and word."""
    wide: bool = False
    """Whether it takes the width of the page."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Show one sample or drop: a picture where there is one, a number, a text, what is beside."""

    text: Web
    number: str = ""
    beside: Web | None = None
    picture: str | None = None
    """A data: URI."""
    blurred: bool = False


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples that are shown."""

    kind = "samples"
    title: Cell
    shown: tuple[Shown, ...]
    note: str = ""
    number: int | None = None
    """Of the cluster of the map, whose colour stands beside the title."""


Block = Table | Bars | Figure | Samples


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page; without blocks it says so in a word."""

    id: str
    title: str
    leads: tuple[str, ...]
    """A line of words for each dataset."""
    blocks: tuple[Block, ...] = ()
    pair: bool = field(default=True)
    """Whether its blocks stand two in a row, where there is room."""


def number(value: float) -> str:
    """Return a number for people: 12,345 or 0.305."""
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.4g}"


def percent(part: float) -> str:
    """Return a part of all for people: 34.8%, 0.02%, never 100% for less than all."""
    if part in (0.0, 1.0):
        return f"{part:.0%}"
    if part >= 0.0995:
        return f"{min(part, 0.999):.1%}"
    return f"{part:.2%}" if part >= 0.0001 else "<0.01%"


def count_heads(what: str, datasets: Sequence[Gathered]) -> tuple[str, ...]:
    """Return the heads of counts of `what` in one dataset, or in two by their letters."""
    return (what,) if len(datasets) == 1 else letters(datasets)


def parts(nums: Sequence[int], wholes: Sequence[int]) -> tuple[float, ...]:
    """Return what part of the whole each number is."""
    return tuple(num / whole if whole else 0.0 for num, whole in zip(nums, wholes, strict=True))


def _num_samples(one: Gathered) -> int:
    return one.num_samples


def letters(datasets: Sequence[Gathered]) -> tuple[str, ...]:
    """Return what datasets are called beside each other: A and B; nothing if there is one."""
    return ("",) if len(datasets) == 1 else ("A", "B")


def named_bars(
    title: str,
    datasets: Sequence[Gathered],
    kind: str,
    *,
    what: str = "samples",
    show: Callable[[str], Cell] = web,
    missing: str | None = None,
    of: Callable[[Gathered], int] = _num_samples,
    note: str = "",
) -> Bars | None:
    """Return bars of the names of a kind, most frequent first; None when none has any.

    `of` is the whole that parts are of; `missing` names what has no name of this kind.
    """
    found = [one.named(kind) for one in datasets]
    if not any(one.total for one in found):
        return None
    wholes = [of(one) for one in datasets]
    tops = [dict(one.top) for one in found]
    bars: list[Bar] = []
    for name in dict.fromkeys(name for top in tops for name in top):
        nums = [top.get(name, 0) for top in tops]
        # What is not among the most frequent ones of a dataset may still be there.
        counts = [
            f"≤ {one.top[-1][1]:,}" if not num and one.distinct > len(one.top) else f"{num:,}"
            for num, one in zip(nums, found, strict=True)
        ]
        bars.append(Bar(show(name), tuple(counts), parts(nums, wholes)))
    if missing is not None:
        nums = [whole - one.total for whole, one in zip(wholes, found, strict=True)]
        if any(nums):
            counts = tuple(f"{num:,}" for num in nums)
            bars.append(Bar(missing, counts, parts(nums, wholes), style="missing"))
    bars.sort(key=lambda bar: -max(bar.parts))
    unlisted = max(one.distinct - len(one.top) for one in found)
    if unlisted:
        note = f"{note} {unlisted:,} more are not listed.".strip()
    return Bars(
        title,
        count_heads(what, datasets),
        tuple(bars[:NUM_BARS]),
        tuple(bars[NUM_BARS:NUM_ROWS]),
        note,
    )


def tally_figure(
    title: str,
    datasets: Sequence[Gathered],
    tallies: Sequence[Tally],
    edges: Sequence[float],
    axis: Axis,
    *,
    bin_name: Callable[[float, float], str],
    note: str = "",
) -> Figure | None:
    """Return a histogram of each dataset's numbers, and its table; None when there are none."""
    if not any(tally.total for tally in tallies):
        return None
    bins = [tally.bins(edges) for tally in tallies]
    alone = len(datasets) == 1
    series = [
        Series(one.counts if alone else one.shares, colour)
        for one, colour in zip(bins, COLOURS, strict=False)
    ]
    rows = [
        (bin_name(low, high), *(cell for one in bins for cell in _cells(one.counts, place)))
        for place, (low, high) in enumerate(pairwise(edges))
        if any(one.counts[place] for one in bins)
    ]
    counted = ("samples", "part") if alone else ("A", "part", "B", "part")
    return Figure(
        title,
        histogram(edges, series, axis, f"Histogram: {title}", shares=not alone),
        Table((axis.label, *counted), tuple(rows)),
        note,
        () if alone else legend(datasets),
    )


def legend(datasets: Sequence[Gathered]) -> tuple[tuple[str, str], ...]:
    """Return colour and letter of each dataset."""
    return tuple(zip(COLOURS, letters(datasets), strict=False))


def quantile_words(tally: Tally, unit: str) -> str:
    """Return the middle and the middle half of numbers, in words."""
    low, middle, high = (number(tally.quantile(share)) for share in (0.25, 0.5, 0.75))
    return f"median {middle} {unit}, half of them between {low} and {high}"


def whole_numbers(low: float, high: float) -> str:
    """Return what whole numbers a bin holds: 5, 5 to 9, or 10 and more."""
    if math.isinf(high):
        return f"{low:,.0f} and more"
    return f"{low:,.0f}" if high == low + 1 else f"{low:,.0f} to {high - 1:,.0f}"


def _cells(counts: Sequence[int], place: int) -> tuple[int, str]:
    total = sum(counts)
    return counts[place], percent(counts[place] / total) if total else "-"


def present(blocks: Sequence[Block | None]) -> tuple[Block, ...]:
    """Leave out blocks that have nothing to show."""
    return tuple(block for block in blocks if block is not None)
