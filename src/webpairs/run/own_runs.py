"""Runs that this user began on this machine, with options that go beyond the defaults.

    $XDG_STATE_HOME/webpairs/runs/<hash of the folder's path>.json     by default ~/.local/state

A run folder remembers which networks it may reach and how hard it asks (remembered.py). A folder
that came from someone else must not decide that for the one who types `webpairs retry`: it could
name the loopback addresses of this machine. So what goes beyond the defaults is also kept here, by
the folder's path and inode, and is used again only where both agree. Nothing here is secret.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from webpairs.fetch_options import DEFAULTS
from webpairs.files import read_regular, write_json


def beyond_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that reach further, or ask more of a host, than the defaults do."""
    found: dict[str, Any] = {}
    for name in ("per_host", "per_host_rate", "connections", "retries"):
        value = values.get(name, DEFAULTS[name])
        # A rate of 0 is no limit.
        if value > DEFAULTS[name] or (name == "per_host_rate" and not value):
            found[name] = value
    if networks := list(values.get("allow_network", ())):
        found["allow_network"] = networks
    return found


def is_own(out: Path, values: Mapping[str, Any]) -> bool:
    """Tell whether this user gave these values, or ones that reach further, for this folder."""
    try:
        known = orjson.loads(read_regular(_path(out)))
        same = known["inode"] == out.stat().st_ino
        given = known["values"]
        return same and all(
            set(value) <= set(given.get(name, ()))
            if name == "allow_network"
            else value == given.get(name)
            for name, value in values.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def keep_as_own(out: Path, values: Mapping[str, Any]) -> None:
    """Keep what this user gave for a folder; where that cannot be written it is asked for again."""
    path = _path(out)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        facts = {"folder": str(out.resolve()), "inode": out.stat().st_ino, "values": dict(values)}
        write_json(path, facts)
    except OSError:
        return


def _path(out: Path) -> Path:
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    name = hashlib.sha256(os.fsencode(out.resolve())).hexdigest()[:32]
    return Path(home) / "webpairs" / "runs" / f"{name}.json"
