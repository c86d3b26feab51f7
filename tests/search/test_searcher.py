"""Searching a dataset: the right pictures, what is chosen, what is folded, what cannot be asked."""

from __future__ import annotations

import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image
from support.drawn_vectors import draw_pairs, write_folder
from support.run_folders import SmallCrawl
from typer.testing import CliRunner

import webpairs
from webpairs.cli import app
from webpairs.dataset.features import LABELS
from webpairs.errors import ConfigError
from webpairs.files import write_json
from webpairs.image.limits import MAX_QUERY_BYTES
from webpairs.search.index.build import build_index
from webpairs.search.model import NoModel
from webpairs.search.near_duplicates import group_copies, keep_first
from webpairs.search.options import IndexOptions, SearchOptions
from webpairs.search.page import results_page
from webpairs.search.query import Query, Term, combine
from webpairs.search.result import Hit
from webpairs.search.searcher import Searcher, search_dataset

IMAGE, TEXT = (one.astype(np.float16) for one in draw_pairs(60, dim=512))


@pytest.fixture(scope="module")
def run(loose_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Index a copy of the small run."""
    out = Path(shutil.copytree(loose_run, tmp_path_factory.mktemp("search") / "run"))
    build_index(IndexOptions(source=str(out)))
    return out


@pytest.fixture(scope="module")
def searcher(run: Path) -> Searcher:
    return Searcher.open(run)


def searched(run: Path, *texts: str, **changes: Any) -> list[Hit]:
    return list(search_dataset(SearchOptions(source=str(run), texts=texts, **changes)).hits)


def test_texts_find_the_pictures_they_are_about(searcher: Searcher, little_web: SmallCrawl) -> None:
    true = {one.uid: one for one in little_web.web.truth if one.is_true and one.fate == "sample"}
    found = 0
    for one in list(true.values())[:40]:
        hits = searcher.search(combine([searcher.text(one.text)]), 5)
        pictures = {true[hit.uid].sha256 for hit in hits if hit.uid in true}
        found += one.sha256 in pictures
    assert found >= 34, "of 40 texts, the picture it was written for is among the five best"


def test_results_are_what_numpy_finds(searcher: Searcher) -> None:
    ds = searcher.dataset
    base = np.concatenate([piece.image_embeddings for piece in ds.pieces([], embeddings=True)])
    query = combine([searcher.text("two green stars")])
    hits = searcher.search(query, 7)
    cosines = base.astype(np.float32) @ query.vector
    assert np.linalg.norm(query.vector) == pytest.approx(1)
    # Several samples show one picture: which of them comes first says nothing.
    assert [hit.similarity for hit in hits] == pytest.approx(np.sort(cosines)[:-8:-1].tolist())
    assert len({hit.row for hit in hits}) == 7
    for hit in hits:
        sample = ds.sample(hit.row, decode=None)
        named = {name: sample[name] for name in hit.columns} | {"nsfw": LABELS[sample["nsfw"]]}
        assert hit.columns == named, "the columns are those of the sample"
        assert searcher.row_of(hit.key) == hit.row
        assert hit.similarity == pytest.approx(cosines[hit.row])
        assert len(hit.uid or "") == 32


def test_pictures_find_themselves(run: Path, searcher: Searcher, tmp_path: Path) -> None:
    key = searcher.hits(np.array([17]), None)[0].key
    picture = searcher.pictures([17])[0]
    assert picture is not None
    path = tmp_path / "picture.jpg"
    path.write_bytes(picture)
    hits = searched(run, images=(str(path),), k=3)
    same = searcher.indexes["image"].vectors.take(np.array([hits[0].row, 17]))
    assert same[0] @ same[1] > 0.97
    like = searched(run, like=(key,), k=3)
    assert like[0].similarity == pytest.approx(1, abs=1e-3)
    assert any(hit.row == 17 for hit in searched(run, like=(key,), k=20))


def test_terms_to_keep_away_from(searcher: Searcher) -> None:
    def mean_rank(query: Query, rows: list[int]) -> float:
        found = [hit.row for hit in searcher.search(query, len(searcher.dataset))]
        return float(np.mean([found.index(row) for row in rows]))

    red = combine([searcher.text("red shapes on a white background")])
    rows = [hit.row for hit in searcher.search(red, 15)]
    plain = combine([searcher.text("shapes on a white background")])
    without = combine([searcher.text("shapes on a white background"), searcher.text("red", -0.5)])
    assert mean_rank(without, rows) > mean_rank(plain, rows) + 10


def test_texts_can_be_searched_for_texts(run: Path) -> None:
    some = webpairs.open(run)[3]
    hits = searched(run, some["caption"], kind="text", k=4)
    assert some["caption"] in [hit.columns["caption"] for hit in hits]
    assert hits[0].similarity == pytest.approx(1, abs=1e-3)


def test_only_among_some(run: Path, searcher: Searcher) -> None:
    everything = [hit.row for hit in searched(run, "a star", k=1000)]
    assert sorted(everything) == list(range(len(searcher.dataset)))
    where = "similarity > 0.3 and original_width >= 300"
    hits = searched(run, "a star", where=where, k=1000)
    chosen = searcher.dataset.where(where)
    assert {hit.key for hit in hits} == set(chosen.table(["key"]).column("key").to_pylist())
    assert 0 < len(hits) < len(everything)
    assert [hit.row for hit in hits] == [row for row in everything if row in {h.row for h in hits}]
    assert searched(run, "a star", where="similarity > 2") == []
    with pytest.raises(ConfigError, match="no column similarty"):
        searched(run, "a star", where="similarty > 0")


def test_what_shows_the_same_is_folded(run: Path, searcher: Searcher) -> None:
    plain = searched(run, "a star", k=30)
    unique = searched(run, "a star", k=30, unique=True)
    vectors = searcher.indexes["image"].vectors.take(np.array([hit.row for hit in unique]))
    cosines = vectors @ vectors.T - np.eye(len(unique))
    assert cosines.max() <= 0.94
    assert unique[0].row == plain[0].row
    assert len(unique) == 30
    order = [hit.row for hit in searched(run, "a star", k=1000)]
    for hit in unique:
        ranks = [order.index(row) for row in (hit.row, *hit.folded)]
        assert ranks == sorted(ranks), "the best stays, the others follow by how near they are"
    shown = [row for hit in unique for row in (hit.row, *hit.folded)]
    assert len(shown) == len(set(shown)) > len(unique)
    assert {hit.row for hit in plain} <= set(shown)
    assert {hit.folded for hit in plain} == {()}


def test_pages_follow_each_other(searcher: Searcher) -> None:
    query = combine([searcher.text("a star")])
    for unique in (False, True):
        whole = [hit.row for hit in searcher.search(query, 60, unique=unique)]
        pages = [searcher.search(query, 20, offset=start, unique=unique) for start in (0, 20, 40)]
        assert [hit.row for page in pages for hit in page] == whole
        assert len(set(whole)) == 60
    assert searcher.search(query, 5, offset=9_000) == []


def test_groups_are_connected_and_keep_their_best() -> None:
    def at(degrees: float) -> list[float]:
        return [np.cos(np.radians(degrees)), np.sin(np.radians(degrees))]

    # cos 19 degrees is above 0.94, cos 21 is not: 0, 38 and 19 are one group, 60 is its own.
    vectors = np.array([at(0), at(38), at(60), at(19), at(180)], np.float32)
    assert group_copies(vectors).tolist() == [0, 0, 2, 0, 4]
    assert keep_first(vectors).tolist() == [0, 2, 4]
    assert keep_first(vectors[:0]).tolist() == []


def test_terms_that_cancel_each_other() -> None:
    one = Term(np.array([1, 0], np.float32), "text")
    with pytest.raises(ConfigError, match="cancel each other"):
        combine([one, Term(one.vector * 3, "text", -1.0)])
    assert combine([one, Term(one.vector, "image")]).kind is None


def test_without_a_model_captions_are_searched(run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    for path in (out / "manifest.json", out / "index" / "manifest.json"):
        manifest = orjson.loads(path.read_bytes())
        manifest["model"]["spec"] = "no/such-model"
        write_json(path, manifest)
    result = search_dataset(SearchOptions(source=str(out), texts=("RED circle",), k=1000))
    assert result.note is not None
    assert "unknown model 'no/such-model'" in result.note
    captions = webpairs.open(out).table(["caption"]).column("caption").to_pylist()
    wanted = [one for one in captions if "red" in one.lower() and "circle" in one.lower()]
    assert wanted
    assert [hit.columns["caption"] for hit in result.hits] == wanted
    assert {hit.similarity for hit in result.hits} == {None}
    fewer = searched(out, "red circle", without=("white",), k=1000)
    assert [hit.columns["caption"] for hit in fewer] == [
        one for one in wanted if "white" not in one.lower()
    ]
    assert len(searched(out, "red circle", k=1)) == 1
    key = webpairs.open(out).table(["key"]).column("key")[0].as_py()
    assert searched(out, like=(key,))[0].similarity is not None
    with pytest.raises(NoModel, match="unknown model"):
        searched(out, "red", like=(key,))


def test_other_weights_are_refused(run: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    manifest = orjson.loads((out / "manifest.json").read_bytes())
    manifest["model"]["weights_sha256"] = "0" * 64
    write_json(out / "manifest.json", manifest)
    with pytest.raises(ConfigError, match=r"made of embeddings of tiny .*type webpairs index"):
        searched(out, "a star")
    build_index(IndexOptions(source=str(out)))
    with pytest.raises(ConfigError, match="has other weights"):
        searched(out, "a star")


def picture(size: tuple[int, int], format: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("1" if format == "PNG" else "RGB", size).save(out, format)
    return out.getvalue()


BAD_IMAGES: list[tuple[str, bytes | None, str]] = [
    ("absent", None, "No such file"),
    ("empty", b"", "cannot be searched for: not_an_image"),
    ("text", b"just words", "not_an_image"),
    ("cut", picture((400, 300), "JPEG")[:300], "cannot be searched for"),
    ("gif", picture((40, 30), "GIF"), "not_an_image|format"),
    ("bomb", picture((20_000, 20_000)), "pixels"),
    ("large", bytes(MAX_QUERY_BYTES + 1), "use an image of at most"),
]


@pytest.mark.parametrize(("name", "data", "why"), BAD_IMAGES)
def test_an_image_that_cannot_be_searched_for(
    run: Path, tmp_path: Path, name: str, data: bytes | None, why: str
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=f"--image .*{name}.*({why})"):
        searched(run, images=(str(tmp_path / name),))


BAD: list[tuple[dict[str, Any], str]] = [
    ({}, "nothing to search for"),
    ({"texts": ("  ",)}, "is empty"),
    ({"texts": ("x" * 2001,)}, "too long: use at most 2000"),
    ({"texts": ("x",), "without": ("",)}, "is empty"),
    ({"texts": ("x",), "k": 0}, "--k 0 is out of range: use 1 to 10000"),
    ({"texts": ("x",), "k": 10_001}, "--k 10001"),
    ({"texts": ("x",), "kind": "images"}, "did you mean 'image'"),
    ({"like": ("nobody",)}, "has no sample 'nobody'"),
    ({"texts": ("x",), "source": ""}, "DIR is empty"),
    ({"texts": ("x",), "source": "absent"}, "does not exist"),
    ({"texts": ("x",), "index": "absent"}, "does not exist: type webpairs index"),
    ({"texts": ("x",), "model": "tony"}, "unknown model 'tony'"),
]


@pytest.mark.parametrize(("changes", "why"), BAD)
def test_what_cannot_be_asked(run: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        search_dataset(SearchOptions(**{"source": str(run)} | changes))


def test_a_dataset_without_an_index(loose_run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="type webpairs index"):
        searched(loose_run, "a star")
    with pytest.raises(ConfigError, match="is not a dataset"):
        searched(tmp_path, "a star")


def test_a_kind_that_is_not_indexed(run: Path, tmp_path: Path) -> None:
    build_index(IndexOptions(source=str(run), out=str(tmp_path / "texts"), what=("text",)))
    asked: dict[str, Any] = {"index": str(tmp_path / "texts")}
    assert searched(run, "a star", **asked) == searched(run, "a star", kind="text")
    with pytest.raises(ConfigError, match="image embeddings are not indexed"):
        searched(run, "a star", kind="image", **asked)


def test_embedding_folders(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "e", IMAGE, TEXT, (40, 20))
    out = str(tmp_path / "index")
    build_index(IndexOptions(source=str(folder), out=out))
    asked: dict[str, Any] = {"source": str(folder), "index": out}
    like = search_dataset(SearchOptions(like=("0000100000003",), k=5, **asked)).hits
    assert (like[0].row, like[0].key, like[0].uid) == (43, "0000100000003", None)
    assert like[0].columns["caption"] == "caption of 43"
    true = np.argsort(-(IMAGE.astype(np.float32) @ IMAGE[43].astype(np.float32)))
    assert [hit.row for hit in like] == true[:5].tolist()
    words = search_dataset(SearchOptions(texts=("caption of 5",), **asked))
    assert words.note is not None
    assert "say --model NAME" in words.note
    assert [hit.row for hit in words.hits] == [n for n in range(60) if "5" in str(n)]
    assert (
        search_dataset(SearchOptions(texts=("a star",), model="tiny", k=60, **asked)).note is None
    )


def test_many_threads_get_what_one_gets(searcher: Searcher) -> None:
    texts = ["a red circle", "two stars", "a heart", "blue rings"] * 6
    alone = [searcher.search(combine([searcher.text(text)]), 5) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        together = list(
            pool.map(lambda text: searcher.search(combine([searcher.text(text)]), 5), texts)
        )
    assert together == alone


HOSTILE = (
    '<script>alert(1)</script>"><img src=x onerror=alert(2)>',
    "\u202eesrever\u2066 \x1b[2J\x00 & <b>bold</b>",
    "' onmouseover='alert(3)",
)


class Seen(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_trusts_nothing_that_it_shows() -> None:
    urls = ("javascript:alert(4)", 'https://e.org/"onload="x', "data:text/html,<script>")
    hits = [
        Hit(row, f"key{row}", None, 0.25, {"caption": caption, "url": url})
        for row, (caption, url) in enumerate(zip(HOSTILE, urls, strict=True))
    ]
    page = results_page(HOSTILE[0], hits, [picture((30, 20), "JPEG"), b"broken", None], HOSTILE[1])
    seen = Seen(page)
    assert "script" not in seen.tags
    assert "b" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert [value for name, value in seen.attributes if name == "href"] == [urls[1]]
    sources = [value for name, value in seen.attributes if name == "src"]
    assert len(sources) == 1
    assert sources[0].startswith("data:image/jpeg;base64,")
    assert not set("\u202e\u2066\x1b\x00") & set(page)
    assert HOSTILE[0] in seen.text
    assert "default-src 'none'" in page


def test_the_verbs(run: Path, tmp_path: Path) -> None:
    def said(*arguments: object) -> str:
        asked = [str(one) for one in arguments]
        done = CliRunner().invoke(app, asked, env={"COLUMNS": "160"}, catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    out = said("index", run)
    assert "it was indexed before" in out
    assert "recall of the ten nearest: image to image 1.000, text to image 1.000" in out
    best = searched(run, "a red circle", k=2)
    table = said("search", run, "a red circle", "--k", 2)
    assert [hit.key in table for hit in best] == [True, True]
    found = orjson.loads(said("search", run, "a red circle", "--k", 2, "--format", "json"))
    assert [one["key"] for one in found["hits"]] == [hit.key for hit in best]
    assert found["hits"][0]["columns"]["caption"] == best[0].columns["caption"]
    page = said("search", run, "a red circle", "--k", 2, "--format", "html")
    assert page.count("data:image/jpeg;base64,") == 2
    assert "nothing was found" in said("search", run, "x", "--where", "similarity > 2")


def test_a_caption_cannot_steer_the_terminal(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "e", IMAGE[:2], TEXT[:2], (2,), captions=["\x1b[2J[red]a"] * 2)
    build_index(IndexOptions(source=str(folder), out=str(tmp_path / "index")))
    asked = ["search", str(folder), "--index", str(tmp_path / "index"), "--like", "0000000000001"]
    done = CliRunner().invoke(app, asked, env={"COLUMNS": "160"}, catch_exceptions=False)
    assert "\x1b" not in done.stdout
    assert "[U+001B][2J[red]a" in done.stdout
