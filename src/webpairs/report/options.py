"""What a user may ask of `report`, checked before anything is read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from webpairs.errors import ConfigError
from webpairs.options import check_lists

DEFAULT_OUT: Final = "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportOptions:
    """Options of `webpairs report`.

    Raises ConfigError naming the value, the limit and the fix.
    """

    folders: tuple[str, ...]
    """One, or two to compare."""
    out: str = DEFAULT_OUT
    images: bool = False
    """Whether thumbnails are shown."""

    def __post_init__(self) -> None:
        check_lists(self)
        if not 1 <= len(self.folders) <= 2:
            raise ConfigError(f"{len(self.folders)} folders: report on one, or compare two")
        if len({Path(folder).resolve() for folder in self.folders}) < len(self.folders):
            raise ConfigError(f"{self.folders[0]} is named twice: compare it with another folder")
        if self.images and len(self.folders) > 1:
            raise ConfigError("--images shows samples of one folder: leave it out to compare two")
        if "://" in self.out:
            raise ConfigError(f"--out {self.out} is a URL: use a local file")
        page = Path(self.out)
        if page.suffix.lower() not in (".html", ".htm") or page.is_dir():
            raise ConfigError(f"--out {self.out}: name a file that ends in .html")
        folder = page.absolute().parent
        if not folder.is_dir():
            raise ConfigError(f"--out {self.out}: there is no folder {folder}: make it first")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise ConfigError(f"cannot write to {folder}: check its permissions, or --out")

    @property
    def page(self) -> Path:
        """Return where the page goes."""
        return Path(self.out)

    @property
    def numbers(self) -> Path:
        """Return where the numbers go: beside the page, as JSON."""
        return self.page.with_suffix(".json")
