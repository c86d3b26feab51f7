"""Writing samples as files in folders, as img2dataset's output format `files` does.

    00000/KEY.jpg KEY.txt KEY.json   the image as it was, under the extension of what it is
    00000.parquet                    the metadata of the folder's samples, written last

A folder without its parquet is not finished. Columns have img2dataset's names where it has any.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from webpairs.dataset.dataset import Dataset
from webpairs.errors import ConfigError
from webpairs.export.columns import row_groups, with_label_names
from webpairs.export.exporter import Batch, OutputShard, Target, TargetReport, wanted_configs
from webpairs.export.formats.webdataset import (
    KEY_UNUSABLE,
    columns_beside_images,
    image_extension,
    json_rows,
    named_as_img2dataset,
    texts_of,
)
from webpairs.export.options import ExportOptions
from webpairs.files import write_parquet

SAMPLES_PER_SHARD: Final = 10_000
"""As img2dataset: 30,000 files in a folder."""
_USABLE_KEY: Final = re.compile(r"[^./\\\0][^/\\\0]{0,199}")
"""What can be the name of a file and leads to no other folder."""


class FilesExporter:
    """Writer of a folder of files for each shard."""

    def __init__(self, options: ExportOptions) -> None:
        if options.config not in (None, "images"):
            raise ConfigError(
                f"--config {options.config}: files are for images; use --config images, or --to "
                "laion for embeddings"
            )
        self._options = options

    def targets(self, dataset: Dataset) -> Sequence[Target]:
        """Return one target; raise ConfigError where the source has no images."""
        wanted_configs(dataset, "images")
        return [
            Target(
                config="images",
                folder=Path(self._options.out),
                columns=columns_beside_images(dataset, self._options.columns),
                images=True,
                embeddings=False,
                samples_per_shard=SAMPLES_PER_SHARD,
            )
        ]

    def write_shard(self, shard: OutputShard, batches: Iterator[Batch]) -> None:
        """Write a folder and then its metadata, which says that the folder is whole."""
        target = shard.target
        assert target.schema is not None
        folder = target.folder / f"{shard.number:05d}"
        folder.mkdir(exist_ok=True)
        schema = _metadata(target.schema.empty_table()).schema
        with write_parquet(target.folder / f"{shard.number:05d}.parquet", schema) as metadata:
            for group, _ in row_groups(_usable(shard, batch) for batch in batches):
                table = with_label_names(group.table)
                rows = zip(
                    table.column("key").to_pylist(),
                    group.images or [],
                    texts_of(table),
                    json_rows(table),
                    strict=True,
                )
                for key, image, text, row in rows:
                    shard.num_bytes += len(image)
                    (folder / f"{key}.{image_extension(image)}").write_bytes(image)
                    (folder / f"{key}.txt").write_bytes(text.encode())
                    (folder / f"{key}.json").write_bytes(row)
                metadata.write_table(_metadata(group.table).cast(schema))
                shard.num_samples += group.num_rows
            os.sync()  # once for all of them: a sync a file takes longer than the files

    def finish(self, reports: Sequence[TargetReport]) -> None:
        """Write nothing: the files say all."""


exporter = FilesExporter


def _metadata(table: pa.Table) -> pa.Table:
    return named_as_img2dataset(with_label_names(table))


def _usable(shard: OutputShard, batch: Batch) -> Batch:
    """Return the samples whose keys can be names of files; the others are skipped."""
    keys = batch.table.column("key").to_pylist()
    usable = np.array([_USABLE_KEY.fullmatch(key) is not None for key in keys], np.bool_)
    if usable.all():
        return batch
    for place in np.flatnonzero(~usable).tolist():
        shard.skip(KEY_UNUSABLE, keys[place], "no name of a file")
    images = [(batch.images or [])[place] for place in np.flatnonzero(usable).tolist()]
    return Batch(batch.table.filter(pa.array(usable)), images, None, None)
