"""An exact search finds what NumPy finds, whatever the files, the filter and the numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.drawn_vectors import DIM, brute_force, draw_pairs, write_folder
from support.foreign_folders import laion_row, write_laion_metadata

import webpairs
from webpairs.errors import ConfigError
from webpairs.search.index.exact import nearest
from webpairs.search.index.vectors import KINDS, Vectors, normalised

SIZES = (5000, 1, 700, 299)
IMAGE, TEXT = draw_pairs(sum(SIZES))
QUERIES = draw_pairs(20, seed=1)


def vectors_of(folder: Path) -> dict[str, Vectors]:
    source = webpairs.open(folder).source
    return {kind: Vectors(source, kind) for kind in KINDS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exact")
    return write_folder(out, IMAGE.astype(np.float16), TEXT.astype(np.float16), SIZES)


@pytest.mark.parametrize("num_queries", [1, 20])
@pytest.mark.parametrize("kind", KINDS)
def test_all_rows(folder: Path, kind: str, num_queries: int) -> None:
    base = (IMAGE if kind == "image" else TEXT).astype(np.float16)
    for queries in QUERIES:
        queries = queries[:num_queries]
        found = nearest(vectors_of(folder)[kind], queries, 10, unit=True)
        true = brute_force(base, queries, 10)
        assert np.array_equal(found.rows, true)
        exact = np.einsum("qd,qkd->qk", queries, base.astype(np.float32)[true])
        assert np.allclose(found.similarities, exact, atol=1e-6)


@pytest.mark.parametrize("num", [1, 40, 5500])
def test_chosen_rows(folder: Path, num: int) -> None:
    rows = np.sort(np.random.default_rng(num).permutation(len(IMAGE))[:num])
    found = nearest(vectors_of(folder)["image"], QUERIES[1], 10, unit=True, among=rows)
    true = brute_force(IMAGE.astype(np.float16), QUERIES[1], 10, rows)
    assert np.array_equal(found.rows[:, : true.shape[1]], true)
    assert (found.rows[:, num:] == -1).all()
    assert np.isnan(found.similarities[:, num:]).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_other_lengths_and_rows_without_a_direction(tmp_path: Path, dtype: type) -> None:
    lengths = np.random.default_rng(2).uniform(0.1, 30, (len(IMAGE), 1))
    image = (IMAGE * lengths).astype(dtype)
    image[[3, 5200]] = 0
    image[7, 4] = np.nan
    image[5900, 0] = np.inf
    vectors = vectors_of(write_folder(tmp_path, image, TEXT.astype(dtype), SIZES))["image"]
    good = np.setdiff1d(np.arange(len(IMAGE)), [3, 7, 5200, 5900])
    found = nearest(vectors, QUERIES[0], 10, unit=False)
    assert np.array_equal(found.rows, brute_force(image, QUERIES[0], 10, good, unit=False))
    assert found.similarities.max() <= 1.0001
    everything = nearest(vectors, QUERIES[0][:1], len(IMAGE), unit=False)
    assert sorted(everything.rows[0].tolist()) == [-1] * 4 + good.tolist()


def test_more_results_than_rows(folder: Path) -> None:
    found = nearest(vectors_of(folder)["image"], QUERIES[0][:1], 7000, unit=True)
    assert sorted(found.rows[0].tolist()) == [-1] * 1000 + list(range(6000))


def test_rows_are_taken_in_any_order_from_any_file(folder: Path) -> None:
    vectors = vectors_of(folder)["text"]
    assert vectors.num_rows == 6000
    rows = np.array([5999, 0, 5000, 5001, 0, 4999])
    assert np.array_equal(vectors.take(rows), TEXT.astype(np.float16)[rows].astype(np.float32))
    assert vectors.take(np.zeros(0, np.int64)).shape == (0, DIM)


def test_a_file_that_does_not_fit_is_left_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, IMAGE[:30], TEXT[:30], (10, 10, 10))
    vectors = vectors_of(folder)["image"]
    np.save(folder / "img_emb" / "img_emb_1.npy", IMAGE[:9])
    found = nearest(vectors, QUERIES[0], 30, unit=True)
    assert set(found.rows.ravel().tolist()) == {-1, *range(10), *range(20, 30)}
    assert np.isnan(vectors.take(np.array([12]))).all()


def test_a_source_without_embeddings(tmp_path: Path) -> None:
    write_laion_metadata(tmp_path / "a.parquet", [laion_row(1)])
    with pytest.raises(ConfigError, match="has no embeddings of its own"):
        Vectors(webpairs.open(tmp_path).source, "image")


def test_a_direction_is_kept_and_what_has_none_is_nan() -> None:
    made = normalised(np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 1]], np.float16))
    assert np.allclose(made[0], [0.6, 0.8])
    assert np.isnan(made[1:]).all()
