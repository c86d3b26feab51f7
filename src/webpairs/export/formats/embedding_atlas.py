"""Writing parquet that Apple's Embedding Atlas shows: a map, pictures, and charts of the columns.

    00000.parquet   image, caption, similarity, nsfw, license, host, original_width,
                    original_height, the columns that were asked for, url, key, uid,
                    image_embedding, x and y; without those that the source lacks

What it draws a chart of stands first. `image` is a struct of bytes, a small JPEG, and path;
`image_embedding` a list of float32 of one length; x and y lie in the plane of `plane.py`, fitted
to some of the samples. What is missing is null, an untagged nsfw UNTAGGED. Source:
embedding-atlas 0.26, data formats and command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from webpairs.clusters import Floats, Plane, fit_plane, unit_rows
from webpairs.dataset.dataset import Dataset
from webpairs.dataset.features import FEATURES, MISSING_SIMILARITY, MISSING_SIZE, TABULAR
from webpairs.dataset.hosts import host_names
from webpairs.dataset.problems import Problem
from webpairs.dataset.sources.source import Embeddings
from webpairs.errors import ConfigError, DataError
from webpairs.export.columns import (
    as_text,
    is_bytes,
    row_groups,
    set_column,
    with_label_names,
)
from webpairs.export.exporter import Batch, OutputShard, Target, TargetReport, wanted_configs
from webpairs.export.options import ExportOptions
from webpairs.files import write_parquet
from webpairs.image.thumbnail import thumbnail

pc: Any = pyarrow.compute  # its functions are made at run time

COLUMNS: Final = (
    *("caption", "similarity", "nsfw", "license"),
    *("original_width", "original_height"),
)
"""Those that stand first, and the host after the licence."""
IDS: Final = ("url", "key", "uid")
SAMPLES_PER_SHARD: Final = 1_000_000
"""One file: Embedding Atlas holds all of it in memory, and shows up to a few million points."""
NUM_FITTED: Final = 2_000
LEAST_A_SHARD: Final = 16
"""Samples that the plane is fitted to: as many of every shard, of few shards where there are
many."""
SEED: Final = 0
_OWN: Final = ("host", "image", "image_embedding", "x", "y")
_IMAGE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_MISSING: Final = {
    "license": "",
    "similarity": MISSING_SIMILARITY,
    "original_width": MISSING_SIZE,
    "original_height": MISSING_SIZE,
}


class EmbeddingAtlasExporter:
    """Writer of one table, in one file unless told otherwise."""

    def __init__(self, options: ExportOptions) -> None:
        if Path(options.out).suffix == ".parquet":
            folder = Path(options.out).with_suffix("")
            raise ConfigError(
                f"--out {options.out}: an export is a folder, in which it can go on after a stop; "
                f"use --out {folder}, which will hold 00000.parquet"
            )
        for name in options.columns or ():
            if name in _OWN or (name in FEATURES and name not in TABULAR):
                raise ConfigError(
                    f"--columns {name}: the format has image, image_embedding, host, x and y of "
                    "its own, and no other embedding; leave it out"
                )
        self._options = options

    def targets(self, dataset: Dataset) -> Sequence[Target]:
        """Return one target, with a plane where the source has embeddings."""
        configs = wanted_configs(dataset, self._options.config)
        ids = [name for name in IDS if name != "uid" or name in dataset.column_names]
        asked = [name for name in self._options.columns or () if name not in ids]
        names = dict.fromkeys((*COLUMNS, *asked, *ids))
        return [
            Target(
                config="+".join(configs) or "metadata",
                folder=Path(self._options.out),
                columns=tuple(names),
                images="images" in configs,
                embeddings=dataset.source.embedding_size is not None,
                samples_per_shard=SAMPLES_PER_SHARD,
                prepared=_plane(dataset),
            )
        ]

    def write_shard(self, shard: OutputShard, batches: Iterator[Batch]) -> None:
        """Write a file; pictures that do not decode, and embeddings that are none, are skipped."""
        target = shard.target
        schema = _schema(target)
        plain = [name for name in schema.names if name not in ("image", "image_embedding")]
        path = target.folder / f"{shard.number:05d}.parquet"
        with write_parquet(path, schema, use_dictionary=plain) as writer:
            for group, _ in row_groups(batches):
                table = _table(schema, target, group, shard)
                writer.write_table(table)
                shard.num_samples += table.num_rows
                shard.num_bytes += table.nbytes

    def finish(self, reports: Sequence[TargetReport]) -> None:
        """Write nothing: the files say all."""


exporter = EmbeddingAtlasExporter


def _plane(dataset: Dataset) -> Plane | None:
    """Return the plane of `NUM_FITTED` samples or fewer; None where there are no embeddings."""
    if dataset.source.embedding_size is None:
        return None
    num_shards = len(dataset.source.names)
    a_shard = max(LEAST_A_SHARD, -(-NUM_FITTED // num_shards))
    left = NUM_FITTED
    parts: dict[int, Floats] = {}
    for place in np.random.default_rng(SEED).permutation(num_shards).tolist():
        if not left:
            break
        rows = dataset.view.rows(place, dataset.shard)
        rows = np.arange(dataset.shard(place).num_rows) if rows is None else rows
        some = np.linspace(0, len(rows), min(a_shard, left, len(rows)), endpoint=False, dtype=int)
        piece = dataset.piece(place, rows[some], ["key"], embeddings=True)
        if piece is None or piece.image_embeddings is None:
            continue
        points, good = unit_rows(piece.image_embeddings)
        parts[place] = points[good]
        left -= int(good.sum())
    points = [parts[place] for place in sorted(parts) if len(parts[place])]
    return fit_plane(np.concatenate(points), SEED) if points else None


def _schema(target: Target) -> pa.Schema:
    """Return the columns in order."""
    assert target.schema is not None
    fields = [pa.field("image", _IMAGE)] if target.images else []
    for name in target.columns:
        type = target.schema.field(name).type
        if name == "nsfw" or is_bytes(type) or pa.types.is_map(type):
            type = pa.string()
        elif pa.types.is_dictionary(type):
            type = type.value_type
        fields.append(pa.field(name, type))
        if name == "license":
            fields.append(pa.field("host", pa.string()))
    if _has_vectors(target):
        fields.append(pa.field("image_embedding", pa.list_(pa.float32(), target.embedding_size)))
    if target.prepared is not None:
        fields += [pa.field(name, pa.float32()) for name in ("x", "y")]
    return pa.schema(fields)


def _has_vectors(target: Target) -> bool:
    """Say whether embeddings are written, and not only x and y of them."""
    return target.embeddings and "embeddings" in target.config


def _table(schema: pa.Schema, target: Target, batch: Batch, shard: OutputShard) -> pa.Table:
    keys: list[str] = batch.table.column("key").to_pylist()
    kept = np.ones(len(keys), np.bool_)
    table = with_label_names(batch.table)
    for field in table.schema:
        if is_bytes(field.type) or pa.types.is_map(field.type):
            table = set_column(table, field.name, as_text(table.column(field.name)))
    for name, missing in _MISSING.items():
        column = table.column(name)
        nothing = pa.scalar(None, column.type)
        table = set_column(table, name, pc.if_else(pc.equal(column, missing), nothing, column))
    table = table.append_column("host", host_names(table.column("url")))
    if batch.image_embeddings is not None:
        table, good = _with_embeddings(table, target, batch.image_embeddings)
        for one in np.flatnonzero(~good).tolist():
            shard.skip(str(Problem.NO_EMBEDDING), keys[one], "its length is 0 or none")
        kept &= good
    if batch.images is not None:
        pictures = [
            _picture(image, key, shard) if good else None
            for image, key, good in zip(batch.images, keys, kept.tolist(), strict=True)
        ]
        table = table.append_column("image", pa.array(pictures, _IMAGE))
        kept &= [picture is not None for picture in pictures]
    return table.filter(pa.array(kept)).select(schema.names).cast(schema)


def _with_embeddings(
    table: pa.Table, target: Target, embeddings: Embeddings
) -> tuple[pa.Table, Any]:
    """Return the table with vectors, x and y, and which rows (n,) bool have a length."""
    points, good = unit_rows(embeddings)
    if _has_vectors(target):
        flat = pa.array(embeddings.astype(np.float32).reshape(-1))
        lists = pa.FixedSizeListArray.from_arrays(flat, embeddings.shape[1])
        table = table.append_column("image_embedding", lists)
    if target.prepared is not None:
        for name, values in zip(("x", "y"), target.prepared.project(points).T, strict=True):
            table = table.append_column(name, pa.array(values))
    return table, good


def _picture(image: bytes, key: str, shard: OutputShard) -> dict[str, Any] | None:
    """Return a thumbnail; None, and a sample that is skipped, where the image does not decode."""
    try:
        return {"bytes": thumbnail(image), "path": f"{key}.jpg"}
    except DataError as error:
        shard.skip(str(Problem.IMAGE_BROKEN), key, str(error))
        return None
