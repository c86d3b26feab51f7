"""Every candidate is in the funnel once, and the table shows what the counts say."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from webpairs.cli.print_funnel import funnel_table
from webpairs.drops import Drop
from webpairs.files import write_json
from webpairs.run_folder.funnel import Funnel, read_funnel, read_json


def write_stats(out: Path, *shards: dict[str, object], extract: bool = True) -> None:
    stats = out / "stats"
    if extract:
        drops = {"text_too_short": 3, "record_broken": 2}
        write_json(
            stats / "extract.json", {"records": 40, "pages": 9, "found": 100, "drops": drops}
        )
        write_json(
            stats / "dedupe.json", {"shards": 2, "drops": {"duplicate": 7, "opted_out_page": 10}}
        )
    for number, shard in enumerate(shards):
        write_json(stats / f"{number:05}.json", shard)


def test_an_empty_run_folder_is_an_empty_funnel(tmp_path: Path) -> None:
    assert read_funnel(tmp_path) == Funnel()
    assert Funnel().balanced


def test_the_stats_add_up(tmp_path: Path) -> None:
    shard = {"samples": 15, "drops": {"similarity": 20, "too_small": 5}}
    write_stats(tmp_path, shard, shard)
    funnel = read_funnel(tmp_path)
    assert (funnel.records, funnel.pages, funnel.found) == (40, 9, 100)
    assert funnel.broken_records == 2
    assert funnel.samples == 30
    assert funnel.drops == Counter(
        {
            Drop.TEXT_TOO_SHORT: 3,
            Drop.DUPLICATE: 7,
            Drop.OPTED_OUT_PAGE: 10,
            Drop.SIMILARITY: 40,
            Drop.TOO_SMALL: 10,
        }
    )
    assert funnel.left == 0
    assert funnel.balanced


def write_retries(out: Path, *shards: dict[str, dict[str, int]]) -> None:
    for number, counts in enumerate(shards):
        content = {"number": number, "reasons": ["timeout"], "first_shard": 2, "when": "now"}
        write_json(out / "stats" / f"retry-{number:05}.json", content | {"shards": counts})


def test_what_was_tried_again_counts_once(tmp_path: Path) -> None:
    """The second retry takes what the first one could not get; its last shard is to come."""
    first = {"samples": 10, "drops": {"timeout": 28, "dns": 2}}
    retried = {"samples": 5, "drops": {"timeout": 20, "opted_out_image": 3}}
    again = {"samples": 6, "drops": {"similarity": 4}}
    write_stats(tmp_path, first, {"samples": 40, "drops": {}}, retried, again)
    counts = {"00003": {"timeout": 10}, "00004": {"timeout": 10}}
    write_retries(tmp_path, {"00002": {"timeout": 28}}, counts)
    funnel = read_funnel(tmp_path)
    assert funnel.samples == 61
    assert +funnel.drops == Counter(
        {
            Drop.TEXT_TOO_SHORT: 3,
            Drop.DUPLICATE: 7,
            Drop.OPTED_OUT_PAGE: 10,
            Drop.DNS: 2,
            Drop.TIMEOUT: 10,
            Drop.OPTED_OUT_IMAGE: 3,
            Drop.SIMILARITY: 4,
        }
    )
    assert funnel.left == 0
    assert funnel.balanced
    assert "timeout" in funnel.as_json()["drops"]


def test_a_reason_that_nothing_is_left_under_is_not_named(tmp_path: Path) -> None:
    write_stats(tmp_path, {"samples": 75, "drops": {"dns": 5}}, {"samples": 5, "drops": {}})
    write_retries(tmp_path, {"00001": {"dns": 5}})
    assert "dns" not in read_funnel(tmp_path).as_json()["drops"]
    stream = io.StringIO()
    Console(file=stream, width=100).print(funnel_table(read_funnel(tmp_path)))
    assert "dns" not in stream.getvalue()


def test_shards_that_are_not_committed_are_left(tmp_path: Path) -> None:
    write_stats(tmp_path, {"samples": 15, "drops": {"similarity": 25}})
    funnel = read_funnel(tmp_path)
    assert funnel.left == 40
    assert funnel.balanced
    assert funnel.as_json() == {
        "records": 40,
        "broken_records": 2,
        "pages": 9,
        "candidates": 100,
        "drops": {"text_too_short": 3, "duplicate": 7, "opted_out_page": 10, "similarity": 25},
        "left": 40,
        "samples": 15,
    }


@given(
    st.dictionaries(st.sampled_from(Drop), st.integers(0, 10**6)),
    st.integers(0, 10**6),
    st.integers(-3, 3),
)
def test_balanced_means_that_nothing_is_missing_or_twice(
    drops: dict[Drop, int], samples: int, off: int
) -> None:
    funnel = Funnel(found=samples + sum(drops.values()) + off, samples=samples)
    funnel.drops.update(drops)
    assert funnel.balanced == (off == 0)


def test_the_table_shows_every_reason_with_its_stage(tmp_path: Path) -> None:
    write_stats(tmp_path, {"samples": 15, "drops": {"similarity": 25}})
    stream = io.StringIO()
    Console(file=stream, width=100).print(funnel_table(read_funnel(tmp_path)))
    rows = [line.split() for line in stream.getvalue().splitlines()]
    assert ["extract", "found", "on", "9", "pages", "100", "100.0%"] in rows
    assert ["extract", "-", "text_too_short", "-3", "-3.0%"] in rows
    assert ["dedupe", "-", "opted_out_page", "-10", "-10.0%"] in rows
    assert ["judge", "-", "similarity", "-25", "-25.0%"] in rows
    assert ["left", "to", "do", "40", "40.0%"] in rows
    assert ["write", "samples", "15", "15.0%"] in rows
    assert "2 records could not be read" in stream.getvalue()


def test_the_table_of_nothing(tmp_path: Path) -> None:
    stream = io.StringIO()
    Console(file=stream, width=100).print(funnel_table(Funnel()))
    assert "found on 0 pages" in stream.getvalue()


@pytest.mark.parametrize("drop", Drop)
def test_every_drop_reason_has_its_stage(drop: Drop) -> None:
    assert drop.stage in ("extract", "dedupe", "obtain", "decode", "judge")


def test_stages_stand_where_the_design_has_them() -> None:
    assert [drop for drop in Drop if drop.stage == "decode"] == [
        Drop.NOT_AN_IMAGE,
        Drop.FORMAT,
        Drop.PIXELS,
        Drop.TRUNCATED,
        Drop.UNDECODABLE,
        Drop.SIDE,
        Drop.ASPECT,
    ]
    assert Drop.RECORD_BROKEN.stage == "extract"
    assert Drop.LIMIT.stage == "dedupe"
    assert Drop.BLOCK_LISTED_IMAGE.stage == "obtain"
    assert Drop.EXCLUDED_IMAGE.stage == "judge"


def test_no_file_is_none(tmp_path: Path) -> None:
    assert read_json(tmp_path / "absent.json") is None
