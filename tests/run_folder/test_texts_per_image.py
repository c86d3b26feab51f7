"""One image under many texts is found, whatever shard its samples are in."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.candidate_files import Row
from support.hand_made_runs import candidate, sample_row, write_rows
from support.run_folders import dataset

from webpairs.cli.print_build import print_placeholders
from webpairs.files import write_json
from webpairs.run_folder.layout import Keys, ShardFiles
from webpairs.run_folder.schema import METADATA
from webpairs.run_folder.texts_per_image import (
    MANY_TEXTS,
    NUM_SHOWN,
    ImageTexts,
    PlaceholderReport,
    texts_per_image,
)

MEMORY = 500_000_000
KEYS = Keys(5, 4)
Image = int
Sample = tuple[Image, str]
"""A sample is an image and a text."""


def sha256(image: Image) -> bytes:
    return hashlib.sha256(b"%d" % image).digest()


def write_shard(out: Path, number: int, samples: list[Sample], *, committed: bool = True) -> None:
    rows: list[Row] = [
        sample_row(KEYS.sample(number, 2 * place), candidate(f"p{place}", text), sha256(image))
        for place, (image, text) in enumerate(samples)
    ]
    files = ShardFiles.of(out, KEYS.shard(number))
    write_rows(files.metadata, rows, METADATA)
    if committed:
        write_json(files.stats, {})


def columns_of(out: Path) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    for path in sorted((out / "columns" / "texts_per_image").iterdir()):
        table = pq.read_table(path)
        assert table.schema.equals(
            pa.schema(
                [
                    pa.field("key", pa.string(), nullable=False),
                    pa.field("texts_per_image", pa.int32(), nullable=False),
                ]
            )
        )
        keys, counts = (column.to_pylist() for column in table.columns)
        found[path.name] = list(zip(keys, counts, strict=True))
    return found


def test_texts_are_counted_over_all_shards(tmp_path: Path) -> None:
    """Not samples: the same text at two addresses is one text."""
    write_shard(tmp_path, 0, [(1, "a"), (2, "x"), (1, "b"), (1, "a")])
    write_shard(tmp_path, 1, [])
    write_shard(tmp_path, 2, [(3, "y"), (3, "y")])
    write_shard(tmp_path, 3, [(4, "z"), (1, "c")])
    report = texts_per_image(tmp_path, memory_bytes=MEMORY)
    assert columns_of(tmp_path) == {
        "00000.parquet": [("000000000", 3), ("000000002", 1), ("000000004", 3), ("000000006", 3)],
        "00002.parquet": [("000020000", 1), ("000020002", 1)],
        "00003.parquet": [("000030000", 1), ("000030002", 3)],
    }
    assert report == PlaceholderReport(0, 0, ())


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["a", "b", "A", "", "\0", "é"]))),
        max_size=4,
    )
)
def test_every_sample_gets_the_texts_of_its_image(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[Sample]]
) -> None:
    out = tmp_path_factory.mktemp("run")
    texts = defaultdict[Image, set[str]](set)
    for number, samples in enumerate(shards):
        # hand_made_runs gives a text to those without.
        write_shard(out, number, [(image, f"t{text}") for image, text in samples])
        for image, text in samples:
            texts[image].add(text)
    texts_per_image(out, memory_bytes=MEMORY)
    expected = [
        [(KEYS.sample(number, 2 * place), len(texts[image])) for place, (image, _) in enumerate(s)]
        for number, s in enumerate(shards)
        if s
    ]
    assert not expected or list(columns_of(out).values()) == expected


def test_the_images_under_the_most_texts_are_reported(tmp_path: Path) -> None:
    """At `MANY_TEXTS` it starts, and the list ends after `NUM_SHOWN`."""
    samples: list[Sample] = []
    for image in range(NUM_SHOWN + 3):
        num_texts = MANY_TEXTS - 1 + image
        samples += [(image, f"text {number}") for number in range(num_texts)]
        samples += [(image, "text 0")] * 2
    write_shard(tmp_path, 0, samples[::2])
    write_shard(tmp_path, 1, samples[1::2])
    report = texts_per_image(tmp_path, memory_bytes=MEMORY)
    sizes = {image: MANY_TEXTS - 1 + image for image in range(NUM_SHOWN + 3)}
    many = {image: num for image, num in sizes.items() if num >= MANY_TEXTS}
    assert (report.num_images, report.num_samples) == (
        len(many),
        sum(many.values()) + 2 * len(many),
    )
    assert report.top == tuple(
        ImageTexts(sha256(image).hex(), num, num + 2)
        for image, num in sorted(many.items(), reverse=True)[:NUM_SHOWN]
    )


def test_a_shard_that_is_not_committed_does_not_count(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, [(1, "a")])
    write_shard(tmp_path, 1, [(1, "b")], committed=False)
    texts_per_image(tmp_path, memory_bytes=MEMORY)
    assert columns_of(tmp_path) == {"00000.parquet": [("000000000", 1)]}


def test_done_again_it_is_the_same_and_follows_what_was_added(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, [(1, "a"), (2, "a")])
    texts_per_image(tmp_path, memory_bytes=MEMORY)
    before = dataset(tmp_path)
    texts_per_image(tmp_path, memory_bytes=MEMORY)
    assert dataset(tmp_path) == before
    write_shard(tmp_path, 1, [(1, "b")])
    texts_per_image(tmp_path, memory_bytes=MEMORY)
    assert [count for _, count in columns_of(tmp_path)["00000.parquet"]] == [2, 1]


@pytest.mark.parametrize("stats", [False, True])
def test_an_empty_dataset(tmp_path: Path, stats: bool) -> None:
    if stats:
        write_shard(tmp_path, 0, [])
    assert texts_per_image(tmp_path, memory_bytes=MEMORY) == PlaceholderReport(0, 0, ())
    assert not (tmp_path / "columns").exists()


def test_people_are_told_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    top = (ImageTexts("ab" * 32, 1_234, 5_678),)
    print_placeholders(PlaceholderReport(3, 6_000, top))
    said = capsys.readouterr().out
    assert "6,000 samples with 3 images under 10 different texts or more each" in said
    assert f"  1,234 texts, 5,678 samples: sha256 {'ab' * 32}\n" in said


def test_nothing_to_tell(capsys: pytest.CaptureFixture[str]) -> None:
    print_placeholders(PlaceholderReport(0, 0, ()))
    assert capsys.readouterr().out == ""
