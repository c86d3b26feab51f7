"""Counting values of columns, among what is nearest to a search or in the whole dataset.

Each value comes with the expression that chooses it, so that counts are filters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute

from webpairs.dataset.features import LABELS, MISSING_SIMILARITY, TABULAR, UNTAGGED
from webpairs.dataset.sources.source import Rows
from webpairs.search.index.vectors import Kind
from webpairs.serve.answers.find import choose_rows, nearest_rows, rows_where
from webpairs.serve.answers.terms import make_terms
from webpairs.serve.collection import Served
from webpairs.serve.requests import SearchRequest
from webpairs.serve.state import State

pc: Any = pyarrow.compute  # its functions are made at run time

NEAREST: Final = 1_000
MAX_ROWS: Final = 1_000_000
"""Of a dataset, or of what a filter leaves, so many are counted: shards hold samples at random."""
MAX_VALUES: Final = 12
MAX_VALUE_CHARS: Final = 250
"""Of a value that is listed: longer ones count among the others. A host has at most 253."""
MAX_KEPT: Final = 64
"""Counts of a dataset's filters that are remembered."""
_SIZES: Final = (1, 128, 256, 512, 1024)
"""Of the shorter side; a size of 0 stands for none."""
_STEPS: Final = (10, 25)
"""The first and the last step of similarities, 0.02 each: what lies beyond is counted with them."""


@dataclass(frozen=True, slots=True)
class Facet:
    """How a facet's values are made of a column, and chosen by an expression."""

    name: str
    title: str
    columns: tuple[str, ...]
    values: Callable[[pa.Table], pa.Array | pa.ChunkedArray]
    where: Callable[[Any], str]
    label: Callable[[Any], str] = str
    in_order: bool = False
    """Whether values are listed by themselves rather than by their counts."""


async def count_facets(state: State, served: Served, request: SearchRequest) -> dict[str, Any]:
    """Return counts: of the nearest NEAREST where there are terms, else of all that is chosen."""
    terms = []
    kind: Kind = served.searcher.index(request.kind).vectors.kind
    if any(one.text is None for one in request.terms) or served.encoder is not None:
        terms = await make_terms(state, served, request.terms, kind)

    await choose_rows(state, served, request.where)

    def count() -> dict[str, Any]:
        if terms:
            rows, _ = nearest_rows(state, served, terms, kind, NEAREST, request.where)
            return {"of": f"the nearest {len(rows):,}", **_counts(served, rows)}
        if (found := served.counted.get(request.where)) is None:
            found = _count_all(served, request.where)
            if len(served.counted) >= MAX_KEPT:
                served.counted.clear()
            served.counted[request.where] = found
        return found

    return await state.work(count)


def _count_all(served: Served, where: str | None) -> dict[str, Any]:
    rows = rows_where(served, where)
    num = served.vectors.num_rows if rows is None else len(rows)
    what = "all" if rows is None else "all that match"
    of = what if num <= MAX_ROWS else f"the first {MAX_ROWS:,}"
    return {"of": of, **_counts(served, rows)}


def _counts(served: Served, rows: Rows | None) -> dict[str, Any]:
    facets = _facets(served.columns)
    names = list(dict.fromkeys(name for one in facets for name in one.columns))
    table = served.searcher.table(rows, names, MAX_ROWS)
    if not table.num_rows:
        return {"count": 0, "facets": []}
    return {
        "count": table.num_rows,
        "facets": [found for one in facets if (found := _count(one, table))["values"]],
    }


def _count(facet: Facet, table: pa.Table) -> dict[str, Any]:
    values = pa.chunked_array([*_chunks(facet.values(table))])
    num_unlisted = 0
    if pa.types.is_string(values.type):
        is_unlisted = pc.greater(pc.utf8_length(values), MAX_VALUE_CHARS)
        if facet.name == "host":
            # A user and a password stand before the host, and would be in the expression, too.
            is_unlisted = pc.or_(is_unlisted, pc.match_substring(values, "@"))
        num_unlisted = pc.sum(is_unlisted).as_py() or 0
        values = pc.if_else(is_unlisted, None, values) if num_unlisted else values
    counts = pc.value_counts(values)
    pairs = [(one["values"], one["counts"]) for one in counts.to_pylist()]
    known = [pair for pair in pairs if pair[0] is not None]
    known.sort(key=(lambda pair: pair[0]) if facet.in_order else (lambda pair: (-pair[1], pair[0])))
    shown = known if facet.in_order else known[:MAX_VALUES]
    return {
        "name": facet.name,
        "title": facet.title,
        "values": [
            {"value": facet.label(value), "count": count, "where": facet.where(value)}
            for value, count in shown
        ],
        "others": num_unlisted
        + sum(count for _, count in known)
        - sum(count for _, count in shown),
    }


def _chunks(values: pa.Array | pa.ChunkedArray) -> Sequence[pa.Array]:
    if not isinstance(values, pa.ChunkedArray):
        return [values]
    return values.chunks or [pa.array([], values.type)]


def _facets(columns: Sequence[str]) -> list[Facet]:
    """Return the facets that a dataset with these columns has."""
    names = {*TABULAR, *columns}
    facets = [
        Facet(
            "similarity",
            "Caption fits picture",
            ("similarity",),
            _similarity_steps,
            _similarity_where,
            _similarity_label,
            in_order=True,
        ),
        Facet("nsfw", "NSFW tag", ("nsfw",), _tags, partial(_equals, "nsfw")),
        _plain("license_id", "Licence") if "license_id" in names else _plain("license", "Licence"),
        Facet("host", "Site", ("url",), _hosts, partial(_equals, "split_part(url, '/', 3)")),
        Facet(
            "size",
            "Shorter side",
            ("original_width", "original_height"),
            _size_steps,
            _size_where,
            _size_label,
            in_order=True,
        ),
    ]
    for name, title in (
        ("language", "Language"),
        ("format", "Format"),
        ("text_source", "Text from"),
        ("image_source", "Image from"),
    ):
        if name in columns:
            facets.append(_plain(name, title))
    return facets


def _plain(name: str, title: str) -> Facet:
    return Facet(name, title, (name,), partial(_texts, name), partial(_equals, name))


def _texts(name: str, table: pa.Table) -> Any:
    """Return a column as texts, null where there is none."""
    texts = table.column(name).cast(pa.string())
    return pc.if_else(pc.equal(texts, ""), None, texts)


def _tags(table: pa.Table) -> Any:
    """Return the tags; null everywhere where nothing is tagged."""
    tags = table.column("nsfw")
    tagged = pc.any(pc.not_equal(tags, LABELS[UNTAGGED])).as_py()
    return tags if tagged else pa.nulls(len(tags), pa.string())


def _equals(expression: str, value: str) -> str:
    return f"{expression} = '{value.replace(chr(39), chr(39) * 2)}'"


def _hosts(table: pa.Table) -> Any:
    pattern = r"^[a-zA-Z][a-zA-Z0-9+.-]{0,20}://(?P<host>[^/]*)"
    # The begin is enough: what has more than MAX_VALUE_CHARS is not listed.
    begins = pc.utf8_slice_codeunits(table.column("url"), 0, 2 * MAX_VALUE_CHARS)
    return pc.struct_field(pc.extract_regex(begins, pattern), "host")


def _similarity_steps(table: pa.Table) -> Any:
    steps = pc.floor(pc.multiply(table.column("similarity"), 50.0))
    none = pc.less_equal(table.column("similarity"), MISSING_SIMILARITY)
    first, last = map(float, _STEPS)
    clipped = pc.min_element_wise(pc.max_element_wise(steps, first), last)
    return pc.if_else(none, None, clipped.cast(pa.int64(), safe=False))


def _similarity_where(step: int) -> str:
    low, high = _edges(step)
    parts = (
        [f"similarity > {MISSING_SIMILARITY:g}"] if low is None else [f"similarity >= {low:.2f}"]
    )
    if high is not None:
        parts.append(f"similarity < {high:.2f}")
    return " and ".join(parts)


def _similarity_label(step: int) -> str:
    low, high = _edges(step)
    if low is None:
        return f"below {high:.2f}"
    return f"{low:.2f} or more" if high is None else f"{low:.2f} to {high:.2f}"


def _edges(step: int) -> tuple[float | None, float | None]:
    first, last = _STEPS
    return None if step == first else step / 50, None if step == last else (step + 1) / 50


def _size_steps(table: pa.Table) -> Any:
    shorter = pc.min_element_wise(table.column("original_width"), table.column("original_height"))
    step = pa.nulls(table.num_rows, pa.int64())
    for low in _SIZES:
        step = pc.if_else(pc.greater_equal(shorter, low), low, step)
    return step


def _size_where(low: int) -> str:
    shorter = "least(original_width, original_height)"
    place = _SIZES.index(low)
    if place == len(_SIZES) - 1:
        return f"{shorter} >= {low}"
    return f"{shorter} >= {low} and {shorter} < {_SIZES[place + 1]}"


def _size_label(low: int) -> str:
    place = _SIZES.index(low)
    if place == 0:
        return f"below {_SIZES[1]} px"
    if place == len(_SIZES) - 1:
        return f"{low} px or more"
    return f"{low} to {_SIZES[place + 1] - 1} px"
