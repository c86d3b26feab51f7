"""Counting and time what the server does, under clip-retrieval's names where it has one."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
_BUCKETS: Final = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0),
)
_TIMED: Final = {
    # Source of the names: clip_retrieval/clip_back.py
    "full_knn_request_time": "search requests as a whole",
    "download_time": "images that were fetched by their URL",
    "text_clip_inference_time": "embedding texts",
    "image_clip_inference_time": "embedding images",
    "metadata_get_time": "reading rows",
    "knn_index_time": "searching the index",
    "dedup_time": "folding copies",
    "safety_time": "leaving out samples that are tagged NSFW",
    "image_prepro_time": "decoding and resizing images",
}


class Metrics:
    """The server's counters."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._times = {
            name: Histogram(name, f"seconds: {what}", registry=self._registry, buckets=_BUCKETS)
            for name, what in _TIMED.items()
        }
        self._answers = Counter(
            "webpairs_answers", "answers by status", ["status"], registry=self._registry
        )
        self.under_way = Gauge(
            "webpairs_requests_under_way", "requests under way", registry=self._registry
        )

    def answered(self, status: int) -> None:
        """Count an answer."""
        self._answers.labels(str(status)).inc()

    @contextmanager
    def time(self, name: str) -> Generator[None]:
        """Time a step that ends well."""
        start = time.perf_counter()
        yield
        self._times[name].observe(time.perf_counter() - start)

    def exposition(self) -> bytes:
        """Return all of them in Prometheus's text format."""
        return generate_latest(self._registry)

    def summary(self) -> str:
        """Return how often each step was done and how long it took on average, as text."""
        lines: list[str] = []
        for metric in self._registry.collect():
            found = {one.name: one.value for one in metric.samples if not one.labels}
            num = found.get(f"{metric.name}_count", 0)
            if num:
                mean = found[f"{metric.name}_sum"] / num
                lines.append(f"{metric.name}: {num:.0f} times, {mean * 1000:.2f} ms on average")
        return "\n".join(lines) + "\n" if lines else "No request yet, go do some"
