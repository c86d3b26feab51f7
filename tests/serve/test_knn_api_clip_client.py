"""clip-retrieval's own ClipClient, unchanged, finds what numpy finds; its page's requests do too.

The client needs an environment of its own (docs/development.md); the page's requests are written
down here as front/src/clip-service.js and front/src/clip-front.js make them.
"""

from __future__ import annotations

import base64
import http.client
import http.server
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.paths import TESTS

import webpairs
from webpairs.clip.model import Model
from webpairs.search.index.build import build_index
from webpairs.search.model import load_model_of
from webpairs.search.options import IndexOptions

Floats = npt.NDArray[np.float32]
Reply = list[dict[str, Any]]

pytestmark = pytest.mark.timeout(600)

PEER = TESTS / "support" / "clip_client_queries.py"
TEXT = "a red circle"
SAME = 0.94
PLAIN = {"deduplicate": False, "use_safety_model": False, "use_violence_detector": False}
"""ClipClient with what folds and leaves out switched off."""
SENT_BY_PAGE = {
    "text": "",
    "image": None,
    "image_url": None,
    "embedding_input": None,
    "modality": "image",
    "num_images": 40,
    "num_result_ids": 3000,
    "use_mclip": False,
    "deduplicate": True,
    "use_safety_model": True,
    "use_violence_detector": True,
    "aesthetic_score": "",
    "aesthetic_weight": "0.5",
}
"""What the page sends before anything is chosen; JSON has no undefined."""

PAGE = "http://page.example"
"""Where clip-retrieval's page comes from."""


@dataclass(frozen=True)
class Truth:
    """Hold what stands in a run's files, in the dataset's order."""

    out: Path
    rows: list[dict[str, Any]]
    vectors: Mapping[str, Floats]
    model: Model

    @classmethod
    def of(cls, out: Path) -> Truth:
        shards = sorted(path.stem for path in (out / "metadata").glob("*.parquet"))
        tables = [pq.read_table(out / "metadata" / f"{name}.parquet") for name in shards]
        vectors = {
            kind: np.concatenate(
                [np.load(out / "embeddings" / name / f"{name}_{shard}.npy") for shard in shards]
            ).astype(np.float32)
            for kind, name in (("image", "img_emb"), ("text", "text_emb"))
        }
        model = load_model_of(webpairs.open(out).source, vectors["image"].shape[1], None)
        return cls(out, [row for one in tables for row in one.to_pylist()], vectors, model)

    @property
    def picture(self) -> bytes:
        """Return a stored picture."""
        return webpairs.open(self.out).sample(3, decode=None)["image"]

    def embed(self, text: str) -> Floats:
        return self.model.embed_texts([text])[0]

    def embed_picture(self) -> Floats:
        with Image.open(io.BytesIO(self.picture)) as image:
            return self.model.embed_images(self.model.preprocess(image.convert("RGB"))[None])[0]

    def assert_nearest(self, reply: Reply, query: Floats, k: int, kind: str = "image") -> None:
        """Compare ids and similarities with numpy's; copies of a picture may change places."""
        similarities = self.vectors[kind] @ (query / np.linalg.norm(query))
        ids, found = ids_of(reply), [one["similarity"] for one in reply]
        assert len(ids) == len(set(ids)) == min(k, len(self.rows))
        np.testing.assert_allclose(found, similarities[ids], atol=2e-4)
        assert found == sorted(found, reverse=True)
        others = np.delete(similarities, ids)
        assert not len(others) or others.max() <= min(found) + 2e-4

    def assert_described(self, reply: Reply) -> None:
        """Compare what replies say of samples with the rows of the run."""
        assert reply
        for one in reply:
            row = self.rows[one["id"]]
            found = [one[name] for name in ("url", "caption", "key", "width", "height")]
            assert found == [row[name] for name in ("URL", "TEXT", "key", "WIDTH", "HEIGHT")]
            assert one["NSFW"] == (row["NSFW"] or "UNTAGGED")
            assert one["caption_similarity"] == pytest.approx(row["similarity"], abs=1e-6)

    def without_copies(self, ids: list[int]) -> list[int]:
        """Return which of the ids stay: the first of each connected component."""
        near = self.vectors["image"][ids] @ self.vectors["image"][ids].T > SAME
        for _ in range(10):  # squares paths: 2 ** 10 are more than there are ids
            near = (near.astype(np.float32) @ near.astype(np.float32)) > 0
        return [one for place, one in enumerate(ids) if not near[place, :place].any()]

    def safe(self, ids: list[int]) -> list[int]:
        return [one for one in ids if self.rows[one]["NSFW"] != "NSFW"]


def ids_of(reply: Reply) -> list[int]:
    return [one["id"] for one in reply]


@pytest.fixture(
    scope="module", params=["tagged", *os.environ.get("WEBPAIRS_RUN_FOLDERS", "").split()]
)
def truth(
    request: pytest.FixtureRequest, loose_run: Path, tmp_path_factory: pytest.TempPathFactory
) -> Truth:
    """Return a run with tags of all kinds, and those of WEBPAIRS_RUN_FOLDERS."""
    if request.param != "tagged":
        return Truth.of(Path(request.param))
    out = Path(shutil.copytree(loose_run, tmp_path_factory.mktemp("tagged") / "tagged"))
    tags = ["UNLIKELY", "UNSURE", "NSFW", "UNLIKELY"]
    for path in (out / "metadata").glob("*.parquet"):
        table = pq.read_table(path)
        given = pa.array([tags[number % len(tags)] for number in range(table.num_rows)])
        column = table.column_names.index("NSFW")
        pq.write_table(table.set_column(column, table.schema.field("NSFW"), given), path)
    return Truth.of(out)


@pytest.fixture(scope="module")
def address(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield host and port of `webpairs serve`, a process of its own."""
    index = tmp_path_factory.mktemp("index") / "index"
    build_index(IndexOptions(source=str(truth.out), out=str(index)))
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "webpairs", "serve", str(truth.out), "--index", str(index)),
            *("--allow-origin", PAGE),
            *("--port", "0", "--allow-network", "127.0.0.1/32"),
        ],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        yield next(found[0] for line in lines if (found := re.search(r"127\.0\.0\.1:\d+", line)))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


@contextmanager
def site_with(picture: bytes) -> Generator[str]:
    """Yield the URL at which a site on this machine has a picture."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there = self.path == "/picture.jpg"
            self.send_response(200 if there else 404)
            self.send_header("Content-Length", str(len(picture) if there else 0))
            self.end_headers()
            self.wfile.write(picture if there else b"")

        def log_message(self, format: str, *args: Any) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{site.server_port}/picture.jpg"
        finally:
            site.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def replies(
    truth: Truth, address: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Reply]:
    """Return what ClipClient gets for each query, asked in its own environment."""
    peer = os.environ.get("WEBPAIRS_CLIP_RETRIEVAL")
    if not peer:
        pytest.skip("needs the Python of clip-retrieval's environment in WEBPAIRS_CLIP_RETRIEVAL")
    folder = tmp_path_factory.mktemp("clip-client")
    file = folder / "picture.jpg"
    file.write_bytes(truth.picture)
    embedding = {"embedding_input": truth.vectors["image"][5].tolist()}
    num_all = len(truth.rows)
    with site_with(truth.picture) as url:
        queries: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
            "defaults": ({}, {"text": TEXT}),
            "text": (PLAIN, {"text": TEXT}),
            "text to captions": (PLAIN | {"modality": "text"}, {"text": TEXT}),
            "image": (PLAIN, {"image": str(file)}),
            "image url": (PLAIN, {"image": url}),
            "embedding": (PLAIN, embedding),
            "embedding, long": (
                PLAIN,
                {"embedding_input": (7 * truth.vectors["image"][5]).tolist()},
            ),
            "one": (PLAIN | {"num_images": 1}, embedding),
            "all": (PLAIN | {"num_images": min(num_all, 10_000)}, embedding),
            "all, folded": (
                PLAIN | {"num_images": min(num_all, 10_000), "deduplicate": True},
                embedding,
            ),
            "all, safe": (
                PLAIN | {"num_images": min(num_all, 10_000), "use_safety_model": True},
                embedding,
            ),
            "all, by default": ({"num_images": min(num_all, 10_000)}, embedding),
            "unknown dataset": ({"indice_name": "laion5B-L-14"}, {"text": TEXT}),
            "too many": ({"num_images": 10_001}, {"text": TEXT}),
            "multilingual": ({"use_mclip": True}, {"text": TEXT}),
            "no picture": (PLAIN, {"image": url.replace("picture", "none")}),
        }
        named = {"url": f"http://{address}/knn-service", "indice_name": truth.out.name}
        asked = {name: (named | options, query) for name, (options, query) in queries.items()}
        (folder / "queries.json").write_text(json.dumps(asked))
        done = subprocess.run(
            [peer, str(PEER), str(folder / "queries.json"), str(folder / "replies.json")],
            capture_output=True,
            text=True,
            timeout=500,  # importing torch from a cold disk
            check=False,
        )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "replies.json").read_bytes())


@pytest.mark.compare
def test_client_finds_by_text(truth: Truth, replies: dict[str, Reply]) -> None:
    query = truth.embed(TEXT)
    truth.assert_nearest(replies["text"], query, 40)
    truth.assert_described(replies["text"])
    truth.assert_nearest(replies["text to captions"], query, 40, "text")
    truth.assert_described(replies["text to captions"])
    stays = truth.safe(truth.without_copies(ids_of(replies["text"])))
    assert ids_of(replies["defaults"]) == stays


@pytest.mark.compare
@pytest.mark.parametrize("name", ["image", "image url"])
def test_client_finds_by_picture(truth: Truth, replies: dict[str, Reply], name: str) -> None:
    truth.assert_nearest(replies[name], truth.embed_picture(), 40)
    truth.assert_described(replies[name])
    assert replies["image"] == replies["image url"]


@pytest.mark.compare
def test_client_finds_by_embedding(truth: Truth, replies: dict[str, Reply]) -> None:
    query = truth.vectors["image"][5]
    for name, num in (("embedding", 40), ("embedding, long", 40), ("one", 1), ("all", 10_000)):
        truth.assert_nearest(replies[name], query, num)
        truth.assert_described(replies[name])


@pytest.mark.compare
def test_client_folds_copies_and_leaves_out_what_is_tagged(
    truth: Truth, replies: dict[str, Reply]
) -> None:
    ids = ids_of(replies["all"])
    folded = truth.without_copies(ids)
    assert ids_of(replies["all, folded"]) == folded
    assert len(folded) < len(ids)
    assert ids_of(replies["all, safe"]) == truth.safe(ids)
    assert ids_of(replies["all, by default"]) == truth.safe(folded)
    if truth.out.name == "tagged":
        assert len(truth.safe(ids)) < len(ids)
        assert truth.safe(folded) != folded


@pytest.mark.compare
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unknown dataset", "no dataset 'laion5B-L-14'"),
        ("too many", "10,000"),
        ("multilingual", "use_mclip"),
        ("no picture", "image_url cannot be fetched"),
    ],
)
def test_client_reads_what_is_wrong(replies: dict[str, Any], name: str, words: str) -> None:
    assert list(replies[name]) == ["message"]
    assert words in replies[name]["message"]


def ask(address: str, method: str, path: str, data: Any = None) -> Any:
    """Ask as a browser does for a page from elsewhere: text/plain, so that none asks before."""
    connection = http.client.HTTPConnection(address, timeout=60)
    try:
        headers = {"Origin": PAGE, "Sec-Fetch-Site": "cross-site"}
        if data is not None:
            headers["Content-Type"] = "text/plain;charset=UTF-8"
        connection.request(method, path, None if data is None else json.dumps(data), headers)
        reply = connection.getresponse()
        body = json.loads(reply.read())
        assert reply.status == 200, body
        assert reply.headers["Access-Control-Allow-Origin"] == PAGE
        return body
    finally:
        connection.close()


def test_page_finds_and_reads_on(truth: Truth, address: str) -> None:
    """A search, and what scrolling asks for: 3,000 ids at once, metadata 40 by 40."""
    assert ask(address, "GET", "/config.json")["urlColumn"] == "url"
    name = ask(address, "GET", "/indices-list")[0]
    sent = SENT_BY_PAGE | {"text": TEXT, "indice_name": name}
    results = ask(address, "POST", "/knn-service", sent)
    every = ask(address, "POST", "/knn-service", sent | dict.fromkeys(PLAIN, False))
    truth.assert_nearest(every, truth.embed(TEXT), 3000)
    assert ids_of(results) == truth.safe(truth.without_copies(ids_of(every)))
    truth.assert_described(results[:40])
    assert all(set(one) == {"id", "similarity"} for one in results[40:])
    later = [one["id"] for one in results[40:80]] or ids_of(results[:3])
    found = ask(address, "POST", "/metadata", {"ids": later, "indice_name": name})
    assert [one["id"] for one in found] == later
    truth.assert_described([one["metadata"] | {"id": one["id"]} for one in found])


def test_page_finds_by_picture_and_by_url(truth: Truth, address: str) -> None:
    query = truth.embed_picture()
    sent = SENT_BY_PAGE | {"indice_name": truth.out.name, "deduplicate": False}
    sent["use_safety_model"] = False
    image = base64.b64encode(truth.picture).decode()
    by_picture = ask(address, "POST", "/knn-service", sent | {"image": image})
    with site_with(truth.picture) as url:
        by_url = ask(address, "POST", "/knn-service", sent | {"image_url": url})
    truth.assert_nearest(by_picture, query, 3000)
    assert by_picture == by_url


def test_page_saves_what_it_found(truth: Truth, address: str) -> None:
    """Its download asks for 10,000 at once, with metadata."""
    sent = SENT_BY_PAGE | {"text": TEXT, "indice_name": truth.out.name}
    sent |= {"num_images": 10_000, "num_result_ids": 10_000, "deduplicate": False}
    results = ask(address, "POST", "/knn-service", sent | {"use_safety_model": False})
    assert len(results) == min(len(truth.rows), 10_000)
    truth.assert_described(results)
