"""Checks of values that several options share."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable

from webpairs.errors import ConfigError


def check_range(option: str, value: int, least: int, most: int, unit: str) -> None:
    """Raise ConfigError unless `value` lies between the limits, which are allowed too."""
    if not least <= value <= most:
        raise ConfigError(
            f"{option} {value} is out of range: use {least} to {most} {unit}".rstrip()
        )


def resolve_workers(workers: int | None) -> int:
    """Return the number of worker processes: as asked, else one for each usable core."""
    return workers if workers is not None else len(os.sched_getaffinity(0))


def check_one(option: str, value: str, known: Iterable[str]) -> None:
    """Raise ConfigError naming the nearest right value unless `value` is known."""
    names = tuple(known)
    if value in names:
        return
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    shown = ", ".join(names) if len(names) <= 12 else ", ".join(names[:12]) + ", ..."
    raise ConfigError(f"{option} {value!r} is unknown: {hint}use one of {shown}")


def parse_bytes(text: str) -> int:
    """Return the number of bytes that `4GB`, `4G`, `500MB`, `2GiB` or a plain number means."""
    units = {"": 1, "B": 1}
    for power, letter in enumerate("KMGT", start=1):
        units |= {letter: 1000**power, f"{letter}B": 1000**power, f"{letter}IB": 1024**power}
    stripped = text.strip().upper()
    number = stripped.rstrip("BKMGTI ")
    unit = stripped[len(number) :].strip()
    try:
        value = float(number) * units[unit]
    except (ValueError, KeyError):
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{text!r} is not an amount of memory: write it like 4GB, 500MB or 2GiB")
    return int(value)
