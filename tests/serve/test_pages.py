"""The page as the server draws it, without a browser: results, filters, errors, hostile rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import lxml.html
import pytest
from starlette.testclient import TestClient
from support.hostile_rows import CAPTIONS, write_hostile
from support.served_folders import client_of

from webpairs.search.index.build import build_index
from webpairs.search.options import IndexOptions


def draw(client: TestClient, path: str, status: int = 200) -> Any:
    reply = client.get(path)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    return lxml.html.fromstring(reply.text)


def keys_of(page: Any) -> list[str]:
    return [card.get("data-key") for card in page.cssselect(".card")]


@pytest.fixture(scope="module")
def hostile(loose_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    out = write_hostile(loose_run, tmp_path_factory.mktemp("pages") / "hostile")
    build_index(IndexOptions(source=str(out)))
    with client_of(out) as client:
        yield client


def test_a_search_is_drawn(client: TestClient) -> None:
    page = draw(client, "/?q=a+red+circle&k=12")
    found = client.get("/api/loose/search?q=a+red+circle&k=12&unique=auto").json()["hits"]
    assert keys_of(page) == [hit["key"] for hit in found]
    pictures = page.cssselect(".card img")
    assert [one.get("alt") for one in pictures] == [hit["columns"]["caption"] for hit in found]
    for one in pictures:
        assert client.get(one.get("src")).headers["content-type"] == "image/jpeg"
    assert page.cssselect("#search input[name=q]")[0].get("value") == "a red circle"


def test_next_and_previous_follow_each_other(client: TestClient) -> None:
    first = draw(client, "/?q=a+red+circle&k=9")
    after = [one.get("href") for one in first.cssselect("a[rel~=next]")]
    assert after
    assert parse_qs(urlsplit(after[0]).query)["offset"] == ["9"]
    second = draw(client, after[0])
    whole = client.get("/api/loose/search?q=a+red+circle&k=18&unique=auto").json()["hits"]
    assert keys_of(first) + keys_of(second) == [hit["key"] for hit in whole]
    back = second.cssselect("a[rel~=prev]")[0].get("href")
    assert keys_of(draw(client, back)) == keys_of(first)


def test_filters_are_links_that_hold(client: TestClient) -> None:
    page = draw(client, "/?q=a+circle")
    choices = page.cssselect("a.choice")
    assert choices
    for one in choices[:6]:
        count = int(one.cssselect(".count")[0].text_content().replace(",", ""))
        query = parse_qs(urlsplit(one.get("href")).query)
        found = client.get("/api/loose/facets", params={"q": "a circle", "where": query["where"]})
        assert found.json()["count"] == count


def test_a_sample_has_a_page(client: TestClient) -> None:
    hit = client.get("/api/loose/search?k=1").json()["hits"][0]
    page = draw(client, f"/sample/loose/{hit['key']}")
    text = page.text_content()
    for fact in ("page_url", "sha256", "crawl_file"):
        row = client.get(f"/api/loose/rows/{hit['key']}").json()
        facts = {one["name"]: one for group in row["groups"] for one in group["facts"]}
        assert facts[fact]["text"] in text
        assert facts[fact]["title"] in text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/?where=colour+=+1", 422, "colour"),
        ("/?k=many", 422, "k"),
        ("/?index=other", 404, "other"),
        ("/?like=none", 404, "none"),
        ("/?q=a&not=a&not=a", 422, "cancel"),
        ("/sample/loose/none", 404, "none"),
        ("/sample/other/none", 404, "other"),
    ],
)
def test_what_cannot_be_is_told_on_the_page(
    client: TestClient, path: str, status: int, words: str
) -> None:
    page = draw(client, path, status)
    (error,) = page.cssselect("#error")
    assert words in error.text_content()
    assert page.cssselect("#search")


@pytest.mark.parametrize(
    "query", ["?k=40", "?q=circle&k=40", f"?q={'%3Cscript%3Ealert(1)%3C/script%3E'}&where=%3Cb%3E"]
)
def test_hostile_texts_stay_texts(hostile: TestClient, query: str) -> None:
    page = lxml.html.fromstring(hostile.get(f"/{query}").text)
    for one in page.iter():
        if not isinstance(one.tag, str):
            continue
        assert not [name for name in one.attrib if name.startswith("on") or name == "style"]
        for name in ("href", "src", "action"):
            target = one.get(name, "")
            assert target.split(":")[0].lower() not in ("javascript", "vbscript", "file"), target
    scripts = page.cssselect("script")
    assert {one.get("type") for one in scripts} <= {"module", "application/json"}
    for one in scripts:
        assert one.get("src", "").startswith("/static/") or one.get("type") == "application/json"
    assert "49" not in [one.text_content() for one in page.cssselect(".caption")]


def test_marks_that_turn_text_are_not_drawn(hostile: TestClient) -> None:
    text = hostile.get("/?k=40").text
    body = text.partition("application/json")[0]
    assert CAPTIONS[4] not in body
    assert "\u202e" not in body
    assert "\x1b" not in body


def test_pictures_that_are_tagged_are_veiled(hostile: TestClient) -> None:
    page = draw(hostile, "/?k=12")
    tags = {
        hit["key"]: hit["nsfw"] for hit in hostile.get("/api/hostile/search?k=12").json()["hits"]
    }
    veiled = {card.get("data-key") for card in page.cssselect(".card") if card.cssselect(".veiled")}
    assert veiled == {key for key, tag in tags.items() if tag in ("NSFW", "UNSURE")}
    assert veiled
    assert not draw(hostile, "/?k=12&safe=0").cssselect(".veiled")


def test_what_has_no_similarity_is_near_no_threshold(hostile: TestClient) -> None:
    whole = hostile.get("/api/hostile/search?k=40").json()["hits"]
    assert -1 in [hit["columns"]["similarity"] for hit in whole]
    kept = hostile.get("/api/hostile/near-threshold?k=5").json()["kept"]
    shown = [hit["columns"]["similarity"] for hit in kept]
    assert len(shown) == 5
    assert shown == sorted(shown)
    assert shown[0] > -1


def test_files_of_the_page_are_served(client: TestClient) -> None:
    page = draw(client, "/")
    named = [one.get("src") for one in page.cssselect("script[src]")]
    named += [one.get("href") for one in page.cssselect("link[rel=stylesheet]")]
    assert len(named) == 2
    for one in named:
        assert client.get(one).status_code == 200
    assert client.get("/static/page.html").status_code == 404
    assert client.get("/static/..%2Fapp.py").status_code == 404
