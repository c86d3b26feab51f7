"""Lines of output that may hold names and texts of others."""

from __future__ import annotations

from rich.console import Console

from webpairs.safe_text import visible


def say(console: Console, line: str) -> None:
    """Print a line, or several: no markup, no wrapping, nothing in them steers the terminal."""
    console.print(visible_lines(line), markup=False, highlight=False, soft_wrap=True)


def visible_lines(text: str) -> str:
    """Return a text of several lines without what steers a terminal."""
    return "\n".join(visible(line) for line in text.split("\n"))
