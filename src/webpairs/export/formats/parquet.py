"""Writing samples as parquet with the images in it, as img2dataset's output format `parquet` does.

    00000.parquet    the metadata and a column of encoded images, a row a sample

The column is called after the format of the dataset's first image, `jpg`, `png` or `webp`, as
img2dataset calls it; other columns have img2dataset's names where it has any. Row groups have
32 MB, so that a reader needs no more memory than that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from webpairs.dataset.dataset import Dataset
from webpairs.errors import ConfigError
from webpairs.export.columns import row_groups, with_label_names
from webpairs.export.exporter import Batch, OutputShard, Target, TargetReport, wanted_configs
from webpairs.export.formats.webdataset import (
    columns_beside_images,
    image_extension,
    named_as_img2dataset,
)
from webpairs.export.options import ExportOptions
from webpairs.files import write_parquet

SAMPLES_PER_SHARD: Final = 10_000
"""As img2dataset."""


class ParquetExporter:
    """Writer of tables with a column of images."""

    def __init__(self, options: ExportOptions) -> None:
        if options.config not in (None, "images"):
            raise ConfigError(
                f"--config {options.config}: parquet is for images here; use --config images, or "
                "--to huggingface for parquet of embeddings"
            )
        self._options = options

    def targets(self, dataset: Dataset) -> Sequence[Target]:
        """Return one target; raise ConfigError where the source has no images."""
        wanted_configs(dataset, "images")
        first = next(dataset.pieces(["key"], images=True, num_rows=1), None)
        image = b"" if first is None else (first.images or [b""])[0]
        return [
            Target(
                config="images",
                folder=Path(self._options.out),
                columns=columns_beside_images(dataset, self._options.columns),
                images=True,
                embeddings=False,
                samples_per_shard=SAMPLES_PER_SHARD,
                prepared=image_extension(image),
            )
        ]

    def write_shard(self, shard: OutputShard, batches: Iterator[Batch]) -> None:
        """Write a file."""
        target = shard.target
        assert target.schema is not None
        table = named_as_img2dataset(with_label_names(target.schema.empty_table()))
        name = target.prepared
        if name in table.column_names:
            raise ConfigError(f"the source has a column {name!r}: leave it out by --columns")
        schema = table.schema.append(pa.field(name, pa.binary()))
        with write_parquet(target.folder / f"{shard.number:05d}.parquet", schema) as writer:
            for group, num_bytes in row_groups(batches):
                table = named_as_img2dataset(with_label_names(group.table))
                images = pa.array(group.images or [], pa.binary())
                writer.write_table(table.append_column(name, images).cast(schema))
                shard.num_samples += group.num_rows
                shard.num_bytes += num_bytes

    def finish(self, reports: Sequence[TargetReport]) -> None:
        """Write nothing: the files say all."""


exporter = ParquetExporter
