"""Which column of a table holds what: by the names that datasets use, or as asked.

Names and where they come from: LAION-400M, LAION-5B, Re-LAION, laion-coco, MS-COCO as LAION has it
(URL, TEXT, LICENSE, NSFW, similarity, hash, md5) · img2dataset's inputs and outputs (url, caption,
sha256, md5) · DataComp (url, text, sha256) · COYO-700M (url, text) · PD12M (url, caption, hash,
license) · SBU (image_urls, captions) · WIT (image_url). In any case, spaces around them or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from webpairs.errors import ConfigError
from webpairs.run_folder.given import merge_types, type_of_value
from webpairs.run_folder.schema import METADATA

Row = dict[str, Any]
"""One row of a table: column names to what JSON has, and bytes, dates and decimals of parquet."""

URL_NAMES: Final = frozenset(("url", "image_url", "image_urls"))
TEXT_NAMES: Final = frozenset(("text", "caption", "captions"))
HASH_NAMES: Final = ("sha256", "md5", "hash")
NSFW_LABELS: Final = frozenset(("UNLIKELY", "UNSURE", "NSFW"))
"""LAION-400M's; its files hold other values where columns had been shifted."""

MAX_SIMILARITY: Final = 1.01
"""Of a cosine, rounded in half precision; LAION-400M has rows with up to 6016.0."""

_HEX: Final = re.compile(r"[0-9a-f]*")
_DIGITS: Final = {"sha256": (64,), "md5": (32,), "hash": (64, 32)}
_KIND_OF_DIGITS: Final = {64: "sha256", 32: "md5"}
_MAX_NAMES_SHOWN: Final = 20
_MAX_NAME_CHARS: Final = 40


@dataclass(frozen=True, slots=True)
class TableColumns:
    """The columns to take instead of those found by name; None means found by name.

    Columns of a file without header are called `column_1`, `column_2` ...
    """

    url: str | None = None
    text: str | None = None
    boxes: str | None = None
    """Of boxes to blur, which is carried like any other; rows whose boxes are broken are dropped.
    None means that there is none."""


NAMED_AS_USUAL: Final = TableColumns()


@dataclass(frozen=True, slots=True)
class Layout:
    """What each column of one table is for, by the names that its rows have as keys."""

    url: str
    text: str | None
    similarity: str | None
    nsfw: str | None
    license: str | None
    hash: str | None
    hash_digits: tuple[int, ...]
    """How many hex digits a hash may have."""
    given: tuple[tuple[str, str, str], ...]
    """The other columns: key in the row, name in the dataset, type (`table_given`)."""

    @property
    def renamed(self) -> tuple[tuple[str, str], ...]:
        """Return the columns whose name in the dataset is another: key and name."""
        return tuple((key, name) for key, name, _ in self.given if key != name)


def find_layout(
    path: str,
    headings: Sequence[str],
    sample: Sequence[Row],
    columns: TableColumns,
    types: Sequence[str] | None = None,
) -> Layout:
    """Return what the columns with these headings are for; `sample` is the first rows.

    The rows' keys are `unique_names(headings)`. `types` are of the columns, where a schema says;
    otherwise the sample tells. Raises ConfigError when the URL's column is not one, or the text's
    may be several.
    """
    keys = unique_names(headings)
    url = _find(path, headings, columns.url, URL_NAMES, "URL", "--url-column")
    if url is None:
        raise ConfigError(
            f"{path}: no column is known to hold URLs ({shown(headings)}): "
            "name it with --url-column"
        )
    text = _find(path, headings, columns.text, TEXT_NAMES, "text", "--text-column")

    def values(place: int) -> list[Any]:
        found = (row.get(keys[place]) for row in sample)
        return [value for value in found if value is not None and value != ""]

    taken = {url, text}

    def take(name: str) -> int | None:
        for place, heading in enumerate(headings):
            if place not in taken and heading.strip().casefold() == name:
                return place
        return None

    similarity, nsfw, license_ = take("similarity"), take("nsfw"), take("license")
    if similarity is not None and not _are_some(map(_is_number, values(similarity))):
        similarity = None
    if nsfw is not None and not _are_some(value in NSFW_LABELS for value in map(str, values(nsfw))):
        nsfw = None
    hash_, digits = None, ()
    for name in HASH_NAMES:
        place = take(name)
        if place is not None and any(hash_of(v, _DIGITS[name]) for v in values(place)[:1]):
            hash_, digits = place, _DIGITS[name]
            break
    taken |= {similarity, nsfw, license_, hash_}
    others = [place for place in range(len(headings)) if place not in taken]
    names = dataset_names([keys[place].strip() for place in others])
    given = tuple(
        (
            keys[place],
            name,
            merge_types(map(type_of_value, values(place))) if types is None else types[place],
        )
        for place, name in zip(others, names, strict=True)
    )

    def key(place: int | None) -> str | None:
        return None if place is None else keys[place]

    return Layout(
        url=keys[url],
        text=key(text),
        similarity=key(similarity),
        nsfw=key(nsfw),
        license=key(license_),
        hash=key(hash_),
        hash_digits=digits,
        given=given,
    )


def boxes_column(names: Iterable[str], asked: str | None) -> str | None:
    """Return the name in the dataset of the column of boxes, None if it is not there."""
    if asked is None:
        return None
    wanted = (asked.strip().casefold(), f"{asked.strip()}_given".casefold())
    return next((name for name in names if name.casefold() in wanted), None)


def unique_names(headings: Sequence[str]) -> tuple[str, ...]:
    """Return a name for each column: nameless ones get `column_N`, repeated ones a number."""
    names: list[str] = []
    taken: set[str] = set()
    for place, heading in enumerate(headings, 1):
        name = heading if heading.strip() else f"column_{place}"
        number = 1
        unique = name
        while unique in taken:
            number += 1
            unique = f"{name}_{number}"
        taken.add(unique)
        names.append(unique)
    return tuple(names)


def names_url_column(headings: Iterable[str], columns: TableColumns) -> bool:
    """Say whether the first row of a text table is a header, by the name of the URL's column."""
    known = URL_NAMES if columns.url is None else {columns.url.strip().casefold()}
    return any(heading.strip().casefold() in known for heading in headings)


def shown(headings: Sequence[str]) -> str:
    """Return the names of columns for a message of one line."""
    names = [repr(name[:_MAX_NAME_CHARS]) for name in headings[:_MAX_NAMES_SHOWN]]
    more = ", ..." if len(headings) > _MAX_NAMES_SHOWN else ""
    return f"columns: {', '.join(names)}{more}" if names else "it has no columns"


def hash_of(value: object, digits: tuple[int, ...]) -> str | None:
    """Return `sha256:` or `md5:` and the hex digest, None unless `value` is one."""
    if isinstance(value, bytes):
        value = value.hex()
    if not isinstance(value, str):
        return None
    text = value.strip().lower()
    if len(text) not in digits or not _HEX.fullmatch(text):
        return None
    return f"{_KIND_OF_DIGITS[len(text)]}:{text}"


def _find(
    path: str,
    headings: Sequence[str],
    asked: str | None,
    known: frozenset[str],
    what: str,
    option: str,
) -> int | None:
    """Return the place of the column asked for, or of the one with a known name."""
    if asked is not None:
        names = unique_names(headings)
        for same in (str, str.casefold):
            places = [p for p, name in enumerate(names) if same(name.strip()) == same(asked)]
            if places:
                return places[0]
        raise ConfigError(f"{path}: no column {asked!r} ({shown(names)}): mend {option}")
    places = [p for p, heading in enumerate(headings) if heading.strip().casefold() in known]
    if len(places) > 1:
        raise ConfigError(
            f"{path}: {len(places)} columns may hold the {what} "
            f"({shown([headings[place] for place in places])}): name one with {option}"
        )
    return places[0] if places else None


def dataset_names(names: Sequence[str]) -> list[str]:
    """Return names that are free in the dataset: `_given` is added to those that are not.

    In any case, as SQL engines see column names: a table's `width` beside our `WIDTH` would be
    one name to them.
    """
    taken = {column.name.casefold() for column in METADATA}
    free: list[str] = []
    for name in names:
        while name.casefold() in taken:
            name += "_given"
        taken.add(name.casefold())
        free.append(name)
    return free


def _are_some(claims: Iterable[bool]) -> bool:
    """Say whether one of `claims` is true, or there is none."""
    known = list(claims)
    return not known or any(known)


def _is_number(value: object) -> bool:
    try:
        float(value)  # pyright: ignore[reportArgumentType]  # a TypeError is an answer
    except (TypeError, ValueError, OverflowError):
        return False
    return not isinstance(value, bool)
