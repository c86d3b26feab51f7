"""How similar images and texts are: the threshold, what others would keep, both its sides."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from webpairs.report.blocks import (
    COLOURS,
    Bar,
    Bars,
    Block,
    Cell,
    Figure,
    Samples,
    Section,
    Table,
    count_heads,
    legend,
    letters,
    parts,
    present,
    quantile_words,
)
from webpairs.report.gather import Gathered
from webpairs.report.plots import Axis, Series, histogram
from webpairs.report.sections.examples import shown_example
from webpairs.report.thresholds import other_thresholds, similarity_edges
from webpairs.report.thumbnails import Pictures
from webpairs.safe_text import inline

_DROPPED: Final = (
    " Faint: dropped for their similarity alone; their images would have to be obtained again."
)


def similarity_section(datasets: Sequence[Gathered], pictures: Pictures) -> Section:
    """Show similarities, the threshold, what others would keep, and samples on both sides."""
    blocks: list[Block | None] = [_similarities(datasets)]
    if len(datasets) == 1:
        blocks += _near(datasets[0], pictures)
    blocks.append(_thresholds(datasets))
    leads = tuple(_similarity_lead(one) for one in datasets)
    return Section("similarity", "Similarity", leads, present(blocks))


def _similarities(datasets: Sequence[Gathered]) -> Figure | None:
    kept = [one.tallies["similarity"] for one in datasets]
    dropped = [one.dropped_similarity for one in datasets]
    if not any(one.total for one in (*kept, *dropped)):
        return None
    edges = similarity_edges(datasets)
    both = [
        (one.tallies["similarity"].bins(edges).counts, one.dropped_similarity.bins(edges).counts)
        for one in datasets
    ]
    alone = len(datasets) == 1
    if alone:
        ((kept_counts, dropped_counts),) = both
        series = [Series(dropped_counts, "faint"), Series(kept_counts, "one")]
        legends = (("one", "samples"), ("faint", "dropped for it"))
        legends = legends if any(dropped_counts) else ()
        heads = ("similarity", "samples", "dropped for it")
    else:
        series = [
            Series(parts([a + b for a, b in zip(k, d, strict=True)], [sum(k) + sum(d)] * len(k)), c)
            for (k, d), c in zip(both, COLOURS, strict=True)
        ]
        legends = legend(datasets)
        heads = ("similarity", "A kept", "A dropped", "B kept", "B dropped")
    marks = [
        (one.threshold, f"threshold {letter} {one.threshold:g}".replace("  ", " "))
        for letter, one in zip(letters(datasets), datasets, strict=True)
        if one.threshold is not None
    ]
    if len({threshold for threshold, _ in marks}) == 1:
        marks = [(marks[0][0], f"threshold {marks[0][0]:g}")]
    rows: list[tuple[Cell, ...]] = []
    for place, (low, high) in enumerate(pairwise(edges)):
        nums = [counts[place] for pair in both for counts in pair]
        if any(nums):
            rows.append((f"{_signed(low)} to {_signed(high)}", *nums))
    return Figure(
        "Similarity of image and text",
        histogram(
            edges,
            series,
            Axis("cosine similarity"),
            "Histogram of similarities, with the threshold",
            stacked=alone,
            shares=not alone,
            marks=marks,
            wide=True,
        ),
        Table(heads, tuple(rows)),
        "" if alone else "Parts of all that was scored, kept or dropped for its similarity.",
        legends,
        wide=True,
    )


def _thresholds(datasets: Sequence[Gathered]) -> Bars | None:
    """Return what each of some thresholds would keep."""
    kept = [one.tallies["similarity"] for one in datasets]
    dropped = [one.dropped_similarity for one in datasets]
    if not any(one.total for one in (*kept, *dropped)):
        return None
    wholes = [k.total + d.total for k, d in zip(kept, dropped, strict=True)]
    used = {one.threshold for one in datasets}
    bars: list[Bar] = []
    for threshold in other_thresholds(datasets):
        stay = [one.at_least(threshold) for one in kept]
        come = [one.at_least(threshold) for one in dropped]
        counts = tuple(f"{a + b:,}" for a, b in zip(stay, come, strict=True))
        style = "total" if threshold in used else ""
        bars.append(
            Bar(_signed(threshold), counts, parts(stay, wholes), parts(come, wholes), style=style)
        )
    return Bars(
        "What other thresholds would keep",
        count_heads("pairs", datasets),
        tuple(bars),
        note="Full colour: samples that are there; a stricter threshold is the expression "
        "similarity >= X for where." + (_DROPPED if any(one.total for one in dropped) else ""),
        wide=True,
    )


def _near(one: Gathered, pictures: Pictures) -> list[Block | None]:
    above = Samples(
        "The lowest that were kept" if one.threshold is not None else "The lowest similarities",
        tuple(shown_example(example, pictures, digits=4) for example in one.lowest),
    )
    below = Samples(
        "The highest that were dropped",
        tuple(shown_example(example, {}, digits=4) for example in one.highest_dropped),
        "Their images were not kept." if pictures else "",
    )
    return [above if above.shown else None, below if below.shown else None]


def _similarity_lead(one: Gathered) -> str:
    tally = one.tallies["similarity"]
    if not tally.total:
        return f"{one.whole_kind}: nothing in it was scored."
    who = "The table that the samples came from gave their similarities" if one.given else ""
    if one.run is not None and one.run.model is not None:
        who = f"Scored by {inline(str(one.run.model['spec']))}, threshold {one.threshold:g}"
    words = quantile_words(tally, "")
    lead = f"{who}: {words}." if who else f"{words[0].upper()}{words[1:]}."
    return lead.replace(" ,", ",")


def _signed(similarity: float) -> str:
    """Return a round similarity with a true minus, as wide as its like: −0.05, 0.305."""
    digits = 2 if round(similarity * 100, 6).is_integer() else 3
    return f"{similarity:.{digits}f}".replace("-", "−")
