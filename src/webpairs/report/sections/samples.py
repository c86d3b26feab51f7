"""What the samples of a dataset are: images, captions, licences, where they are from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from webpairs.quantities import counted
from webpairs.report.blocks import (
    COLOURS,
    Bar,
    Bars,
    Block,
    Cell,
    Figure,
    Samples,
    Section,
    Shown,
    Table,
    count_heads,
    legend,
    letters,
    named_bars,
    number,
    parts,
    percent,
    present,
    quantile_words,
    tally_figure,
    whole_numbers,
)
from webpairs.report.gather import Gathered
from webpairs.report.plots import Axis, compact, curve
from webpairs.report.samples import BINS
from webpairs.report.sections.examples import BLURRED
from webpairs.report.tally import Tally
from webpairs.report.thumbnails import Pictures
from webpairs.run_folder.texts_per_image import MANY_TEXTS
from webpairs.safe_text import inline, web

_SIDE_TICKS: Final = tuple((2**k, f"{2**k:,}") for k in range(4, 14, 1))
_ASPECT_TICKS: Final = (
    *((1 / 4, "1:4"), (1 / 3, "1:3"), (1 / 2, "1:2"), (2 / 3, "2:3"), (1, "1:1")),
    *((3 / 2, "3:2"), (2, "2:1"), (3, "3:1"), (4, "4:1")),
)
_BYTE_TICKS: Final = (
    *((2**10, "1 KiB"), (2**12, "4 KiB"), (2**14, "16 KiB"), (2**16, "64 KiB")),
    *((2**18, "256 KiB"), (2**20, "1 MiB"), (2**22, "4 MiB"), (2**24, "16 MiB")),
)


def image_section(datasets: Sequence[Gathered]) -> Section:
    """Show sizes, shapes, bytes and formats of the images as they were received."""
    sides = tuple(one.tallies["shorter_side"] for one in datasets)
    aspects = tuple(one.tallies["aspect"] for one in datasets)
    sizes = tuple(one.tallies["bytes"] for one in datasets)
    blocks = [
        tally_figure(
            "Shorter side",
            datasets,
            sides,
            _used(BINS["shorter_side"], sides),
            Axis("pixels", _SIDE_TICKS, log=True),
            bin_name=whole_numbers,
        ),
        tally_figure(
            "Width by height",
            datasets,
            aspects,
            _used(BINS["aspect"], aspects),
            Axis("width : height", _ASPECT_TICKS, log=True),
            bin_name=lambda low, high: f"{low:.2f} to {high:.2f}",
        ),
        _at_least(datasets),
        named_bars("Shapes", datasets, "shape", show=str, missing="size not known"),
        tally_figure(
            "Bytes as received",
            datasets,
            sizes,
            _used(BINS["bytes"], sizes),
            Axis("bytes", _BYTE_TICKS, log=True),
            bin_name=_byte_range,
        ),
        named_bars("Formats as received", datasets, "format"),
    ]
    return Section("images", "Images", tuple(map(_image_lead, datasets)), present(blocks))


def caption_section(datasets: Sequence[Gathered]) -> Section:
    """Show how long captions are, in which languages, and where they stood."""
    lengths = tuple(one.tallies["caption_chars"] for one in datasets)
    blocks = [
        tally_figure(
            "Caption length",
            datasets,
            lengths,
            BINS["caption_chars"],
            Axis("characters", tuple((k, f"{k}") for k in range(0, 151, 25))),
            bin_name=whole_numbers,
            note="The last bar holds all longer ones.",
        ),
        named_bars("Languages", datasets, "language", missing="not told"),
        named_bars("Where the text stood", datasets, "text_source", missing="not told"),
        named_bars("Where the image URL stood", datasets, "image_source", missing="not told"),
    ]
    leads = tuple(_caption_lead(one) for one in datasets)
    return Section("captions", "Captions", leads, present(blocks))


def domain_section(datasets: Sequence[Gathered]) -> Section:
    """Show which hosts the images are from, and how concentrated they are."""
    blocks = [
        named_bars("Most frequent domains", datasets, "host", missing="no URL"),
        _concentration(datasets),
    ]
    leads = tuple(_domain_lead(one) for one in datasets)
    return Section("domains", "Domains", leads, present(blocks))


def licence_section(datasets: Sequence[Gathered]) -> Section:
    """Show the licences that pages told."""
    blocks = [
        named_bars("Licences", datasets, "license_id", missing="none told"),
        named_bars(
            "Where the licence stood",
            datasets,
            "license_where",
            of=lambda one: one.named("license_where").total,
        ),
        named_bars("Licence links as they stood", datasets, "license", missing="none told"),
    ]
    leads = tuple(_licence_lead(one) for one in datasets)
    return Section("licences", "Licences", leads, present(blocks))


def tag_section(datasets: Sequence[Gathered]) -> Section:
    """Show NSFW tags and other tags, where a model or a table gave any."""
    blocks = [
        named_bars("NSFW tag", datasets, "nsfw") if any(map(_is_tagged, datasets)) else None,
        named_bars("Tags", datasets, "tag", note="A sample may have several."),
    ]
    leads = tuple(_tag_lead(one) for one in datasets)
    return Section("tags", "Tags", leads, present(blocks))


def duplicate_section(datasets: Sequence[Gathered], pictures: Pictures) -> Section:
    """Show how often the same was found, and pictures that stand under many texts."""
    blocks: list[Block | None] = [
        _few(datasets, "copies", "How often each was found"),
        _few(datasets, "texts_per_image", "Texts under a sample's image"),
    ]
    for letter, one in zip(letters(datasets), datasets, strict=True):
        if one.placeholders:
            blocks.append(
                Samples(
                    f"Images under {MANY_TEXTS} texts or more {letter}".strip(),
                    tuple(
                        Shown(
                            web(example.text if example else ""),
                            f"{counted(image.num_texts, 'text')}, "
                            f"{counted(image.num_samples, 'sample')}",
                            web(f"sha256 {image.sha256[:16]}…"),
                            None if example is None else pictures.get((example.place, example.row)),
                            example is not None and example.nsfw in BLURRED,
                        )
                        for image, example in one.placeholders
                    ),
                    "Logos, or pictures such as “image not found”; one of their texts is shown.",
                )
            )
    leads = tuple(_duplicate_lead(one) for one in datasets)
    return Section("duplicates", "Duplicates and placeholders", leads, present(blocks))


def provenance_section(datasets: Sequence[Gathered]) -> Section:
    """Show which crawls the candidates were found in, and when those were made."""
    blocks = [
        named_bars("Crawls", datasets, "crawl", missing="not told"),
        named_bars("Year of the capture", datasets, "year", show=str, missing="not told"),
    ]
    leads = tuple(
        ""
        if one.has("crawl_file")
        else f"{one.whole_kind}: it does not tell where its pairs were found."
        for one in datasets
    )
    return Section("provenance", "Provenance", leads, present(blocks))


def _at_least(datasets: Sequence[Gathered]) -> Bars | None:
    """Return how many images have both sides of a size that trainers ask for."""
    sides = [one.tallies["shorter_side"] for one in datasets]
    if not any(one.total for one in sides):
        return None
    bars = [
        Bar(f"{side} and more", tuple(f"{num:,}" for num in nums), parts(nums, wholes))
        for side in (128, 256, 512, 1024, 2048)
        for nums in [[one.at_least(side) for one in sides]]
        for wholes in [[one.num_samples for one in datasets]]
    ]
    return Bars("Both sides, in pixels", count_heads("samples", datasets), tuple(bars))


def _image_lead(one: Gathered) -> str:
    tally = one.tallies["shorter_side"]
    if not tally.total:
        return f"{one.whole_kind}: it does not tell the sizes of its images."
    return f"Shorter side before resizing: {quantile_words(tally, 'pixels')}."


def _caption_lead(one: Gathered) -> str:
    tally = one.tallies["caption_chars"]
    if not tally.total:
        return f"{one.whole_kind}: it has no captions."
    lead = f"Length: {quantile_words(tally, 'characters')}."
    if tally.missing:
        lead += f" {number(tally.missing)} samples have none."
    return lead


def _concentration(datasets: Sequence[Gathered]) -> Figure | None:
    there = [(one, colour) for one, colour in zip(datasets, COLOURS, strict=False)]
    lines = [(*_thinned(one.hosts.curve), colour) for one, colour in there if one.hosts.curve]
    if not lines:
        return None
    most = max(one.named("host").distinct for one in datasets)
    marks = (1, 10, 100, 1000)
    rows: list[tuple[Cell, ...]] = [
        (f"the first {mark:,}", *(percent(one.hosts.shares.get(mark, 0.0)) for one in datasets))
        for mark in marks
        if any(one.named("host").distinct >= mark for one in datasets)
    ]
    rows += [
        ("domains that have half of all", *(number(one.hosts.half) for one in datasets)),
        ("domains in all", *(number(one.named("host").distinct) for one in datasets)),
    ]
    return Figure(
        "How concentrated they are",
        curve(
            lines,
            Axis("domains, the most frequent first", _count_ticks(most), log=True),
            "Part of all samples that the most frequent domains have",
        ),
        Table(("domains", *count_heads("part of samples", datasets)), tuple(rows)),
        "Part of all samples that the most frequent domains have.",
        () if len(datasets) == 1 else legend(datasets),
    )


def _thinned(line: Sequence[tuple[int, float]]) -> tuple[list[float], list[float]]:
    """Return at most some 200 points of a line, evenly spread on a logarithmic axis."""
    names = np.array([one[0] for one in line], np.float64)
    kept = np.unique(
        np.searchsorted(names, np.geomspace(1, names[-1], 200)).clip(0, len(names) - 1)
    )
    xs = names[kept].tolist()
    ys = [line[place][1] for place in kept.tolist()]
    # Names of one count come in a run, on which the part grows evenly from the first name on.
    first = line[0][1] / line[0][0]
    return ([1.0, *xs], [first, *ys]) if xs[0] > 1 else (xs, ys)


def _count_ticks(most: int) -> list[tuple[float, str]]:
    """Return ticks of a logarithmic axis from 1 on: powers of ten, and between them when few."""
    within = (1, 2, 5) if most < 1000 else (1,)
    ticks = [digit * 10**power for power in range(10) for digit in within]
    return [(tick, compact(tick)) for tick in ticks if tick <= most]


def _domain_lead(one: Gathered) -> str:
    hosts = one.named("host")
    if not hosts.total:
        return f"{one.whole_kind}: it does not tell URLs."
    name, num = hosts.top[0]
    return (
        f"Images of {number(hosts.distinct)} domains (hosts of their URLs); "
        f"{number(one.hosts.half)} of them have half of the samples, {inline(name)} alone "
        f"{percent(num / hosts.total)}."
    )


def _licence_lead(one: Gathered) -> str:
    if not one.has("license") and not one.has("license_id"):
        return f"{one.whole_kind}: it does not tell licences."
    num = one.named("license").total or one.named("license_id").total
    part = percent(num / one.num_samples) if one.num_samples else "-"
    return (
        f"{number(num)} samples ({part}) stood on a page that names a licence. What a page says "
        "of itself need not hold for a picture on it."
    )


def _tag_lead(one: Gathered) -> str:
    if not _is_tagged(one) and not one.named("tag").total:
        return "Nothing was tagged: no model or table gave tags."
    return "Tags are a model's guess, and no tag is child-safety detection."


def _is_tagged(one: Gathered) -> bool:
    """Say whether any sample has an NSFW tag."""
    return any(name != "UNTAGGED" for name, _ in one.named("nsfw").top)


def _few(datasets: Sequence[Gathered], name: str, title: str) -> Bars | None:
    """Return bars of small whole numbers."""
    tallies = [one.tallies[name] for one in datasets]
    if not any(one.total for one in tallies):
        return None
    wholes = [one.total for one in tallies]
    edges = BINS[name]
    bins = [one.bins(edges) for one in tallies]
    bars = [
        Bar(whole_numbers(low, high), tuple(f"{num:,}" for num in nums), parts(nums, wholes))
        for place, (low, high) in enumerate(pairwise(edges))
        for nums in [[one.counts[place] for one in bins]]
        if any(nums)
    ]
    return Bars(title, count_heads("samples", datasets), tuple(bars))


def _duplicate_lead(one: Gathered) -> str:
    if not one.has("copies"):
        return f"{one.whole_kind}: it does not count duplicates."
    copies = one.tallies["copies"]
    several = copies.total - copies.bins(BINS["copies"]).counts[0]
    lead = f"Found more than once, and here once each: {number(several)} samples."
    if not one.has("texts_per_image"):
        return f"{lead} Texts per image were not counted."
    num = number(one.num_placeholders) if one.num_placeholders else "No"
    image = "image stands" if one.num_placeholders < 2 else "images stand"
    return f"{lead} {num} {image} under {MANY_TEXTS} different texts or more."


def _used(edges: Sequence[float], tallies: Sequence[Tally]) -> tuple[float, ...]:
    """Leave out outer bins that hold less than a thousandth: the outmost one left takes them."""
    there = [one for one in tallies if one.total]
    if not there:
        return tuple(edges)
    spans = [one.span(0.001) for one in there]
    low, high = min(low for low, _ in spans), max(high for _, high in spans)
    first = max(0, int(np.searchsorted(edges, low, side="right")) - 2)
    last = min(len(edges) - 1, int(np.searchsorted(edges, high, side="right")) + 1)
    return tuple(edges[first : last + 1])


def _byte_range(low: float, high: float) -> str:
    def word(value: float) -> str:
        return f"{value / 2**20:g} MiB" if value >= 2**20 else f"{value / 2**10:g} KiB"

    if math.isinf(high):
        return f"{word(low)} and more"
    return f"{word(low)} to {word(high)}"
