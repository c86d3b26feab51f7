"""The score says what a run folder got right, on run folders whose faults are known."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from webpairs.demo.little_web import draw_little_web
from webpairs.demo.score import score
from webpairs.demo.truth import SAMPLE, Candidate
from webpairs.drops import Drop
from webpairs.run_folder.schema import DROPS, METADATA, arrow_schema

Change = Callable[[Candidate], str]


@pytest.fixture(scope="module")
def truth() -> tuple[Candidate, ...]:
    return draw_little_web(seed=8, num_pages=15).truth


def sample_row(candidate: Candidate) -> dict[str, object]:
    return {
        "uid": bytes.fromhex(candidate.uid),
        "URL": candidate.url,
        "TEXT": candidate.text,
        "WIDTH": candidate.width_px,
        "HEIGHT": candidate.height_px,
        "sha256": bytes.fromhex(candidate.sha256),
        "page_url": candidate.page_url,
        "crawl_date": datetime.fromisoformat(candidate.page_date),
        "copies": candidate.copies,
        "license_id": candidate.license_id,
        "license_where": candidate.license_where,
    }


def run_folder(out: Path, truth: tuple[Candidate, ...], change: Change) -> Path:
    """Write what score reads of a run folder in which candidate c ended as `change(c)`."""
    ended = [replace(candidate, fate=change(candidate)) for candidate in truth]
    stages: dict[str, Counter[str]] = {
        "extract": Counter(),
        "dedupe": Counter(),
        "00000": Counter(),
    }
    for candidate in ended:
        stage = "" if candidate.fate == SAMPLE else Drop(candidate.fate).stage
        stages[stage if stage in stages else "00000"][candidate.fate] += 1
    samples = stages["00000"].pop(SAMPLE, 0)
    counts = {"records": 1, "pages": 1, "found": len(ended), "samples": samples}
    for folder in ("stats", "metadata", "drops"):
        (out / folder).mkdir(parents=True)
    for name, drops in stages.items():
        shards = {"shards": 1} if name == "dedupe" else {}
        content = counts | shards | {"drops": drops}
        (out / "stats" / f"{name}.json").write_text(json.dumps(content))
        fates = {SAMPLE} if name == "00000" else set()
        rows = [c for c in ended if c.uid and c.fate in fates | set(drops) - {"duplicate"}]
        kept = [sample_row(c) for c in rows if c.fate == SAMPLE]
        dropped = [
            {"uid": bytes.fromhex(c.uid), "reason": c.fate} for c in rows if c.fate != SAMPLE
        ]
        for folder, columns, values in (("metadata", METADATA, kept), ("drops", DROPS, dropped)):
            known = {"uid", "reason", *(values[0] if values else ())}
            schema = arrow_schema(tuple(c for c in columns if c.name in known))
            if values:
                table = pa.Table.from_pylist(values, schema)
                pq.write_table(table, out / folder / f"{name}.parquet")
    return out


def test_a_perfect_build(tmp_path: Path, truth: tuple[Candidate, ...]) -> None:
    result = score(run_folder(tmp_path / "out", truth, lambda c: c.fate), truth)
    assert (result.precision, result.recall) == (1, 1)
    assert result.num_true == result.num_true_kept == result.expected[SAMPLE] > 50
    assert (result.wrong, result.missed, result.surprises) == ((), (), ())
    assert result.miscounts == {}
    assert result.found == result.expected


def test_a_build_that_believes_count_and_misses_stars(
    tmp_path: Path, truth: tuple[Candidate, ...]
) -> None:
    def change(candidate: Candidate) -> str:
        if candidate.fate == "similarity" and candidate.kind == "hard:count":
            return SAMPLE
        if candidate.fate == SAMPLE and "star" in candidate.text:
            return "similarity"
        return candidate.fate

    result = score(run_folder(tmp_path / "out", truth, change), truth)
    assert {candidate.kind for candidate in result.wrong} == {"hard:count"}
    assert all("star" in candidate.text for candidate in result.missed)
    num_wrong, num_missed = len(result.wrong), len(result.missed)
    assert num_wrong > 0
    assert num_missed > 0
    kept = result.num_true - num_missed
    assert result.recall == kept / result.num_true
    assert result.precision == kept / (kept + num_wrong)
    # The model may err: that is judged by precision and recall alone.
    assert (result.surprises, result.miscounts) == ((), {})


def test_a_build_that_keeps_opted_out_pages(tmp_path: Path, truth: tuple[Candidate, ...]) -> None:
    def change(candidate: Candidate) -> str:
        return SAMPLE if candidate.fate == "opted_out_page" else candidate.fate

    result = score(run_folder(tmp_path / "out", truth, change), truth)
    num = result.expected["opted_out_page"]
    assert {(s.expected, s.found) for s in result.surprises} == {("opted_out_page", SAMPLE)}
    assert len(result.surprises) == num
    assert result.miscounts["opted_out_page"] == (num, 0)
    assert result.precision < 1  # false texts among them
    assert result.recall == 1


def test_a_shard_without_its_stats_is_not_there(
    tmp_path: Path, truth: tuple[Candidate, ...]
) -> None:
    out = run_folder(tmp_path / "out", truth, lambda c: c.fate)
    (out / "stats" / "00000.json").unlink()
    result = score(out, truth)
    assert result.recall == 0
    assert result.surprises
    assert {s.found for s in result.surprises} == {"nowhere"}


def test_a_sample_from_nowhere_is_wrong(tmp_path: Path, truth: tuple[Candidate, ...]) -> None:
    out = run_folder(tmp_path / "out", truth, lambda c: c.fate)
    known = tuple(c for c in truth if c.kind != "unrelated" and c.fate != "duplicate")
    keep_all = run_folder(
        tmp_path / "other", truth, lambda c: SAMPLE if c.fate == "similarity" else c.fate
    )
    assert any(s.truth is None for s in score(out, known).surprises)
    assert score(keep_all, known).num_false_kept > score(out, known).num_false_kept == 0


def test_values_that_are_not_true_are_surprises(
    tmp_path: Path, truth: tuple[Candidate, ...]
) -> None:
    out = run_folder(tmp_path / "out", truth, lambda c: c.fate)
    one = next(c for c in truth if c.fate == SAMPLE)
    told = replace(one, width_px=one.width_px + 1, license_id="CC-BY-1.0")
    changed = tuple(told if c is one else c for c in truth)
    assert {(s.uid, s.expected, s.found) for s in score(out, changed).surprises} == {
        (one.uid, f"WIDTH = {told.width_px}", f"WIDTH = {one.width_px}"),
        (one.uid, "license_id = CC-BY-1.0", f"license_id = {one.license_id}"),
    }
