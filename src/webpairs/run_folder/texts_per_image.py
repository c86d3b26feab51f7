"""Finding pictures that stand for others ("image not found"): one file under many different texts.

    metadata/*.parquet -> columns/texts_per_image/00000.parquet and on

What a site sends instead of a lost image has its one SHA-256 wherever it stood. Nothing is dropped
for it: logos and flags are as frequent, and whoever uses the dataset can tell by the column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.checks import resolve_workers
from webpairs.external_sort import BATCH_ROWS, expose, open_duckdb, stream
from webpairs.files import write_parquet
from webpairs.run_folder.layout import ShardFiles
from webpairs.run_folder.schema import SHA256, Column, arrow_schema

TEXTS_PER_IMAGE: Final = (
    Column(
        "key",
        pa.string(),
        "shard number and candidate row, the name in the tar",
        "webpairs",
        nullable=False,
    ),
    Column(
        "texts_per_image",
        pa.int32(),
        "distinct texts of all samples of the dataset with this sample's sha256",
        "webpairs",
        nullable=False,
    ),
)
"""`columns/texts_per_image/*.parquet`: the rows of `metadata/*.parquet`, in their order."""
MANY_TEXTS: Final = 10
"""From so many texts on an image is reported. A product shown in a few shops has a few texts; in
doubt the pictures are to be looked at."""
NUM_SHOWN: Final = 10

_SCHEMA: Final = arrow_schema(TEXTS_PER_IMAGE)
_TEXTS_SCHEMA: Final = pa.schema([pa.field("sha256", SHA256), pa.field("TEXT", pa.string())])
_PLACES_SCHEMA: Final = pa.schema(
    [pa.field("shard", pa.int32()), pa.field("place", pa.int32()), pa.field("sha256", SHA256)]
)


@dataclass(frozen=True, slots=True)
class ImageTexts:
    """Counts of the texts and the samples of one image; `sha256` is hex."""

    sha256: str
    num_texts: int
    num_samples: int


@dataclass(frozen=True, slots=True)
class PlaceholderReport:
    """How many images stand under `MANY_TEXTS` different texts or more, and which most."""

    num_images: int
    num_samples: int
    top: tuple[ImageTexts, ...]
    """At most `NUM_SHOWN`, the one with the most texts first."""


def texts_per_image(out: Path, *, memory_bytes: int) -> PlaceholderReport:
    """Write how many different texts the image of each sample of run folder `out` has.

    Counts over all committed shards, and writes every file anew, whole or not at all: what a
    retry added changes the counts of earlier samples. Raises RunError when memory or disk do not
    suffice.
    """
    names = sorted(path.stem for path in (out / "stats").glob("[0-9]*.json"))
    shards = [name for name in names if ShardFiles.of(out, name).metadata.exists()]
    with open_duckdb(
        out / "work" / "spill-texts", memory_bytes=memory_bytes, threads=resolve_workers(None)
    ) as duck:
        expose(duck, "samples", _texts(out, shards), _TEXTS_SCHEMA)
        # A text is told from another by 128 bits of it, which take less room.
        duck.execute("""
            CREATE TABLE several AS
            SELECT sha256, count(*)::INTEGER AS num_texts, sum(num)::BIGINT AS num_samples
            FROM (
                SELECT sha256, md5_number(TEXT) AS text, count(*) AS num
                FROM samples GROUP BY ALL
            )
            GROUP BY sha256 HAVING count(*) > 1
        """)
        expose(duck, "places", _places(out, shards), _PLACES_SCHEMA)
        for name, num_texts in zip(shards, _counts(duck, out, shards), strict=True):
            keys = pq.read_table(ShardFiles.of(out, name).metadata, columns=["key"]).column("key")
            table = pa.Table.from_arrays([keys, pa.array(num_texts)], schema=_SCHEMA)
            path = out / "columns" / "texts_per_image" / f"{name}.parquet"
            with write_parquet(path, _SCHEMA) as writer:
                writer.write_table(table)
        return _report(duck)


def _texts(out: Path, shards: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for name in shards:
        with pq.ParquetFile(ShardFiles.of(out, name).metadata) as file:
            for batch in file.iter_batches(
                BATCH_ROWS, columns=_TEXTS_SCHEMA.names, use_threads=False
            ):
                yield batch.select(_TEXTS_SCHEMA.names)


def _places(out: Path, shards: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Yield where each image stands: index of the shard and row within it."""
    for number, name in enumerate(shards):
        place = 0
        with pq.ParquetFile(ShardFiles.of(out, name).metadata) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=["sha256"], use_threads=False):
                end = place + batch.num_rows
                columns = [
                    pa.array(np.full(batch.num_rows, number, np.int32)),
                    pa.array(np.arange(place, end, dtype=np.int32)),
                    batch.column("sha256"),
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=_PLACES_SCHEMA)
                place = end


def _counts(
    duck: duckdb.DuckDBPyConnection, out: Path, shards: Sequence[str]
) -> Iterator[npt.NDArray[np.int32]]:
    """Yield for each shard how many texts the images of its rows have: (n,) int32.

    Only rows whose image has several are looked up and sorted: most have one.
    """
    sql = "SELECT shard, place, num_texts FROM places JOIN several USING (sha256) ORDER BY ALL"
    batches = stream(duck, sql)
    waiting = np.zeros((0, 3), np.int32)
    for number, name in enumerate(shards):
        num_rows = pq.read_metadata(ShardFiles.of(out, name).metadata).num_rows
        counts = np.ones(num_rows, np.int32)
        while True:
            here = waiting[:, 0] == number
            counts[waiting[here, 1]] = waiting[here, 2]
            waiting = waiting[~here]
            if len(waiting) or (batch := next(batches, None)) is None:
                break
            waiting = np.stack([column.to_numpy() for column in batch.columns], axis=1)
        yield counts


def _report(duck: duckdb.DuckDBPyConnection) -> PlaceholderReport:
    many = f"FROM several WHERE num_texts >= {MANY_TEXTS}"
    ((num_images, num_samples),) = duck.execute(
        f"SELECT count(*), coalesce(sum(num_samples), 0)::BIGINT {many}"
    ).fetchall()
    top = duck.execute(
        f"SELECT sha256, num_texts, num_samples {many} "
        f"ORDER BY num_texts DESC, num_samples DESC, sha256 LIMIT {NUM_SHOWN}"
    ).fetchall()
    return PlaceholderReport(
        num_images, num_samples, tuple(ImageTexts(sha256.hex(), *nums) for sha256, *nums in top)
    )
