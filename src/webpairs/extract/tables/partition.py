"""Read columns out of the folders that a table lies in: dataset/lang=en/year=2024/part-0.parquet.

So Hive, Spark and pyarrow partition tables: a folder for each value of a column, which is then left
out of the files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import unquote

from webpairs.extract.tables.columns import Layout, Row, dataset_names
from webpairs.extract.tables.lines import RowsOf

_PARTITION: Final = re.compile(r"([^=/?#]{1,256})=([^/?#]*)")
_NULL: Final = "__HIVE_DEFAULT_PARTITION__"
"""Source: Hive's hive.exec.default.partition.name."""


def partition_values(path: str) -> dict[str, str | None]:
    """Return the columns that the folders right above a file name, and their values."""
    values: dict[str, str | None] = {}
    for folder in reversed(path.replace("\\", "/").split("/")[:-1]):
        found = _PARTITION.fullmatch(folder)
        if found is None:
            break
        name, value = (unquote(part, errors="replace") for part in found.groups())
        if name.strip():
            values[name] = None if value == _NULL else value
    return dict(reversed(values.items()))


def with_partitions(path: str, table: RowsOf) -> RowsOf:
    """Return a table with the columns of its folders as texts; one that it has itself counts."""
    layout, rows = table
    own = {name.casefold() for name in _names(layout)}
    values = {
        name: one for name, one in partition_values(path).items() if name.casefold() not in own
    }
    if not values:
        return table
    taken = [name for _, name, _ in layout.given]
    names = dataset_names([*taken, *values])[len(taken) :]
    more = tuple((name, name, "string") for name in names)
    columns = dict(zip(names, values.values(), strict=True))
    return replace(layout, given=(*layout.given, *more)), _add(rows, columns)


def _add(rows: Iterator[Row | int], columns: dict[str, str | None]) -> Iterator[Row | int]:
    for row in rows:
        yield row if isinstance(row, int) else {**columns, **row}


def _names(layout: Layout) -> Iterator[str]:
    """Yield the names of a table's own columns."""
    for name in (layout.url, layout.text, layout.similarity, layout.nsfw, layout.license):
        if name is not None:
            yield name
    if layout.hash is not None:
        yield layout.hash
    for key, name, _ in layout.given:
        yield from (key, name)
