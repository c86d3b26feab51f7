"""Name the verbs of the `webpairs` command; no logic lives here."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False)
