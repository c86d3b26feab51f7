"""Threads may share a dataset: Grain reads ahead with sixteen of them."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import webpairs
from webpairs.dataset import open_shards


def test_threads_share_a_dataset(loose_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_shards, "MAX_SHARDS", 2)
    monkeypatch.setattr("webpairs.dataset.view.KEPT_BYTES", 300)
    chosen = webpairs.open(loose_run).where("similarity > 0.2")
    keys = chosen.table(["key"]).column("key").to_pylist()
    expected = [chosen.sample(key, decode=None)["url"] for key in keys]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(6):
            fresh = webpairs.open(loose_run).where("similarity > 0.2")

            def read(number: int, ds: webpairs.Dataset = fresh) -> Any:
                return ds.sample(number, decode=None)["url"]

            numbers = [(number * 37) % len(keys) for number in range(120)]
            with ThreadPoolExecutor(8) as threads:
                found = list(threads.map(read, numbers))
            assert found == [expected[number] for number in numbers]
            assert len(fresh) == len(keys)
    finally:
        sys.setswitchinterval(interval)
