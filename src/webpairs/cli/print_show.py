"""Printing the facts of rows, for people or for programs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console
from rich.table import Table

from webpairs.cli.print_search import plain, shown
from webpairs.cli.say import say
from webpairs.dataset.row_lookup import MAX_ROWS
from webpairs.drops import Drop

if TYPE_CHECKING:
    from webpairs.dataset.row_lookup import ShownRow, ShownRows

FORMATS: Final = ("table", "json")
VALUE_CHARS: Final = 10_000


def print_rows(found: ShownRows, output: str) -> None:
    """Print rows as tables of their facts, or as JSON."""
    if output == "json":
        told = orjson.dumps(plain(found.as_json()), option=orjson.OPT_INDENT_2)
        sys.stdout.write(told.decode() + "\n")
        return
    console = Console(highlight=False)
    for number, row in enumerate(found.rows):
        if number:
            say(console, "")
        say(console, _heading(row))
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in (*row.columns.items(), *row.lies_in):
            table.add_row(shown(name, VALUE_CHARS), shown(_text(value), VALUE_CHARS))
        console.print(table)
    if found.num_found > len(found.rows):
        say(console, f"... and {found.num_found - MAX_ROWS:,} more")


def _heading(row: ShownRow) -> str:
    if row.kind == "sample":
        said = f"sample {row.columns.get('key', '')} of shard {row.shard}"
    else:
        said = f"drop of shard {row.shard}"
        if (reason := row.columns.get("reason")) in frozenset(Drop):
            said += f": {reason}: {Drop(reason).meaning}"
    return said + (" (tried again since: another row counts)" if row.superseded else "")


def _text(value: Any) -> str:
    """Return a value as people read it."""
    told = plain(value)
    if told is None:
        return "-"
    return orjson.dumps(told).decode().strip('"') if not isinstance(told, str) else told
