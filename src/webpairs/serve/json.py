"""Read and write JSON as the API has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response


def to_json(value: Any) -> bytes:
    """Return a value as JSON: bytes as hex, dates as ISO 8601, what is no number as null."""
    return orjson.dumps(value, default=_plain, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_UTC_Z)


def json_response(
    value: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Return an answer in JSON."""
    return Response(to_json(value), status, headers, "application/json")


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)
