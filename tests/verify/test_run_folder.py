"""Whole runs of every kind are right; what is stopped, empty or large is told as it is."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from PIL import Image
from support import web_run
from support.damage import change_embeddings, change_json, change_rows, files_of, scale, set_row
from support.run_folders import SmallCrawl
from typer.testing import CliRunner

from webpairs import BuildOptions, ExtractOptions, build_dataset, extract_candidates
from webpairs.cli import app
from webpairs.dataset.problems import Problem, Problems
from webpairs.demo.crawl_files import write_crawl_files
from webpairs.demo.server import served
from webpairs.errors import ConfigError
from webpairs.options import RetryOptions
from webpairs.progress import RunProgress, StageTotal
from webpairs.run.run import retry_dataset
from webpairs.verify.findings import NUM_LISTED, Fault, Findings
from webpairs.verify.ids import check_size
from webpairs.verify.verify import verify_dataset


@pytest.fixture
def run(loose_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(loose_run, tmp_path / "run"))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "none", "resize": "none"},
        {"model": "tiny", "threshold": 1.0, "shard_size": 60},
        {"model": "tiny", "keep_opted_out": True, "limit": 30, "resize": "keep-ratio"},
    ],
    ids=["received pictures, not scored", "nothing kept", "opted out, limited"],
)
def test_runs_of_other_kinds_are_right(
    little_web: SmallCrawl, tmp_path: Path, changes: dict[str, Any]
) -> None:
    out = tmp_path / "out"
    inputs = tuple(map(str, little_web.files.warc))
    options = BuildOptions(inputs=inputs, images="archive", out=str(out), workers=1, **changes)
    funnel = build_dataset(options).funnel
    checked = verify_dataset(out, deep=True, workers=1)
    assert checked.findings.listed == []
    assert checked.num_samples == funnel.samples
    assert (funnel.samples > 0) == (changes.get("threshold") != 1.0)


def test_a_run_with_a_retry_is_right(tmp_path: Path) -> None:
    crawl, out = tmp_path / "crawl", tmp_path / "out"
    crawl.mkdir()
    web, port = web_run.draw(crawl)
    files = write_crawl_files(web, crawl)
    resolver = web_run.resolver_of(web)
    build_dataset(web_run.options_of(list(files.warc), out, shard_size=40), resolver=resolver)
    assert verify_dataset(out, workers=1).findings.listed == []
    with served(web, port):
        retried = retry_dataset(RetryOptions(out=str(out), **web_run.REACH), resolver=resolver)
    checked = verify_dataset(out, deep=True, workers=1)
    assert checked.findings.listed == []
    assert checked.num_samples == retried.funnel.samples > 0
    (out / "stats" / "retry-00000.json").write_bytes(b"{")
    assert "stats_broken" in verify_dataset(out, workers=1).findings.counts()


def test_what_is_below_the_threshold_is_found(run: Path) -> None:
    manifest = orjson.loads((run / "manifest.json").read_bytes())
    change_json(run / "manifest.json", model=manifest["model"] | {"threshold": 0.3})
    counts = verify_dataset(run, workers=1).findings.counts()
    similar = [row for row in _similarities(run) if row < 0.3]
    assert counts == {"value_wrong": len(similar)}
    assert similar


def _similarities(run: Path) -> list[float]:
    import pyarrow.parquet as pq

    return [
        value
        for path in sorted((run / "metadata").iterdir())
        for value in pq.read_table(path).column("similarity").to_pylist()
    ]


def test_a_run_that_was_stopped(run: Path) -> None:
    """What it has is checked; what it lacks, and that it lacks it, is told."""
    change_json(run / "manifest.json", finished=None, funnel=None)
    (run / "work").mkdir()
    (run / "work" / "00003.parquet").write_bytes(b"")
    (run / "images" / ".tmp-7-00003.tar").write_bytes(b"")
    files = files_of(run, "00003")
    for path in (*files.data, files.stats, run / "columns/texts_per_image/00003.parquet"):
        path.unlink(missing_ok=True)
    checked = verify_dataset(run, workers=1)
    assert checked.findings.counts() == {"unfinished": 1, "shard_missing": 1}
    assert all("type the" in one.line for one in checked.findings.listed)


def test_workers_find_what_one_process_finds(run: Path) -> None:
    change_rows(run, set_row(SAMPLE_ID=5))
    change_embeddings(run, scale(1.01))
    (run / "images" / "00004.tar").unlink()
    one, two = (verify_dataset(run, deep=True, workers=workers) for workers in (1, 2))
    assert one.findings.listed == two.findings.listed
    assert one.as_json() == two.as_json()
    assert one.findings.counts() == {
        "file_missing": 1,
        "key_wrong": 1,
        "norm_wrong": 1,
        "similarity_wrong": 1,
    }


def test_many_findings_are_counted_and_few_listed(run: Path) -> None:
    change_embeddings(run, lambda rows: rows * np.float16(2))
    num = len(np.load(files_of(run).image_embeddings))
    findings = verify_dataset(run, workers=1).findings
    assert num > NUM_LISTED
    assert findings.counts() == {"norm_wrong": num}
    assert len(findings.listed) == NUM_LISTED
    ((_, more),) = findings.unlisted.items()
    assert more == num - NUM_LISTED


class Told(RunProgress):
    """Add up what a bar would show."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.total = self.done = self.most = 0.0

    @contextmanager
    def stage(self, total: StageTotal) -> Generator[None]:
        self.total = total.total
        yield

    def add(self, counts: Mapping[str, float]) -> None:
        self.done += counts["done"]
        self.most = max(self.most, self.done)


def test_the_bar_shows_all_that_is_there_and_no_more(run: Path) -> None:
    (run / "images" / "00002.tar").unlink()
    (run / "metadata" / "00003.parquet").write_bytes(b"PAR1")
    folders = ("images", "metadata", "embeddings", "drops")
    paths = [path for folder in folders for path in (run / folder).rglob("*[0-9].*")]
    size_mb = sum(path.stat().st_size for path in paths) / 1e6
    told = Told()
    verify_dataset(run, workers=1, progress=told)
    assert told.total == pytest.approx(size_mb)
    assert told.done == told.most == pytest.approx(size_mb)


def test_what_holds_no_samples_is_refused(little_web: SmallCrawl, tmp_path: Path) -> None:
    out = tmp_path / "out"
    extract_candidates(ExtractOptions(inputs=(str(little_web.files.wat[0]),), out=str(out)))
    with pytest.raises(ConfigError, match="no samples to verify"):
        verify_dataset(out)
    with pytest.raises(ConfigError, match="is not a dataset"):
        verify_dataset(tmp_path)
    with pytest.raises(ConfigError, match="--workers 0"):
        verify_dataset(out, workers=0)


def test_a_picture_lying_on_its_side_has_the_size_it_is_shown_with() -> None:
    out = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (40, 20)).save(out, "JPEG", exif=exif)
    findings = Findings()
    check_size(out.getvalue(), (20, 40), "a.tar", "a", findings)
    assert not findings
    check_size(out.getvalue(), (20, 41), "a.tar", "a", findings)
    assert findings.counts() == {"size_wrong": 1}


def test_every_fault_has_a_fix_and_a_line_in_the_docs() -> None:
    assert all(fault.fix for fault in Fault)
    page = (Path(__file__).parents[2] / "docs" / "verify.md").read_text()
    assert [fault for fault in Fault if f"`{fault}`" not in page] == []


def test_every_problem_that_readers_meet_is_a_fault() -> None:
    problems = Problems()
    for problem in Problem:
        problems.of_shard(problem, "0")
        problems.of_shard(problem, "1", num=3)
    findings = Findings()
    findings.add_problems(problems, str)
    assert sum(findings.counts().values()) == 4 * len(Problem)


@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_the_verb(run: Path, deep: tuple[str, ...]) -> None:
    line = ["verify", str(run), "--workers", "1", *deep]
    good = CliRunner().invoke(app, line)
    assert good.exit_code == 0
    assert good.stdout.endswith(f"{', deep' if deep else ''}: nothing is wrong\n")
    change_embeddings(run, lambda rows: rows * np.float16(2))
    bad = CliRunner().invoke(app, line)
    assert bad.exit_code == 1
    lines = bad.stdout.splitlines()
    assert len(lines) == (NUM_LISTED + 1) * (2 if deep else 1) + 1
    assert lines[0].startswith("embeddings/img_emb/img_emb_00001.npy 00001")
    assert "norm_wrong: its length is 1.99" in lines[0]
    assert Fault.NORM_WRONG.fix in lines[0]
    as_json = CliRunner().invoke(app, [*line, "--json"])
    assert as_json.exit_code == 1
    told = orjson.loads(as_json.stdout)
    assert told == verify_dataset(run, deep=bool(deep), workers=1).as_json()
    assert not told["good"]


def fifo(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize("make", [fifo, endless, dangling])
@pytest.mark.parametrize(
    "name", ["index/manifest.json", "report/page.html", "columns/x/00000.parquet", "notes.txt"]
)
def test_what_is_not_a_file_is_named(run: Path, name: str, make: Callable[[Path], None]) -> None:
    (run / name).parent.mkdir(parents=True, exist_ok=True)
    make(run / name)
    listed = verify_dataset(run, workers=1).findings.listed
    assert (name, Fault.FILE_BROKEN) in {(one.file, one.fault) for one in listed}
