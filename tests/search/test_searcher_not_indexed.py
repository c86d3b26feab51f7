"""What a retry added after indexing: search and serve go on, and say what is missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from webpairs.cli import app
from webpairs.cli.print_serve import print_served
from webpairs.errors import ConfigError
from webpairs.files import write_json
from webpairs.run_folder.layout import ShardFiles
from webpairs.search.index.build import build_index
from webpairs.search.options import IndexOptions, SearchOptions
from webpairs.search.searcher import Searcher, search_dataset
from webpairs.serve.collection import Collection
from webpairs.serve.metrics import Metrics
from webpairs.serve.options import ServeOptions


@pytest.fixture
def run(loose_run: Path, tmp_path: Path) -> Path:
    out = Path(shutil.copytree(loose_run, tmp_path / "run"))
    build_index(IndexOptions(source=str(out)))
    return out


def add_shard(out: Path, num_samples: int) -> list[str]:
    """Commit one more shard, as a retry does, of copies of samples; return their keys."""
    last = sorted((out / "stats").glob("[0-9]*.json"))[-1]
    name = f"{int(last.stem) + 1:0{len(last.stem)}}"
    keys: list[str] = []
    if num_samples:
        old = next(
            files
            for path in sorted((out / "metadata").glob("*.parquet"))
            if (files := ShardFiles.of(out, path.stem))
        )
        new = ShardFiles.of(out, name)
        rows = pq.read_table(old.metadata).slice(0, num_samples)
        width = len(rows.column("key")[0].as_py()) - len(name)
        keys = [f"{name}{row:0{width}}" for row in range(num_samples)]
        rows = rows.set_column(rows.schema.get_field_index("key"), "key", pa.array(keys))
        pq.write_table(rows, new.metadata)
        for before, after in (
            (old.image_embeddings, new.image_embeddings),
            (old.text_embeddings, new.text_embeddings),
        ):
            np.save(after, np.load(before)[:num_samples])
    stats = orjson.loads(last.read_bytes())
    write_json(
        out / "stats" / f"{name}.json",
        stats | {"shard": name, "samples": num_samples, "files": {}},
    )
    return keys


def first_hits(out: Path, **changes: Any) -> tuple[list[str], str | None]:
    found = search_dataset(SearchOptions(source=str(out), texts=("a red star",), **changes))
    return [hit.key for hit in found.hits], found.note


def test_a_retry_that_gained_nothing_changes_nothing(run: Path) -> None:
    before = first_hits(run)
    add_shard(run, 0)
    assert first_hits(run) == before
    assert before[1] is None


@pytest.mark.parametrize("where", [None, "similarity > -1", "copies >= 1"])
def test_search_goes_on_with_what_is_indexed(run: Path, where: str | None) -> None:
    """Columns of the index and columns of the dataset alone: no row beyond the index is found."""
    before, _ = first_hits(run, where=where, k=500)
    keys = add_shard(run, 3)
    after, note = first_hits(run, where=where, k=500)
    assert after == before
    assert note == (
        f"3 new samples of this dataset cannot be found yet: webpairs index {run} adds what is new"
    )
    with pytest.raises(ConfigError, match=f"{keys[0]} is not indexed yet"):
        Searcher.open(run).like(keys[0])
    with pytest.raises(ConfigError, match="has no sample '999999999'"):
        Searcher.open(run).like("999999999")
    build_index(IndexOptions(source=str(run)))
    indexed, note = first_hits(run, where=where, k=500)
    assert note is None
    assert set(indexed) == {*before, *keys}


def test_the_command_says_it(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    add_shard(run, 1)
    result = CliRunner().invoke(app, ["search", str(run), "a star"])
    assert result.exit_code == 0, result.output
    assert "1 new sample of this dataset cannot be found yet" in result.output


def test_serve_goes_on_and_says_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_shard(run, 2)
    options = ServeOptions(sources=(str(run),))
    collection = Collection(options, Metrics())
    served = collection.get(None)
    assert served.about()["not_indexed"] == 2
    assert served.about()["samples"] == Searcher.open(run).index(None).vectors.num_rows
    print_served(options, "http://127.0.0.1:1", collection)
    assert "2 new samples" in capsys.readouterr().out.replace("\n", " ")


def test_replies_say_it(run: Path) -> None:
    from starlette.testclient import TestClient

    from webpairs.serve.app import make_app

    add_shard(run, 2)
    options = ServeOptions(sources=(str(run),))
    metrics = Metrics()
    server = make_app(options, Collection(options, metrics), metrics)
    with TestClient(server, base_url="http://127.0.0.1") as client:
        name = next(iter(Collection(options, metrics).names))
        for body in ({"terms": [{"text": "a star"}]}, {}):
            reply = client.post(f"/api/{name}/search", json=body).json()
            assert "2 new samples of this dataset cannot be found yet" in reply["note"]
            assert str(run) not in reply["note"], "no folder of this machine"
            assert reply["hits"]
