"""What a parquet file becomes is known before it is decoded, also where its footer lies."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.parquet import bounds as parquet_bounds
from webpairs.parquet.bounds import MAX_PAGE_BYTES, MAX_PAGE_VALUES, Chunk, ChunkReader
from webpairs.parquet.file import open_bounded
from webpairs.parquet.prefixes import prefix_bytes

COMPRESSIONS = ("none", "snappy", "gzip", "zstd", "brotli", "lz4")


def chunks(table: pa.Table, **options: Any) -> list[Chunk]:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    footer = pq.read_metadata(file)
    reader = ChunkReader(file)
    return [
        reader.read(footer.row_group(group).column(place), footer.schema.column(place))
        for group in range(footer.num_row_groups)
        for place in range(footer.num_columns)
    ]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_the_headers_are_read_as_they_were_written(
    compression: str, version: str, dictionary: bool
) -> None:
    texts = [f"text {number % 7} " + "x" * (number % 300) for number in range(5_000)]
    lists = [[1] * (number % 5) for number in range(5_000)]
    found = chunks(
        pa.table({"text": texts, "list": lists, "number": range(5_000)}),
        compression=compression,
        data_page_version=version,
        use_dictionary=dictionary,
        data_page_size=4_096,
        row_group_size=2_000,
    )
    assert [one.num_values for one in found] == [
        num for group in (2_000, 2_000, 1_000) for num in (group, group * 11 // 5, group)
    ]
    for one in found[::3]:
        assert one.longest == (max(map(len, texts)) if dictionary else 0)
        if not dictionary:
            assert one.num_bytes > one.num_values * 100
    assert all(0 < one.largest_page <= one.num_bytes for one in found)
    assert not any(one.fault(nested=nested) for one in found for nested in (True, False))


@pytest.mark.parametrize(
    ("chunk", "nested", "words"),
    [
        (Chunk(largest_page=MAX_PAGE_BYTES + 1), False, "a page of 64 MB"),
        (Chunk(most_values=MAX_PAGE_VALUES + 1), True, "4,000,001 values in a page"),
        (Chunk(most_values=MAX_PAGE_VALUES + 1), False, None),
        (Chunk(num_values=1_000_000, longest=1_000), False, None),
        (Chunk(num_values=1_000_000, longest=100_000), False, "may become 100 GB"),
        (Chunk(num_values=200_000_000), True, "may become 800 MB"),
        (Chunk(num_values=200_000_000), False, None),
    ],
)
def test_what_is_too_large(chunk: Chunk, nested: bool, words: str | None) -> None:
    fault = chunk.fault(nested=nested)
    assert (fault is None) if words is None else words in str(fault)


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        parquet_bounds.read_struct(data, 0, 0)


def bomb(path: Path) -> None:
    """Write a file of some kilobytes that becomes 70 MB, in the second row of two."""
    pq.write_table(pa.table({"url": ["a", "b"], "text": ["", "x" * 70_000_000]}), path)
    assert path.stat().st_size < 4_000_000


def test_a_column_that_is_not_read_may_be_anything(tmp_path: Path) -> None:
    bomb(tmp_path / "a.parquet")
    with open_bounded(tmp_path / "a.parquet", ["url"]) as file:
        assert file.read(["url"]).num_rows == 2
    with pytest.raises(ValueError, match=r"row group 0: column 'text' has a page of 70 MB"):
        open_bounded(tmp_path / "a.parquet", ["text"])


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_what_texts_share_with_the_one_before_is_counted(version: str, compression: str) -> None:
    texts = [None if n % 11 == 0 else "x" * (n % 997) + f" {n}" for n in range(3_000)]
    (chunk,) = chunks(
        pa.table({"text": pa.array(texts)}),
        compression=compression,
        data_page_version=version,
        use_dictionary=False,
        column_encoding={"text": "DELTA_BYTE_ARRAY"},
    )
    num_chars = sum(len(text or "") for text in texts)
    assert num_chars <= chunk.num_bytes <= num_chars + 30_000
    (small,) = chunks(
        pa.table({"text": ["a"]}),
        column_encoding={"text": "DELTA_BYTE_ARRAY"},
        use_dictionary=False,
    )
    assert small.num_bytes < 100


@pytest.mark.parametrize("kind", ["shared", "fixed"])
def test_texts_that_are_stored_once_and_used_often(kind: str) -> None:
    text = "x" * 1_000_000
    if kind == "shared":
        table = pa.table({"a": pa.array([text] * 100)})
        options: dict[str, Any] = {
            "column_encoding": {"a": "DELTA_BYTE_ARRAY"},
            "use_dictionary": False,
        }
        (chunk,) = chunks(table, compression="zstd", **options)
        assert chunk.largest_page >= 100_000_000
        assert "has a page of 100 MB" in str(chunk.fault(nested=False))
    else:
        table = pa.table({"a": pa.array([text] * 100, pa.binary(1_000_000))})
        (chunk,) = chunks(table, compression="zstd")
        assert chunk.longest == 1_000_000


@given(st.binary(max_size=200))
def test_lengths_of_any_bytes_are_no_more_than_a_value_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert 0 <= prefix_bytes(data, 1_000) <= 1_000 * 2**31


def test_chunks_that_overlap_are_not_read_again_and_again() -> None:
    file = io.BytesIO()
    pq.write_table(pa.table({"text": ["a", "b"]}), file)
    footer = pq.read_metadata(file)
    reader = ChunkReader(file)

    def read_often() -> None:
        for _ in range(1_000):
            reader.read(footer.row_group(0).column(0), footer.schema.column(0))

    with pytest.raises(ValueError, match="row groups are larger than the file"):
        read_often()


def test_a_footer_of_too_many_row_groups_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    with path.open("wb") as file:
        file.truncate(parquet_bounds.MAX_FOOTER_BYTES + 100)
        file.seek(0, 2)
        file.write((parquet_bounds.MAX_FOOTER_BYTES + 1).to_bytes(4, "little") + b"PAR1")
    words = r"its footer has 32 MB \(limit 32 MB\): write it in fewer row groups"
    with pytest.raises(ValueError, match=words):
        open_bounded(path)


@pytest.mark.parametrize("size", [0, 3, 8])
def test_a_file_without_a_footer_passes(size: int) -> None:
    parquet_bounds.require_footer(io.BytesIO(bytes(size)))
