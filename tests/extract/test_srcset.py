"""`srcset` by the steps of the HTML standard; cases after web-platform-tests' parse-a-srcset."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.extract.srcset import largest, largest_of, parse_srcset


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("", []),
        (",", []),
        (" , ,", []),
        ("a", [("a", None, None)]),
        ("\ta\n1x\f", [("a", None, 1.0)]),
        ("a 1x, b 2x", [("a", None, 1.0), ("b", None, 2.0)]),
        ("a 1x,b 2x", [("a", None, 1.0), ("b", None, 2.0)]),
        ("a, b", [("a", None, None), ("b", None, None)]),
        ("a,b", [("a,b", None, None)]),
        ("a,,, b", [("a", None, None), ("b", None, None)]),
        (",a 10w", [("a", 10, None)]),
        ("data:,a ( , data:b 1x, ), c", [("c", None, None)]),
        ("a 100w 50h", [("a", 100, None)]),
        ("a 50h 100w", [("a", 100, None)]),
        ("a 50h", []),
        ("a 0w", []),
        ("a 100w 100w", []),
        ("a 1x 100w", []),
        ("a -1x", []),
        ("a 0x", [("a", None, 0.0)]),
        ("a 1.5e1x", [("a", None, 15.0)]),
        ("a .5x", [("a", None, 0.5)]),
        ("a +1x", []),
        ("a 1.x", []),
        ("a 1.5w", []),
        ("a \u0661w", []),
        ("a x", []),
        ("a 1", []),
        ("a foo, b 2x", [("b", None, 2.0)]),
        ("a (foo, b 3x), c 2x", [("c", None, 2.0)]),
        ("a (foo", []),
        ("http://e/?x=1,2 1x, d", [("http://e/?x=1,2", None, 1.0), ("d", None, None)]),
    ],
)
def test_parse(value: str, parsed: list[tuple[str, int | None, float | None]]) -> None:
    assert parse_srcset(value) == parsed


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", None),
        ("a 100w, b 300w, c 200w", "b"),
        ("a, b 1.5x, c 0.5x", "b"),
        ("a 0x, b", "b"),
        ("a 2x, b 2x", "a"),
        ("a 5x, b 1w", "b"),
        ("a nonsense", None),
    ],
)
def test_largest(value: str, url: str | None) -> None:
    assert largest(value) == url


def test_largest_of_several() -> None:
    assert largest_of(["a 100w", "", "b 200w, c 50w"]) == "b"
    assert largest_of([]) is None


@given(st.text(alphabet="ab ,()\t\n0123456789.-+ewxh\u0661", max_size=60) | st.text(max_size=60))
def test_never_raises(value: str) -> None:
    parsed = parse_srcset(value)
    assert (largest(value) is None) == (not parsed)
    for url, width, density in parsed:
        assert url
        assert not url.endswith(",")
        assert not any(space in url for space in " \t\n\f\r")
        assert width is None or density is None


@given(
    st.lists(
        st.tuples(
            st.text(alphabet="abc/:.?=", min_size=1, max_size=8),
            st.integers(1, 10**6),
        ),
        min_size=1,
    )
)
def test_what_is_written_is_read(candidates: list[tuple[str, int]]) -> None:
    value = ", ".join(f"{url} {width}w" for url, width in candidates)
    assert parse_srcset(value) == [(url, width, None) for url, width in candidates]
