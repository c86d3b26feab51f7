"""The manifest: what a run folder was made with decides whether a run may go on in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from webpairs.crawl.inputs import Input
from webpairs.errors import ConfigError
from webpairs.run_folder.funnel import Funnel
from webpairs.run_folder.manifest import finish, new_manifest, read_manifest, start_or_resume

INPUTS = [Input("/data/a.warc.gz", "a.warc.gz", "warc", 1_000)]
OPTIONS = {"threshold": 0.3, "languages": ("en",), "shard_size": 100}
MODEL = {"spec": "tiny", "weights_sha256": "00" * 32, "dim": 512}


def manifest(
    options: dict[str, Any] | None = None,
    inputs: list[Input] | None = None,
    model: dict[str, Any] | None = MODEL,
    verb: str = "build",
) -> dict[str, Any]:
    return new_manifest(verb, options or OPTIONS, inputs or INPUTS, model, "1")


def test_a_new_folder_gets_the_manifest(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    made = start_or_resume(tmp_path, manifest())
    stored = read_manifest(tmp_path)
    assert stored is not None
    assert stored["options"] == {"threshold": 0.3, "languages": ["en"], "shard_size": 100}
    assert stored["inputs"] == [
        {"path": "/data/a.warc.gz", "name": "a.warc.gz", "kind": "warc", "bytes": 1_000}
    ]
    assert stored["model"] == MODEL
    assert {"webpairs", "versions", "python", "processor", "cleaner"} <= set(stored)
    assert (made["finished"], stored["finished"]) == (None, None)


@pytest.mark.parametrize(
    "again",
    [
        manifest,
        lambda: manifest(inputs=[replace(INPUTS[0], path="/moved/a.warc.gz")]),
        lambda: manifest() | {"versions": {"numpy": "0"}, "webpairs": "9", "python": "4"},
    ],
    ids=["same", "inputs moved", "other versions"],
)
def test_the_same_dataset_goes_on(tmp_path: Path, again: Callable[[], dict[str, Any]]) -> None:
    start_or_resume(tmp_path, manifest())
    before = (tmp_path / "manifest.json").read_bytes()
    there = start_or_resume(tmp_path, again())
    assert there["options"]["threshold"] == 0.3
    assert (tmp_path / "manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("again", "words"),
    [
        (
            manifest(OPTIONS | {"threshold": 0.25}),
            ["--threshold: the run has 0.3, this line asks for 0.25"],
        ),
        (
            manifest(OPTIONS | {"languages": ("en", "de")}),
            ["--languages: the run has en, this line asks for en,de"],
        ),
        (
            manifest({"threshold": 0.3, "languages": ("en",)}),
            ["--shard-size: the run has 100, this line asks for none"],
        ),
        (manifest(OPTIONS | {"new": 1}), ["--new: the run has none, this line asks for 1"]),
        (manifest(verb="extract"), ["the verb: the run has build, this line asks for extract"]),
        (manifest(model=MODEL | {"weights_sha256": "11" * 32}), ["weights: the run has 0000"]),
        (
            manifest(model=None),
            ["model's weights: the run has 0000", "embeddings: the run has 512"],
        ),
        (manifest() | {"cleaner": -1}, ["cleaner: the run has"]),
        (
            manifest(inputs=[replace(INPUTS[0], bytes=1_001)]),
            ["a.warc.gz (1,000 bytes)", "a.warc.gz (1,001 bytes)"],
        ),
        (
            manifest(inputs=[replace(INPUTS[0], name="b.warc.gz")]),
            ["does not name: a.warc.gz", "does not have: b.warc.gz"],
        ),
        (manifest(inputs=[*INPUTS, replace(INPUTS[0], name="b.warc.gz")]), ["b.warc.gz"]),
    ],
)
def test_another_dataset_is_refused_and_the_difference_shown(
    tmp_path: Path, again: dict[str, Any], words: list[str]
) -> None:
    start_or_resume(tmp_path, manifest())
    before = (tmp_path / "manifest.json").read_bytes()
    with pytest.raises(ConfigError, match="name another --out") as caught:
        start_or_resume(tmp_path, again)
    for word in words:
        assert word in str(caught.value)
    assert str(caught.value).count("\n") == max(1, len(words)), "only what differs"
    assert (tmp_path / "manifest.json").read_bytes() == before


def test_every_difference_is_shown(tmp_path: Path) -> None:
    start_or_resume(tmp_path, manifest())
    with pytest.raises(ConfigError) as caught:
        start_or_resume(tmp_path, manifest(OPTIONS | {"threshold": 0.1, "shard_size": 7}))
    assert len(str(caught.value).splitlines()) == 3


def test_finish_completes_what_was_started(tmp_path: Path) -> None:
    there = start_or_resume(tmp_path, manifest())
    finish(tmp_path, there, Funnel(found=3, samples=3), "2024-05-18T00:00:00+00:00")
    stored = read_manifest(tmp_path)
    assert stored is not None
    assert stored["finished"] == "2024-05-18T00:00:00+00:00"
    assert stored["funnel"]["samples"] == 3
    assert start_or_resume(tmp_path, manifest())["finished"] is not None
