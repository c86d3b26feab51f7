"""robots.txt: groups, paths, statuses, and the usages that it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.obtain.robots import MAX_CRAWL_DELAY_S, MAX_ROBOTS_BYTES, read_robots

SITE = "https://site.example"


def allows(text: str, path: str = "/a/b.jpg") -> bool:
    return read_robots(200, text.encode()).allows(SITE + path)


def refused(text: str, path: str = "/a/b.jpg", ignored: tuple[str, ...] = ()) -> str | None:
    return read_robots(200, text.encode()).refused_usage(SITE + path, frozenset(ignored))


# RFC 9309, 5.1: its first example.
SIMPLE = """
User-Agent: *
Disallow: *.gif$
Disallow: /example/
Allow: /publications/

User-Agent: foobot
Disallow:/
Allow:/example/page.html
Allow:/example/allowed.gif

User-Agent: barbot
User-Agent: WebPairs
Disallow: /example/page.html

User-Agent: quxbot
"""


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/a.jpg", True),
        ("User-agent: *\nDisallow: /", "/a.jpg", False),
        ("User-agent: *\nDisallow:", "/a.jpg", True),
        ("\ufeffUser-agent: *\nDisallow: /", "/a.jpg", False),
        ("User-agent: *\r\nDisallow: /\r\n", "/a.jpg", False),
        ("USER-AGENT: WEBPAIRS\nDISALLOW: /", "/a.jpg", False),
        ("User-agent: webpairs/1.0\nDisallow: /", "/a.jpg", True),
        ("User-agent: otherbot\nDisallow: /", "/a.jpg", True),
        ("User-agent: *\nDisallow: /\nUser-agent: webpairs\nDisallow: /b", "/a.jpg", True),
        (SIMPLE, "/example/page.html", False),
        (SIMPLE, "/example/other.gif", True),
        ("User-agent: *\nAllow: /a/\nDisallow: /", "/a/b.jpg", True),
        ("User-agent: *\nDisallow: /a\nAllow: /a", "/a/b.jpg", True),
        ("User-agent: *\nDisallow: /*.jpg$", "/a/b.jpg", False),
        ("User-agent: *\nDisallow: /*.jpg$", "/a/b.jpg?x", True),
        ("User-agent: *\nDisallow: /%7Ejoe/", "/~joe/a.jpg", False),
        ("User-agent: *\nDisallow: /é/", "/%C3%A9/a.jpg", False),
        ("User-agent: *\nDisallow: /a # all of it", "/a/b.jpg", False),
        ("<!doctype html><p>User-agent: *", "/a.jpg", True),
    ],
)
def test_rules(text: str, path: str, allowed: bool) -> None:
    assert allows(text, path) is allowed


@pytest.mark.parametrize(
    ("status", "allowed"),
    [
        (None, False),
        (500, False),
        (503, False),
        (429, False),
        (404, True),
        (403, True),
        (401, True),
        (304, True),
    ],
)
def test_a_file_that_is_not_there_allows_and_one_out_of_reach_forbids(
    status: int | None, allowed: bool
) -> None:
    robots = read_robots(status, b"User-agent: *\nDisallow: /")
    assert robots.allows(SITE + "/a.jpg") is allowed
    assert robots.status == ("unreachable" if status is None else str(status))


def test_the_beginning_of_a_long_file_is_read() -> None:
    padding = "# nothing\n" * (MAX_ROBOTS_BYTES // 10 + 1)
    rules = "User-agent: *\nDisallow: /\n"
    assert not allows(rules + padding)
    assert allows(padding + rules)


@pytest.mark.parametrize(
    ("value", "delay_s"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("1e9", MAX_CRAWL_DELAY_S),
        ("-1", None),
        ("nan", None),
        ("x", None),
    ],
)
def test_crawl_delay(value: str, delay_s: float | None) -> None:
    text = f"User-agent: *\nCrawl-delay: {value}\n"
    assert read_robots(200, text.encode()).crawl_delay_s == delay_s


@pytest.mark.parametrize(
    ("text", "path", "name"),
    [
        # As Cloudflare writes it for the sites it manages.
        (
            "User-Agent: *\nContent-signal: search=yes,ai-train=no\nAllow: /\n\n"
            "User-agent: CCBot\nDisallow: /",
            "/a.jpg",
            "content-signal:ai-train",
        ),
        ("Content-Signal: ai-train=no\nUser-agent: *\nAllow: /", "/a", "content-signal:ai-train"),
        ("User-agent: *\nContent-Signal: search=yes, ai-input=no", "/a", None),
        ("User-agent: *\nContent-Signal: search=no", "/a", "content-signal:search"),
        ("User-agent: *\nContent-Signal: ai-train = NO", "/a", "content-signal:ai-train"),
        ("User-agent: otherbot\nContent-Signal: ai-train=no", "/a", None),
        ("User-agent: *\nContent-Usage: train-ai=n", "/a", "content-usage-robots:train-ai"),
        ("User-agent: *\nContent-Usage: train-ai=y, search=y", "/a", None),
        ("User-agent: *\nContent-Usage: train-ai=n,,", "/a", None),  # no dictionary: nothing said
        ("User-agent: *\nContent-Usage: /p/ train-ai=n", "/p/a", "content-usage-robots:train-ai"),
        ("User-agent: *\nContent-Usage: /p/ train-ai=n", "/q/a", None),
        (
            "User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /p/ train-ai=y",
            "/p/a",
            None,
        ),
        (
            "User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /p/ search=y",
            "/p/a",
            "content-usage-robots:train-ai",
        ),
        # A group that says nothing of it stands between.
        (
            "User-agent: otherbot\nDisallow: /x\nUser-agent: webpairs\nContent-Usage: train-ai=n",
            "/a",
            "content-usage-robots:train-ai",
        ),
        (
            "User-agent: webpairs\nDisallow: /x\nUser-agent: otherbot\nContent-Usage: train-ai=n",
            "/a",
            None,
        ),
    ],
)
def test_usages(text: str, path: str, name: str | None) -> None:
    assert refused(text, path) == name
    assert allows(text, path)  # a usage is not a fetch


def test_usages_that_are_ignored_do_not_count() -> None:
    text = "User-agent: *\nContent-Signal: ai-train=no\nContent-Usage: train-ai=n"
    assert refused(text) == "content-usage-robots:train-ai"
    assert refused(text, ignored=("content-usage",)) == "content-signal:ai-train"
    assert refused(text, ignored=("content-usage", "content-signal")) is None


PIECES = st.sampled_from(
    [
        *("User-agent", ":", "*", "webpairs", "Disallow", "Allow", "/", "$", "\n", "\r", " ", "#"),
        *("Content-Usage", "Content-Signal", "train-ai=n", "ai-train=no", ",", "=", "\0", "\ufeff"),
    ]
)


@given(st.binary(max_size=200) | st.lists(PIECES, max_size=40).map(lambda p: "".join(p).encode()))
def test_any_bytes(body: bytes) -> None:
    robots = read_robots(200, body)
    assert robots.allows(SITE + "/robots.txt")
    assert isinstance(robots.allows(SITE + "/a b\0%zz"), bool)
    assert robots.refused_usage(SITE + "/a", frozenset()) is None or b"onten" in body
