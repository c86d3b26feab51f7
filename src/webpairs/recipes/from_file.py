"""One's own recipe: a TOML file with fields of `Recipe`, checked before any work starts.

    name = "mine"
    based_on = "laion400m"          # has the fields that are not named here
    languages = ["en", "de"]
    min_side_px = 200

The file is data: nothing in it is executed, so a recipe from a stranger can be tried as it is. Its
SHA-256 is the field `sha256` of the recipe, which stands in the manifest with the others.
"""

from __future__ import annotations

import hashlib
import stat
import tomllib
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any, Final

from webpairs.checks import check_one
from webpairs.errors import ConfigError
from webpairs.recipes.languages import check_languages
from webpairs.recipes.limits import MAX_IMAGE_SIZE_PX, MAX_SIDE_PX, MAX_TEXT_CHARS, QUALITIES
from webpairs.recipes.recipe import (
    IMAGE_SOURCES,
    NAMES,
    RESIZE_MODES,
    STORED_FORMATS,
    TEXTS,
    Recipe,
    named_recipe,
)

MAX_BYTES: Final = 100_000
"""Of a file: a recipe has some twenty lines."""
MAX_NAME_CHARS: Final = 100
MAX_PIXELS: Final = 178_956_968
"""Twice Pillow's limit, where its decoders refuse (Pillow, `Image.MAX_IMAGE_PIXELS`)."""
_BASE: Final = "based_on"
_FIELDS: Final = tuple(field.name for field in fields(Recipe) if field.name != "sha256")
_REQUIRED: Final = tuple(field.name for field in fields(Recipe) if field.default is MISSING)
_LISTS: Final = {"texts": TEXTS, "image_sources": IMAGE_SOURCES, "formats": STORED_FORMATS}
_CHOICES: Final = {"resize": RESIZE_MODES, "image_format": STORED_FORMATS}
_RANGES: Final = {
    "min_text_chars": (0, MAX_TEXT_CHARS),
    "min_image_bytes": (0, 2**31 - 1),
    "max_pixels": (1, MAX_PIXELS),
    "image_size_px": (16, MAX_IMAGE_SIZE_PX),
    "min_side_px": (0, MAX_SIDE_PX),
    "jpeg_quality": QUALITIES["jpeg"],
    "png_compression": QUALITIES["png"],
    "webp_quality": QUALITIES["webp"],
}


def read_recipe(path: str) -> Recipe:
    """Return the recipe in a TOML file; raise ConfigError that names the file and the field."""
    data = _read(path)
    try:
        given = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: this is not TOML: {error}") from error
    for name in given:
        check_one(f"{path}: the field", name, (*_FIELDS, _BASE))
    values: dict[str, Any] = _base(path, given.pop(_BASE, None)) | {"name": Path(path).stem}
    values |= {name: _checked(path, name, value) for name, value in given.items()}
    missing = [name for name in _REQUIRED if name not in values]
    if missing:
        raise ConfigError(
            f'{path}: lacks {", ".join(missing)}: name them, or say {_BASE} = "{NAMES[0]}", which '
            "has them"
        )
    values["sha256"] = hashlib.sha256(data).hexdigest()
    return Recipe(**values)


def _read(path: str) -> bytes:
    if path.endswith(".py"):
        raise ConfigError(
            f"--recipe {path} is a Python file, and nothing of a recipe is executed: write it as "
            "TOML (docs/recipes.md)"
        )
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            raise ConfigError(f"--recipe {path} is not a file: name a TOML file")
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"--recipe {path}: there is no such file: check the spelling") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"--recipe {path} cannot be read: {error}") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"--recipe {path} has more than {MAX_BYTES:,} bytes: is it a recipe?")
    return data


def _base(path: str, name: Any) -> dict[str, Any]:
    """Return the fields of the recipe that the file is based on."""
    if name is None:
        return {}
    if not isinstance(name, str):
        raise ConfigError(
            f"{path}: {_BASE} = {name!r} is not a name: use one of {', '.join(NAMES)}"
        )
    check_one(f"{path}: {_BASE}", name, NAMES)
    return asdict(named_recipe(name))


def _checked(path: str, name: str, value: Any) -> Any:
    """Return the value of a field as `Recipe` has it."""
    where = f"{path}: {name}"
    if name in _RANGES:
        return _number(where, value, *_RANGES[name])
    if name == "max_aspect":
        # Not isinstance: a bool is an int to it.
        if type(value) not in (int, float) or not 1 <= value <= MAX_SIDE_PX:
            raise ConfigError(f"{where} = {value!r} is out of range: use 1 or more, such as 3.0")
        return float(value)
    if name in _LISTS or name == "languages":
        return _texts(where, name, value)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{where} = {value!r} is not a text: put it in quotes")
    if name in _CHOICES:
        check_one(where, value, _CHOICES[name])
    if name == "name":
        if len(value) > MAX_NAME_CHARS or not value.isprintable():
            raise ConfigError(f"{where} is not a name: use at most {MAX_NAME_CHARS} letters")
        if value in NAMES:
            raise ConfigError(f"{where} = {value!r} is the name of another recipe: use your own")
    return value


def _number(where: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ConfigError(f"{where} = {value!r} is out of range: use {least} to {most}")
    return value


def _texts(where: str, name: str, value: Any) -> tuple[str, ...]:
    items: list[Any] = value if isinstance(value, list) else []
    if not items or not all(isinstance(one, str) for one in items):
        raise ConfigError(f'{where} = {value!r} is not a list of texts: write it like ["en", "de"]')
    if name == "languages":
        check_languages(where, tuple(items))
    else:
        for one in items:
            check_one(where, one, _LISTS[name])
    return tuple(items)
