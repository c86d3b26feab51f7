"""The .json of tars: every sample has the same members in the same types, known or not."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.exports import export
from support.foreign_folders import picture

import webpairs
from webpairs.build.shard_writer import ShardWriter, sample_json
from webpairs.export.formats.webdataset import json_column, json_rows
from webpairs.run_folder.layout import Keys, ShardFiles
from webpairs.run_folder.schema import METADATA

NUM = 12
MAY_BE_NULL = ("similarity", "NSFW", "license_id", "language", "page_url", "crawl_offset")


def types(value: object) -> object:
    """Return the types in a JSON value, as readers infer them."""
    if isinstance(value, dict):
        return {name: types(inner) for name, inner in value.items()}
    return type(value)


def row(number: int, **changes: Any) -> dict[str, Any]:
    """Return the metadata of one sample."""
    known: dict[str, Any] = {column.name: None for column in METADATA} | {
        "URL": f"https://example.org/{number}.jpg",
        "TEXT": f"boat {number}",
        "SAMPLE_ID": number,
        "HEIGHT": 3,
        "WIDTH": 4,
        "LICENSE": "?",
        "NSFW": "UNLIKELY",
        "similarity": 0.25,
        "key": Keys(5, 4).sample(0, number),
        "uid": bytes(16),
        "sha256": bytes(32),
        "stored_sha256": bytes(32),
        "bytes": 700,
        "format": "jpeg",
        "copies": 1,
        "stored_width": 4,
        "stored_height": 3,
        "license_id": "CC0-1.0",
        "language": "en",
        "page_url": "https://example.org/",
        "crawl_file": "a.csv",
        "crawl_offset": number,
        "tags": [],
        "given": '{"colour":"red","size":1}',
    }
    return known | changes


@pytest.mark.parametrize("with_given", [True, False])
@pytest.mark.parametrize("absent", [*MAY_BE_NULL, "crawl_file", "LICENSE", "given"])
def test_what_is_not_known_changes_no_type(absent: str, with_given: bool) -> None:
    whole = json.loads(sample_json(row(0), with_given=with_given))
    without = json.loads(sample_json(row(0, **{absent: None}), with_given=with_given))
    assert list(without) == list(whole)
    assert types(without) == types(whole)
    assert None not in whole.values()
    assert ("given" in whole) == with_given
    if with_given:
        assert json.loads(whole["given"]) == {"colour": "red", "size": 1}


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """Write a shard whose first samples know nothing that may be unknown."""
    out = tmp_path / "run"
    with ShardWriter(ShardFiles.of(out, "00000"), (("colour", "string"),)) as writer:
        for number in range(NUM):
            nothing = dict.fromkeys((*MAY_BE_NULL, "given")) if number < 6 else {}
            writer.add_sample(row(number, **nothing), picture(number), "jpg", None)
        writer.commit({"samples": NUM, "drops": {}})
    return out / "images"


SOURCE = {
    "key": [f"{number:09d}" for number in range(NUM)],
    "caption": [None] * 6 + ["a boat"] * 6,
    "punsafe": pa.array([None] * 6 + [0.5] * 5 + [float("nan")], pa.float32()),
    "faces": pa.array([None] * 6 + [2] * 6, pa.int16()),
    "phash": pa.array([None] * 6 + [2**64 - 1] * 6, pa.uint64()),
    "blurred": [None] * 6 + [True] * 6,
    "boxes": [None] * 5 + [[]] + [[[0.5, 1.0]]] * 6,
    "exif": [None] * 6 + [{"a": 1}] * 6,
    "when": pa.array([None] * 6 + [10**12] * 6, pa.timestamp("ms")),
    "nothing": pa.nulls(NUM),
    "jpg": [picture(number) for number in range(NUM)],
}


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """Export a foreign dataset whose first samples lack all that may lack."""
    (tmp_path / "source").mkdir()
    pq.write_table(pa.table(SOURCE), tmp_path / "source" / "00000.parquet")
    export(tmp_path / "source", tmp_path / "out", "webdataset")
    return tmp_path / "out"


def told(folder: Path) -> list[dict[str, Any]]:
    with tarfile.open(folder / "00000.tar") as tar:
        return [json.load(tar.extractfile(m)) for m in tar if m.name.endswith(".json")]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("tars", ["shard", "exported"])
def test_all_samples_of_a_tar_have_one_schema(tars: str, request: pytest.FixtureRequest) -> None:
    rows = told(request.getfixturevalue(tars))
    assert len(rows) == NUM
    assert [types(one) for one in rows] == [types(rows[0])] * NUM
    assert not any(value is None for one in rows for value in one.values())


def test_the_parquet_beside_an_export_keeps_the_nulls(exported: Path) -> None:
    again = webpairs.open(exported).table(["punsafe", "faces", "phash", "blurred", "boxes"])
    assert [again.column(name).null_count for name in again.column_names] == [6, 6, 6, 6, 5]
    last = told(exported)[-2]
    assert (last["phash"], last["boxes"], last["exif"]) == (
        *(str(2**64 - 1), "[[0.5,1.0]]", '{"a":1}'),
    )


VALUES = st.one_of(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)),
    st.lists(st.none() | st.floats()),
    st.lists(st.none() | st.booleans()),
    st.lists(st.none() | st.text()),
    st.lists(st.none() | st.binary()),
    st.lists(st.none() | st.lists(st.none() | st.integers(0, 9))),
)


@given(VALUES)
@settings(max_examples=100)
def test_a_column_of_any_values_has_one_type(values: list[Any]) -> None:
    column = pa.array(values)
    found = json_column(column)
    assert len(found) == len(values)
    assert len({type(value) for value in found}) <= 1
    rows = [json.loads(one) for one in json_rows(pa.table({"x": column}))]
    assert len({type(one["x"]) for one in rows}) <= 1
    for value, one in zip(values, found, strict=True):
        if value is not None and isinstance(value, str | bool):
            assert one == value


@pytest.mark.compare
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("tars", ["shard", "exported"])
@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_reads_the_tars(
    tars: str, streaming: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    datasets = pytest.importorskip("datasets")
    folder = request.getfixturevalue(tars)
    found = datasets.load_dataset(
        "webdataset",
        data_files=str(folder / "*.tar"),
        split="train",
        streaming=streaming,
        cache_dir=str(tmp_path / "cache"),
    )
    rows = list(found)
    assert [one["json"] for one in rows] == told(folder)
    assert [one["jpg"].size for one in rows]


@pytest.mark.parametrize(
    ("told_of", "caption", "captions"),
    [
        ('{"caption":["a","b"]}', "a", ["a", "b"]),
        ('{"captions":["a","b"]}', "a", ["a", "b"]),
        ('{"caption":"c","captions":["a"]}', "c", ["a"]),
        ('{"caption":["",null,"b"]}', "b", ["", None, "b"]),
        ('{"caption":"cut \\ud83d","score":1e999}', "cut ", None),
        ('{"caption":"x","note":"\\ud83d"}', "x", None),
    ],
)
def test_json_of_others_is_read(
    tmp_path: Path, told_of: str, caption: str, captions: list[str | None] | None
) -> None:
    with tarfile.open(tmp_path / "00000.tar", "w") as tar:
        for name, data in (("1.jpg", picture(1)), ("1.json", told_of.encode())):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    ds = webpairs.open(tmp_path)
    assert [sample["caption"] for sample in ds] == [caption]
    if captions is not None:
        assert ds.table(["captions"]).column("captions").to_pylist() == [captions]


def test_a_list_of_captions_in_parquet_gives_its_first(tmp_path: Path) -> None:
    lists = [["a", "b"], [], None, [None, "", "c"]]
    keys = [f"00000{number:04d}" for number in range(len(lists))]
    images = [picture(number) for number in range(len(lists))]
    table = pa.table({"key": keys, "captions": lists, "jpg": images})
    pq.write_table(table, tmp_path / "00000.parquet")
    ds = webpairs.open(tmp_path)
    assert [sample["caption"] for sample in ds] == ["a", "", "", "c"]
    assert ds.table(["captions"]).column("captions").to_pylist() == lists
