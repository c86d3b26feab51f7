"""What kind of dataset a folder holds, by what is in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Final

import pyarrow as pa

from webpairs.dataset.sources.img2dataset import Img2datasetFolder, image_column
from webpairs.dataset.sources.laion import EmbeddingFolders, LaionMetadata, is_laion_metadata
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.dataset.sources.source import Source
from webpairs.errors import ConfigError
from webpairs.parquet.file import UNREADABLE, read_schema

_ACCEPTED: Final = (
    "  a run folder of webpairs: manifest.json and stats/",
    "  img2dataset output: NNNNN.tar and NNNNN.parquet, or NNNNN.parquet with a column of images",
    "  WebDataset tars: NNNNN.tar with KEY.jpg, KEY.txt, KEY.json",
    "  LAION metadata: *.parquet with columns URL and TEXT",
    "  embedding folders of LAION or clip-retrieval: img_emb/, metadata/ and, if any, text_emb/",
)


def recognise(folder: Path) -> Source:
    """Return the source that a folder is; ConfigError says what was found where it is none."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise ConfigError(f"{folder} {what}: name a folder that holds a dataset")
    source = _known(folder)
    if source is None:
        inner = [path for path in sorted(folder.iterdir()) if path.is_dir()]
        hints = [f"{path} is {known.kind}: name it" for path in inner if (known := _known(path))]
        raise ConfigError(
            "\n".join(
                (f"{folder} is not a dataset: {_found(folder)}", *hints, "accepted:", *_ACCEPTED)
            )
        )
    return source


def _known(folder: Path) -> Source | None:
    if (folder / "manifest.json").is_file() and (folder / "stats").is_dir():
        return RunFolder(folder)
    if all((folder / name).is_dir() for name in ("img_emb", "metadata")):
        return EmbeddingFolders(folder)
    if next(folder.glob("*.tar"), None) is not None:
        return Img2datasetFolder(folder)
    schema = _first_schema(folder)
    if schema is None:
        return None
    if image_column(schema) is not None and "key" in schema.names:
        return Img2datasetFolder(folder)
    return LaionMetadata(folder) if is_laion_metadata(schema) else None


def _first_schema(folder: Path) -> pa.Schema | None:
    """Return the columns of the first parquet file that can be read."""
    for path in sorted(folder.glob("*.parquet")):
        try:
            return read_schema(path)
        except UNREADABLE:
            continue
    return None


def _found(folder: Path) -> str:
    """Say what is in a folder, in a line."""
    kinds = Counter(
        f"{path.name}/" if path.is_dir() else f"*{path.suffix or ' without a suffix'}"
        for path in folder.iterdir()
    )
    if not kinds:
        return "it is empty"
    shown = ", ".join(f"{num} {kind}" for kind, num in kinds.most_common(6))
    schema = _first_schema(folder)
    columns = "" if schema is None else f"; the columns are {', '.join(schema.names)}"
    return f"it holds {shown}{columns}"
