"""Croissant descriptions: of every kind of folder, valid, and records come out as they are."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.foreign_folders import (
    Style,
    laion_row,
    picture,
    write_embeddings,
    write_img2dataset,
    write_laion_metadata,
)
from typer.testing import CliRunner

from webpairs.cli import app
from webpairs.describe.croissant import make_croissant
from webpairs.errors import ConfigError


@pytest.fixture
def run(loose_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(loose_run, tmp_path / "run"))


def fields_of(described: dict[str, Any], number: int = 0) -> dict[str, dict[str, Any]]:
    return {field["name"]: field for field in described["recordSet"][number]["field"]}


def export_like_hugging_face(folder: Path) -> None:
    """Write parquet with images as `datasets` has them, in a folder a config."""
    (folder / "images").mkdir(parents=True)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [
        {"image": {"bytes": picture(n), "path": f"{n}.jpg"}, "caption": f"text {n}", "nsfw": n}
        for n in range(3)
    ]
    schema = pa.schema([("image", image), ("caption", pa.string()), ("nsfw", pa.int64())])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "images" / "train-0.parquet")


def test_a_run_folder(loose_run: Path) -> None:
    described = make_croissant(loose_run)
    assert described["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert described["name"] == "loose"
    num = sum(pq.read_metadata(path).num_rows for path in (loose_run / "metadata").iterdir())
    assert f"{num:,} rows of metadata" in described["description"]
    assert "recipe laion400m, model tiny, similarity -1 or more" in described["description"]
    manifest = orjson.loads((loose_run / "manifest.json").read_bytes())
    assert described["dateCreated"] == manifest["finished"]
    assert {one["@id"]: one["includes"] for one in described["distribution"]} == {
        "metadata-files": "metadata/*.parquet",
        "texts_per_image-files": "columns/texts_per_image/*.parquet",
        "tars": "*.tar",
        "image-embeddings": "*img_emb_*.npy",
        "text-embeddings": "*text_emb_*.npy",
    }
    assert [one["@id"] for one in described["recordSet"]] == ["metadata", "texts_per_image"]
    schema = pq.read_schema(loose_run / "metadata" / "00000.parquet")
    fields = fields_of(described)
    assert list(fields) == schema.names
    assert all(field["description"] for field in fields.values())
    assert described["recordSet"][0]["key"] == {"@id": "metadata/key"}
    assert fields["crawl_date"]["dataType"] == "sc:DateTime"
    assert fields["similarity"]["dataType"] == "sc:Float"
    assert [one["name"] for one in fields["tags"]["subField"]] == ["name", "score"]


def test_what_others_wrote(tmp_path: Path) -> None:
    write_img2dataset(tmp_path / "i", style=Style(output_format="parquet"), num_shards=1)
    described = make_croissant(tmp_path / "i", name="pairs")
    assert described["name"] == "pairs"
    assert "dateCreated" not in described
    assert "Made by" not in described["description"]
    fields = fields_of(described)
    assert fields["jpg"]["dataType"] == "sc:ImageObject"
    assert "of samples, status is success" in described["recordSet"][0]["description"]
    write_laion_metadata(tmp_path / "m" / "a.parquet", [laion_row(1)])
    fields = fields_of(make_croissant(tmp_path / "m"))
    assert fields["HEIGHT"]["description"].startswith("width of the image")
    assert fields["TEXT"]["description"] == "the text"
    write_laion_metadata(tmp_path / "r" / "a.parquet", [laion_row(1)], **{"webpairs.sizes": "1"})
    assert fields_of(make_croissant(tmp_path / "r"))["HEIGHT"]["description"].startswith("pixels")
    write_embeddings(tmp_path / "e", "0", 3)
    described = make_croissant(tmp_path / "e")
    assert [one["includes"] for one in described["distribution"]] == [
        "metadata/*.parquet",
        "*img_emb_*.npy",
        "*text_emb_*.npy",
    ]
    export_like_hugging_face(tmp_path / "h")
    described = make_croissant(tmp_path / "h")
    assert [one["@id"] for one in described["recordSet"]] == ["images"]
    fields = fields_of(described)
    assert fields["image"]["source"]["transform"] == {"jsonPath": "bytes"}
    assert fields["nsfw"]["description"].endswith(": 0 UNLIKELY, 1 UNSURE, 2 NSFW, 3 UNTAGGED")


def test_types_without_a_name_are_left_out(tmp_path: Path) -> None:
    table = pa.table({"a": [1], "nothing": pa.nulls(1), "many": [["x"]], "day": [None]})
    table = table.set_column(3, "day", pa.array([0], pa.date32()))
    pq.write_table(table, tmp_path / "a.parquet")
    fields = fields_of(make_croissant(tmp_path))
    assert list(fields) == ["a", "many", "day"]
    assert (fields["many"]["repeated"], fields["many"]["dataType"]) == (True, "sc:Text")
    assert fields["day"]["dataType"] == "sc:Date"


def test_what_cannot_be_described(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="webpairs export --to"):
        make_croissant(tmp_path)
    with pytest.raises(ConfigError, match="is not a folder"):
        make_croissant(tmp_path / "absent")


def test_the_verb(loose_run: Path, tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["card", str(loose_run), "--croissant"])
    assert said.exit_code == 0
    assert orjson.loads(said.stdout) == make_croissant(loose_run)


def records(folder: Path, record_set: str) -> list[dict[str, Any]]:
    """Validate a folder's description with mlcroissant, and read a record set with it."""
    mlcroissant = pytest.importorskip(
        "mlcroissant", reason="needs mlcroissant: docs/verify.md says how"
    )
    path = folder / "croissant.json"
    path.write_bytes(orjson.dumps(make_croissant(folder)))
    dataset = mlcroissant.Dataset(path)
    assert not dataset.metadata.issues.errors
    # What only who publishes it can say.
    unsaid = ("datePublished", "license", "version", "citeAs", "url", "creator")
    for warning in dataset.metadata.issues.warnings:
        assert any(name in warning for name in unsaid), warning
    found = [dict(record) for record in dataset.records(record_set)]
    return [{name.rpartition("/")[2]: value for name, value in one.items()} for one in found]


def plain(value: Any) -> Any:
    """Return a stored value as mlcroissant hands it out: texts are bytes."""
    return value.encode() if isinstance(value, str) else value


@pytest.mark.compare
@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_reads_the_records_of_a_run_folder(run: Path) -> None:
    wanted = [
        row
        for path in sorted((run / "metadata").glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]
    found = records(run, "metadata")
    assert len(found) == len(wanted) > 0
    for one, row in zip(found, wanted, strict=True):
        for name, value in row.items():
            if name == "tags":
                assert len(one[name]) == len(value)
            elif name.endswith("_date"):
                assert (one[name] is None) == (value is None)
                assert value is None or one[name].to_pydatetime() == value
            else:
                assert one[name] == plain(value), name
    counts = records(run, "texts_per_image")
    assert [one["key"] for one in counts] == [one["key"] for one in found]


@pytest.mark.compare
@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_reads_what_others_wrote(tmp_path: Path) -> None:
    write_laion_metadata(tmp_path / "m" / "a.parquet", [laion_row(n) for n in range(5)])
    assert [one["SAMPLE_ID"] for one in records(tmp_path / "m", "metadata")] == [*range(1000, 1005)]
    write_img2dataset(tmp_path / "i", style=Style(output_format="parquet"), num_shards=1, failed=0)
    rows = records(tmp_path / "i", "metadata")
    wanted = pq.read_table(tmp_path / "i" / "00000.parquet").to_pylist()
    for row, one in zip(rows, wanted, strict=True):
        assert row["jpg"].size == (one["width"], one["height"])
    export_like_hugging_face(tmp_path / "h")
    rows = records(tmp_path / "h", "images")
    assert [one["caption"] for one in rows] == [b"text 0", b"text 1", b"text 2"]
    for number, one in enumerate(rows):
        assert one["image"].tobytes() == Image.open(io.BytesIO(picture(number))).tobytes()


@pytest.mark.compare
@pytest.mark.filterwarnings("ignore")
def test_mlcroissant_reads_tags(run: Path) -> None:
    path = run / "metadata" / "00000.parquet"
    table = pq.read_table(path)
    tags = [[{"name": "cat", "score": 0.5}, {"name": "dog", "score": 0.25}], []]
    tags += [[] for _ in range(table.num_rows - 2)]
    field = table.schema.field("tags")
    place = table.schema.get_field_index("tags")
    pq.write_table(table.set_column(place, field, pa.array(tags, field.type)), path)
    first = records(run, "metadata")[0]["tags"]
    assert [(one["metadata/tags/name"], one["metadata/tags/score"]) for one in first] == [
        (b"cat", 0.5),
        (b"dog", 0.25),
    ]
