"""Reading the body of a request, no more of it and no longer than is good."""

from __future__ import annotations

import asyncio
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from webpairs.serve.limits.refusal import BROKEN, TOO_LARGE, TOO_SLOW, UNUSABLE, Refusal

MAX_BYTES: Final = 16_000_000
TIMEOUT_S: Final = 30.0

T = TypeVar("T")


async def read_body(request: Request) -> bytes:
    """Return the body; raise Refusal when it is too large or comes too slowly."""
    length = request.headers.get("content-length", "")
    too_large = Refusal(TOO_LARGE, f"the body is too large: send at most {MAX_BYTES:,} bytes")
    if length.isdecimal() and int(length[:18]) > MAX_BYTES:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise too_large
    except TimeoutError:
        message = f"the body did not come within {TIMEOUT_S:g} s: send it in one go"
        raise Refusal(TOO_SLOW, message, {"connection": "close"}) from None
    except ClientDisconnect:
        raise Refusal(BROKEN, "the body did not come whole") from None
    return bytes(body)


async def read_json(request: Request, kind: type[T]) -> T:
    """Return the body, whatever type it says it is of, as `kind`; Refusal where it is not."""
    body = await read_body(request)
    try:
        return msgspec.json.decode(body, type=kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal(UNUSABLE, f"the request cannot be used: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(BROKEN, f"the body is not JSON: {error}") from error


def as_kind(value: Any, kind: type[T]) -> T:
    """Return values of a query string as `kind`; Refusal where they are not."""
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise Refusal(UNUSABLE, f"the request cannot be used: {error}") from error
