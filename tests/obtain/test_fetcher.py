"""Fetching: queues, limits, retries, redirects, permissions; against a server on this machine."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from webpairs.drops import Drop
from webpairs.obtain.dns import StaticResolver
from webpairs.obtain.fetcher import Fetched, FetchError, fetch_all
from webpairs.obtain.limits import FetchRules
from webpairs.obtain.service import FetchClient, FetchService
from webpairs.version import __version__

IMAGE = b"image" * 2_000


@dataclass
class Site:
    """A server that answers as `answers` says, by path; it counts what it is asked."""

    port: int = 0
    answers: dict[str, Callable[[int], tuple[int, dict[str, str], bytes]]] = field(
        default_factory=dict
    )
    asked: Counter[str] = field(default_factory=Counter)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: Counter[str] = field(default_factory=Counter)
    most_at_once: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    lock: threading.Lock = field(default_factory=threading.Lock)
    hold_s: float = 0.0
    hold_until_at_once: int = 0
    """Pictures wait until their host was asked for so many at once."""

    def url(self, path: str, host: str = "a.example") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            host = self.headers["Host"].partition(":")[0]
            with site.lock:
                site.asked[self.path] += 1
                num = site.asked[self.path]
                site.headers.append(dict(self.headers))
                site.at_once[host] += 1
                site.most_at_once[host] = max(site.most_at_once[host], site.at_once[host])
            time.sleep(site.hold_s)
            answer = site.answers.get(self.path)
            missing = self.path.startswith(("/robots.txt", "/.well-known"))
            deadline = time.monotonic() + 20
            while not missing and site.most_at_once[host] < site.hold_until_at_once:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.005)
            status, headers, body = (
                answer(num) if answer else (404, {}, b"") if missing else (200, {}, IMAGE)
            )
            with site.lock:
                site.at_once[host] -= 1
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


RESOLVER = StaticResolver({"*.example": ["127.0.0.1"], "inside.test": ["127.0.0.3"]})


def rules(**changes: object) -> FetchRules:
    return FetchRules(**({"allow_networks": ("127.0.0.1/32",), "per_host_rate": 0.0} | changes))  # type: ignore[arg-type]


def fetch_one(url: str, **changes: object) -> Fetched | FetchError:
    return fetch_all([url], rules(**changes), RESOLVER)[0]


def says(status: int, body: bytes = b"", **headers: str) -> Callable[[int], object]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: (status, named, body)


def test_an_image_comes_as_the_server_has_it(site: Site) -> None:
    got = fetch_one(site.url("/a.jpg"), contact="https://crawl.example/about")
    assert isinstance(got, Fetched)
    assert (got.data, got.status, got.url, got.opt_out) == (IMAGE, 200, site.url("/a.jpg"), None)
    assert abs(got.date_ms / 1000 - time.time()) < 60
    assert "robots.txt 404" in got.permissions
    assert "tdmrep.json 404" in got.permissions
    asked = site.headers[-1]
    assert asked["User-Agent"] == f"webpairs/{__version__} (+https://crawl.example/about)"
    assert not {"Cookie", "Authorization", "Referer"} & set(asked)


def test_site_files_are_asked_for_once_a_site(site: Site) -> None:
    urls = [site.url(f"/{n}.jpg", f"h{n % 3}.example") for n in range(30)]
    got = fetch_all(urls, rules(), RESOLVER)
    assert all(isinstance(one, Fetched) for one in got)
    assert site.asked["/robots.txt"] == 3
    assert site.asked["/.well-known/tdmrep.json"] == 3


def test_signals_that_are_ignored_are_not_asked_for(site: Site) -> None:
    site.answers["/robots.txt"] = says(200, b"User-agent: *\nDisallow: /")
    ignored = frozenset(("robots.txt", "tdmrep.json"))
    got = fetch_one(site.url("/a.jpg"), ignored_signals=ignored)
    assert isinstance(got, Fetched)
    assert set(site.asked) == {"/a.jpg"}


def test_credentials_in_a_url_are_not_sent(site: Site) -> None:
    got = fetch_one(f"http://me:secret@a.example:{site.port}/a.jpg")
    assert isinstance(got, Fetched)
    assert got.url == site.url("/a.jpg")
    assert not any("Authorization" in headers for headers in site.headers)


REASONS: list[tuple[str, Callable[[int], object], Drop, int]] = [
    ("gone", says(404), Drop.HTTP_4XX, 1),
    ("teapot", says(418), Drop.HTTP_4XX, 1),
    ("busy", says(429), Drop.HTTP_429, 2),
    ("busy for a day", says(429, Retry_After="86400"), Drop.HTTP_429, 1),
    ("broken", says(500), Drop.HTTP_5XX, 2),
    ("never built", says(501), Drop.HTTP_5XX, 1),
    ("no content", says(204), Drop.PROTOCOL, 2),
    ("nowhere", says(302), Drop.REDIRECT, 1),
    ("file", says(302, Location="file:///etc/passwd"), Drop.REDIRECT, 1),
    ("inside", says(302, Location="http://inside.test/x"), Drop.ADDRESS_FORBIDDEN, 1),
    ("metadata", says(302, Location="http://169.254.169.254/"), Drop.ADDRESS_FORBIDDEN, 1),
    ("large", says(200, b"x" * 20_000), Drop.TOO_LARGE, 1),
    ("no ai", says(200, IMAGE, X_Robots_Tag="noai"), Drop.OPTED_OUT_IMAGE, 1),
]


@pytest.mark.parametrize(("name", "answer", "drop", "tries"), REASONS, ids=[r[0] for r in REASONS])
def test_what_is_no_image_has_its_reason(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    answer: Callable[[int], tuple[int, dict[str, str], bytes]],
    drop: Drop,
    tries: int,
) -> None:
    monkeypatch.setattr("webpairs.obtain.fetcher.FIRST_BACK_OFF_S", 0.01)
    site.answers["/x"] = answer
    got = fetch_one(site.url("/x"), retries=1, max_bytes=15_000)
    assert isinstance(got, FetchError)
    assert got.drop is drop
    assert site.asked["/x"] == tries


def test_another_try_helps_after_the_pause_that_was_asked_for(site: Site) -> None:
    times: list[float] = []

    def answer(num: int) -> tuple[int, dict[str, str], bytes]:
        times.append(time.monotonic())
        return (503, {"Retry-After": "1"}, b"") if num == 1 else (200, {}, IMAGE)

    site.answers["/x"] = answer
    got = fetch_one(site.url("/x"), retries=1)
    assert isinstance(got, Fetched)
    assert times[1] - times[0] >= 0.99


def test_redirects_are_followed_five_times_and_each_site_is_asked(site: Site) -> None:
    for n in range(6):
        target = site.url(f"/{n + 1}", f"h{n % 2}.example")
        site.answers[f"/{n}"] = says(301, Location=target)  # type: ignore[assignment]
    five, six = fetch_all([site.url("/1"), site.url("/0")], rules(), RESOLVER)
    assert isinstance(five, Fetched)
    assert five.url == site.url("/6", "h1.example")
    assert isinstance(six, FetchError)
    assert six.drop is Drop.REDIRECT
    assert site.asked["/robots.txt"] == 3


def test_no_more_than_asked_at_one_host_at_once(site: Site) -> None:
    site.hold_s, site.hold_until_at_once = 0.01, 3
    urls = [site.url(f"/{n}", f"h{n % 2}.example") for n in range(60)]
    fetch_all(urls, rules(per_host=3), RESOLVER)
    assert set(site.most_at_once.values()) == {3}


def test_a_host_is_not_asked_faster_than_its_rate(site: Site) -> None:
    began = time.monotonic()
    fetch_all([site.url(f"/{n}") for n in range(11)], rules(per_host_rate=20.0), RESOLVER)
    assert time.monotonic() - began >= 10 / 20


def test_a_host_that_fails_again_and_again_is_left_alone(site: Site) -> None:
    urls = [f"http://dead.example:1/{n}" for n in range(50)] + [site.url("/a.jpg")]
    tried: list[str] = []
    got = fetch_all(
        urls,
        rules(per_host=1, retries=0),
        RESOLVER,
        on_connect=lambda address, allowed: tried.append(address),
    )
    assert [one.drop for one in got[:50] if isinstance(one, FetchError)] == [Drop.CONNECT] * 50
    assert isinstance(got[50], Fetched)
    assert len(tried) < 30


def test_what_has_not_begun_by_the_deadline_ends(site: Site) -> None:
    urls = [site.url(f"/{n}") for n in range(40)]
    got = fetch_all(urls, rules(per_host=1, per_host_rate=10.0), RESOLVER, deadline_s=0.5)
    late = [one for one in got if isinstance(one, FetchError)]
    assert 20 <= len(late) < 40
    assert {one.drop for one in late} == {Drop.TIMEOUT}


def test_no_address_inside_is_connected_to(site: Site) -> None:
    tried: list[tuple[str, bool]] = []
    urls = [site.url("/a", "inside.test"), f"http://127.0.0.2:{site.port}/", "http://[::1]/"]
    got = fetch_all(urls, rules(), RESOLVER, on_connect=lambda *told: tried.append(told))
    assert [one.drop for one in got if isinstance(one, FetchError)] == [Drop.ADDRESS_FORBIDDEN] * 3
    assert not [address for address, allowed in tried if allowed]


FORBIDDEN_AT_ONCE = (
    "http://10.0.0.1/{n}",
    "http://[::1]:8080/{n}",
    "http://2130706433/{n}",
    "http://localhost/{n}",
    "http://169.254.169.254/{n}",
)


@pytest.mark.parametrize("form", FORBIDDEN_AT_ONCE)
def test_a_forbidden_address_in_a_url_waits_for_no_turn(form: str) -> None:
    """At ten a second, most of forty would not have their turn before the deadline."""
    urls = [form.format(n=n) for n in range(40)]
    got = fetch_all(urls, rules(allow_networks=(), per_host_rate=10.0), RESOLVER, deadline_s=0.5)
    assert [one.drop for one in got if isinstance(one, FetchError)] == [Drop.ADDRESS_FORBIDDEN] * 40
    hinted = ["--allow-network" in one.detail for one in got if isinstance(one, FetchError)]
    assert hinted == ["169.254" not in form] * 40


def test_a_redirect_to_a_forbidden_address_waits_for_no_turn(site: Site) -> None:
    for n in range(30):
        site.answers[f"/{n}"] = says(302, Location="http://10.0.0.1/x")
    got = fetch_all(
        [site.url(f"/{n}", f"h{n}.example") for n in range(30)],
        rules(per_host_rate=2.0),
        RESOLVER,
        deadline_s=5.0,
    )
    assert [one.drop for one in got if isinstance(one, FetchError)] == [Drop.ADDRESS_FORBIDDEN] * 30


def test_a_host_inside_is_left_alone_after_a_few_tries(site: Site) -> None:
    urls = [site.url(f"/{n}", "inside.test") for n in range(40)]
    got = fetch_all(urls, rules(per_host_rate=10.0), RESOLVER, deadline_s=2.0)
    assert [one.drop for one in got if isinstance(one, FetchError)] == [Drop.ADDRESS_FORBIDDEN] * 40
    assert all("--allow-network" in one.detail for one in got if isinstance(one, FetchError))


def test_the_service_answers_several_clients_and_outlives_one_that_hangs_up(site: Site) -> None:
    urls = [site.url(f"/{n}", f"h{n % 5}.example") for n in range(50)]
    with FetchService(rules(), RESOLVER) as service:
        gone = FetchClient(service.connect())
        next(gone.fetch(urls, 60))
        gone.close()
        client = FetchClient(service.connect())
        got = dict(client.fetch(urls, 60))
        again = dict(client.fetch(urls[:3], 60))
        client.close()
    assert sorted(got) == list(range(50))
    assert sorted(again) == [0, 1, 2]
    assert all(isinstance(one, Fetched) and one.data == IMAGE for one in got.values())


def test_a_fault_of_ours_ends_the_request_and_says_so(site: Site) -> None:
    class Broken:
        async def resolve(self, host: str) -> tuple[str, ...]:
            raise ZeroDivisionError("of nothing")

    got = fetch_all([site.url("/a.jpg")], rules(), Broken())[0]
    assert isinstance(got, FetchError)
    assert (got.drop, got.detail) == (
        Drop.PROTOCOL,
        "a fault of webpairs: ZeroDivisionError: of nothing",
    )


def test_the_figures_name_the_host_that_holds_up_the_rest(site: Site) -> None:
    urls = [site.url(f"/{n}", "slow.example") for n in range(30)]
    urls += [site.url(f"/{n}", f"h{n}.example") for n in range(3)]
    with FetchService(rules(per_host_rate=20.0, per_host=2), RESOLVER) as service:
        client = FetchClient(service.connect())
        answers = client.fetch(urls, 60)
        for _ in range(10):
            next(answers)
        figures = service.figures()
        (slow,) = (one for one in figures.hosts if one.host == "slow.example")
        assert figures.asked == len(urls)
        assert 0 < slow.waiting <= 23
        assert slow.share == 30 / 33
        assert slow.rate <= 20
        assert slow.seconds_left() >= slow.waiting / 20
        list(answers)
        assert service.figures().waiting == 0
        assert service.figures().hosts == ()
        client.close()


def test_requests_that_are_tried_again_still_wait(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("webpairs.obtain.fetcher.FIRST_BACK_OFF_S", 0.5)
    site.answers["/x"] = lambda num: (503, {}, b"") if num == 1 else (200, {}, IMAGE)  # type: ignore[assignment]
    with FetchService(rules(retries=1), RESOLVER) as service:
        client = FetchClient(service.connect())
        answers = client.fetch([site.url("/x")], 60)
        first = threading.Thread(target=lambda: next(answers))
        first.start()
        deadline = time.monotonic() + 30
        while first.is_alive() and time.monotonic() < deadline:
            if site.asked["/x"] == 1:
                assert service.figures().waiting == 1 or site.asked["/x"] == 2
            time.sleep(0.01)
        first.join()
        figures = service.figures()
        assert (figures.asked, figures.waiting) == (1, 0)
        client.close()
