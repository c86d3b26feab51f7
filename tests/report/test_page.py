"""The page is whole, runs nothing, reaches nowhere, and shows the web's texts as texts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from lxml import html
from support.foreign_folders import laion_row, write_laion_metadata
from support.hand_made_runs import candidate, commit_shard, sample_row, start_run, write_rows
from support.reports import report

from webpairs.clusters import k_means
from webpairs.dataset.dataset import open_dataset
from webpairs.errors import ConfigError
from webpairs.progress import RunProgress
from webpairs.report import samples as samples_module
from webpairs.report.gather import gather
from webpairs.report.map import draw_map
from webpairs.report.options import ReportOptions
from webpairs.report.page import page as make_page
from webpairs.report.write import write_report
from webpairs.run_folder.layout import ShardFiles
from webpairs.run_folder.schema import METADATA

HOSTILE = (
    "<script>alert(1)</script>",
    "</style></title></svg><script>alert(2)</script>",
    "<img src=x onerror=alert(3)>",
    "\"><svg onload=alert(4)>' onmouseover='alert(5)",
    "{{ 7 * 7 }}{% raw %}",
    "]]><![CDATA[<b>",
    "<!-- --!>",
    "&lt;b&gt; &amp; &#x202e;",
    "javascript:alert(6)",
    "\u202egnp.exe \u2067\u2066 \u200f\u061c",
    "a\x00b\x1b[31mc\x07\x85d\x9b",
    "z\u0301" + "\u0301" * 100,
    "$\\frac{a}{0}$ $x^{$",
    "\U000e0041\ufeff\ue000",
)
TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "header",
        "nav",
        "main",
        "section",
        "footer",
    ),
    *("h1", "h2", "h3", "p", "a", "b", "i", "small", "span", "bdi", "div", "img"),
    *("ul", "ol", "li", "dl", "dt", "dd", "details", "summary", "label", "input"),
    *("table", "thead", "tbody", "tr", "th", "td"),
    *("svg", "g", "path", "use", "defs", "text", "rect", "clippath"),
}


def tree(page: str) -> Any:
    return html.document_fromstring(page.encode(), parser=html.HTMLParser(encoding="utf-8"))


def check_page(page: str) -> None:
    """Check that nothing in a page runs, loads or leads away."""
    root = tree(page)
    tags = Counter(one.tag for one in root.iter() if isinstance(one.tag, str))
    assert set(tags) <= TAGS, set(tags) - TAGS
    for one in root.iter():
        for name, value in one.attrib.items():
            assert not name.lower().startswith("on"), (one.tag, name)
            if name in ("href", "xlink:href"):
                assert value.startswith("#"), value
            if name == "src":
                assert re.fullmatch(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", value)
            if name == "style":
                assert "url(" not in value.replace("url(#", ""), value
    ids = [one.attrib["id"] for one in root.iter() if "id" in one.attrib]
    assert [name for name, num in Counter(ids).items() if num > 1] == []
    for one in root.iter("a", "use"):
        target = one.attrib["href"][1:]
        assert target in ids, target
    (policy,) = root.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    assert policy.startswith("default-src 'none'")
    assert "script-src" not in policy
    assert "//" not in "".join(root.xpath("//style/text()")), "a stylesheet that loads"
    assert len(root.xpath("//h1")) == 1
    for place in (*range(32), *range(0x7F, 0xA0), 0x202E, 0x2066, 0x2067, 0xFEFF, 0xE0041):
        if place != 10:
            assert chr(place) not in page.replace("\u2068", ""), hex(place)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run whose every text is hostile, also those that are not captions."""
    out = tmp_path_factory.mktemp("hostile") / "<b>run"
    rows = [candidate(f"s{place}", text) for place, text in enumerate(HOSTILE)]
    manifest = {
        "model": {
            "dim": 512,
            "spec": HOSTILE[0],
            "weights_sha256": HOSTILE[1],
            "runtime": HOSTILE[2],
            "threshold": 0.3,
        },
        "versions": {"<i>": HOSTILE[3]},
        "webpairs": HOSTILE[4],
        "inputs": [{"path": "/home/me/x", "name": HOSTILE[5], "kind": HOSTILE[9], "bytes": 1}],
    }
    keys = start_run(out, 2 * len(rows), 2, len(rows), **manifest)
    commit_shard(out, keys, 0, rows, {row["uid"]: "sample" for row in rows})
    commit_shard(out, keys, 1, rows, {row["uid"]: "similarity" for row in rows})
    samples = [
        sample_row(keys.sample(0, place), row)
        | {
            "URL": f"https://{text.split('/')[0]}/x.jpg",
            "LICENSE": text,
            "NSFW": text,
            "similarity": 0.3 + place / 1000,
            "language": text,
            "license_id": text,
            "license_where": text,
            "opt_out": text,
            "format": text,
            "crawl_file": text,
            "permissions": text,
            "tags": [{"name": text, "score": 0.5}],
        }
        for place, (text, row) in enumerate(zip(HOSTILE, rows, strict=True))
    ]
    write_rows(ShardFiles.of(out, keys.shard(0)).metadata, samples, METADATA)
    drops = ShardFiles.of(out, keys.shard(1)).drops
    table = pq.read_table(drops)
    place = table.schema.get_field_index("similarity")
    pq.write_table(table.set_column(place, table.schema.field(place), [[0.2] * len(rows)]), drops)
    return out


def test_hostile_texts_are_texts(hostile: Path, tmp_path: Path) -> None:
    page, numbers = report(hostile, out=tmp_path)
    check_page(page)
    root = tree(page)
    shown = [one.text_content() for one in root.iter("bdi")]
    for text in (*HOSTILE[:4], HOSTILE[6], HOSTILE[7], HOSTILE[8], HOSTILE[12]):
        assert text in shown, text
    assert "[U+202E]gnp.exe [U+2067][U+2066] [U+200F][U+061C]" in shown
    assert "/home/me" not in page + json.dumps(numbers)
    told = numbers["datasets"][0]
    assert [one["text"] for one in told["lowest"]] == list(HOSTILE[:12]), "numbers hide nothing"
    assert dict(map(tuple, told["names"]["tag"]["top"])) == dict.fromkeys(HOSTILE, 1)


def test_hostile_texts_beside_each_other(hostile: Path, loose_run: Path, tmp_path: Path) -> None:
    page, _ = report(hostile, loose_run, out=tmp_path)
    check_page(page)


def test_hostile_metadata_of_others(tmp_path: Path) -> None:
    rows = [laion_row(place, TEXT=text, URL=text) for place, text in enumerate(HOSTILE)]
    write_laion_metadata(tmp_path / "laion" / "part.parquet", rows)
    page, _ = report(tmp_path / "laion", out=tmp_path)
    check_page(page)


def test_the_demos_page_with_pictures(loose_run: Path, tmp_path: Path) -> None:
    page, _ = report(loose_run, out=tmp_path, images=True)
    check_page(page)
    root = tree(page)
    assert len(root.xpath("//section[@id='inside']//img")) == 24
    assert len(root.xpath("//section[@id='similarity']//img")) == 12
    assert len(root.xpath("//section[@id='map']//img")) >= 6
    without, _ = report(loose_run, out=tmp_path)
    assert "<img" not in without


def test_counts_and_their_parts_stand_apart(loose_run: Path, tmp_path: Path) -> None:
    root = tree(report(loose_run, out=tmp_path)[0])
    cells = root.xpath("//table[contains(@class, 'bars')]//td[small/text()]")
    assert len(cells) > 20
    for cell in cells:
        assert re.fullmatch(r"[−≤ ]*[\d,]+ <?[\d.]+%", cell.text_content()), cell.text_content()


def test_contents_stay_and_long_lists_are_cut_on_a_phone(loose_run: Path, tmp_path: Path) -> None:
    root = tree(report(loose_run, out=tmp_path)[0])
    # A sticky list scrolls away with the element that holds it: here that is the page.
    (contents,) = root.xpath("/html/body/nav")
    targets = [one.attrib["href"][1:] for one in contents.iter("a")]
    assert targets == root.xpath("//section/@id")
    lists = root.xpath("//*[contains(@class, 'cut')]")
    for one in lists:
        num = len(one.xpath("./li | ./tbody/tr"))
        before = one.getprevious()
        has_switch = before is not None and before.get("class") == "rest"
        assert has_switch == (num > 6)
        if has_switch:
            assert before.text_content().split() == ["Show", "all", str(num)]
    assert any(one.getprevious() is not None for one in lists)


def test_a_table_behind_every_plot(loose_run: Path, tmp_path: Path) -> None:
    root = tree(report(loose_run, out=tmp_path)[0])
    figures = root.xpath("//div[contains(@class, 'figure')]")
    assert len(figures) >= 6
    for figure in figures:
        assert figure.xpath(".//svg/@aria-label")
        assert figure.xpath(".//details//tbody/tr/td[@class='num']")


def test_tagged_pictures_are_blurred(loose_run: Path, tmp_path: Path) -> None:
    ds = open_dataset(loose_run)
    one = gather(ds, tmp_path / "spill", with_map=False, progress=RunProgress(quiet=True))
    first, second, *rest = one.random
    random = (
        replace(first, nsfw="NSFW"),
        replace(second, nsfw="UNLIKELY"),
        *rest,
    )
    where = [(example.place, example.row) for example in random]
    pictures = dict.fromkeys(where, "data:image/jpeg;base64,AAAA")
    root = tree(make_page([replace(one, random=random)], pictures))
    images = root.xpath("//section[@id='inside']//img")
    assert [image.attrib.get("class") for image in images] == ["blurred", *[None] * 23]


def test_the_same_dataset_gives_the_same_bytes(
    loose_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = report(loose_run, out=tmp_path, images=True)
    monkeypatch.setattr(samples_module, "STREAM_ROWS", 7)
    assert report(loose_run, out=tmp_path, images=True) == first


def test_two_folders_are_compared(loose_run: Path, tmp_path: Path) -> None:
    rows = [laion_row(place, similarity=0.31) for place in range(50)]
    write_laion_metadata(tmp_path / "laion" / "part.parquet", rows)
    page, numbers = report(loose_run, tmp_path / "laion", out=tmp_path)
    check_page(page)
    a, b = numbers["datasets"]
    told = {one["what"]: one for one in numbers["differences"]}
    assert told["samples"] == {
        "what": "samples",
        "a": a["samples"],
        "b": 50,
        "difference": 50 - a["samples"],
    }
    found = a["run"]["funnel"]["candidates"]
    assert told["candidates found"]["a"] == found
    assert told["candidates found"]["b"] is None
    assert told["candidates found"]["difference"] is None
    for reason, num in a["run"]["funnel"]["drops"].items():
        assert told[f"dropped: {reason}"]["a"] == num
    assert told["median similarity"]["b"] == b["numbers"]["similarity"]["quantiles"]["0.5"] == 0.31


def test_nothing_is_left_beside_the_report(loose_run: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in loose_run.rglob("*")}
    report(loose_run, out=tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]
    assert {path: path.stat().st_mtime_ns for path in loose_run.rglob("*")} == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"out": "report.pdf"}, ["--out report.pdf", ".html"]),
        ({"out": "https://example.org/report.html"}, ["is a URL"]),
        ({"out": "absent/folder/report.html"}, ["there is no folder", "absent/folder"]),
        ({"folders": ("a", "a")}, ["named twice"]),
        ({"folders": ("a", "b"), "images": True}, ["--images", "one folder"]),
        ({"folders": ("a", "b", "c")}, ["3 folders"]),
    ],
)
def test_bad_options(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        ReportOptions(**{"folders": ("a",), **change})
    for word in words:
        assert word in str(caught.value)


def test_the_command(loose_run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "webpairs", "report", str(loose_run), "--out", "page.html"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "report: page.html\nnumbers: page.json\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "page.json"]
    refused = subprocess.run([*command, "page.html"], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 2
    assert refused.stderr.startswith("webpairs: ")


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a dataset"):
        write_report(ReportOptions(folders=(str(tmp_path),), out=str(tmp_path / "report.html")))
    assert list(tmp_path.iterdir()) == []


def test_clusters_are_found() -> None:
    rng = np.random.default_rng(5)
    centres = np.eye(3, 8, dtype=np.float32) * 10
    truth = rng.integers(0, 3, 200)
    points = (centres[truth] + rng.normal(size=(200, 8))).astype(np.float32)
    labels, found = k_means(points, 3, seed=0)
    pairs = {(int(one), int(other)) for one, other in zip(truth, labels, strict=True)}
    assert len(pairs) == 3, "each cluster is one of the truth"
    assert len(found) == 3
    same, _ = k_means(np.repeat(points[:1], 9, axis=0), 4, seed=0)
    assert set(same.tolist()) == {0}, "points that coincide are one cluster"
    assert draw_map([]) is None
