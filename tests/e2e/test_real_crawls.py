"""Whole builds of real crawls give exactly what an independent script finds in them.

`tests/support/independent.py` shares no code with webpairs: warcio, lxml and Pillow. The crawls are
not in the repository: the folder `shared` beside the clone, or WEBPAIRS_CRAWLS, has them; the crawl
of a real site is made on the spot where nginx, wget and its Debian package can be had.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.dataset as ds
import pytest
from support.independent import Found, expect

from webpairs.options import BuildOptions
from webpairs.run.run import build_dataset
from webpairs.run_folder.funnel import Funnel

SHARED = Path(__file__).parents[3] / "shared"
SCRIPT = SHARED / "bench" / "crawl_site.sh"
GIMP_PORT = 18_091
"""The script's own, which the crawl's URLs hold."""
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


@pytest.fixture(scope="module")
def gimp_help(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a crawl of the site that Debian's gimp-help-en is, made on this machine."""
    return _crawl_gimp_help(tmp_path_factory.mktemp("gimp-help"))


@pytest.mark.timeout(600)
def test_crawl_of_a_real_site(gimp_help: Path, tmp_path: Path) -> None:
    funnel, found = _assert_equal_to_independent(gimp_help, tmp_path / "out")
    # The package may be updated; these hold of gimp-help-en 2.10 and fail loudly if we lose any.
    assert len(found.candidates) >= 1_700
    assert funnel.samples >= 1_300


@pytest.mark.timeout(600)
def test_the_site_gives_live_what_its_archive_gives(gimp_help: Path, tmp_path: Path) -> None:
    """Fetched from the server that was crawled, every image is the one in the archive."""
    from_archive = _build(gimp_help, tmp_path / "archive", images="archive")
    with _serve_gimp_help():
        from_web = _build(
            gimp_help,
            tmp_path / "web",
            images="web",
            allow_network=("127.0.0.0/8",),
            per_host=64,
            per_host_rate=0,
        )
    assert from_web.samples == from_archive.samples > 0
    columns = ["uid", "URL", "TEXT", "WIDTH", "HEIGHT", "sha256", "stored_sha256", "similarity"]
    by_uid = [
        {row["uid"]: row for row in _rows(tmp_path / source, "metadata", columns)}
        for source in ("archive", "web")
    ]
    assert by_uid[0] == by_uid[1]


@contextmanager
def _serve_gimp_help() -> Generator[None]:
    process = subprocess.Popen([str(SCRIPT), "--serve", "gimp-help-en"], start_new_session=True)
    try:
        for _ in range(600):
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", GIMP_PORT)) == 0:
                    break
            time.sleep(0.1)
        else:
            pytest.skip("the site could not be served here")
        yield
    finally:
        process.terminate()
        process.wait(30)


def _crawl_gimp_help(folder: Path) -> Path:
    given = os.environ.get("WEBPAIRS_GIMP_CRAWL")
    if given:
        return Path(given)
    absent = [tool for tool in ("nginx", "wget", "dpkg", "apt-get") if shutil.which(tool) is None]
    if absent or not SCRIPT.exists():
        what = ", ".join(absent) or "../shared/bench/crawl_site.sh"
        pytest.skip(f"needs {what}, or the crawl itself in WEBPAIRS_GIMP_CRAWL")
    warc = folder / "gimp.warc.gz"
    command = [str(SCRIPT), "gimp-help-en", "gimp/2.0/help/en/index.html", str(warc)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    if done.returncode != 0:
        pytest.skip(f"the crawl could not be made here: {done.stderr[-300:]}")
    return warc


def _assert_equal_to_independent(warc: Path, out: Path) -> tuple[Funnel, Found]:
    found = expect([warc])
    funnel = _build(warc, out, images="archive")
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
    return funnel, found


def _build(warc: Path, out: Path, **options: Any) -> Funnel:
    """Build from a crawl, keeping whatever was scored."""
    result = build_dataset(
        BuildOptions(
            inputs=(str(warc),),
            out=str(out),
            model="tiny",
            threshold=-1.0,
            languages=("any",),
            keep_opted_out=True,
            **options,
        )
    )
    assert result.funnel.balanced
    return result.funnel


def _rows(out: Path, folder: str, columns: list[str]) -> list[dict[str, Any]]:
    files = [str(path) for path in sorted((out / folder).glob("*.parquet"))]
    return ds.dataset(files).to_table(columns=columns).to_pylist() if files else []
