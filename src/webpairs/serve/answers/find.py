"""Answering searches: by terms, or without any in the dataset's order."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import quote

import numpy as np

from webpairs.dataset.bounded import LIST, Bounds
from webpairs.dataset.sources.source import Rows
from webpairs.search.index.vectors import Floats, Kind
from webpairs.search.model import NoModel
from webpairs.search.near_duplicates import fold_copies
from webpairs.search.options import MAX_K
from webpairs.search.query import Term, combine
from webpairs.search.result import Hit
from webpairs.serve.answers.chance import similarity_by_chance
from webpairs.serve.answers.terms import make_terms
from webpairs.serve.collection import Served
from webpairs.serve.limits.refusal import UNUSABLE, Refusal
from webpairs.serve.requests import K, SearchRequest, TermRequest, write_embedding
from webpairs.serve.state import State

MANY_ALIKE: Final = 0.25
"""Part of the first results that shows what a better one shows, from which on they are folded."""


async def find(
    state: State, served: Served, request: SearchRequest, bounds: Bounds = LIST
) -> dict[str, Any]:
    """Return the reply to a search, with texts that are no longer than `bounds`.

    Texts are looked for in captions where there is no model. Raises Refusal and ConfigError for
    what cannot be searched for.
    """
    end = request.offset + request.k
    if end > MAX_K:
        raise Refusal(UNUSABLE, f"offset and k make {end:,}: results go up to {MAX_K:,}")
    start = time.perf_counter()
    kind = served.searcher.index(request.kind).vectors.kind
    missing = served.searcher.not_indexed
    notes = [] if missing is None else [f"{missing.fact}: webpairs index adds them"]
    no_model = False
    terms: list[Term] = []
    try:
        terms = await make_terms(state, served, request.terms, kind)
    except NoModel as error:
        if any(one.text is None for one in request.terms):
            raise
        no_model = True
        notes.append(f"no model, so captions were searched for the words: {error}")
    embedded = time.perf_counter()
    await choose_rows(state, served, request.where)
    with state.metrics.time("full_knn_request_time"):
        if no_model:
            page = await state.work(lambda: _by_words(served, request, bounds))
        elif terms:
            page = await state.work(lambda: _by_terms(state, served, request, terms, kind, bounds))
        else:
            page = await state.work(lambda: _in_order(served, request, bounds))
    chance = None
    if terms:
        chance = await state.work(lambda: similarity_by_chance(served, combine(terms).kind, kind))
    return {
        "hits": page.hits,
        "more": page.more and end < MAX_K,
        "among": page.among,
        "unique": page.unique,
        "chance": chance,
        "terms": [described(one, term) for one, term in zip(request.terms, terms, strict=False)],
        "note": "; ".join(notes) or None,
        "seconds": {
            "embed": round(embedded - start, 4),
            "search": round(time.perf_counter() - embedded, 4),
        },
    }


@dataclass(frozen=True, slots=True)
class _Page:
    """The results from `offset` on, and whether more follow."""

    hits: list[dict[str, Any]]
    more: bool
    among: int
    """How many samples were looked through: all, or those that the expression chooses."""
    unique: bool = False
    """Whether results that show the same are folded."""


def shown(served: Served, hit: Hit) -> dict[str, Any]:
    """Return a hit for programs, with where its picture is and what was folded under it, by key."""
    folded = served.searcher.hits(np.array(hit.folded, np.int64), None, ()) if hit.folded else ()
    return {
        **hit.as_json(),
        "folded": [one.key for one in folded],
        "nsfw": hit.columns.get("nsfw"),
        "image": picture_path(served, hit.key) if served.has_images else None,
    }


def picture_path(served: Served, key: str) -> str:
    """Return where a sample's picture is."""
    return f"/api/{quote(served.name, safe='')}/images/{quote(key, safe='')}"


def described(asked: TermRequest, term: Term) -> dict[str, Any]:
    """Return a term for programs, with its embedding, so that it need not be sent again."""
    kind = "embedding"
    if asked.text is not None:
        kind = "text"
    elif asked.key is not None:
        kind = "sample"
    elif asked.image is not None or asked.image_url is not None:
        kind = "image"
    return {
        "kind": kind,
        "text": asked.text,
        "key": asked.key,
        "weight": term.weight,
        "embedding": write_embedding(term.vector),
    }


async def choose_rows(state: State, served: Served, where: str | None) -> None:
    """Find the rows that an expression chooses, which are remembered for `rows_where`.

    Threads of their own wait for them, so that slow filters do not hold up requests without any.
    """
    if where is not None:
        await state.filter(lambda: rows_where(served, where))


def rows_where(served: Served, where: str | None) -> Rows | None:
    """Return the rows that an expression chooses; None: all."""
    return None if where is None else served.searcher.rows_where(where)


def nearest_rows(
    state: State,
    served: Served,
    terms: Sequence[Term],
    kind: Kind,
    num: int,
    where: str | None = None,
) -> tuple[Rows, Floats]:
    """Return the rows that are nearest to terms, best first, and their similarities."""
    query = combine(terms)
    among = rows_where(served, where)
    with state.metrics.time("knn_index_time"):
        found = served.searcher.index(kind).search(
            query.vector[None], min(num, MAX_K), of=query.kind, among=among
        )
    there = found.rows[0] >= 0
    return found.rows[0][there], found.similarities[0][there]


def _by_terms(
    state: State,
    served: Served,
    request: SearchRequest,
    terms: Sequence[Term],
    kind: Kind,
    bounds: Bounds,
) -> _Page:
    unique = request.unique
    if unique == "auto":
        unique = _are_many_alike(state, served, request, terms, kind)
    hits = served.searcher.search(
        combine(terms),
        request.k + 1,  # one more says whether more follow
        offset=request.offset,
        kind=kind,
        where=request.where,
        unique=unique,
        bounds=bounds,
    )
    return replace(_page(served, request, hits), unique=unique)


def _are_many_alike(
    state: State, served: Served, request: SearchRequest, terms: Sequence[Term], kind: Kind
) -> bool:
    """Return whether many of the first K results show the same, whichever page is asked for."""
    rows, _ = nearest_rows(state, served, terms, kind, K, request.where)
    groups = fold_copies(served.searcher.index(kind).vectors.take(rows))
    return len(rows) - len(groups) >= max(1, MANY_ALIKE * len(rows))


def _by_words(served: Served, request: SearchRequest, bounds: Bounds) -> _Page:
    texts = [one.text or "" for one in request.terms if one.weight > 0]
    without = [one.text or "" for one in request.terms if one.weight <= 0]
    num = request.offset + request.k + 1
    hits = served.searcher.search_captions(texts, without, num, where=request.where, bounds=bounds)
    return _page(served, request, hits[request.offset :])


def _in_order(served: Served, request: SearchRequest, bounds: Bounds) -> _Page:
    start, end = request.offset, request.offset + request.k + 1
    rows = rows_where(served, request.where)
    if rows is None:
        chosen = np.arange(start, min(end, served.vectors.num_rows))
    else:
        chosen = rows[start:end]
    return _page(served, request, served.searcher.hits(chosen, None, bounds=bounds))


def _page(served: Served, request: SearchRequest, hits: Sequence[Hit]) -> _Page:
    among = rows_where(served, request.where)
    return _Page(
        hits=[shown(served, hit) for hit in hits[: request.k]],
        more=len(hits) > request.k,
        among=served.vectors.num_rows if among is None else len(among),
    )
