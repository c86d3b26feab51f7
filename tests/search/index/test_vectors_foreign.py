"""Embeddings that others wrote: of any precision and order, damaged, or of images alone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from support.drawn_vectors import write_folder
from typer.testing import CliRunner

import webpairs
from webpairs.cli import app
from webpairs.dataset.sources.mapped import as_float16, as_float32
from webpairs.describe.info import read_info
from webpairs.errors import ConfigError
from webpairs.search.index import build as building
from webpairs.search.index.build import build_index
from webpairs.search.options import IndexOptions
from webpairs.search.query import combine
from webpairs.search.searcher import Searcher
from webpairs.verify.verify import verify_dataset

NUM, DIM = 3_000, 8
_RNG = np.random.default_rng(3)
DRAWN = _RNG.standard_normal((2, NUM, DIM))
DRAWN /= np.linalg.norm(DRAWN, axis=2, keepdims=True)
SIZES = (2_000, 1_000)
MOST = 100
"""Results that are asked for."""
TYPES = ("<f2", "<f4", "<f8", ">f2", ">f4", ">f8")


def indexed(folder: Path, out: Path, **options: Any) -> Searcher:
    build_index(IndexOptions(source=str(folder), out=str(out), **options))
    return Searcher.open(str(folder), index=str(out))


def key(row: int) -> str:
    return f"{int(row >= SIZES[0]):05d}{row - SIZES[0] * (row >= SIZES[0]):08d}"


def found(searcher: Searcher, row: int) -> list[int]:
    """Return the rows that are found for one that is searched for, the nearest first."""
    return [hit.row for hit in searcher.search(combine([searcher.like(key(row))]), MOST)]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", TYPES)
def test_any_precision_and_order_of_bytes(tmp_path: Path, dtype: str, order: Any) -> None:
    image, text = (np.asarray(one.astype(dtype), order=order) for one in DRAWN)
    folder = write_folder(tmp_path / "e", image, text, SIZES)
    if order == "F":
        np.save(folder / "img_emb" / "img_emb_0.npy", np.asfortranarray(image[: SIZES[0]]))
    assert read_info(folder).num_samples == NUM
    assert verify_dataset(folder, workers=1).good
    pairs = [(one["image_embedding"], one["text_embedding"]) for one in webpairs.open(folder)]
    np.testing.assert_allclose([one for one, _ in pairs], DRAWN[0], atol=2e-3)
    searcher = indexed(folder, tmp_path / "index")
    truth = np.argsort(-(DRAWN[0] @ DRAWN[0][7]))
    assert found(searcher, 7)[:5] == truth[:5].tolist()


def damaged(dtype: str) -> tuple[npt.NDArray[Any], set[int]]:
    """Return image embeddings of which some have no direction, and which these are."""
    image = DRAWN[0].copy()
    image[3] = np.nan
    image[4] = 0
    image[5, 2] = np.inf
    image[2_500, 1] = -np.inf
    image[6] *= 1e4
    without = {3, 4, 5, 2_500}
    if dtype == "f8":
        image[8] *= 1e200
    with np.errstate(over="ignore"):
        return image.astype(dtype), without


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_rows_without_a_direction_are_never_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, exact: bool
) -> None:
    if not exact:
        monkeypatch.setattr(building, "EXACT_ROWS", 1_000)
    image, without = damaged(dtype)
    folder = write_folder(tmp_path / "e", image, DRAWN[1].astype(dtype), SIZES)
    searcher = indexed(folder, tmp_path / "index", what=("image",))
    assert searcher.index("image").is_exact == exact
    hits = found(searcher, 7)
    assert not without & set(hits)
    if exact:
        assert (
            hits[:5]
            == [
                row for row in np.argsort(-(DRAWN[0] @ DRAWN[0][7])).tolist() if row not in without
            ][:5]
        )
    for row in without:
        with pytest.raises(ConfigError, match=f"sample {key(row)} has no|{key(row)} has no direct"):
            searcher.like(key(row))
    listed = verify_dataset(folder, workers=1).findings.listed
    assert {key(row) for row in without} <= {one.key for one in listed}
    assert {one.fault for one in listed} == {"norm_wrong"}


def test_large_numbers_keep_their_direction() -> None:
    rows = np.array([[3e200, 4e200], [3e30, -4e30], [3, 4], [0, 0], [np.nan, 1], [np.inf, 1]])
    for halves in (as_float16(rows), as_float16(as_float32(rows))):
        first, second = halves[-6].astype(float), halves[-5].astype(float)
        np.testing.assert_allclose(first / np.linalg.norm(first), [0.6, 0.8], atol=1e-3)
        np.testing.assert_allclose(second / np.linalg.norm(second), [0.6, -0.8], atol=1e-3)
        assert np.isfinite(halves[:4]).all()
        assert halves[2:4].tolist() == [[3, 4], [0, 0]]
        assert not np.isfinite(halves[4:]).all(axis=1).any()
    assert as_float16(halves) is halves
    assert as_float32(rows[2:].astype(np.float32)).dtype == np.float32


@pytest.mark.parametrize("exact", [True, False])
def test_image_embeddings_alone_are_indexed_and_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact: bool
) -> None:
    if not exact:
        monkeypatch.setattr(building, "EXACT_ROWS", 1_000)
    folder = write_folder(tmp_path / "e", *DRAWN.astype(np.float32), SIZES)
    shutil.rmtree(folder / "text_emb")
    info = read_info(folder)
    assert (info.num_samples, info.embedding_size) == (NUM, None)
    assert "without text embeddings" in info.kind
    assert verify_dataset(folder, workers=1).good
    assert [one["caption"] for one in webpairs.open(folder)][:2] == ["caption of 0", "caption of 1"]
    result = build_index(IndexOptions(source=str(folder), out=str(tmp_path / "index")))
    assert "there are no text embeddings: they are not indexed" in result.notes
    searcher = Searcher.open(str(folder), index=str(tmp_path / "index"))
    assert found(searcher, 7)[0] == 7
    again = build_index(IndexOptions(source=str(folder), out=str(tmp_path / "index")))
    assert again.done_before
    with pytest.raises(ConfigError, match="has no text embeddings"):
        build_index(IndexOptions(source=str(folder), out=str(tmp_path / "i2"), what=("text",)))


FAULTS: dict[str, tuple[Any, str, str]] = {
    "fewer rows": (DRAWN[0][:30].astype("f4"), "embeddings_unaligned", "count_wrong"),
    "another width": (DRAWN[0][:40, :5].astype("f4"), "embeddings_unaligned", "count_wrong"),
    "integers": ((DRAWN[0][:40] * 100).astype("i1"), "embeddings_broken", "file_broken"),
    "one dimension": (DRAWN[0][:40].astype("f4").ravel(), "embeddings_broken", "file_broken"),
    "objects": (DRAWN[0][:40].astype(object), "embeddings_broken", "file_broken"),
    "structs": (np.zeros(40, [("a", "f4")]), "embeddings_broken", "file_broken"),
    "long doubles": (DRAWN[0][:40].astype(np.longdouble), "embeddings_broken", "file_broken"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_files_that_do_not_fit_are_named_by_all(tmp_path: Path, name: str) -> None:
    array, problem, fault = FAULTS[name]
    folder = write_folder(tmp_path / "e", *DRAWN.astype(np.float32), SIZES)
    np.save(folder / "text_emb" / "text_emb_0.npy", array)
    info = read_info(folder)
    assert (info.num_samples, info.problems) == (SIZES[1], {problem: 1})
    assert [one.fault for one in verify_dataset(folder, workers=1).findings.listed] == [fault]
    searcher = indexed(folder, tmp_path / "index")
    hits = found(searcher, SIZES[0] + 7)
    assert (hits[0], max(hits) < SIZES[1]) == (7, True), "rows of the other shard"


def test_an_index_of_nothing_says_why(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "e", DRAWN[0].astype("i1"), DRAWN[1].astype("i1"), SIZES)
    done = CliRunner().invoke(app, ["index", str(folder), "--out", str(tmp_path / "index")])
    assert "embeddings_broken" in str(done.exception)
    assert "does not hold rows of float16, float32 or float64, but int8" in str(done.exception)
