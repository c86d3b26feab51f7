"""TFDS itself reads our export: every field is what the source says, and what upstream's builder
makes of data on which it is right."""

from __future__ import annotations

import http.server
import io
import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.foreign_folders import expected, picture, write_img2dataset
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
from support.upstream_tfds import (
    assert_same,
    build_embeddings,
    build_images,
    import_tfds,
    read,
    read_source,
    write_embeddings_in_order,
    write_images_in_order,
)

pytestmark = [pytest.mark.compare, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]

NAMES = {"images": IMAGES, "embeddings": EMBEDDINGS}


@pytest.fixture(scope="module")
def tfds() -> ModuleType:
    return import_tfds()


@pytest.fixture(
    scope="module", params=["drawn", *os.environ.get("WEBPAIRS_RUN_FOLDERS", "").split()]
)
def run(request: pytest.FixtureRequest) -> Path:
    """Return run folders: the little web's, and those of WEBPAIRS_RUN_FOLDERS."""
    if request.param == "drawn":
        return request.getfixturevalue("loose_run")
    return Path(request.param)


def as_page(rows: list[dict[str, Any]], names: list[str], *, exact: bool) -> list[dict[str, Any]]:
    """Return these features of plainly read rows, similarity as float32 unless exact."""
    samples = [{name: row[name] for name in names} for row in rows]
    if not exact:
        for sample in samples:
            sample["similarity"] = float(np.float32(sample["similarity"]))
    return samples


@pytest.mark.parametrize("config", ["images", "embeddings"])
def test_load_reads_every_field(tfds: ModuleType, run: Path, tmp_path: Path, config: str) -> None:
    export(run, tmp_path, config=config, samples_per_shard=100)
    truth = as_page(plain(run), NAMES[config], exact=False)
    assert_same(read(tfds, f"laion400m/{config}", tmp_path), truth)
    assert_same(read(tfds, f"laion400m/{config}:1.0.0", tmp_path), truth)
    # The default config is the one that is there.
    if config == "images":
        assert_same(read(tfds, "laion400m", tmp_path), truth)
    folder = tmp_path / "laion400m" / config / "1.0.0"
    builder = tfds.builder_from_directory(str(folder))
    decoders = {"image": tfds.decode.SkipDecoding()} if config == "images" else None
    in_order = tfds.ReadConfig(interleave_cycle_length=1)
    dataset = builder.as_dataset("train[10:20]", decoders=decoders, read_config=in_order)
    assert_same(read_source(tfds.as_numpy(dataset)), truth[10:20])
    assert builder.info.features["nsfw"].names == ["UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"]
    assert builder.info.splits["train"].num_examples == len(truth)


@pytest.mark.parametrize("config", ["images", "embeddings"])
def test_data_sources_read_every_field(
    tfds: ModuleType, run: Path, tmp_path: Path, config: str
) -> None:
    export(run, tmp_path, to="tfds-array-record", config=config, samples_per_shard=100)
    truth = as_page(plain(run), NAMES[config], exact=False)
    decoders = {"image": tfds.decode.SkipDecoding()} if config == "images" else None
    source = tfds.data_source(
        f"laion400m/{config}", data_dir=str(tmp_path), split="train", decoders=decoders
    )
    assert_same(read_source(source), truth)
    builder = tfds.builder_from_directory(str(tmp_path / "laion400m" / config / "1.0.0"))
    source = builder.as_data_source(split="train", decoders=decoders)
    assert_same(read_source([source[7]]), truth[7:8])


@pytest.mark.parametrize("to", ["tfds", "tfds-array-record"])
@pytest.mark.parametrize("config", ["images", "embeddings"])
def test_under_another_name_all_is_exact(
    tfds: ModuleType, run: Path, tmp_path: Path, config: str, to: str
) -> None:
    columns = ["key", "sha256", "language_score"]
    export(run, tmp_path, to=to, name="mine", config=config, columns=tuple(columns), shuffle=3)
    if to == "tfds":
        found = read(tfds, f"mine/{config}", tmp_path)
        if config == "images":
            assert_same(read(tfds, "mine", tmp_path), found)
    else:
        decoders = {"image": tfds.decode.SkipDecoding()} if config == "images" else None
        found = read_source(
            tfds.data_source(
                f"mine/{config}", data_dir=str(tmp_path), split="train", decoders=decoders
            )
        )
    found.sort(key=lambda sample: sample["key"])
    truth = as_page(plain(run), sorted([*NAMES[config], *columns]), exact=True)
    assert_same(found, truth)


@pytest.mark.parametrize("config", ["images", "embeddings"])
def test_further_columns_do_not_disturb_the_registered_class(
    tfds: ModuleType, loose_run: Path, tmp_path: Path, config: str
) -> None:
    columns = ["key", "sha256", "language_score"]
    export(loose_run, tmp_path, config=config, columns=tuple(columns))
    rows = plain(loose_run)
    page = as_page(rows, NAMES[config], exact=False)
    assert_same(read(tfds, f"laion400m/{config}", tmp_path), page)
    more = as_page(rows, sorted([*NAMES[config], *columns]), exact=False)
    assert_same(read(tfds, f"laion400m/{config}:1.0.0", tmp_path), more)


def test_a_download_with_failures_and_gaps(tfds: ModuleType, tmp_path: Path) -> None:
    rows = write_img2dataset(tmp_path / "source")
    export(tmp_path / "source", tmp_path / "out", shuffle=1)
    check_against_rows(read(tfds, "laion400m", tmp_path / "out"), rows)


def check_against_rows(found: list[dict[str, Any]], rows: list[dict[str, Any]]) -> None:
    """Compare samples with a download's rows, matched by the image's own bytes."""
    by_image = {row["image"]: row for row in rows}
    assert {sample["image"] for sample in found} == by_image.keys()
    truth = [expected(by_image[sample["image"]]) | {"image": sample["image"]} for sample in found]
    assert_same(found, as_page(truth, IMAGES, exact=False))


def test_images_decode_to_their_pixels(tfds: ModuleType, tmp_path: Path) -> None:
    write_pictures(tmp_path / "source", {**UNTOUCHED, **TRANSCODED, **BROKEN})
    export(tmp_path / "source", tmp_path / "out")
    dataset = tfds.load("laion400m", data_dir=str(tmp_path / "out"), split="train")
    found = {sample["caption"].decode(): sample["image"] for sample in tfds.as_numpy(dataset)}
    assert found.keys() == UNTOUCHED.keys() | TRANSCODED.keys()
    for name, pixels in found.items():
        encoded = {**UNTOUCHED, **TRANSCODED}[name]
        image = Image.open(io.BytesIO(encoded))
        assert pixels.shape == (image.height, image.width, 3)
        if image.format == "PNG" and image.mode != "I;16":
            assert np.array_equal(pixels, np.asarray(image.convert("RGB"))), name


def test_whole_images_are_those_that_tensorflow_reads(tfds: ModuleType) -> None:
    """What is called broken is: TensorFlow does not read it either, or not in three dimensions."""
    import tensorflow as tf

    for name, data in {**BROKEN, **TRANSCODED}.items():
        try:
            image = tf.image.decode_image(data, channels=3)
        except tf.errors.InvalidArgumentError:
            continue
        assert image.shape.ndims == 4 or data.startswith(b"BM"), name


def test_a_shard_without_a_sample(tfds: ModuleType, tmp_path: Path) -> None:
    pictures = {"half": BROKEN["half a jpeg"], "whole": picture(1), "other": picture(2)}
    write_pictures(tmp_path / "source", pictures)
    export(tmp_path / "source", tmp_path / "out", samples_per_shard=1)
    found = read(tfds, "laion400m", tmp_path / "out")
    assert [sample["caption"] for sample in found] == ["whole", "other"]


# The page of the docs

SNIPPETS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_the_page_of_the_docs(
    tfds: ModuleType, loose_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    type_what_the_page_says(loose_run, tmp_path, monkeypatch)
    assert len(SNIPPETS) == 4
    for number, code in enumerate(SNIPPETS):
        exec(compile(code, f"{PAGE.name}: {number}", "exec"), {})


# Upstream's own builder


def test_images_equal_upstreams_where_it_is_right(tfds: ModuleType, tmp_path: Path) -> None:
    truth = write_images_in_order(tmp_path / "source", num_shards=2, shard_size=25)
    build_images(tfds, tmp_path / "source", tmp_path / "theirs", 2)
    export(tmp_path / "source", tmp_path / "ours")
    theirs, ours = (read(tfds, "laion400m", tmp_path / side) for side in ("theirs", "ours"))
    assert_same(ours, truth)
    by_url = sorted(theirs, key=lambda sample: sample["url"])
    assert_same(sorted(ours, key=lambda sample: sample["url"]), by_url)


def test_embeddings_equal_upstreams(
    tfds: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = write_embeddings_in_order(tmp_path / "source", num_shards=2, shard_size=25)
    build_embeddings(tfds, tmp_path / "source", tmp_path / "theirs", 2, monkeypatch)
    export(tmp_path / "source", tmp_path / "ours")
    theirs, ours = (
        read(tfds, "laion400m/embeddings", tmp_path / side) for side in ("theirs", "ours")
    )
    assert_same(ours, truth)
    by_url = sorted(theirs, key=lambda sample: sample["url"])
    assert_same(sorted(ours, key=lambda sample: sample["url"]), by_url)


def test_the_data_of_upstreams_own_test(tfds: ModuleType, tmp_path: Path) -> None:
    """Data that upstream's test class accepts: its examples are ours."""
    import unittest

    from tensorflow_datasets.vision_language.laion400m import laion400m, laion400m_test

    data = tmp_path / "dummy"
    data.mkdir()
    images = write_images_in_order(tmp_path / "images", num_shards=1, shard_size=3)
    embeddings = write_embeddings_in_order(tmp_path / "embeddings", num_shards=1, shard_size=3)
    for folder in ("images", "embeddings"):
        for path in (tmp_path / folder).rglob("*.*"):
            (data / path.name).write_bytes(path.read_bytes())
    suite = unittest.TestSuite()
    for base in (laion400m_test.Laion400MImagesTest, laion400m_test.Laion400MEmbeddingsTest):
        case = type(base.__name__, (base,), {"EXAMPLE_DIR": str(data), "SKIP_CHECKSUMS": True})
        suite.addTest(case("test_download_and_prepare_as_dataset"))
    result = unittest.TextTestRunner().run(suite)
    assert result.wasSuccessful(), result.failures + result.errors
    assert result.testsRun == 2
    assert laion400m.LAION400M_IMAGES_CONFIG.num_shards == 1
    export(tmp_path / "images", tmp_path / "out")
    export(tmp_path / "embeddings", tmp_path / "out")
    assert_same(read(tfds, "laion400m", tmp_path / "out"), images)
    assert_same(read(tfds, "laion400m/embeddings", tmp_path / "out"), embeddings)


# img2dataset itself


@contextmanager
def pictures_served() -> Generator[str]:
    """Serve `picture(N)` under /N.jpg in an order that nobody knows; every seventh is not there."""
    rng = random.Random(1)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            time.sleep(rng.random() * 0.05)
            number = int(self.path.strip("/").removesuffix(".jpg"))
            data = b"" if number % 7 == 0 else picture(number)
            self.send_response(404 if number % 7 == 0 else 200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("output_format", ["webdataset", "parquet"])
def test_what_img2dataset_really_writes(
    tfds: ModuleType, tmp_path: Path, output_format: str
) -> None:
    program = os.environ.get("WEBPAIRS_IMG2DATASET")
    if program is None:
        pytest.skip("needs the executable of img2dataset in WEBPAIRS_IMG2DATASET")
    numbers = range(210)
    with pictures_served() as site:
        table = pa.table(
            {
                "URL": [f"{site}/{number}.jpg" for number in numbers],
                "TEXT": [f"caption of {number}" for number in numbers],
                "similarity": [number / 1000 for number in numbers],
                "NSFW": [("UNLIKELY", "UNSURE", None)[number % 3] for number in numbers],
                "LICENSE": [("?", "by")[number % 2] for number in numbers],
            }
        )
        pq.write_table(table, tmp_path / "urls.parquet")
        command = [
            *(program, "--url_list", str(tmp_path / "urls.parquet"), "--input_format", "parquet"),
            *("--url_col", "URL", "--caption_col", "TEXT", "--output_format", output_format),
            *("--save_additional_columns", '["similarity","NSFW","LICENSE"]'),
            *("--output_folder", str(tmp_path / "source"), "--number_sample_per_shard", "100"),
            *("--processes_count", "1", "--thread_count", "8", "--resize_mode", "no"),
            *("--skip_reencode", "True", "--enable_wandb", "False"),
        ]
        environment = os.environ | {"NO_ALBUMENTATIONS_UPDATE": "1"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
    in_order = pq.read_table(tmp_path / "source" / "00000.parquet").column("key").to_pylist()
    assert in_order != sorted(in_order), "answers came in order: this would not test much"
    export(tmp_path / "source", tmp_path / "out", samples_per_shard=50)
    found = read(tfds, "laion400m", tmp_path / "out")
    truth = [
        {
            "caption": f"caption of {number}",
            "image": picture(number),
            "license": ("", "by")[number % 2],
            "nsfw": (0, 1, 3)[number % 3],
            "original_height": 8 + number % 5,
            "original_width": 16,
            "similarity": float(np.float32(number / 1000)),
            "url": f"{site}/{number}.jpg",
        }
        for number in numbers
        if number % 7
    ]
    assert_same(sorted(found, key=lambda sample: sample["similarity"]), truth)
