"""Writing metadata and embeddings in the form in which LAION-400M was published.

    metadata/part-00000.parquet      SAMPLE_ID, URL, TEXT, HEIGHT, WIDTH, LICENSE, NSFW, similarity,
                                     then key, uid and the columns that were asked for
    embeddings/img_emb/img_emb_0.npy         float16 (n, d)
    embeddings/text_emb/text_emb_0.npy       the same rows
    embeddings/metadata/metadata_0.parquet   the same rows, named as clip-retrieval names them

In `metadata/` HEIGHT is the height and WIDTH the width, which LAION swapped; the files say so in
the metadata of their schema. SAMPLE_ID is the source's, else the key as a number, else null. What
is missing is null, a missing licence `?`. In `embeddings/` a missing size is 0 and a missing
licence empty, since TFDS takes both as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from webpairs.dataset.dataset import Dataset
from webpairs.dataset.features import LABELS, MISSING_SIMILARITY, MISSING_SIZE, TABULAR, UNTAGGED
from webpairs.dataset.sources.laion import SIZES_RIGHT
from webpairs.dataset.sources.source import Embeddings
from webpairs.errors import ConfigError
from webpairs.export.columns import row_groups, with_label_names
from webpairs.export.exporter import (
    Batch,
    OutputShard,
    Target,
    TargetReport,
    wanted_configs,
)
from webpairs.export.options import ExportOptions
from webpairs.files import write_parquet, write_whole

pc: Any = pyarrow.compute  # its functions are made at run time

SAMPLES_PER_SHARD: Final = 1_000_000
"""As the published files of embeddings: 1 GB each at 512 numbers."""
METADATA: Final = (
    ("SAMPLE_ID", pa.int64()),
    ("URL", pa.string()),
    ("TEXT", pa.string()),
    ("HEIGHT", pa.int32()),
    ("WIDTH", pa.int32()),
    ("LICENSE", pa.string()),
    ("NSFW", pa.string()),
    ("similarity", pa.float64()),
)
"""The columns of LAION-400M's metadata, in their order."""
EMBEDDINGS: Final = (
    ("image_path", pa.string()),
    ("caption", pa.string()),
    ("NSFW", pa.string()),
    ("similarity", pa.float64()),
    ("LICENSE", pa.string()),
    ("url", pa.string()),
    ("original_width", pa.int32()),
    ("original_height", pa.int32()),
)
"""The columns beside embeddings that clip-retrieval writes and TFDS reads."""
_CONFIGS: Final = {
    "images": ("metadata",),
    "embeddings": ("embeddings",),
    "both": ("metadata", "embeddings"),
}
_IDS: Final = ("SAMPLE_ID", "key", "uid")
_NO_LICENSE: Final = "?"
_NUMBER: Final = "^[0-9]{1,18}$"
"""Keys that an int64 holds."""


class LaionExporter:
    """Writer of metadata as published, embeddings, or both."""

    def __init__(self, options: ExportOptions) -> None:
        if "shard_id" in (options.columns or ()):
            raise ConfigError(
                "--columns shard_id: readers of this form put it before the key, which is whole "
                "here; leave it out"
            )
        self._options = options

    def targets(self, dataset: Dataset) -> Sequence[Target]:
        """Return metadata, which every source has, and embeddings where there are any."""
        config = self._options.config
        if config is None:
            config = "images" if dataset.source.embedding_size is None else "both"
        if config != "images":
            wanted_configs(dataset, "embeddings")
        there = dataset.column_names
        ids = tuple(name for name in _IDS if name in there)
        columns = tuple(dict.fromkeys((*TABULAR, *ids, *(self._options.columns or ()))))
        return [
            Target(
                config=part,
                folder=Path(self._options.out) / part,
                columns=columns,
                images=False,
                embeddings=part == "embeddings",
                samples_per_shard=SAMPLES_PER_SHARD,
            )
            for part in _CONFIGS[config]
        ]

    def write_shard(self, shard: OutputShard, batches: Iterator[Batch]) -> None:
        """Write a file of metadata, or the three files of a number, of which it is the last."""
        target = shard.target
        assert target.schema is not None
        make = _embedded_table if target.embeddings else _metadata_table
        schema = make(target.schema.empty_table()).schema
        with ExitStack() as stack:
            # What is entered first takes its name last.
            if target.embeddings:
                name, size = shard.number, target.embedding_size or 0
                path = target.folder / "metadata" / f"metadata_{name}.parquet"
                writer = stack.enter_context(write_parquet(path, schema))
                pair = [
                    stack.enter_context(
                        write_npy(target.folder / kind / f"{kind}_{name}.npy", size)
                    )
                    for kind in ("img_emb", "text_emb")
                ]
            else:
                path = target.folder / f"part-{shard.number:05d}.parquet"
                writer = stack.enter_context(write_parquet(path, schema))
                pair = []

            for group, num_bytes in row_groups(batches):
                both = (group.image_embeddings, group.text_embeddings)
                for add_rows, rows in zip(pair, both, strict=False):
                    assert rows is not None
                    add_rows(rows)
                writer.write_table(make(group.table))
                shard.num_samples += group.num_rows
                shard.num_bytes += num_bytes

    def finish(self, reports: Sequence[TargetReport]) -> None:
        """Write nothing: the files say all."""


exporter = LaionExporter


@contextmanager
def write_npy(path: Path, size: int) -> Generator[Callable[[Embeddings], None]]:
    """Yield what adds rows (n, size) float16 to an npy file; `path` is there whole or not at all.

    The bytes are those of `numpy.save`, whose header leaves room for the number of rows to grow.
    """
    num_rows = 0
    with write_whole(path) as temporary, temporary.open("wb") as file:
        _write_header(file, 0, size)

        def add_rows(rows: Embeddings) -> None:
            nonlocal num_rows
            file.write(np.ascontiguousarray(rows, "<f2").data)
            num_rows += len(rows)

        yield add_rows
        file.seek(0)
        _write_header(file, num_rows, size)


def _write_header(file: BinaryIO, num_rows: int, size: int) -> None:
    header = {"descr": "<f2", "fortran_order": False, "shape": (num_rows, size)}
    np.lib.format.write_array_header_1_0(file, header)


def _metadata_table(table: pa.Table) -> pa.Table:
    """Return LAION-400M's columns, then those that are of no feature."""
    license = table.column("license")
    columns = {
        "SAMPLE_ID": _sample_ids(table),
        "URL": table.column("url"),
        "TEXT": table.column("caption"),
        "HEIGHT": _null_where(table.column("original_height"), MISSING_SIZE),
        "WIDTH": _null_where(table.column("original_width"), MISSING_SIZE),
        "LICENSE": pc.if_else(pc.equal(license, ""), _NO_LICENSE, license),
        "NSFW": _tags(table),
        "similarity": _null_where(table.column("similarity"), MISSING_SIMILARITY),
    }
    return _table(METADATA, columns, table, {SIZES_RIGHT: b"HEIGHT is the height"})


def _embedded_table(table: pa.Table) -> pa.Table:
    """Return clip-retrieval's columns, then those that are of no feature."""
    columns = {
        "image_path": table.column("key"),
        "caption": table.column("caption"),
        "NSFW": _tags(table),
        "similarity": _null_where(table.column("similarity"), MISSING_SIMILARITY),
        "LICENSE": table.column("license"),
        "url": table.column("url"),
        "original_width": table.column("original_width"),
        "original_height": table.column("original_height"),
    }
    return _table(EMBEDDINGS, columns, table, {})


def _table(
    types: Sequence[tuple[str, pa.DataType]],
    columns: dict[str, pa.ChunkedArray],
    table: pa.Table,
    metadata: dict[bytes, bytes],
) -> pa.Table:
    others = ("key", *(name for name in table.column_names if name != "key"))
    fields = [pa.field(name, type) for name, type in types]
    for name in others:
        if name not in TABULAR and name not in columns:
            columns[name] = table.column(name)
            fields.append(table.schema.field(name))
    arrays = [columns[field.name] for field in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields)).replace_schema_metadata(metadata)


def _sample_ids(table: pa.Table) -> pa.ChunkedArray:
    if "SAMPLE_ID" in table.column_names:
        return table.column("SAMPLE_ID").cast(pa.int64())
    keys = table.column("key")
    return pc.if_else(pc.match_substring_regex(keys, _NUMBER), keys, None).cast(pa.int64())


def _tags(table: pa.Table) -> pa.ChunkedArray:
    tags = with_label_names(table).column("nsfw")
    return _null_where(tags, LABELS[UNTAGGED])


def _null_where(column: pa.ChunkedArray, missing: Any) -> pa.ChunkedArray:
    return pc.if_else(pc.equal(column, missing), pa.scalar(None, column.type), column)
