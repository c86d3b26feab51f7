"""Licences: named, and found wherever they stand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.extract.license import License, LicenseLink, find_license, license_id

BY = "https://creativecommons.org/licenses/by/4.0/"
BY_SA = "http://creativecommons.org/licenses/by-sa/3.0/"
ZERO = "https://creativecommons.org/publicdomain/zero/1.0/"


@pytest.mark.parametrize(
    ("href", "named"),
    [
        (BY, "CC-BY-4.0"),
        ("http://www.creativecommons.org/licenses/by-nc-sa/3.0", "CC-BY-NC-SA-3.0"),
        ("//creativecommons.org/licenses/by-nd-nc/1.0/", "CC-BY-NC-ND-1.0"),
        ("creativecommons.org/licenses/by-nc-nd/2.5/", "CC-BY-NC-ND-2.5"),
        ("https://creativecommons.org/licenses/by/3.0/de/", "CC-BY-3.0-DE"),
        ("https://creativecommons.org/licenses/by/3.0/us/deed.en_US", "CC-BY-3.0-US"),
        ("https://creativecommons.org/licenses/by/3.0/igo/legalcode", "CC-BY-3.0-IGO"),
        ("https://creativecommons.org/licenses/by/4.0/deed.de", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by/4.0/legalcode.fr", "CC-BY-4.0"),
        ("https://creativecommons.org/licenses/by/4.0?ref=chooser-v1", "CC-BY-4.0"),
        ("HTTPS://CreativeCommons.org/Licenses/BY-SA/4.0/", "CC-BY-SA-4.0"),
        ("https://creativecommons.org/licenses/by/", "CC-BY"),
        ("https://creativecommons.org/licences/by/2.0/", "CC-BY-2.0"),
        ("https://creativecommons.org/licenses/sa/1.0/", "CC-SA-1.0"),
        (ZERO, "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/zero/1.0/deed.de", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "PDM-1.0"),
        ("https://creativecommons.org/licenses/publicdomain/", "CC-PDDC"),
        ("https://creativecommons.org/publicdomain/certification/1.0/us/", "CC-PDDC"),
        ("https://creativecommons.org/licenses/", None),
        ("https://creativecommons.org/licenses/GPL/2.0/", None),
        ("https://creativecommons.org/", None),
        ("https://example.com/?u=https://creativecommons.org/licenses/by/4.0/", None),
        ("https://notcreativecommons.org/licenses/by/4.0/", None),
        ("", None),
    ],
)
def test_id(href: str, named: str | None) -> None:
    assert license_id(href) == named


def test_the_surest_place_wins() -> None:
    places = [
        LicenseLink("a", "https://creativecommons.org/licenses/"),
        LicenseLink("a", BY_SA),
        LicenseLink("json-ld", BY_SA),
        LicenseLink("meta", BY_SA),
        LicenseLink("a", BY, "License noopener"),
        LicenseLink("link", ZERO, "license"),
    ]
    wheres = ["a", "a", "json-ld", "meta", "a", "link"]
    for num in range(1, len(places) + 1):
        for links in (places[:num], places[num - 1 :: -1]):
            found = find_license(links)
            assert found is not None
            assert (found.link, found.where) == (places[num - 1].href, wheres[num - 1])


def test_among_equals_the_last_wins() -> None:
    assert find_license([LicenseLink("a", BY_SA), LicenseLink("a", BY)]) == License(
        BY, "CC-BY-4.0", "a"
    )


def test_a_list_of_licences_is_kept_as_laion_did_but_names_none() -> None:
    link = "https://creativecommons.org/licenses/"
    assert find_license([LicenseLink("a", link)]) == License(link, None, "a")


def test_none() -> None:
    assert find_license([]) is None
    assert find_license([LicenseLink("a", "https://example.com/")]) is None
    assert find_license([LicenseLink("a", BY + "x" * 1000)]) is None


@given(st.lists(st.tuples(st.sampled_from(["a", "link", "meta"]), st.text(), st.text())))
def test_never_raises(links: list[tuple[str, str, str]]) -> None:
    found = find_license(LicenseLink(*link) for link in links)  # type: ignore[arg-type]
    assert found is None or found.where in {link[0] for link in links}
