"""A run folder with one damaged file: every verb that reads it says so in a sentence.

No verb may raise anything but what errors.py declares; verify tells it as a finding.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from support.run_folders import SmallCrawl

import webpairs
from webpairs.cli.app import app
from webpairs.errors import WebpairsError
from webpairs.search.index.build import build_index
from webpairs.search.options import IndexOptions
from webpairs.serve.collection import Collection
from webpairs.serve.metrics import Metrics
from webpairs.serve.options import ServeOptions
from webpairs.verify.verify import verify_dataset

Damage = Callable[[Path], None]

WHOLE_RETRY = {
    "number": 0,
    "reasons": ["timeout"],
    "taken": {},
    "first_shard": 9_000,
    "num_shards": 0,
    "when": "2024-05-18T00:00:00+00:00",
    "shards": {},
}


@pytest.fixture(scope="module")
def indexed(loose_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a retry that took nothing, and with an index."""
    out = tmp_path_factory.mktemp("damaged") / "run"
    shutil.copytree(loose_run, out)
    (out / "stats/retry-00000.json").write_text(json.dumps(WHOLE_RETRY))
    manifest = json.loads((out / "manifest.json").read_bytes())
    (out / "manifest.json").write_text(json.dumps({**manifest, "retries": 1}))
    build_index(IndexOptions(source=str(out)))
    return out


@pytest.fixture
def run(indexed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(indexed, tmp_path / "run"))


def command(*arguments: object) -> None:
    """Run a verb in this process; what it declares may go wrong, and nothing else."""
    with suppress(WebpairsError, typer.Exit):
        app([str(one) for one in arguments], standalone_mode=False)


def read_all(out: Path) -> None:
    """Read every sample as a program does."""
    try:
        ds = webpairs.open(out)
        for _ in ds:
            pass
        len(ds.where("similarity > 0.2"))
        ds.sample(0)
    except WebpairsError:
        pass
    except IndexError:
        assert len(webpairs.open(out)) == 0


def serve(out: Path) -> None:
    """Open a run folder as a server does."""
    try:
        for served in Collection(ServeOptions(sources=(str(out),)), Metrics()):
            served.about()
    except WebpairsError:
        pass


def quick_verbs(out: Path) -> Iterator[Callable[[], None]]:
    yield lambda: command("status", out)
    yield lambda: command("info", out)
    yield lambda: read_all(out)
    yield lambda: command("card", out)
    yield lambda: command("card", out, "--croissant")
    yield lambda: command("search", out, "a red car", "--k", 3)
    yield lambda: serve(out)
    yield lambda: command("retry", out, "--reasons", "timeout")


def slow_verbs(out: Path, web: SmallCrawl) -> Iterator[Callable[[], None]]:
    yield lambda: command("report", out)
    yield lambda: command("index", out)
    yield lambda: command("export", out, "--to", "laion", "--out", out.with_name("laion"))
    line = ("--out", out, "--images", "archive", "--model", "tiny", "--threshold", "-1")
    yield lambda: command("build", *web.files.warc, *line, "--shard-size", 40, "--workers", 1)


CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"verb": "build", "opti',
    "binary": bytes(range(256)),
    "a list": b"[]",
    "null": b"null",
    "without values": b"{}",
    "deep": b"[" * 100_000,
}
JSON_FILES = (
    "manifest.json",
    "stats/extract.json",
    "stats/dedupe.json",
    "stats/00001.json",
    "stats/retry-00000.json",
)


CASES = [
    (name, content)
    for place, name in enumerate(JSON_FILES)
    for number, content in enumerate(CONTENTS)
    if (place + number) % 2 == 0 or content == "cut"
]


@pytest.mark.parametrize(("name", "content"), CASES)
def test_json_of_another_form(run: Path, name: str, content: str) -> None:
    (run / name).write_bytes(CONTENTS[content])
    for verb in quick_verbs(run):
        verb()


@pytest.mark.slow
@pytest.mark.parametrize("name", JSON_FILES)
def test_json_of_another_form_and_the_long_verbs(
    run: Path, little_web: SmallCrawl, name: str
) -> None:
    (run / name).write_bytes(CONTENTS["cut"])
    for verb in slow_verbs(run, little_web):
        verb()
    checked = verify_dataset(run, workers=1)
    assert name in {one.file for one in checked.findings.listed}


WRONG: tuple[Any, ...] = (None, -1, 1e300, "text", [1], {"text": "x"}, 10**15)


@pytest.mark.slow
@pytest.mark.parametrize("name", JSON_FILES)
def test_json_whose_values_are_of_another_type(run: Path, name: str) -> None:
    path = run / name
    content: dict[str, Any] = json.loads(path.read_bytes())
    verbs = list(quick_verbs(run))
    number = 0
    for key in content:
        for value in ("missing", *WRONG):
            path.write_text(
                json.dumps({k: v if k != key else value for k, v in content.items()})
                if value != "missing"
                else json.dumps({k: v for k, v in content.items() if k != key})
            )
            # By turns: each value with a few of the verbs.
            for verb in (verbs[number % len(verbs)], verbs[(number + 3) % len(verbs)]):
                verb()
            number += 1


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(3_000))


def holes(path: Path) -> None:
    """Keep both ends of a file: a footer that can be read, of pages that cannot."""
    data = path.read_bytes()
    path.write_bytes(data[:16] + bytes(len(data) * 2 // 3) + data[16 + len(data) * 2 // 3 :])


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def gone(path: Path) -> None:
    path.unlink()


DATA_FILES = (
    "metadata/00001.parquet",
    "embeddings/img_emb/img_emb_00001.npy",
    "embeddings/text_emb/text_emb_00001.npy",
    "images/00001.tar",
    "images/00001.tar.idx",
    "drops/00001.parquet",
    "index/manifest.json",
    "index/rows-0.arrow",
)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, noise, holes, pipe, gone])
@pytest.mark.parametrize("name", DATA_FILES)
def test_data_that_is_damaged(
    run: Path, little_web: SmallCrawl, name: str, damage: Callable[[Path], None]
) -> None:
    if not (run / name).exists():
        pytest.skip("the run has no such file")
    damage(run / name)
    for verb in quick_verbs(run):
        verb()
    if damage in (holes, pipe):
        for verb in slow_verbs(run, little_web):
            verb()
    if not name.startswith("index/"):
        assert not verify_dataset(run, workers=1).good


def test_a_run_that_is_moved_away_while_it_is_read(run: Path) -> None:
    ds = webpairs.open(run)
    len(ds)
    run.rename(run.with_name("elsewhere"))
    assert list(ds) == []
    assert ds.problems.counts()["shard_unreadable"] == len(ds.source.names)
