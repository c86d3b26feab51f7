"""The hostile web does what its table says, seen with plain sockets."""

from __future__ import annotations

import runpy
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from webpairs.demo.hostile.behaviour import SERVED_AT, Behaviour
from webpairs.demo.hostile.behaviours import BEHAVIOURS
from webpairs.demo.hostile.images import jpeg
from webpairs.demo.hostile.server import HostileWeb
from webpairs.demo.truth import SAMPLE
from webpairs.drops import Drop

DOCS = Path(__file__).parents[3] / "docs"


@pytest.fixture(scope="module")
def web() -> Iterator[HostileWeb]:
    with HostileWeb() as serving:
        yield serving
        assert not serving.bugs


def ask(
    web: HostileWeb,
    name: str,
    path: str = "/picture-1.jpg",
    max_bytes: int = 1 << 20,
    patience_s: float = 0.3,
) -> bytes:
    """Return what comes within `max_bytes` and until nothing comes for a while."""
    host = f"{name}.hostile.example"
    answer = bytearray()
    with socket.create_connection((SERVED_AT, web.ports.port), timeout=10) as connection:
        connection.sendall(
            f"GET {path} HTTP/1.1\r\nHost: {host}:1\r\nConnection: close\r\n\r\n".encode()
        )
        connection.settimeout(patience_s)
        try:
            while len(answer) < max_bytes and (piece := connection.recv(1 << 16)):
                answer += piece
        except (TimeoutError, ConnectionResetError):
            pass
    return bytes(answer)


def test_the_table_is_sound() -> None:
    counts = Counter(one.name for one in BEHAVIOURS)
    assert not [name for name, count in counts.items() if count > 1]
    assert not [name for name in counts if len(name) > 63 or not name.isascii() or "." in name]
    assert not [one for one in BEHAVIOURS if one.expect not in {SAMPLE, *Drop}]
    assert not [one for one in BEHAVIOURS if "|" in one.what or not one.what]


def test_every_reason_that_fetching_can_give_is_provoked() -> None:
    not_from_the_web = {
        Drop.NOT_ARCHIVED,
        Drop.ARCHIVE_BROKEN,
        Drop.HASH_MISMATCH,
        Drop.BLOCK_LISTED_IMAGE,
        Drop.SIDE,  # no recipe has a least side
        Drop.ASPECT,  # `--resize keep-ratio` only: `png-ribbon`
    }
    fetching = {drop for drop in Drop if drop.stage in ("obtain", "decode")}
    assert fetching - not_from_the_web <= {one.expect for one in BEHAVIOURS}


def test_docs_are_what_the_generator_writes() -> None:
    generated = runpy.run_path(str(DOCS / "generate_hostile.py"))["hostile"]()
    assert (DOCS / "hostile.md").read_text() == generated, "run docs/generate_hostile.py"


def test_every_url_belongs_to_its_behaviour_alone(web: HostileWeb) -> None:
    urls = [url for _, url in web.urls]
    assert len(set(urls)) == len(urls)
    assert not [url for url in urls if "{" in url]


@pytest.mark.parametrize(
    "one", [one for one in BEHAVIOURS if one.expect == SAMPLE], ids=lambda one: one.name
)
def test_what_must_become_a_sample_answers(web: HostileWeb, one: Behaviour) -> None:
    if one.certificate is None:
        path = urlsplit(one.urls(web.ports)[0]).path
        assert ask(web, one.name, path, patience_s=10).startswith(b"HTTP/1.")


STARTS = {
    "image-jpeg": b"HTTP/1.1 200 OK\r\n",
    "never-answers": b"",
    "closes-at-once": b"",
    "resets-at-once": b"",
    "head-stalls": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "http-0-9": b"\xff\xd8\xff",
    "http-is-ssh": b"SSH-2.0-",
    "status-999": b"HTTP/1.1 999 ",
    "status-429": b"HTTP/1.1 429 ",
    "redirect-to-file": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n",
    "redirect-to-binary": b"HTTP/1.1 302 Found\r\nLocation: http://\xff\xfe\x80/\r\n",
    "asks-for-password": b"HTTP/1.1 401 ",
    "no-such-behaviour": b"HTTP/1.1 404 ",
}


@pytest.mark.parametrize("name", STARTS)
def test_answers_begin_as_they_should(web: HostileWeb, name: str) -> None:
    answer = ask(web, name)
    assert answer.startswith(STARTS[name])
    assert answer or not STARTS[name]


@pytest.mark.parametrize(
    "name", ["body-of-10-gb", "body-of-10-gb-unannounced", "body-of-endless-chunks", "head-endless"]
)
def test_floods_flow_until_the_client_goes(web: HostileWeb, name: str) -> None:
    assert len(ask(web, name, max_bytes=3_000_000)) >= 3_000_000


def test_trickles_trickle(web: HostileWeb) -> None:
    head, _, body = ask(web, "body-trickles", max_bytes=75).partition(b"\r\n\r\n")
    assert head.endswith(b"Content-Length: %d" % len(jpeg()))
    assert body
    assert jpeg().startswith(body)


def test_answers_that_change_count_the_requests_of_their_path(web: HostileWeb) -> None:
    first, second = (ask(web, "status-503-then-picture", "/counted.jpg") for _ in range(2))
    assert (first[:12], second[:12]) == (b"HTTP/1.1 503", b"HTTP/1.1 200")


def test_requests_are_logged_with_their_headers(web: HostileWeb) -> None:
    ask(web, "image-jpeg", "/seen.jpg?x=1")
    seen = [one for one in web.requests if one.path == "/seen.jpg?x=1"]
    assert [(one.method, one.host) for one in seen] == [("GET", "image-jpeg.hostile.example")]
    assert seen[0].get("host") == "image-jpeg.hostile.example:1"


def test_who_comes_where_nobody_may_is_seen_and_served() -> None:
    with HostileWeb() as web:
        with socket.create_connection(("127.0.0.2", web.ports.port), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.2\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"
        assert len(web.trapped) == 1
        assert web.requests[-1].reached_at == "127.0.0.2"


def test_it_ends_with_clients_still_waiting() -> None:
    before = set(threading.enumerate())
    with HostileWeb() as web:
        waiting = [socket.create_connection((SERVED_AT, web.ports.port)) for _ in range(3)]
        waiting[0].sendall(b"GET / HTTP/1.1\r\nHost: never-answers.hostile.example\r\n\r\n")
        waiting[1].sendall(b"GET / HTTP/1.1\r\nHost: body-of-10-gb.hostile.example\r\n\r\n")
    for one in waiting:
        one.close()
    assert set(threading.enumerate()) <= before
    assert not web.bugs
