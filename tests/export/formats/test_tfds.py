"""The TFDS export, read back by a reader of its own: every field, every frame, every fault."""

from __future__ import annotations

import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.foreign_folders import (
    expected,
    laion_row,
    picture,
    write_embeddings,
    write_img2dataset,
    write_laion_metadata,
)
from support.tfds_exports import (
    BROKEN,
    EMBEDDINGS,
    IMAGES,
    PAGE,
    TRANSCODED,
    UNTOUCHED,
    export,
    plain,
    type_what_the_page_says,
    write_pictures,
)
from support.tfds_reading import crc32c, read_dataset, read_example, read_tfrecord

from webpairs.errors import ConfigError
from webpairs.export.formats.tf_example import (
    bytes_entries,
    examples,
    floats_entries,
    integer_entries,
    raw_entries,
)
from webpairs.export.formats.tfrecord import TFRecordWriter


def images_of(out: Path, name: str = "laion400m") -> list[dict[str, Any]]:
    return read_dataset(out / name / "images" / "1.0.0")


def check_download(samples: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Compare samples with rows of img2dataset, matched by the image's own bytes."""
    by_image = {row["image"]: row for row in rows}
    assert len(samples) == len(rows) == len(by_image)
    for sample in samples:
        truth = expected(by_image[sample["image"]])
        truth["similarity"] = float(np.float32(truth["similarity"]))
        assert {name: sample[name] for name in truth} == truth
        assert list(sample) == IMAGES


# The two file formats


def test_crc32c_of_the_reader() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720's check value


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=5))
def test_tfrecord_round_trip(records: list[bytes]) -> None:
    file = io.BytesIO()
    TFRecordWriter(file).write(records)
    assert list(read_tfrecord(file.getvalue())) == records


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.binary(max_size=400),
            st.integers(-(2**63), 2**63 - 1),
            st.lists(st.floats(width=32, allow_nan=False), min_size=3, max_size=3),
            st.floats(allow_nan=False),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_example_round_trip(rows: list[tuple[bytes, int, list[float], float]]) -> None:
    data, integers, floats, doubles = map(list, zip(*rows, strict=True))
    records = examples(
        [
            bytes_entries("data", data),
            floats_entries("floats", np.array(floats)),
            integer_entries("a name of 200 characters " * 8, integers),
            raw_entries("doubles", np.array(doubles).reshape(-1, 1)),
        ]
    )
    for record, row in zip(records, rows, strict=True):
        values = read_example(record)
        assert [values["data"], values["floats"]] == [[row[0]], row[2]]
        assert values["a name of 200 characters " * 8] == [row[1]]
        assert np.frombuffer(values["doubles"][0], "<f8").tolist() == [row[3]]


# The contract


def test_images_are_as_the_page_says(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source")
    export(tmp_path / "source", tmp_path / "out", samples_per_shard=30)
    check_download(images_of(tmp_path / "out"), rows)


@pytest.mark.parametrize("to", ["tfds", "tfds-array-record"])
def test_the_files_of_a_config(loose_run: Path, tmp_path: Path, to: str) -> None:
    export(loose_run, tmp_path, to=to, samples_per_shard=100)
    home = tmp_path / "laion400m"
    assert json.loads((home / ".config" / "metadata.json").read_bytes()) == {
        "default_config_name": "images"
    }
    for config, names in (("images", IMAGES), ("embeddings", EMBEDDINGS)):
        folder = home / config / "1.0.0"
        info = json.loads((folder / "dataset_info.json").read_bytes())
        assert (info["name"], info["version"], info["configName"]) == ("laion400m", "1.0.0", config)
        assert info["splits"][0]["name"] == "train"
        assert len(info["splits"][0]["shardLengths"]) > 1
        assert "Schuhmann" in info["citation"]
        labels = (folder / "nsfw.labels.txt").read_text().split()
        assert labels == ["UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"]
        features = json.loads((folder / "features.json").read_bytes())["featuresDict"]["features"]
        assert list(features) == names
        assert features["caption"]["description"] == "HTML alt-text attribute"
        assert features["similarity"]["tensor"]["dtype"] == "float64"
        assert features["original_height"]["tensor"]["dtype"] == "int32"
        assert features["nsfw"]["classLabel"] == {"numClasses": "4"}
        samples = read_dataset(folder)
        truth = plain(loose_run)
        assert len(samples) == len(truth)
        for sample, row in zip(samples, truth, strict=True):
            row["similarity"] = float(np.float32(row["similarity"]))
            for name in names:
                assert np.array_equal(sample[name], row[name]), name


def test_under_another_name_all_is_exact_and_can_be_joined(loose_run: Path, tmp_path: Path) -> None:
    columns = ("key", "sha256", "language_score")
    export(loose_run, tmp_path, name="mine", columns=columns, shuffle=1, samples_per_shard=64)
    truth = {row["key"]: row for row in plain(loose_run)}
    for config, names in (("images", IMAGES), ("embeddings", EMBEDDINGS)):
        folder = tmp_path / "mine" / config / "1.0.0"
        samples = read_dataset(folder)
        assert {sample["key"] for sample in samples} == truth.keys()
        assert [sample["key"] for sample in samples] != list(truth)
        for sample in samples:
            for name in (*names, *columns):
                assert np.array_equal(sample[name], truth[sample["key"]][name]), name
        features = json.loads((folder / "features.json").read_bytes())["featuresDict"]["features"]
        assert list(features) == sorted({*names, *columns})


def test_the_default_config_is_one_that_is_there(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "embeddings", "0", 5)
    export(tmp_path / "embeddings", tmp_path / "out")
    metadata = tmp_path / "out" / "laion400m" / ".config" / "metadata.json"
    assert json.loads(metadata.read_bytes()) == {"default_config_name": "embeddings"}
    write_img2dataset(tmp_path / "images")
    export(tmp_path / "images", tmp_path / "out")
    assert json.loads(metadata.read_bytes()) == {"default_config_name": "images"}


# The faults of TFDS's own builder: none of them happens here


def test_fault_1_every_image_has_its_own_caption(tmp_path: Path) -> None:
    # Rows in the order in which answers came, failures between them, as img2dataset writes.
    rows = write_img2dataset(tmp_path / "source", num_shards=2, failed=0.15, seed=3)
    in_table = [
        row["key"] for row in pq.read_table(tmp_path / "source" / "00000.parquet").to_pylist()
    ]
    assert in_table != sorted(in_table)
    export(tmp_path / "source", tmp_path / "out")
    check_download(images_of(tmp_path / "out"), rows)


def test_fault_2_sizes_of_nothing_are_no_sizes(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source", num_shards=1)
    path = tmp_path / "source" / "00000.parquet"
    table = pq.read_table(path)
    place = table.schema.get_field_index("original_width")
    none = pa.nulls(table.num_rows, pa.int32())
    pq.write_table(table.set_column(place, "original_width", none), path)
    export(tmp_path / "source", tmp_path / "out")
    samples = images_of(tmp_path / "out")
    assert {sample["original_width"] for sample in samples} == {0}
    heights = sorted(row["original_height"] for row in rows)
    assert sorted(sample["original_height"] for sample in samples) == heights


def test_fault_3_keys_that_are_unique_in_the_dataset(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source", num_shards=3)
    assert rows[-1]["key"].startswith("00002")
    export(tmp_path / "source", tmp_path / "out")
    check_download(images_of(tmp_path / "out"), rows)


def test_fault_4_a_shard_may_be_absent(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source", num_shards=3)
    for path in (tmp_path / "source").glob("00001*"):
        path.unlink()
    export(tmp_path / "source", tmp_path / "out")
    check_download(images_of(tmp_path / "out"), [row for row in rows if row["shard"] != "00001"])
    for number in (0, 2):
        write_embeddings(tmp_path / "embeddings", str(number), 4, first=4 * number)
    export(tmp_path / "embeddings", tmp_path / "out")
    assert len(read_dataset(tmp_path / "out" / "laion400m" / "embeddings" / "1.0.0")) == 8


def test_fault_5_similarity_is_a_float64_and_in_its_range(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source", num_shards=1)
    export(tmp_path / "source", tmp_path / "out", name="mine")
    export(tmp_path / "source", tmp_path / "out")
    truth = [expected(row)["similarity"] for row in rows]
    exact = [sample["similarity"] for sample in images_of(tmp_path / "out", "mine")]
    assert exact == truth
    assert -1.0 in exact
    # The registered class reads float32, whoever writes.
    rounded = [sample["similarity"] for sample in images_of(tmp_path / "out")]
    assert rounded == [float(np.float32(one)) for one in truth]
    assert rounded != truth
    for name in ("mine", "laion400m"):
        path = tmp_path / "out" / name / "images" / "1.0.0" / "features.json"
        feature = json.loads(path.read_bytes())["featuresDict"]["features"]["similarity"]
        least, most = json.loads(feature["valueRange"])
        assert all(least <= one <= most for one in exact)


def test_fault_6_embeddings_take_two_bytes_a_number(tmp_path: Path) -> None:
    image, text = write_embeddings(tmp_path / "source", "0", 10)
    sizes: dict[str, int] = {}
    for name in ("mine", "laion400m"):
        (report,) = export(
            tmp_path / "source", tmp_path / "out", name=name, columns=("url",)
        ).reports
        sizes[name] = report.num_bytes
        samples = read_dataset(report.target.folder)
        for place, sample in enumerate(samples):
            assert sample["image_embedding"].dtype == np.float16
            assert np.array_equal(sample["image_embedding"], image[place])
            assert np.array_equal(sample["text_embedding"], text[place])
    # 16 numbers a sample in 2 instead of 4 bytes, similarity in 8 instead of 4.
    assert sizes["laion400m"] - sizes["mine"] == 10 * (16 * 2 - 4)


def test_faults_7_and_8_no_licence_is_none_and_null_is_no_text(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source")
    assert {None, "?"} <= {row["LICENSE"] for row in rows}
    assert None in {row["caption"] for row in rows}
    assert None in {row["url"] for row in rows}
    export(tmp_path / "source", tmp_path / "out")
    samples = images_of(tmp_path / "out")
    assert {sample["license"] for sample in samples} == {
        "",
        "https://creativecommons.org/licenses/by/2.0/",
    }
    assert "" in {sample["caption"] for sample in samples}
    assert "" in {sample["url"] for sample in samples}


def test_fault_9_only_images_are_images(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source", num_shards=1)
    path = tmp_path / "source" / "00000.tar"
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member)) for member in tar]
        held = [(member, b"" if file is None else file.read()) for member, file in members]
    with tarfile.open(path, "w") as tar:
        for member, data in held:
            tar.addfile(member, io.BytesIO(data))
            if member.name.endswith(".json"):
                for ending, more in (("cls", b"3"), ("npy", b"\x93NUMPY"), ("idx", b"0")):
                    further = tarfile.TarInfo(f"{member.name.removesuffix('json')}{ending}")
                    further.size = len(more)
                    tar.addfile(further, io.BytesIO(more))
    export(tmp_path / "source", tmp_path / "out")
    check_download(images_of(tmp_path / "out"), rows)


def test_fault_10_there_is_something_to_join_on(tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source")
    keys = {row["image"]: (row["id"], row["sha256"]) for row in rows}
    for name in ("mine", "laion400m"):
        export(tmp_path / "source", tmp_path / "out", name=name, columns=("key", "sha256"))
        for sample in images_of(tmp_path / "out", name):
            assert (sample["key"], sample["sha256"]) == keys[sample["image"]]


# Images


def test_images_that_tensorflow_decodes_are_untouched(tmp_path: Path) -> None:
    write_pictures(tmp_path / "source", UNTOUCHED)
    (report,) = export(tmp_path / "source", tmp_path / "out").reports
    found = {sample["caption"]: sample["image"] for sample in images_of(tmp_path / "out")}
    assert found == UNTOUCHED
    assert (report.skipped, report.noted) == ({}, {})


def test_others_become_png_with_the_same_pixels_and_are_counted(tmp_path: Path) -> None:
    write_pictures(tmp_path / "source", TRANSCODED)
    (report,) = export(tmp_path / "source", tmp_path / "out").reports
    found = {sample["caption"]: sample["image"] for sample in images_of(tmp_path / "out")}
    assert found.keys() == TRANSCODED.keys()
    for name, data in found.items():
        image = Image.open(io.BytesIO(data))
        assert image.format == "PNG"
        truth = Image.open(io.BytesIO(TRANSCODED[name])).convert("RGB")
        assert np.array_equal(np.asarray(image), np.asarray(truth))
    assert list(report.noted.values()) == [len(TRANSCODED)]


def test_broken_images_are_left_out_counted_and_listed(tmp_path: Path) -> None:
    pictures = {**BROKEN, "whole": picture(1)}
    write_pictures(tmp_path / "source", pictures)
    (report,) = export(tmp_path / "source", tmp_path / "out").reports
    samples = images_of(tmp_path / "out")
    assert [sample["caption"] for sample in samples] == ["whole"]
    assert report.skipped == {"image_broken": len(BROKEN)}
    assert report.num_rows == len(BROKEN) + 1
    assert len({key for _, key, _ in report.listed}) == len(BROKEN)
    told = json.loads((report.target.folder / "export_report.json").read_bytes())
    assert told["skipped"] == report.skipped


# What cannot be


def test_a_source_without_images_or_embeddings_is_refused(tmp_path: Path) -> None:
    write_laion_metadata(tmp_path / "source" / "part-0.parquet", [laion_row(1)])
    with pytest.raises(ConfigError, match=r"neither images nor embeddings.*--to csv"):
        export(tmp_path / "source", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_columns_that_are_no_text_and_no_number_are_refused(
    loose_run: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--columns tags"):
        export(loose_run, tmp_path / "out", columns=("tags",))
    assert not (tmp_path / "out").exists()


def test_array_record_without_its_library(
    loose_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"webpairs\[tfds\]"):
        export(loose_run, tmp_path / "out", to="tfds-array-record")


def test_shards_are_as_large_as_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = write_img2dataset(tmp_path / "source")
    monkeypatch.setattr("webpairs.export.formats.tfds.SHARD_BYTES", 10_000)
    (report,) = export(tmp_path / "source", tmp_path / "out").reports
    assert len(report.shard_samples) > 2
    assert max(report.shard_samples) - min(report.shard_samples) < len(report.shard_samples)
    check_download(images_of(tmp_path / "out"), rows)


# The page of the docs


def test_every_file_that_the_page_names_is_written(
    loose_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_what_the_page_says(loose_run, tmp_path, monkeypatch)
    (block,) = re.findall(r"\n\n```\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    named = block.splitlines()
    assert len(named) >= 8
    assert [name for name in named if not (tmp_path / name).exists()] == []
