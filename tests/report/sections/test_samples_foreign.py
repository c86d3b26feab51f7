"""What others wrote is reported with what it holds; what it does not tell is said in a word."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from support.foreign_folders import (
    Style,
    expected,
    laion_row,
    write_embeddings,
    write_img2dataset,
    write_laion_metadata,
)
from support.reports import dataset, report, top

STATUSES = {"success": 7, "HTTP Error 404: Not Found": 2, "<b>timed out</b>": 1}


@pytest.mark.parametrize("output_format", ["webdataset", "parquet"])
def test_img2dataset(tmp_path: Path, output_format: str) -> None:
    samples = write_img2dataset(tmp_path / "images", style=Style(output_format=output_format))
    told = dataset(tmp_path / "images", out=tmp_path)
    rows = [expected(row) for row in samples]
    assert told["samples"] == len(rows) == told["downloads"]["successes"]
    assert told["downloads"]["asked"] == 120
    captions = [len(row["caption"]) for row in rows if row["caption"]]
    counted = told["numbers"]["caption_chars"]
    assert (counted["counted"], counted["least"], counted["most"]) == (
        *(len(captions), min(captions), max(captions)),
    )
    assert counted["missing"] == len(rows) - len(captions)
    scored = [row["similarity"] for row in rows if row["similarity"] >= 0]
    assert told["numbers"]["similarity"]["counted"] == len(scored)
    assert [one["similarity"] for one in told["lowest"]] == sorted(scored)[:12]
    labels = ["UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"]
    assert top(told["names"], "nsfw") == Counter(labels[row["nsfw"]] for row in rows)
    licences = Counter(row["license"] for row in rows if row["license"])
    assert top(told["names"], "license") == licences
    assert top(told["names"], "host") == {"example.org": sum(bool(row["url"]) for row in rows)}
    assert told["numbers"]["shorter_side"]["counted"] == len(rows)
    assert told["run"] is None


def test_what_img2dataset_said_of_each_url(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    write_img2dataset(folder, num_shards=2)
    for path in folder.glob("*_stats.json"):
        stats = {"count": 10, "successes": 7, "failed_to_download": 3, "failed_to_resize": 0}
        path.write_text(json.dumps(stats | {"status_dict": STATUSES}))
    (folder / "00001_stats.json").write_text("{ broken")
    page, numbers = report(folder, out=tmp_path)
    told = numbers["datasets"][0]["downloads"]
    assert (told["asked"], told["statuses"]) == (10, STATUSES)
    assert "&lt;b&gt;timed out&lt;/b&gt;" in page


def test_laion_metadata(tmp_path: Path) -> None:
    rows = [laion_row(number, NSFW=("UNLIKELY", "NSFW")[number % 2]) for number in range(40)]
    rows += [laion_row(number, similarity=6016.0) for number in range(3)]
    write_laion_metadata(tmp_path / "laion" / "part-0.parquet", rows)
    page, numbers = report(tmp_path / "laion", out=tmp_path)
    (told,) = numbers["datasets"]
    assert told["samples"] == 43
    assert told["problems"] == {"row_corrupt": 3}
    assert (told["numbers"]["similarity"]["counted"], told["numbers"]["similarity"]["missing"]) == (
        *(40, 3),
    )
    assert top(told["names"], "nsfw") == {"UNLIKELY": 23, "NSFW": 20}
    # In LAION-400M's files HEIGHT holds the width: these rows are 640 wide and 480 high.
    assert top(told["names"], "shape") == {"landscape": 43, "portrait": 0, "square": 0}
    assert "LAION metadata: it does not tell who opted out." in page
    assert "3 row_corrupt" in page


def test_embedding_folders_have_a_map(tmp_path: Path) -> None:
    for number in range(3):
        write_embeddings(tmp_path / "emb", str(number), 30, first=30 * number)
    told = dataset(tmp_path / "emb", out=tmp_path)
    assert told["samples"] == len(told["map"]["points"]) == 90
    assert sum(one["size"] for one in told["map"]["clusters"]) == 90
    assert {label for _, _, label in told["map"]["points"]} == set(
        range(len(told["map"]["clusters"]))
    )
    for one in told["map"]["clusters"]:
        assert one["captions"]
        assert all(caption.startswith("caption of ") for caption in one["captions"])


def test_embeddings_that_are_no_numbers_are_left_out_of_the_map(tmp_path: Path) -> None:
    import numpy as np

    folder = tmp_path / "emb"
    write_embeddings(folder, "0", 60)
    for kind in ("img_emb", "text_emb"):
        path = folder / kind / f"{kind}_0.npy"
        array = np.load(path)
        array[3], array[4], array[5] = np.nan, np.inf, 0
        np.save(path, array)
    told = dataset(folder, out=tmp_path)
    assert len(told["map"]["points"]) == 57


def test_columns_that_only_some_shards_have(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "emb", "0", 5)
    languages = pa.array(["de", "en", None, "de", "<b>"])
    write_embeddings(tmp_path / "emb", "1", 5, first=5, language=languages)
    told = dataset(tmp_path / "emb", out=tmp_path)
    assert top(told["names"], "language") == {"de": 2, "en": 1, "<b>": 1}
