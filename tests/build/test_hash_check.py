"""Hashes that tables give: compared, or kept and counted, or left alone; doubted if all differ."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest
from PIL import Image
from rich.console import Console
from support.museum_images import draw, save

from webpairs import BuildOptions, build_dataset
from webpairs.build.hash_check import DOUBT_AFTER, HashTally, HashWatch, compare_hashes
from webpairs.drops import Drop
from webpairs.errors import ConfigError
from webpairs.options import RetryOptions
from webpairs.progress import RunProgress
from webpairs.run.run import retry_dataset
from webpairs.run_folder.manifest import read_manifest
from webpairs.run_folder.retries import read_retries

PICTURE = save(Image.fromarray(draw(64, 48)), "JPEG")
RIGHT = f"md5:{hashlib.md5(PICTURE, usedforsecurity=False).hexdigest()}"
WRONG = f"md5:{'0' * 32}"


@pytest.mark.parametrize(
    ("check", "given", "dropped", "counts"),
    [
        ("on", [RIGHT, RIGHT], [], (1, 0)),
        ("on", [RIGHT, WRONG], [1], (0, 1)),
        ("on", [WRONG, None], [0], (0, 1)),
        ("on", [None], [], (0, 0)),
        ("warn", [WRONG], [], (0, 1)),
        ("warn", [RIGHT], [], (1, 0)),
        ("off", [WRONG], [], (0, 0)),
    ],
)
def test_what_is_dropped_and_counted(
    check: str, given: list[str | None], dropped: list[int], counts: tuple[int, int]
) -> None:
    tally = HashTally()
    wrong, right = compare_hashes(check, dict(enumerate(given)), PICTURE)
    tally.count(right)
    assert list(wrong) == dropped
    assert (tally.num_right, tally.num_wrong) == counts
    assert sum(tally.news().values()) == sum(counts)
    assert tally.news() == {}


@pytest.mark.parametrize(
    ("reports", "num_lines"),
    [
        ([(0, DOUBT_AFTER - 1)], 0),
        ([(0, DOUBT_AFTER)], 1),
        ([(0, 60), (0, 60), (0, 60)], 1),  # said once
        ([(0, 60), (1, 0), (0, 60)], 0),
        ([(DOUBT_AFTER, 0)], 0),
    ],
)
def test_a_column_that_never_agrees_is_doubted_once(
    reports: list[tuple[int, int]], num_lines: int
) -> None:
    lines: list[str] = []
    watch = HashWatch("on", lines.append)
    for right, wrong in reports:
        rest = watch.take({"done": 5, "hashes_right": right, "hashes_wrong": wrong})
        assert rest == {"done": 5}
    watch.end()
    assert len(lines) == num_lines
    assert all("--check-hashes off" in line and "\n" not in line for line in lines)


def test_an_unknown_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--check-hashes 'of' is unknown: did you mean 'off'"):
        BuildOptions(inputs=("x",), out="y", check_hashes="of")


# ---- whole runs


class _Pictures(BaseHTTPRequestHandler):
    """A site on which every path is the same picture."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer with the picture, and with 404 for robots.txt and the like."""
        is_picture = self.path.endswith(".jpg")
        self.send_response(200 if is_picture else 404)
        self.send_header("Content-Length", str(len(PICTURE) if is_picture else 0))
        self.end_headers()
        if is_picture:
            self.wfile.write(PICTURE)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@contextmanager
def site() -> Generator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pictures)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Said(RunProgress):
    """A progress that keeps the lines."""

    def __init__(self) -> None:
        super().__init__(quiet=True, console=Console(stderr=True))
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Keep a line."""
        self.lines.append(line)


def test_a_column_of_other_hashes_from_build_to_retry(tmp_path: Path) -> None:
    """The case md5-of-something-else, large enough to be doubted."""
    num = DOUBT_AFTER + 20
    with site() as address:
        rows = [
            {"url": f"{address}/{n}.jpg", "text": f"boat {n}", "md5": f"{n:032x}"}
            for n in range(num)
        ]
        table = tmp_path / "in.jsonl"
        table.write_bytes(b"\n".join(map(orjson.dumps, rows)))
        options = BuildOptions(
            inputs=(str(table),),
            out=str(tmp_path / "on"),
            model="none",
            allow_network=("127.0.0.0/8",),
            per_host_rate=0,
            workers=1,
        )
        said = _Said()
        result = build_dataset(options, said)
        assert result.funnel.drops == {Drop.HASH_MISMATCH: num}
        assert sum("not one of the first" in line for line in said.lines) == 1
        with pytest.raises(ConfigError, match="--check-hashes: the run has on, this line asks"):
            build_dataset(replace(options, check_hashes="off"))

        said = _Said()
        again = RetryOptions(
            out=options.out, reasons=("hash_mismatch",), check_hashes="off", workers=1
        )
        result = retry_dataset(again, said)
        assert (result.funnel.samples, result.funnel.drops.total()) == (num, 0)
        assert not any("not one of" in line for line in said.lines)
        assert read_retries(Path(options.out))[0].check_hashes == "off"

        warned = replace(options, out=str(tmp_path / "warn"), check_hashes="warn")
        said = _Said()
        result = build_dataset(warned, said)
        assert (result.funnel.samples, result.funnel.drops.total()) == (num, 0)
        assert f"{num} of {num} images do not have the hash" in said.lines[-1]
        manifest = read_manifest(Path(warned.out))
        assert manifest is not None
        assert manifest["options"]["check_hashes"] == "warn"
        stats = orjson.loads((Path(warned.out) / "stats" / "00000.json").read_bytes())
        assert stats["hashes"] == {"right": 0, "wrong": num}
