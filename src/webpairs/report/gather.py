"""All numbers of a report, from one pass over a dataset.

    samples   one pass over metadata, a shard after the other
    drops     one pass over `drops/`, where there are any
    told      manifest and stats

Memory does not depend on the number of samples: numbers are counted in fixed bins, names by DuckDB
within `MEMORY_BYTES`, and of texts only the few are kept that are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from webpairs.clusters import unit_rows
from webpairs.dataset.dataset import Dataset
from webpairs.dataset.open_shards import OneShard
from webpairs.dataset.sources.img2dataset import Img2datasetFolder
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.dataset.sources.source import Rows
from webpairs.external_sort import open_duckdb
from webpairs.progress import RunProgress, StageTotal
from webpairs.quantities import counted
from webpairs.report.drops import DropPass
from webpairs.report.examples import NUM_RANDOM, Example, choose_rows
from webpairs.report.map import NUM_POINTS, Map, Points, draw_map
from webpairs.report.names import Concentration, NameCounts, Named
from webpairs.report.provenance import Downloads, Run, read_downloads, read_run
from webpairs.report.samples import NUM_TEXTS_DIGITS, SamplePass
from webpairs.report.tally import Tally
from webpairs.run_folder.texts_per_image import NUM_SHOWN, ImageTexts

MEMORY_BYTES: Final = 400_000_000
"""What counting names may take: half of it is DuckDB's, which spills what is more."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """All that is said of one dataset."""

    folder: Path
    kind: str
    num_samples: int
    num_shards: int
    columns: frozenset[str]
    """Features and further columns that were read: what is not there has no numbers."""
    embedding_size: int | None
    tallies: Mapping[str, Tally]
    names: Mapping[str, Named]
    """By kind: those of `samples.NAMED` and host, shape, nsfw, license, tag, crawl, year; of what
    was dropped `drop`, `signal REASON` and `http_status REASON`."""
    hosts: Concentration
    given: bool
    """Whether similarities are those that a table gave."""
    random: tuple[Example, ...]
    """Samples chosen at random, by a fixed seed, in the order of the dataset."""
    lowest: tuple[Example, ...]
    """Samples of the lowest similarities: those just above the threshold."""
    dropped_similarity: Tally
    """Of what was dropped for it."""
    highest_dropped: tuple[Example, ...]
    """Drops for similarity, the highest ones: those just below the threshold."""
    placeholders: tuple[tuple[ImageTexts, Example | None], ...]
    """The images under the most texts, and a sample that shows each."""
    num_placeholders: int
    """Images under many texts, of which the first are in `placeholders`."""
    map: Map | None
    run: Run | None
    downloads: Downloads | None
    problems: Mapping[str, int]
    """What readers met, how often."""
    disagreements: tuple[str, ...]
    """Where rows and stats do not agree."""

    @property
    def name(self) -> str:
        """Return what the dataset is called here: its folder's name."""
        return self.folder.resolve().name

    @property
    def whole_kind(self) -> str:
        """Return the kind as a sentence begins."""
        return self.kind[0].upper() + self.kind[1:]

    @property
    def threshold(self) -> float | None:
        """Return the similarity from which on pairs were kept, where that is known."""
        return None if self.run is None else self.run.threshold

    def has(self, *columns: str) -> bool:
        """Say whether some shard has each of these columns."""
        return self.columns.issuperset(columns)

    def named(self, kind: str) -> Named:
        """Return the names of a kind; none were met of one that is not there."""
        return self.names.get(kind, Named(0, 0, ()))


def gather(ds: Dataset, spill: Path, *, with_map: bool, progress: RunProgress) -> Gathered:
    """Read a dataset; `spill` is a folder to be, for what memory cannot hold.

    Raises ConfigError when a run folder's counts cannot be read.
    """
    source = ds.source
    ds = Dataset(ds.view, OneShard(source, tuple(ds.features)))
    run = read_run(source.folder) if isinstance(source, RunFolder) else None
    given = run is not None and run.model is None
    with open_duckdb(spill, memory_bytes=MEMORY_BYTES, threads=1) as duck:
        names = NameCounts(duck)
        samples = SamplePass(ds, names, given=given)
        random, points = _read_samples(ds, samples, with_map=with_map, progress=progress)
        drops = DropPass(source.folder, source.names if run else (), names, duck)
        if run is not None:
            with progress.stage(StageTotal("read drops", "files", len(source.names))):
                drops.read(run.first_retried, lambda: progress.add({"done": 1}))
        counted = {kind: names.top(kind) for kind in names.kinds()}
        hosts = names.concentration("host")
        placeholders = _placeholders(names, samples)
    return Gathered(
        folder=source.folder,
        kind=source.kind,
        num_samples=samples.num_samples,
        num_shards=len(source.names),
        columns=frozenset(samples.columns_met),
        embedding_size=source.embedding_size,
        tallies=samples.tallies,
        names=counted,
        hosts=hosts,
        given=given,
        random=random,
        lowest=samples.nearest.found,
        dropped_similarity=drops.similarity,
        highest_dropped=drops.nearest,
        placeholders=placeholders,
        num_placeholders=counted["placeholder"].distinct if "placeholder" in counted else 0,
        map=draw_map(points),
        run=run,
        downloads=read_downloads(source) if isinstance(source, Img2datasetFolder) else None,
        problems=ds.problems.counts(),
        disagreements=() if run is None else _disagreements(run, samples, drops, counted),
    )


def _read_samples(
    ds: Dataset, samples: SamplePass, *, with_map: bool, progress: RunProgress
) -> tuple[tuple[Example, ...], list[Points]]:
    """Count all samples; return some at random, and those of the map."""
    source = ds.source
    places = range(len(source.names))
    num_rows = [source.num_rows(place) for place in places]
    chosen = choose_rows(num_rows, NUM_RANDOM)
    mapped = choose_rows(num_rows, NUM_POINTS if with_map else 0)
    random: list[Example] = []
    points: list[Points] = []
    with progress.stage(StageTotal("read samples", "shards", len(places))):
        for place in places:
            rows, embeddings = _embeddings(ds, place, mapped[place])
            found = samples.read(place, np.union1d(rows, chosen[place]))
            random += [found[row] for row in chosen[place].tolist() if row in found]
            points.append(Points(tuple(found[row] for row in rows.tolist()), embeddings))
            progress.add({"done": 1})
    return tuple(random), points


def _embeddings(ds: Dataset, place: int, rows: Rows) -> tuple[Rows, npt.NDArray[np.float32]]:
    """Return those rows of a shard that have a good embedding, and their images' (n, d)."""
    none = np.zeros(0, np.int64), np.zeros((0, 0), np.float32)
    if ds.source.embedding_size is None or not len(rows):
        return none
    shard = ds.shard(place)
    rows = rows[rows < shard.num_rows]
    rows = rows[shard.embedded(rows)] if len(rows) else rows
    pair = shard.embeddings(rows) if len(rows) else None
    if pair is None:
        return none
    embeddings, good = unit_rows(pair[0])
    shard.release(rows)
    return rows[good], embeddings[good]


def _placeholders(
    names: NameCounts, samples: SamplePass
) -> tuple[tuple[ImageTexts, Example | None], ...]:
    """Return the images under the most texts."""
    digits = NUM_TEXTS_DIGITS
    return tuple(
        (
            ImageTexts(name[digits:], int(name[:digits]), num_samples),
            samples.placeholders.get(name),
        )
        for name, num_samples in names.leading("placeholder", digits, NUM_SHOWN)
    )


def _disagreements(
    run: Run, samples: SamplePass, drops: DropPass, names: Mapping[str, Named]
) -> tuple[str, ...]:
    """Compare rows with the stats: both count the same."""
    funnel = run.status.funnel
    lines = [f"{path} cannot be read: {why}" for path, why in drops.unreadable.items()]
    if not funnel.balanced:
        lines.append("candidates are not the sum of samples, drops and what is left")
    if funnel.samples != samples.num_samples:
        lines.append(f"samples: {funnel.samples:,} in stats, {counted(samples.num_samples, 'row')}")
    rows = dict(names["drop"].top) if "drop" in names else {}
    told = run.drops_with_rows
    lines += [
        f"dropped for {reason}: {told.get(reason, 0):,} in stats, "
        f"{counted(rows.get(reason, 0), 'row')}"
        for reason in sorted({*rows, *told})
        if rows.get(reason, 0) != told.get(reason, 0)
    ]
    return tuple(lines)
