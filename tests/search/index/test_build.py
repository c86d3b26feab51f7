"""Indexes say how good they are and are right; stopped, added to or asked again, they go on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from support.drawn_vectors import DIM, brute_force, draw_pairs, share, write_folder

import webpairs
from webpairs.errors import ConfigError, RunError
from webpairs.files import write_json
from webpairs.search.index import build as building
from webpairs.search.index import build_rows, inverted
from webpairs.search.index import held_out as truth
from webpairs.search.index.build import IndexResult, build_index
from webpairs.search.index.codec import choose_code
from webpairs.search.index.faiss_library import load_faiss
from webpairs.search.index.file import FORMAT
from webpairs.search.index.index import Index, open_index
from webpairs.search.index.vectors import KINDS, Kind, Vectors
from webpairs.search.options import IndexOptions

SIZES = (2500, 2500, 1000)
IMAGE, TEXT = (one.astype(np.float16) for one in draw_pairs(sum(SIZES)))
MORE_IMAGE, MORE_TEXT = (one.astype(np.float16) for one in draw_pairs(900, seed=5))
QUERIES: dict[Kind, Any] = dict(zip(KINDS, draw_pairs(150, seed=9), strict=True))


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a thousand vectors be too many to compare with all, and few enough for several parts."""
    for module in (building, inverted):
        monkeypatch.setattr(module, "EXACT_ROWS", 1000)
    monkeypatch.setattr(building, "_PART_ROWS", 1700)
    monkeypatch.setattr(building, "_BLOCK_ROWS", 600)
    monkeypatch.setattr(truth, "NUM_QUERIES", 160)
    load_faiss().omp_set_num_threads(1)  # on a busy machine its threads wait for each other


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "embeddings", IMAGE, TEXT, SIZES)


def index_of(folder: Path, out: Path, **changes: Any) -> IndexResult:
    return build_index(IndexOptions(source=str(folder), out=str(out), **changes))


def opened(folder: Path, out: Path) -> dict[Kind, Index]:
    source = webpairs.open(folder).source
    return open_index({kind: Vectors(source, kind) for kind in KINDS}, out)[0]


def check_recall(index: Index, base: Any, least: float, among: Any = None) -> None:
    """Check what is found against NumPy, for images and texts that the index never saw."""
    for kind, queries in QUERIES.items():
        found = index.search(queries, 10, of=kind, among=among)
        true = brute_force(base, queries, 10, among)
        assert share(found.rows, true) >= least
        exact = np.einsum("qd,qkd->qk", queries, base.astype(np.float32)[found.rows])
        assert np.allclose(found.similarities, exact, atol=1e-5)
        assert (np.diff(found.similarities, axis=1) <= 1e-6).all()


@pytest.mark.parametrize("code", ["sq8", "rabitq2"])
def test_what_is_said_of_recall_is_true(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr(building, "choose_code", lambda *arguments: code)
    result = index_of(folder, tmp_path / "index", recall=0.9)
    assert (result.done_before, result.notes) == (False, ())
    for kind, base in (("image", IMAGE), ("text", TEXT)):
        entry = result.manifest["indexes"][kind]
        assert (entry["code"], entry["count"], entry["unit"]) == (code, 6000, True)
        index = opened(folder, tmp_path / "index")[kind]
        assert not index.is_exact
        for query in KINDS:
            told = entry["queries"][query]["recall"]
            assert told["at_10"] == index.recall[query] >= 0.9
            found = index.search(QUERIES[query], 10, of=query).rows
            true = brute_force(base, QUERIES[query], 10)
            assert abs(share(found, true) - told["at_10"]) < 0.06
            efforts = entry["queries"][query]["effort"]
            assert efforts["10"][0] < entry["lists"], "it must not read everything"
        check_recall(index, base, 0.85)


def test_queries_are_told_apart_by_what_they_are_near_to(folder: Path, tmp_path: Path) -> None:
    index_of(folder, tmp_path / "index")
    index = opened(folder, tmp_path / "index")["image"]
    mixed = np.concatenate([QUERIES["image"][:40], QUERIES["text"][:40]])[
        np.random.default_rng(0).permutation(80)
    ]
    true = brute_force(IMAGE, mixed, 10)
    assert share(index.search(mixed, 10).rows, true) >= 0.9
    alone = np.concatenate([index.search(one[None] * 3.0, 10).rows for one in mixed])
    assert np.array_equal(alone, index.search(mixed, 10).rows)


@pytest.mark.parametrize("chosen", [0.9, 0.3, 0.05, 0.001])
def test_a_filter_does_not_ruin_recall(folder: Path, tmp_path: Path, chosen: float) -> None:
    index_of(folder, tmp_path / "index")
    index = opened(folder, tmp_path / "index")["image"]
    random = np.random.default_rng(3).random(len(IMAGE)) < chosen
    # Chosen by content too: what is far from the first query, where its neighbours are not.
    far = IMAGE.astype(np.float32) @ QUERIES["text"][0]
    for mask in (random, far <= np.quantile(far, chosen)):
        among = np.flatnonzero(mask)
        check_recall(index, IMAGE, 0.95 if len(among) > 1000 else 1.0, among)
    none = index.search(QUERIES["text"][:2], 10, among=np.zeros(0, np.int64))
    assert none.rows.shape == (2, 0)


def test_a_filter_reads_on_until_nothing_changes(folder: Path, tmp_path: Path) -> None:
    index_of(folder, tmp_path / "index", what=("image",))
    index = opened(folder, tmp_path / "index")["image"]
    little = inverted.Probing({k: inverted.Effort(1, 2 * k, 0.1) for k in (10, 100)})
    lists = index._inverted
    assert lists is not None
    shares: list[float] = []
    for query in QUERIES["text"][:40]:
        # The far third: the first lists that are read hold none of it.
        cosines = IMAGE.astype(np.float32) @ query
        among = np.flatnonzero(cosines < np.quantile(cosines, 0.3))
        found = lists.search(query[None], 10, little, among=among).rows
        shares.append(share(found, brute_force(IMAGE, query[None], 10, among)))
    assert np.mean(shares) >= 0.9


def test_more_results_take_more_effort(folder: Path, tmp_path: Path) -> None:
    index_of(folder, tmp_path / "index")
    index = opened(folder, tmp_path / "index")["image"]
    for k in (1, 100, 1000):
        found = index.search(QUERIES["image"], k, of="image")
        assert share(found.rows, brute_force(IMAGE, QUERIES["image"], k)) >= 0.9
    assert index.search(QUERIES["image"][:1], 10_000, of="image").rows.shape == (1, 6000)


def test_few_vectors_are_compared_with_all(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "few", IMAGE[:900], TEXT[:900], (900,))
    result = index_of(folder, tmp_path / "index")
    names = {path.name for path in (tmp_path / "index").iterdir()}
    assert names == {"manifest.json", ".lock", "rows-0.arrow"}
    index = opened(folder, tmp_path / "index")["text"]
    assert index.is_exact
    assert result.manifest["indexes"]["text"]["kind"] == "exact"
    check_recall(index, TEXT[:900], 1.0)


def test_recall_1_is_exact(folder: Path, tmp_path: Path) -> None:
    index_of(folder, tmp_path / "index", recall=1.0)
    check_recall(opened(folder, tmp_path / "index")["image"], IMAGE, 1.0)


class Stop(BaseException):
    """A kill, at one place."""


def stop_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, after: int) -> None:
    """Let a function do its work so many times, and stop the process before the next."""
    do: Callable[..., Any] = getattr(owner, name)
    left = [after]

    def once(*arguments: Any, **options: Any) -> Any:
        if not left[0]:
            raise Stop
        left[0] -= 1
        return do(*arguments, **options)

    monkeypatch.setattr(owner, name, once)


STOPS = [
    (building, "find_centroids", 0),
    (building, "write_part", 0),
    (building, "write_part", 2),
    (building, "write_lists", 0),
    (building.Codec, "write", 1),
    (building, "tune", 0),
    (building, "find_centroids", 1),
    (building, "tune", 3),
    (build_rows, "_batch", 1),
    (building, "write_json", 1),
]


@pytest.mark.parametrize(("owner", "name", "after"), STOPS)
def test_an_index_that_was_stopped_goes_on(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    after: int,
) -> None:
    out = tmp_path / "index"
    with monkeypatch.context() as patch:
        stop_at(patch, owner, name, after)
        with pytest.raises(Stop):
            index_of(folder, out)
    assert not (out / "manifest.json").exists()
    with pytest.raises(ConfigError, match="type webpairs index"):
        opened(folder, out)
    written = {path: path.stat().st_mtime_ns for path in out.rglob("image-*.part")}
    index_of(folder, out)
    assert written or name not in ("tune", "write_lists")
    assert {path.name for path in out.iterdir()} == {
        *(".lock", "manifest.json", "rows-0.arrow"),
        *(f"{kind}-0.{suffix}" for kind in KINDS for suffix in ("faiss", "lists", "npz")),
    }
    for kind, base in (("image", IMAGE), ("text", TEXT)):
        check_recall(opened(folder, out)[kind], base, 0.9)


def test_parts_that_are_there_are_not_made_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, building, "write_part", 2)
        with pytest.raises(Stop):
            index_of(folder, tmp_path / "index", what=("image",))
    made: list[str] = []
    write = building.write_part
    monkeypatch.setattr(building, "find_centroids", None)
    monkeypatch.setattr(
        building, "write_part", lambda path, *rest: (made.append(path.name), write(path, *rest))
    )
    index_of(folder, tmp_path / "index", what=("image",))
    # Parts of 1,700 rows: two were there, two were left.
    assert made == [
        "image-000000003400-000000005100.part",
        "image-000000005100-000000006000.part",
    ]


def test_what_is_new_is_added_without_a_rebuild(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "index"
    index_of(folder, out)
    old = opened(folder, out)["image"]
    write_folder(folder, MORE_IMAGE, MORE_TEXT, (500, 400), first=3)
    # Until then what is indexed is searched.
    check_recall(opened(folder, out)["image"], IMAGE, 0.9)
    monkeypatch.setattr(building, "find_centroids", None)
    result = index_of(folder, out)
    assert (result.notes, result.manifest["source"]["rows"]) == ((), 6900)
    assert sorted(path.name for path in out.glob("image-*")) == [
        *("image-1.faiss", "image-1.lists", "image-1.npz"),
    ]
    for kind, base in (
        ("image", np.concatenate([IMAGE, MORE_IMAGE])),
        ("text", np.concatenate([TEXT, MORE_TEXT])),
    ):
        check_recall(opened(folder, out)[kind], base, 0.9)
    # Whoever had opened the index before goes on with what it was.
    check_recall(old, IMAGE, 0.9)
    index_of(folder, out)
    assert index_of(folder, out).done_before


def test_samples_added_while_it_was_stopped(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, building, "tune", 0)
        with pytest.raises(Stop):
            index_of(folder, tmp_path / "index")
    write_folder(folder, MORE_IMAGE, MORE_TEXT, (900,), first=3)
    monkeypatch.setattr(
        building, "find_centroids", _only_for_texts(building.find_centroids, [1, 0])
    )
    index_of(folder, tmp_path / "index")
    both = np.concatenate([IMAGE, MORE_IMAGE])
    check_recall(opened(folder, tmp_path / "index")["image"], both, 0.9)


def _only_for_texts(find: Callable[..., Any], left: list[int]) -> Callable[..., Any]:
    def once(*arguments: Any) -> Any:
        assert left, "the centroids of images were there"
        left.pop()
        return find(*arguments)

    return once


def test_four_times_the_vectors_are_divided_anew(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "e", IMAGE[:1200], TEXT[:1200], (1200,))
    index_of(folder, tmp_path / "index", what=("image",))
    write_folder(folder, IMAGE[1200:], TEXT[1200:], (4800,), first=1)
    result = index_of(folder, tmp_path / "index", what=("image",))
    assert result.notes == ("image: so much is new that the index is built anew",)
    assert result.manifest["indexes"]["image"]["trained_rows"] == 6000
    check_recall(opened(folder, tmp_path / "index")["image"], IMAGE, 0.9)


def test_another_recall_only_tunes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "index"
    loose = index_of(folder, out, recall=0.6, what=("image",)).manifest["indexes"]["image"]
    monkeypatch.setattr(building, "write_lists", None)
    tight = index_of(folder, out, recall=0.99, what=("image",)).manifest["indexes"]["image"]
    assert loose["files"] == tight["files"]
    for query in KINDS:
        assert tight["queries"][query]["recall"]["at_10"] >= 0.97
        assert tight["queries"][query]["effort"]["10"] > loose["queries"][query]["effort"]["10"]


def test_the_other_kind_is_added_beside(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    index_of(folder, out, what=("text",))
    assert list(opened(folder, out)) == ["text"]
    before = (out / "text-0.lists").read_bytes()
    index_of(folder, out, what=("image",))
    assert list(opened(folder, out)) == ["image", "text"]
    assert (out / "text-0.lists").read_bytes() == before
    assert (out / "rows-0.arrow").exists(), "the samples are the same"


def test_other_embeddings_are_indexed_anew(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    index_of(folder, out)
    shutil.rmtree(folder)
    write_folder(folder, IMAGE[::-1], TEXT[::-1], SIZES)
    with pytest.raises(ConfigError, match="are not those that"):
        opened(folder, out)
    result = index_of(folder, out)
    assert result.notes == ("the index that was there is of other embeddings: it is built anew",)
    check_recall(opened(folder, out)["image"], IMAGE[::-1], 0.9)


def test_rows_without_a_direction_are_left_out_and_counted(tmp_path: Path) -> None:
    image = IMAGE.copy()
    image[::50] = 0
    image[7] = np.nan
    folder = write_folder(tmp_path / "e", image, TEXT, SIZES)
    entry = index_of(folder, tmp_path / "index").manifest["indexes"]["image"]
    assert (entry["count"], entry["without_direction"], entry["unit"]) == (5879, 121, True)
    index = opened(folder, tmp_path / "index")["image"]
    good = np.setdiff1d(np.arange(6000), [*range(0, 6000, 50), 7])
    found = index.search(QUERIES["image"], 10, of="image")
    assert share(found.rows, brute_force(image, QUERIES["image"], 10, good)) >= 0.9
    everything = index.search(QUERIES["image"][:1], 6000, of="image").rows
    assert set(everything.ravel().tolist()) <= {-1, *good.tolist()}


def test_other_lengths_are_compared_by_their_directions(tmp_path: Path) -> None:
    lengths = np.random.default_rng(1).uniform(0.5, 9, (len(IMAGE), 1))
    image = (IMAGE * lengths).astype(np.float16)
    folder = write_folder(tmp_path / "e", image, TEXT, SIZES)
    result = index_of(folder, tmp_path / "index", what=("image",))
    assert not result.manifest["indexes"]["image"]["unit"]
    index = opened(folder, tmp_path / "index")["image"]
    found = index.search(QUERIES["text"], 10, of="text")
    assert share(found.rows, brute_force(image, QUERIES["text"], 10, unit=False)) >= 0.9
    assert found.similarities.max() <= 1.0001


def test_nothing_to_index(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "e", np.zeros((20, DIM)), np.zeros((20, DIM)), (20,))
    for kind in ("img_emb", "text_emb"):
        np.save(folder / kind / f"{kind}_0.npy", np.zeros((20, DIM), np.float16))
    with pytest.raises(ConfigError, match="has a direction"):
        index_of(folder, tmp_path / "index")
    (folder / "metadata" / "metadata_0.parquet").unlink()
    with pytest.raises(ConfigError, match="has no samples to index"):
        index_of(folder, tmp_path / "index")


def test_a_folder_that_webpairs_does_not_write_into(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="say --out FOLDER"):
        build_index(IndexOptions(source=str(folder)))
    with pytest.raises(ConfigError, match="name a local folder"):
        build_index(IndexOptions(source=str(folder), out="s3://bucket/index"))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot make"):
        index_of(folder, tmp_path / "file" / "index")


def test_a_full_disk_is_told(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(building, "write_part", full)
    with pytest.raises(RunError, match="the disk is full"):
        index_of(folder, tmp_path / "index")


BROKEN: list[tuple[str, str]] = [
    ("cut", r"image-0\.lists has [\d,]+ bytes instead of"),
    ("gone", r"image-0\.faiss is missing"),
    ("no manifest", "holds no index that this version reads"),
    ("another format", "holds no index that this version reads"),
    ("another size", "is of embeddings of 31 numbers"),
    ("fewer samples", r"is of 6,000 samples in 3 shards, .* has 5,000 in 2"),
]


@pytest.mark.parametrize(("how", "why"), BROKEN)
def test_an_index_of_something_else_is_refused(
    folder: Path, tmp_path: Path, how: str, why: str
) -> None:
    out = tmp_path / "index"
    index_of(folder, out, what=("image",))
    manifest = orjson.loads((out / "manifest.json").read_bytes())
    if how == "cut":
        lists = out / "image-0.lists"
        lists.write_bytes(lists.read_bytes()[:-1])
    elif how == "gone":
        (out / "image-0.faiss").unlink()
    elif how == "no manifest":
        (out / "manifest.json").unlink()
    elif how == "another format":
        write_json(out / "manifest.json", manifest | {"format": FORMAT + 1})
    elif how == "another size":
        write_json(out / "manifest.json", manifest | {"dim": 31})
    else:
        for kind, suffix in (("img_emb", "npy"), ("text_emb", "npy"), ("metadata", "parquet")):
            (folder / kind / f"{kind}_2.{suffix}").unlink()
    with pytest.raises(ConfigError, match=why) as caught:
        opened(folder, out)
    assert "type webpairs index" in str(caught.value)


def test_a_broken_index_is_built_again(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "index"
    index_of(folder, out, what=("image",))
    (out / "manifest.json").write_bytes(b"{")
    index_of(folder, out, what=("image",))
    check_recall(opened(folder, out)["image"], IMAGE, 0.9)


@pytest.mark.parametrize("queries", [np.zeros((1, DIM)), np.full((1, DIM), np.nan)])
def test_a_query_without_a_direction_is_refused(folder: Path, tmp_path: Path, queries: Any) -> None:
    index_of(folder, tmp_path / "index", what=("image",))
    index = opened(folder, tmp_path / "index")["image"]
    with pytest.raises(ConfigError, match="without a direction"):
        index.search(queries.astype(np.float32), 10)
    with pytest.raises(ConfigError, match="of 31 numbers cannot be compared"):
        index.search(np.ones((1, 31), np.float32), 10)


def test_the_code_follows_from_memory() -> None:
    assert choose_code(1_000_000, 512, 2, 4_000_000_000) == "sq8"
    assert choose_code(8_000_000, 512, 1, 4_000_000_000) == "rabitq2"


BAD: list[tuple[dict[str, Any], str]] = [
    ({"source": ""}, "DIR is empty"),
    ({"what": ()}, "--what is empty"),
    ({"what": ("imgae",)}, "did you mean 'image'"),
    ({"recall": 0.4}, r"--recall 0\.4 is out of range"),
    ({"recall": 1.01}, r"--recall 1\.01"),
    ({"recall": float("nan")}, "--recall nan"),
    ({"max_memory_bytes": 1_000_000}, "--max-memory 1,000,000 bytes is too little"),
]


@pytest.mark.parametrize(("changes", "why"), BAD)
def test_options(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        IndexOptions(**{"source": "x"} | changes)


def test_a_run_folder_that_is_retried_or_changed(loose_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(loose_run, tmp_path / "run"))
    last = run / "stats" / "00005.json"
    stats = last.read_bytes()
    last.unlink()
    first = build_index(IndexOptions(source=str(run)))
    assert first.folder == run / "index"
    model = orjson.loads((run / "manifest.json").read_bytes())["model"]
    assert first.manifest["model"] == {
        name: model[name] for name in ("spec", "weights_sha256", "dim")
    }
    assert list(opened(run, run / "index")) == ["image", "text"]
    last.write_bytes(stats)  # as a retry commits a further shard
    num_new = orjson.loads(stats)["samples"]
    assert list(opened(run, run / "index")) == ["image", "text"], "what is indexed is searched"
    second = build_index(IndexOptions(source=str(run)))
    assert second.notes == ()
    assert second.manifest["source"]["rows"] == first.manifest["source"]["rows"] + num_new
    changed = orjson.loads(stats)
    for name in changed["files"]:
        if name.startswith("metadata"):
            changed["files"][name]["sha256"] = "0" * 64
    write_json(last, changed)
    with pytest.raises(ConfigError, match=r"embeddings or metadata of .* are not those"):
        opened(run, run / "index")


def test_a_run_that_was_not_scored(loose_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(loose_run, tmp_path / "run"))
    shutil.rmtree(run / "embeddings")
    with pytest.raises(ConfigError, match="has no embeddings of its own"):
        build_index(IndexOptions(source=str(run)))
    assert not (run / "index").exists()
