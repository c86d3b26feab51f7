"""What can go wrong, sorted by what the user can do about it.

WebpairsError
  ConfigError    an option or an input is unusable: change it and run again (exit code 2)
  DataError      this one sample, record or file is bad: it is counted under a `Drop` and skipped
  RunError       the run could not go on (disk full, folder not writable, a unit that keeps
                 killing its worker): mend the cause and run the same line again (exit code 1)
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from webpairs.drops import Drop

MAX_DETAIL_CHARS: Final = 1_000
"""Characters of a detail that are kept: servers send headers of up to 64 KB that end up there."""


class WebpairsError(Exception):
    """The parent of every error that this package raises on purpose."""


class ConfigError(WebpairsError):
    """An option or an input that cannot be used: the message has value, limit and fix."""


class RunError(WebpairsError):
    """A run that cannot go on: the message says what to mend before it is started again."""


class DataError(WebpairsError):
    """A bad sample: `drop` is counted, `detail` is kept beside it, the run goes on."""

    def __init__(self, drop: Drop, detail: str = "") -> None:
        if len(detail) > MAX_DETAIL_CHARS:
            detail = f"{detail[:MAX_DETAIL_CHARS]}..."
        super().__init__(f"{drop}: {detail}" if detail else str(drop))
        self.drop = drop
        self.detail = detail


class DamagedFile(ConfigError, ValueError):
    """A file of a dataset that cannot be read as what it is."""

    def __init__(self, path: Path | str, reason: BaseException | str, cure: str | None = None):
        self.path = Path(path)
        super().__init__(f"{path} {_told(reason)}: {cure or RESTORE}")

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str]]:
        return ConfigError, (str(self),)


RESTORE: Final = (
    "put it back from a copy of the dataset, or make the dataset anew (webpairs verify says what "
    "else is wrong)"
)


def _told(reason: BaseException | str) -> str:
    """Return what is wrong with a file, as the end of a sentence that begins with its name."""
    if isinstance(reason, FileNotFoundError):
        return "is not there any more"
    if isinstance(reason, OSError) and reason.errno is not None:
        return f"cannot be read ({reason.strerror})"
    text = reason if isinstance(reason, str) else str(reason)
    line = (text.strip().splitlines() or [type(reason).__name__])[0]
    return f"is damaged ({line[:200]})"
