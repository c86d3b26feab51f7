"""Index a small run once for all tests of the server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.served_folders import client_of

from webpairs.search.index.build import build_index
from webpairs.search.options import IndexOptions


@pytest.fixture(scope="session")
def indexed_run(loose_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run folder of the little web, with every pair kept, and its index."""
    out = tmp_path_factory.mktemp("served") / "loose"
    shutil.copytree(loose_run, out)
    build_index(IndexOptions(source=str(out)))
    return out


@pytest.fixture(scope="session")
def client(indexed_run: Path) -> Iterator[TestClient]:
    """Return a client of a server of that run."""
    with client_of(indexed_run) as client:
        yield client
