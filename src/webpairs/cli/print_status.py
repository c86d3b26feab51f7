"""Printing how far a run folder is, for people."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from webpairs.cli.print_build import print_warnings
from webpairs.cli.print_funnel import funnel_table
from webpairs.figures import StageFigures, duration_text, rate_text
from webpairs.progress import amount_text, tail_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from webpairs.run_folder.state import RunState
    from webpairs.run_folder.status import Status

NUM_MISSING: Final = 10


def print_status(status: Status) -> None:
    """Print how far a run is, who works on it and how long that will take, or how to go on."""
    console = Console(highlight=False)
    print_warnings(console, status.warnings)
    console.print(funnel_table(status.funnel, to_candidates=status.verb == "extract"))
    for line in ("", *_stage_lines(status), *_work_lines(status)):
        console.print(line, markup=False, soft_wrap=True)


def _stage_lines(status: Status) -> Iterator[str]:
    if status.extract_mb_per_s:
        yield f"extract: {status.extract_mb_per_s:,.1f} MB/s"
    if not status.extracted:
        yield "extract: not done"
    elif status.num_shards is None:
        yield "candidates are extracted" + ("" if status.finished else "; dedupe: not done")
    else:
        num_done = status.num_shards - len(status.missing_shards)
        rate = status.candidates_per_s
        speed = f", {rate:,.1f} candidates/s a worker" if rate else ""
        yield f"shards: {num_done} of {status.num_shards} done{speed}"
    if status.missing_shards:
        shown = ", ".join(status.missing_shards[:NUM_MISSING])
        more = ", ..." if len(status.missing_shards) > NUM_MISSING else ""
        yield f"{'to do' if status.is_running else 'missing'}: {shown}{more}"
    for retry in status.retries:
        reasons = ", ".join(f"{num:,} {reason}" for reason, num in retry.taken.items())
        under_way = " (not finished)" if retry is status.unfinished_retry else ""
        yield f"retry {retry.number}: {reasons}{under_way}"


def _work_lines(status: Status) -> Iterator[str]:
    if status.is_running:
        yield from _running_lines(status.state)
        return
    if status.lost:
        yield _lost_line(status.lost)
    elif status.finished:
        yield f"finished {status.manifest['finished']}"
    else:
        if status.state is not None:
            yield from _stopped_lines(status.state)
        retry = status.unfinished_retry
        line = (
            ""
            if retry is None
            else f": webpairs retry {status.out} --reasons {','.join(retry.reasons)}"
        )
        yield f"not finished: type the line that started it again to go on{line}"


def _running_lines(state: RunState | None) -> Iterator[str]:
    if state is None:
        yield "at work: a process has the folder, and has not told its figures yet"
        return
    since = (datetime.now(UTC) - state.started).total_seconds()
    yield (
        f"at work: webpairs {state.verb}, process {state.pid} on {state.host}, since "
        f"{_when(state.started)} ({duration_text(max(0.0, since))})"
    )
    if state.stage is None:
        yield "between two stages, such as while a model is loaded"
        return
    yield f"{state.stage.name}: {amount_text(state.stage)}, {tail_text(state.stage)}"
    yield from left_lines(state.stage)


def left_lines(stage: StageFigures) -> Iterator[str]:
    """Yield how long a stage will take, and which host decides that."""
    seconds = stage.seconds_left
    if seconds is None:
        yield "time left: not known before the first is done"
        return
    yield f"time left: about {duration_text(seconds)} for {stage.name}"
    host = stage.slowest
    if host is None:
        return
    left = int(stage.left)
    later = " and its share of those to come" if host.share * stage.num_later >= 1 else ""
    pause = f"asked for a pause of {duration_text(host.pause_s)}; " if host.pause_s >= 1 else ""
    yield (
        f"one host, {host.host}, holds {host.waiting:,} of the {max(left, host.waiting):,} "
        f"{stage.unit} left; {pause}at {rate_text(host.rate)} that{later} takes "
        f"{duration_text(host.seconds_left(stage.num_later))}"
    )


def _stopped_lines(state: RunState) -> Iterator[str]:
    yield (f"not at work: process {state.pid} on {state.host} was last seen {_when(state.written)}")
    if state.stage is not None:
        yield f"it was at {state.stage.name}: {amount_text(state.stage)}"


def _lost_line(lost: tuple[Path, ...]) -> str:
    shown = ", ".join(map(str, lost[:NUM_MISSING])) + (", ..." if len(lost) > NUM_MISSING else "")
    return (
        f"finished, but not whole: {shown} missing, and what belongs to it does not count: put it "
        "back from a copy, or build again into a new --out"
    )


def _when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
