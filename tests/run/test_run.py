"""Whole runs over the little web, whose truth is known: every candidate ends where it must."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from filelock import FileLock
from support.run_folders import (
    SmallCrawl,
    check_committed_shards,
    check_nothing_left,
    counts,
    dataset,
    finish,
    start,
    wait_for,
    workers_of,
)

from webpairs import BuildOptions, ExtractOptions, build_dataset, extract_candidates, read_status
from webpairs.demo.little_web import SAMPLE
from webpairs.drops import Drop
from webpairs.errors import ConfigError
from webpairs.run_folder.funnel import read_funnel

LOOSE = ("--threshold", "-1", "--shard-size", "40")


def options_of(little_web: SmallCrawl, out: Path, **changes: Any) -> BuildOptions:
    made = BuildOptions(
        inputs=tuple(map(str, little_web.files.warc)),
        images="archive",
        out=str(out),
        model="tiny",
        threshold=-1,
        shard_size=40,
        workers=1,
    )
    return replace(made, **changes)


def rows_of(out: Path, part: str) -> list[dict[str, Any]]:
    tables = [pq.read_table(path) for path in sorted((out / part).glob("*.parquet"))]
    return pa.concat_tables(tables).to_pylist() if tables else []


def test_every_candidate_ends_where_the_truth_says(little_web: SmallCrawl, loose_run: Path) -> None:
    """With every score kept, what is left to the model is a sample as well."""
    kept_or_judged = (SAMPLE, Drop.SIMILARITY)
    truth = little_web.web.truth
    samples = {row["uid"].hex(): row for row in rows_of(loose_run, "metadata")}
    wanted = {one.uid: one for one in truth if one.fate in kept_or_judged}
    assert samples.keys() == wanted.keys()
    for uid, one in wanted.items():
        row = samples[uid]
        assert (row["URL"], row["TEXT"]) == (one.url, one.text)
        assert (row["WIDTH"], row["HEIGHT"]) == (one.width_px, one.height_px)
        assert (row["license_id"], row["license_where"]) == (one.license_id, one.license_where)
        assert row["copies"] == one.copies
        assert row["page_url"] == one.page_url
        assert row["opt_out"] is None
    drops = {row["uid"].hex(): row["reason"] for row in rows_of(loose_run, "drops")}
    assert drops == {
        one.uid: one.fate
        for one in truth
        if one.uid
        and one.fate not in (*kept_or_judged, Drop.DUPLICATE)
        and Drop(one.fate).stage != "extract"
    }


def test_the_funnel_is_balanced_and_exact(little_web: SmallCrawl, loose_run: Path) -> None:
    funnel = read_funnel(loose_run)
    fates = little_web.web.fates()
    num_samples = fates.pop(SAMPLE) + fates.pop(Drop.SIMILARITY)
    assert funnel.balanced
    assert funnel.left == 0
    assert funnel.found == len(little_web.web.truth)
    assert funnel.samples == num_samples
    assert dict(funnel.drops) == dict(fates)
    assert funnel.pages == len(little_web.web.pages)
    manifest = orjson.loads((loose_run / "manifest.json").read_bytes())
    assert manifest["funnel"] == funnel.as_json()
    assert manifest["finished"] is not None


def test_every_shard_accounts_for_each_of_its_candidates(loose_run: Path) -> None:
    num_candidates = 0
    for path in sorted((loose_run / "stats").glob("[0-9]*.json")):
        stats = orjson.loads(path.read_bytes())
        rows = pq.read_metadata(loose_run / "metadata" / f"{path.stem}.parquet").num_rows
        drops = loose_run / "drops" / f"{path.stem}.parquet"
        dropped: Counter[str] = Counter()
        if drops.exists():
            dropped.update(pq.read_table(drops).column("reason").to_pylist())
        assert stats["candidates"] == stats["samples"] + sum(stats["drops"].values())
        assert stats["samples"] == rows
        assert stats["drops"] == dict(dropped)
        assert stats["shard"] == path.stem
        num_candidates += stats["candidates"]
    dedupe = orjson.loads((loose_run / "stats" / "dedupe.json").read_bytes())
    assert num_candidates == dedupe["unique"] - dedupe["drops"].get("limit", 0)


def test_dropped_opt_outs_leave_no_list_of_what_must_not_be_found(loose_run: Path) -> None:
    rows = [row for row in rows_of(loose_run, "drops") if Drop(row["reason"]).sensitive]
    assert {row["reason"] for row in rows} == {Drop.OPTED_OUT_PAGE, Drop.OPTED_OUT_IMAGE}
    for row in rows:
        filled = {name for name, value in row.items() if value is not None}
        assert filled == {"uid", "url_hash", "reason", "stage", "signal"}


def test_the_similarity_is_that_of_the_stored_embeddings(loose_run: Path) -> None:
    for path in sorted((loose_run / "metadata").glob("*.parquet")):
        images, texts = (
            np.load(loose_run / "embeddings" / f"{kind}_emb" / f"{kind}_emb_{path.stem}.npy")
            for kind in ("img", "text")
        )
        similarity = np.array(pq.read_table(path).column("similarity").to_pylist())
        assert images.dtype == texts.dtype == np.float16
        again = (images.astype(np.float64) * texts.astype(np.float64)).sum(axis=1)
        # Unit vectors of 512 float16, each off by at most 2**-11 of itself: 2 * 2**-11 = 0.001.
        assert np.abs(again - similarity).max() < 0.001
        for vectors in (images, texts):
            norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
            assert np.abs(norms - 1).max() < 0.001


def test_a_stricter_threshold_is_a_where_on_the_stored_scores(
    little_web: SmallCrawl, loose_run: Path, tmp_path: Path
) -> None:
    build_dataset(options_of(little_web, tmp_path / "strict", threshold=0.3))
    strict = rows_of(tmp_path / "strict", "metadata")
    loose = [row for row in rows_of(loose_run, "metadata") if row["similarity"] >= 0.3]
    assert strict == loose
    assert 0 < len(strict) < read_funnel(loose_run).samples
    scored = {
        row["uid"]: row["similarity"]
        for row in rows_of(tmp_path / "strict", "drops")
        if row["reason"] == Drop.SIMILARITY
    }
    assert scored == {
        row["uid"]: row["similarity"]
        for row in rows_of(loose_run, "metadata")
        if row["similarity"] < 0.3
    }


def test_any_number_of_workers_makes_the_same_bytes(
    little_web: SmallCrawl, loose_run: Path, tmp_path: Path
) -> None:
    build_dataset(options_of(little_web, tmp_path / "out", workers=2))
    assert dataset(tmp_path / "out") == dataset(loose_run)
    assert counts(tmp_path / "out") == counts(loose_run)
    check_nothing_left(tmp_path / "out", [os.getpid()])


def test_the_order_of_inputs_does_not_matter(
    little_web: SmallCrawl, loose_run: Path, tmp_path: Path
) -> None:
    inputs = tuple(map(str, reversed(little_web.files.warc)))
    build_dataset(options_of(little_web, tmp_path / "out", inputs=inputs))
    assert dataset(tmp_path / "out") == dataset(loose_run)


def test_a_finished_run_is_not_run_again(little_web: SmallCrawl, loose_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in loose_run.rglob("*") if path.is_file()}
    result = build_dataset(options_of(little_web, loose_run))
    assert result.funnel == read_funnel(loose_run)
    assert {p: p.stat().st_mtime_ns for p in loose_run.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"threshold": 0.2}, "--threshold: the run has -1, this line asks for 0.2"),
        ({"shard_size": 50}, "--shard-size: the run has 40, this line asks for 50"),
        ({"languages": ("any",)}, "--languages: the run has en, this line asks for any"),
        ({"keep_opted_out": True}, "--keep-opted-out: the run has off, this line asks for on"),
        ({"seed": 3}, "--seed: the run has 0, this line asks for 3"),
        ({"limit": 3}, "--limit: the run has none, this line asks for 3"),
    ],
)
def test_other_options_over_a_run_folder_are_refused(
    little_web: SmallCrawl, loose_run: Path, changes: dict[str, Any], word: str
) -> None:
    before = dataset(loose_run)
    with pytest.raises(ConfigError) as caught:
        build_dataset(options_of(little_web, loose_run, **changes))
    assert word in str(caught.value)
    assert dataset(loose_run) == before


def test_the_models_own_threshold_may_be_named(little_web: SmallCrawl, tmp_path: Path) -> None:
    """Saying what holds anyway is no other dataset."""
    out = tmp_path / "out"
    build_dataset(options_of(little_web, out, threshold=None, limit=5))
    build_dataset(options_of(little_web, out, threshold=0.3, limit=5))


def test_changed_inputs_are_refused(little_web: SmallCrawl, loose_run: Path) -> None:
    with pytest.raises(ConfigError, match="inputs that the run has"):
        build_dataset(options_of(little_web, loose_run, inputs=(str(little_web.files.warc[0]),)))


def test_inputs_may_have_moved(little_web: SmallCrawl, loose_run: Path, tmp_path: Path) -> None:
    for path in little_web.files.warc:
        shutil.copy(path, tmp_path)
    build_dataset(options_of(little_web, loose_run, inputs=(str(tmp_path),)))


def test_a_second_process_on_the_same_folder_is_refused(
    little_web: SmallCrawl, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".lock"):
        code, errors = finish(start(little_web.files.warc, out, *LOOSE))
    assert code == 2
    assert (
        errors == f"webpairs: another webpairs works on {out}: wait for it, or name another --out\n"
    )
    assert {path.name for path in out.iterdir()} <= {".lock"}


def test_extract_alone(little_web: SmallCrawl, tmp_path: Path) -> None:
    inputs = tuple(map(str, little_web.files.wat))
    result = extract_candidates(ExtractOptions(inputs=inputs, out=str(tmp_path / "out")))
    funnel = result.funnel
    assert funnel.found == len(little_web.web.truth)
    written = sum(pq.read_metadata(path).num_rows for path in result.candidates)
    assert written == funnel.left
    assert funnel.balanced
    assert not (tmp_path / "out" / "work").exists()
    status = read_status(tmp_path / "out")
    assert status.finished
    again = extract_candidates(ExtractOptions(inputs=inputs, out=str(tmp_path / "out")))
    assert again.candidates == result.candidates


def test_a_limit_and_a_seed_take_another_random_part(
    little_web: SmallCrawl, tmp_path: Path
) -> None:
    uids: list[set[bytes]] = []
    for seed in (0, 1):
        out = tmp_path / str(seed)
        result = build_dataset(options_of(little_web, out, limit=30, seed=seed))
        assert result.funnel.balanced
        assert result.funnel.drops[Drop.LIMIT] > 0
        found = rows_of(out, "metadata") + [
            row for row in rows_of(out, "drops") if Drop(row["reason"]).stage != "dedupe"
        ]
        assert len(found) == 30
        uids.append({row["uid"] for row in found})
    assert uids[0] != uids[1]


def test_kept_opt_outs_are_marked(little_web: SmallCrawl, loose_run: Path, tmp_path: Path) -> None:
    result = build_dataset(options_of(little_web, tmp_path / "out", keep_opted_out=True))
    assert result.funnel.drops[Drop.OPTED_OUT_PAGE] == 0
    marked = {row["uid"] for row in rows_of(tmp_path / "out", "metadata") if row["opt_out"]}
    assert len(marked) > 0
    kept = {row["uid"] for row in rows_of(tmp_path / "out", "metadata")}
    assert kept - marked == {row["uid"] for row in rows_of(loose_run, "metadata")}


def test_crawls_without_candidates_make_an_empty_dataset(tmp_path: Path) -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>no picture here</p>"
    (tmp_path / "empty.warc").write_bytes(
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://example.org/\r\n"
        b"WARC-Date: 2024-05-18T00:00:00Z\r\nContent-Type: application/http; msgtype=response\r\n"
        b"WARC-Record-ID: <urn:uuid:00000000-0000-4000-8000-000000000000>\r\n"
        b"Content-Length: %d\r\n\r\n%s\r\n\r\n" % (len(page), page)
    )
    result = build_dataset(
        BuildOptions(
            inputs=(str(tmp_path / "empty.warc"),), out=str(tmp_path / "out"), model="tiny"
        )
    )
    assert (result.funnel.found, result.funnel.samples, result.funnel.pages) == (0, 0, 1)
    assert read_status(tmp_path / "out").finished
    assert not (tmp_path / "out" / "images").exists()


def build_stage(out: Path) -> bool:
    return any((out / "stats").glob("[0-9]*.json"))


def test_a_worker_that_the_system_kills_changes_nothing(
    little_web: SmallCrawl, loose_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(little_web.files.warc, out, *LOOSE, "--workers", "2")
    assert wait_for(lambda: len(workers_of(process.pid)) == 2)
    os.kill(workers_of(process.pid)[0], signal.SIGKILL)
    code, errors = finish(process)
    assert code == 0, errors
    assert dataset(out) == dataset(loose_run)
    check_nothing_left(out, [process.pid])


@pytest.mark.parametrize(
    ("number", "to_group", "code"),
    [(signal.SIGTERM, False, 143), (signal.SIGINT, True, 130)],
)
def test_stopped_by_a_signal(
    little_web: SmallCrawl,
    loose_run: Path,
    tmp_path: Path,
    number: signal.Signals,
    to_group: bool,
    code: int,
) -> None:
    out = tmp_path / "out"
    options = ("--threshold", "-1", "--shard-size", "40", "--workers", "2")
    process = start(little_web.files.warc, out, *options)
    assert wait_for(lambda: len(workers_of(process.pid)) == 2)
    if to_group:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    stopped, errors = finish(process)
    assert stopped == code, errors
    assert errors.splitlines()[-1] == "webpairs: stopped; type the same line again to go on"
    assert "Traceback" not in errors
    assert workers_of(process.pid) == []
    status = read_status(out)
    assert not status.finished
    assert status.funnel.balanced
    build_dataset(options_of(little_web, out))
    assert dataset(out) == dataset(loose_run)
    check_nothing_left(out, [process.pid])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1600k", "none", str(folder)], capture_output=True
    )
    if done.returncode != 0:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_is_a_clear_error_and_the_run_goes_on_when_it_is_not(
    little_web: SmallCrawl, loose_run: Path, small_disk: Path
) -> None:
    out = small_disk / "out"
    process = start(little_web.files.warc, out, *LOOSE, "--workers", "2")
    code, errors = finish(process)
    assert code == 1, errors
    assert "Traceback" not in errors
    assert f"the disk is full at {out}" in errors.splitlines()[-1]
    assert check_committed_shards(out) < len(list((loose_run / "stats").glob("[0-9]*.json")))
    assert workers_of(process.pid) == []
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    build_dataset(options_of(little_web, out))
    assert dataset(out) == dataset(loose_run)
    check_nothing_left(out, [process.pid])


def test_a_file_the_system_refuses_to_grow_is_a_clear_error(
    little_web: SmallCrawl, loose_run: Path, tmp_path: Path
) -> None:
    """As a full disk, where none can be mounted: writing fails in the middle of a tar."""
    out = tmp_path / "out"
    largest = max(path.stat().st_size for path in (loose_run / "images").glob("*.tar"))
    process = start(little_web.files.warc, out, *LOOSE, "--workers", "1")
    # The manifest comes after the model, whose weights are a larger file, and before any tar.
    assert wait_for((out / "manifest.json").exists)
    limits = (largest - 20_000, resource.RLIM_INFINITY)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, limits)
    code, errors = finish(process)
    assert code == 1, errors
    assert "Traceback" not in errors
    assert "File too large" in errors.splitlines()[-1]
    check_committed_shards(out)
    assert [path for path in out.rglob("*") if ".tmp-" in path.name] == []
    build_dataset(options_of(little_web, out))
    assert dataset(out) == dataset(loose_run)


def test_tars_hold_the_samples_of_the_metadata(loose_run: Path) -> None:
    for path in sorted((loose_run / "metadata").glob("*.parquet")):
        keys = pq.read_table(path).column("key").to_pylist()
        with tarfile.open(loose_run / "images" / f"{path.stem}.tar") as tar:
            names = tar.getnames()
        assert names == [f"{key}.{suffix}" for key in keys for suffix in ("jpg", "txt", "json")]
        assert all(key.startswith(path.stem) for key in keys)
