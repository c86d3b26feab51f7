"""Parquet for Hugging Face: what pyarrow and DuckDB read, and with `-m compare` `datasets`."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from support.exports import export, without_first_shard
from support.foreign_folders import (
    expected,
    laion_row,
    picture,
    write_img2dataset,
    write_laion_metadata,
)
from support.plain_reading import LABELS, plain_reading

from webpairs.errors import ConfigError
from webpairs.export import columns as export_columns

IMAGES = [
    *("caption", "image", "license", "nsfw", "original_height", "original_width"),
    *("similarity", "url"),
]
EMBEDDINGS = [
    *("caption", "image_embedding", "license", "nsfw", "original_height", "original_width"),
    *("similarity", "text_embedding", "url"),
]


@pytest.fixture(scope="module")
def exported(loose_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("huggingface")
    columns = ("tags", "sha256", "crawl_date", "language")
    export(loose_run, out, "huggingface", samples_per_shard=30, columns=columns)
    return out


def uids(run: Path) -> list[str]:
    """Return the uids of a run folder as hex, in order."""
    tables = [pq.read_table(path, columns=["uid"]) for path in sorted((run / "metadata").iterdir())]
    return [uid.hex() for uid in pa.concat_tables(tables).column("uid").to_pylist()]


def check(rows: list[dict[str, Any]], run: Path, names: list[str]) -> None:
    """Compare every value of the page's features, and the ids, with a plain reading."""
    truth = plain_reading(run)
    assert len(rows) == len(truth)
    for row, wanted, uid in zip(rows, truth, uids(run), strict=True):
        assert row["uid"] == uid
        for name in ("key", *names):
            value = row[name]
            if name == "image":
                value = value["bytes"]
                assert row[name]["path"] == f"{row['key']}.jpg"
            if name.endswith("embedding"):
                assert np.array_equal(np.array(value, np.float16), wanted[name])
            else:
                assert value == wanted[name], name


@pytest.mark.parametrize(("config", "names"), [("images", IMAGES), ("embeddings", EMBEDDINGS)])
def test_every_value_is_there(
    exported: Path, loose_run: Path, config: str, names: list[str]
) -> None:
    paths = sorted((exported / config).glob("*.parquet"))
    assert len(paths) > 1
    num = len(paths)
    assert [path.name for path in paths] == [
        f"train-{place:05d}-of-{num:05d}.parquet" for place in range(num)
    ]
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    extra = ["key", "uid", "tags", "sha256", "crawl_date", "language"]
    assert table.column_names == [*names, *extra]
    check(table.to_pylist(), loose_run, names)
    wanted = pq.read_table(sorted((loose_run / "metadata").iterdir())[0])
    assert table.column("crawl_date").slice(0, len(wanted)).equals(wanted.column("crawl_date"))
    assert table.column("tags").to_pylist()[: len(wanted)] == wanted.column("tags").to_pylist()
    assert table.column("sha256")[0].as_py() == wanted.column("sha256")[0].as_py().hex()


def test_duckdb_reads_the_same(exported: Path, loose_run: Path) -> None:
    for config, names in (("images", IMAGES), ("embeddings", EMBEDDINGS)):
        pattern = exported / config / "*.parquet"
        columns = ["key", "uid", *names]
        query = f"select {', '.join(columns)} from read_parquet('{pattern}') order by key"
        found = duckdb.sql(query).fetchall()
        check([dict(zip(columns, row, strict=True)) for row in found], loose_run, names)


def test_the_schema_tells_what_types_cannot(exported: Path) -> None:
    schema = pq.read_schema(next((exported / "images").glob("*.parquet")))
    told = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    assert told == {
        "image": {"_type": "Image"},
        "nsfw": {"_type": "ClassLabel", "names": ["UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"]},
    }
    assert schema.field("image").type == pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    embeddings = pq.read_schema(next((exported / "embeddings").glob("*.parquet")))
    type = embeddings.field("image_embedding").type
    assert pa.types.is_fixed_size_list(type)
    assert type.value_type == pa.float16()


def test_row_groups_are_small_and_pages_are_indexed(
    loose_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_columns, "ROW_GROUP_BYTES", 100_000)
    monkeypatch.setattr("webpairs.dataset.dataset.IMAGE_PIECE_ROWS", 4)
    export(loose_run, tmp_path, "huggingface")
    (path,) = (tmp_path / "images").glob("*.parquet")
    footer = pq.read_metadata(path)
    assert footer.num_row_groups > 3
    columns = [footer.row_group(0).column(place) for place in range(footer.num_columns)]
    assert all(column.has_offset_index for column in columns)
    stored = {column.path_in_schema for column in columns if column.compression == "UNCOMPRESSED"}
    assert stored == {"image.bytes"}
    check(pq.read_table(path).to_pylist(), loose_run, IMAGES)


def test_the_card_says_where_the_configs_are(exported: Path, loose_run: Path) -> None:
    _, header, _ = (exported / "README.md").read_text().split("---\n", 2)
    told = yaml.safe_load(header)
    assert told["configs"] == [
        {
            "config_name": "images",
            "default": True,
            "data_files": [{"split": "train", "path": "images/train-*.parquet"}],
        },
        {
            "config_name": "embeddings",
            "data_files": [{"split": "train", "path": "embeddings/train-*.parquet"}],
        },
    ]
    for info in told["dataset_info"]:
        files = list((exported / info["config_name"]).glob("*.parquet"))
        assert info["download_size"] == sum(path.stat().st_size for path in files)
        (split,) = info["splits"]
        assert split["num_examples"] == len(plain_reading(loose_run))
        assert split["num_bytes"] == info["dataset_size"] > 0


def test_the_card_tells_of_what_was_exported(loose_run: Path, tmp_path: Path) -> None:
    where = "similarity > 0.1 and caption <> '`|'"
    export(loose_run, tmp_path, "huggingface", where=where, shuffle=1, name="pairs_2024")
    card = (tmp_path / "README.md").read_text()
    truth = plain_reading(loose_run)
    left = [row for row in truth if row["similarity"] > 0.1]
    assert 0 < len(left) < len(truth)
    assert "# pairs\\_2024" in card
    assert f"512 numbers each): {len(left)} samples in 1 shard." in card
    assert f"Exported from {len(truth)} samples: the samples with `similarity > 0.1" in card
    assert "`, shuffled with seed 1." in card
    licences = Counter(row["license"] or "none stated" for row in left)
    assert f"| none stated | {licences['none stated']} |" in card
    tags = Counter(LABELS[row["nsfw"]] for row in left)
    assert all(f"| {tag} | {num} |" in card for tag, num in tags.items())
    columns = {"`images/*.parquet`": IMAGES, "`embeddings/*.parquet`": EMBEDDINGS}
    for pattern, names in columns.items():
        _, _, table = card.partition(pattern)
        listed = re.findall(r"^\| `(\w+)` \|", table.partition("`/*.parquet`")[0], re.MULTILINE)
        assert listed[: len(names) + 2] == [*names, "key", "uid"]
    assert 'load_dataset("DIR", "embeddings", split="train")' in card
    assert "webpairs.open" not in card
    assert "## Funnel" in card


def test_the_card_of_others_data_says_whose_form_it_had(tmp_path: Path) -> None:
    write_img2dataset(tmp_path / "source")
    export(tmp_path / "source", tmp_path / "out", "huggingface")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "The files are an export of img2dataset output, WebDataset; " in card
    assert "Which rules chose the samples is not in the files." in card
    assert "embeddings" not in yaml.safe_load(card.split("---\n")[1])["configs"][0].values()


def test_images_of_img2dataset(tmp_path: Path) -> None:
    """There are no embeddings, and no uid; the bytes are what they were."""
    rows = write_img2dataset(tmp_path / "source")
    export(tmp_path / "source", tmp_path / "out", "huggingface", shuffle=3)
    assert not (tmp_path / "out" / "embeddings").exists()
    (path,) = (tmp_path / "out" / "images").glob("*.parquet")
    table = pq.read_table(path)
    assert table.column_names == [*IMAGES, "key"]
    wanted = {row["id"]: row for row in rows}
    found = {row["key"]: row for row in table.to_pylist()}
    assert list(found) != list(wanted)
    assert found.keys() == wanted.keys()
    for key, row in found.items():
        assert row["image"]["bytes"] == wanted[key]["image"]
        truth = expected(wanted[key])
        assert {name: row[name] for name in truth} == truth


def test_an_extension_says_what_the_bytes_are(tmp_path: Path) -> None:
    png = io.BytesIO()
    Image.new("RGB", (4, 4)).save(png, "PNG")
    images = [picture(1), png.getvalue(), b"no image"]
    table = {
        "key": ["000000000", "000000001", "000000002"],
        "caption": ["a", "b", "c"],
        "url": ["https://example.org/x"] * 3,
        "jpg": images,
        "names": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "kind": pa.array(["x", "y", "x"]).dictionary_encode(),
    }
    (tmp_path / "source").mkdir()
    pq.write_table(pa.table(table), tmp_path / "source" / "00000.parquet")
    export(tmp_path / "source", tmp_path / "out", "huggingface", columns=("names", "kind"))
    (path,) = (tmp_path / "out" / "images").glob("*.parquet")
    rows = pq.read_table(path).to_pylist()
    assert [row["image"]["bytes"] for row in rows] == images
    paths = ["000000000.jpg", "000000001.png", "000000002.jpg"]
    assert [row["image"]["path"] for row in rows] == paths
    assert [row["names"] for row in rows] == ['[["a",1]]', None, "[]"]
    assert [row["kind"] for row in rows] == ["x", "y", "x"]


def test_metadata_alone_is_refused(tmp_path: Path) -> None:
    write_laion_metadata(tmp_path / "source" / "a.parquet", [laion_row(0)])
    with pytest.raises(ConfigError, match="metadata alone; use --to laion or csv"):
        export(tmp_path / "source", tmp_path / "out", "huggingface")


def test_a_shard_without_a_sample_has_the_columns(loose_run: Path, tmp_path: Path) -> None:
    size = without_first_shard(loose_run, tmp_path / "source")
    for report in export(
        tmp_path / "source", tmp_path / "out", "huggingface", samples_per_shard=size
    ).reports:
        assert report.shard_samples[0] == 0
        paths = sorted(report.target.folder.glob("*.parquet"))
        first, *others = [pq.read_table(path) for path in paths]
        assert first.num_rows == 0
        assert all(first.schema.equals(other.schema, check_metadata=True) for other in others)
        assert sum(other.num_rows for other in others) == report.num_samples > 0


@pytest.mark.compare
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("streaming", [False, True])
def test_datasets_reads_every_value(
    exported: Path, loose_run: Path, tmp_path: Path, streaming: bool
) -> None:
    datasets = pytest.importorskip("datasets")
    for config, names in (("images", IMAGES), ("embeddings", EMBEDDINGS)):
        ds = datasets.load_dataset(
            str(exported), config, split="train", streaming=streaming, cache_dir=str(tmp_path)
        )
        features = ds.features
        assert features["nsfw"].names == ["UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"]
        if config == "images":
            assert isinstance(features["image"], datasets.Image)
            decoded = next(iter(ds))["image"]
            first = plain_reading(loose_run)[0]["image"]
            assert np.array_equal(decoded, Image.open(io.BytesIO(first)))
            ds = ds.cast_column("image", datasets.Image(decode=False))
        else:
            size = len(plain_reading(loose_run)[0]["image_embedding"])
            wanted = datasets.List(datasets.Value("float16"), length=size)
            assert features["image_embedding"] == features["text_embedding"] == wanted
        assert features["similarity"].dtype == "float64"
        assert features["original_width"].dtype == "int32"
        check(list(ds), loose_run, names)
    default = datasets.load_dataset(str(exported), split="train", streaming=True)
    assert "image" in default.features


@pytest.mark.compare
@pytest.mark.filterwarnings("default")
def test_datasets_reads_embeddings_as_arrays(
    exported: Path, loose_run: Path, tmp_path: Path
) -> None:
    datasets = pytest.importorskip("datasets")
    ds = datasets.load_dataset(
        str(exported), "embeddings", split="train", cache_dir=str(tmp_path)
    ).with_format("numpy", columns=["image_embedding"], dtype=np.float16)
    found = ds[:]["image_embedding"]
    assert found.dtype == np.float16
    truth = np.stack([row["image_embedding"] for row in plain_reading(loose_run)])
    assert np.array_equal(found, truth)
