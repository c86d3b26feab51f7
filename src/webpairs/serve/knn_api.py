"""Speak the dialect of clip-retrieval's server, for its Python client and its page.

Source: clip_retrieval/clip_back.py, clip_client.py and front/src/clip-service.js of
rom1504/clip-retrieval. What differs is written in docs/serve.md: bad requests have a status of
their own and a sentence, vectors are compared by direction, null stands for the default.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from webpairs.dataset.features import TABULAR
from webpairs.dataset.sources.source import Rows
from webpairs.files import read_regular
from webpairs.image.sniff import IMAGES, sniff
from webpairs.search.index.vectors import Floats, Kind
from webpairs.search.near_duplicates import keep_first
from webpairs.search.options import MAX_K
from webpairs.search.result import Hit
from webpairs.serve import metrics
from webpairs.serve.answers.find import nearest_rows, picture_path
from webpairs.serve.answers.terms import make_terms
from webpairs.serve.collection import Served
from webpairs.serve.limits.body import read_json
from webpairs.serve.limits.refusal import UNKNOWN, UNUSABLE, Refusal, json_response
from webpairs.serve.requests import K, TermRequest, read_embedding
from webpairs.serve.state import state_of

MAX_IMAGE_PATH_BYTES: Final = 20_000_000
MAX_IMAGES_BYTES: Final = 24_000_000
"""Of the image files in a reply; base64 makes 32 MB of them."""
_LABELS_LEFT_OUT: Final = frozenset(("NSFW",))


class KnnRequest(msgspec.Struct, frozen=True):
    """A request of `/knn-service`; null stands for the default, other fields are ignored."""

    modality: str | None
    num_images: int | None
    text: str | None = None
    image: str | None = None
    image_url: str | None = None
    embedding_input: list[float] | None = None
    num_result_ids: int | None = None
    indice_name: str | None = None
    index_name: str | None = None
    use_mclip: bool | None = None
    deduplicate: bool | None = None
    use_safety_model: bool | None = None
    use_violence_detector: bool | None = None
    aesthetic_score: int | float | str | None = None
    aesthetic_weight: int | float | str | None = None
    normalize: bool | None = None


class MetadataRequest(msgspec.Struct, frozen=True):
    """A request of `/metadata`."""

    ids: list[int]
    indice_name: str | None = None
    index_name: str | None = None


async def answer_indices(request: Request) -> Response:
    """List the names of the datasets; clients take the first as default."""
    return json_response(state_of(request).collection.names)


async def answer_config(request: Request) -> Response:
    """Tell clip-retrieval's page where its server is."""
    return json_response(
        {
            "defaultBackend": str(request.base_url).rstrip("/"),
            "defaultIndex": "",
            "urlColumn": "url",
        }
    )


async def answer_metrics(request: Request) -> Response:
    """Return the counters in Prometheus's text format."""
    return Response(state_of(request).metrics.exposition(), media_type=metrics.CONTENT_TYPE)


async def answer_summary(request: Request) -> Response:
    """Return the averages of the counters."""
    return PlainTextResponse(state_of(request).metrics.summary())


async def answer_metadata(request: Request) -> Response:
    """Return the metadata of samples by their numbers, in this order."""
    state, asked = state_of(request), await read_json(request, MetadataRequest)
    if not asked.ids:
        return json_response([])
    served = state.collection.get(asked.indice_name or asked.index_name or None)
    num = served.vectors.num_rows
    if len(asked.ids) > MAX_K:
        raise Refusal(UNUSABLE, f"{len(asked.ids):,} ids are too many: ask for at most {MAX_K:,}")
    for one in asked.ids:
        if not 0 <= one < num:
            raise Refusal(UNKNOWN, f"id {one}: {served.name} has ids 0 to {num - 1}")

    def read() -> Response:
        hits = served.searcher.hits(np.array(asked.ids, np.int64), None, _columns(served))
        images = Images(served)
        return json_response(
            [
                {"id": hit.row, "metadata": _metadata(served, hit, str(request.base_url), images)}
                for hit in hits
            ]
        )

    with state.metrics.time("metadata_get_time"):
        return await state.reply(read)


async def answer_knn(request: Request) -> Response:
    """Return what is nearest to a text, an image or an embedding."""
    state, asked = state_of(request), await read_json(request, KnnRequest)
    with state.metrics.time("full_knn_request_time"):
        served = state.collection.get(asked.indice_name or asked.index_name or None)
        num_images, num_ids = _numbers(asked)
        if asked.use_mclip:
            raise Refusal(UNUSABLE, "use_mclip: this server has no multilingual text tower")
        kind: Kind = "image" if asked.modality in ("image", None, "") else "text"
        kind = served.searcher.index(kind).vectors.kind
        term, length = _term(asked, served.vectors.dim)
        terms = await make_terms(state, served, [term], kind)

        def answer() -> Response:
            rows, similarities = nearest_rows(state, served, terms, kind, num_ids)
            warnings = _warnings(asked, served)
            if asked.deduplicate and len(rows):
                with state.metrics.time("dedup_time"):
                    kept = keep_first(served.searcher.index(kind).vectors.take(rows))
                rows, similarities = rows[kept], similarities[kept]
            known: list[Hit] | None = None
            if asked.use_safety_model and len(rows):
                with state.metrics.time("safety_time"):
                    known = served.searcher.hits(rows, None)
                    kept = ~np.isin(rows, _unsafe(known))
                rows, similarities = rows[kept], similarities[kept]
            with state.metrics.time("metadata_get_time"):
                if known is None or _columns(served) != TABULAR:
                    known = served.searcher.hits(rows[:num_images], None, _columns(served))
                images = Images(served)
                base = str(request.base_url)
                metadata = _described(served, rows[:num_images], known, base, images)
            if images.num_left_out:
                warnings.append(f"image: {MAX_IMAGES_BYTES:,} bytes of image files in a reply")
            # RFC 9111 has retired the header; clients that know none ignore it.
            said = ", ".join(f'299 - "{one}"' for one in warnings)
            results = _results(rows, similarities * length, metadata)
            return json_response(results, headers={"warning": said} if said else None)

        return await state.reply(answer)


def _numbers(asked: KnnRequest) -> tuple[int, int]:
    num_images = K if asked.num_images is None else asked.num_images
    num_ids = num_images if asked.num_result_ids is None else asked.num_result_ids
    for name, value, least in (("num_images", num_images, 0), ("num_result_ids", num_ids, 1)):
        if not least <= value <= MAX_K:
            raise Refusal(UNUSABLE, f"{name} {value} is out of range: use {least} to {MAX_K:,}")
    return num_images, num_ids


def _term(asked: KnnRequest, dim: int) -> tuple[TermRequest, float]:
    """Return what is searched for, and what similarities are multiplied with."""
    if asked.text:
        return TermRequest(text=asked.text), 1.0
    if asked.image:
        return TermRequest(image=asked.image), 1.0
    if asked.image_url:
        return TermRequest(image_url=asked.image_url), 1.0
    if asked.embedding_input is not None:
        length = 1.0
        if asked.normalize is False:
            length = float(np.linalg.norm(read_embedding(asked.embedding_input, dim)))
        return TermRequest(embedding=asked.embedding_input), length
    raise Refusal(UNUSABLE, "nothing to search for: give text, image, image_url or embedding_input")


def _warnings(asked: KnnRequest, served: Served) -> list[str]:
    """Return what was asked for and not done; clip-retrieval's client always asks for all of it."""
    warnings: list[str] = []
    if asked.use_safety_model and not served.has_tags:
        warnings.append("use_safety_model: the dataset has no NSFW tags")
    if asked.use_violence_detector:
        warnings.append("use_violence_detector: there is none")
    if asked.aesthetic_score not in (None, ""):
        warnings.append("aesthetic_score: there are no aesthetic embeddings")
    return warnings


def _unsafe(hits: Sequence[Hit]) -> list[int]:
    """Return the rows whose own tag is NSFW."""
    return [hit.row for hit in hits if hit.columns["nsfw"] in _LABELS_LEFT_OUT]


def _described(
    served: Served, rows: Rows, hits: Sequence[Hit], base: str, images: Images
) -> dict[int, dict[str, Any]]:
    """Return the metadata of those of the hits that are among rows, by row."""
    wanted = set(rows.tolist())
    return {hit.row: _metadata(served, hit, base, images) for hit in hits if hit.row in wanted}


def _results(
    rows: Rows, similarities: Floats, metadata: Mapping[int, dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return all of them, with metadata where it is known."""
    return [
        metadata.get(row, {}) | {"id": row, "similarity": similarity}
        for row, similarity in zip(rows.tolist(), similarities.tolist(), strict=True)
    ]


def _columns(served: Served) -> Sequence[str]:
    return (*TABULAR, "image_path") if "image_path" in served.columns else TABULAR


def _metadata(served: Served, hit: Hit, base: str, images: Images) -> dict[str, Any]:
    """Return the columns that clip-retrieval's clients know, and some beside them."""
    columns = hit.columns
    found: dict[str, Any] = {
        "url": columns["url"],
        "caption": columns["caption"],
        "NSFW": columns["nsfw"],
        "key": hit.key,
        "width": columns["original_width"],
        "height": columns["original_height"],
        "license": columns["license"],
        "caption_similarity": columns["similarity"],
    }
    if hit.cut:
        found["cut"] = list(hit.cut)
    if served.has_images:
        found["thumbnail"] = base.rstrip("/") + picture_path(served, hit.key)
    if (path := columns.get("image_path")) is not None:
        found["image_path"] = path
        if (image := images.read(str(path))) is not None:
            found["image"] = image
    return found


class Images:
    """The image files inside a dataset's folder that one reply holds."""

    def __init__(self, served: Served) -> None:
        self._root = served.searcher.dataset.source.folder.resolve()
        self._left_bytes = MAX_IMAGES_BYTES
        self.num_left_out = 0
        """Files that were too much for the reply."""

    def read(self, path: str) -> str | None:
        """Return base64 of an image file of the folder; None of all others, and of too much."""
        if not self._left_bytes:
            self.num_left_out += 1
            return None
        try:
            file = (self._root / Path(path)).resolve()
            if not file.is_relative_to(self._root):
                return None
            data = read_regular(file, MAX_IMAGE_PATH_BYTES)
        except (OSError, ValueError):
            return None
        if sniff(data) not in IMAGES:
            return None
        if len(data) > self._left_bytes:
            self._left_bytes = 0  # no more files are read for nothing
            self.num_left_out += 1
            return None
        self._left_bytes -= len(data)
        return base64.b64encode(data).decode()
