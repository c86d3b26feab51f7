"""Search replies: how many samples were looked through, and what chance alone makes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

import webpairs

SEARCH = "/api/loose/search"


def directions(out: Path, kind: str) -> Any:
    folder = {"image": "img_emb", "text": "text_emb"}[kind]
    files = sorted((out / "embeddings" / folder).glob("*.npy"))
    vectors = np.concatenate([np.load(file).astype(np.float64) for file in files])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("query", "among", "of"),
    [
        ({"q": "a red circle"}, "image", "text"),
        ({"q": "a red circle", "not": "blue"}, "image", "text"),
        ({"q": "a red circle", "in": "text"}, "text", "text"),
        ({"like": "KEY"}, "image", "image"),
    ],
)
def test_chance_is_what_one_pair_in_a_hundred_reaches(
    client: TestClient, indexed_run: Path, query: dict[str, str], among: str, of: str
) -> None:
    if "like" in query:
        query = {"like": client.get(SEARCH).json()["hits"][0]["key"]}
    chance = client.get(SEARCH, params=query).json()["chance"]
    similarities = directions(indexed_run, of) @ directions(indexed_run, among).T
    pairs = similarities[~np.eye(len(similarities), dtype=bool)]
    assert np.mean(pairs >= chance) == pytest.approx(0.01, abs=0.001)


def test_words_that_mean_nothing_stay_below(client: TestClient) -> None:
    for words, is_above in (("a red circle", True), ("asdf qwert zxcv", False)):
        reply = client.get(SEARCH, params={"q": words}).json()
        assert (reply["hits"][0]["similarity"] > reply["chance"]) == is_above, words


def test_what_cannot_be_measured_has_none(client: TestClient) -> None:
    key = client.get(SEARCH).json()["hits"][0]["key"]
    assert client.get(SEARCH).json()["chance"] is None
    assert client.get(SEARCH, params={"q": "a star", "like": key}).json()["chance"] is None


def test_replies_say_among_how_many(client: TestClient, indexed_run: Path) -> None:
    total = len(webpairs.open(indexed_run))
    where = "format = 'png'"
    png = client.get("/api/loose/facets", params={"where": where}).json()["count"]
    assert 0 < png < total
    for query in ({}, {"q": "a star"}):
        assert client.get(SEARCH, params={**query, "k": 3}).json()["among"] == total
        asked = {**query, "where": where, "k": 3}
        assert client.get(SEARCH, params=asked).json()["among"] == png


def test_many_that_look_the_same_are_folded_when_asked_for(client: TestClient) -> None:
    def search(**query: Any) -> dict[str, Any]:
        return client.get(SEARCH, params={"q": "a red circle", **query}).json()

    assert not search()["unique"]
    folded = search(unique="1")
    auto = search(unique="auto")
    assert auto["unique"]
    assert auto["hits"] == folded["hits"]
    assert search(unique="auto", offset=40)["unique"], "later pages are folded as the first one"
    apart = [hit["key"] for hit in folded["hits"]][:10]
    assert not search(unique="auto", where=f"key in ({', '.join(map(repr, apart))})")["unique"]
