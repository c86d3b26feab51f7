"""The `webpairs` command."""

from webpairs.cli import build, load, report, search, serve
from webpairs.cli.app import app, run

__all__ = ["app", "build", "load", "report", "run", "search", "serve"]
