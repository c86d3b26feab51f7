"""Opt-outs: what counts, said to whom; docs/optout.md lists every directive."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.extract.optout import AGENTS, DIRECTIVES, opt_out_of


@pytest.mark.parametrize("directive", DIRECTIVES)
def test_every_directive_counts_in_both_places(directive: str) -> None:
    assert opt_out_of([directive.upper()]) == f"x-robots-tag:{directive}"
    assert opt_out_of([], [("Robots", f"follow, {directive}")]) == f"robots-meta:{directive}"


@pytest.mark.parametrize(
    ("value", "signal"),
    [
        ("all", None),
        ("nofollow, noarchive, nosnippet, max-image-preview:none", None),
        ("index,follow", None),
        ("noindex, nofollow", "x-robots-tag:noindex"),
        ("nofollow;noai", "x-robots-tag:noai"),
        ("googlebot: noindex", None),
        ("googlebot: noindex, noai", None),  # the name holds for what follows it
        ("noai, googlebot: noindex", "x-robots-tag:noai"),
        ("otherbot: noindex, webpairs: none", "x-robots-tag:none"),
        ("CCBot: noai", "x-robots-tag:noai"),
        ("*: noimageai", "x-robots-tag:noimageai"),
        ("unavailable_after: 25 Jun 2010 15:00:00 PST, noml", "x-robots-tag:noml"),
        ("noindex, noai", "x-robots-tag:noai"),  # the most outspoken is named
        ("notnoai noaix", None),
        ("", None),
    ],
)
def test_header(value: str, signal: str | None) -> None:
    assert opt_out_of([value]) == signal


@pytest.mark.parametrize(
    ("name", "content", "signal"),
    [
        ("robots", "noindex nofollow", "robots-meta:noindex"),
        ("googlebot", "noindex, noai", None),
        ("ccbot", "noai", "robots-meta:noai"),
        ("description", "noai", None),
        ("tdm-reservation", "1", "tdm-reservation-meta"),
        ("TDM-Reservation", " 1 ", "tdm-reservation-meta"),
        ("tdm-reservation", "0", None),
        ("tdm-policy", "https://example.com/policy.json", None),
    ],
)
def test_meta(name: str, content: str, signal: str | None) -> None:
    assert opt_out_of([], [(name, content)]) == signal


def test_tdm_header() -> None:
    assert opt_out_of([], [], ["1"]) == "tdm-reservation-header"
    assert opt_out_of([], [], ["0", ""]) is None
    assert opt_out_of(["noindex"], [], ["1"]) == "tdm-reservation-header"
    assert opt_out_of(["noai"], [], ["1"]) == "x-robots-tag:noai"


def test_the_header_is_named_before_the_meta() -> None:
    assert opt_out_of(["noai"], [("robots", "noai")]) == "x-robots-tag:noai"


@given(st.lists(st.text()), st.lists(st.tuples(st.text(), st.text())), st.lists(st.text()))
def test_never_raises(headers: list[str], metas: list[tuple[str, str]], tdm: list[str]) -> None:
    signal = opt_out_of(headers, metas, tdm)
    assert signal is None or signal.startswith(
        ("x-robots-tag:", "robots-meta:", "tdm-reservation-")
    )


def test_docs_list_what_counts() -> None:
    page = (Path(__file__).parents[2] / "docs" / "optout.md").read_text()
    for word in (*DIRECTIVES, *AGENTS, "tdm-reservation-header", "tdm-reservation-meta"):
        assert f"`{word}`" in page
