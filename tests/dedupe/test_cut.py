"""Rows are cut into shards whose bytes depend on the rows alone; the list of shards comes last."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.dedupe import cut
from webpairs.dedupe.cut import UNIQUE_SCHEMA, Feed, cut_rows, read_cut


def rows(num: int) -> pa.Table:
    return pa.table(
        {
            "uid": pa.array([b"%016d" % n for n in range(num)], pa.binary(16)),
            "url": [f"https://a.example/{n}.jpg" for n in range(num)],
            "text": [f"text {n % 3}" for n in range(num)],
            "license": ["?"] * num,
            "position": pa.array(range(num), pa.int32()),
            "copies": pa.array([1] * num, pa.int32()),
        }
    )


def pieces(table: pa.Table, ends: list[int]) -> list[pa.Table]:
    """Return a table in pieces that end at these rows."""
    edges = [0, *sorted(min(end, table.num_rows) for end in ends), table.num_rows]
    return [table.slice(a, b - a) for a, b in pairwise(edges)]


@given(num=st.integers(0, 60), ends=st.lists(st.integers(0, 60), max_size=6), data=st.data())
def test_a_feed_gives_the_rows_in_their_order(
    num: int, ends: list[int], data: st.DataObject
) -> None:
    table = rows(num)
    feed = Feed(pieces(table, ends))
    taken, left = [], num
    while left:
        taken.append(feed.take(data.draw(st.integers(1, left))))
        left -= taken[-1].num_rows
        assert taken[-1].column("uid").num_chunks <= 1
    assert sum(one.num_rows for one in taken) == num
    if taken:
        assert pa.concat_tables(taken).equals(table)


def test_shards_are_full_but_for_the_last(tmp_path: Path) -> None:
    found = cut_rows([rows(25)], tmp_path, num_rows=25, shard_size=10, over_limit=3)
    assert [one.num_candidates for one in found.shards] == [10, 10, 5]
    assert [Path(one.path).name for one in found.shards] == [f"0000{n}.parquet" for n in range(3)]
    tables = [pq.read_table(one.path) for one in found.shards]
    assert all(table.schema.equals(UNIQUE_SCHEMA) for table in tables)
    whole = pa.concat_tables(tables)
    assert whole.column("url").to_pylist() == rows(25).column("url").to_pylist()
    assert whole.column("page_url").null_count == 25, "columns that are not there are null"


def test_the_bytes_do_not_depend_on_the_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cut, "ROW_GROUP_ROWS", 4)
    contents: list[list[bytes]] = []
    for number, ends in enumerate(([], [1, 2, 3], [10], [7, 7, 24])):
        folder = tmp_path / str(number)
        found = cut_rows(pieces(rows(25), ends), folder, num_rows=25, shard_size=10, over_limit=0)
        contents.append([Path(one.path).read_bytes() for one in found.shards])
    assert all(one == contents[0] for one in contents)
    assert pq.read_metadata(tmp_path / "0" / "00000.parquet").num_row_groups == 3


def test_no_rows_are_no_shards(tmp_path: Path) -> None:
    assert cut_rows([], tmp_path, num_rows=0, shard_size=10, over_limit=2).shards == ()
    found = read_cut(tmp_path, 10)
    assert found is not None
    assert (found.shards, found.over_limit) == ((), 2)


def test_a_cut_is_read_again_only_when_it_was_finished(tmp_path: Path) -> None:
    assert read_cut(tmp_path, 10) is None

    def stops_in_the_middle() -> Iterator[pa.Table]:
        yield rows(12)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cut_rows(stops_in_the_middle(), tmp_path, num_rows=25, shard_size=10, over_limit=0)
    assert (tmp_path / "00000.parquet").exists()
    assert read_cut(tmp_path, 10) is None
    found = cut_rows([rows(25)], tmp_path, num_rows=25, shard_size=10, over_limit=0)
    assert read_cut(tmp_path, 10) == found
    assert read_cut(tmp_path, 11) is None, "shards of another size are cut anew"
