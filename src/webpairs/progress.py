"""Showing how far a run is: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.table import Column
from rich.text import Text

from webpairs.figures import FetchFigures, StageFigures, duration_text, rate_text
from webpairs.quantities import size_of
from webpairs.safe_text import visible

PLAIN_INTERVAL_S: Final = 10.0
BAR_INTERVAL_S: Final = 0.1
NUM_REASONS: Final = 4
"""Drop reasons named beside a bar; the funnel at the end names all."""


@dataclass(frozen=True, slots=True)
class StageTotal:
    """What a stage counts: `total` in `unit` ("candidates", "MB"), `done` of them before."""

    name: str
    unit: str
    total: float
    done: float = 0


class _Shown(Protocol):
    """A way to show the stage that is under way."""

    @contextmanager
    def running(self) -> Generator[None]:
        """Show it while the block runs."""
        ...

    def refresh(self) -> None:
        """Show what was counted since."""
        ...


class RunProgress:
    """Progress of one stage after the other, on standard error, and its figures."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._quiet = quiet
        self._counts: _Counts | None = None
        self._shown: _Shown | None = None

    @contextmanager
    def stage(
        self, total: StageTotal, fetching: Callable[[], FetchFigures] = FetchFigures
    ) -> Generator[None]:
        """Show `total` while the block runs; `fetching` says what the stage's fetcher has to do."""
        self._counts = counts = _Counts(total, fetching)
        try:
            if self._quiet:
                yield
                return
            shown = (_Bar if self._console.is_terminal else _Lines)(counts, self._console)
            with shown.running():
                self._shown = shown
                yield
        finally:
            self._counts = self._shown = None

    def add(self, counts: Mapping[str, float]) -> None:
        """Add counts to the stage that is under way, if any.

        `done` is what the bar shows, the other names are told beside it.
        """
        if self._counts is not None:
            self._counts.add(counts)
        if self._shown is not None:
            self._shown.refresh()

    def figures(self) -> StageFigures | None:
        """Return the figures of the stage that is under way, if any; any thread may ask."""
        counts = self._counts
        return None if counts is None else counts.figures()

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        if not self._quiet:
            self._console.print(visible(line), highlight=False, markup=False, soft_wrap=True)


class _Counts:
    def __init__(self, total: StageTotal, fetching: Callable[[], FetchFigures]) -> None:
        self.total = total
        self.done = total.done
        self._others: Counter[str] = Counter()
        self._started = time.monotonic()
        self._fetching = fetching

    def add(self, counts: Mapping[str, float]) -> None:
        for name, num in counts.items():
            if name == "done":
                self.done += num
            else:
                self._others[name] += int(num)

    def figures(self) -> StageFigures:
        total = self.total
        return StageFigures(
            name=total.name,
            unit=total.unit,
            total=total.total,
            done=self.done,
            done_before=total.done,
            elapsed_s=time.monotonic() - self._started,
            counts=dict(self._others),  # in one step, while another thread adds
            fetch=self._fetching(),
        )


def amount_text(figures: StageFigures) -> str:
    """Return `120/4,000 candidates`, or `9.1/75.2 kB`: a unit in which the total is not 0."""
    done, total, unit = figures.done, figures.total, figures.unit
    if unit == "MB" and total < 1:
        done, total, unit = 1_000 * done, 1_000 * total, "kB"
    digits = 1 if unit in ("kB", "MB") and total < 100 else 0
    return f"{done:,.{digits}f}/{total:,.{digits}f} {unit}"


def tail_text(figures: StageFigures) -> str:
    """Return `123/s · samples 10 · similarity 80 · too_small 3`; of bytes `1.2 MB/s`."""
    rate = figures.rate
    parts = [f"{rate:,.1f}/s" if rate < 10 else f"{rate:,.0f}/s"]
    if figures.unit == "MB":
        parts = [f"{size_of(1e6 * rate)}/s"]
    others = Counter(figures.counts)
    if "samples" in others:
        parts.append(f"samples {others.pop('samples'):,}")
    parts += [f"{name} {num:,}" for name, num in others.most_common(NUM_REASONS)]
    if (host := figures.slowest) is not None:
        parts.append(f"waits for {host.host}: {host.waiting:,} at {rate_text(host.rate)}")
    return " · ".join(parts)


class _TimeLeft(ProgressColumn):
    """The stage's own estimate: rich's knows nothing of hosts."""

    max_refresh = 1.0

    def __init__(self, counts: _Counts) -> None:
        super().__init__()
        self._counts = counts

    def render(self, task: Task) -> Text:
        seconds = self._counts.figures().seconds_left
        shown = "" if seconds is None else duration_text(seconds)
        return Text(shown, style="progress.remaining")


class _Bar:
    def __init__(self, counts: _Counts, console: Console) -> None:
        self._counts = counts
        total = counts.total
        self._progress = Progress(
            TextColumn("{task.description:<7}"),
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TextColumn("{task.fields[amount]}"),
            _TimeLeft(counts),
            # What does not fit into the rest of the line is cut off, never the bar.
            TextColumn(
                "{task.fields[tail]}",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                markup=False,  # names of hosts
            ),
            expand=True,
            console=console,
        )
        self._told = -math.inf
        self._task = self._progress.add_task(
            total.name,
            total=total.total,
            completed=int(total.done),
            amount=amount_text(counts.figures()),
            tail="",
        )

    @contextmanager
    def running(self) -> Generator[None]:
        with self._progress:
            try:
                yield
            finally:
                self._tell()

    def refresh(self) -> None:
        # Counts come thousands of times a second, and all hosts are looked at for the figures.
        if time.monotonic() - self._told >= BAR_INTERVAL_S:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        figures = self._counts.figures()
        self._progress.update(
            self._task,
            completed=figures.done,
            amount=amount_text(figures),
            tail=tail_text(figures),
        )


class _Lines:
    """Printer of a line each `PLAIN_INTERVAL_S`, and one when the stage ends."""

    def __init__(self, counts: _Counts, console: Console) -> None:
        self._counts = counts
        self._console = console
        self._last = time.monotonic()

    @contextmanager
    def running(self) -> Generator[None]:
        yield
        self._print()

    def refresh(self) -> None:
        if time.monotonic() - self._last >= PLAIN_INTERVAL_S:
            self._print()

    def _print(self) -> None:
        self._last = time.monotonic()
        figures = self._counts.figures()
        seconds = figures.seconds_left
        left = f", {duration_text(seconds)} left" if seconds else ""
        self._console.print(
            f"{figures.name}: {amount_text(figures)}{left}, {tail_text(figures)}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
