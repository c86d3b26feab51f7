"""Serving a run's figures to Prometheus on this machine, while it works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from typing import Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from webpairs.errors import ConfigError
from webpairs.progress import RunProgress

ADDRESS: Final = "127.0.0.1"
CLIENT_S: Final = 10.0
"""A client that sends nothing for so long is let go."""
_STAGE: Final = ("stage", "unit")


class _Figures(Collector):
    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress

    def collect(self) -> Iterable[Metric]:
        """Yield the figures of the stage under way; none between stages."""
        figures = self._progress.figures()
        if figures is None:
            return
        stage = (figures.name, figures.unit)
        for name, what, value in (
            ("total", "units of the stage", figures.total),
            ("done", "units done, by earlier starts too", figures.done),
            ("rate", "units a second since this start", figures.rate),
            ("elapsed_seconds", "seconds since this start of the stage", figures.elapsed_s),
            ("left_seconds", "estimate of the seconds left", figures.seconds_left),
        ):
            gauge = GaugeMetricFamily(f"webpairs_stage_{name}", what, labels=_STAGE)
            if value is not None:
                gauge.add_metric(stage, value)
            yield gauge
        counts = GaugeMetricFamily(
            "webpairs_stage_outcomes",
            "samples, and drops by reason, since this start",
            labels=("stage", "outcome"),
        )
        for outcome, num in sorted(figures.counts.items()):
            counts.add_metric((figures.name, outcome), num)
        yield counts
        fetch = figures.fetch
        yield GaugeMetricFamily("webpairs_requests_asked", "handed to the fetcher", fetch.asked)
        yield GaugeMetricFamily("webpairs_requests_waiting", "without an answer", fetch.waiting)
        waiting = GaugeMetricFamily(
            "webpairs_host_waiting", "requests that wait for a slow host", labels=("host",)
        )
        rate = GaugeMetricFamily(
            "webpairs_host_rate", "requests that a slow host ends a second", labels=("host",)
        )
        left = GaugeMetricFamily(
            "webpairs_host_left_seconds", "estimate for a slow host's queue", labels=("host",)
        )
        for host in fetch.hosts:
            waiting.add_metric((host.host,), host.waiting)
            rate.add_metric((host.host,), host.rate)
            left.add_metric((host.host,), host.seconds_left(figures.num_later))
        yield from (waiting, rate, left)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_S

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal shows the run."""


@contextmanager
def served_metrics(port: int, progress: RunProgress) -> Generator[int]:
    """Serve `/metrics` on 127.0.0.1 while the block runs; yield the port, which 0 leaves open.

    Raises ConfigError when it cannot be had.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(progress))
    try:
        server = _Server((ADDRESS, port), _Handler)
    except OSError as error:
        raise ConfigError(
            f"--metrics-port {port} cannot be had: {error.strerror}; name another port, or 0 for "
            "any that is free"
        ) from error
    server.set_app(_for_this_machine(make_wsgi_app(registry)))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _for_this_machine(app: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse what a web page asks under a name of its own that leads here (DNS rebinding)."""

    def checked(environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        host = str(environ.get("HTTP_HOST", "")).rpartition(":")[0] or environ.get("HTTP_HOST")
        if environ.get("PATH_INFO") != "/metrics":
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"the figures are at /metrics\n"]
        if host not in (ADDRESS, "localhost"):
            start("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"ask for 127.0.0.1\n"]
        return app(environ, start)

    return checked
