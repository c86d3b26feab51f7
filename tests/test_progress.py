"""Progress: bars on a terminal, plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from webpairs import progress as progress_module
from webpairs.progress import RunProgress, StageTotal

STAGE = StageTotal("build", "candidates", 1_000, done=200)


def plain() -> tuple[io.StringIO, RunProgress]:
    stream = io.StringIO()
    return stream, RunProgress(console=Console(file=stream, force_terminal=False, width=200))


def terminal(width: int = 200) -> tuple[io.StringIO, RunProgress]:
    stream = io.StringIO()
    return stream, RunProgress(console=Console(file=stream, force_terminal=True, width=width))


def test_a_stage_ends_with_one_plain_line() -> None:
    stream, progress = plain()
    with progress.stage(STAGE):
        for _ in range(4):
            progress.add({"done": 200, "samples": 50, "similarity": 100, "too_small": 50})
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("build: 1,000/1,000 candidates, ")
    assert line.endswith("/s · samples 200 · similarity 400 · too_small 200")
    assert "\x1b" not in line


def test_a_plain_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock)
    stream, progress = plain()
    with progress.stage(StageTotal("extract", "MB", 100)):
        for step in range(30):
            clock = float(step + 1)
            progress.add({"done": 2})
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4, "after 10, 20 and 30 seconds, and at the end"
    assert lines[0] == "extract: 20/100 MB, 40 s left, 2 MB/s"
    assert lines[-1] == "extract: 60/100 MB, 20 s left, 2 MB/s"


def test_what_was_done_before_is_no_speed_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 0.0
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock)
    stream, progress = plain()
    with progress.stage(STAGE):
        clock = 4.0
        progress.add({"done": 400})
    assert "600/1,000 candidates, 4 s left, 100/s" in stream.getvalue()


def test_only_the_most_frequent_reasons_are_named() -> None:
    stream, progress = plain()
    with progress.stage(STAGE):
        progress.add({f"reason_{number}": number for number in range(1, 8)})
    assert "reason_7 7 · reason_6 6 · reason_5 5 · reason_4 4" in stream.getvalue()
    assert "reason_3" not in stream.getvalue()


@pytest.mark.parametrize("width", [200, 80, 40])
def test_a_bar_on_a_terminal(width: int) -> None:
    stream, progress = terminal(width)
    with progress.stage(STAGE):
        progress.add({"done": 300, "samples": 30, "similarity": 270})
        progress.say("a line above the bars [not markup]")
    shown = stream.getvalue()
    assert "bu" in shown
    assert "a line above" in shown
    if width >= 80:
        assert "500/1,000 candidates" in shown
    if width == 200:
        assert "50%" in shown
        assert "500/1,000 candidates" in shown
        assert "samples 30 · similarity 270" in shown


@pytest.mark.parametrize("make", [plain, terminal])
def test_a_stage_without_anything_to_do(make: type) -> None:
    stream, progress = make()
    with progress.stage(StageTotal("dedupe", "parts", 0)):
        progress.add({})
    assert "dedupe" in stream.getvalue()


def test_quiet_says_nothing_and_counts_outside_a_stage_are_dropped() -> None:
    stream = io.StringIO()
    progress = RunProgress(quiet=True, console=Console(file=stream))
    progress.add({"done": 1})
    with progress.stage(STAGE):
        progress.add({"done": 1})
    progress.say("hidden")
    assert stream.getvalue() == ""
    stream, progress = plain()
    progress.add({"done": 1})
    assert stream.getvalue() == ""


@pytest.mark.parametrize("make", [plain, terminal])
def test_an_error_ends_the_bars_and_passes_through(make: type) -> None:
    stream, progress = make()
    with pytest.raises(ZeroDivisionError), progress.stage(STAGE):
        raise ZeroDivisionError
    shown = stream.getvalue()
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h"), "the cursor is shown again"
    progress.add({"done": 1})
    assert stream.getvalue() == shown
