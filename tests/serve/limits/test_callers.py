"""A website in the user's browser reads nothing, by whatever name or way it asks."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import orjson
import pytest
from starlette.testclient import TestClient
from support.served_folders import client_of

from webpairs.errors import ConfigError
from webpairs.serve.options import ServeOptions

PAGE = "https://page.example"
KNN = orjson.dumps({"text": "a circle", "modality": "image", "num_images": 1})
LINK = {"sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


@pytest.mark.parametrize(
    ("listens", "allowed", "host", "status"),
    [
        ("127.0.0.1", (), "localhost:1234", 200),
        ("127.0.0.1", (), "LOCALHOST.", 200),
        ("127.0.0.1", (), "webpairs.localhost:80", 200),
        ("127.0.0.1", (), "127.0.0.1:1234", 200),
        ("127.0.0.1", (), "127.9.9.9", 200),
        ("127.0.0.1", (), "[::1]:1234", 200),
        ("127.0.0.1", (), "rebound.example:1234", 421),
        ("127.0.0.1", (), "localhost.rebound.example", 421),
        ("127.0.0.1", (), "127.0.0.1.nip.io", 421),
        ("127.0.0.1", (), "192.168.1.5", 421),
        ("127.0.0.1", (), "localhost@rebound.example", 421),
        ("127.0.0.1", (), "", 421),
        ("127.0.0.1", ("search.example",), "search.example", 200),
        ("127.0.0.1", ("search.example",), "other.example", 421),
        ("127.0.0.1", ("*",), "rebound.example", 200),
        ("192.168.1.5", (), "192.168.1.5:1234", 200),
        ("search.example", (), "search.example:1234", 200),
        ("0.0.0.0", (), "192.168.1.5:1234", 200),
        ("::", (), "[fd00::5]:1234", 200),
        ("0.0.0.0", (), "localhost:1234", 200),
        ("0.0.0.0", (), socket.gethostname().upper(), 200),
        ("0.0.0.0", (), "rebound.example:1234", 421),
    ],
)
def test_only_its_own_hosts_are_answered(
    indexed_run: Path, listens: str, allowed: tuple[str, ...], host: str, status: int
) -> None:
    with client_of(indexed_run, host=listens, allow_host=allowed) as client:
        for path in ("/", "/health", "/api/datasets", "/indices-list", "/static/page.css"):
            reply = client.get(path, headers={"host": host})
            assert reply.status_code == status, path
        if status == 421:
            assert "start it with --allow-host" in reply.json()["message"]


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site", "origin": PAGE},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "referer": PAGE + "/"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
        {"sec-fetch-site": "same-site", "origin": "http://localhost:3000"},
        {"sec-fetch-site": "same-site"},
        {"origin": PAGE},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "null", "sec-fetch-site": "cross-site"},
    ],
)
def test_pages_of_other_origins_read_nothing(client: TestClient, headers: dict[str, str]) -> None:
    for method, path, body in (
        ("GET", "/", None),
        ("GET", "/api/datasets", None),
        ("GET", "/metrics", None),
        ("POST", "/api/loose/search", b"{}"),
        ("POST", "/knn-service", KNN),
        ("GET", "/indices-list", None),
        ("POST", "/metadata", b'{"ids": [0]}'),
        ("OPTIONS", "/knn-service", None),
    ):
        sent = {"content-type": "text/plain", **headers}
        if method == "OPTIONS":
            sent["access-control-request-method"] = "POST"
        reply = client.request(method, path, content=body, headers=sent)
        assert reply.status_code == 403, path
        assert "--allow-origin" in reply.json()["message"]
        assert "access-control-allow-origin" not in reply.headers
        assert reply.headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec-fetch-site": "same-origin", "origin": "http://localhost"},
        {"sec-fetch-site": "none", **LINK},
        {"origin": "http://localhost"},
        {"origin": "http://localhost:80"},
    ],
)
def test_programs_and_its_own_page_are_answered(
    client: TestClient, headers: dict[str, str]
) -> None:
    for path in ("/", "/api/datasets", "/indices-list"):
        assert client.get(path, headers=headers).status_code == 200
    assert client.post("/knn-service", content=KNN, headers=headers).status_code == 200


def test_links_lead_to_the_page_alone(client: TestClient) -> None:
    key = client.get("/api/loose/search").json()["hits"][0]["key"]
    link = {"sec-fetch-site": "cross-site", **LINK}
    for path, status in (
        ("/", 200),
        (f"/sample/loose/{key}", 200),
        ("/api/datasets", 403),
        (f"/api/loose/images/{key}", 403),
        ("/metrics", 403),
    ):
        assert client.get(path, headers=link).status_code == status, path
    assert client.post("/", headers=link).status_code == 403


def test_allowed_origins_may_read(indexed_run: Path) -> None:
    page: Any = {"origin": PAGE, "sec-fetch-site": "cross-site"}
    with client_of(indexed_run, allow_origin=(PAGE,)) as client:
        reply = client.post("/knn-service", content=KNN, headers=page)
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == PAGE
        assert "Origin" in reply.headers["vary"]
        # Errors can be read, too.
        reply = client.get("/api/nothing/search", headers=page)
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (404, PAGE)
        asks = {**page, "access-control-request-method": "POST"}
        reply = client.options("/api/loose/search", headers=asks)
        assert reply.status_code == 204
        assert reply.headers["access-control-allow-origin"] == PAGE
        assert reply.headers["access-control-allow-headers"] == "content-type"
        picture = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
        key = client.get("/api/loose/search").json()["hits"][0]["key"]
        path = f"/api/loose/images/{key}"
        assert client.get(path, headers=picture).status_code == 403
        reply = client.get(path, headers={**picture, "referer": PAGE + "/"})
        assert reply.headers["cross-origin-resource-policy"] == "cross-origin"
        other = {**page, "origin": "https://page.example.evil"}
        assert client.get("/api/datasets", headers=other).status_code == 403
    with client_of(indexed_run, allow_origin=("*",)) as client:
        reply = client.post("/knn-service", content=KNN, headers=page)
        assert reply.headers["access-control-allow-origin"] == "*"


def test_a_host_is_named_once(client: TestClient) -> None:
    hosts = [("host", "localhost"), ("host", "rebound.example")]
    assert client.get("/health", headers=hosts).status_code == 400


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allow_host", "http://search.example"),
        ("allow_host", "search.example:80"),
        ("allow_host", ""),
        ("allow_origin", "page.example"),
        ("allow_origin", "https://page.example/"),
        ("allow_origin", "https://*.example"),
    ],
)
def test_hosts_and_origins_are_checked(name: str, value: str) -> None:
    options: Any = {name: (value,)}
    with pytest.raises(ConfigError, match=r"is not an? "):
        ServeOptions(sources=("x",), **options)


@pytest.mark.parametrize(
    "host",
    [
        *("localhost:7777@evil.example", "localhost:80:80", "localhost/evil.example", "[::1"),
        *("localhost evil.example", "localhost:http", "localhost,evil.example", "", "::1"),
        *("evil.example#localhost", "user@localhost", "localhost\\evil.example"),
    ],
)
def test_what_is_not_a_host_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"host": host}).status_code == 421
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:7777", "127.0.0.1:1234", "[::1]:80", "[::1]"]
)
def test_hosts_as_browsers_send_them(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"host": host}).status_code == 200


def test_nobody_types_an_address_on_a_page(client: TestClient) -> None:
    headers = {"sec-fetch-site": "none", "origin": PAGE}
    assert client.get("/api/datasets", headers=headers).status_code == 403
    del headers["origin"]
    assert client.get("/api/datasets", headers=headers).status_code == 200
