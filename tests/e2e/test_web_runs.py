"""Runs whose images come from the web: the truth, kills, resumes, and retries of what failed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from support import web_run
from support.run_folders import check_committed_shards, check_nothing_left, wait_for

from webpairs.demo.crawl_files import write_crawl_files
from webpairs.demo.hostile_check import check_hostile
from webpairs.demo.run import run_demo
from webpairs.demo.server import served
from webpairs.drops import Drop
from webpairs.errors import ConfigError, RunError
from webpairs.options import RetryOptions
from webpairs.run.run import build_dataset, retry_dataset
from webpairs.run_folder.funnel import read_funnel
from webpairs.run_folder.status import read_status

SHARD_SIZE = "40"


def content(out: Path) -> dict[str, Any]:
    """Return what must not depend on kills: every byte but times and the column fetch_date."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if not path.is_file() or name == ".lock" or name.startswith(("manifest", "stats/")):
            continue
        if name.startswith("metadata/"):
            found[name] = pq.read_table(path).drop_columns(["fetch_date"]).to_pylist()
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def start(crawl: Path, out: Path, workers: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, web_run.__file__, str(crawl), str(out), SHARD_SIZE, workers],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("little-web")


@pytest.fixture(scope="module")
def undisturbed(crawl: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    process = start(crawl, out, "1")
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    return out


@pytest.mark.parametrize("images", ["web", "archive"])
def test_the_demo_comes_out_as_the_truth_has_it(tmp_path: Path, images: str) -> None:
    result = run_demo(tmp_path, images=images)
    assert not result.score.miscounts
    assert result.score.precision > 0.97
    assert result.score.recall > 0.97
    drops = result.build.funnel.drops
    assert (Drop.NOT_ARCHIVED in drops) == (images == "archive")
    assert (Drop.ADDRESS_FORBIDDEN in drops) == (images == "web")
    again = run_demo(tmp_path, images=images)
    assert again.build.funnel == result.build.funnel


def test_the_demo_of_another_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'web'"):
        run_demo(tmp_path, images="wen")
    assert not list(tmp_path.iterdir())


def test_a_build_meets_the_hostile_web(tmp_path: Path) -> None:
    check = check_hostile(tmp_path / "hostile")
    assert not [one for one in check.meetings if not one.agrees]
    assert check.num_trapped == 0
    assert check.passed
    assert len(check.meetings) > 200


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_killed_a_few_times(crawl: Path, undisturbed: Path, tmp_path: Path, workers: str) -> None:
    out = tmp_path / "out"
    killed: list[int] = []
    for num_shards in (1, 3):
        process = start(crawl, out, workers)
        stats = out / "stats"
        assert wait_for(
            lambda run=process, num=num_shards, folder=stats: (
                run.poll() is not None or len(list(folder.glob("[0-9]*.json"))) >= num
            ),
            90,
        )
        if process.poll() is None:
            (os.killpg if num_shards == 3 else os.kill)(process.pid, signal.SIGKILL)
            killed.append(process.pid)
        process.communicate(timeout=60)
        check_committed_shards(out)
    process = start(crawl, out, workers)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    assert content(out) == content(undisturbed)
    check_nothing_left(out, killed)
    assert killed, "no run was killed: nothing was tested"


# Retry


@pytest.fixture
def failed(crawl: Path, tmp_path: Path) -> Path:
    """Build while the site is down: every candidate that gets so far is `connect`."""
    out = tmp_path / "out"
    web, _ = web_run.draw(crawl)
    files = write_crawl_files(web, crawl)
    options = web_run.options_of(list(files.warc), out, shard_size=int(SHARD_SIZE))
    result = build_dataset(options, resolver=web_run.resolver_of(web))
    assert result.funnel.samples == 0
    assert result.kept_nothing
    (line,) = result.advice
    assert "nothing was kept" in line
    assert "connect" in line
    return out


def retry(crawl: Path, out: Path, **changes: Any) -> int:
    """Retry with the site up; return how many samples there are then."""
    web, port = web_run.draw(crawl)
    options = RetryOptions(out=str(out), **{**web_run.REACH, **changes})
    with served(web, port):
        return retry_dataset(options, resolver=web_run.resolver_of(web)).funnel.samples


def samples(out: Path) -> dict[bytes, dict[str, Any]]:
    leave_out = {"key", "SAMPLE_ID", "fetch_date"}
    return {
        row["uid"]: {name: value for name, value in row.items() if name not in leave_out}
        for path in sorted((out / "metadata").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    }


def test_a_retry_makes_what_a_build_would_have_made(
    crawl: Path, undisturbed: Path, failed: Path
) -> None:
    before = read_funnel(failed)
    num_samples = retry(crawl, failed)
    funnel, wanted = read_funnel(failed), read_funnel(undisturbed)
    assert num_samples == wanted.samples > 0
    assert samples(failed) == samples(undisturbed)
    assert (funnel.found, funnel.samples, +funnel.drops) == (
        wanted.found,
        wanted.samples,
        +wanted.drops,
    )
    assert funnel.balanced
    assert before.drops[Drop.CONNECT] > funnel.drops[Drop.CONNECT] > 0
    status = read_status(failed)
    assert status.finished
    assert [one.number for one in status.retries] == [0]
    # Texts are counted anew, over the old shards and the new.
    rows = [
        row
        for path in (failed / "columns" / "texts_per_image").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    ]
    assert len(rows) == num_samples


def test_a_retry_asks_the_web_as_its_build_did(
    crawl: Path, undisturbed: Path, failed: Path
) -> None:
    """Without --allow-network and the like given again, nothing ends as address_forbidden."""
    web, port = web_run.draw(crawl)
    with served(web, port):
        result = retry_dataset(RetryOptions(out=str(failed)), resolver=web_run.resolver_of(web))
    assert result.funnel.samples == read_funnel(undisturbed).samples > 0
    assert result.gain is not None
    assert result.gain.gained == {Drop.CONNECT: result.funnel.samples}
    assert not result.kept_nothing
    manifest = orjson.loads((failed / "manifest.json").read_bytes())
    assert manifest["web"]["allow_network"] == list(web_run.REACH["allow_network"])
    assert "web_changes" not in manifest


def test_a_build_goes_on_as_it_began(
    crawl: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line typed again without --allow-network ends with the same dataset, not an empty one."""
    from webpairs.run import run

    def stops(*arguments: Any) -> Any:
        raise RunError("the disk is full")

    out = tmp_path / "out"
    web, port = web_run.draw(crawl)
    files = list(write_crawl_files(web, crawl).warc)
    options = web_run.options_of(files, out, shard_size=int(SHARD_SIZE), workers=1)
    monkeypatch.setattr(run, "build_shard", stops)
    with pytest.raises(RunError, match="the disk is full"):
        build_dataset(options, resolver=web_run.resolver_of(web))
    monkeypatch.undo()
    again = replace(options, **dict.fromkeys(web_run.REACH))
    with served(web, port):
        build_dataset(again, resolver=web_run.resolver_of(web))
    assert content(out) == content(undisturbed)


def test_a_retry_of_nothing_changes_nothing(crawl: Path, failed: Path) -> None:
    before = content(failed)
    assert retry(crawl, failed, reasons=("http_5xx", "too_slow")) == 0
    assert content(failed) == before
    assert not list((failed / "stats").glob("retry-*"))


def test_a_retry_that_stops_goes_on(
    crawl: Path, undisturbed: Path, failed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from webpairs.run import run

    build_shard, num = run.build_shard, 0

    def stops(*arguments: Any) -> Any:
        nonlocal num
        num += 1
        if num == 2:
            raise RunError("the disk is full")
        return build_shard(*arguments)

    monkeypatch.setattr(run, "build_shard", stops)
    with pytest.raises(RunError, match="the disk is full"):
        retry(crawl, failed, workers=1)
    assert not read_status(failed).finished
    with pytest.raises(ConfigError, match="is not finished"):
        retry(crawl, failed, reasons=("dns",))
    monkeypatch.undo()
    retry(crawl, failed)
    assert samples(failed) == samples(undisturbed)
    assert read_funnel(failed).balanced
    assert not (failed / "work").exists()


def test_a_retry_by_other_weights_is_refused(crawl: Path, failed: Path) -> None:
    path = failed / "manifest.json"
    manifest = orjson.loads(path.read_bytes())
    manifest["model"]["weights_sha256"] = "0" * 64
    path.write_bytes(orjson.dumps(manifest))
    with pytest.raises(ConfigError, match="has other weights"):
        retry(crawl, failed)
    assert not list((failed / "stats").glob("retry-*")) or not read_status(failed).finished


def test_a_table_is_retried_without_its_file(tmp_path: Path, crawl: Path) -> None:
    """A retry needs nothing but the run folder: what the table held beside is carried over."""
    web, _ = web_run.draw(crawl)
    good = [one for one in web.truth if one.uid and one.text][:200]
    table = tmp_path / "in.jsonl"
    table.write_bytes(
        b"".join(
            orjson.dumps({"url": one.url, "text": one.text, "colour": n}) + b"\n"
            for n, one in enumerate(good)
        )
    )
    out = tmp_path / "out"
    options = web_run.options_of([table], out, languages=("any",), model="none", threshold=None)
    build_dataset(options, resolver=web_run.resolver_of(web))
    table.unlink()
    assert retry(crawl, out) > 0
    rows = [pq.read_table(path) for path in sorted((out / "metadata").glob("*.parquet"))]
    assert rows
    assert all("colour" in one.column_names for one in rows)
    assert all(one.column("colour").null_count == 0 for one in rows)
