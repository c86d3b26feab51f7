"""Put the server together: which path is answered by what."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from webpairs.errors import ConfigError
from webpairs.serve import api, knn_api, page
from webpairs.serve.collection import Collection
from webpairs.serve.gate import Gate
from webpairs.serve.image_url import ImageFetcher
from webpairs.serve.metrics import Metrics
from webpairs.serve.openapi import answer_openapi
from webpairs.serve.options import ServeOptions
from webpairs.serve.pictures import answer_image
from webpairs.serve.refusal import Refusal, answer_refusal
from webpairs.serve.state import State

_ONCE: Final = ["GET"]
_BOTH: Final = ["GET", "POST"]


async def answer_preflight(request: Request) -> Response:
    """Let a browser's page from elsewhere send JSON to clip-retrieval's paths."""
    return Response(
        status_code=204,
        headers={
            "access-control-allow-methods": "GET, POST, OPTIONS",
            "access-control-allow-headers": "content-type",
            "access-control-max-age": "86400",
        },
    )


_ROUTES: Final = [
    Route("/", page.answer_page, methods=_ONCE),
    Route("/sample/{dataset}/{key}", page.answer_sample, methods=_ONCE),
    Route("/static/{name}", page.answer_file, methods=_ONCE),
    Route("/api/datasets", api.answer_datasets, methods=_ONCE),
    Route("/api/{dataset}/search", api.answer_search, methods=_BOTH),
    Route("/api/{dataset}/facets", api.answer_facets, methods=_BOTH),
    Route("/api/{dataset}/random", api.answer_random, methods=_ONCE),
    Route("/api/{dataset}/near-threshold", api.answer_near_threshold, methods=_ONCE),
    Route("/api/{dataset}/rows", api.answer_rows, methods=_ONCE),
    Route("/api/{dataset}/rows/{key}", api.answer_row, methods=_ONCE),
    Route("/api/{dataset}/images/{key}", answer_image, methods=_ONCE),
    Route("/api/{dataset}/export", api.answer_export, methods=["POST"]),
    Route("/health", api.answer_health, methods=_ONCE),
    Route("/openapi.json", answer_openapi, methods=_ONCE),
    Route("/metrics", knn_api.answer_metrics, methods=_ONCE),
    *(
        Route(path, answer, methods=[method])
        for path, answer, method in (
            ("/indices-list", knn_api.answer_indices, "GET"),
            ("/knn-service", knn_api.answer_knn, "POST"),
            ("/metadata", knn_api.answer_metadata, "POST"),
            ("/metrics-summary", knn_api.answer_summary, "GET"),
            ("/config.json", knn_api.answer_config, "GET"),
        )
    ),
    *(
        Route(path, answer_preflight, methods=["OPTIONS"])
        for path in ("/indices-list", "/knn-service", "/metadata")
    ),
]


def make_app(options: ServeOptions, collection: Collection, metrics: Metrics) -> Starlette:
    """Return the application that serves a collection."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        images = ImageFetcher(options, metrics)
        app.state.webpairs = State(options, metrics, collection, images)
        try:
            yield
        finally:
            await images.close()

    handlers: dict[Any, Any] = dict.fromkeys(
        (Refusal, ConfigError, HTTPException, Exception), answer_refusal
    )
    return Starlette(
        routes=_ROUTES,
        middleware=[Middleware(Gate, metrics=metrics)],
        exception_handlers=handlers,
        lifespan=lifespan,
    )
