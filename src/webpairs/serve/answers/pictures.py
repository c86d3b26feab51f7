"""Handing out pictures: as they are stored, or small.

They are strangers' bytes: of a type that is told by looking at them, or decoded and encoded anew,
and always under a policy that runs nothing.
"""

from __future__ import annotations

from typing import Final

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from webpairs.image.sniff import FORMATS, sniff
from webpairs.search.thumbnail import thumbnail
from webpairs.serve.limits.refusal import UNKNOWN, UNUSABLE, Refusal
from webpairs.serve.state import served_of, state_of

SIZES: Final = (16, 1024)
CACHE_S: Final = 3600
_PLAIN_BYTES: Final = 60_000
"""A JPEG as small as this is handed out as it is where a small one is asked for."""
_decoding = CapacityLimiter(2)


async def answer_image(request: Request) -> Response:
    """Return the picture of a sample, with `size` as a JPEG of at most so many pixels a side."""
    served, key = served_of(request), request.path_params["key"]
    side = _side(request.query_params.get("size"))

    def read() -> bytes | None:
        row = served.row_of(key)
        return served.searcher.pictures([row])[0]

    data = await state_of(request).work(read)
    if data is None:
        raise Refusal(UNKNOWN, f"sample {key} of {served.name} has no picture here")
    kind = sniff(data)
    if side is not None and not (kind == "jpeg" and len(data) <= _PLAIN_BYTES):
        data = await to_thread.run_sync(thumbnail, data, side, limiter=_decoding)
        kind = "jpeg"
    if kind not in FORMATS:
        raise Refusal(UNKNOWN, f"the picture of sample {key} is of no type that is shown: {kind}")
    headers = {"cache-control": f"private, max-age={CACHE_S}"}
    return Response(data, headers=headers, media_type=f"image/{kind}")


def _side(text: str | None) -> int | None:
    if text is None:
        return None
    least, most = SIZES
    if not text.isdecimal() or not least <= int(text[:9]) <= most:
        raise Refusal(UNUSABLE, f"size {text[:20]!r}: use {least} to {most} pixels")
    return int(text)
