"""A retry tries the right candidates once more, and no kill loses or doubles one."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.candidate_files import Row
from support.hand_made_runs import OPTIONS, SAMPLE, candidate, commit_shard, start_run
from support.run_folders import counts, dataset

from webpairs.cli.print_status import print_status
from webpairs.drops import Drop
from webpairs.errors import ConfigError, RunError
from webpairs.files import remove_leftovers, write_json
from webpairs.options import BuildOptions
from webpairs.run.retry import (
    RETRYABLE,
    RetryPlan,
    finish_retry,
    parse_reasons,
    plan_retry,
    read_gain,
    read_retryable,
    retry_options,
)
from webpairs.run_folder.funnel import Funnel, read_funnel
from webpairs.run_folder.layout import Keys, ShardFiles
from webpairs.run_folder.retries import read_retries
from webpairs.run_folder.status import read_status

MEMORY = 500_000_000
Outcomes = dict[bytes, str]


def build(out: Path, rows: list[Row], outcomes: Outcomes, shard_size: int, **changes: Any) -> None:
    """Make a finished dataset of `rows`, in shards of `shard_size`."""
    num_shards = -(-len(rows) // shard_size)
    keys = start_run(out, len(rows), num_shards, shard_size, **changes)
    for number in range(num_shards):
        here = rows[number * shard_size : (number + 1) * shard_size]
        commit_shard(out, keys, number, here, outcomes)


def plan(out: Path, reasons: str) -> RetryPlan:
    asked = parse_reasons(reasons.split(","))
    return plan_retry(out, read_retryable(out), asked, memory_bytes=MEMORY)


def retry(out: Path, reasons: str, outcomes: Outcomes) -> RetryPlan:
    """Retry as a run does, with answers made up."""
    manifest = read_retryable(out)
    remove_leftovers(out)
    made = plan(out, reasons)
    for shard in made.shards:
        if not ShardFiles.of(out, made.keys.shard(shard.number)).stats.exists():
            commit_shard(out, made.keys, shard.number, rows_of(shard.path), outcomes)
    if made.shards:
        finish_retry(out, manifest, made, read_funnel(out))
    shutil.rmtree(out / "work", ignore_errors=True)
    return made


def rows_of(path: str | Path) -> list[Row]:
    return pq.read_table(path).to_pylist()


def planned(made: RetryPlan) -> list[Row]:
    return [row for shard in made.shards for row in rows_of(shard.path)]


def check_counts(funnel: Funnel, latest: Outcomes) -> None:
    """Check that every candidate counts once, under its latest outcome."""
    expected = Counter(latest.values())
    assert funnel.samples == expected.pop(SAMPLE, 0)
    assert +funnel.drops == expected
    assert funnel.left == 0
    assert funnel.balanced


NAMES = ("a", "bb", "ccc", "dddd", "eeeee")
ROWS = [candidate(name) for name in NAMES]
FIRST = dict(
    zip(
        (row["uid"] for row in ROWS),
        ("timeout", SAMPLE, "similarity", "http_5xx", "timeout"),
        strict=True,
    )
)


def test_the_rows_are_candidates_again(tmp_path: Path) -> None:
    """Everything dedupe knew comes back; what came of the first attempt does not."""
    build(tmp_path, ROWS, FIRST, shard_size=2)
    made = plan(tmp_path, "timeout,http_5xx")
    wanted = sorted((ROWS[0], ROWS[3], ROWS[4]), key=lambda row: row["uid"])
    given = [{name: row[name] for name in ROWS[0]} for row in planned(made)]
    assert given == wanted
    for row in planned(made):
        assert {value for name, value in row.items() if name not in ROWS[0]} == {None}
    assert [(shard.number, shard.num_candidates) for shard in made.shards] == [(3, 2), (4, 1)]
    assert made.taken == {Drop.TIMEOUT: 2, Drop.HTTP_5XX: 1}
    assert not made.goes_on


def test_what_a_retry_gained_is_counted_by_the_earlier_reason(tmp_path: Path) -> None:
    """The earlier reason is that of the last shard before, not of the first."""
    build(tmp_path, ROWS, FIRST, shard_size=2)
    a, d, e = (ROWS[place]["uid"] for place in (0, 3, 4))
    again = {a: str(Drop.DNS), d: str(Drop.HTTP_4XX), e: SAMPLE}
    made = retry(tmp_path, "timeout,http_5xx", again)
    gain = read_gain(tmp_path, made, memory_bytes=MEMORY)
    assert gain.tried == {Drop.TIMEOUT: 2, Drop.HTTP_5XX: 1}
    assert gain.gained == {Drop.TIMEOUT: 1}
    assert gain.dropped == {Drop.DNS: 1, Drop.HTTP_4XX: 1}
    made = retry(tmp_path, "dns,timeout", {a: SAMPLE})
    gain = read_gain(tmp_path, made, memory_bytes=MEMORY)
    assert (gain.tried, gain.gained, gain.dropped) == ({Drop.DNS: 1}, {Drop.DNS: 1}, {})


def test_what_was_dropped_for_other_reasons_is_left_alone(tmp_path: Path) -> None:
    build(tmp_path, ROWS, FIRST, shard_size=2)
    before = dataset(tmp_path)
    made = retry(tmp_path, "http_5xx", dict.fromkeys(FIRST, SAMPLE))
    assert made.taken == {Drop.HTTP_5XX: 1}
    assert {name: digest for name, digest in dataset(tmp_path).items() if name in before} == before
    check_counts(read_funnel(tmp_path), FIRST | {ROWS[3]["uid"]: SAMPLE})


def test_nothing_to_retry_leaves_nothing(tmp_path: Path) -> None:
    build(tmp_path, ROWS, FIRST, shard_size=2)
    before = dataset(tmp_path) | counts(tmp_path)
    made = retry(tmp_path, "dns", {})
    assert (made.shards, made.taken.total()) == ((), 0)
    assert dataset(tmp_path) | counts(tmp_path) == before


def test_an_empty_dataset_has_nothing_to_retry(tmp_path: Path) -> None:
    build(tmp_path, [], {}, shard_size=2)
    assert plan(tmp_path, "dns").shards == ()


def test_a_finished_shard_that_lost_its_stats_stops_a_retry(tmp_path: Path) -> None:
    build(tmp_path, ROWS, FIRST, shard_size=2)
    (tmp_path / "stats" / "00000.json").unlink()
    with pytest.raises(RunError, match=r"stats/00000.json is missing.*put it back from a copy"):
        plan(tmp_path, "timeout")


def test_columns_that_an_older_dataset_lacks_are_null(tmp_path: Path) -> None:
    build(tmp_path, ROWS, FIRST, shard_size=10)
    path = tmp_path / "drops" / "00000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["given", "hash_given"]), path)
    made = planned(plan(tmp_path, "timeout"))
    assert [(row["given"], row["hash_given"], row["position"]) for row in made] == [
        (None, None, 3),
        (None, None, 3),
    ]


ATTEMPTS = st.lists(st.sampled_from([SAMPLE, *RETRYABLE[:3], Drop.OPTED_OUT_IMAGE]), min_size=4)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(ATTEMPTS, min_size=1, max_size=12),
    st.lists(st.sets(st.sampled_from(RETRYABLE[:3]), min_size=1), max_size=3),
    st.integers(1, 4),
)
def test_the_latest_outcome_decides(
    tmp_path_factory: pytest.TempPathFactory,
    attempts: list[list[str]],
    retries: list[set[Drop]],
    shard_size: int,
) -> None:
    out = tmp_path_factory.mktemp("run")
    rows = [candidate(f"n{number}") for number in range(len(attempts))]
    outcomes = {row["uid"]: iter(these) for row, these in zip(rows, attempts, strict=True)}
    latest = {uid: next(these) for uid, these in outcomes.items()}
    build(out, rows, latest, shard_size)
    for reasons in retries:
        wanted = {uid: str(next(outcomes[uid])) for uid in latest if latest[uid] in reasons}
        before = Counter(latest[uid] for uid in wanted)
        made = retry(out, ",".join(reasons), wanted)
        latest |= wanted
        assert made.taken == before
        assert sum(shard.num_candidates for shard in made.shards) == len(wanted)
        check_counts(read_funnel(out), latest)
        manifest = orjson.loads((out / "manifest.json").read_bytes())
        assert manifest["funnel"] is None or manifest["funnel"]["left"] == 0
    shutil.rmtree(out)


@contextmanager
def told_before_each_step(tell: Callable[[], None]) -> Iterator[None]:
    """Call `tell` before the process makes, renames or removes anything."""
    _listeners.append(tell)
    try:
        yield
    finally:
        _listeners.pop()


_listeners: list[Callable[[], None]] = []
_STEPS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "shutil.rmtree")


def _on_event(event: str, arguments: tuple[Any, ...]) -> None:
    if _listeners and event in _STEPS:
        tell = _listeners.pop()  # its own steps are nobody's business
        try:
            tell()
        finally:
            _listeners.append(tell)


sys.addaudithook(_on_event)  # cannot be taken back; without listeners it does nothing


def states_of(out: Path, folder: Path, work: Callable[[], object]) -> list[Path]:
    """Do `work` and return a copy of each state of `out` on the way, as kill -9 would leave it.

    Files under temporary names are cut in half: nobody may count on what is in them.
    """
    states: dict[tuple[tuple[str, bytes], ...], Path] = {}

    def keep() -> None:
        found = sorted(path for path in out.rglob("*") if path.is_file())
        state = tuple((str(path), path.read_bytes()) for path in found)
        if state not in states:
            copy = states[state] = folder / f"{len(states):03}"
            shutil.copytree(out, copy)
            for path in copy.rglob(".tmp-*"):
                os.truncate(path, path.stat().st_size // 2)

    with told_before_each_step(keep):
        work()
    return list(states.values())


def test_killed_at_any_instant_it_ends_as_if_undisturbed(tmp_path: Path) -> None:
    """With a retry behind it, so that planning has later shards to look at."""
    rows = [candidate(f"n{number}") for number in range(9)]
    uids = [row["uid"] for row in rows]
    first = dict.fromkeys(uids, "timeout") | {uids[0]: SAMPLE, uids[1]: "dns"}
    second = dict.fromkeys(uids, "timeout") | {uids[2]: SAMPLE, uids[3]: "opted_out_image"}
    third = dict.fromkeys(uids, SAMPLE) | {uids[4]: "timeout", uids[5]: "side"}
    out = tmp_path / "out"
    build(out, rows, first, shard_size=3)
    retry(out, "timeout", second)
    before = read_funnel(out)
    states = states_of(out, tmp_path, lambda: retry(out, "dns,timeout", third))
    made, stats, after = dataset(out), counts_of(out), read_funnel(out)
    assert after.samples > before.samples

    num_between = 0
    for state in states:
        funnel = read_funnel(state)
        assert funnel.left == 0
        assert before.samples <= funnel.samples <= after.samples
        begun = len(read_retries(state)) == 2
        if begun and read_status(state).finished:  # only work/ was left to be removed
            shutil.rmtree(state / "work")
        else:
            if begun:
                num_between += 1
                with pytest.raises(ConfigError, match="--reasons dns,timeout"):
                    plan(state, "timeout")
            assert retry(state, "timeout,dns", third).goes_on == begun
        assert dataset(state) == made
        assert counts_of(state) == stats
        assert read_funnel(state) == after
    assert num_between >= 5, "no state between the record and the end was tested"


def test_a_plan_that_was_killed_leaves_nothing_to_another(tmp_path: Path) -> None:
    """Until it is recorded nobody asked for it: other reasons may be asked for."""
    out, other = tmp_path / "out", tmp_path / "other"
    build(out, ROWS, FIRST, shard_size=1)
    shutil.copytree(out, other)
    retry(other, "http_5xx", dict.fromkeys(FIRST, SAMPLE))
    states = states_of(out, tmp_path, lambda: plan(out, "timeout"))
    unrecorded = [state for state in states if not read_retries(state)]
    assert any((state / "work" / "unique" / "00006.parquet").exists() for state in unrecorded)
    for state in unrecorded:
        retry(state, "http_5xx", dict.fromkeys(FIRST, SAMPLE))
        assert dataset(state) == dataset(other)
        assert read_funnel(state) == read_funnel(other)


def test_what_was_planned_can_be_cut_again(tmp_path: Path) -> None:
    """A build typed by mistake removes `work/`; the record is enough."""
    build(tmp_path, ROWS, FIRST, shard_size=2)
    first = plan(tmp_path, "timeout,http_5xx")
    cut = dataset(tmp_path)
    commit_shard(tmp_path, first.keys, 3, rows_of(first.shards[0].path), FIRST)
    shutil.rmtree(tmp_path / "work")
    again = plan(tmp_path, "http_5xx,timeout")
    assert again == replace(first, goes_on=True)
    assert dataset(tmp_path).items() >= cut.items()


def test_drops_that_changed_under_a_plan_are_a_fault(tmp_path: Path) -> None:
    build(tmp_path, ROWS, FIRST, shard_size=2)
    plan(tmp_path, "timeout")
    shutil.rmtree(tmp_path / "work")
    (tmp_path / "drops" / "00000.parquet").unlink()
    with pytest.raises(RunError, match=r"retry-00000\.json"):
        plan(tmp_path, "timeout")


def test_shards_are_numbered_on_and_keys_stay_as_wide(tmp_path: Path) -> None:
    build(tmp_path, ROWS, FIRST, shard_size=2)
    outcomes = FIRST | {ROWS[0]["uid"]: "dns"}
    assert [shard.number for shard in retry(tmp_path, "timeout", outcomes).shards] == [3]
    made = retry(tmp_path, "timeout,dns", outcomes)
    assert [shard.number for shard in made.shards] == [4]
    assert (made.number, made.keys) == (1, Keys(5, 4))
    assert made.taken == {Drop.TIMEOUT: 1, Drop.DNS: 1}
    names = sorted(path.name for path in (tmp_path / "stats").glob("[0-9r]*"))
    shards = [f"{number:05}.json" for number in range(5)]
    assert names == [*shards, "retry-00000.json", "retry-00001.json"]
    assert orjson.loads((tmp_path / "stats" / "retry-00001.json").read_bytes()) | {"when": 0} == {
        "number": 1,
        "reasons": ["dns", "timeout"],
        "taken": {"dns": 1, "timeout": 1},
        "first_shard": 4,
        "num_shards": 1,
        "when": 0,
        "check_hashes": "on",
        "shards": {"00004": {"dns": 1, "timeout": 1}},
    }


def test_keys_that_would_be_too_narrow_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last two names of five digits are free; two shards fit, three do not."""
    # Of the 99,998 shards only five are made.
    monkeypatch.setattr("webpairs.run.retry.check_stats", lambda *_: None)
    build(tmp_path, ROWS, FIRST, shard_size=1)
    dedupe = {"drops": {}, "shards": 99_998}
    write_json(tmp_path / "stats" / "dedupe.json", dedupe)
    assert [shard.number for shard in plan(tmp_path, "timeout").shards] == [99_998, 99_999]
    (tmp_path / "stats" / "retry-00000.json").unlink()
    with pytest.raises(ConfigError, match=r"shard 100000, .* room for 100,000 shards"):
        plan(tmp_path, "timeout,http_5xx")
    assert read_retries(tmp_path) == ()


def test_reasons_are_read_in_the_order_of_the_enum() -> None:
    assert parse_reasons(["timeout", "dns", "timeout"]) == (Drop.DNS, Drop.TIMEOUT)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("timeouts", "unknown: did you mean 'timeout'"),
        ("zzz", "unknown: reasons that can"),
        ("similarity", "stage judge would drop the same again"),
        ("duplicate", "stage dedupe would"),
        ("language", "stage extract would"),
        ("opted_out_image", "keep no URL"),
        ("block_listed_image", "keep no URL"),
        ("minor_suspected", "keep no URL"),
        ("", "unknown"),
    ],
)
def test_other_reasons_are_refused_and_the_right_ones_named(name: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_reasons(["timeout", name])
    assert "dns, connect, tls, timeout" in str(caught.value)
    assert "aspect" in str(caught.value)


def test_no_reason_is_refused() -> None:
    with pytest.raises(ConfigError, match="--reasons is empty: reasons that can be retried are"):
        parse_reasons([])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"verb": "extract"}, "holds no dataset"),
        ({"finished": None}, "is not finished: type its line again first"),
        (
            {"options": {"images": "archive", "shard_size": 2}},
            "--images archive, which gives the same answers",
        ),
    ],
)
def test_what_cannot_be_retried_is_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    build(tmp_path, ROWS, FIRST, shard_size=2, **changes)
    with pytest.raises(ConfigError, match=words):
        read_retryable(tmp_path)


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no dataset"):
        read_retryable(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"threshold": -1},
        {"model": "ViT-B-32/openai", "threshold": 0.28, "image_size": 384, "resize": "none"},
        {"languages": ("en", "de"), "texts": ("alt", "title"), "image_sources": ("src", "srcset")},
        {"keep_opted_out": True, "shard_size": 7, "limit": 3, "seed": 9},
        {"image_format": "png", "image_quality": 3, "resize": "keep-ratio-largest"},
        {"min_bytes": 9, "min_side": 32, "max_aspect": 2.5},
    ],
)
def test_the_options_come_back_from_the_manifest(changes: dict[str, Any]) -> None:
    options = replace(OPTIONS, **changes)
    manifest = orjson.loads(
        orjson.dumps({"options": options.dataset_options(), "inputs": [{"path": "a", "name": "b"}]})
    )
    rebuilt = BuildOptions(**retry_options(manifest), out="elsewhere", workers=3)
    assert rebuilt.dataset_options() == options.dataset_options()
    assert (rebuilt.inputs, rebuilt.out, rebuilt.workers) == (("a",), "elsewhere", 3)


def test_every_option_that_is_stored_can_come_back() -> None:
    """What is not the recipe's must be called as its field, or `retry_options` would miss it."""
    stored = {name for name in OPTIONS.dataset_options() if not name.startswith("recipe.")}
    assert stored <= {field.name for field in fields(BuildOptions)}


def test_status_tells_of_retries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build(tmp_path, ROWS, FIRST, shard_size=2)
    retry(tmp_path, "http_5xx", FIRST)
    made = plan(tmp_path, "timeout")
    status = read_status(tmp_path)
    assert (status.num_shards, status.missing_shards) == (5, ("00004",))
    assert not status.finished
    print_status(status)
    said = capsys.readouterr().out
    assert "shards: 4 of 5 done" in said
    assert "retry 0: 1 http_5xx\n" in said
    assert "retry 1: 2 timeout (not finished)\n" in said
    assert "type the line that started it again to go on: webpairs retry" in said
    assert "--reasons timeout" in said
    retry(tmp_path, "timeout", dict.fromkeys(FIRST, SAMPLE))
    status = read_status(tmp_path)
    assert (status.missing_shards, status.finished) == ((), True)
    assert made.number == 1
    print_status(status)
    assert "retry 1: 2 timeout\n" in capsys.readouterr().out


def counts_of(out: Path) -> dict[str, Any]:
    return {
        name: {key: value for key, value in one.items() if key != "when"}
        for name, one in counts(out).items()
    }
