"""Embedding what many requests ask for at once, in batches, beside the loop that answers them.

While one batch is embedded, the next ones wait together: nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
from anyio import CapacityLimiter, to_thread

from webpairs.clip.model import Model
from webpairs.search.index.vectors import Floats
from webpairs.search.model import decode_query
from webpairs.serve.metrics import Metrics

MAX_TEXTS: Final = 64
MAX_IMAGES: Final = 16
DECODED_AT_ONCE: Final = 2
"""An image of 50 million pixels takes 150 MB."""


class Batches:
    """Collection of items while a batch of them is worked on; used on one loop."""

    def __init__(self, embed: Callable[[list[Any]], Floats], most: int) -> None:
        """`embed` returns a row for each of at most `most` items."""
        self._embed = embed
        self._most = most
        self._waiting: list[tuple[Any, asyncio.Future[Floats]]] = []
        self._working: asyncio.Task[None] | None = None

    async def embed(self, item: Any) -> Floats:
        """Return the embedding of an item, (d,)."""
        answer: asyncio.Future[Floats] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            # Whoever went away in the meantime is not worked for.
            batch = [one for one in batch if not one[1].done()]
            if not batch:
                continue
            try:
                vectors = await to_thread.run_sync(self._embed, [item for item, _ in batch])
            except Exception as error:
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for vector, (_, answer) in zip(vectors, batch, strict=True):
                if not answer.done():
                    answer.set_result(vector)


class Encoder:
    """Embedder of texts and images with one model."""

    def __init__(self, model: Model, metrics: Metrics) -> None:
        self.model = model
        self._metrics = metrics
        self._decoding = CapacityLimiter(DECODED_AT_ONCE)
        self._texts = Batches(self._embed_texts, MAX_TEXTS)
        self._images = Batches(self._embed_images, MAX_IMAGES)

    async def text(self, text: str) -> Floats:
        """Return the embedding of a text, (d,)."""
        return await self._texts.embed(text)

    async def image(self, data: bytes) -> Floats:
        """Return the embedding of an encoded image, (d,); ConfigError where it cannot be had."""
        pixels = await to_thread.run_sync(self._preprocess, data, limiter=self._decoding)
        return await self._images.embed(pixels)

    def _preprocess(self, data: bytes) -> Any:
        with self._metrics.time("image_prepro_time"):
            return self.model.preprocess(decode_query(data))

    def _embed_texts(self, texts: Sequence[str]) -> Floats:
        with self._metrics.time("text_clip_inference_time"):
            return self.model.embed_texts(texts)

    def _embed_images(self, pixels: Sequence[Any]) -> Floats:
        with self._metrics.time("image_clip_inference_time"):
            return self.model.embed_images(np.stack(pixels))
