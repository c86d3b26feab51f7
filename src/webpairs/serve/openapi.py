"""Describing the API in OpenAPI's form, of the types that requests are checked by."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from webpairs.serve.knn_api import KnnRequest, MetadataRequest
from webpairs.serve.limits.refusal import json_response
from webpairs.serve.requests import ExportRequest, SearchRequest
from webpairs.version import __version__

VERSION: Final = "3.1.0"
_SEARCH_QUERY: Final = {
    "q": "A text to be near to; may be repeated",
    "not": "A text to keep away from; may be repeated",
    "like": "Key of a sample to be near to; may be repeated",
    "unlike": "Key of a sample to keep away from; may be repeated",
    "e": "An embedding: base64 (of the URL's alphabet) of little-endian float16 numbers",
    "unlike_e": "An embedding to keep away from",
    "image_url": "URL of an image to be near to",
    "in": "Whose embeddings are compared: image or text",
    "where": "SQL expression over the columns of a row",
    "k": "Results, 1 to 10000",
    "offset": "Results that are passed over",
    "unique": "1: fold results that show the same; auto: where many of them do",
}
_PATHS: Final[tuple[tuple[str, str, str, Any], ...]] = (
    ("get", "/api/datasets", "What is served", None),
    ("get", "/api/{dataset}/search", "Search", _SEARCH_QUERY),
    ("post", "/api/{dataset}/search", "Search; or an image as the body", SearchRequest),
    ("get", "/api/{dataset}/facets", "Counts of the values of columns", _SEARCH_QUERY),
    ("post", "/api/{dataset}/facets", "Counts of the values of columns", SearchRequest),
    (
        "get",
        "/api/{dataset}/random",
        "Samples at random",
        {"k": "Samples", "seed": "The same seed gives the same", "where": "SQL expression"},
    ),
    (
        "get",
        "/api/{dataset}/near-threshold",
        "What is just above and just below the threshold",
        {"k": "Of each"},
    ),
    ("get", "/api/{dataset}/rows", "Every fact of samples", {"keys": "Keys, with commas"}),
    ("get", "/api/{dataset}/rows/{key}", "Every fact of a sample, and what is like it", None),
    (
        "get",
        "/api/{dataset}/rows/{key}/text/{column}",
        "A text that replies cut, in parts of 1,000,000 characters",
        {"offset": "The first character of the part"},
    ),
    (
        "get",
        "/api/{dataset}/images/{key}",
        "A sample's picture",
        {"size": "Pixels of a side at most, as JPEG"},
    ),
    ("post", "/api/{dataset}/export", "Picked samples as a file", ExportRequest),
    ("get", "/health", "Whether the server answers", None),
    ("get", "/metrics", "Counters in Prometheus's text format", None),
    ("get", "/metrics-summary", "Averages of the counters", None),
    ("get", "/indices-list", "clip-retrieval: names of the datasets", None),
    ("post", "/knn-service", "clip-retrieval: search", KnnRequest),
    ("post", "/metadata", "clip-retrieval: metadata by id", MetadataRequest),
    ("get", "/config.json", "clip-retrieval: what its page asks for first", None),
)


async def answer_openapi(request: Request) -> Response:
    """Return the description."""
    return json_response(openapi())


@cache
def openapi() -> dict[str, Any]:
    """Return the description as JSON has it."""
    bodies = [one for *_, one in _PATHS if isinstance(one, type)]
    schemas, components = msgspec.json.schema_components(
        bodies, ref_template="#/components/schemas/{name}"
    )
    schema_of = dict(zip(bodies, schemas, strict=True))
    paths: dict[str, Any] = {}
    for method, path, summary, asked in _PATHS:
        operation: dict[str, Any] = {
            "summary": summary,
            "parameters": [
                _parameter(name.strip("{}"), "path", "")
                for name in path.split("/")
                if name.startswith("{")
            ],
            "responses": {
                "200": {"description": "The answer"},
                "default": {"$ref": "#/components/responses/refusal"},
            },
        }
        if isinstance(asked, dict):
            for name, meaning in asked.items():
                operation["parameters"].append(_parameter(name, "query", meaning))
        elif asked is not None:
            content = {"application/json": {"schema": schema_of[asked]}}
            operation["requestBody"] = {"required": True, "content": content}
        paths.setdefault(path, {})[method] = operation
    message = {"type": "object", "properties": {"message": {"type": "string"}}}
    refusal = {
        "description": "Why not, in a sentence",
        "content": {"application/json": {"schema": message}},
    }
    return {
        "openapi": VERSION,
        "info": {"title": "webpairs", "version": __version__},
        "paths": paths,
        "components": {"schemas": components, "responses": {"refusal": refusal}},
    }


def _parameter(name: str, place: str, meaning: str) -> dict[str, Any]:
    parameter: dict[str, Any] = {"name": name, "in": place, "schema": {"type": "string"}}
    if place == "path":
        parameter["required"] = True
    if meaning:
        parameter["description"] = meaning
    return parameter
