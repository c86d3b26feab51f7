"""Filters and counts from the mapped rows: the same as from the shards themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import webpairs
from webpairs.dataset.features import TABULAR
from webpairs.errors import ConfigError
from webpairs.search.index.build import build_index
from webpairs.search.options import IndexOptions
from webpairs.search.row_store import COUNTED
from webpairs.search.searcher import Searcher

EXPRESSIONS = (
    "similarity > 0.3",
    "nsfw = 'UNTAGGED' and original_width >= 200",
    "NSFW is null",
    "license = ''",
    "license_id is null or license_id like 'CC-BY%'",
    "language = 'en' and format in ('png', 'webp')",
    "split_part(url, '/', 3) like '%example%' and caption ilike '%star%'",
    "page_url like '%news%'",
    "TEXT ilike '%circle%' and WIDTH > HEIGHT",
    "similarity > 2",
)


@pytest.fixture(scope="module")
def run(loose_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = Path(shutil.copytree(loose_run, tmp_path_factory.mktemp("chosen") / "run"))
    build_index(IndexOptions(source=str(out)))
    return out


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_chosen_rows_are_the_datasets(run: Path, expression: str) -> None:
    searcher = Searcher.open(run)
    rows = searcher.rows_where(expression)
    keys = [hit.key for hit in searcher.hits(rows, None, ())]
    assert keys == webpairs.open(run).where(expression).table(["key"])["key"].to_pylist()


def test_most_filters_open_no_shard(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = Searcher.open(run)

    def refuse(place: int) -> None:
        raise AssertionError(f"shard {place} was opened")

    monkeypatch.setattr(searcher.dataset, "shard", refuse)
    for expression in EXPRESSIONS[:2] + EXPRESSIONS[3:7]:
        searcher.rows_where(expression)
    assert searcher.table(None, [*TABULAR, *COUNTED], 10).num_rows == 10


@pytest.mark.parametrize("most", [1, 7, 10**6])
def test_columns_are_the_datasets(run: Path, most: int) -> None:
    searcher = Searcher.open(run)
    names = ["caption", "similarity", "license_id", "format"]
    whole = webpairs.open(run).table(names)
    assert searcher.table(None, names, most).to_pylist() == whole.to_pylist()[:most]
    rows = np.array([9, 2, 30])
    some = [whole.to_pylist()[row] for row in sorted(rows.tolist())]
    assert searcher.table(rows, names, most).to_pylist() == some[:most]
    from_shards = searcher.table(rows, [*names, "page_url"], most)
    assert from_shards.select(names).to_pylist() == some[:most]
    assert searcher.table(np.zeros(0, np.int64), names, most).num_rows == 0
    assert searcher.table(np.zeros(0, np.int64), ["page_url"], most).num_rows == 0


def test_expressions_that_cannot_be_are_told(run: Path) -> None:
    searcher = Searcher.open(run)
    for expression, words in (("colour = 1", "no column colour"), ("similarity + 'x'", "where")):
        with pytest.raises(ConfigError, match=words):
            searcher.rows_where(expression)
