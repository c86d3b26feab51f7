"""Replies and pages stay small and prompt whatever the rows of a foreign folder hold."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient
from support.served_folders import client_of, listening

from webpairs.dataset.bounded import LIST
from webpairs.search.index.build import build_index
from webpairs.search.options import IndexOptions
from webpairs.serve.pages import MAX_HITS
from webpairs.serve.state import MAX_REPLY_BYTES, State

CHARS = 300_000
SECRET = "s3cret"
NUM = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in clip-retrieval's layout, whose every text is huge."""
    out = tmp_path_factory.mktemp("large") / "large"
    vectors = np.random.default_rng(0).normal(size=(NUM, 8)).astype(np.float16)
    for name in ("img_emb", "text_emb", "metadata"):
        (out / name).mkdir(parents=True)
    for name in ("img_emb", "text_emb"):
        np.save(out / name / f"{name}_00000.npy", vectors)
    long = ["<b>" * (CHARS // 3)] * NUM
    urls = [f"https://me:{SECRET}@a.example/{row}/{'x' * CHARS}" for row in range(NUM - 1)]
    table = pa.table(
        {
            "caption": long,
            "url": [*urls, f"https://me:{SECRET}@a.example/short.jpg"],
            "license": long,
            "page_url": [f"https://me:{SECRET}@page.example/"] * NUM,
            "numbers": pa.array([np.ones(CHARS // 10, np.int8)] * NUM, pa.list_(pa.int8())),
            "words": [["x" * CHARS]] * NUM,
        }
    )
    pq.write_table(table, out / "metadata" / "metadata_00000.parquet")
    build_index(IndexOptions(source=str(out), what=("image",), out=str(index_of(out))))
    return out


@pytest.fixture(scope="module")
def large(folder: Path) -> Iterator[TestClient]:
    with client_of(folder, index=str(index_of(folder))) as client:
        yield client


def index_of(folder: Path) -> Path:
    return folder.parent / "index"


def first_key(client: TestClient) -> str:
    return client.get("/api/large/search?k=1").json()["hits"][0]["key"]


def status_of(host: str, port: int, path: str) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=10)
    connection.request("GET", path)
    try:
        return connection.getresponse().status
    finally:
        connection.close()


PATHS = (
    *("/", "/?q=b", "/?k=40", "/api/datasets", "/sample/large/{}"),
    *("/api/large/search?k=40", "/api/large/random?k=40", "/api/large/facets"),
    *("/api/large/rows/{}", "/api/large/rows?keys={}", "/api/large/near-threshold"),
)


@pytest.mark.parametrize("path", PATHS)
def test_a_reply_is_bounded_and_holds_no_password(large: TestClient, path: str) -> None:
    reply = large.get(path.format(first_key(large)))
    assert reply.status_code == 200
    assert len(reply.content) < 6 * LIST.all_chars
    assert SECRET not in reply.text


def test_what_is_cut_says_so(large: TestClient) -> None:
    hits = large.get("/api/large/search?k=3").json()["hits"]
    for hit in hits:
        caption = hit["columns"]["caption"]
        assert caption.endswith("… [cut: 300 kB]")
        assert len(caption) < LIST.text_chars + 100
        assert {"caption", "license"} <= set(hit["cut"])
    last = large.get("/api/large/search?k=1&offset=39").json()["hits"][0]
    assert last["columns"]["url"] == "https://a.example/short.jpg"
    assert "url" not in last["cut"]


def test_lists_are_not_shown_whole_nor_cut_urls_linked(large: TestClient) -> None:
    row = large.get(f"/api/large/rows/{first_key(large)}").json()
    facts = {one["name"]: one["value"] for group in row["groups"] for one in group["facts"]}
    assert facts["words"].endswith("not shown]")
    assert facts["numbers"].endswith("not shown]")
    assert {one["title"] for one in row["links"]} == {"Page"}


def test_clip_retrieval_gets_bounded_texts(large: TestClient) -> None:
    asked = {"modality": "image", "num_images": 40, "embedding_input": [1.0] * 8}
    for body in (asked, asked | {"use_safety_model": True}):
        found = large.post("/knn-service", json=body).json()
        assert len(found) == NUM
        assert all(len(one["caption"]) < LIST.text_chars + 100 for one in found)
        assert "caption" in found[0]["cut"]
    ids = large.post("/metadata", json={"ids": [0] * 10_000})
    assert len(ids.content) < 6 * LIST.all_chars


def test_a_facet_lists_no_long_value(large: TestClient) -> None:
    facets = {one["name"]: one for one in large.get("/api/large/facets").json()["facets"]}
    assert "license" not in facets  # nothing of it can be listed
    assert "host" not in facets


def test_a_file_of_picked_samples_is_bounded(large: TestClient) -> None:
    keys = [hit["key"] for hit in large.get("/api/large/search?k=40").json()["hits"]]
    reply = large.post("/api/large/export", json={"keys": keys, "format": "csv"})
    assert reply.status_code == 200
    assert len(reply.content) < MAX_REPLY_BYTES
    assert SECRET not in reply.text


def test_a_whole_text_comes_in_parts(large: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webpairs.serve.answers.whole_text.PART_CHARS", 200_000)
    path = f"/api/large/rows/{first_key(large)}/text/caption"
    first = large.get(path).json()
    assert first["chars"] == CHARS // 3 * 3
    rest = large.get(path, params={"offset": 200_000}).json()
    assert [len(first["text"]), first["more"]] == [200_000, True]
    assert [len(rest["text"]), rest["more"]] == [100_000, False]
    assert first["text"] + rest["text"] == "<b>" * (CHARS // 3)
    url = large.get(f"/api/large/rows/{first_key(large)}/text/page_url").json()
    assert url["text"] == "https://page.example/"
    assert large.get(f"/api/large/rows/{first_key(large)}/text/none").status_code == 404
    assert large.get(f"/api/large/rows/{first_key(large)}/text/numbers").status_code == 422


def test_a_page_has_a_most(large: TestClient) -> None:
    reply = large.get(f"/?k={MAX_HITS + 1}")
    assert reply.status_code == 422
    assert f"{MAX_HITS:,}" in reply.text


@pytest.mark.parametrize("path", ["/?k=5", "/api/large/search?k=5", "/api/large/rows/{}"])
def test_threads_write_replies(
    folder: Path, path: str, large: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one is written, the loop answers others."""
    wanted = path.format(first_key(large)) if "{}" in path else path
    begun, go_on = threading.Event(), threading.Event()
    reply = State.reply

    async def held(self: State, write: Callable[[], Any]) -> Any:
        def wait_and_write() -> Any:
            begun.set()
            assert go_on.wait(20)
            return write()

        return await reply(self, wait_and_write)

    monkeypatch.setattr(State, "reply", held)
    with (
        listening(folder, index=str(index_of(folder))) as (host, port),
        ThreadPoolExecutor(1) as pool,
    ):
        slow = pool.submit(status_of, host, port, wanted)
        try:
            assert begun.wait(20)
            assert status_of(host, port, "/health") == 200
        finally:
            go_on.set()
        assert slow.result(20) == 200


def test_a_reply_that_is_too_large_is_refused(
    large: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webpairs.serve.state.MAX_REPLY_BYTES", 1_000)
    reply = large.get("/api/large/search?k=40")
    assert reply.status_code == 422
    assert "1,000" in orjson.loads(reply.content)["message"]
