"""Showing samples as they are: at random, and on a map of all there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from webpairs.report.blocks import Figure, Samples, Section, Shown, Table, number, percent
from webpairs.report.examples import Example
from webpairs.report.gather import Gathered
from webpairs.report.plots import scatter
from webpairs.report.thumbnails import Pictures, Where
from webpairs.safe_text import web

BLURRED: Final = ("UNSURE", "NSFW")
"""Tags of samples whose pictures are blurred until they are pointed at."""


def random_section(datasets: Sequence[Gathered], pictures: Pictures) -> Section:
    """Show samples that were chosen at random."""
    blocks = [
        Samples("", tuple(shown_example(one, pictures) for one in dataset.random))
        for dataset in datasets
        if dataset.random
    ]
    lead = "Samples chosen at random, in the order they stand in."
    return Section("inside", "A look inside", (lead,) if blocks else (), tuple(blocks), pair=False)


def map_section(one: Gathered, pictures: Pictures) -> Section:
    """Show a sample of the images on a plane, and what is typical of each cluster."""
    drawn = one.map
    if drawn is None:
        what = "it has no embeddings" if one.embedding_size is None else "too few embeddings"
        return Section("map", "Map", (f"{one.whole_kind}: {what}.",))
    rows = tuple(
        (str(place), cluster.size, web(", ".join(cluster.words)))
        for place, cluster in enumerate(drawn.clusters, start=1)
    )
    figure = Figure(
        f"{number(len(drawn.points))} images by their embeddings",
        scatter(drawn, "Scatter plot of image embeddings, coloured by cluster"),
        Table(("cluster", "images", "telling words"), rows),
        f"A linear picture: the plane in which the centres of {len(drawn.clusters)} clusters "
        f"(k-means) lie furthest apart; it shows {percent(drawn.spread)} of all variance. What is "
        "near on it may be far apart in truth.",
        wide=True,
    )
    typical = [
        Samples(
            web(", ".join(cluster.words)) if cluster.words else "no word that tells it",
            tuple(
                replace(shown_example(example, pictures), number="", beside=None)
                for example in cluster.typical
            ),
            number=place,
        )
        for place, cluster in enumerate(drawn.clusters, start=1)
    ]
    lead = "What kinds of pictures there are, with the captions nearest to each cluster's centre."
    return Section("map", "Map", (lead,), (figure, *typical))


def wanted_pictures(one: Gathered) -> list[Where]:
    """Return which samples have thumbnails in the page, if they are asked for."""
    examples = [*one.random, *one.lowest]
    examples += [example for _, example in one.placeholders if example is not None]
    if one.map is not None:
        examples += [example for cluster in one.map.clusters for example in cluster.typical]
    return [(example.place, example.row) for example in examples]


def shown_example(example: Example, pictures: Pictures, digits: int = 2) -> Shown:
    similarity = example.similarity
    return Shown(
        web(example.text),
        "" if similarity is None else f"{similarity:.{digits}f}",
        web(" · ".join(filter(None, (example.host, example.key)))),
        pictures.get((example.place, example.row)),
        example.nsfw in BLURRED,
    )
