"""A build from the web that is stopped in the middle of a shard asks for nothing a second time.

A server in this process logs each request. The build is one shard, so that what is not asked for
again is in its journal. The slow test stops it at twenty random moments and prints what that cost:

    ./run pytest -m slow -s tests/e2e/test_stops.py
"""

from __future__ import annotations

import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.run_folders import wait_for

HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4")
SLOW_HOST = HOSTS[3]
PER_HOST = "2"
IN_FLIGHT_S = 0.5
"""An answer that was sent so shortly before a stop may not have arrived."""


def picture(number: int) -> bytes:
    """Return a JPEG of at least 5,000 bytes that no other number has."""
    pixels = np.random.default_rng(number).integers(0, 256, (48, 64, 3), np.uint8)
    image = Image.fromarray(pixels).resize((256, 192), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


class Site:
    """Pictures at several addresses of this machine, and a log of who asked for what when."""

    def __init__(self, num_pictures: int, delay_s: float) -> None:
        self.asked: list[tuple[str, float, float]] = []
        """URL, and when its answer began and was sent."""
        self.urls: list[str] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                begun = time.monotonic()
                url = f"http://{self.headers['Host']}{self.path}"
                number = int(self.path.rpartition("/")[2]) if "/picture/" in self.path else None
                if number is None or number % 25 == 0:
                    status, body = 404, b"not here"
                else:
                    status, body = 200, picture(number)
                    time.sleep(delay_s * (5 if SLOW_HOST in url else 1))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                if number is not None:
                    site.asked.append((url, begun, time.monotonic()))

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Say nothing: a client that is killed hangs up."""

        self._servers = [Server((HOSTS[0], 0), Handler)]
        self.port = self._servers[0].server_port
        self._servers += [Server((host, self.port), Handler) for host in HOSTS[1:]]
        self.urls = [
            f"http://{HOSTS[number % len(HOSTS)]}:{self.port}/picture/{number}"
            for number in range(num_pictures)
        ]

    @contextmanager
    def up(self) -> Generator[Site]:
        threads = [
            threading.Thread(target=one.serve_forever, args=(0.05,)) for one in self._servers
        ]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            for one, thread in zip(self._servers, threads, strict=True):
                one.shutdown()
                one.server_close()
                thread.join()


def start(table: Path, out: Path, workers: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "webpairs", "build", str(table), "--out", str(out)),
            *("--model", "tiny", "--threshold", "-1", "--languages", "any", "--workers", workers),
            *(
                "--allow-network",
                "127.0.0.0/8",
                "--per-host-rate",
                "0",
                "--per-host",
                PER_HOST,
            ),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for a run to end by itself and well; return what it said."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return errors


def stop(process: subprocess.Popen[str], how: str) -> float:
    """Stop a run; return the seconds that took."""
    begun = time.monotonic()
    if how == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.send_signal(getattr(signal, how))
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors
    return time.monotonic() - begun


def content(out: Path) -> dict[str, Any]:
    """Return every byte of a finished dataset but times, and the counts of its shards."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if not path.is_file() or name.startswith((".lock", "manifest", "stats/")):
            continue
        if name.startswith("metadata/"):
            found[name] = pq.read_table(path).drop_columns(["fetch_date"]).to_pylist()
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    stats = orjson.loads((out / "stats" / "00000.json").read_bytes())
    return found | {name: stats[name] for name in stats.keys() - {"started", "seconds", "files"}}


def check_stops(
    tmp_path: Path, site: Site, workers: str, ways: list[str], rng: random.Random
) -> None:
    """Stop a build once in each of `ways`, let it end, and hold it against an undisturbed one."""
    table = tmp_path / "links.jsonl"
    lines = [orjson.dumps({"url": url, "caption": f"picture {url}"}) for url in site.urls]
    table.write_bytes(b"\n".join(lines))
    with site.up():
        begun = time.monotonic()
        ended(start(table, tmp_path / "undisturbed", workers))
        undisturbed_s = time.monotonic() - begun
        assert max(Counter(url for url, _, _ in site.asked).values()) == 1
        site.asked.clear()

        out = tmp_path / "out"
        stops: list[float] = []
        took: list[float] = []
        begun = time.monotonic()
        for index, how in enumerate(ways):
            process = start(table, out, workers)
            enough = len(site.urls) * (index + 1) // (len(ways) + 1) + rng.randrange(-5, 5)
            enough = max(len(site.asked) + 1, enough)
            assert wait_for(
                lambda num=enough, run=process: len(site.asked) >= num or run.poll() is not None,
                100,
            )
            assert process.poll() is None, process.communicate()
            stops.append(time.monotonic())
            took.append(stop(process, how))
        ended(start(table, out, workers))
        stopped_s = time.monotonic() - begun

    times = Counter(url for url, _, _ in site.asked)
    again = [url for url, num in times.items() if num > 1]
    in_flight = {
        url
        for url, begun_at, sent_at in site.asked
        for stopped in stops
        if begun_at <= stopped + IN_FLIGHT_S and sent_at >= stopped - IN_FLIGHT_S
    }
    print(
        f"\n{len(stops)} stops ({workers} workers): {len(again)} of {len(site.urls)} URLs asked "
        f"again, {len(in_flight)} were in flight; ended in {max(took, default=0):.1f} s at most; "
        f"{undisturbed_s:.1f} s undisturbed, {stopped_s:.1f} s with all stops and starts"
    )
    assert set(again) <= in_flight
    assert len(again) <= len(stops) * len(HOSTS) * int(PER_HOST)
    assert content(out) == content(tmp_path / "undisturbed")
    assert not (out / "work").exists()


@pytest.mark.parametrize("workers", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_nothing_is_fetched_twice_but_what_was_in_flight(tmp_path: Path, workers: str) -> None:
    ways = ["SIGTERM", "group", "SIGKILL"]
    check_stops(tmp_path, Site(160, 0.02), workers, ways, random.Random(1))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_twenty_stops(tmp_path: Path, workers: str) -> None:
    rng = random.Random(2)
    ways = [rng.choice(["SIGINT", "SIGTERM", "SIGKILL", "group"]) for _ in range(20)]
    check_stops(tmp_path, Site(1_500, 0.02), workers, ways, rng)
