"""The server at a port: image URLs, many requests, slow clients, what cannot be started."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from support.served_folders import client_of, listening

import webpairs
from webpairs.errors import ConfigError
from webpairs.serve import server
from webpairs.serve.limits import body
from webpairs.serve.options import ServeOptions


def ask(address: tuple[str, int], method: str, path: str, data: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(*address[:2], timeout=60)
    try:
        connection.request(method, path, None if data is None else orjson.dumps(data))
        reply = connection.getresponse()
        return reply.status, orjson.loads(reply.read())
    finally:
        connection.close()


class _Pictures(BaseHTTPRequestHandler):
    """Hand out a picture; `/away` leads to the address of the host's own services."""

    picture = b""
    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.2:9/secret")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = b"\0" * 11_000_000 if self.path == "/large" else self.picture
        self.send_response(404 if self.path == "/robots.txt" else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def pictures(indexed_run: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve a picture of the run; yield the address, and the paths that were asked for."""
    asked: list[str] = []
    picture = webpairs.open(indexed_run).sample(3, decode=None)["image"]
    handler = type("Handler", (_Pictures,), {"picture": picture, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as site:
        thread = threading.Thread(target=site.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{site.server_port}", asked
        site.shutdown()
        thread.join()


def test_image_urls_are_fetched_where_it_is_allowed(
    indexed_run: Path, pictures: tuple[str, list[str]]
) -> None:
    site, asked = pictures
    with listening(indexed_run, allow_network=("127.0.0.1/32",)) as address:
        found = {"modality": "image", "num_images": 3, "image_url": f"{site}/a.jpg"}
        status, results = ask(address, "POST", "/knn-service", found)
        assert (status, len(results)) == (200, 3)
        status, hits = ask(
            address, "POST", "/api/loose/search", {"terms": [{"image_url": f"{site}/a.jpg"}]}
        )
        assert status == 200
        assert [hit["row"] for hit in hits["hits"][:3]] == [one["id"] for one in results]
        for path, words in (("/away", "address_forbidden"), ("/large", "too_large")):
            found["image_url"] = site + path
            status, reply = ask(address, "POST", "/knn-service", found)
            assert status == 422
            assert words in reply["message"]
    assert "/a.jpg" in asked


def test_private_addresses_are_out_of_reach(
    indexed_run: Path, pictures: tuple[str, list[str]]
) -> None:
    site, asked = pictures
    with listening(indexed_run) as address:
        for url in (f"{site}/a.jpg", "http://[::1]/", "http://169.254.169.254/latest/meta-data/"):
            found = {"modality": "image", "num_images": 3, "image_url": url}
            status, reply = ask(address, "POST", "/knn-service", found)
            assert status == 422, url
            assert "address_forbidden" in reply["message"]
    assert asked == []


def test_image_urls_are_off_where_others_can_ask(indexed_run: Path) -> None:
    for allowed in (False, True):
        with client_of(indexed_run, host="0.0.0.0", allow_image_url=allowed) as client:
            assert client.get("/api/datasets").json()[0]["image_url"] is allowed
            reply = client.get("/api/loose/search", params={"image_url": "http://127.0.0.1:9/a"})
            assert reply.status_code == 422
            assert ("--allow-image-url" in reply.json()["message"]) is not allowed


def test_hundreds_of_requests_at_once_are_answered(indexed_run: Path) -> None:
    async def search(address: tuple[str, int], number: int) -> bytes:
        reader, writer = await asyncio.open_connection(*address[:2])
        path, data = f"/api/loose/search?q=star+{number}&unique=1", b""
        if number % 2:
            text = {"text": f"circle {number}", "modality": "image", "num_images": 10}
            path, data = "/knn-service", orjson.dumps(text)
        head = f"{'POST' if data else 'GET'} {path} HTTP/1.1\r\nHost: localhost\r\n"
        head += f"Content-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + data)
        reply = await reader.read()
        writer.close()
        return reply

    async def search_all(address: tuple[str, int]) -> list[bytes]:
        return await asyncio.gather(*(search(address, number) for number in range(400)))

    with listening(indexed_run) as address:
        replies = asyncio.run(search_all(address))
        assert {one.partition(b"\r\n")[0] for one in replies} == {b"HTTP/1.1 200 OK"}
        batches = re.search(r"text_clip_inference_time_count (\S+)", ask_text(address, "/metrics"))
        assert batches is not None
        assert 0 < float(batches[1]) < 200, "texts that wait are embedded together"


def ask_text(address: tuple[str, int], path: str) -> str:
    connection = http.client.HTTPConnection(*address[:2], timeout=60)
    connection.request("GET", path)
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def test_clients_that_never_finish_are_let_go(
    indexed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEAD_TIMEOUT_S", 0.5)
    monkeypatch.setattr(body, "TIMEOUT_S", 0.5)
    heads = {
        "nothing": b"",
        "half a line": b"GET / HT",
        "half a head": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ",
        "half a body": b"POST /knn-service HTTP/1.1\r\nHost: [::1]\r\nContent-Length: 9\r\n\r\n{",
    }
    with listening(indexed_run) as address:
        clients = {name: socket.create_connection(address[:2]) for name in heads}
        try:
            for name, head in heads.items():
                clients[name].sendall(head)
            assert ask(address, "GET", "/health")[0] == 200, "others are answered meanwhile"
            for name, client in clients.items():
                client.settimeout(20)
                said = b""
                while part := client.recv(65_536):
                    said += part
                assert said.startswith(b"HTTP/1.1 408") if name == "half a body" else said == b""
        finally:
            for client in clients.values():
                client.close()


def test_a_head_without_end_is_refused(indexed_run: Path) -> None:
    with listening(indexed_run) as address, socket.create_connection(address[:2]) as client:
        client.settimeout(20)
        with contextlib.suppress(OSError):
            client.sendall(b"GET /health HTTP/1.1\r\n")
            for number in range(400):
                client.sendall(b"X-%d: " % number + b"a" * 1000 + b"\r\n")
        said = b""
        with contextlib.suppress(ConnectionResetError):
            said = client.recv(65_536)
        assert said.startswith(b"HTTP/1.1 431") or said == b""
        assert ask(address, "GET", "/health")[0] == 200


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 60_000, 200),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 100_000, 431),
        (b"GET /health?" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost", 431),
        (b"GET /health HTTP/1.1\r\nHost: localhost" + b"\r\nA: b" * 99, 200),
        (b"GET /health HTTP/1.1\r\nHost: localhost" + b"\r\nA: b" * 100, 431),
        (
            b"POST /metadata HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nX: "
            + b"a" * 99_999,
            431,
        ),
    ],
)
def test_large_heads_are_refused(indexed_run: Path, head: bytes, status: int) -> None:
    """In one piece, too: the first one was not counted, whatever its size."""
    with listening(indexed_run) as address, socket.create_connection(address[:2]) as client:
        client.settimeout(20)
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 %d" % status)
        assert ask(address, "POST", "/metadata", {"ids": []}) == (200, [])


def test_bodies_are_not_counted_as_heads(indexed_run: Path) -> None:
    text = {"ids": [], "ignored": "a" * 1_000_000}
    with listening(indexed_run) as address:
        for _ in range(2):
            assert ask(address, "POST", "/metadata", text) == (200, [])


def test_no_more_requests_than_are_good(indexed_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from webpairs.serve.limits import gate

    monkeypatch.setattr(gate, "MAX_REQUESTS", 0)
    with client_of(indexed_run) as client:
        reply = client.get("/health")
        assert reply.status_code == 503
        assert reply.headers["retry-after"] == "1"
        assert "try again" in reply.json()["message"]


def test_slow_answers_end(indexed_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from webpairs.serve.limits import gate

    monkeypatch.setattr(gate, "TIMEOUT_S", 0.2)
    with client_of(indexed_run) as client:
        searcher = client.app.state.webpairs.collection.get(None).searcher  # type: ignore[attr-defined]
        monkeypatch.setattr(searcher, "search", lambda *_, **__: time.sleep(1))
        reply = client.get("/api/loose/search?q=x")
        assert reply.status_code == 503
        assert "no answer within" in reply.json()["message"]


def test_faults_of_ours_are_told_without_a_traceback(
    indexed_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_of(indexed_run) as client:
        searcher = client.app.state.webpairs.collection.get(None).searcher  # type: ignore[attr-defined]

        def fail(*_: Any, **__: Any) -> None:
            raise RuntimeError("secret")

        monkeypatch.setattr(searcher, "search", fail)
        reply = client.get("/api/loose/search?q=x")
        assert reply.status_code == 500
        assert "secret" not in reply.text
        assert reply.json()["message"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sources": ()}, "DIR"),
        ({"port": 70_000}, "65535"),
        ({"index": "i", "sources": ("a", "b")}, "--index"),
        ({"allow_network": ("everything",)}, "everything"),
        ({"replay_url": "https://replay.example/"}, "{url}"),
        ({"replay_url": "https://replay.example/{url}/{date}"}, "--replay-url"),
        ({"replay_url": "javascript:{url}"}, "--replay-url"),
        ({"replay_url": "https://replay.example/{url"}, "--replay-url"),
    ],
)
def test_options_are_checked_before_anything(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        ServeOptions(**{"sources": ("run",), **changes})


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "webpairs", "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


def communicate(process: subprocess.Popen[str]) -> tuple[str, str]:
    try:
        return process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def test_what_cannot_be_served_is_told(loose_run: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        tries = {
            (str(tmp_path / "none"),): "none",
            (str(tmp_path),): str(tmp_path),
            (str(loose_run), "--port", "0"): f"type webpairs index {loose_run} first",
            (str(loose_run), "--port", str(port)): "use another --port",
            (str(loose_run), "--host", "not-a-host.invalid"): "--host",
        }
        for arguments, words in tries.items():
            with start(*arguments) as process:
                out, errors = communicate(process)
            assert process.returncode == 2, (arguments, errors)
            assert words in errors
            assert "Traceback" not in errors
            assert out == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_it_is_asked_to(indexed_run: Path, number: int) -> None:
    process = start(str(indexed_run), "--port", "0")
    try:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        address = next(found for line in lines if (found := re.search(r"127\.0\.0\.1:(\d+)", line)))
        assert ask(("127.0.0.1", int(address[1])), "GET", "/health")[1]["status"] == "ok"
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=30)
        assert (process.returncode, errors) == (0, "")
    finally:
        process.kill()
        process.communicate()


def test_two_datasets_have_names_of_their_own(indexed_run: Path, tmp_path: Path) -> None:
    import shutil

    from webpairs.search.index.build import build_index
    from webpairs.search.options import IndexOptions

    other = Path(shutil.copytree(indexed_run, tmp_path / "loose"))
    build_index(IndexOptions(source=str(other)))
    with client_of(indexed_run, other) as client:
        assert client.get("/indices-list").json() == ["loose", "loose-2"]
        for name in ("loose", "loose-2"):
            assert client.get(f"/api/{name}/search?q=circle&k=1").status_code == 200
        collection = client.app.state.webpairs.collection  # type: ignore[attr-defined]
        assert len({id(one.encoder) for one in collection}) == 1, "one model is loaded once"
    with pytest.raises(ConfigError, match="twice"), client_of(indexed_run, indexed_run):
        pass
