"""A run folder read with nothing of ours."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

LABELS = ["UNLIKELY", "UNSURE", "NSFW", "UNTAGGED"]


def plain_reading(out: Path) -> list[dict[str, Any]]:
    """Read a run folder with nothing of ours, joined by key."""
    rows: list[dict[str, Any]] = []
    for path in sorted((out / "metadata").iterdir()):
        images = {}
        with tarfile.open(out / "images" / f"{path.stem}.tar") as tar:
            for member in tar:
                if member.name.endswith(".jpg"):
                    file = tar.extractfile(member)
                    assert file is not None
                    images[member.name.removesuffix(".jpg")] = file.read()
        embeddings = out / "embeddings"
        image = np.load(embeddings / "img_emb" / f"img_emb_{path.stem}.npy")
        text = np.load(embeddings / "text_emb" / f"text_emb_{path.stem}.npy")
        for place, row in enumerate(pq.read_table(path).to_pylist()):
            rows.append(
                {
                    "key": row["key"],
                    "caption": row["TEXT"],
                    "image": images[row["key"]],
                    "image_embedding": image[place],
                    "license": "" if row["LICENSE"] == "?" else row["LICENSE"],
                    "nsfw": LABELS.index(row["NSFW"] or "UNTAGGED"),
                    "original_height": row["HEIGHT"],
                    "original_width": row["WIDTH"],
                    "similarity": row["similarity"],
                    "text_embedding": text[place],
                    "url": row["URL"],
                }
            )
    return rows
