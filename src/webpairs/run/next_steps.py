"""Commands that lead on from what was made, as they are typed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from webpairs.drops import Drop
from webpairs.options import RETRY_REASONS
from webpairs.run_folder.funnel import Funnel

_PASSING: Final = frozenset(map(Drop, RETRY_REASONS))
"""Reasons that a retry takes by default."""


def command() -> str:
    """Return how the command was typed: `./run` leaves word of it."""
    return os.environ.get("WEBPAIRS_COMMAND", "webpairs")


def next_lines(out: Path, manifest: Mapping[str, Any], funnel: Funnel) -> tuple[str, ...]:
    """Return what may be typed after a dataset was built, or tried again."""
    typed, folder = command(), shlex.quote(str(out))
    # Beside the run folder, which holds nothing but its own.
    beside = out.resolve() if out.name in ("", "..") else out
    page, exported = (
        shlex.quote(str(beside.with_name(f"{beside.name}-{what}")))
        for what in ("report.html", "hf")
    )
    lines = [f"{typed} report {folder} --out {page}"]
    if funnel.samples:
        if manifest.get("model") is not None:
            lines.append(f"{typed} index {folder} && {typed} serve {folder}")
        lines.append(f"{typed} export {folder} --to huggingface --out {exported}")
    images = (manifest.get("options") or {}).get("images")
    if images == "web" and any(funnel.drops[reason] for reason in _PASSING):
        lines.append(f"{typed} retry {folder}")
    return tuple(lines)
