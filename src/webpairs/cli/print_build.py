"""Printing what the verbs return, for people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from webpairs.cli.print_funnel import funnel_table
from webpairs.cli.say import say
from webpairs.quantities import counted

if TYPE_CHECKING:
    from webpairs.demo.hostile_check import HostileCheck
    from webpairs.demo.run import DemoResult
    from webpairs.export.export import ExportResult
    from webpairs.report.write import ReportResult
    from webpairs.run.result import BuildResult, ExtractResult
    from webpairs.run.retry import RetryGain
    from webpairs.run_folder.texts_per_image import PlaceholderReport

NUM_WARNINGS: Final = 5


def print_build_result(result: BuildResult) -> None:
    """Print the funnel and where the dataset is."""
    console = _console()
    print_warnings(console, result.warnings)
    console.print(funnel_table(result.funnel))
    if result.placeholders is not None:
        print_placeholders(result.placeholders)
    if result.gain is not None:
        _print_gain(console, result.gain)
    _print_advice(console, result.advice)
    say(console, f"\ndataset: {result.out}")
    if result.next_lines:
        say(console, "\nnext:")
        for line in result.next_lines:
            say(console, f"  {line}")


def _print_gain(console: Console, gain: RetryGain) -> None:
    """Print how many of the candidates that were tried again became samples, by reason."""
    tried = counted(gain.tried.total(), "candidate")
    say(console, f"\ntried again: {tried}; samples now: {gain.gained.total():,}")
    for reason, num in gain.tried.items():
        say(console, f"  {reason}: {gain.gained[reason]:,} of {num:,}")
    if gain.dropped.total():
        dropped = ", ".join(f"{num:,} {reason}" for reason, num in gain.dropped.most_common())
        say(console, f"  dropped again: {dropped}")


def _print_advice(console: Console, advice: Sequence[str]) -> None:
    for line in advice:
        say(console, f"\n{line}")


def print_extract_result(result: ExtractResult) -> None:
    """Print what extract counted and the files it wrote."""
    console = _console()
    print_warnings(console, result.warnings)
    console.print(funnel_table(result.funnel, to_candidates=True))
    _print_advice(console, result.advice)
    say(console, f"\ncandidates: {_folder(result.candidates, result.out)}")


def print_placeholders(report: PlaceholderReport) -> None:
    """Print which images stand under so many texts that none can be about them."""
    if not report.num_images:
        return
    from webpairs.run_folder.texts_per_image import MANY_TEXTS

    console = _console()
    say(
        console,
        f"\n{counted(report.num_samples, 'sample')} with {counted(report.num_images, 'image')} "
        f"under {MANY_TEXTS} "
        'different texts or more each: logos, or pictures such as "image not found". '
        "columns/texts_per_image says how many texts each sample's image has; the most:",
    )
    for one in report.top:
        say(
            console,
            f"  {counted(one.num_texts, 'text')}, {counted(one.num_samples, 'sample')}: "
            f"sha256 {one.sha256}",
        )


def print_demo_result(result: DemoResult) -> None:
    """Print the funnel, how well the filter did, and what to type next."""
    console = _console()
    console.print(funnel_table(result.build.funnel))
    score = result.score
    for fate, (expected, found) in sorted(score.miscounts.items()):
        say(console, f"not as the truth has it: {fate}: {found:,} instead of {expected:,}")
    say(
        console,
        f"\nprecision {score.precision:.3f}, recall {score.recall:.3f} at similarity >= "
        f"{result.threshold:g}, against the truth of the little web",
    )
    say(console, f"\ndataset: {result.build.out}")
    say(console, "\nnext:")
    for line in result.next_lines:
        say(console, f"  {line}")


def print_hostile_check(check: HostileCheck) -> None:
    """Print each behaviour that was not met as it must be, and how many were."""
    console = _console()
    for one in check.meetings:
        if not one.agrees:
            say(console, f"{one.name}: {one.found} instead of {one.expected}")
    if check.num_trapped:
        say(console, f"{counted(check.num_trapped, 'connection')} reached a forbidden address")
    say(
        console,
        f"{check.num_agreeing} of {len(check.meetings)} behaviours of the hostile web came to the "
        f"end they must (docs/hostile.md has them all)\n\ndataset: {check.out}",
    )


def print_export_result(result: ExportResult) -> None:
    """Print how many samples were written where, and what was skipped."""
    console = _console()
    for report in result.reports:
        num_shards = len(report.shard_samples)
        say(
            console,
            f"{report.target.config}: {counted(report.num_rows, 'row')} = "
            f"{counted(report.num_samples, 'sample')} "
            f"in {counted(num_shards, 'shard')}"
            + "".join(f" + {num:,} {reason}" for reason, num in report.skipped.items()),
        )
        for what, num in report.noted.items():
            say(console, f"  {num:,} {what}")
        say(console, f"  {report.target.folder}")
    if result.finished_before:
        say(console, "it was finished before: nothing was left to do")
    if result.wrote_nothing:
        say(
            console,
            "nothing was written: every chosen sample was skipped, for the reasons above; "
            "webpairs verify says what is wrong with the dataset",
        )


def print_report_result(result: ReportResult) -> None:
    """Print where the report is, and what does not agree in what it counted."""
    console = _console()
    for one in result.datasets:
        for line in one.disagreements:
            say(console, f"{one.name}: {line}")
        for name, num in one.problems.items():
            say(console, f"{one.name}: {num:,} {name}")
    say(console, f"report: {result.page}\nnumbers: {result.numbers}")


def _console() -> Console:
    return Console(highlight=False)


def print_warnings(console: Console, warnings: Sequence[str]) -> None:
    """Print the first of extract's warnings, and how many more there are."""
    for line in warnings[:NUM_WARNINGS]:
        say(console, f"about the input: {line}")
    if len(warnings) > NUM_WARNINGS:
        say(console, f"... and {len(warnings) - NUM_WARNINGS} more in stats/extract.json")


def _folder(paths: Sequence[Path], out: Path) -> str:
    return f"{out / 'candidates'} ({counted(len(paths), 'file')})"
