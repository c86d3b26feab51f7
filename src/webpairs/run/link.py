"""Serving what a run has once - its model, its fetcher, its progress - to units in any process."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from webpairs.build.hash_check import HashWatch
from webpairs.engine.link import Preprocess
from webpairs.figures import FetchFigures
from webpairs.progress import RunProgress

if TYPE_CHECKING:
    from webpairs.clip.model import Model
    from webpairs.obtain.fetcher import Outcome
    from webpairs.obtain.received import ReceivedAnswers
    from webpairs.obtain.service import FetchClient, FetchService


class CoordinatorLink:
    """Serving the run's one model, its one fetcher and its progress to the units, in whichever
    process they run."""

    def __init__(
        self,
        progress: RunProgress,
        model: Model | None = None,
        fetcher: FetchService | None = None,
        hashes: HashWatch | None = None,
    ) -> None:
        self._progress = progress
        self._model = model
        self._fetcher = fetcher
        self._hashes = hashes
        self._client: FetchClient | None = None
        self._lock = threading.Lock()

    @property
    def preprocess(self) -> Preprocess:
        """Return the model's preprocessing; stages without a model never ask."""
        if self._model is None:
            return _no_model
        from webpairs.clip.preprocess import square

        return partial(square, preprocessing=self._model.preprocessing)

    def embed_images(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed with the run's model."""
        assert self._model is not None
        with self._lock:
            return self._model.embed_images(batch)

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed with the run's model."""
        assert self._model is not None
        with self._lock:
            return self._model.embed_texts(texts)

    def fetch(
        self, urls: Sequence[str], deadline_s: float, keep_in: ReceivedAnswers | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Fetch with the run's fetcher, for a unit in this process."""
        from webpairs.obtain.service import FetchClient

        with self._lock:
            if self._client is None:
                self._client = FetchClient(self.fetch_socket())
        return self._client.fetch(urls, deadline_s, keep_in)

    def fetch_socket(self) -> socket.socket:
        """Return a new socket to the run's fetcher; in a stage without one, one that is shut."""
        if self._fetcher is not None:
            return self._fetcher.connect()
        ours, theirs = socket.socketpair()
        ours.close()
        return theirs

    def stop_fetching(self) -> None:
        """End every `fetch` of this process with RunError."""
        if self._client is not None:
            self._client.close()

    def fetch_figures(self) -> FetchFigures:
        """Return what the run's fetcher has to do."""
        return FetchFigures() if self._fetcher is None else self._fetcher.figures()

    def report(self, counts: Mapping[str, float]) -> None:
        """Pass counts on to the progress shown."""
        with self._lock:
            self._progress.add(counts if self._hashes is None else self._hashes.take(counts))


def _no_model(image: object) -> npt.NDArray[np.uint8]:
    raise AssertionError(f"no model in this stage, asked for {image!r}")
