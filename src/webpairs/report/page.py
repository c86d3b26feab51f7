"""Making the page: one HTML file that needs nothing else, runs nothing and reaches nowhere.

Every text goes through the template engine's escaping; only plots, in which no text of the web is
drawn, and our stylesheet are put in as they are. The page's own policy forbids scripts, requests
and everything else that a browser could be made to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

from webpairs.report.blocks import Section, number, percent
from webpairs.report.compare import compare_section, sides
from webpairs.report.gather import Gathered
from webpairs.report.sections.examples import map_section, random_section
from webpairs.report.sections.run import (
    fetch_section,
    funnel_section,
    making_section,
    opt_out_section,
)
from webpairs.report.sections.samples import (
    caption_section,
    domain_section,
    duplicate_section,
    image_section,
    licence_section,
    provenance_section,
    tag_section,
)
from webpairs.report.sections.similarity import similarity_section
from webpairs.report.thumbnails import Pictures
from webpairs.safe_text import web
from webpairs.version import __version__


def page(datasets: Sequence[Gathered], pictures: Pictures) -> str:
    """Return the page about one dataset, or about two beside each other."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    engine = Environment(
        loader=PackageLoader("webpairs.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (resources.files("webpairs.report") / "page.css").read_text()
    return (
        engine.get_template("page.html")
        .render(
            title=web(" and ".join(one.name for one in datasets)),
            sides=sides(datasets) if len(datasets) > 1 else None,
            lead=_lead(datasets),
            tiles=_tiles(datasets[0]) if len(datasets) == 1 else (),
            sections=_sections(datasets, pictures),
            style=Markup(style),
            version=__version__,
            letters=("A", "B"),
            percent=percent,
        )
        .lstrip()
    )


def _sections(datasets: Sequence[Gathered], pictures: Pictures) -> list[Section]:
    alone = len(datasets) == 1
    return [
        *([] if alone else [compare_section(*datasets)]),
        funnel_section(datasets),
        similarity_section(datasets, pictures),
        *([random_section(datasets, pictures)] if alone else []),
        image_section(datasets),
        caption_section(datasets),
        domain_section(datasets),
        licence_section(datasets),
        tag_section(datasets),
        opt_out_section(datasets),
        fetch_section(datasets),
        duplicate_section(datasets, pictures),
        provenance_section(datasets),
        *([map_section(datasets[0], pictures)] if alone else []),
        making_section(datasets),
    ]


def _lead(datasets: Sequence[Gathered]) -> str:
    if len(datasets) > 1:
        return "Two datasets beside each other."
    one = datasets[0]
    if one.run is None:
        return f"{one.whole_kind}."
    unfinished = "" if one.run.status.finished else "; it is not finished"
    return (
        f"{one.whole_kind}, made by webpairs {one.run.status.manifest.get('webpairs')}{unfinished}."
    )


def _tiles(one: Gathered) -> list[tuple[str, str]]:
    """Return the few numbers that stand first: each with its word."""
    tiles = [(number(one.num_samples), "samples")]
    if one.run is not None and one.run.status.funnel.found:
        funnel = one.run.status.funnel
        tiles.append((percent(funnel.samples / funnel.found), f"of {funnel.found:,} candidates"))
    if one.downloads is not None and one.downloads.asked:
        asked, good = one.downloads.asked, one.downloads.successes
        tiles.append((percent(good / asked), f"of {asked:,} URLs"))
    if one.tallies["similarity"].total:
        tiles.append((f"{one.tallies['similarity'].quantile(0.5):.3f}", "median similarity"))
    if one.named("host").total:
        tiles.append((number(one.named("host").distinct), "domains"))
    if one.tallies["shorter_side"].total:
        side = one.tallies["shorter_side"].quantile(0.5)
        tiles.append((f"{number(side)} px", "median shorter side"))
    if one.tallies["caption_chars"].total:
        chars = one.tallies["caption_chars"].quantile(0.5)
        tiles.append((number(chars), "characters in the median caption"))
    return tiles
