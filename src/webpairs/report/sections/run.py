"""How a dataset came to be: funnel, opt-outs, fetching, and what it was made with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from webpairs.drops import Drop
from webpairs.report.blocks import (
    Bar,
    Bars,
    Block,
    Cell,
    Section,
    Table,
    count_heads,
    letters,
    named_bars,
    number,
    parts,
    percent,
    present,
)
from webpairs.report.gather import Gathered
from webpairs.report.provenance import Run
from webpairs.safe_text import web

OPT_OUTS: Final = (
    Drop.OPTED_OUT_PAGE,
    Drop.OPTED_OUT_IMAGE,
    Drop.ROBOTS,
    Drop.BLOCK_LISTED,
    Drop.BLOCK_LISTED_IMAGE,
    Drop.REMOVED,
)
_STAGES: Final = ("extract", "dedupe", "obtain", "decode", "judge")
_SECONDS: Final = {
    "extract": "extract, as the clock ran",
    "dedupe": "dedupe, as the clock ran",
    "total": "shards, as the clock ran, added up",
    "connect": "fetch: until connected, added up over requests",
    "first_byte": "fetch: until the first byte, added up over requests",
    "receive": "fetch: receiving, added up over requests",
    "decode": "decode and resize, added up over threads",
    "embed": "embed",
    "write": "write",
}


def funnel_section(datasets: Sequence[Gathered]) -> Section:
    """Say where every candidate went."""
    runs = [one.run for one in datasets]
    blocks: list[Block | None] = []
    if any(runs):
        blocks += [_funnel(datasets), *(_retries(one, datasets) for one in datasets)]
    blocks += [_downloads(one, datasets) for one in datasets]
    return Section(
        "funnel",
        "Where every candidate went",
        tuple(_funnel_lead(one) for one in datasets),
        present(blocks),
        pair=False,
    )


def opt_out_section(datasets: Sequence[Gathered]) -> Section:
    """Say who said no, and by which signal."""
    signals = [
        named_bars(
            f"{drop}, by signal",
            datasets,
            f"signal {drop}",
            what="candidates",
            of=lambda one, drop=drop: _dropped(one, drop),
            missing="no signal recorded",
        )
        for drop in OPT_OUTS
    ]
    kept = named_bars("Kept in spite of a signal", datasets, "opt_out")
    asked = named_bars(
        "What the sites of the samples answered when asked",
        datasets,
        "permissions",
        missing="not asked",
    )
    leads = tuple(_opt_out_lead(one) for one in datasets)
    blocks = present([_refusals(datasets), *signals, kept, asked])
    return Section("opt-outs", "Opt-outs", leads, blocks)


def fetch_section(datasets: Sequence[Gathered]) -> Section:
    """Say what the web, or the archive, answered, and where the time went."""
    blocks = [_statuses(datasets), _seconds(datasets)]
    leads = tuple(_fetch_lead(one) for one in datasets)
    return Section("fetching", "Fetching", leads, present(blocks))


def making_section(datasets: Sequence[Gathered]) -> Section:
    """Show the manifests, and what does not agree."""
    blocks: list[Block | None] = []
    for letter, one in zip(letters(datasets), datasets, strict=True):
        blocks.append(_facts(one, letter))
        if one.run is not None:
            options = {
                **one.run.status.manifest.get("options", {}),
                **{f"version of {n}": v for n, v in _versions(one.run).items()},
            }
            rows = tuple((name, web(_plain(value))) for name, value in options.items())
            title = f"Options and versions {letter}".strip()
            blocks.append(Table(("option", "value"), rows, title, counts=False, folded=True))
            inputs = [
                (web(str(given["name"])), web(str(given["kind"])), number(int(given["bytes"])))
                for given in one.run.shown_manifest()["inputs"]
            ]
            shown: tuple[tuple[Cell, ...], ...] = tuple(inputs[:100])
            title = f"Inputs {letter}".strip()
            if len(inputs) > len(shown):
                title += f": the first {len(shown)} of {len(inputs):,}"
            blocks.append(Table(("input", "kind", "bytes"), shown, title, folded=True))
    leads = tuple(_check_lead(one) for one in datasets)
    return Section("making", "How it was made", leads, present(blocks))


def _funnel(datasets: Sequence[Gathered]) -> Bars:
    """Return a waterfall: what was found, what each stage dropped for what, what was left."""
    funnels = [None if one.run is None else one.run.status.funnel for one in datasets]
    found = [0 if one is None else one.found for one in funnels]
    samples = [0 if one is None else one.samples for one in funnels]
    left = list(found)

    def bar(name: str, nums: Sequence[int], style: str) -> Bar:
        sign = "−" if style == "loss" else ""
        counts = tuple(
            "–" if one is None else f"{sign}{num:,}" if num else "0"
            for one, num in zip(funnels, nums, strict=True)
        )
        return Bar(name, counts, parts(nums, found), style=style)

    bars = [bar("candidates found", found, "total")]
    for stage in _STAGES:
        lost = False
        for drop in Drop:
            if drop.stage != stage:
                continue
            nums = [0 if one is None else one.drops[drop] for one in funnels]
            if any(nums):
                bars.append(bar(str(drop), nums, "loss"))
                left = [before - num for before, num in zip(left, nums, strict=True)]
                lost = True
        if lost and left != samples:
            bars.append(bar(f"after {stage}", left, "total"))
    waiting = [0 if one is None else one.left for one in funnels]
    if any(waiting):
        bars.append(bar("left to do", waiting, "loss"))
    bars.append(bar("samples", samples, "total"))
    return Bars("", count_heads("candidates", datasets), tuple(bars))


def _funnel_lead(one: Gathered) -> str:
    if one.run is None:
        if one.downloads is not None:
            asked, good = one.downloads.asked, one.downloads.successes
            return (
                f"{number(asked)} URLs were asked for, {number(good)} images came "
                f"({percent(good / asked) if asked else '-'}), as its stats say."
            )
        return f"{one.whole_kind}: it does not tell what was left out, or why."
    funnel = one.run.status.funnel
    kept = percent(funnel.samples / funnel.found) if funnel.found else "-"
    lead = (
        f"{number(funnel.found)} candidates were found on {number(funnel.pages)} pages; "
        f"{number(funnel.samples)} became samples ({kept})."
    )
    if funnel.broken_records:
        lead += f" Beside these, {number(funnel.broken_records)} records could not be read."
    if funnel.left:
        lead += f" {number(funnel.left)} wait for shards that are not there yet."
    return lead


def _retries(one: Gathered, datasets: Sequence[Gathered]) -> Table | None:
    """Return what each retry took, and what came of it."""
    if one.run is None or not one.run.retries:
        return None
    rows: list[tuple[Cell, ...]] = []
    for retry in one.run.retries:
        taken = retry.record.taken
        done = retry.samples + retry.drops.total()
        what = f"retry {retry.record.number}, {retry.record.when[:10]}"
        rows.append((what, "tried again", taken.total()))
        rows += [(what, f"… dropped before: {drop}", num) for drop, num in _sorted(taken)]
        rows.append((what, "became samples", retry.samples))
        rows += [(what, f"… dropped again: {drop}", num) for drop, num in _sorted(retry.drops)]
        if taken.total() > done:
            rows.append((what, "not done yet", taken.total() - done))
    letter = letters(datasets)[datasets.index(one)]
    return Table(("retry", "what", "candidates"), tuple(rows), f"Retries {letter}".strip())


def _sorted(counts: dict[Drop, int]) -> list[tuple[Drop, int]]:
    return [(drop, counts[drop]) for drop in Drop if counts.get(drop)]


def _downloads(one: Gathered, datasets: Sequence[Gathered]) -> Bars | None:
    """Return what img2dataset said of each URL."""
    if one.downloads is None:
        return None
    told = one.downloads
    statuses = dict(told.statuses) or {
        "success": told.successes,
        "failed to download": told.failed_to_download,
        "failed to resize": told.failed_to_resize,
    }
    bars = [
        Bar(web(name), (f"{num:,}",), parts([num], [told.asked]))
        for name, num in statuses.items()
        if num
    ]
    if (rest := told.asked - sum(statuses.values())) > 0:
        bars.append(Bar("not told", (f"{rest:,}",), parts([rest], [told.asked]), style="missing"))
    letter = letters(datasets)[datasets.index(one)]
    title = f"What img2dataset said of each URL {letter}".strip()
    return Bars(title, ("URLs",), tuple(bars[:12]), tuple(bars[12:]))


def _refusals(datasets: Sequence[Gathered]) -> Bars | None:
    """Return how many candidates were left out for each reason that is someone's no."""
    found = [0 if one.run is None else one.run.status.funnel.found for one in datasets]
    bars = [
        Bar(str(drop), tuple(f"{num:,}" for num in nums), parts(nums, found))
        for drop in OPT_OUTS
        for nums in [[_dropped(one, drop) for one in datasets]]
        if any(nums)
    ]
    if not bars:
        return None
    return Bars("Left out", count_heads("candidates", datasets), tuple(bars))


def _dropped(one: Gathered, drop: Drop) -> int:
    return 0 if one.run is None else one.run.status.funnel.drops[drop]


def _opt_out_lead(one: Gathered) -> str:
    if one.run is None:
        return f"{one.whole_kind}: it does not tell who opted out."
    num = sum(_dropped(one, drop) for drop in OPT_OUTS)
    kept = one.named("opt_out").total
    lead = f"{number(num)} candidates were left out because someone said no."
    if kept:
        lead += f" {number(kept)} samples were kept in spite of a signal, as an option asked."
    return lead


def _fetch_lead(one: Gathered) -> str:
    if one.run is None:
        return f"{one.whole_kind}: it does not tell how its images were fetched."
    images = one.run.status.manifest.get("options", {}).get("images")
    where = {"web": "the live web", "archive": "the crawl files themselves"}.get(images, "-")
    received = one.run.image_bytes / 1e6
    return f"Images came from {where}: {number(received)} MB of them were received."


def _statuses(datasets: Sequence[Gathered]) -> Bars | None:
    """Return HTTP statuses: how many answers became samples, how many were dropped."""
    kept: list[dict[str, int]] = []
    dropped: list[dict[str, int]] = []
    for one in datasets:
        kept.append(dict(one.named("http_status").top))
        of_drops: dict[str, int] = {}
        for kind, names in one.names.items():
            if kind.startswith("http_status "):
                for status, num in names.top:
                    of_drops[status] = of_drops.get(status, 0) + num
        dropped.append(of_drops)
    statuses = sorted({status for one in (*kept, *dropped) for status in one})
    if not statuses:
        return None
    wholes = [sum(a.values()) + sum(b.values()) for a, b in zip(kept, dropped, strict=True)]
    bars: list[Bar] = []
    for status in statuses:
        good = [one.get(status, 0) for one in kept]
        bad = [one.get(status, 0) for one in dropped]
        counts = tuple(f"{a + b:,}" for a, b in zip(good, bad, strict=True))
        bars.append(Bar(web(status), counts, parts(good, wholes), parts(bad, wholes)))
    return Bars(
        "HTTP status of the answers",
        count_heads("answers", datasets),
        tuple(bars),
        note="Full colour: became samples; faint: dropped, for whatever reason.",
    )


def _seconds(datasets: Sequence[Gathered]) -> Table | None:
    told = [{} if one.run is None else one.run.seconds for one in datasets]
    if not any(told):
        return None
    rows = tuple(
        (word, *(f"{one[name]:,.1f}" if name in one else "-" for one in told))
        for name, word in _SECONDS.items()
        if any(name in one for one in told)
    )
    return Table(("stage", *count_heads("seconds", datasets)), rows, "Seconds by stage")


def _facts(one: Gathered, letter: str) -> Table:
    rows: list[tuple[Cell, Cell]] = [
        ("folder", web(one.name)),
        ("kind", one.kind),
        ("shards", number(one.num_shards)),
    ]
    if one.embedding_size is not None:
        rows.append(("embeddings", f"{one.embedding_size} numbers each"))
    if one.run is not None:
        manifest, model = one.run.status.manifest, one.run.model
        options = manifest.get("options", {})
        rows += [
            ("recipe", web(str(options.get("recipe.name")))),
            ("model", "none: nothing was scored" if model is None else web(str(model["spec"]))),
        ]
        if model is not None:
            rows += [
                ("hash of its weights", web(str(model["weights_sha256"]))),
                ("runtime", web(str(model["runtime"]))),
                ("threshold", number(options["threshold"])),
            ]
        rows += [
            ("webpairs", web(str(manifest.get("webpairs")))),
            ("finished", web(str(manifest["finished"])) if one.run.status.finished else "no"),
        ]
    return Table(("fact", "value"), tuple(rows), f"Facts {letter}".strip(), counts=False)


def _versions(run: Run) -> dict[str, str]:
    return dict(run.status.manifest.get("versions") or {})


def _plain(value: object) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _check_lead(one: Gathered) -> str:
    notes = [f"{number(num)} {name}" for name, num in one.problems.items()]
    if notes:
        notes = [f"reading it met: {', '.join(notes)}"]
    notes += one.disagreements
    if notes:
        return f"Not all is well. {'; '.join(notes)}. webpairs verify says more."
    if one.run is None:
        return "Reading it met no problem."
    return (
        "Samples and drops were counted twice, in the stats of the run and in the rows of its "
        "files: they agree."
    )
