"""Refusing requests in one form: a status, and JSON with a sentence that helps.

`{"message": ...}` is also what clip-retrieval's server answers, whose client reads JSON whatever
the status is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from webpairs.errors import ConfigError
from webpairs.search.model import NoModel

BROKEN = 400
"""No JSON at all, or no image."""
FORBIDDEN = 403
UNKNOWN = 404
TOO_SLOW = 408
TOO_LARGE = 413
MISDIRECTED = 421
"""For a host that the server is not (RFC 9110, 15.5.20)."""
UNUSABLE = 422
"""JSON, but nothing that can be done."""
BUSY = 503


class Refusal(Exception):
    """End a request with a status and a sentence."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


async def answer_refusal(request: Request, error: Exception) -> Response:
    """Return the answer to a refusal, ours or Starlette's."""
    if isinstance(error, Refusal):
        return json_response({"message": error.message}, error.status, error.headers)
    if isinstance(error, HTTPException):
        message = f"{request.method} {request.url.path}: {error.detail}"
        if error.status_code == UNKNOWN:
            message = f"nothing is at {request.url.path}: /openapi.json lists what there is"
        return json_response({"message": message}, error.status_code, error.headers)
    if isinstance(error, NoModel):
        message = f"no model, so texts and images cannot be searched for: {error}"
        return json_response({"message": message}, BUSY)
    if isinstance(error, ConfigError):
        return json_response({"message": str(error)}, UNUSABLE)
    return json_response({"message": "a fault of webpairs: the server's log has it"}, 500)


def to_json(value: Any) -> bytes:
    """Return a value as JSON: bytes as hex, dates as ISO 8601, what is not a number as null."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z)


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer in JSON."""
    return Response(to_json(value), status, headers, "application/json")


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)
