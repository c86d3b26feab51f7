"""A candidate that was tried again counts once in a report, under its latest outcome."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand_made_runs import SAMPLE, candidate, commit_shard, start_run
from support.reports import report

from webpairs.dataset.dataset import open_dataset
from webpairs.drops import Drop
from webpairs.files import write_json
from webpairs.progress import RunProgress
from webpairs.report.gather import gather
from webpairs.run_folder.retries import RetryRecord, write_retry

ROWS = [candidate(f"site{number}") for number in range(9)]
SHARD_SIZE = 3
OUTCOMES = st.sampled_from([SAMPLE, "timeout", "http_5xx", "similarity", "opted_out_image"])


def make_run(
    out: Path, first: list[str], again: list[dict[int, str]], committed: bool = True
) -> list[str]:
    """Write a run and retries of some rows, each in a shard of its own; return what is latest.

    With `committed` false the last retry's shard is not there yet.
    """
    num_shards = -(-len(ROWS) // SHARD_SIZE)
    keys = start_run(out, len(ROWS), num_shards, SHARD_SIZE)
    latest = list(first)
    for number in range(num_shards):
        rows = ROWS[number * SHARD_SIZE : (number + 1) * SHARD_SIZE]
        outcomes = {row["uid"]: latest[ROWS.index(row)] for row in rows}
        commit_shard(out, keys, number, rows, outcomes)
    for number, outcomes in enumerate(again):
        tried = {place: one for place, one in outcomes.items() if _can_be_retried(latest[place])}
        name = keys.shard(num_shards + number)
        taken = Counter(Drop(latest[place]) for place in tried)
        shards = {name: taken}
        write_retry(out, RetryRecord(number, tuple(taken), num_shards + number, shards, "2024"))
        if committed or number < len(again) - 1:
            by_uid = {ROWS[place]["uid"]: outcome for place, outcome in tried.items()}
            rows = [ROWS[place] for place in tried]
            commit_shard(out, keys, num_shards + number, rows, by_uid)
            for place, outcome in tried.items():
                latest[place] = outcome
    manifest = out / "manifest.json"
    write_json(manifest, orjson.loads(manifest.read_bytes()) | {"retries": len(again)})
    return latest


def _can_be_retried(outcome: str) -> bool:
    return outcome in ("timeout", "http_5xx")


@given(
    first=st.lists(OUTCOMES, min_size=len(ROWS), max_size=len(ROWS)),
    again=st.lists(st.dictionaries(st.integers(0, len(ROWS) - 1), OUTCOMES), max_size=3),
    committed=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_the_latest_outcome_counts(
    first: list[str], again: list[dict[int, str]], committed: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        expected = Counter(make_run(out, first, again, committed))
        spill = Path(folder) / "spill"
        told = gather(open_dataset(out), spill, with_map=True, progress=RunProgress(quiet=True))
    assert told.num_samples == expected.pop(SAMPLE, 0)
    assert dict(told.named("drop").top) == expected
    assert told.run is not None
    assert +told.run.status.funnel.drops == expected
    assert told.disagreements == ()


def test_what_came_of_each_retry(tmp_path: Path) -> None:
    first = ["timeout", "timeout", "http_5xx", "timeout", *[SAMPLE] * 5]
    make_run(tmp_path / "run", first, [{0: SAMPLE, 1: "similarity", 2: "http_5xx"}, {2: SAMPLE}])
    page, numbers = report(tmp_path / "run", out=tmp_path)
    one, two = numbers["datasets"][0]["run"]["retries"]
    assert one["taken"] == {"timeout": 2, "http_5xx": 1}
    assert (one["samples"], one["drops"]) == (1, {"http_5xx": 1, "similarity": 1})
    assert two["taken"] == {"http_5xx": 1}
    assert (two["samples"], two["drops"]) == (1, {})
    assert "Retries" in page
    assert numbers["datasets"][0]["run"]["funnel"]["drops"] == {"timeout": 1, "similarity": 1}


def test_a_retry_that_is_not_done_yet(tmp_path: Path) -> None:
    first = ["timeout"] * len(ROWS)
    make_run(tmp_path / "run", first, [{0: SAMPLE, 1: SAMPLE}], committed=False)
    page, _ = report(tmp_path / "run", out=tmp_path)
    assert "not done yet" in page
