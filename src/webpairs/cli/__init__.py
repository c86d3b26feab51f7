"""The `webpairs` command."""

from webpairs.cli import build
from webpairs.cli.app import app, run

__all__ = ["app", "build", "run"]
