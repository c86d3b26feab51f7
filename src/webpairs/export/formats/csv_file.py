"""Writing metadata as CSV, a header and a line a sample: what spreadsheets and img2dataset take.

    NNNNN.csv   url, caption, nsfw, license, original_width, original_height, similarity, key, uid,
                and the columns that were asked for

RFC 4180 in UTF-8 without a byte order mark, lines end with a line feed; all texts are quoted and
nothing else is, so that an empty text differs from a null. A text is written as it is, with the
line ends and zero bytes that it has, but that one which a spreadsheet would take for a formula gets
an apostrophe before it. nsfw is the label's name, bytes are hex, lists JSON, and
times look like 2024-01-02 03:04:05.678Z.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.csv

from webpairs.dataset.dataset import Dataset
from webpairs.dataset.features import one_array
from webpairs.errors import ConfigError
from webpairs.export.columns import as_text, is_text, pc, set_column, with_label_names
from webpairs.export.exporter import Batch, OutputShard, Target, TargetReport
from webpairs.export.options import ExportOptions
from webpairs.files import write_whole

COLUMNS: Final = (
    "url",
    "caption",
    "nsfw",
    "license",
    "original_width",
    "original_height",
    "similarity",
    "key",
)
SAMPLES_PER_SHARD: Final = 1_000_000


class CsvExporter:
    """Writer of one table, in files of many lines."""

    def __init__(self, options: ExportOptions) -> None:
        if options.config is not None:
            raise ConfigError(
                f"--config {options.config}: CSV has metadata alone; leave --config out, or use "
                "--to webdataset for images and --to laion for embeddings"
            )
        self._options = options

    def targets(self, dataset: Dataset) -> Sequence[Target]:
        """Return one target, whatever the source has beside metadata."""
        uid = ("uid",) if "uid" in dataset.column_names else ()
        return [
            Target(
                config="metadata",
                folder=Path(self._options.out),
                columns=tuple(dict.fromkeys((*COLUMNS, *uid, *(self._options.columns or ())))),
                images=False,
                embeddings=False,
                samples_per_shard=SAMPLES_PER_SHARD,
            )
        ]

    def write_shard(self, shard: OutputShard, batches: Iterator[Batch]) -> None:
        """Write a file."""
        target = shard.target
        assert target.schema is not None
        with write_whole(target.folder / f"{shard.number:05d}.csv") as temporary:
            tables = _counted(shard, batches)
            write_csv(temporary, target.columns, target.schema, tables)
            shard.num_bytes = temporary.stat().st_size

    def finish(self, reports: Sequence[TargetReport]) -> None:
        """Write nothing: the files say all."""


exporter = CsvExporter


def write_csv(
    path: Path, columns: Sequence[str], schema: pa.Schema, tables: Iterator[pa.Table]
) -> None:
    """Write these columns of tables that have the columns of `schema`."""
    options = pyarrow.csv.WriteOptions(quoting_style="needed")  # it quotes every text
    written = _plain(schema.empty_table().select(columns)).schema
    with pyarrow.csv.CSVWriter(path, written, write_options=options) as writer:
        for table in tables:
            writer.write_table(_plain(table.select(columns)))


def without_formulas(texts: pa.Array) -> pa.Array:
    """Return texts with an apostrophe before each that a spreadsheet would take for a formula.

    And before each that begins with apostrophes and then so, so that taking one apostrophe off
    gives every text back. Source of the characters: OWASP, "CSV Injection".
    """
    return pc.replace_substring_regex(texts, r"\A('*[=+\-@\t\r\n])", r"'\1")


def _counted(shard: OutputShard, batches: Iterator[Batch]) -> Iterator[pa.Table]:
    for batch in batches:
        yield batch.table
        shard.num_samples += batch.num_rows


def _plain(table: pa.Table) -> pa.Table:
    """Return columns as they are written: text, numbers and truth values."""
    table = with_label_names(table)
    for field in table.schema:
        if is_text(field.type):
            text = without_formulas(one_array(table.column(field.name)))
            table = set_column(table, field.name, text)
            continue
        plain = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        if not plain and not pa.types.is_boolean(field.type):
            table = set_column(table, field.name, as_text(table.column(field.name)))
    return table
