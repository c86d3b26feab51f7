"""webpairs' own API: searches, counts, rows, samples, files; against the files themselves."""

from __future__ import annotations

import base64
import csv
import io
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pytest
from PIL import Image
from starlette.testclient import TestClient
from support.run_folders import SmallCrawl
from support.served_folders import client_of

import webpairs
from webpairs import BuildOptions, build_dataset
from webpairs.clip import hub
from webpairs.search.index.build import build_index
from webpairs.search.options import IndexOptions

SEARCH = "/api/loose/search"


def sql(out: Path, query: str) -> list[tuple[Any, ...]]:
    """Ask DuckDB, of the run's own files."""
    files = f"read_parquet('{out}/metadata/*.parquet')"
    return duckdb.sql(query.replace("samples", files)).fetchall()


def keys_of(reply: Any) -> list[str]:
    assert reply.status_code == 200, reply.text
    return [hit["key"] for hit in reply.json()["hits"]]


def test_datasets_say_what_can_be_asked(client: TestClient, indexed_run: Path) -> None:
    (one,) = client.get("/api/datasets").json()
    assert one["name"] == "loose"
    assert one["samples"] == sql(indexed_run, "select count(*) from samples")[0][0]
    assert one["kinds"] == ["image", "text"]
    assert one["model"] == {"spec": "tiny", "available": True, "reason": None}
    assert one["recall"]["image"]["text"] == 1
    assert one["has_images"]


def test_get_and_post_find_the_same(client: TestClient) -> None:
    asked = {
        "terms": [{"text": "a red circle"}, {"text": "a star", "weight": -0.5}],
        "k": 7,
        "where": "original_width > 100",
    }
    posted = client.post(SEARCH, json=asked)
    got = client.get(
        SEARCH,
        params={"q": "a red circle", "not": "a star", "k": 7, "where": "original_width > 100"},
    )
    assert keys_of(posted) == keys_of(got)
    assert len(keys_of(got)) == 7
    assert [one["weight"] for one in got.json()["terms"]] == [1, -0.5]


def test_minus_moves_away(client: TestClient) -> None:
    with_stars = keys_of(client.get(SEARCH, params={"q": "a star", "k": 10}))
    without = client.post(
        SEARCH, json={"terms": [{"text": "a circle"}, {"text": "a star", "weight": -2}], "k": 10}
    )
    assert not set(with_stars) & set(keys_of(without))


def test_a_sample_finds_itself_first(client: TestClient, indexed_run: Path) -> None:
    for (key,) in sql(indexed_run, "select key from samples order by key limit 5"):
        reply = client.get(SEARCH, params={"like": key, "k": 3})
        best = reply.json()["hits"][0]
        assert best["similarity"] == pytest.approx(1, abs=1e-2)
        assert key == best["key"] or best["similarity"] > 0.999


def test_an_embedding_that_was_answered_finds_the_same(client: TestClient) -> None:
    reply = client.get(SEARCH, params={"q": "a red circle"})
    embedding = reply.json()["terms"][0]["embedding"]
    assert keys_of(client.get(SEARCH, params={"e": embedding}))[:10] == keys_of(reply)[:10]
    padded = base64.b64encode(base64.urlsafe_b64decode(embedding + "==")).decode()
    posted = client.post(SEARCH, json={"terms": [{"embedding": padded}]})
    assert keys_of(posted) == keys_of(client.get(SEARCH, params={"e": embedding}))


def test_an_image_can_be_the_body(client: TestClient, indexed_run: Path) -> None:
    image = webpairs.open(indexed_run).sample(3, decode=None)["image"]
    reply = client.post(f"{SEARCH}?k=2", content=image, headers={"content-type": "image/jpeg"})
    in_json = client.post(SEARCH, json={"terms": [{"image": base64.b64encode(image).decode()}]})
    assert keys_of(in_json)[:2] == keys_of(reply)


def test_pages_follow_each_other(client: TestClient) -> None:
    whole = keys_of(client.get(SEARCH, params={"q": "a red circle", "k": 30}))
    parts: list[str] = []
    for offset in range(0, 30, 10):
        reply = client.get(SEARCH, params={"q": "a red circle", "k": 10, "offset": offset})
        parts += keys_of(reply)
        assert reply.json()["more"]
    assert parts == whole


def test_last_page_says_so(client: TestClient, indexed_run: Path) -> None:
    num = sql(indexed_run, "select count(*) from samples")[0][0]
    for query in ({"q": "a circle"}, {}):
        exact = client.get(SEARCH, params={**query, "k": num}).json()
        assert (len(exact["hits"]), exact["more"]) == (num, False)
        less = client.get(SEARCH, params={**query, "k": num - 1}).json()
        assert (len(less["hits"]), less["more"]) == (num - 1, True)
        beyond = client.get(SEARCH, params={**query, "offset": num}).json()
        assert (beyond["hits"], beyond["more"]) == ([], False)


def test_without_terms_samples_come_in_order(client: TestClient, indexed_run: Path) -> None:
    where = "format = 'png' and similarity < 0.3"
    found = keys_of(client.get(SEARCH, params={"where": where, "k": 1000}))
    assert found == [
        key for (key,) in sql(indexed_run, f"select key from samples where {where} order by key")
    ]
    assert found


def test_folded_results_name_what_they_hide(client: TestClient) -> None:
    plain = client.get(SEARCH, params={"q": "a red circle", "k": 60}).json()["hits"]
    folded = client.get(SEARCH, params={"q": "a red circle", "k": 60, "unique": 1}).json()["hits"]
    assert all(hit["folded"] == [] for hit in plain)
    hidden = [key for hit in folded for key in hit["folded"]]
    shown = [hit["key"] for hit in folded]
    assert hidden
    assert len({*hidden, *shown}) == len(hidden) + len(shown)
    assert {hit["key"] for hit in plain} <= {*hidden, *shown}


def test_facets_count_what_duckdb_counts(client: TestClient, indexed_run: Path) -> None:
    reply = client.get("/api/loose/facets").json()
    num = sql(indexed_run, "select count(*) from samples")[0][0]
    assert (reply["of"], reply["count"]) == ("all", num)
    facets = {one["name"]: one for one in reply["facets"]}
    assert {"similarity", "host", "size", "language", "format"} <= set(facets)
    for facet in facets.values():
        assert facet["values"], facet["name"]
        for value in facet["values"]:
            # What is counted is what its expression chooses, by the server and by DuckDB.
            chosen = client.get(SEARCH, params={"where": value["where"], "k": 1000})
            assert len(keys_of(chosen)) == value["count"], value
            renamed = value["where"].replace("original_width", "WIDTH")
            renamed = renamed.replace("original_height", "HEIGHT")
            if "nsfw" not in renamed and "license =" not in renamed:
                counted = sql(indexed_run, f"select count(*) from samples where {renamed}")
                assert counted[0][0] == value["count"], value
    formats = dict(sql(indexed_run, "select format, count(*) from samples group by 1"))
    assert {one["value"]: one["count"] for one in facets["format"]["values"]} == formats


def test_facets_of_a_search_are_of_the_nearest(client: TestClient) -> None:
    where = "format = 'png'"
    reply = client.get("/api/loose/facets", params={"q": "a circle", "where": where}).json()
    assert reply["of"].startswith("the nearest ")
    formats = next(one for one in reply["facets"] if one["name"] == "format")
    assert [one["value"] for one in formats["values"]] == ["png"]
    assert formats["values"][0]["count"] == reply["count"]


def test_a_row_has_every_column_once(client: TestClient, indexed_run: Path) -> None:
    import pyarrow.parquet as pq

    path = min((indexed_run / "metadata").glob("*.parquet"))
    row = pq.read_table(path).to_pylist()[0]
    reply = client.get(f"/api/loose/rows/{row['key']}")
    assert reply.status_code == 200
    found = reply.json()
    names = [fact["name"] for group in found["groups"] for fact in group["facts"]]
    assert len(names) == len(set(names))
    assert set(names) == {*row, "texts_per_image"}
    values = {fact["name"]: fact["value"] for group in found["groups"] for fact in group["facts"]}
    assert values["URL"] == row["URL"]
    assert values["crawl_offset"] == row["crawl_offset"]
    assert values["sha256"] == row["sha256"].hex()
    assert values["uid"] == row["uid"].hex() == found["uid"]
    assert 1 <= len(found["neighbours"]) <= 8
    assert row["key"] not in [hit["key"] for hit in found["neighbours"]]
    assert all(link["url"].startswith(("http://", "https://")) for link in found["links"])
    several = client.get("/api/loose/rows", params={"keys": f"{row['key']},{row['key']}"})
    assert [one["key"] for one in several.json()["rows"]] == [row["key"]] * 2


def test_replay_links_have_the_capture_time(indexed_run: Path) -> None:
    template = "https://replay.example/{timestamp}/{url}"
    with client_of(indexed_run, replay_url=template) as client:
        key, page, date = sql(
            indexed_run, "select key, page_url, epoch(crawl_date) from samples limit 1"
        )[0]
        links = client.get(f"/api/loose/rows/{key}").json()["links"]
        archived = next(one["url"] for one in links if one["title"] == "Page in the archive")
    import datetime as dt

    stamp = dt.datetime.fromtimestamp(date, dt.UTC).strftime("%Y%m%d%H%M%S")
    assert archived == f"https://replay.example/{stamp}/{page}"


def test_pictures_are_the_tars(client: TestClient, indexed_run: Path) -> None:
    sample = webpairs.open(indexed_run).sample(3, decode=None)
    key = client.get(SEARCH, params={"k": 4}).json()["hits"][3]
    assert key["image"] == f"/api/loose/images/{key['key']}"
    whole = client.get(key["image"])
    assert whole.content == sample["image"]
    assert whole.headers["content-type"] == "image/jpeg"
    assert whole.headers["x-content-type-options"] == "nosniff"
    small = client.get(key["image"], params={"size": 64})
    with Image.open(io.BytesIO(small.content)) as image:
        assert max(image.size) <= 256
    assert client.get(key["image"], params={"size": 9}).status_code == 422
    assert client.get("/api/loose/images/none").status_code == 404


def test_random_samples_follow_their_seed(client: TestClient) -> None:
    first = client.get("/api/loose/random", params={"k": 20, "seed": 7})
    again = client.get("/api/loose/random", params={"k": 20, "seed": 7})
    other = client.get("/api/loose/random", params={"k": 20, "seed": 8})
    assert keys_of(first) == keys_of(again) != keys_of(other)
    assert len(set(keys_of(first))) == 20
    png = client.get("/api/loose/random", params={"k": 20, "where": "format = 'png'"})
    rows = client.get("/api/loose/rows", params={"keys": ",".join(keys_of(png))}).json()["rows"]
    facts = [fact for row in rows for group in row["groups"] for fact in group["facts"]]
    assert {fact["value"] for fact in facts if fact["name"] == "format"} == {"png"}


def test_both_sides_of_the_threshold(little_web: SmallCrawl, tmp_path: Path) -> None:
    out = tmp_path / "strict"
    build_dataset(
        BuildOptions(
            inputs=tuple(map(str, little_web.files.warc)),
            images="archive",
            out=str(out),
            model="tiny",
            shard_size=40,
            workers=1,
        )
    )
    build_index(IndexOptions(source=str(out)))
    with client_of(out) as client:
        found = client.get("/api/strict/near-threshold", params={"k": 7}).json()
    assert found["threshold"] == 0.3
    kept = sql(out, "select similarity from samples order by similarity limit 7")
    shown = [hit["columns"]["similarity"] for hit in found["kept"]]
    assert shown == pytest.approx([one for (one,) in kept])
    assert shown[0] >= 0.3
    drops = f"read_parquet('{out}/drops/0*.parquet')"
    dropped = duckdb.sql(
        f"select similarity, url, text from {drops} where reason = 'similarity' "
        "order by similarity desc limit 7"
    ).fetchall()
    assert [(one["similarity"], one["url"], one["caption"]) for one in found["dropped"]] == dropped
    assert len(dropped) == 7
    assert dropped[0][0] < 0.3


def test_picked_samples_are_saved(client: TestClient, indexed_run: Path) -> None:
    rows = sql(indexed_run, "select key, hex(uid), URL from samples order by key limit 3")
    keys = [row[0] for row in rows]
    reply = client.post("/api/loose/export", json={"keys": keys})
    assert "attachment" in reply.headers["content-disposition"]
    found = list(csv.DictReader(io.StringIO(reply.text)))
    assert [(one["key"], one["uid"], one["url"]) for one in found] == [
        (key, uid.lower(), url) for key, uid, url in rows
    ]
    lines = client.post("/api/loose/export", json={"keys": keys, "format": "jsonl"}).text
    assert [orjson.loads(line)["key"] for line in lines.splitlines()] == keys
    plain = client.post("/api/loose/export", json={"keys": keys, "format": "txt"}).text
    assert plain.split() == keys
    assert client.post("/api/loose/export", json={"keys": []}).status_code == 422
    assert client.post("/api/loose/export", json={"keys": ["none"]}).status_code == 404


BAD = {
    "unknown dataset": ("/api/other/search?q=x", 404, "other"),
    "unknown column": (f"{SEARCH}?where=colour=1", 422, "colour"),
    "two statements": (f"{SEARCH}?where=1);drop table x;--", 422, "where"),
    "a file": (f"{SEARCH}?where=exists(select 1 from read_text('/etc/passwd'))", 422, "subquery"),
    "k of words": (f"{SEARCH}?k=many", 422, "k"),
    "k too large": (f"{SEARCH}?k=10001", 422, "10000"),
    "too far": (f"{SEARCH}?k=10&offset=9999", 422, "10,000"),
    "unknown kind": (f"{SEARCH}?in=sound", 422, "in"),
    "unknown key": (f"{SEARCH}?like=none", 404, "none"),
    "terms that cancel": (
        f"{SEARCH}?q=a star&q=a star&not=a star&not=a star&not=a star&not=a star&q=&",
        422,
        "cancel",
    ),
    "many terms": (f"{SEARCH}?" + "q=x&" * 17, 422, "16"),
    "long text": (f"{SEARCH}?q=" + "x" * 2001, 422, "2000"),
    "no embedding": (f"{SEARCH}?e=AAAAAAAA", 422, "512"),
    "half a number": (f"{SEARCH}?e=AAAA", 422, "2 bytes"),
    "no number": ("/api/loose/random?k=-1", 422, "k"),
    "no keys": ("/api/loose/rows", 422, "keys"),
    "unknown row": ("/api/loose/rows/none", 404, "none"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_are_told_why(client: TestClient, name: str) -> None:
    path, status, words = BAD[name]
    reply = client.get(path)
    assert reply.status_code == status, reply.text
    assert words in reply.json()["message"]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"terms": [{}]}, 422),
        ({"terms": [{"text": "x", "key": "y"}]}, 422),
        ({"terms": [{"text": "x", "weight": "heavy"}]}, 422),
        ({"terms": [{"text": "x", "weight": 1e9}]}, 422),
        ({"terms": "x"}, 422),
        ({"terms": [], "colour": "red"}, 422),
        ({"terms": [{"image": "data:image/png,plain"}]}, 400),
        ({"terms": [{"image_url": "http://127.0.0.1:1/x.png"}]}, 422),
        ({"terms": [{"image_url": "file:///etc/passwd"}]}, 422),
        ({"terms": [{"embedding": [None]}]}, 422),
    ],
)
def test_bad_terms_are_told_why(client: TestClient, asked: Any, status: int) -> None:
    reply = client.post(SEARCH, json=asked)
    assert reply.status_code == status, reply.text
    assert reply.json()["message"]


def test_every_path_is_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    from webpairs.serve.app import ROUTES

    served = {
        (route.path, method.lower())
        for route in ROUTES
        for method in route.methods or ()
        if method in ("GET", "POST")
        and not route.path.startswith(("/static", "/sample"))
        and route.path not in ("/", "/openapi.json")
    }
    assert served == {
        (path, method) for path, methods in described["paths"].items() for method in methods
    }
    assert "TermRequest" in described["components"]["schemas"]


def test_policy_lets_nothing_run(client: TestClient) -> None:
    for path in ("/", "/api/datasets", "/nothing", "/static/page.css"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in client.get("/api/datasets").headers


def test_without_a_model_the_rest_works(
    indexed_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(indexed_run, tmp_path / "other"))
    manifest = orjson.loads((out / "manifest.json").read_bytes())
    manifest["model"]["spec"] = "hf:nobody/has-this"

    def refuse(repo: str) -> None:
        raise AssertionError(f"the hub was asked for {repo}, with the user's token")

    monkeypatch.setattr(hub, "_list_files", refuse)
    (out / "manifest.json").write_bytes(orjson.dumps(manifest))
    build_index(IndexOptions(source=str(out)))
    with client_of(out) as client:
        about = client.get("/api/datasets").json()[0]["model"]
        assert about["available"] is False
        assert "say --model 'hf:nobody/has-this', which fetches it" in about["reason"]
        found = client.get("/api/other/search", params={"q": "circle", "not": "red"}).json()
        assert "captions" in found["note"]
        texts = [hit["columns"]["caption"].lower() for hit in found["hits"]]
        assert texts
        assert all("circle" in text and "red" not in text for text in texts)
        key = found["hits"][0]["key"]
        assert keys_of(client.get("/api/other/search", params={"like": key}))
        image = base64.b64encode(b"x").decode()
        refused = client.post("/api/other/search", json={"terms": [{"image": image}]})
        assert refused.status_code == 503
        assert "no model" in refused.json()["message"]
        body = orjson.dumps({"text": "x", "modality": "image", "num_images": 1})
        assert client.post("/knn-service", content=body).status_code == 503
        vector = np.ones(512).tolist()
        body = orjson.dumps({"embedding_input": vector, "modality": "image", "num_images": 1})
        assert client.post("/knn-service", content=body).status_code == 200
        assert client.get("/api/other/facets", params={"q": "circle"}).status_code == 200
        assert client.get("/?q=circle").status_code == 200
