"""Exports for TFDS, and what is expected of them."""

from __future__ import annotations

import io
import math
import re
import shlex
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.paths import DOCS
from typer.testing import CliRunner

from webpairs.cli import app
from webpairs.export.export import ExportResult, export_dataset
from webpairs.export.options import ExportOptions

IMAGES = [
    *("caption", "image", "license", "nsfw"),
    *("original_height", "original_width", "similarity", "url"),
]
EMBEDDINGS = [
    *("caption", "image_embedding", "license", "nsfw", "original_height"),
    *("original_width", "similarity", "text_embedding", "url"),
]


def export(source: Path, out: Path, **options: Any) -> ExportResult:
    given: dict[str, Any] = {"workers": 1, "to": "tfds", **options}
    return export_dataset(ExportOptions(source=str(source), out=str(out), **given))


def plain(run: Path) -> list[dict[str, Any]]:
    """Read a run folder with nothing of ours."""
    labels = ["UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"]
    rows: list[dict[str, Any]] = []
    for path in sorted((run / "metadata").iterdir()):
        with tarfile.open(run / "images" / f"{path.stem}.tar") as tar:
            members = {member.name: member for member in tar}
            images = {
                name: file.read()
                for name, member in members.items()
                if name.endswith(".jpg") and (file := tar.extractfile(member)) is not None
            }
        image = np.load(run / "embeddings" / "img_emb" / f"img_emb_{path.stem}.npy")
        text = np.load(run / "embeddings" / "text_emb" / f"text_emb_{path.stem}.npy")
        for place, row in enumerate(pq.read_table(path).to_pylist()):
            rows.append(
                {
                    "key": row["key"],
                    "sha256": row["sha256"].hex(),
                    "caption": row["TEXT"],
                    "image": images[f"{row['key']}.jpg"],
                    "image_embedding": image[place],
                    "license": "" if row["LICENSE"] == "?" else row["LICENSE"],
                    "nsfw": labels.index(row["NSFW"] or "UNTAGGED"),
                    "original_height": row["HEIGHT"],
                    "original_width": row["WIDTH"],
                    "similarity": row["similarity"],
                    "text_embedding": text[place],
                    "url": row["URL"],
                    "language_score": math.nan
                    if row["language_score"] is None
                    else row["language_score"],
                }
            )
    return rows


def encoded(format: str, mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    pixels = np.random.default_rng(len(format)).integers(0, 256, (9, 11, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(out, format, **options)
    return out.getvalue()


def deep_png() -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.arange(0, 60_000, 1_000, np.uint16).reshape(6, 10)).save(out, "PNG")
    return out.getvalue()


JPEG = encoded("JPEG")
PNG = encoded("PNG")
UNTOUCHED = {
    "jpeg": JPEG,
    "progressive": encoded("JPEG", progressive=True),
    "grey": encoded("JPEG", "L"),
    "cmyk": encoded("JPEG", "CMYK"),
    "with an end of line after it": JPEG + b"\n",
    "with a thumbnail": JPEG[:2] + b"\xff\xe1\x00\x08Exif\xff\xd9" + JPEG[2:],
    "png": PNG,
    "palette": encoded("PNG", "P"),
    "alpha": encoded("PNG", "RGBA"),
    "16 bits": deep_png(),
}
TRANSCODED = {
    "webp": encoded("WEBP"),
    "lossless webp": encoded("WEBP", lossless=True),
    "gif": encoded("GIF", "P"),
    "bmp": encoded("BMP"),
}
BROKEN = {
    "nothing": b"",
    "a page": b"<!doctype html><p>404</p>",
    "half a jpeg": JPEG[: len(JPEG) // 2],
    "half a jpeg with a thumbnail": UNTOUCHED["with a thumbnail"][: len(JPEG) // 2],
    "a jpeg without a picture": b"\xff\xd8\xff\xe0\x00\x02\xff\xd9",
    "half a png": PNG[: len(PNG) // 2],
    "a png with a flipped bit": PNG[:60] + bytes((PNG[60] ^ 1,)) + PNG[61:],
    "half a webp": TRANSCODED["webp"][:40],
}


def write_pictures(folder: Path, pictures: dict[str, bytes]) -> None:
    """Write a tar of these images, whose captions are their names, and no table beside it."""
    folder.mkdir(parents=True)
    with tarfile.open(folder / "00000.tar", "w") as tar:
        for number, (name, data) in enumerate(pictures.items()):
            for ending, content in (("jpg", data), ("txt", name.encode())):
                member = tarfile.TarInfo(f"{number:09d}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


PAGE = DOCS / "tfds.md"


def type_what_the_page_says(run: Path, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Type every line of the page that exports, in a folder that is then the current one."""
    (folder / "run").symlink_to(run)
    lines = re.findall(r"^    webpairs (export .*)$", PAGE.read_text(), re.MULTILINE)
    assert len(lines) == 3
    patch.chdir(folder)
    for line in lines:
        result = CliRunner().invoke(app, [*shlex.split(line), "--workers", "1"])
        assert result.exit_code == 0, result.output
