"""Putting the server together: which path is answered by what."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from webpairs.errors import ConfigError
from webpairs.serve import api, knn_api, pages
from webpairs.serve.answers.image_url import ImageFetcher
from webpairs.serve.answers.pictures import answer_image
from webpairs.serve.collection import Collection
from webpairs.serve.limits.callers import Callers
from webpairs.serve.limits.gate import Gate
from webpairs.serve.limits.refusal import Refusal, answer_refusal
from webpairs.serve.metrics import Metrics
from webpairs.serve.openapi import answer_openapi
from webpairs.serve.options import ServeOptions
from webpairs.serve.state import State

Answer = Callable[[Request], Awaitable[Response]]
_GET: Final = ["GET"]
_BOTH: Final = ["GET", "POST"]


def _shared(path: str, method: str, answer: Answer) -> Route:
    """Return a route of clip-retrieval's, which answers OPTIONS as its server does."""

    async def answer_or_allow(request: Request) -> Response:
        if request.method != "OPTIONS":
            return await answer(request)
        return Response(status_code=204, headers={"allow": f"{method}, OPTIONS"})

    return Route(path, answer_or_allow, methods=[method, "OPTIONS"])


ROUTES: Final = [
    Route("/", pages.answer_page, methods=_GET),
    Route("/sample/{dataset}/{key}", pages.answer_sample, methods=_GET),
    Route("/static/{name}", pages.answer_file, methods=_GET),
    Route("/api/datasets", api.answer_datasets, methods=_GET),
    Route("/api/{dataset}/search", api.answer_search, methods=_BOTH),
    Route("/api/{dataset}/facets", api.answer_facets, methods=_BOTH),
    Route("/api/{dataset}/random", api.answer_random, methods=_GET),
    Route("/api/{dataset}/near-threshold", api.answer_near_threshold, methods=_GET),
    Route("/api/{dataset}/rows", api.answer_rows, methods=_GET),
    Route("/api/{dataset}/rows/{key}", api.answer_row, methods=_GET),
    Route("/api/{dataset}/rows/{key}/text/{column}", api.answer_text, methods=_GET),
    Route("/api/{dataset}/images/{key}", answer_image, methods=_GET),
    Route("/api/{dataset}/export", api.answer_export, methods=["POST"]),
    Route("/health", api.answer_health, methods=_GET),
    Route("/openapi.json", answer_openapi, methods=_GET),
    Route("/metrics", knn_api.answer_metrics, methods=_GET),
    _shared("/indices-list", "GET", knn_api.answer_indices),
    _shared("/knn-service", "POST", knn_api.answer_knn),
    _shared("/metadata", "POST", knn_api.answer_metadata),
    _shared("/metrics-summary", "GET", knn_api.answer_summary),
    _shared("/config.json", "GET", knn_api.answer_config),
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
            collection.filters.close()

    handlers: dict[Any, Any] = dict.fromkeys(
        (Refusal, ConfigError, HTTPException, Exception), answer_refusal
    )
    return Starlette(
        routes=ROUTES,
        middleware=[Middleware(Gate, metrics=metrics, callers=Callers(options))],
        exception_handlers=handlers,
        lifespan=lifespan,
    )
