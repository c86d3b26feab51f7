"""clip-retrieval's dialect: fields, replies and errors as its client and its page know them.

The table that is tested is of clip_retrieval/clip_back.py, clip_client.py and
front/src/clip-service.js; values are compared with numpy's on the run's own files.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from PIL import Image
from starlette.testclient import TestClient

import webpairs
from webpairs.clip.model import load_model

COLUMNS = {"url", "caption", "NSFW", "key", "width", "height", "license", "caption_similarity"}


@pytest.fixture(scope="module")
def truth(indexed_run: Path) -> Any:
    return Truth(indexed_run)


class Truth:
    """Hold what stands in the run's files, in the dataset's order."""

    def __init__(self, out: Path) -> None:
        shards = sorted(path.stem for path in (out / "metadata").glob("*.parquet"))
        tables = [pq.read_table(out / "metadata" / f"{name}.parquet") for name in shards]
        self.rows = [row for table in tables for row in table.to_pylist()]
        folder = out / "embeddings" / "img_emb"
        self.images = np.concatenate(
            [np.load(folder / f"img_emb_{name}.npy") for name in shards]
        ).astype(np.float32)
        folder = out / "embeddings" / "text_emb"
        self.texts = np.concatenate(
            [np.load(folder / f"text_emb_{name}.npy") for name in shards]
        ).astype(np.float32)

    def unlike_others(self) -> int:
        """Return the row whose picture is least like any other's: small webs show some twice."""
        near = self.images @ self.images.T
        np.fill_diagonal(near, -1)
        return int(near.max(axis=1).argmin())

    def nearest(self, query: Any, vectors: Any, k: int) -> tuple[list[int], Any]:
        similarities = vectors @ (query / np.linalg.norm(query))
        order = np.argsort(-similarities, kind="stable")[:k]
        return order.tolist(), similarities[order]


def ask(client: TestClient, **fields: Any) -> Any:
    """Send a request as ClipClient does: JSON without a content type."""
    body = orjson.dumps({"modality": "image", "num_images": 5, "indice_name": "loose", **fields})
    return client.post("/knn-service", content=body)


def test_indices_are_named_in_order(client: TestClient) -> None:
    assert client.get("/indices-list").json() == ["loose"]


def test_text_finds_what_numpy_finds(client: TestClient, truth: Truth) -> None:
    query = load_model("tiny").embed_texts(["a red circle"])[0]
    reply = ask(client, text="a red circle", num_result_ids=12)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    results = reply.json()
    _, similarities = truth.nearest(query, truth.images, 12)
    found = [one["similarity"] for one in results]
    np.testing.assert_allclose(found, similarities, atol=1e-3)
    # Copies of a picture are equally near, in whatever order.
    own = truth.images[[one["id"] for one in results]] @ query
    np.testing.assert_allclose(found, own, atol=1e-3)
    assert len({one["id"] for one in results}) == 12
    # The first num_images have metadata, the others id and similarity alone.
    assert all(set(one) >= COLUMNS for one in results[:5])
    assert all(set(one) == {"id", "similarity"} for one in results[5:])
    for one in results[:5]:
        row = truth.rows[one["id"]]
        assert (one["url"], one["caption"], one["key"]) == (row["URL"], row["TEXT"], row["key"])
        assert one["caption_similarity"] == pytest.approx(row["similarity"])


def test_modality_text_searches_captions(client: TestClient, truth: Truth) -> None:
    query = load_model("tiny").embed_texts(["a red circle"])[0]
    results = ask(client, text="a red circle", modality="text").json()
    similarities = truth.nearest(query, truth.texts, 5)[1]
    np.testing.assert_allclose([one["similarity"] for one in results], similarities, atol=1e-3)


@pytest.mark.parametrize("prefix", ["", "data:image/jpeg;base64,"])
def test_image_finds_what_numpy_finds(
    client: TestClient, indexed_run: Path, truth: Truth, prefix: str
) -> None:
    sample = webpairs.open(indexed_run).sample(3, decode=None)
    model = load_model("tiny")
    with Image.open(io.BytesIO(sample["image"])) as image:
        query = model.embed_images(model.preprocess(image.convert("RGB"))[None])[0]
    results = ask(client, image=prefix + base64.b64encode(sample["image"]).decode()).json()
    _, similarities = truth.nearest(query, truth.images, 5)
    np.testing.assert_allclose([one["similarity"] for one in results], similarities, atol=2e-3)


def test_embedding_length_does_not_matter_unless_asked(client: TestClient, truth: Truth) -> None:
    row = truth.unlike_others()
    query = (10 * truth.images[row]).tolist()
    best = ask(client, embedding_input=query).json()[0]
    assert best["id"] == row
    assert best["similarity"] == pytest.approx(1, abs=1e-2)
    old = ask(client, embedding_input=query, normalize=False).json()[0]
    assert old["similarity"] == pytest.approx(10, abs=0.1)


def test_text_comes_before_image_and_empty_counts_as_absent(
    client: TestClient, truth: Truth
) -> None:
    embedding = truth.images[truth.unlike_others()].tolist()
    by_text = ask(
        client, text="a red circle", embedding_input=embedding, image="not base64 !"
    ).json()
    assert by_text == ask(client, text="a red circle").json()
    by_embedding = ask(client, text="", image=None, image_url="", embedding_input=embedding).json()
    assert by_embedding[0]["id"] == truth.unlike_others()


def test_deduplicated_reply_is_what_connected_components_leave(
    client: TestClient, truth: Truth
) -> None:
    query = truth.images[0]
    plain = ask(client, embedding_input=query.tolist(), num_images=60).json()
    folded = ask(client, embedding_input=query.tolist(), num_images=60, deduplicate=True).json()
    rows = [one["id"] for one in plain]
    near = truth.images[rows] @ truth.images[rows].T > 0.94
    # Components by repeated squaring, independent of the code under test.
    for _ in range(8):
        near = (near.astype(int) @ near.astype(int)) > 0
    kept = [row for place, row in enumerate(rows) if not near[place, :place].any()]
    assert [one["id"] for one in folded] == kept
    assert len(kept) < len(rows)


def test_clients_defaults_are_answered(client: TestClient, truth: Truth) -> None:
    """All that ClipClient sends by default: a multilingual tower off, aesthetics on."""
    reply = ask(
        client,
        text=None,
        image=None,
        image_url=None,
        embedding_input=truth.images[truth.unlike_others()].tolist(),
        num_images=40,
        num_result_ids=40,
        use_mclip=False,
        deduplicate=True,
        use_safety_model=True,
        use_violence_detector=True,
        aesthetic_score=9,
        aesthetic_weight=0.5,
        more="ignored",
    )
    assert reply.status_code == 200
    assert reply.json()[0]["id"] == truth.unlike_others()
    assert "aesthetic_score" in reply.headers["warning"]


@pytest.mark.parametrize(
    "content_type", [None, "text/plain;charset=UTF-8", "application/json", "nonsense"]
)
def test_content_type_is_ignored(client: TestClient, content_type: str | None) -> None:
    body = orjson.dumps(
        {"text": "a circle", "modality": "image", "num_images": 1, "indice_name": None}
    )
    headers = {} if content_type is None else {"content-type": content_type}
    reply = client.post("/knn-service", content=body, headers=headers)
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers


def test_options_are_told(client: TestClient) -> None:
    reply = client.options("/knn-service")
    assert reply.status_code == 204
    assert reply.headers["allow"] == "POST, OPTIONS"


def test_metadata_by_ids_keeps_their_order(client: TestClient, truth: Truth) -> None:
    body = orjson.dumps({"ids": [5, 0, 5, 2], "indice_name": "loose"})
    found = client.post("/metadata", content=body).json()
    assert [one["id"] for one in found] == [5, 0, 5, 2]
    assert all(one["metadata"]["url"] == truth.rows[one["id"]]["URL"] for one in found)
    assert client.post("/metadata", content=b'{"ids": []}').json() == []


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "nothing to search for": ({}, 422, "nothing to search for"),
    "all empty": ({"text": "", "image": ""}, 422, "nothing to search for"),
    "unknown index": ({"text": "x", "indice_name": "other"}, 404, "no dataset 'other'"),
    "wrong type": ({"text": 5}, 422, "str"),
    "k too large": ({"text": "x", "num_result_ids": 10_001}, 422, "10,000"),
    "k none": ({"text": "x", "num_result_ids": 0}, 422, "num_result_ids 0"),
    "k below none": ({"text": "x", "num_images": -1}, 422, "num_images -1"),
    "k huge": ({"text": "x", "num_images": 2**63}, 422, ""),
    "multilingual": ({"text": "x", "use_mclip": True}, 422, "multilingual"),
    "text too long": ({"text": "x" * 2_001}, 422, "2000"),
    "not base64": ({"image": "***"}, 400, "base64"),
    "no image": ({"image": base64.b64encode(b"no image").decode()}, 422, "image"),
    "short vector": ({"embedding_input": [1.0, 2.0]}, 422, "512"),
    "zero vector": ({"embedding_input": [0.0] * 512}, 422, "direction"),
    "endless vector": ({"embedding_input": [1e39] * 512}, 422, "direction"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_told_why(client: TestClient, name: str) -> None:
    fields, status, words = BAD[name]
    reply = ask(client, **fields)
    assert reply.status_code == status
    message = reply.json()["message"]
    assert words in message
    assert "Traceback" not in message


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"\xff\xfe", 400),
        (b"[]", 422),
        (b"null", 422),
        (b'{"text": "x"}', 422),
        (b'{"text": "x", "modality": "image", "num_images": NaN}', 400),
        (b"[" * 100_000, 422),
    ],
)
def test_broken_json_is_told(client: TestClient, body: bytes, status: int) -> None:
    for path in ("/knn-service", "/metadata"):
        reply = client.post(path, content=body)
        assert reply.status_code == status, path
        assert reply.json()["message"]


def test_missing_fields_are_named(client: TestClient) -> None:
    reply = client.post("/knn-service", content=b'{"text": "x", "modality": "image"}')
    assert (reply.status_code, "num_images" in reply.json()["message"]) == (422, True)


def test_null_is_the_default(client: TestClient) -> None:
    fields = dict.fromkeys(
        (
            *("num_images", "num_result_ids", "modality", "indice_name", "use_mclip"),
            *("deduplicate", "use_safety_model", "use_violence_detector", "aesthetic_score"),
            *("aesthetic_weight", "image", "image_url", "embedding_input"),
        )
    )
    reply = ask(client, text="a circle", **fields)
    assert reply.status_code == 200
    assert len(reply.json()) == 40
    assert "warning" not in reply.headers


@pytest.mark.parametrize("ids", [[-1], [10**6], [10**30], ["1"], [None], 3])
def test_ids_that_are_none_are_told(client: TestClient, ids: Any) -> None:
    body = (
        orjson.dumps({"ids": ids, "indice_name": "loose"})
        if ids != [10**30]
        else (b'{"ids": [%d], "indice_name": "loose"}' % 10**30)
    )
    reply = client.post("/metadata", content=body)
    assert reply.status_code in ((200,) if ids == ["1"] else (404, 422))


def test_other_methods_and_paths_are_told(client: TestClient) -> None:
    reply = client.get("/knn-service")
    assert reply.status_code == 405
    assert set(reply.headers["allow"].split(", ")) == {"POST", "OPTIONS"}
    assert "GET /knn-service" in reply.json()["message"]
    assert client.get("/nothing-here").status_code == 404
    assert "openapi.json" in client.get("/nothing-here").json()["message"]


def test_an_image_that_is_a_bomb_is_refused(client: TestClient) -> None:
    out = io.BytesIO()
    Image.new("1", (9_000, 9_000)).save(out, "PNG")
    reply = ask(client, image=base64.b64encode(out.getvalue()).decode())
    assert reply.status_code == 422
    assert "pixels" in reply.json()["message"]


@pytest.mark.parametrize("says_length", [True, False])
def test_a_body_that_is_too_large_is_refused(client: TestClient, says_length: bool) -> None:
    parts = [b" " * 1_000_000] * 16 + [b" "]
    reply = client.post("/knn-service", content=b"".join(parts) if says_length else iter(parts))
    assert ("content-length" in reply.request.headers) is says_length
    assert reply.status_code == 413
    assert "16,000,000" in reply.json()["message"]


def test_metrics_have_clip_retrievals_names(client: TestClient) -> None:
    ask(client, text="a circle", deduplicate=True, use_safety_model=True)
    text = client.get("/metrics").text
    for name in (
        *("full_knn_request_time", "text_clip_inference_time", "image_clip_inference_time"),
        *("metadata_get_time", "knn_index_time", "dedup_time", "safety_time", "download_time"),
        *("image_prepro_time",),
    ):
        assert f"{name}_count" in text
    assert "knn_index_time: " in client.get("/metrics-summary").text


def test_config_tells_the_page_where_to_ask(client: TestClient) -> None:
    found = client.get("/config.json").json()
    assert found == {
        "defaultBackend": "http://localhost",
        "defaultIndex": "",
        "urlColumn": "url",
    }
