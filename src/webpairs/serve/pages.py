"""Drawing the page: the same search as the API's, as HTML, so that it works without scripts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import jinja2
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from webpairs.dataset.bounded import PAGE
from webpairs.errors import ConfigError
from webpairs.quantities import counted
from webpairs.safe_text import web
from webpairs.serve.answers.facets import count_facets
from webpairs.serve.answers.find import find
from webpairs.serve.api import datasets, detail
from webpairs.serve.limits.refusal import UNKNOWN, UNUSABLE, Refusal, to_json
from webpairs.serve.requests import SearchRequest, from_query
from webpairs.serve.state import state_of
from webpairs.version import __version__

MAX_HITS: Final = 1_000
"""Results on one page; programs ask the API for more."""
FOLDER: Final = Path(__file__).parent / "page"
_TYPES: Final = {".css": "text/css", ".js": "text/javascript"}
FILES: Final = {
    path.name: _TYPES[path.suffix] for path in sorted(FOLDER.iterdir()) if path.suffix in _TYPES
}
_LISTS: Final = ("q", "not", "like", "unlike", "e", "unlike_e")
_ASKS: Final = (*_LISTS, "image_url", "where")


async def answer_page(request: Request) -> Response:
    """Return the page, with what its query asks for."""
    state = state_of(request)
    shown: dict[str, Any] = {"result": None, "facets": None, "error": None}
    status = 200
    try:
        served = state.collection.get(request.query_params.get("index") or None)
    except Refusal as error:
        served = state.collection.get(None)
        shown["error"] = error.message
        return await _reply(request, served.name, shown, error.status)
    try:
        asked = from_query(request.query_params)
        if asked.k > MAX_HITS:
            message = f"k {asked.k:,}: the page shows at most {MAX_HITS:,} results at once"
            raise Refusal(UNUSABLE, message)
        if "unique" not in request.query_params:
            asked = msgspec.structs.replace(asked, unique="auto")
        shown["facets"] = await count_facets(state, served, asked)
        shown["facets_of"] = describe_facets(shown["facets"])
        shown["result"] = await find(state, served, asked, PAGE)
        shown |= _turns(request, asked, shown["result"]["more"])
        shown["status"] = describe(asked, shown["result"])
    except Refusal as error:
        shown["error"], status = error.message, error.status
    except ConfigError as error:
        shown["error"], status = str(error), 422
    return await _reply(request, served.name, shown, status)


async def answer_sample(request: Request) -> Response:
    """Return a page of one sample."""
    name = request.path_params["dataset"]
    try:
        row = await detail(request, request.path_params["key"])
    except Refusal as error:
        first = state_of(request).collection.get(None).name
        known = name if name in state_of(request).collection.names else first
        return await _reply(request, known, {"error": error.message}, error.status)
    return await _reply(request, name, {"detail": row})


async def answer_file(request: Request) -> Response:
    """Return the page's stylesheet or a script of it."""
    name = request.path_params["name"]
    if name not in FILES:
        raise Refusal(UNKNOWN, f"no file {name!r}: there are {', '.join(sorted(FILES))}")
    headers = {"cache-control": "no-cache"}
    return Response((FOLDER / name).read_bytes(), headers=headers, media_type=FILES[name])


async def _reply(
    request: Request, name: str, shown: Mapping[str, Any], status: int = 200
) -> Response:
    """Return the page, which a thread draws: the server answers others meanwhile."""
    return await state_of(request).reply(lambda: _page(request, name, shown, status))


def _page(request: Request, name: str, shown: Mapping[str, Any], status: int = 200) -> Response:
    known = datasets(request)
    query = request.query_params
    unique = query.get("unique", "")
    context: dict[str, Any] = {
        "datasets": known,
        "dataset": next(one for one in known if one["name"] == name),
        "query": {
            **{one: [text for text in query.getlist(one) if text.strip()] for one in _LISTS},
            **{one: query.get(one, "") for one in ("in", "where", "k", "offset")},
            "unique": None if unique in ("", "auto") else unique not in ("0", "false"),
            "safe": query.get("safe", "") != "0",
            "asks": any(query.get(one, "").strip() for one in _ASKS),
        },
        "result": None,
        "facets": None,
        "detail": None,
        "error": None,
        "next_url": None,
        "previous_url": None,
        "status": "",
        "facets_of": "",
        "scripts": [file for file in FILES if file.endswith(".js")],
        "version": __version__,
        **shown,
    }
    return Response(_template().render(context), status, media_type="text/html")


def describe(asked: SearchRequest, result: Mapping[str, Any]) -> str:
    """Return what is shown, and of how many samples it is; results.js has the same words."""
    num, among = len(result["hits"]), counted(result["among"], "sample")
    match = " that match" if asked.where else ""
    if result["terms"]:
        nearest = "nearest" if num == 1 else f"{num:,} nearest"
        words = f"The {nearest} of {among}{match}"
    elif asked.terms:
        words = f"{counted(num, 'sample')} with these words in the caption"
    else:
        words = f"{num:,} of {among}{match}"
    if not num:
        words = "No results"
    if asked.offset:
        words += f", from number {asked.offset + 1:,} on"
    if folded := sum(len(hit["folded"]) for hit in result["hits"]):
        words += f"; {folded:,} more that look the same folded under them"
    return words


def describe_facets(facets: Mapping[str, Any]) -> str:
    """Return what the numbers beside filters count; filters.js has the same words."""
    num = f"{facets['count']:,}"
    names = {"all": f"all {num}", "all that match": f"the {num} that match"}
    return f"Samples among {names.get(facets['of'], facets['of'])}"


def _turns(request: Request, asked: SearchRequest, more: bool) -> dict[str, str | None]:
    """Return where the next and the previous results are."""
    pairs = [pair for pair in request.query_params.multi_items() if pair[0] != "offset"]

    def at(offset: int) -> str:
        return "/?" + urlencode([*pairs, *([("offset", offset)] if offset else [])])

    return {
        "next_url": at(asked.offset + asked.k) if more else None,
        "previous_url": at(max(0, asked.offset - asked.k)) if asked.offset else None,
    }


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = _visible
    # The API's JSON: what is not a number is null there, which json.dumps writes as no JSON has it.
    environment.policies["json.dumps_function"] = _json
    return environment.get_template("page.html")


def _json(value: Any, **options: Any) -> str:
    return to_json(value).decode()


def _visible(text: str) -> str:
    """Return a text of the web as it is shown, whole."""
    return web(text, len(text)).text
