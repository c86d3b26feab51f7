"""Finding the samples and the drops that are nearest to the threshold, on both sides of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow.compute

from webpairs.dataset.bounded import LIST, bounded_rows
from webpairs.dataset.features import MISSING_SIMILARITY, numbers
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.drops import Drop
from webpairs.parquet.file import UNREADABLE, read_columns
from webpairs.report.examples import Example, Nearest
from webpairs.run_folder.layout import ShardFiles
from webpairs.serve.answers.find import shown
from webpairs.serve.collection import Served

pc: Any = pyarrow.compute  # its functions are made at run time

MAX_SHARDS: Final = 200
"""Of a run folder the first shards are looked at: each is a sample of the whole at random."""
_DROPS: Final = ("uid", "url", "text", "similarity", "page_url")


def near_threshold(served: Served, num: int) -> dict[str, Any]:
    """Return up to `num` samples just above and drops just below the threshold, nearest first.

    What was dropped has texts only: its picture is not kept. Files that cannot be read count as
    empty. A candidate that was tried again may have been kept since.
    """
    kept, dropped = Nearest(above=True, num=num), Nearest(above=False, num=num)
    dataset, offsets = served.searcher.dataset, served.vectors.offsets
    for place in range(min(len(offsets) - 1, MAX_SHARDS)):
        table = dataset.shard(place).table(["similarity"])
        values = numbers(table.column("similarity"), table.num_rows)
        values = np.where(values <= MISSING_SIMILARITY, np.nan, values)
        kept.add(values, place, np.arange(len(values)), _example(values, place))
    rows = [int(offsets[one.place]) + one.row for one in kept.found]
    hits = served.searcher.hits(np.array(rows, np.int64), None) if rows else []
    return {
        "threshold": served.threshold,
        "kept": [shown(served, hit) for hit in hits],
        "dropped": _dropped(served, dropped),
    }


def _dropped(served: Served, nearest: Nearest) -> list[dict[str, Any]]:
    source = served.searcher.dataset.source
    if not isinstance(source, RunFolder):
        return []
    for place, name in enumerate(source.names[:MAX_SHARDS]):
        path = ShardFiles.of(source.folder, name).drops
        try:
            table = read_columns(path, ["reason", "similarity"])
        except UNREADABLE:
            continue
        rows = np.flatnonzero(pc.equal(table.column("reason"), str(Drop.SIMILARITY)).to_numpy())
        values = numbers(table.column("similarity"), table.num_rows)[rows]
        nearest.add(values, place, rows, _example(values, place, rows))
    found: dict[int, dict[str, Any]] = {}
    for place in {one.place for one in nearest.found}:
        path = ShardFiles.of(source.folder, source.names[place]).drops
        here = [number for number, one in enumerate(nearest.found) if one.place == place]
        table = read_columns(path, _DROPS).take([nearest.found[number].row for number in here])
        bounded = bounded_rows(table, LIST.share(len(here), len(nearest.found)))
        found |= {number: row.values for number, row in zip(here, bounded, strict=True)}
    return [_drop(found[number]) for number in range(len(nearest.found))]


def _drop(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "uid": row["uid"].hex(),
        "url": row["url"],
        "caption": row["text"],
        "similarity": row["similarity"],
        "page_url": row["page_url"],
    }


def _example(values: Any, place: int, rows: Any = None) -> Any:
    def example(number: int) -> Example:
        row = number if rows is None else int(rows[number])
        return Example(place, row, float(values[number]))

    return example
