"""`search --where` alone: rows that match, in the order of keys, without index and model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest

from webpairs.cli.print_search import print_search_result
from webpairs.dataset.dataset import Dataset
from webpairs.errors import ConfigError
from webpairs.image.sniff import sniff
from webpairs.search.options import FOUND_AT, SearchOptions
from webpairs.search.searcher import search_dataset


def search(run: Path, **changes: Any) -> Any:
    return search_dataset(SearchOptions(source=str(run), **changes))


def test_rows_that_match_in_the_order_of_keys(loose_run: Path) -> None:
    rows = sorted(pq.read_table(loose_run / "metadata").to_pylist(), key=lambda row: row["key"])
    wanted = [(n, row) for n, row in enumerate(rows) if row["similarity"] > 0.3]
    hits = search(loose_run, where="similarity > 0.3", k=10_000).hits
    assert [hit.key for hit in hits] == [row["key"] for _, row in wanted]
    assert [hit.row for hit in hits] == [number for number, _ in wanted]
    assert [hit.uid for hit in hits] == [row["uid"].hex() for _, row in wanted]
    assert hits[0].similarity is None
    assert hits[0].columns["caption"] == wanted[0][1]["TEXT"]
    assert hits[0].columns["nsfw"] == "UNTAGGED"
    assert search(loose_run, where="similarity > 2").hits == ()


def test_reading_stops_with_the_last_row(loose_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    shard = Dataset.shard

    def noted(self: Dataset, place: int) -> Any:
        opened.append(place)
        return shard(self, place)

    monkeypatch.setattr(Dataset, "shard", noted)
    assert len(search(loose_run, where="similarity > -1", k=3).hits) == 3
    assert set(opened) == {0}


def test_json_tells_where_samples_were_found(
    loose_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = pq.read_table(loose_run / "metadata" / "00000.parquet").to_pylist()[0]
    result = search(loose_run, where=f"key = '{row['key']}'", found_at=True)
    print_search_result(result, "json", "")
    (hit,) = orjson.loads(capsys.readouterr().out)["hits"]
    assert set(FOUND_AT) <= set(hit["columns"])
    assert hit["columns"]["page_url"] == row["page_url"]
    assert hit["columns"]["crawl_file"] == row["crawl_file"]


def test_pictures_come_too(loose_run: Path) -> None:
    result = search(loose_run, where="similarity > 0.3", k=2, pictures=True)
    assert [sniff(one) for one in result.pictures] == ["jpeg", "jpeg"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "nothing to search for"),
        ({"where": "similarity > 0", "without": ("night",)}, "--not needs something"),
        ({"where": "similarity > 0", "unique": True}, "--unique needs something"),
        ({"where": "similarity > 0", "k": 0}, "--k 0"),
        ({"where": "nonsense > 0"}, "nonsense"),
    ],
)
def test_what_cannot_be_asked(loose_run: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        search(loose_run, **changes)
