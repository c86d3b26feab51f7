"""Turning the terms of a search request into query vectors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from webpairs.search.index.vectors import Kind
from webpairs.search.options import check_text
from webpairs.search.query import Term
from webpairs.serve.collection import Served
from webpairs.serve.limits.refusal import UNUSABLE, Refusal
from webpairs.serve.requests import TermRequest, read_base64, read_embedding
from webpairs.serve.state import State


async def make_terms(
    state: State, served: Served, asked: Sequence[TermRequest], kind: Kind
) -> list[Term]:
    """Return the terms that are asked for, in their order; `kind` is what is searched.

    Raises Refusal for what is none, NoModel where one has to be embedded and there is no model.
    """
    return [await _make(state, served, one, kind) for one in asked]


async def _make(state: State, served: Served, asked: TermRequest, kind: Kind) -> Term:
    ways: dict[str, Callable[[], Awaitable[Term]]] = {
        "text": lambda: _of_text(served, asked),
        "key": lambda: _of_key(state, served, asked, kind),
        "image": lambda: _of_image(served, asked, read_base64(asked.image or "", "image")),
        "image_url": lambda: _of_url(state, served, asked),
        "embedding": lambda: _of_embedding(served, asked),
    }
    given = [name for name in ways if getattr(asked, name) is not None]
    if len(given) != 1:
        what = " and ".join(given) or "nothing"
        raise Refusal(UNUSABLE, f"a term holds {what}: give it one of {', '.join(ways)}")
    return await ways[given[0]]()


async def _of_text(served: Served, asked: TermRequest) -> Term:
    text = asked.text or ""
    check_text(text)
    return Term(await served.need_encoder().text(text), "text", asked.weight)


async def _of_key(state: State, served: Served, asked: TermRequest, kind: Kind) -> Term:
    key = asked.key or ""

    def like() -> Term:
        served.row_of(key)
        return served.searcher.like(key, kind, asked.weight)

    return await state.work(like)


async def _of_image(served: Served, asked: TermRequest, data: bytes) -> Term:
    return Term(await served.need_encoder().image(data), "image", asked.weight)


async def _of_url(state: State, served: Served, asked: TermRequest) -> Term:
    served.need_encoder()
    return await _of_image(served, asked, await state.images.fetch(asked.image_url or ""))


async def _of_embedding(served: Served, asked: TermRequest) -> Term:
    vector = read_embedding(asked.embedding or [], served.vectors.dim)
    return Term(vector, None, asked.weight)
