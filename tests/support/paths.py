"""Folders that tests name."""

from pathlib import Path

TESTS = Path(__file__).parents[1]
"""What the helpers are imported from, as `support`."""
REPOSITORY = TESTS.parent
DOCS = REPOSITORY / "docs"
DATA = TESTS / "data"
