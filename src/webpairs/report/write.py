"""Writing the report of a dataset, or of two beside each other: a page, and its numbers as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from webpairs.dataset.dataset import open_dataset
from webpairs.files import write_json, write_whole
from webpairs.progress import RunProgress
from webpairs.report.gather import Gathered, gather
from webpairs.report.numbers import numbers
from webpairs.report.options import ReportOptions
from webpairs.report.page import page
from webpairs.report.sections.examples import wanted_pictures
from webpairs.report.thumbnails import Pictures, thumbnails
from webpairs.run_folder.lock import explained


@dataclass(frozen=True, slots=True)
class ReportResult:
    """Where the report is, and what it counted."""

    page: Path
    numbers: Path
    datasets: tuple[Gathered, ...]


def write_report(options: ReportOptions, progress: RunProgress | None = None) -> ReportResult:
    """Read one folder or two and write their report; both files are there whole or not at all.

    Raises ConfigError where a folder is not a dataset or its counts cannot be read, RunError when
    the disk does not suffice.
    """
    progress = progress or RunProgress(quiet=True)
    opened = [open_dataset(folder) for folder in options.folders]
    pictures: Pictures = {}
    alone = len(opened) == 1
    spill = options.page.absolute().with_name(f".{options.page.name}.spill")
    with explained(options.page.absolute().parent):
        gathered = [gather(ds, spill, with_map=alone, progress=progress) for ds in opened]
        if options.images and alone:
            pictures = thumbnails(opened[0], wanted_pictures(gathered[0]))
        with write_whole(options.page) as temporary:
            temporary.write_text(page(gathered, pictures), encoding="utf-8")
        write_json(options.numbers, numbers(gathered))
    return ReportResult(options.page, options.numbers, tuple(gathered))
