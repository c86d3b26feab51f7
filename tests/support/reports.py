"""Make reports, and count anew what they counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import orjson

from webpairs.report.options import ReportOptions
from webpairs.report.write import write_report

Json = dict[str, Any]


def report(*folders: Path, out: Path, images: bool = False) -> tuple[str, Json]:
    """Report on folders; return the page and the numbers."""
    page = out / "report.html"
    write_report(ReportOptions(folders=tuple(map(str, folders)), out=str(page), images=images))
    return page.read_text(), orjson.loads((out / "report.json").read_bytes())


def dataset(*folders: Path, out: Path) -> Json:
    """Return the numbers of one dataset."""
    _, numbers = report(*folders, out=out)
    (one,) = numbers["datasets"]
    return one


class Rows:
    """Count rows of parquet files by SQL, apart from the code that is tested."""

    def __init__(self, **tables: Sequence[Path]) -> None:
        self._duck = duckdb.connect()
        for name, paths in tables.items():
            files = ", ".join(f"'{path}'" for path in paths)
            self._duck.execute(
                f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{files}], union_by_name=true)"
            )

    def number(self, sql: str) -> Any:
        """Return the one value of a query."""
        ((value,),) = self._duck.execute(sql).fetchall()
        return value

    def counts(self, name: str, table: str, where: str = "true") -> dict[str, int]:
        """Return how often each value of an expression is there."""
        rows = self._duck.execute(
            f"SELECT ({name})::VARCHAR AS name, count(*) FROM {table} "
            f"WHERE {where} AND ({name}) IS NOT NULL GROUP BY 1"
        ).fetchall()
        return dict(rows)

    def between(self, value: str, edges: Sequence[float | None], table: str) -> list[int]:
        """Return how many values are in each bin; an edge that is None is infinite."""
        found: list[int] = []
        last = len(edges) - 2
        for place in range(last + 1):
            low, high = edges[place], edges[place + 1]
            above = "true" if place == 0 else f"v >= {low!r}::DOUBLE"
            below = "true" if place == last else f"v < {high!r}::DOUBLE"
            found.append(
                self.number(
                    f"SELECT count(*) FROM (SELECT ({value})::DOUBLE AS v FROM {table}) "
                    f"WHERE v IS NOT NULL AND {above} AND {below}"
                )
            )
        return found


def top(names: Json, kind: str) -> dict[str, int]:
    """Return the counted names of a kind."""
    return dict(map(tuple, names[kind]["top"])) if kind in names else {}
