"""The candidate writer: every row accounted for, sorted by bucket, committed once or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webpairs.drops import Drop
from webpairs.extract.candidates import CandidateWriter, bucket_row_groups
from webpairs.extract.page import ExtractRules, ExtractStats, Page
from webpairs.ids import uid_of
from webpairs.run_folder.schema import CANDIDATES, arrow_schema

RULES = ExtractRules(("alt",), ("src",), 5, ("any",))
PAGE = Page("http://a.example/x/", None, "a.warc.gz", 7, 1_700_000_000_123)


def write(
    path: Path,
    pages: Sequence[tuple[Page, Sequence[str], Sequence[str]]],
    rules: ExtractRules = RULES,
    **options: int,
) -> tuple[list[dict[str, Any]], ExtractStats]:
    stats = ExtractStats()
    with CandidateWriter(path, rules, stats, **options) as writer:
        for page, urls, texts in pages:
            num = len(urls)
            writer.add_page(page, urls, texts, ["src"] * num, ["alt"] * num, list(range(num)))
    return pq.read_table(path).to_pylist(), stats


def test_a_row_holds_all_of_it(tmp_path: Path) -> None:
    page = Page(
        *("http://a.example/x/", "../b/", "a.warc.gz", 1 << 40, 1_700_000_000_123),
        *("http://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0", "a", "x-robots-tag:noai"),
    )
    rows, stats = write(tmp_path / "c.parquet", [(page, ["i.jpg#x"], ["A boat &amp;  a lake"])])
    url, text = "http://a.example/b/i.jpg", "A boat & a lake"
    score, date = rows[0].pop("language_score"), rows[0].pop("crawl_date")
    assert rows == [
        {
            "uid": uid_of(url, text),
            "url": url,
            "text": text,
            "license": "http://creativecommons.org/licenses/by/4.0/",
            "language": "en",
            "license_id": "CC-BY-4.0",
            "license_where": "a",
            "opt_out": "x-robots-tag:noai",
            "image_source": "src",
            "text_source": "alt",
            "page_url": "http://a.example/x/",
            "crawl_file": "a.warc.gz",
            "crawl_offset": 1 << 40,
            "position": 0,
            # what only tables have
            **dict.fromkeys(("similarity_given", "url_given", "text_given")),
            **dict.fromkeys(("nsfw_given", "hash_given", "given")),
        }
    ]
    assert 0.2 < score <= 1
    assert date.timestamp() == 1_700_000_000.123
    assert (stats.found, stats.written, stats.drops) == (1, 1, {})
    assert pq.read_schema(tmp_path / "c.parquet").equals(arrow_schema(CANDIDATES))


@pytest.mark.parametrize(
    ("url", "text", "drop"),
    [
        ("i.jpg", "abcd", Drop.TEXT_TOO_SHORT),
        ("i.jpg", " a&amp;b\u200b\u200b ", Drop.TEXT_TOO_SHORT),
        ("i.jpg", "&nbsp;", Drop.TEXT_TOO_SHORT),
        ("i.gif", "a good text", Drop.URL_UNWANTED),
        ("data:image/png;base64,xyz", "a good text", Drop.URL_UNWANTED),
        ("http://[bad/i.jpg", "a good text", Drop.URL_INVALID),
        ("", "a good text", Drop.URL_INVALID),
        ("i.jpg", "Ein kleines Boot auf dem großen See", Drop.LANGUAGE),
        # in the order of the rules
        ("i.gif", "abcd", Drop.TEXT_TOO_SHORT),
        ("http://[bad/i.gif", "a good text", Drop.URL_UNWANTED),
        ("http://[bad/", "Ein kleines Boot auf dem großen See", Drop.URL_INVALID),
    ],
)
def test_drops(tmp_path: Path, url: str, text: str, drop: Drop) -> None:
    rules = ExtractRules(("alt",), ("src",), 5, ("en", "fr"))
    rows, stats = write(tmp_path / "c.parquet", [(PAGE, [url], [text])], rules)
    assert (rows, stats.found, stats.written, stats.drops) == ([], 1, 0, {drop: 1})


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\xa0", "\u3000"])
def test_no_text_is_no_candidate(tmp_path: Path, text: str) -> None:
    rows, stats = write(tmp_path / "c.parquet", [(PAGE, ["a.jpg", "b.jpg"], [text, "a boat"])])
    assert (stats.found, stats.drops) == (1, {})
    assert [(row["url"], row["position"]) for row in rows] == [("http://a.example/x/b.jpg", 1)]


def many(num_pages: int, per_page: int = 7) -> list[tuple[Page, list[str], list[str]]]:
    return [
        (
            Page(f"http://{number}.example/", None, f"{number % 3}.gz", number, 10**12 - number),
            [f"{number * per_page + i}.jpg" for i in range(per_page)],
            [f"picture number {i} of page {number % 50}" for i in range(per_page)],
        )
        for number in range(num_pages)
    ]


@pytest.mark.parametrize("max_rows", [1, 900, 250_000])
def test_row_groups_are_buckets(tmp_path: Path, max_rows: int) -> None:
    pages = many(30 if max_rows == 1 else 300)
    path = tmp_path / "c.parquet"
    rows, stats = write(path, pages, max_rows_in_memory=max_rows)
    assert stats.written == len(rows) == 7 * len(pages)
    file = pq.ParquetFile(path)
    groups = bucket_row_groups(file.metadata)
    assert sorted(group for held in groups.values() for group in held) == list(
        range(file.num_row_groups)
    )
    for bucket, held in groups.items():
        for group in held:
            part = file.read_row_group(group).to_pylist()
            assert 0 < len(part) <= max(max_rows, 16_384)
            assert {row["uid"][0] for row in part} == {bucket}
            assert all(a["uid"] <= b["uid"] for a, b in pairwise(part))


def test_copies_are_ordered_by_date_file_offset_position(tmp_path: Path) -> None:
    at = [(5, "a", 9, 3), (5, "b", 1, 0), (6, "a", 0, 0), (5, "a", 9, 1), (5, "a", 2, 8)]
    pages = [(Page("http://a.example/", None, f, o, d), p) for d, f, o, p in at]
    stats = ExtractStats()
    with CandidateWriter(tmp_path / "c.parquet", RULES, stats) as writer:
        for page, position in pages:
            writer.add_page(page, ["i.jpg"], ["a boat"], ["src"], ["alt"], [position])
    rows = pq.read_table(tmp_path / "c.parquet").to_pylist()
    columns = ("crawl_date", "crawl_file", "crawl_offset", "position")
    found = [tuple(row[column] for column in columns) for row in rows]
    expected = [(datetime.fromtimestamp(d / 1000, UTC), f, o, p) for d, f, o, p in sorted(at)]
    assert found == expected


def test_memory_does_not_change_the_rows(tmp_path: Path) -> None:
    one, _ = write(tmp_path / "a.parquet", many(100))
    other, _ = write(tmp_path / "b.parquet", many(100), max_rows_in_memory=300)
    assert one == sorted(other, key=lambda row: row["uid"])


def test_nothing_is_a_file_without_rows(tmp_path: Path) -> None:
    rows, stats = write(tmp_path / "c.parquet", [])
    assert (rows, stats.found) == ([], 0)
    assert bucket_row_groups(pq.ParquetFile(tmp_path / "c.parquet").metadata) == {}


def test_an_error_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    path.write_bytes(b"the one before")
    writer = CandidateWriter(path, RULES, ExtractStats())

    def fail() -> None:
        with writer:
            writer.add_page(PAGE, ["i.jpg"], ["a boat"], ["src"], ["alt"], [0])
            assert len(list(tmp_path.iterdir())) == 2
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"the one before"


def test_the_temporary_file_belongs_to_the_process(tmp_path: Path) -> None:
    with CandidateWriter(tmp_path / "c.parquet", RULES, ExtractStats()):
        (held,) = tmp_path.iterdir()
        assert str(os.getpid()) in held.name
        assert held.name.startswith(".")


@given(
    st.lists(
        st.tuples(
            st.text(alphabet=st.characters(exclude_categories=())),
            st.text(alphabet=st.characters(exclude_categories=())),
        ),
        max_size=5,
    ),
    st.text(alphabet=st.characters(exclude_categories=()), max_size=10),
)
@settings(max_examples=60)
def test_any_strings_are_written_or_dropped(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[str, str]], other: str
) -> None:
    page = Page(other, other, other, 0, 0, other)
    urls, texts = [url for url, _ in found], [text for _, text in found]
    path = tmp_path_factory.getbasetemp() / "any.parquet"
    rules = ExtractRules(("alt",), ("src",), 1, ("any",))
    rows, stats = write(path, [(page, urls, texts), (PAGE, ["i.jpg"], ["a boat"])], rules)
    assert stats.found == stats.written + sum(stats.drops.values())
    assert len(rows) == stats.written >= 1
