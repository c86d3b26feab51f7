"""Extracting one group of inputs: a pure function of its unit, so that an engine can map it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from webpairs.crawl.inputs import Input
from webpairs.extract.archive_index import ImageIndexWriter
from webpairs.extract.candidates import DEFAULT_MAX_ROWS, CandidateWriter
from webpairs.extract.page import ExtractRules, ExtractStats
from webpairs.extract.tables.read import extract_table
from webpairs.extract.warc import extract_warc
from webpairs.extract.wat import extract_wat

UNIT_BYTES: Final = 256 << 20
"""Small inputs are grouped up to this: some 10 s of work, so that a crash loses little and a
folder of thousands of small files does not become thousands of small files again."""


@dataclass(frozen=True, slots=True)
class ExtractUnit:
    """The inputs of one group and what is written of them."""

    name: str
    inputs: tuple[Input, ...]
    candidates_path: str
    images_path: str | None
    """The image index, in archive mode."""
    rules: ExtractRules
    max_rows_in_memory: int = DEFAULT_MAX_ROWS


def plan_units(
    inputs: Iterable[Input],
    folder: str | Path,
    rules: ExtractRules,
    *,
    archive: bool,
    max_rows_in_memory: int = DEFAULT_MAX_ROWS,
) -> list[ExtractUnit]:
    """Group inputs in their order: one unit for a big input, small ones up to `UNIT_BYTES`."""
    groups: list[list[Input]] = []
    num_bytes = 0
    for one in inputs:
        if not groups or num_bytes + one.bytes > UNIT_BYTES:
            groups.append([])
            num_bytes = 0
        groups[-1].append(one)
        num_bytes += one.bytes
    folder = Path(folder)
    return [
        ExtractUnit(
            name=f"{number:05}",
            inputs=tuple(group),
            candidates_path=str(folder / f"{number:05}.parquet"),
            images_path=str(folder / f"{number:05}.images.parquet") if archive else None,
            rules=rules,
            max_rows_in_memory=max_rows_in_memory,
        )
        for number, group in enumerate(groups)
    ]


def extract_unit(unit: ExtractUnit) -> ExtractStats:
    """Write a unit's candidates, and in archive mode its image index, whole or not at all.

    Every input is read once. Doing it again gives the same files. Raises OSError when an input
    cannot be read or the disk is full; what is wrong inside an input is counted.
    """
    stats = ExtractStats()
    with ExitStack() as stack:
        index = None
        if unit.images_path is not None:
            index = stack.enter_context(ImageIndexWriter(unit.images_path, stats))
        writer = stack.enter_context(
            CandidateWriter(
                unit.candidates_path, unit.rules, stats, max_rows_in_memory=unit.max_rows_in_memory
            )
        )
        for one in unit.inputs:
            if one.kind == "wat":
                extract_wat(one.path, one.name, writer, stats)
            elif one.kind == "table":
                extract_table(one.path, one.name, writer, stats)
            else:
                extract_warc(one.path, one.name, writer, stats, index)
    return stats
