"""Whole builds of real crawls give exactly what an independent script finds in them.

`tests/independent.py` shares no code with webpairs: warcio, lxml and Pillow. The crawls are not in
the repository: the folder `shared` beside the clone, or WEBPAIRS_CRAWLS, has them; the crawl of a
real site is made on the spot where nginx, wget and its Debian package can be had.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from independent import Found, expect

from webpairs.funnel import Funnel
from webpairs.options import BuildOptions
from webpairs.run import build_dataset

SHARED = Path(__file__).parents[2] / "shared"
CRAWLS = Path(os.environ.get("WEBPAIRS_CRAWLS", SHARED / "data" / "warc"))
NAMES = (
    "archive-org-2008.warc.gz",
    "cc-2024-22-one-page.warc.gz",
    "iana-2014.warc.gz",
    "wikipedia-2012-01-18.warc.gz",
)


@pytest.mark.parametrize("name", NAMES)
def test_build_equals_independent_reading(name: str, tmp_path: Path) -> None:
    path = CRAWLS / name
    if not path.exists():
        pytest.skip(f"needs the crawl {name} in WEBPAIRS_CRAWLS or in ../shared/data/warc")
    _assert_equal_to_independent(path, tmp_path / "out")


@pytest.mark.timeout(600)
def test_crawl_of_a_real_site(tmp_path: Path) -> None:
    warc = _crawl_gimp_help(tmp_path)
    funnel, found = _assert_equal_to_independent(warc, tmp_path / "out")
    # The package may be updated; these hold of gimp-help-en 2.10 and fail loudly if we lose any.
    assert len(found.candidates) >= 1_700
    assert funnel.samples >= 1_300


def _crawl_gimp_help(folder: Path) -> Path:
    given = os.environ.get("WEBPAIRS_GIMP_CRAWL")
    if given:
        return Path(given)
    script = SHARED / "bench" / "crawl_site.sh"
    absent = [tool for tool in ("nginx", "wget", "dpkg", "apt-get") if shutil.which(tool) is None]
    if absent or not script.exists():
        what = ", ".join(absent) or "../shared/bench/crawl_site.sh"
        pytest.skip(f"needs {what}, or the crawl itself in WEBPAIRS_GIMP_CRAWL")
    warc = folder / "gimp.warc.gz"
    command = [str(script), "gimp-help-en", "gimp/2.0/help/en/index.html", str(warc)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    if done.returncode != 0:
        pytest.skip(f"the crawl could not be made here: {done.stderr[-300:]}")
    return warc


def _assert_equal_to_independent(warc: Path, out: Path) -> tuple[Funnel, Found]:
    found = expect([warc])
    options = BuildOptions(
        inputs=(str(warc),),
        images="archive",
        out=str(out),
        model="tiny",
        threshold=-1.0,
        languages=("any",),
        keep_opted_out=True,
    )
    result = build_dataset(options)
    samples = _rows(out, "metadata", ["URL", "TEXT", "WIDTH", "HEIGHT", "sha256"])
    drops = _rows(out, "drops", ["url", "text"])
    candidates = {(row["URL"], row["TEXT"]) for row in samples}
    candidates |= {(row["url"], row["text"]) for row in drops}
    assert candidates == found.candidates
    ours = sorted(
        (row["URL"], row["TEXT"], row["WIDTH"], row["HEIGHT"], row["sha256"].hex())
        for row in samples
    )
    theirs = sorted((s.url, s.text, s.width, s.height, s.sha256) for s in found.samples)
    assert ours == theirs
    assert result.funnel.balanced
    return result.funnel, found


def _rows(out: Path, folder: str, columns: list[str]) -> list[dict[str, object]]:
    files = [str(path) for path in sorted((out / folder).glob("*.parquet"))]
    return ds.dataset(files).to_table(columns=columns).to_pylist() if files else []
