"""The `webpairs` command."""

from webpairs.cli import build, report, search, serve
from webpairs.cli import datasets as load
from webpairs.cli.app import app, run

__all__ = ["app", "build", "load", "report", "run", "search", "serve"]
