"""URLs: joined as browsers join them, refused where they would refuse, named alike."""

from __future__ import annotations

import hashlib
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from webpairs.extract.url import (
    MAX_URL_CHARS,
    is_unwanted,
    join_url,
    join_urls,
    normalise_url,
    surt_key,
)
from webpairs.ids import uid_of, uids_of

# Text close enough to URLs to reach the corners of the parser.
urlish = st.text(alphabet=string.ascii_letters + ":/?#[]@!$&'()*+,;=%.-_~\\ \t\nä中\0", max_size=60)


@pytest.mark.parametrize(
    ("base", "page", "src", "joined"),
    [
        # LAION joined to os.path.dirname(page) and got http://a.com/i.jpg, http:///i.jpg
        (None, "http://a.com/x/", "i.jpg", "http://a.com/x/i.jpg"),
        (None, "http://a.com", "i.jpg", "http://a.com/i.jpg"),
        (None, "http://a.com/x/y.html", "i.jpg", "http://a.com/x/i.jpg"),
        (None, "http://a.com/x/y.html", "../i.jpg", "http://a.com/i.jpg"),
        (None, "http://a.com/x/y.html", "/i.jpg", "http://a.com/i.jpg"),
        (None, "http://a.com/x/y.html?q=/z/", "i.jpg", "http://a.com/x/i.jpg"),
        (None, "https://a.com/x", "//cdn.com/i.jpg", "https://cdn.com/i.jpg"),
        (None, "https://a.com/x", "https:i.jpg", "https://a.com/i.jpg"),
        # <base>: absolute, relative to the page, unusable
        ("http://b.com/y/", "http://a.com/x/", "i.jpg", "http://b.com/y/i.jpg"),
        ("/y/", "http://a.com/x/", "i.jpg", "http://a.com/y/i.jpg"),
        ("../", "http://a.com/x/y/", "i.jpg", "http://a.com/x/i.jpg"),
        ("//b.com", "https://a.com/x/", "i.jpg", "https://b.com/i.jpg"),
        ("http://[bad", "http://a.com/x/", "i.jpg", "http://a.com/x/i.jpg"),
        ("data:text/html,x", "http://a.com/x/", "i.jpg", "http://a.com/x/i.jpg"),
        ("javascript:0", "http://a.com/x/", "i.jpg", "http://a.com/x/i.jpg"),
        ("http://b.com/", "no url", "i.jpg", "http://b.com/i.jpg"),
        ("", "http://a.com/x/", "i.jpg", "http://a.com/x/i.jpg"),
        # what the WHATWG parser mends
        (None, "http://a.com/", "HTTP://EXAMPLE.com:80/%7ei.jpg#f", "http://example.com/%7ei.jpg"),
        (None, "http://a.com/", "  i.jpg\n", "http://a.com/i.jpg"),
        (None, "http://a.com/", "im\nage.jpg", "http://a.com/image.jpg"),
        (None, "http://a.com/", "\\x\\i.jpg", "http://a.com/x/i.jpg"),
        (None, "http://a.com/", "a b.jpg?c d", "http://a.com/a%20b.jpg?c%20d"),
        (None, "http://a.com/", "https://bücher.de/ü.jpg", "https://xn--bcher-kva.de/%C3%BC.jpg"),
        (None, "http://a.com/", "http://0x7f.1/i.jpg", "http://127.0.0.1/i.jpg"),
        (None, "http://a.com/x?y", "?z#w", "http://a.com/x?z"),
        # what it refuses, and what leads elsewhere
        (None, "http://a.com/", "http://[bad/i.jpg", None),
        (None, "http://a.com/", "http://a:99999/", None),
        (None, "http://a.com/", "http://1.2.3.4.5/", None),
        (None, "http://a.com/", "data:image/png;base64,AA", None),
        (None, "http://a.com/", "ftp://a.com/i.jpg", None),
        (None, "http://a.com/", "", None),
        (None, "http://a.com/", " \n", None),
        (None, "http://a.com/", "\ud800", None),
        (None, "no url", "i.jpg", None),
        (None, "no url", "http://a.com/i.jpg", "http://a.com/i.jpg"),
        (None, "http://a.com/", "a" * MAX_URL_CHARS, None),
    ],
)
def test_join(base: str | None, page: str, src: str, joined: str | None) -> None:
    assert join_url(base, page, src) == joined


@given(urlish, st.none() | urlish, st.sampled_from(["http://a.com/x/y", "https://ü.de?q", "no"]))
@example("http:/x/#", None, "http://a.com/x/y")
def test_joined_urls_are_normal(src: str, base: str | None, page: str) -> None:
    joined = join_url(base, page, src)
    if joined is not None:
        assert joined.startswith(("http://", "https://"))
        assert "#" not in joined
        assert "\0" not in joined
        assert normalise_url(joined) == joined
        assert join_urls(base, page, [src, "x", src])[::2] == [joined, joined]


@given(st.text() | urlish)
def test_normalising_twice_is_normalising_once(url: str) -> None:
    normal = normalise_url(url)
    assert normal is None or normalise_url(normal) == normal


@given(urlish)
def test_normalising_is_joining_to_no_page(url: str) -> None:
    assert normalise_url(url) == join_url(None, "", url)


@pytest.mark.parametrize(
    "src",
    [
        *("a.svg", "a.GIF", "/x/a.ico", "a.svgz", "a.gif?x=1", "a.gif#x", " a.gif\n", "a.g\nif"),
        *("data:image/png;base64,x", "javascript:x()", "mailto:a@b", "about:blank", "blob:x"),
        *("JavaScript:x()", " \tdata:x", "d\nata:x", "file:///a.jpg", "http://a.com/x.gif"),
        *("C:\\a.jpg", "//a.com/x.svg", "http:x.gif"),
    ],
)
def test_unwanted(src: str) -> None:
    assert is_unwanted(src)


@pytest.mark.parametrize(
    "src",
    [
        *("a.jpg", "a.gif.jpg", "a.jpg?x=.gif", "a.jpg#.svg", "gif", "agif", "a.gif/b", "a.giff"),
        *("http://a.gif", "//x.ico", "https://a.com?x.gif", "HTTPS://a.com/a.jpg", "", "?a.gif"),
        *("/a:b.jpg", "./data:x", "http://[bad/x.jpg"),
    ],
)
def test_wanted(src: str) -> None:
    assert not is_unwanted(src)


@given(st.text() | urlish)
def test_unwanted_never_raises(src: str) -> None:
    assert is_unwanted(src) in (True, False)


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("http://www.example.com/a?b=c", "com,example)/a?b=c"),
        ("https://example.com/a?b=c", "com,example)/a?b=c"),
        ("https://www2.example.co.uk/", "uk,co,example)/"),
        ("http://example.com:8080/a", "com,example:8080)/a"),
        ("http://user:pw@example.com/a", "com,example)/a"),
        ("http://127.0.0.1/a", "127.0.0.1)/a"),
        ("http://[::1]:81/a", "[::1]:81)/a"),
        ("http://www.com/", "com,www)/"),
        ("http://wwwx.example.com/", "com,example,wwwx)/"),
        ("http://localhost/?q=http://www.b.com/", "localhost)/?q=http://www.b.com/"),
        ("no url", "no url"),
    ],
)
def test_surt(url: str, key: str) -> None:
    assert surt_key(url) == key


@given(st.text() | urlish)
def test_surt_never_raises(url: str) -> None:
    surt_key(url)
    normal = normalise_url(url)
    if normal is not None:
        surt_key(normal)


def test_uid_is_blake2b_of_url_zero_and_text() -> None:
    url, text = "http://a.com/ü", "ein Bild"
    expected = hashlib.blake2b(url.encode() + b"\0" + text.encode(), digest_size=16).digest()
    assert uid_of(url, text) == expected
    assert uids_of([url, url], [text, "x"]) == [expected, uid_of(url, "x")]


def test_uid_separates_url_and_text() -> None:
    assert uid_of("http://a.com/x", "yz") != uid_of("http://a.com/xy", "z")
