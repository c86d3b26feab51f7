"""LAION-400M's published files and clip-retrieval's open with their faults put right or counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.foreign_folders import laion_row, write_embeddings, write_laion_metadata

import webpairs
from webpairs.dataset.sources import laion
from webpairs.errors import ConfigError


def test_sizes_are_what_their_names_say(tmp_path: Path) -> None:
    """LAION-400M has the width under HEIGHT."""
    write_laion_metadata(tmp_path / "part-00000.snappy.parquet", [laion_row(n) for n in range(5)])
    ds = webpairs.open(tmp_path)
    assert (ds[2]["original_width"], ds[2]["original_height"]) == (642, 482)
    assert ds.table(["WIDTH", "HEIGHT"]).to_pylist()[2] == {"WIDTH": 642, "HEIGHT": 482}
    assert len(ds.where("original_width > 642")) == len(ds.where("WIDTH > 642")) == 2
    assert len(ds.where("HEIGHT > 500")) == 0
    assert "image" not in ds.features
    with pytest.raises(ConfigError, match="has no image"):
        ds.images()


def test_what_webpairs_exports_in_this_form_is_not_swapped_again(tmp_path: Path) -> None:
    row = laion_row(0, HEIGHT=640, WIDTH=480)  # write_laion_metadata swaps them
    mark = {laion.SIZES_RIGHT.decode(): "named right"}
    write_laion_metadata(tmp_path / "part-00000.parquet", [row], **mark)
    sample = webpairs.open(tmp_path)[0]
    assert (sample["original_width"], sample["original_height"]) == (640, 480)


def test_corrupt_rows_are_counted_and_read_as_missing(tmp_path: Path) -> None:
    rows = [
        laion_row(0),
        laion_row(1, similarity=6016.0),
        laion_row(2, NSFW="https://example.org/x.jpg"),
        laion_row(3, URL=None),
        laion_row(4, TEXT=None, SAMPLE_ID=None, NSFW=None, similarity=None, LICENSE=None),
        laion_row(5, WIDTH=None, HEIGHT=None, LICENSE="https://creativecommons.org/licenses/by/"),
        laion_row(6, WIDTH=-3),
        laion_row(7, similarity=float("nan"), NSFW=""),
    ]
    write_laion_metadata(tmp_path / "part-00000.parquet", rows)
    ds = webpairs.open(tmp_path)
    samples = list(ds)
    assert [sample["similarity"] for sample in samples] == [
        *(0.3, -1.0, 0.302, 0.303, -1.0, 0.305, 0.306, -1.0)
    ]
    assert [sample["nsfw"] for sample in samples] == [0, 0, 3, 0, 3, 0, 0, 3]
    assert [sample["url"] == "" for sample in samples].index(True) == 3
    assert samples[4]["caption"] == samples[4]["license"] == samples[0]["license"] == ""
    assert samples[5]["license"] == rows[5]["LICENSE"]
    assert [sample["original_width"] for sample in samples[4:]] == [644, 0, 0, 647]
    assert ds.problems.counts() == {"row_corrupt": 4}
    assert [found.key for found in ds.problems.listed()] == ["row 1", "row 2", "row 3", "row 6"]


def test_large_files_are_read_by_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(laion, "LARGE_BYTES", 1_000)
    for file in range(2):
        path = tmp_path / f"part-{file:05d}.parquet"
        write_laion_metadata(path, [laion_row(100 * file + n) for n in range(100)])
        pq.write_table(pq.read_table(path), path, row_group_size=30)
    ds = webpairs.open(tmp_path)
    assert len(ds.source.names) == 8
    assert [sample["original_height"] for sample in ds] == [480 + n for n in range(200)]
    assert ds[131]["url"] == "https://example.org/131.jpg"
    key = ds.table(["key"]).column("key")[131].as_py()
    assert key == "0000500000001"
    assert ds[key]["url"] == "https://example.org/131.jpg"
    assert len(set(ds.table(["key"]).column("key").to_pylist())) == 200


def test_pieces_of_any_size_are_the_same_rows(tmp_path: Path) -> None:
    write_laion_metadata(tmp_path / "a.parquet", [laion_row(n) for n in range(50)])
    ds = webpairs.open(tmp_path).where("SAMPLE_ID % 3 = 0")
    whole = ds.table(["URL", "key"])
    assert whole.num_rows == 16
    for num_rows in (1, 7, 50):
        pieces = [piece.table for piece in ds.pieces(["URL", "key"], num_rows=num_rows)]
        assert max(piece.num_rows for piece in pieces) <= num_rows
        assert pa.concat_tables(pieces).equals(whole)


def test_embedding_folders(tmp_path: Path) -> None:
    """Numbers without leading zeros stand in the order of numbers."""
    made = {n: write_embeddings(tmp_path, str(n), 5, first=5 * n) for n in (0, 1, 2, 10)}
    ds = webpairs.open(tmp_path)
    assert len(ds) == 20
    assert ds.features["text_embedding"].shape == (8,)
    samples = list(ds.embeddings())
    place = 0
    for number, (image, text) in made.items():
        for row in range(5):
            sample = samples[place]
            one = 5 * number + row
            assert sample["caption"] == f"caption of {one}"
            assert sample["original_width"] == 1000 + one
            assert sample["nsfw"] == 1
            assert np.array_equal(sample["image_embedding"], image[row])
            assert np.array_equal(sample["text_embedding"], text[row])
            assert np.array_equal(ds[place]["text_embedding"], text[row])
            place += 1
    chosen = ds.where("similarity >= 0.003 and similarity < 0.007")
    assert [s["caption"] for s in chosen.embeddings()] == [f"caption of {n}" for n in range(3, 7)]
    assert np.array_equal(next(chosen.embeddings())["image_embedding"], made[0][0][3])


def test_embeddings_that_do_not_align_are_left_out(tmp_path: Path) -> None:
    """Nothing but the position joins them: with other numbers of rows, nothing does."""
    for number in range(5):
        write_embeddings(tmp_path, str(number), 4, first=4 * number)
    np.save(tmp_path / "img_emb" / "img_emb_0.npy", np.zeros((3, 8), np.float16))
    (tmp_path / "text_emb" / "text_emb_1.npy").unlink()
    (tmp_path / "metadata" / "metadata_2.parquet").unlink()
    (tmp_path / "text_emb" / "text_emb_3.npy").write_bytes(b"\x93NUMPY cut")
    ds = webpairs.open(tmp_path)
    assert len(ds) == 4
    assert [sample["caption"] for sample in ds] == [f"caption of {n}" for n in range(16, 20)]
    assert ds.problems.counts() == {
        "metadata_missing": 1,
        "embeddings_missing": 1,
        "embeddings_broken": 1,
        "embeddings_unaligned": 1,
    }


@pytest.mark.parametrize(
    ("columns", "key"),
    [
        ({}, "0000100000002"),
        ({"key": pa.array(["000010004", "000010005", "000010006"])}, "000010006"),
        # 2021: both counted from 0, the key within its shard.
        ({"key": pa.array([4, 5, 6]), "shard_id": pa.array([1, 1, 1])}, "00001000000006"),
    ],
)
def test_keys_of_embeddings(tmp_path: Path, columns: dict[str, pa.Array], key: str) -> None:
    first = {name: pa.array([one.as_py() for one in a][::-1]) for name, a in columns.items()}
    if "shard_id" in first:
        first["shard_id"] = pa.array([0, 0, 0])
    elif "key" in first:
        first["key"] = pa.array(["000000001", "000000002", "000000003"])
    write_embeddings(tmp_path, "0", 3, **first)
    write_embeddings(tmp_path, "1", 3, first=3, **columns)
    ds = webpairs.open(tmp_path)
    assert ds[key]["caption"] == "caption of 5"
    keys = ds.table(["key"]).column("key").to_pylist()
    assert (len(set(keys)), keys[5]) == (6, key)
    with pytest.raises(KeyError):
        ds["999999999"]
