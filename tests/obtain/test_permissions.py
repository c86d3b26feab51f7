"""Permissions: tdmrep.json, headers, what overrules what, and the evidence that is kept."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.drops import Drop
from webpairs.errors import ConfigError
from webpairs.obtain.permissions import SIGNALS, SitePermissions, answer_opt_out, check_signals
from webpairs.obtain.robots import read_robots
from webpairs.obtain.tdmrep import MAX_RULES, read_tdmrep

SITE = "https://site.example"
NOTHING = frozenset[str]()


def reserves(rules: object, path: str) -> bool:
    return read_tdmrep(200, orjson.dumps(rules)).reserves(SITE + path)


def rule(location: object, reservation: object) -> dict[str, object]:
    return {"location": location, "tdm-reservation": reservation}


@pytest.mark.parametrize(
    ("rules", "path", "reserved"),
    [
        ([rule("/", 1)], "/a.jpg", True),
        ([rule("/*", 1)], "/a.jpg", True),
        ([rule("*", 1)], "/a.jpg", True),
        ([rule("/", "1")], "/a.jpg", True),
        ([rule("/", 0)], "/a.jpg", False),
        ([rule("/", None)], "/a.jpg", False),
        ([rule("/", True)], "/a.jpg", False),
        (rule("/", 1), "/a.jpg", True),
        ([{"tdm-reservation": 1}], "/a.jpg", True),
        ([rule("/p/", 1)], "/p/a.jpg", True),
        ([rule("/p/", 1)], "/q/a.jpg", False),
        ([rule("/*.jpg$", 1)], "/p/a.jpg", True),
        ([rule("/*.jpg$", 1)], "/p/a.png", False),
        # The general rule first or last: the exception holds only where both readings agree.
        ([rule("/open/", 0), rule("/", 1)], "/open/a.jpg", False),
        ([rule("/", 1), rule("/open/", 0)], "/open/a.jpg", True),
        ([rule("/", 0), rule("/closed/", 1)], "/closed/a.jpg", True),
        ([rule("/\nDisallow: /x", 1)], "/x", False),
        ([rule("", 1), rule(7, 1), 7, None, [rule("/", 1)]], "/a.jpg", False),
        ("/", "/a.jpg", False),
        ([rule("/q", 0)] * MAX_RULES + [rule("/", 1)], "/a.jpg", False),
    ],
)
def test_tdmrep(rules: object, path: str, reserved: bool) -> None:
    assert reserves(rules, path) is reserved


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (None, b"", "unreachable"),
        (404, b'[{"location": "/", "tdm-reservation": 1}]', "404"),
        (500, b"", "500"),
        (200, b"<html>", "200 unreadable"),
        (200, b"[" * 100_000, "200 unreadable"),
        (200, b"1", "200 unreadable"),
    ],
)
def test_no_tdmrep_reserves_nothing(status: int | None, body: bytes, told: str) -> None:
    found = read_tdmrep(status, body)
    assert (found.status, found.reserves(SITE + "/a.jpg")) == (told, False)


@given(
    st.recursive(
        st.none() | st.integers() | st.text() | st.sampled_from(["/", "/*", "1"]),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["location", "tdm-reservation", "x"]), inner)
        ),
    )
)
def test_any_json(said: object) -> None:
    try:
        body = orjson.dumps(said)
    except (TypeError, orjson.JSONEncodeError):  # integers beyond 64 bits
        return
    assert isinstance(read_tdmrep(200, body).reserves(SITE + "/a.jpg"), bool)


@pytest.mark.parametrize(
    ("header", "value", "signal"),
    [
        ("x-robots-tag", "noai", "x-robots-tag:noai"),
        ("x-robots-tag", "webpairs: noimageindex", "x-robots-tag:noimageindex"),
        ("x-robots-tag", "googlebot: noindex", None),
        ("x-robots-tag", "nofollow", None),
        ("tdm-reservation", "1", "tdm-reservation-header"),
        ("tdm-reservation", "0", None),
        ("content-usage", "train-ai=n", "content-usage:train-ai"),
        ("content-usage", "search=n;x=1, train-genai=n", "content-usage:train-genai"),
        ("content-usage", "search=n", "content-usage:search"),
        ("content-usage", "train-ai=y", None),
        ("content-usage", 'train-ai="n"', None),
        ("content-usage", "n", None),
        ("content-usage", "train-ai=n, \udcff", None),
        ("x-other", "noai", None),
    ],
)
def test_answers(header: str, value: str, signal: str | None) -> None:
    assert answer_opt_out([("date", "noai"), (header, value)], NOTHING) == signal
    assert answer_opt_out([(header, value)], frozenset((header,))) is None


def test_values_of_several_headers_count_together() -> None:
    headers = [("content-usage", "search=y"), ("content-usage", "train-ai=n")]
    assert answer_opt_out(headers, NOTHING) == "content-usage:train-ai"
    headers = [("x-robots-tag", "noindex"), ("x-robots-tag", "noai"), ("tdm-reservation", "1")]
    assert answer_opt_out(headers, NOTHING) == "x-robots-tag:noai"


ROBOTS = read_robots(200, b"User-agent: *\nDisallow: /closed/\nContent-Signal: ai-train=no\n")
TDMREP = read_tdmrep(200, orjson.dumps([rule("/", 1)]))


def test_the_first_who_refuses_is_named() -> None:
    site = SitePermissions(ROBOTS, TDMREP)
    closed, open_ = SITE + "/closed/a.jpg", SITE + "/a.jpg"
    assert site.refusal(closed, NOTHING) == (Drop.ROBOTS, "robots.txt: forbidden to webpairs")
    signal = frozenset(("content-signal",))
    assert site.refusal(open_, NOTHING) == (Drop.OPTED_OUT_IMAGE, "content-signal:ai-train")
    assert site.refusal(open_, signal) == (Drop.OPTED_OUT_IMAGE, "tdmrep.json")
    assert SitePermissions(ROBOTS, None).refusal(open_, signal) is None
    down = SitePermissions(read_robots(503, b""), None)
    assert down.refusal(open_, NOTHING) == (Drop.ROBOTS, "robots.txt: 503")


def test_evidence() -> None:
    assert SitePermissions(ROBOTS, TDMREP).evidence() == "robots.txt 200; tdmrep.json 200"
    assert SitePermissions(None, None).evidence() == "robots.txt not asked; tdmrep.json not asked"
    gone = SitePermissions(read_robots(404, b""), read_tdmrep(None, b""))
    assert gone.evidence() == "robots.txt 404; tdmrep.json unreachable"


def test_a_signal_that_does_not_exist_is_refused_with_those_that_do() -> None:
    check_signals(list(SIGNALS))
    with pytest.raises(ConfigError, match=r"'robots' is unknown: use one or more of robots\.txt"):
        check_signals(["robots"])


def test_every_signal_is_documented() -> None:
    docs = Path(__file__).parent.parent.parent / "docs" / "manners.md"
    text = docs.read_text()
    assert not [name for name in SIGNALS if f"`{name}`" not in text]
