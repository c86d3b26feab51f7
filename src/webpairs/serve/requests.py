"""What a search request may hold; what it may not is refused before anything is done.

The same types make `openapi.json`.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from starlette.datastructures import QueryParams

from webpairs.search.index.vectors import Floats
from webpairs.search.options import MAX_K, MAX_TEXT_CHARS
from webpairs.search.query import AWAY
from webpairs.serve.limits.body import as_kind
from webpairs.serve.limits.refusal import BROKEN, UNUSABLE, Refusal

MAX_TERMS: Final = 16
MAX_WHERE_CHARS: Final = 10_000
K: Final = 40
"""clip-retrieval's."""

Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS, description="What to find, in words")]
Weight = Annotated[float, msgspec.Meta(ge=-100, le=100, description="Below 0: to keep away from")]
Key = Annotated[str, msgspec.Meta(max_length=200, description="Key of a sample")]
Where = Annotated[
    str,
    msgspec.Meta(
        max_length=MAX_WHERE_CHARS, description="SQL expression over the columns of a row"
    ),
]
Kind = Literal["image", "text"]


class TermRequest(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """One term of a search: one of its fields, and its weight."""

    text: Text | None = None
    key: Key | None = None
    image: Annotated[str, msgspec.Meta(description="base64 of an image file, or a data URI")] | (
        None
    ) = None
    image_url: str | None = None
    embedding: (
        Annotated[
            list[float] | str, msgspec.Meta(description="Numbers, or base64 of float16 numbers")
        ]
        | None
    ) = None
    weight: Weight = 1.0


class SearchRequest(
    msgspec.Struct,
    frozen=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    rename={"kind": "in"},
):
    """A search. Without terms: samples in the dataset's order."""

    terms: Annotated[tuple[TermRequest, ...], msgspec.Meta(max_length=MAX_TERMS)] = ()
    kind: Kind | None = None
    where: Where | None = None
    k: Annotated[int, msgspec.Meta(ge=1, le=MAX_K)] = K
    offset: Annotated[int, msgspec.Meta(ge=0, le=MAX_K)] = 0
    unique: Annotated[
        bool | Literal["auto"],
        msgspec.Meta(description="Fold results that show the same; auto: where many of them do"),
    ] = False


class ExportRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Samples that were picked, to be saved as a file."""

    keys: Annotated[list[Key], msgspec.Meta(min_length=1, max_length=MAX_K)]
    format: Literal["csv", "jsonl", "txt"] = "csv"


def from_query(query: QueryParams) -> SearchRequest:
    """Return the search that a query string asks for; Refusal where it cannot be used."""
    terms: list[dict[str, Any]] = []
    for name, field, weight in (
        ("q", "text", 1.0),
        ("not", "text", AWAY),
        ("like", "key", 1.0),
        ("unlike", "key", AWAY),
        ("e", "embedding", 1.0),
        ("unlike_e", "embedding", AWAY),
        ("image_url", "image_url", 1.0),
    ):
        terms += [{field: one, "weight": weight} for one in query.getlist(name) if one.strip()]
    values: dict[str, Any] = {"terms": terms}
    for name in ("in", "where", "k", "offset"):
        if query.get(name, "").strip():
            values[name] = query[name]
    unique = query.get("unique", "")
    values["unique"] = "auto" if unique == "auto" else unique not in ("", "0", "false")
    return as_kind(values, SearchRequest)


def read_embedding(value: list[float] | str, dim: int) -> Floats:
    """Return an embedding as it was sent, (d,); Refusal where it is none of this dataset's."""
    if isinstance(value, str):
        data = read_base64(value, "embedding")
        if len(data) % 2:
            raise Refusal(UNUSABLE, "embedding is not base64 of float16 numbers, 2 bytes each")
        vector = np.frombuffer(data, "<f2").astype(np.float32)
    else:
        with np.errstate(over="ignore"):
            vector = np.array(value, np.float32)
    if len(vector) != dim:
        raise Refusal(
            UNUSABLE,
            f"an embedding of {len(vector)} numbers cannot be compared with those of {dim}: use "
            "the model that made them",
        )
    if not np.isfinite(vector).all() or not vector.any():
        raise Refusal(UNUSABLE, "an embedding of zeros, or that is not finite, has no direction")
    return vector


def write_embedding(vector: Floats) -> str:
    """Return an embedding as base64 of float16 numbers, for a URL."""
    return base64.urlsafe_b64encode(vector.astype("<f2").tobytes()).decode().rstrip("=")


def read_base64(text: str, name: str) -> bytes:
    """Return the bytes of base64, of either alphabet or of a data URI; Refusal where it is none."""
    if text[:5].lower() == "data:":
        head, _, text = text.partition(",")
        if not head.lower().endswith(";base64"):
            raise Refusal(BROKEN, f"{name} is a data URI without base64")
    text = "".join(text.split()).translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(BROKEN, f"{name} is not base64: {error}") from error
