"""Run TFDS's own builder of laion400m, and read what TFDS reads."""

from __future__ import annotations

import io
import json
import math
import tarfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.foreign_folders import Row, picture


def import_tfds() -> ModuleType:
    """Import TFDS with TensorFlow and Beam; skip the test where one is not installed."""
    reason = "docs/development.md: comparing with TFDS"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("tensorflow", "apache_beam"):
            pytest.importorskip(name, reason=reason)
        return pytest.importorskip("tensorflow_datasets", reason=reason)


def read(tfds: ModuleType, name: str, data_dir: Path, **options: Any) -> list[dict[str, Any]]:
    """Return what `tfds.load` gives in the files' order, images encoded as they are stored."""
    in_order = tfds.ReadConfig(interleave_cycle_length=1)
    given = {"split": "train", "download": False, "read_config": in_order, **options}
    decoders = {"image": tfds.decode.SkipDecoding()} if "embeddings" not in name else None
    dataset = tfds.load(name, data_dir=str(data_dir), decoders=decoders, **given)
    return [plain(sample) for sample in tfds.as_numpy(dataset)]


def read_source(source: Iterable[Any]) -> list[dict[str, Any]]:
    """Return what a data source gives."""
    return [plain(sample) for sample in source]


def plain(sample: dict[str, Any]) -> dict[str, Any]:
    """Return texts as str, numbers as Python's, arrays as they are."""
    values: dict[str, Any] = {}
    for name, value in sample.items():
        if isinstance(value, bytes):
            values[name] = value if name == "image" else value.decode()
        else:
            values[name] = value if np.shape(value) else np.asarray(value).item()
    return values


def assert_same(found: Sequence[dict[str, Any]], truth: Sequence[dict[str, Any]]) -> None:
    """Compare samples field by field, names and their order included."""
    assert len(found) == len(truth)
    for one, other in zip(found, truth, strict=True):
        assert list(one) == list(other)
        for name, value in other.items():
            if isinstance(value, np.ndarray):
                assert one[name].dtype == value.dtype
                assert one[name].shape == value.shape
            nan = isinstance(value, float) and math.isnan(value) and math.isnan(one[name])
            assert nan or np.array_equal(one[name], value), (name, one[name], value)


def write_images_in_order(folder: Path, *, num_shards: int, shard_size: int) -> list[Row]:
    """Write the download that upstream is right on: no failure, row i has the key i.

    Returns what the page says of each sample.
    """
    folder.mkdir(parents=True, exist_ok=True)
    samples: list[Row] = []
    for shard in range(num_shards):
        rows: list[Row] = []
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for index in range(shard_size):
                number = shard * shard_size + index
                row = _row_in_order(number)
                rows.append(row | {"key": f"{index:09d}", "status": "success"})
                meta = json.dumps(row).encode()
                for ending, data in (
                    ("jpg", picture(number)),
                    ("json", meta),
                    ("txt", row["caption"].encode()),
                ):
                    member = tarfile.TarInfo(f"{index:09d}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                samples.append(_as_page(row) | {"image": picture(number)})
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:05d}.parquet")
    return [dict(sorted(sample.items())) for sample in samples]


def write_embeddings_in_order(folder: Path, *, num_shards: int, shard_size: int) -> list[Row]:
    """Write embedding folders as upstream reads them; returns what the page says."""
    rng = np.random.default_rng(5)
    samples: list[Row] = []
    for kind in ("img_emb", "text_emb", "metadata"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for shard in range(num_shards):
        pair = rng.standard_normal((2, shard_size, 512)).astype(np.float16)
        rows = [_row_in_order(shard * shard_size + index) for index in range(shard_size)]
        for kind, array in zip(("img_emb", "text_emb"), pair, strict=True):
            np.save(folder / kind / f"{kind}_{shard}.npy", array)
        pq.write_table(
            pa.Table.from_pylist(rows), folder / "metadata" / f"metadata_{shard}.parquet"
        )
        for index, row in enumerate(rows):
            both = {"image_embedding": pair[0, index], "text_embedding": pair[1, index]}
            samples.append(dict(sorted((_as_page(row) | both).items())))
    return samples


def build_images(tfds: ModuleType, folder: Path, data_dir: Path, num_shards: int) -> None:
    """Prepare laion400m/images with upstream's builder."""
    module = _builder_module(num_shards)
    builder = module.Laion400m(config="images", data_dir=str(data_dir))
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=str(folder))
    )


def build_embeddings(
    tfds: ModuleType, folder: Path, data_dir: Path, num_shards: int, patch: pytest.MonkeyPatch
) -> None:
    """Prepare laion400m/embeddings with upstream's builder, from files that are there."""
    from etils import epath

    module = _builder_module(num_shards)
    paths = {path.name: epath.Path(path) for path in folder.rglob("*") if path.is_file()}
    patch.setattr(module.Laion400m, "_download_data", lambda self, manager: paths)
    module.Laion400m(config="embeddings", data_dir=str(data_dir)).download_and_prepare()


def _builder_module(num_shards: int) -> Any:
    from tensorflow_datasets.vision_language.laion400m import laion400m

    laion400m.LAION400M_IMAGES_CONFIG.num_shards = num_shards
    laion400m.LAION400M_EMBEDDINGS_CONFIG.num_shards = num_shards
    return laion400m


def _row_in_order(number: int) -> Row:
    """Return a row of metadata that upstream is right on: no null text, no `?`, known tags."""
    return {
        "url": f"https://example.org/{number}.jpg",
        "caption": f"caption of {number}, é",
        "similarity": None if number % 7 == 3 else 0.3 + number / 1000,
        "NSFW": ("UNLIKELY", "UNSURE", "NSFW", "UNTAGGED", None, "0.31")[number % 6],
        "LICENSE": ("", None, "https://creativecommons.org/licenses/by/2.0/")[number % 3],
        "original_width": 1000 + number,
        "original_height": 2000 + number,
    }


def _as_page(row: Row) -> Row:
    labels = ["UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"]
    similarity = -1.0 if row["similarity"] is None else row["similarity"]
    return {
        "caption": row["caption"],
        "license": row["LICENSE"] or "",
        "nsfw": labels.index(row["NSFW"]) if row["NSFW"] in labels else 3,
        "original_height": row["original_height"],
        "original_width": row["original_width"],
        "similarity": float(np.float32(similarity)),  # both sides store it so under this name
        "url": row["url"],
    }
