"""A live little web is served as its truth says: every picture answers as its fate tells."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import threading
import urllib.robotparser
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import ada_url
import pytest
from warcio.archiveiterator import ArchiveIterator

from webpairs.demo import port as port_module
from webpairs.demo.crawl_files import write_crawl_files
from webpairs.demo.little_web import LittleWeb, draw_little_web
from webpairs.demo.live import LIVE_BROKEN, METADATA_SERVICE, SERVER
from webpairs.demo.port import PORT_FILE, kept_port
from webpairs.demo.server import served
from webpairs.demo.truth import SAMPLE
from webpairs.drops import Drop
from webpairs.errors import ConfigError, DataError
from webpairs.extract.optout import opt_out_of
from webpairs.image.decode import ImageRules, decode
from webpairs.recipes import load_recipe

MAX_REDIRECTS = 5


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> int:
    return kept_port(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def web(port: int) -> LittleWeb:
    return draw_little_web(seed=3, num_pages=18, live=True, port=port)


@pytest.fixture(scope="module")
def client(web: LittleWeb, port: int) -> Iterator[Client]:
    with served(web, port):
        client = Client(web)
        yield client
        client.close()


class Client:
    """Fetch as a polite crawler does, with the standard library alone; one connection a host."""

    def __init__(self, web: LittleWeb) -> None:
        self._web = web
        self._connections: dict[str, http.client.HTTPConnection] = {}
        recipe = load_recipe("laion400m")
        self._rules = ImageRules(
            min_bytes=recipe.min_image_bytes,
            max_pixels=recipe.max_pixels,
            formats=recipe.formats,
            size_px=recipe.image_size_px,
            resize=recipe.resize,
            jpeg_quality=recipe.jpeg_quality,
        )

    def get(self, url: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        parts = urlsplit(url)
        assert parts.hostname
        if parts.netloc not in self._connections:
            address = self._web.addresses[parts.hostname]
            self._connections[parts.netloc] = http.client.HTTPConnection(address, parts.port)
        connection = self._connections[parts.netloc]
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Host": parts.netloc})
        response = connection.getresponse()
        return response.status, response.headers, response.read()

    def outcome(self, url: str) -> tuple[str, bytes]:
        """Return what becomes of a picture at a URL, before any model: its fate and its file."""
        for _ in range(MAX_REDIRECTS + 1):
            parts = urlsplit(url)
            assert parts.hostname
            if parts.hostname == urlsplit(METADATA_SERVICE).hostname:
                return Drop.ADDRESS_FORBIDDEN, b""
            address = self._web.addresses.get(parts.hostname)
            if address is None:
                return Drop.DNS, b""
            if not address.startswith("127."):
                return Drop.ADDRESS_FORBIDDEN, b""
            try:
                if not self.allowed(url):
                    return Drop.ROBOTS, b""
                if self.reserved(url):
                    return Drop.OPTED_OUT_IMAGE, b""
                status, headers, body = self.get(url)
            except ConnectionRefusedError:
                self._connections.pop(parts.netloc).close()
                return Drop.CONNECT, b""
            if 300 <= status < 400:
                url = urljoin(url, headers["Location"])
                continue
            if status != 200:
                return {404: Drop.HTTP_4XX, 429: Drop.HTTP_429, 503: Drop.HTTP_5XX}[status], b""
            if opt_out_of(headers.get_all("X-Robots-Tag", [])):
                return Drop.OPTED_OUT_IMAGE, b""
            try:
                decode(body, self._rules)
            except DataError as error:
                return error.drop, b""
            return SAMPLE, body
        return Drop.REDIRECT, b""

    def allowed(self, url: str) -> bool:
        status, _, body = self.get(urljoin(url, "/robots.txt"))
        robots = urllib.robotparser.RobotFileParser()
        robots.parse(body.decode().splitlines() if status == 200 else [])
        return robots.can_fetch("webpairs", url)

    def reserved(self, url: str) -> bool:
        status, _, body = self.get(urljoin(url, "/.well-known/tdmrep.json"))
        return status == 200 and json.loads(body)[0]["tdm-reservation"] == 1

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()


def test_every_picture_answers_as_its_fate_says(web: LittleWeb, client: Client) -> None:
    seen: Counter[str] = Counter()
    outcomes: dict[str, tuple[str, bytes]] = {}
    for candidate in web.truth:
        if not candidate.uid:
            continue
        if candidate.url not in outcomes:
            outcomes[candidate.url] = client.outcome(candidate.url)
        fate, body = outcomes[candidate.url]
        expected = candidate.fate
        if expected in (Drop.DUPLICATE, Drop.OPTED_OUT_PAGE, Drop.SIMILARITY):
            expected = SAMPLE  # what is wrong is not the picture
        assert fate == expected, candidate
        seen[fate] += 1
        if candidate.sha256:
            assert hashlib.sha256(body).hexdigest() == candidate.sha256
    assert set(seen) == {SAMPLE, *map(str, LIVE_BROKEN.values())}


def test_every_fate_of_the_live_web_occurs_from_15_pages_on(web: LittleWeb) -> None:
    small = draw_little_web(seed=4, num_pages=15, live=True)
    assert set(small.fates()) == set(web.fates())
    assert set(web.fates()) >= {SAMPLE, *map(str, LIVE_BROKEN.values())}
    assert Drop.NOT_ARCHIVED not in web.fates()


def test_all_urls_are_normal_and_of_one_port(web: LittleWeb, port: int) -> None:
    urls = {answer.url for answer in web.answers}
    assert len(urls) == len(web.answers)
    for url in urls | {candidate.url for candidate in web.truth if candidate.uid}:
        parts = urlsplit(url)
        assert (parts.scheme, parts.port) == ("http", port)
        assert parts.hostname
        assert parts.hostname.endswith(".example")
        assert ada_url.normalize_url(url) == url
    for url in (answer.url for answer in draw_little_web(seed=3, num_pages=2, live=True).answers):
        assert urlsplit(url).port is None  # 80, which no URL names


def test_the_port_changes_nothing_but_urls(web: LittleWeb, port: int) -> None:
    other = draw_little_web(seed=3, num_pages=18, live=True, port=port + 1)
    pairs = zip(web.truth, other.truth, strict=True)
    assert all((a.text, a.fate, a.sha256) == (b.text, b.fate, b.sha256) for a, b in pairs)
    assert all(a.url != b.url for a, b in zip(web.truth, other.truth, strict=True) if a.uid)


def test_the_crawl_files_of_a_live_web_hold_no_picture(web: LittleWeb, tmp_path: Path) -> None:
    files = write_crawl_files(web, tmp_path)
    found: set[str] = set()
    for path in files.warc:
        with path.open("rb") as file:
            found |= {
                record.rec_headers["WARC-Target-URI"]
                for record in ArchiveIterator(file)
                if record.rec_type != "warcinfo"
            }
    assert found == {page.url for page in web.pages}


def test_what_was_not_drawn_is_not_found(web: LittleWeb, client: Client) -> None:
    page = web.pages[0].url
    assert client.get(page)[0] == 200
    assert client.get(urljoin(page, "/nothing.jpg"))[0] == 404
    other = next(p.url for p in web.pages if urlsplit(p.url).netloc != urlsplit(page).netloc)
    assert client.get(urljoin(other, urlsplit(page).path))[0] == 404


def test_the_server_ends_with_its_block(web: LittleWeb, tmp_path: Path) -> None:
    port = kept_port(tmp_path)
    before = set(threading.enumerate())
    with served(web, port):
        idle = socket.create_connection((SERVER, port))
        busy = socket.create_connection((SERVER, port))
        busy.sendall(b"GET /nothing HTTP/1.1\r\nHost: photos.example\r\n\r\n")
        assert busy.recv(12) == b"HTTP/1.1 404"
    assert idle.recv(1) == b""
    while busy.recv(1024):
        pass
    idle.close()
    busy.close()
    assert set(threading.enumerate()) <= before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((SERVER, port))
    with served(web, port):  # and the port is free again at once
        pass


def test_a_taken_port_is_said_with_its_fix(web: LittleWeb, tmp_path: Path) -> None:
    port = kept_port(tmp_path)
    taken = f"port {port} .* taken by another program: .* --out"
    with socket.create_server((SERVER, port)), pytest.raises(ConfigError, match=taken):
        served(web, port).__enter__()


def test_a_folder_keeps_its_port(tmp_path: Path) -> None:
    port = kept_port(tmp_path / "crawl")
    assert 1024 < port < 32_768
    assert (tmp_path / "crawl" / PORT_FILE).read_text() == f"{port}\n"
    with socket.create_server((SERVER, port)):  # taken now: its URLs are written all the same
        assert kept_port(tmp_path / "crawl") == port
        (tmp_path / "crawl" / PORT_FILE).unlink()
        assert kept_port(tmp_path / "crawl") != port  # nothing is written yet: a free one


def test_no_free_port_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    port = kept_port(tmp_path / "one")
    monkeypatch.setattr(port_module, "_PORTS", range(port, port + 1))
    with socket.create_server((SERVER, port)), pytest.raises(ConfigError, match="--out"):
        kept_port(tmp_path / "two")


@pytest.mark.parametrize("said", [b"", b"eighty", b"80", b"-1", b"999999", b"\xff\xfe", b"2\xb2"])
def test_a_port_file_that_holds_no_port_is_refused(tmp_path: Path, said: bytes) -> None:
    (tmp_path / PORT_FILE).write_bytes(said)
    with pytest.raises(ConfigError, match="--out"):
        kept_port(tmp_path)
