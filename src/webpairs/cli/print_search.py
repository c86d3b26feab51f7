"""Printing what the verbs that index and search return: for people, for programs, as a page."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from webpairs.cli.say import say
from webpairs.quantities import counted
from webpairs.safe_text import visible

if TYPE_CHECKING:
    from webpairs.search.index.build import IndexResult
    from webpairs.search.result import Hit, SearchResult

TEXT_CHARS: Final = 60
URL_CHARS: Final = 80


def print_index_result(result: IndexResult) -> None:
    """Print what is indexed, how, and how much of what is nearest a search finds."""
    console = Console(highlight=False)
    if result.done_before:
        say(console, "it was indexed before: nothing was left to do")
    for note in result.notes:
        say(console, note)
    for kind, entry in result.manifest["indexes"].items():
        recall = ", ".join(
            f"{query} to {kind} {found['recall']['at_10']:.3f}"
            for query, found in entry["queries"].items()
        )
        how = "exact" if entry["kind"] == "exact" else f"{entry['lists']:,} lists, {entry['code']}"
        left_out = entry["without_direction"]
        beside = f" ({counted(left_out, 'sample')} without)" if left_out else ""
        say(console, f"{kind}: {counted(entry['count'], 'embedding')}{beside}, {how}")
        say(console, f"  recall of the ten nearest: {recall}")
    say(console, f"\nindex: {result.folder}")


def print_search_result(result: SearchResult, output: str, title: str) -> None:
    """Print results as a table, as JSON or as an HTML page."""
    if output == "json":
        hits = [plain(hit.as_json()) for hit in result.hits]
        found = orjson.dumps({"note": result.note, "hits": hits}, option=orjson.OPT_INDENT_2)
        sys.stdout.write(found.decode() + "\n")
    elif output == "html":
        from webpairs.search.page import results_page

        sys.stdout.write(results_page(title, result.hits, result.pictures, result.note))
    else:
        _print_table(result)


def _print_table(result: SearchResult) -> None:
    console = Console(highlight=False)
    if not result.hits:
        say(console, "nothing was found")
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("similarity", justify="right")
    table.add_column("key", no_wrap=True)
    for name in ("caption", "url"):
        table.add_column(name, overflow="fold")
    for hit in result.hits:
        table.add_row(
            "" if hit.similarity is None else f"{hit.similarity:.3f}",
            shown(hit.key, TEXT_CHARS),
            _column(hit, "caption", TEXT_CHARS),
            _column(hit, "url", URL_CHARS),
        )
    console.print(table)


def _column(hit: Hit, name: str, most: int) -> Text:
    return shown(str(hit.columns.get(name, "")), most)


def shown(text: str, most: int) -> Text:
    """Return a text of the web for a terminal: cut, no markup, nothing that steers it."""
    return Text(visible(text, most))


def plain(value: Any) -> Any:
    """Return a value as JSON has it: bytes as hex, what is not a number as null."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value
