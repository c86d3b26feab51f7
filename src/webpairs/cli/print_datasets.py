"""Printing what the verbs that look at datasets return, for people or, as JSON, for programs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from webpairs.cli.say import say
from webpairs.errors import ConfigError
from webpairs.quantities import counted
from webpairs.safe_text import visible

if TYPE_CHECKING:
    from webpairs.describe.info import Info, RunFacts
    from webpairs.verify.verify import Verification

NUM_MISSING: Final = 10
TEXT_CHARS: Final = 60


def as_json(value: Any) -> str:
    """Return a value as indented JSON."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n"


def hand_out(text: str, out: str | None = None) -> None:
    """Print a text as it is, or write it to a file, whole or not at all.

    Raises ConfigError when the file cannot be written.
    """
    if out is None:
        sys.stdout.write(text)
        return
    from webpairs.files import write_whole

    try:
        with write_whole(Path(out)) as temporary:
            temporary.write_text(text)
    except OSError as error:
        raise ConfigError(f"cannot write --out {out}: {error.strerror}") from error


def print_verification(checked: Verification) -> None:
    """Print a line for each finding, and what was looked at."""
    console = Console(highlight=False)
    for finding in checked.findings.listed:
        say(console, finding.line)
    for (file, fault), num in checked.findings.unlisted.items():
        say(console, f"{file}: {fault}: {num:,} more")
    looked_at = (
        f"{checked.folder} ({checked.kind}): {counted(checked.num_shards, 'shard')}, "
        f"{counted(checked.num_samples, 'sample')}{', deep' if checked.deep else ''}"
    )
    counts = ", ".join(f"{name} {num:,}" for name, num in checked.findings.counts().items())
    say(console, f"{looked_at}: {counts or 'nothing is wrong'}")


def print_info(info: Info) -> None:
    """Print what was recognised, its schema and counts, and some rows as a table."""
    console = Console(highlight=False)
    say(console, f"{info.folder}: {info.kind} (known by {info.why})")
    size = "" if info.embedding_size is None else f", embeddings of {info.embedding_size} numbers"
    say(console, f"samples: {info.num_samples:,}, shards: {info.num_shards:,}{size}")
    if info.run is not None:
        say(console, _made(info.run))
    if info.missing_shards:
        shown = ", ".join(info.missing_shards[:NUM_MISSING])
        more = ", ..." if len(info.missing_shards) > NUM_MISSING else ""
        say(console, f"missing shards: {len(info.missing_shards):,} ({shown}{more})")
    for name, num in info.problems.items():
        say(console, f"problem: {name} {num:,}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("feature", "type", "what it is"):
        table.add_column(name)
    for one in info.features:
        shape = ", ".join("any" if size is None else str(size) for size in one.shape)
        table.add_row(one.name, one.dtype + (f" ({shape})" if shape else ""), one.description)
    say(console, "")
    console.print(table)
    further = ", ".join(f"{name} {kind}" for name, kind in info.columns.items())
    say(console, f"\nfurther columns: {further}")
    if info.rows:
        say(console, "")
        console.print(_rows_table(info))


def _made(run: RunFacts) -> str:
    if run.model is None:
        judged = "not scored"
    else:
        judged = f"scored by {run.model}, threshold {run.threshold:g}"
    images = "" if run.images is None else f", images from {run.images}"
    finished = "not finished" if run.finished is None else f"finished {run.finished}"
    return f"recipe {run.recipe}, {judged}{images}; webpairs {run.webpairs}, {finished}"


def _rows_table(info: Info) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("key", "caption", "similarity", "nsfw", "size"):
        table.add_column(name, justify="right" if name in ("similarity", "size") else "left")
    for row in info.rows:
        table.add_row(
            Text(row["key"]),
            Text(visible(row["caption"], TEXT_CHARS)),
            f"{row['similarity']:.3f}",
            row["nsfw"],
            f"{row['original_width']}x{row['original_height']}",
        )
    return table
