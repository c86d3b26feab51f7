"""Folders as img2dataset, LAION and clip-retrieval write them, and what their samples are."""

from __future__ import annotations

import hashlib
import io
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from webdataset.writer import TarWriter

Row = dict[str, Any]

IMG2DATASET = pa.schema(
    [
        ("url", pa.string()),
        ("caption", pa.string()),
        ("similarity", pa.float64()),
        ("NSFW", pa.string()),
        ("LICENSE", pa.string()),
        ("key", pa.string()),
        ("status", pa.string()),
        ("error_message", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("original_width", pa.int32()),
        ("original_height", pa.int32()),
        ("exif", pa.string()),
        ("sha256", pa.string()),
    ]
)
LAION = pa.schema(
    [
        ("SAMPLE_ID", pa.int64()),
        ("URL", pa.string()),
        ("TEXT", pa.string()),
        ("HEIGHT", pa.int32()),
        ("WIDTH", pa.int32()),
        ("LICENSE", pa.string()),
        ("NSFW", pa.string()),
        ("similarity", pa.float64()),
    ]
)


def picture(number: int) -> bytes:
    """Return a JPEG that no other number has."""
    colour = tuple(hashlib.sha256(b"%d" % number).digest()[:3])
    out = io.BytesIO()
    Image.new("RGB", (16, 8 + number % 5), colour).save(out, "JPEG")
    return out.getvalue()


@dataclass(frozen=True)
class Style:
    """Say how img2dataset was called, and which one it was."""

    output_format: str = "webdataset"
    keys: str = "global"
    """global: today's; text or number: those of 2021, which start anew in every shard."""
    stats: bool = True


def write_img2dataset(
    folder: Path,
    *,
    num_shards: int = 3,
    shard_size: int = 40,
    style: Style | None = None,
    seed: int = 0,
    failed: float = 0.3,
) -> list[Row]:
    """Write a download of which `failed` failed, in the order of the answers, which is none.

    Returns what the samples are, shard by shard in the order of their rows: the columns, and
    `image`, `shard` and `id`, which is unique.
    """
    style = style or Style()
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    samples: list[Row] = []
    for shard in range(num_shards):
        rows: list[Row] = []
        for index in range(shard_size):
            number = shard * shard_size + index
            rows.append(_row(number, _key(style, shard, index), rng, failed))
        rng.shuffle(rows)
        _write_shard(folder, f"{shard:05d}", rows, style)
        done = [row for row in rows if row["status"] == "success"]
        for row in done:
            text_key = _tar_key(row["key"])
            unique = text_key if style.keys == "global" else f"{shard:05d}{text_key}"
            samples.append(row | {"shard": f"{shard:05d}", "id": unique})
        if style.stats:
            stats = {"count": len(rows), "successes": len(done)}
            (folder / f"{shard:05d}_stats.json").write_text(json.dumps(stats))
    return samples


def _key(style: Style, shard: int, index: int) -> str | int:
    if style.keys == "number":
        return index
    return f"{shard:05d}{index:04d}" if style.keys == "global" else f"{index:09d}"


def _tar_key(key: str | int) -> str:
    return f"{key:09d}" if isinstance(key, int) else key


def _row(number: int, key: str | int, rng: random.Random, failed: float) -> Row:
    row: Row = {
        "url": f"https://example.org/{number}.jpg" if number % 11 else None,
        "caption": f"caption of {number}, {'é' * (number % 3)}" if number % 7 else None,
        "similarity": rng.random() if number % 5 else None,
        "NSFW": ("UNLIKELY", "UNSURE", "NSFW", None, "UNTAGGED", "0.31", "")[number % 7],
        "LICENSE": ("?", None, "https://creativecommons.org/licenses/by/2.0/")[number % 3],
        "key": key,
        "status": "success",
        "error_message": None,
        "image": picture(number),
        "width": 16,
        "height": 8 + number % 5,
        "original_width": 1000 + number,
        "original_height": 2000 + number,
        "exif": "{}",
        "sha256": hashlib.sha256(b"%d" % number).hexdigest(),
    }
    if rng.random() < failed:
        kept = ("url", "caption", "similarity", "NSFW", "LICENSE", "key")
        row = {name: row[name] if name in kept else None for name in row}
        row |= {"status": "failed_to_download", "error_message": "HTTP Error 404: Not Found"}
    return row


def _write_shard(folder: Path, name: str, rows: Sequence[Row], style: Style) -> None:
    schema = IMG2DATASET
    if style.keys == "number":
        place = schema.get_field_index("key")
        schema = schema.set(place, pa.field("key", pa.int64()))
    if style.output_format == "parquet":
        schema = schema.append(pa.field("jpg", pa.binary()))
        rows = [row | {"jpg": row["image"]} for row in rows]
    else:
        with (folder / f"{name}.tar").open("wb") as file:
            writer = TarWriter(file)
            for row in rows:
                if row["image"] is None:
                    continue
                meta = {column: row[column] for column in IMG2DATASET.names}
                writer.write(
                    {
                        "__key__": _tar_key(row["key"]),
                        "jpg": row["image"],
                        "txt": row["caption"] or "",
                        "json": json.dumps(meta, indent=4),
                    }
                )
            writer.close()
    with pq.ParquetWriter(folder / f"{name}.parquet", schema) as writer:
        for start in range(0, len(rows), 10):  # img2dataset has groups of 100, in larger shards
            writer.write_table(pa.Table.from_pylist(list(rows[start : start + 10]), schema))


def expected(row: Row) -> Row:
    """Return the page's features of a row of img2dataset, as the page means them."""
    labels = ["UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"]
    return {
        "caption": row["caption"] or "",
        "license": "" if row["LICENSE"] in (None, "?") else row["LICENSE"],
        "nsfw": labels.index(row["NSFW"]) if row["NSFW"] in labels else 3,
        "original_height": row["original_height"],
        "original_width": row["original_width"],
        "similarity": -1.0 if row["similarity"] is None else row["similarity"],
        "url": row["url"] or "",
    }


def write_laion_metadata(path: Path, rows: Sequence[Row], **metadata: str) -> None:
    """Write one file of LAION-400M's metadata; the widths of `rows` go under HEIGHT, as there."""
    swapped = [row | {"HEIGHT": row["WIDTH"], "WIDTH": row["HEIGHT"]} for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(swapped, LAION.with_metadata(metadata or None)), path)


def laion_row(number: int, **changes: Any) -> Row:
    """Return a row whose names say what they hold: 640 wide, 480 high, more or less."""
    return {
        "SAMPLE_ID": 1000 + number,
        "URL": f"https://example.org/{number}.jpg",
        "TEXT": f"text of {number}",
        "HEIGHT": 480 + number,
        "WIDTH": 640 + number,
        "LICENSE": "?",
        "NSFW": "UNLIKELY",
        "similarity": 0.3 + number / 1000,
    } | changes


def write_embeddings(
    folder: Path, number: str, num_rows: int, *, first: int = 0, **columns: pa.Array
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Write the three files of a number as clip-retrieval does; returns the embeddings."""
    rng = np.random.default_rng(first)
    image, text = rng.standard_normal((2, num_rows, 8)).astype(np.float16)
    for kind, array in (("img_emb", image), ("text_emb", text)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        np.save(folder / kind / f"{kind}_{number}.npy", array)
    (folder / "metadata").mkdir(exist_ok=True)
    ids = range(first, first + num_rows)
    table = {
        "image_path": pa.array([f"{one:09d}" for one in ids]),
        "caption": pa.array([f"caption of {one}" for one in ids]),
        "NSFW": pa.array(["UNSURE"] * num_rows),
        "similarity": pa.array([one / 1000 for one in ids]),
        "LICENSE": pa.array(["?"] * num_rows),
        "url": pa.array([f"https://example.org/{one}.jpg" for one in ids]),
        "original_width": pa.array([1000 + one for one in ids], pa.int64()),
        "original_height": pa.array([2000 + one for one in ids], pa.int64()),
    }
    pq.write_table(pa.table(table | columns), folder / "metadata" / f"metadata_{number}.parquet")
    return image, text
