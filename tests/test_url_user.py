"""User names and passwords of URLs: neither stored nor shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.crawl.inputs import Input, find_inputs
from webpairs.extract.candidates import CandidateWriter
from webpairs.extract.page import ExtractRules, ExtractStats, Page
from webpairs.extract.unit import extract_unit, plan_units
from webpairs.extract.url import join_url, normalise_url
from webpairs.run_folder.manifest import new_manifest
from webpairs.url_user import without_user

SECRET = "s3cret"


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (f"https://me:{SECRET}@a.example/x.jpg", "https://a.example/x.jpg"),
        (f"https://me:{SECRET}@evil@a.example/", "https://a.example/"),
        (f"HTTP://{SECRET}@a.example", "HTTP://a.example"),
        (f"http:\\\\me:{SECRET}@a.example/", "http:\\\\a.example/"),
        (f"s3://me:{SECRET}@bucket/x", "s3://bucket/x"),
        (f"cannot read 'https://me:{SECRET}@a/x' now", "cannot read 'https://a/x' now"),
        ("https://a.example/@me/x.jpg", "https://a.example/@me/x.jpg"),
        ("https://a.example?to=me@b.example", "https://a.example?to=me@b.example"),
        ('{"a":"https://a.example","b":"me@b.example"}',) * 2,
        ("me@a.example", "me@a.example"),
    ],
)
def test_texts(text: str, plain: str) -> None:
    assert without_user(text) == plain


@pytest.mark.parametrize("page", ["https://p.example/", f"https://me:{SECRET}@p.example/"])
@pytest.mark.parametrize(
    "source", [f"https://me:{SECRET}@a.example/x.jpg", f"//me:{SECRET}@a.example/x.jpg", "x.jpg"]
)
def test_urls_of_pages(page: str, source: str) -> None:
    host = "p" if source == "x.jpg" else "a"
    assert join_url(None, page, source) == f"https://{host}.example/x.jpg"


@given(st.text(st.sampled_from("abc:@/?#[]\\ %'\"<"), max_size=12))
def test_no_normal_url_has_a_user(rest: str) -> None:
    url = normalise_url(f"http://{rest}")
    if url is not None:
        assert "@" not in url.partition("://")[2].partition("/")[0]
        assert normalise_url(url) == url


def test_candidates_hold_no_secret(tmp_path: Path) -> None:
    url = f"https://me:{SECRET}@a.example/x.jpg"
    row = {"url": f"{url}#there", "text": "a boat", "origin": url, "more": [{"u": url}]}
    path = tmp_path / "a.jsonl"
    path.write_bytes(orjson.dumps(row))
    rules = ExtractRules(("alt",), ("src",), 0, ("any",))
    (unit,) = plan_units(find_inputs([str(path)]), tmp_path / "out", rules, archive=False)
    extract_unit(unit)
    (found,) = pq.read_table(unit.candidates_path).to_pylist()
    assert (found["url"], SECRET in str(found)) == ("https://a.example/x.jpg", False)
    assert found["url_given"] == "https://a.example/x.jpg#there"

    with CandidateWriter(tmp_path / "page.parquet", rules, ExtractStats()) as writer:
        page = Page(f"https://me:{SECRET}@p.example/", None, "a.warc", 0, 0)
        writer.add_page(page, [url], ["a boat"], ["src"], ["alt"], [0])
    (found,) = pq.read_table(tmp_path / "page.parquet").to_pylist()
    assert (found["page_url"], SECRET in str(found)) == ("https://p.example/", False)


def test_the_manifest_holds_no_secret() -> None:
    inputs = [Input(f"https://me:{SECRET}@a.example/t.csv", "t.csv", "table", 5)]
    manifest = new_manifest("build", {}, inputs, None, "1")
    assert manifest["inputs"][0]["path"] == "https://a.example/t.csv"


def test_messages_hold_no_secret(tmp_path: Path) -> None:
    """127.0.0.1:1 answers nobody."""
    url = f"http://me:{SECRET}@127.0.0.1:1/t.csv"
    done = subprocess.run(
        [sys.executable, "-m", "webpairs", "build", url, "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "http://127.0.0.1:1/t.csv" in done.stderr
    assert SECRET not in done.stdout + done.stderr
