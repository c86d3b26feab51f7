"""What a folder was recognised as, and what is in it: schema, counts, some rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from webpairs.dataset.dataset import Dataset, open_dataset
from webpairs.dataset.features import LABELS, TABULAR, Feature
from webpairs.dataset.sources.img2dataset import Img2datasetFolder
from webpairs.dataset.sources.laion import EmbeddingFolders
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.dataset.sources.source import Source
from webpairs.errors import ConfigError
from webpairs.image.sniff import sniff
from webpairs.progress import RunProgress, StageTotal
from webpairs.run_folder.schema import METADATA
from webpairs.run_folder.status import Status, read_status
from webpairs.verify.source import missing_names


@dataclass(frozen=True, slots=True)
class RunFacts:
    """How a run folder was made, by its manifest; None where nothing was scored."""

    verb: str
    recipe: str
    images: str | None
    model: str | None
    threshold: float | None
    webpairs: str
    finished: str | None
    funnel: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Info:
    """What is in a dataset."""

    folder: Path
    kind: str
    why: str
    """By what it was recognised."""
    features: tuple[Feature, ...]
    columns: Mapping[str, str]
    """Further columns, and their arrow types."""
    num_samples: int
    num_shards: int
    missing_shards: tuple[str, ...]
    embedding_size: int | None
    problems: Mapping[str, int]
    """How often readers met each, while they read the metadata."""
    run: RunFacts | None
    rows: tuple[Mapping[str, Any], ...]
    """The first samples: key, features, further columns; of images format and bytes alone."""

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "folder": str(self.folder),
            "kind": self.kind,
            "why": self.why,
            "samples": self.num_samples,
            "shards": self.num_shards,
            "missing_shards": list(self.missing_shards),
            "embedding_size": self.embedding_size,
            "problems": dict(self.problems),
            "features": [
                {
                    "name": one.name,
                    "kind": one.kind,
                    "dtype": one.dtype,
                    "shape": list(one.shape),
                    "description": one.description,
                    "labels": list(one.labels),
                }
                for one in self.features
            ],
            "columns": dict(self.columns),
            "run": None
            if self.run is None
            else {name: getattr(self.run, name) for name in RunFacts.__slots__},
            "rows": [dict(row) for row in self.rows],
        }


def read_info(
    folder: str | Path, *, num_rows: int = 5, progress: RunProgress | None = None
) -> Info:
    """Look into a folder that `webpairs.open` opens; reads all metadata of what others wrote.

    Raises ConfigError where there is no dataset, or a run folder's counts cannot be read.
    """
    if num_rows < 0:
        raise ConfigError(f"--rows {num_rows} is out of range: use 0 or more")
    ds = open_dataset(folder)
    source = ds.source
    status = run_status(source.folder) if isinstance(source, RunFolder) else None
    _read_metadata(ds, progress or RunProgress(quiet=True))
    rows, types = _first_rows(ds, max(num_rows, 1))
    return Info(
        folder=source.folder,
        kind=source.kind,
        why=_why(source),
        features=tuple(ds.features.values()),
        columns=types,
        num_samples=len(ds),
        num_shards=len(source.names),
        missing_shards=tuple(missing_names(source.names))
        if status is None
        else status.missing_shards,
        embedding_size=source.embedding_size,
        problems=ds.problems.counts(),
        run=None if status is None else _facts(status),
        rows=rows[:num_rows],
    )


def run_status(out: Path) -> Status:
    """Return the status of a run folder; ConfigError when its counts cannot be read."""
    try:
        return read_status(out)
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"the counts of {out} cannot be read ({error}): webpairs verify says what is wrong"
        ) from error


def _why(source: Source) -> str:
    if isinstance(source, RunFolder):
        return "manifest.json and stats/"
    if isinstance(source, EmbeddingFolders):
        return "img_emb/, text_emb/ and metadata/"
    if not isinstance(source, Img2datasetFolder):
        return "*.parquet with columns URL and TEXT"
    found = {path.suffix for path in source.folder.iterdir()}
    if ".tar" not in found:
        return "*.parquet with a key and a column of images"
    return "*.tar beside *.parquet" if ".parquet" in found else "*.tar"


def _facts(status: Status) -> RunFacts:
    manifest = status.manifest
    options, model = manifest["options"], manifest["model"]
    return RunFacts(
        verb=manifest["verb"],
        recipe=options.get("recipe.name") or options["name"],
        images=options.get("images"),
        model=None if model is None else model["spec"],
        threshold=None if model is None else model["threshold"],
        webpairs=manifest["webpairs"],
        finished=manifest["finished"] if status.finished else None,
        funnel=status.funnel.as_json(),
    )


def _read_metadata(ds: Dataset, progress: RunProgress) -> None:
    """Meet the problems that reading metadata meets: of rows, where others wrote them."""
    places = range(len(ds.source.names))
    with progress.stage(StageTotal("read", "shards", len(places))):
        for place in places:
            if not isinstance(ds.source, RunFolder):
                for _ in ds.pieces(TABULAR, places=[place]):
                    pass
            else:
                ds.shard(place)
            progress.add({"done": 1})


def _first_rows(ds: Dataset, num_rows: int) -> tuple[tuple[Mapping[str, Any], ...], dict[str, str]]:
    """Return the first rows, and the type of each column that is not a feature."""
    further = [name for name in ds.column_names if name not in ds.features]
    tabular = [name for name in ds.features if name in TABULAR]
    known = {column.name: str(column.type) for column in METADATA}
    types = {name: known.get(name, "unknown") for name in further}
    rows: list[Mapping[str, Any]] = []
    names = list(dict.fromkeys(("key", *tabular, *further)))
    for piece in ds.pieces(names, num_rows=num_rows):
        types = {name: str(piece.table.schema.field(name).type) for name in further}
        shard = ds.shard(piece.place)
        for number, row in zip(piece.rows.tolist(), piece.table.to_pylist(), strict=True):
            row["nsfw"] = LABELS[row["nsfw"]]
            if "image" in ds.features:
                image = shard.image(number)
                row["image"] = image and {"format": sniff(image), "bytes": len(image)}
            rows.append({name: _plain(value) for name, value in row.items()})
        if len(rows) >= num_rows:
            break
    return tuple(rows[:num_rows]), types


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: bytes as hex, what is not a number as null."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if value is None or isinstance(value, (str, int)):
        return value
    return str(value)
