"""Answering webpairs' own API: searches, counts, rows, samples, files."""

from __future__ import annotations

import base64
from typing import Any, Final

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from webpairs.dataset.bounded import FILE
from webpairs.quantities import counted
from webpairs.serve.answers.facets import count_facets
from webpairs.serve.answers.find import choose_rows, find, rows_where, shown
from webpairs.serve.answers.near_threshold import near_threshold
from webpairs.serve.answers.row import describe_rows
from webpairs.serve.answers.save import saved
from webpairs.serve.answers.whole_text import part_of
from webpairs.serve.limits.body import read_body, read_json
from webpairs.serve.limits.refusal import UNUSABLE, Refusal, json_response
from webpairs.serve.requests import ExportRequest, SearchRequest, TermRequest, from_query
from webpairs.serve.state import served_of, state_of
from webpairs.version import __version__

MAX_ROWS: Final = 100
"""Rows with all their columns at once."""
MAX_SAMPLES: Final = 1_000
NUM_NEIGHBOURS: Final = 8


async def answer_health(request: Request) -> Response:
    """Say that the server answers, and which it is."""
    return json_response({"status": "ok", "webpairs": __version__})


async def answer_datasets(request: Request) -> Response:
    """Say what is served."""
    return await state_of(request).reply(lambda: json_response(datasets(request)))


async def answer_search(request: Request) -> Response:
    """Return what a search finds."""
    asked = await read_search(request)
    state = state_of(request)
    found = await find(state, served_of(request), asked)
    return await state.reply(lambda: json_response(found))


async def answer_facets(request: Request) -> Response:
    """Return counts of the values of columns."""
    asked = await read_search(request)
    state = state_of(request)
    found = await count_facets(state, served_of(request), asked)
    return await state.reply(lambda: json_response(found))


async def answer_row(request: Request) -> Response:
    """Return every fact of a sample, and what is like it."""
    row = await detail(request, request.path_params["key"])
    return await state_of(request).reply(lambda: json_response(row))


async def answer_rows(request: Request) -> Response:
    """Return every fact of several samples."""
    state, served = state_of(request), served_of(request)
    keys = [one for one in request.query_params.get("keys", "").split(",") if one.strip()]
    if not 1 <= len(keys) <= MAX_ROWS:
        raise Refusal(UNUSABLE, f"keys names {counted(len(keys), 'sample')}: name 1 to {MAX_ROWS}")

    def read() -> Response:
        rows = [served.row_of(key) for key in keys]
        return json_response({"rows": describe_rows(served, rows, state.options)})

    return await state.reply(read)


async def answer_text(request: Request) -> Response:
    """Return a part of one text of a sample."""
    served, (key, column) = served_of(request), map(request.path_params.get, ("key", "column"))
    offset = _number(request, "offset", 0, 0, 2**40)

    def read() -> Response:
        return json_response(part_of(served, str(key), str(column), offset))

    return await state_of(request).reply(read)


async def answer_random(request: Request) -> Response:
    """Return samples at random, the same for the same seed."""
    state, served = state_of(request), served_of(request)
    num = _number(request, "k", 40, 1, MAX_SAMPLES)
    seed = _number(request, "seed", int(np.random.default_rng().integers(1 << 31)), 0, 2**63 - 1)
    where = request.query_params.get("where") or None

    await choose_rows(state, served, where)

    def pick() -> Response:
        rows = rows_where(served, where)
        total = served.vectors.num_rows if rows is None else len(rows)
        rng = np.random.default_rng(seed)
        picked = rng.choice(total, min(num, total), replace=False) if total else np.zeros(0, int)
        chosen = picked if rows is None else rows[picked]
        hits = [shown(served, hit) for hit in served.searcher.hits(chosen, None)]
        return json_response({"hits": hits, "seed": seed})

    return await state.reply(pick)


async def answer_near_threshold(request: Request) -> Response:
    """Return what is just above and just below the threshold."""
    served = served_of(request)
    num = _number(request, "k", 24, 1, MAX_ROWS)
    return await state_of(request).reply(lambda: json_response(near_threshold(served, num)))


async def answer_export(request: Request) -> Response:
    """Return picked samples as a file."""
    served = served_of(request)
    asked = await read_json(request, ExportRequest)

    def save() -> Response:
        rows = np.array([served.row_of(key) for key in dict.fromkeys(asked.keys)], np.int64)
        return saved(served.name, served.searcher.hits(rows, None, bounds=FILE), asked.format)

    return await state_of(request).reply(save)


async def read_search(request: Request) -> SearchRequest:
    """Return the search that a request asks for: in its query, as JSON, or with an image's bytes.

    Raises Refusal where it cannot be used.
    """
    if request.method != "POST":
        return from_query(request.query_params)
    if not request.headers.get("content-type", "").lower().startswith("image/"):
        return await read_json(request, SearchRequest)

    asked = from_query(request.query_params)
    image = base64.b64encode(await read_body(request)).decode()
    return SearchRequest(
        terms=(*asked.terms, TermRequest(image=image)),
        kind=asked.kind,
        where=asked.where,
        k=asked.k,
        offset=asked.offset,
        unique=asked.unique,
    )


async def detail(request: Request, key: str) -> dict[str, Any]:
    """Return every fact of a sample, and the samples that are like it; Refusal without one."""
    state, served = state_of(request), served_of(request)

    def read() -> dict[str, Any]:
        return describe_rows(served, [served.row_of(key)], state.options)[0]

    row = await state.work(read)
    like = SearchRequest(terms=(TermRequest(key=key),), k=NUM_NEIGHBOURS + 1)
    found = await find(state, served, like)
    near = [hit for hit in found["hits"] if hit["key"] != key]
    return {**row, "neighbours": near[:NUM_NEIGHBOURS]}


def datasets(request: Request) -> list[dict[str, Any]]:
    """Return what a client has to know of every dataset."""
    state = state_of(request)
    beside = {
        "image_url": state.options.fetches_images,
        "replay": state.options.replay_url is not None,
    }
    return [{**one.about(), **beside} for one in state.collection]


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not least <= int(text[:20]) <= most:
        raise Refusal(UNUSABLE, f"{name} {text[:20]!r}: use {least} to {most}")
    return int(text)
