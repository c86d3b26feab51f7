"""What a build stores, and which shapes it keeps, as its options say: whole runs, read back."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq
import pytest
from support.run_folders import SmallCrawl, dataset

import webpairs
from webpairs import BuildOptions, build_dataset
from webpairs.errors import ConfigError
from webpairs.export.export import export_dataset
from webpairs.export.options import ExportOptions
from webpairs.image.sniff import sniff
from webpairs.image.thumbnail import thumbnail as embedded_thumbnail
from webpairs.run_folder.funnel import read_funnel
from webpairs.search.thumbnail import thumbnail
from webpairs.verify.verify import verify_dataset


def options(little_web: SmallCrawl, out: Path, **changes: Any) -> BuildOptions:
    given: dict[str, Any] = {
        "inputs": tuple(map(str, little_web.files.warc)),
        "images": "archive",
        "model": "tiny",
        "threshold": -1,
        "limit": 24,
        "shard_size": 40,
        "workers": 1,
    }
    return BuildOptions(**given | {"out": str(out)} | changes)


@pytest.mark.parametrize(
    ("changes", "extension"),
    [
        ({"image_format": "png", "image_quality": 1}, "png"),
        ({"image_format": "webp", "resize": "keep-ratio-largest", "image_size": 64}, "webp"),
    ],
    ids=["png", "webp"],
)
def test_readers_follow_the_stored_format(
    little_web: SmallCrawl, tmp_path: Path, changes: dict[str, Any], extension: str
) -> None:
    run = tmp_path / "run"
    build_dataset(options(little_web, run, **changes))
    with tarfile.open(run / "images" / "00000.tar") as tar:
        names = tar.getnames()
    assert {name.partition(".")[2] for name in names} == {extension, "txt", "json"}
    assert verify_dataset(str(run), deep=True, workers=1).good
    ds = webpairs.open(run)
    rows = pq.read_table(run / "metadata" / "00000.parquet").to_pylist()
    assert len(ds) == len(rows) > 0
    for row, sample in zip(rows, ds.images(decode=None), strict=True):
        assert sniff(sample["image"]) == extension
        assert max(row["stored_width"], row["stored_height"]) == changes.get("image_size", 256)
        assert sniff(thumbnail(sample["image"], 32)) == "jpeg"
        assert sniff(embedded_thumbnail(sample["image"])) == "jpeg"
    wds = tmp_path / "wds"
    export_dataset(ExportOptions(source=str(run), out=str(wds), to="webdataset", workers=1))
    with tarfile.open(wds / "00000.tar") as tar:
        assert [name.partition(".")[2] for name in tar.getnames()[:3]] == [extension, "txt", "json"]
    again = tmp_path / "again"
    build_dataset(options(little_web, again, **changes))
    assert dataset(again) == dataset(run)


def test_shapes_and_sizes_that_are_not_wanted_are_counted(
    little_web: SmallCrawl, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    build_dataset(options(little_web, plain, limit=None))
    rows = pq.read_table(plain / "metadata").to_pylist()
    shapes = [sorted((row["WIDTH"], row["HEIGHT"])) for row in rows]
    sides = sorted(short for short, _ in shapes)
    least = sides[len(sides) // 4]
    most = 0.999 * max(long / short for short, long in shapes if short >= least)
    strict = tmp_path / "strict"
    build_dataset(options(little_web, strict, limit=None, min_side=least, max_aspect=most))
    kept = pq.read_table(strict / "metadata").to_pylist()

    def fits(row: dict[str, Any]) -> bool:
        short, long = sorted((row["WIDTH"], row["HEIGHT"]))
        return short >= least and long <= most * short

    assert 0 < sum(map(fits, rows)) < len(rows)
    assert {row["uid"] for row in kept} == {row["uid"] for row in rows if fits(row)}
    funnel = read_funnel(strict)
    assert funnel.balanced
    # More than of the samples: what is cut or broken behind its header is not looked at.
    assert funnel.drops["side"] >= sum(side < least for side in sides)
    assert funnel.drops["aspect"] > 0


def test_a_dataset_of_an_earlier_version_is_resumed_with_the_options_it_had(
    little_web: SmallCrawl, tmp_path: Path
) -> None:
    """Its manifest does not name the options that were added since."""
    run = tmp_path / "run"
    build_dataset(options(little_web, run))
    manifest = run / "manifest.json"
    stored = orjson.loads(manifest.read_bytes())
    for name in ("image_format", "min_side_px", "max_aspect", "png_compression", "webp_quality"):
        del stored["options"][f"recipe.{name}"]
    manifest.write_bytes(orjson.dumps(stored))
    build_dataset(options(little_web, run))
    with pytest.raises(
        ConfigError, match="--image-format: the run has jpeg, this line asks for png"
    ):
        build_dataset(options(little_web, run, image_format="png"))
