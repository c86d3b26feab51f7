"""Filters run in processes: bounded in memory, killed when they take too long, short ones first."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.filter_finder import Finder
from support.paths import TESTS
from support.served_folders import client_of

from webpairs.search.searcher import Searcher
from webpairs.serve.filters import pool as filter_pool
from webpairs.serve.filters.pool import FilterPool
from webpairs.serve.limits.refusal import Refusal


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[FilterPool]:
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    pool = FilterPool()
    yield pool
    template = pool._template
    pool.close()
    assert template is None or template._process.returncode is not None
    with pytest.raises(Refusal, match="the server ends"):
        pool.find(pool._finders[0], "true")


def add_finder(pool: FilterPool) -> Any:
    finder: Any = Finder()
    pool.add(finder)
    return finder


def test_what_an_expression_does_ends_with_its_process(pool: FilterPool, tmp_path: Path) -> None:
    finder = add_finder(pool)
    for expression, message in (
        ("memory", "where 'memory' needs more than 512 MB of memory: use a simpler"),
        ("abort", "where 'abort' needs more than 512 MB"),
        (f"{tmp_path}/x", r"where '.*/x' cannot be answered \(OSError\)"),
        ("fault", r"where 'fault' cannot be answered \(KeyError\)"),
        ("(" * 100, "is nested too deeply"),
    ):
        with pytest.raises(Exception, match=message):
            pool.find(finder, expression)
        assert pool.find(finder, "true").tolist() == [1, 2, 5]


def test_a_template_that_ended_is_replaced(pool: FilterPool) -> None:
    finder = add_finder(pool)
    assert len(pool.find(finder, "true")) == 3
    assert pool._template is not None
    pool._template._process.kill()
    pool._template._process.wait()
    pool._idle.pop().kill()
    assert len(pool.find(finder, "true")) == 3


def test_long_filters_do_not_hold_up_short_ones(
    pool: FilterPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filter_pool, "QUICK_S", 0.2)
    monkeypatch.setattr(filter_pool, "LIMIT_S", 3_600)
    finder = add_finder(pool)
    pool._slow = threading.Semaphore(1)
    pool._waiting = threading.Semaphore(1)
    with ThreadPoolExecutor(3) as threads:
        running = threads.submit(pool.find, finder, "loop 1")
        while pool._slow._value:
            time.sleep(0.01)
        waiting = threads.submit(pool.find, finder, "loop 2")
        while pool._waiting._value:
            time.sleep(0.01)
        # Every slow place is taken and one waits: short ones are answered, long ones refused.
        assert len(pool.find(finder, "true")) == 3
        with pytest.raises(Refusal, match="slow filters wait already") as refused:
            pool.find(finder, "loop 3")
        assert refused.value.status == 503
        assert len(pool.find(finder, "true")) == 3
        assert not running.done()
        assert not waiting.done()
        monkeypatch.setattr(filter_pool, "LIMIT_S", 0.2)
        assert pool._template is not None
        pool._template._process.kill()  # and its loops with it, as when the server is killed
        errors = (running.exception(30), waiting.exception(30))
    assert all(isinstance(one, Refusal) for one in errors)


def test_a_filter_that_takes_too_long_is_killed(
    pool: FilterPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filter_pool, "QUICK_S", 0.1)
    monkeypatch.setattr(filter_pool, "LIMIT_S", 0.2)
    finder = add_finder(pool)
    with pytest.raises(Refusal, match=r"where 'loop' takes longer than 0\.2 s: use a simpler"):
        pool.find(finder, "loop")
    assert len(pool.find(finder, "true")) == 3


def test_rows_are_those_of_the_dataset(indexed_run: Path) -> None:
    pool = FilterPool()
    try:
        there, here = Searcher.open(indexed_run, find_rows=pool.find), Searcher.open(indexed_run)
        pool.add(there.finder)
        for expression in ("similarity > 0.25", "page_url like '%news%'", "similarity > 2"):
            found = there.rows_where(expression)
            assert np.array_equal(found, here.rows_where(expression))
            assert there.rows_where(expression) is found
            assert not found.flags.writeable
    finally:
        pool.close()


def test_filters_of_the_api_are_bounded(indexed_run: Path) -> None:
    with client_of(indexed_run) as client:
        for expression, words in (
            ("abs(" * 100 + "1" + ")" * 100 + " = 1", "is nested too deeply"),
            ("(" * 5_000, "is nested too deeply"),
            ("[1]::int[1000][1000][1000] is null", "the type array is not possible here"),
        ):
            for path in ("search", "facets", "random"):
                reply = client.get(f"/api/loose/{path}", params={"where": expression})
                assert reply.status_code == 422
                assert words in reply.json()["message"]
        asked = {"where": "similarity > 0.25"}
        assert client.get("/api/loose/search", params=asked).json()["hits"]
