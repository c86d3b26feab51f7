"""Keep every test off the network, and build from the little web once for all of them."""

from __future__ import annotations

import atexit
import ipaddress
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from support.run_folders import SmallCrawl

from webpairs import BuildOptions, build_dataset
from webpairs.demo.crawl_files import write_crawl_files
from webpairs.demo.little_web import draw_little_web

os.environ["HF_HUB_OFFLINE"] = "1"
# ./run sets it, and what is printed must not depend on how the tests were started.
os.environ.pop("WEBPAIRS_COMMAND", None)
# What a user began is kept in the state folder, which tests must not write to.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="webpairs-tests-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)
# How long an example takes says how busy the machine is.
settings.register_profile("without deadline", deadline=None)
settings.load_profile("without deadline")


def _is_here(address: Any) -> bool:
    if not isinstance(address, tuple):  # AF_UNIX
        return True
    host = address[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections and name look-ups that would leave this machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    look_up = socket.getaddrinfo

    def check(address: Any) -> None:
        if not _is_here(address):
            raise AssertionError(f"a test tried to reach {address}: tests stay on this machine")

    def checked_connect(self: socket.socket, address: Any) -> None:
        check(address)
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        check(address)
        return connect_ex(self, address)

    def checked_look_up(host: Any, *arguments: Any, **options: Any) -> Any:
        if host is not None:
            check((host.decode() if isinstance(host, bytes) else host,))
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket.socket, "connect", checked_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", checked_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", checked_look_up)


@pytest.fixture(scope="session")
def little_web(tmp_path_factory: pytest.TempPathFactory) -> SmallCrawl:
    """Draw a small little web and write its crawl files once for all tests."""
    web = draw_little_web(seed=7, num_pages=15)
    return SmallCrawl(web, write_crawl_files(web, tmp_path_factory.mktemp("little-web")))


@pytest.fixture(scope="session")
def loose_run(little_web: SmallCrawl, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from the little web once, undisturbed, in this process, with every score kept."""
    out = tmp_path_factory.mktemp("runs") / "loose"
    result = build_dataset(
        BuildOptions(
            inputs=tuple(map(str, little_web.files.warc)),
            images="archive",
            out=str(out),
            model="tiny",
            threshold=-1,
            shard_size=40,
            workers=1,
        )
    )
    assert result.out == out
    return out
