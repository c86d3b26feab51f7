"""Show how far a run is: bars on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column

PLAIN_INTERVAL_S: Final = 10.0
NUM_REASONS: Final = 4
"""Drop reasons named beside a bar; the funnel at the end names all."""


@dataclass(frozen=True, slots=True)
class StageTotal:
    """Say what a stage counts: `total` in `unit` ("candidates", "MB"), `done` of them before."""

    name: str
    unit: str
    total: float
    done: float = 0


class Reporter(Protocol):
    """Take a stage's counts; `done` is what the bar shows, the other names are told beside it."""

    def add(self, counts: Mapping[str, float]) -> None:
        """Add counts to the stage that is under way."""
        ...


class RunProgress:
    """Show one stage after the other on standard error."""

    def __init__(self, *, quiet: bool = False, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._quiet = quiet
        self._reporter: Reporter | None = None

    @contextmanager
    def stage(self, total: StageTotal) -> Generator[None]:
        """Show `total` while the block runs."""
        if self._quiet:
            yield
            return
        shown = _Bar if self._console.is_terminal else _Lines
        with shown(total, self._console).running() as reporter:
            self._reporter = reporter
            try:
                yield
            finally:
                self._reporter = None

    def add(self, counts: Mapping[str, float]) -> None:
        """Add counts to the stage that is under way, if any."""
        if self._reporter is not None:
            self._reporter.add(counts)

    def say(self, line: str) -> None:
        """Print one line above the bars."""
        if not self._quiet:
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Counts:
    def __init__(self, total: StageTotal) -> None:
        self.total = total
        self.done = total.done
        self.others: Counter[str] = Counter()
        self._started = time.monotonic()

    def add(self, counts: Mapping[str, float]) -> None:
        for name, num in counts.items():
            if name == "done":
                self.done += num
            else:
                self.others[name] += int(num)

    def amount(self) -> str:
        """Return `120/4,000 candidates`, or `0.1/0.2 MB` where whole numbers would say nothing."""
        digits = 1 if self.total.unit == "MB" and self.total.total < 10 else 0
        return f"{self.done:,.{digits}f}/{self.total.total:,.{digits}f} {self.total.unit}"

    def rate(self) -> float:
        elapsed_s = time.monotonic() - self._started
        return (self.done - self.total.done) / elapsed_s if elapsed_s > 0 else 0.0

    def tail(self) -> str:
        """Return `123/s · samples 10 · similarity 80 · too_small 3`, in the stage's unit."""
        rate = self.rate()
        shown = f"{rate:,.1f}" if rate < 10 else f"{rate:,.0f}"
        parts = [f"{shown}/s"]
        others = Counter(self.others)
        if "samples" in others:
            parts.append(f"samples {others.pop('samples'):,}")
        parts += [f"{name} {num:,}" for name, num in others.most_common(NUM_REASONS)]
        return " · ".join(parts)


class _Bar:
    def __init__(self, total: StageTotal, console: Console) -> None:
        self._counts = _Counts(total)
        self._progress = Progress(
            TextColumn("{task.description:<7}"),
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TextColumn("{task.fields[amount]}"),
            TimeRemainingColumn(compact=True),
            # What does not fit into the rest of the line is cut off, never the bar.
            TextColumn(
                "{task.fields[tail]}",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            expand=True,
            console=console,
        )
        self._task = self._progress.add_task(
            total.name,
            total=total.total,
            completed=int(total.done),
            amount=self._counts.amount(),
            tail="",
        )

    @contextmanager
    def running(self) -> Generator[Reporter]:
        with self._progress:
            yield self

    def add(self, counts: Mapping[str, float]) -> None:
        self._counts.add(counts)
        self._progress.update(
            self._task,
            completed=self._counts.done,
            amount=self._counts.amount(),
            tail=self._counts.tail(),
        )


class _Lines:
    """Print a line each `PLAIN_INTERVAL_S`, and one when the stage ends."""

    def __init__(self, total: StageTotal, console: Console) -> None:
        self._counts = _Counts(total)
        self._console = console
        self._last = time.monotonic()

    @contextmanager
    def running(self) -> Generator[Reporter]:
        yield self
        self._print()

    def add(self, counts: Mapping[str, float]) -> None:
        self._counts.add(counts)
        if time.monotonic() - self._last >= PLAIN_INTERVAL_S:
            self._print()

    def _print(self) -> None:
        self._last = time.monotonic()
        total = self._counts.total
        self._console.print(
            f"{total.name}: {self._counts.amount()}, {self._counts.tail()}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
