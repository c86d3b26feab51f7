"""Tell what kind of dataset a folder holds, by what is in it."""

from __future__ import annotations

from pathlib import Path

from webpairs.errors import ConfigError
from webpairs.load.run_folder import RunFolder
from webpairs.load.source import Source

_ACCEPTED = "a run folder (manifest.json and stats/)"


def recognise(folder: Path) -> Source:
    """Return the source that a folder is; ConfigError names what was found instead."""
    if (folder / "manifest.json").is_file() and (folder / "stats").is_dir():
        return RunFolder(folder)
    raise ConfigError(f"{folder} is no dataset that can be opened: {_ACCEPTED}")
