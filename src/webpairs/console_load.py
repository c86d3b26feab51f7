"""Print what the verbs that look at datasets return, for people or, as JSON, for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console

if TYPE_CHECKING:
    from webpairs.load.verify import Verification


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def print_verification(checked: Verification) -> None:
    """Print a line for each finding, and what was looked at."""
    console = Console(highlight=False)
    for finding in checked.findings.listed:
        _say(console, finding.line)
    for (file, fault), num in checked.findings.unlisted.items():
        _say(console, f"{file}: {fault}: {num:,} more")
    looked_at = (
        f"{checked.folder} ({checked.kind}): {checked.num_shards:,} shards, "
        f"{checked.num_samples:,} samples{', deep' if checked.deep else ''}"
    )
    counts = ", ".join(f"{name} {num:,}" for name, num in checked.findings.counts().items())
    _say(console, f"{looked_at}: {counts or 'nothing is wrong'}")


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)
