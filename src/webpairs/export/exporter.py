"""What a format has to give so that `export` can write it; the rest is the driver's.

A format is a module with a function `exporter(options) -> Exporter`, named in `FORMATS` of
`export_options.py`. The driver (`export.py`) chooses the rows, cuts them into shards, shuffles,
spreads the shards over processes, skips and counts what cannot be read, goes on after a stop, and
writes `export_report.json` into the folder of each target. An exporter has three methods:

    targets(dataset)             what is to be written: one `Target` for each config, each with
                                 its own folder and shards; ConfigError for what cannot be
    write_shard(shard, batches)  write shard `shard.number` of `shard.num_shards`; in any process
    finish(reports)              write what stands over all shards, last; called again if it was
                                 stopped, so it has to be idempotent

`write_shard` gets the samples of one shard in their order, a few at a time. It is a pure function
of them and the target: the same samples give the same bytes, whatever ran before and in which
process; the exporter is made anew from the options there. Files are written by
`webpairs.files.write_whole` (or `write_parquet`), the one that readers look at last. Their names
may hold the number of shards, which is known; how many samples a shard has is known when it is
written, since unreadable ones are left out: what needs it (counts, indexes, cards) is `finish`'s,
from `reports`, or from `shard.facts`, a dict that `write_shard` may fill with JSON and `finish`
finds in the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa

from webpairs.dataset.dataset import Dataset
from webpairs.dataset.features import EMBEDDED
from webpairs.dataset.sources.source import Embeddings
from webpairs.dataset.view import AllRows
from webpairs.errors import ConfigError

SHARD_BYTES: Final = 128_000_000
"""Of images and embeddings in a shard."""
NUM_MEASURED: Final = 256
"""Samples whose images say how large the others are."""
NUM_LISTED: Final = 100
"""Skipped samples that are listed for each reason; all are counted."""


@dataclass(frozen=True, slots=True)
class Target:
    """What one config is made of and where it goes."""

    config: str
    """Its name, unique in the export: images, embeddings, or what the format calls it."""
    folder: Path
    """Where its files lie and nothing else; made and locked by the driver."""
    columns: tuple[str, ...]
    """Tabular features and metadata columns that batches have; `key` always comes with them."""
    images: bool
    embeddings: bool
    samples_per_shard: int
    """The default; `--samples-per-shard` overrides it."""
    even: bool = False
    """Whether shards are to be as large as each other, rather than the last one smaller."""
    schema: pa.Schema | None = None
    """Names and types of the columns of every batch, `key` the last: the driver fills it in."""
    embedding_size: int | None = None
    """The source's: the driver fills it in."""
    prepared: Any = None
    """What `targets` worked out of the whole dataset for `write_shard`, the same each time."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some samples: row i of each part is the same one."""

    table: pa.Table
    """As the target's schema says. Features are never null; nsfw is int64."""
    images: list[bytes] | None
    """Encoded, none missing."""
    image_embeddings: Embeddings | None
    text_embeddings: Embeddings | None
    """Both (n, d) float16, C-contiguous."""

    @property
    def num_rows(self) -> int:
        """Return how many samples there are."""
        return self.table.num_rows

    def part(self, start: int, end: int | None = None) -> Batch:
        """Return neighbouring samples of it, without copying them."""
        rows = slice(start, self.num_rows if end is None else end)
        return Batch(
            self.table.slice(rows.start, rows.stop - rows.start),
            None if self.images is None else self.images[rows],
            None if self.image_embeddings is None else self.image_embeddings[rows],
            None if self.text_embeddings is None else self.text_embeddings[rows],
        )

    def parts(self, num_rows: int) -> Iterator[Batch]:
        """Yield the samples at most `num_rows` at a time, without copying them."""
        for start in range(0, self.num_rows, num_rows):
            yield self.part(start, min(start + num_rows, self.num_rows))


@dataclass(slots=True)
class OutputShard:
    """The shard that is written, and what is to be reported of it."""

    target: Target
    number: int
    num_shards: int
    num_samples: int = 0
    """Written: `write_shard` sets it."""
    num_bytes: int = 0
    """Of the samples as the format counts them: `write_shard` sets it."""
    skipped: Counter[str] = field(default_factory=Counter[str])
    noted: Counter[str] = field(default_factory=Counter[str])
    """What was written and deserves a word, such as images that were transcoded: counted."""
    listed: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    facts: dict[str, Any] = field(default_factory=dict[str, Any])

    def skip(self, reason: str, key: str, detail: str = "") -> None:
        """Count a sample that is left out."""
        self.skipped[reason] += 1
        if self.skipped[reason] <= NUM_LISTED:
            self.listed.append((reason, key, detail))


@dataclass(frozen=True, slots=True)
class TargetReport:
    """What became of the rows of a target: num_rows = num_samples + the sum of skipped."""

    target: Target
    num_rows: int
    shard_samples: tuple[int, ...]
    """How many samples each shard has."""
    num_bytes: int
    skipped: dict[str, int]
    noted: dict[str, int]
    listed: list[tuple[str, str, str]]
    """Reason, key and detail of the first `NUM_LISTED` skipped samples of each reason."""
    facts: list[dict[str, Any]]
    """What `write_shard` left in `shard.facts`, shard by shard."""

    @property
    def num_samples(self) -> int:
        """Return how many samples were written."""
        return sum(self.shard_samples)


class Exporter(Protocol):
    """Writer of one format; see the module's docstring."""

    def targets(self, dataset: Dataset) -> Sequence[Target]:
        """Return what is to be written; raise ConfigError for what cannot be."""
        ...

    def write_shard(self, shard: OutputShard, batches: Iterator[Batch]) -> None:
        """Write a shard whole or not at all."""
        ...

    def finish(self, reports: Sequence[TargetReport]) -> None:
        """Write what stands over all shards; `reports` are as `targets` gave them."""
        ...


def wanted_configs(dataset: Dataset, config: str | None) -> tuple[str, ...]:
    """Return which of images and embeddings are to be written: what was asked, or what is there.

    Raises ConfigError where the source lacks what was asked; returns none of a source that has
    metadata alone.
    """
    there = {
        "images": "image" in dataset.features,
        "embeddings": all(name in dataset.features for name in EMBEDDED),
    }
    source = dataset.source
    asked = ("images", "embeddings") if config == "both" else (config,)
    if config is None:
        return tuple(name for name, is_there in there.items() if is_there)
    for name in asked:
        if not there[str(name)]:
            has = [other for other, is_there in there.items() if is_there]
            raise ConfigError(
                f"--config {config}: {source.folder} ({source.kind}) has no {name}; "
                + (f"use --config {has[0]}" if has else "it has metadata alone")
            )
    return tuple(str(name) for name in asked)


def check_columns(dataset: Dataset, columns: Sequence[str]) -> None:
    """Raise ConfigError for a column that the source lacks."""
    known = dataset.column_names
    for name in columns:
        if name not in known:
            raise ConfigError(
                f"--columns {name!r}: {dataset.source.folder} has no such column; "
                f"there are {', '.join(known)}"
            )


def schema_of(dataset: Dataset, columns: Sequence[str]) -> pa.Schema:
    """Return the columns and `key`, with the types they have in the first shard that tells."""
    names = tuple(dict.fromkeys((*(name for name in columns if name != "key"), "key")))
    types: dict[str, pa.DataType] = {}
    for piece in Dataset(AllRows(dataset.source)).pieces(names, num_rows=NUM_MEASURED):
        for column in piece.table.schema:
            if not pa.types.is_null(column.type):
                types.setdefault(column.name, column.type)
        if len(types) == len(names):
            break
    return pa.schema([(name, types.get(name, pa.string())) for name in names])


def samples_for(num_bytes: int, dataset: Dataset, *, images: bool, embedding_bytes: int = 0) -> int:
    """Return how many samples have about `num_bytes`, from the first images of the dataset.

    `embedding_bytes` are those of both embeddings of a sample. A round number, at least 1.
    """
    a_sample = 300.0 + embedding_bytes  # texts and numbers
    if images:
        sizes: list[int] = []
        for piece in dataset.pieces(["key"], images=True):
            sizes += map(len, piece.images or ())
            if len(sizes) >= NUM_MEASURED:
                break
        a_sample += float(np.mean(sizes[:NUM_MEASURED])) if sizes else 0.0
    samples = max(1, int(num_bytes / a_sample))
    unit = 10 ** max(0, len(str(samples)) - 2)
    return samples // unit * unit
