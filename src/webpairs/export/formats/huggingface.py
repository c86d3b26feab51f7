"""Writing parquet that Hugging Face `datasets` and the Hub's viewer read as images and labels.

    README.md                                card, with the configs
    images/train-00000-of-00012.parquet      the page's features of the config images
    embeddings/train-00000-of-00012.parquet  those of the config embeddings

Each has the page's names in its order, then key, uid and the columns that were asked for. `image`
is a struct of bytes, as they are, and path (KEY.jpg), which `datasets` decodes when it is looked
at; nsfw is a ClassLabel; embeddings are lists of float16 of one length; ids of bytes are hex.
`nsfw` and `image` are told to `datasets` by the schema's metadata, all else by its arrow type.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.dataset.dataset import Dataset, open_dataset
from webpairs.dataset.features import CONFIGS, EMBEDDED, FEATURES, LABELS, TABULAR
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.dataset.sources.source import Embeddings
from webpairs.describe.card import COUNTED, CardFacts, card_of, code, count_values, no_counts
from webpairs.describe.croissant import table_folders
from webpairs.describe.info import run_status
from webpairs.errors import ConfigError
from webpairs.export.columns import (
    as_text,
    is_bytes,
    row_groups,
    set_column,
)
from webpairs.export.exporter import (
    SHARD_BYTES,
    Batch,
    OutputShard,
    Target,
    TargetReport,
    samples_for,
    wanted_configs,
)
from webpairs.export.formats.webdataset import image_extension
from webpairs.export.options import ExportOptions
from webpairs.files import write_whole
from webpairs.quantities import counted

SPLIT: Final = "train"
CHUNKING: Final = {"min_chunk_size": 256 * 1024, "max_chunk_size": 1024 * 1024, "norm_level": 0}
"""Where pages end depends on what is in them, so that after a removal a new upload sends what
changed alone. Source: `datasets`, DEFAULT_CDC_OPTIONS."""
_IMAGE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_IMAGE_LEAF: Final = "image.bytes"


class HuggingFaceExporter:
    """Writer of a folder of parquet for each config, and the card."""

    def __init__(self, options: ExportOptions) -> None:
        self._options = options

    def targets(self, dataset: Dataset) -> Sequence[Target]:
        """Return a target for each config that is there."""
        configs = wanted_configs(dataset, self._options.config)
        if not configs:
            raise ConfigError(
                f"--to huggingface: {dataset.source.folder} has metadata alone; "
                "use --to laion or csv"
            )
        return [self._target(dataset, config) for config in configs]

    def write_shard(self, shard: OutputShard, batches: Iterator[Batch]) -> None:
        """Write a file."""
        target = shard.target
        schema = _schema(target, self._names(target.config, target.columns))
        counts = no_counts()
        name = f"{SPLIT}-{shard.number:05d}-of-{shard.num_shards:05d}.parquet"
        with write_whole(target.folder / name) as temporary:
            with _writer(temporary, schema) as writer:
                for group, num_bytes in row_groups(batches):
                    count_values(counts, group.table)
                    writer.write_table(_table(schema, group))
                    shard.num_samples += group.num_rows
                    shard.num_bytes += num_bytes
            shard.facts["file_bytes"] = temporary.stat().st_size
            shard.facts["counts"] = {name: dict(found) for name, found in counts.items()}

    def finish(self, reports: Sequence[TargetReport]) -> None:
        """Write the card."""
        with write_whole(Path(self._options.out) / "README.md") as temporary:
            temporary.write_text(export_card(self._options, SPLIT, reports), encoding="utf-8")

    def _target(self, dataset: Dataset, config: str) -> Target:
        there = dataset.column_names
        counted = (name for name in COUNTED if name in there)  # the card says what they hold
        names = dict.fromkeys((*self._names(config, there), *counted))
        size = dataset.source.embedding_size
        images = config == "images"
        embedding_bytes = 0 if images or size is None else 2 * 2 * size
        return Target(
            config=config,
            folder=Path(self._options.out) / config,
            columns=tuple(name for name in names if name in TABULAR or name not in FEATURES),
            images=images,
            embeddings=not images,
            samples_per_shard=samples_for(
                SHARD_BYTES, dataset, images=images, embedding_bytes=embedding_bytes
            ),
        )

    def _names(self, config: str, there: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of a config; `there` are those that can be read."""
        uid = ("uid",) if "uid" in there else ()
        names = dict.fromkeys((*CONFIGS[config], "key", *uid, *(self._options.columns or ())))
        others = EMBEDDED if config == "images" else ("image",)
        return tuple(name for name in names if name not in others)


exporter = HuggingFaceExporter


def _schema(target: Target, names: Sequence[str]) -> pa.Schema:
    """Return the columns in order, with what `datasets` has to know beside their types."""
    assert target.schema is not None
    fields: list[pa.Field] = []
    for name in names:
        if name == "image":
            fields.append(pa.field(name, _IMAGE))
        elif name in EMBEDDED:
            fields.append(pa.field(name, pa.list_(pa.float16(), target.embedding_size or 0)))
        else:
            fields.append(pa.field(name, _written_type(target.schema.field(name).type)))
    features: dict[str, Any] = {"nsfw": {"names": LABELS, "_type": "ClassLabel"}}
    if target.images:
        features["image"] = {"_type": "Image"}
    told = orjson.dumps({"info": {"features": features}})
    return pa.schema(fields, {"huggingface": told})


def _written_type(type: pa.DataType) -> pa.DataType:
    """Return the type of a column of metadata: `datasets` knows all but maps and dictionaries."""
    if pa.types.is_dictionary(type):
        return type.value_type
    return pa.string() if is_bytes(type) or pa.types.is_map(type) else type


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Open a file: images and embeddings, which do not compress, are stored as they are."""
    leaves = _leaves(schema)
    stored = {leaf for leaf in leaves if leaf.split(".")[0] in EMBEDDED or leaf == _IMAGE_LEAF}
    options: dict[str, Any] = {
        "compression": {leaf: "none" if leaf in stored else "zstd" for leaf in leaves},
        "use_dictionary": [leaf for leaf in leaves if leaf not in stored],
        "column_encoding": dict.fromkeys(stored, "PLAIN"),
        "write_page_index": True,  # the viewer reads single pages by it
        "use_content_defined_chunking": CHUNKING,
    }
    return pq.ParquetWriter(path, schema, **options)


def _leaves(schema: pa.Schema) -> list[str]:
    """Return the paths of the columns of a parquet file, such as `image.bytes`."""
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink)
    columns = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    return [columns.column(place).path for place in range(len(columns))]


def _table(schema: pa.Schema, batch: Batch) -> pa.Table:
    table = batch.table
    for field in table.schema:
        if is_bytes(field.type) or pa.types.is_map(field.type):
            table = set_column(table, field.name, as_text(table.column(field.name)))
    if batch.images is not None:
        table = table.append_column("image", _images(table.column("key"), batch.images))
    if batch.image_embeddings is not None and batch.text_embeddings is not None:
        for name, rows in zip(
            EMBEDDED, (batch.image_embeddings, batch.text_embeddings), strict=True
        ):
            table = table.append_column(name, _lists(rows))
    return table.select(schema.names).cast(schema)


def _images(keys: pa.ChunkedArray, images: Sequence[bytes]) -> pa.Array:
    paths = [
        f"{key}.{image_extension(image)}"
        for key, image in zip(keys.to_pylist(), images, strict=True)
    ]
    columns = [pa.array(images, pa.binary()), pa.array(paths, pa.string())]
    return pa.StructArray.from_arrays(columns, fields=list(_IMAGE))


def _lists(rows: Embeddings) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])


def export_card(options: ExportOptions, split: str, reports: Sequence[TargetReport]) -> str:
    """Return the card; `facts` of the reports hold `counts` and `file_bytes` of each shard."""
    dataset = open_dataset(options.source)
    source = dataset.source
    configs = [report.target.config for report in reports]
    first = reports[0]
    facts = CardFacts(
        name=options.name,
        kind=f"an export of {source.kind}",
        num_samples=first.num_samples,
        num_shards=len(first.shard_samples),
        has_images="images" in configs,
        embedding_size=first.target.embedding_size if "embeddings" in configs else None,
        tables=tuple(table_folders(Path(options.out))),
        status=run_status(source.folder) if isinstance(source, RunFolder) else None,
        counts=_counts(first),
        loading=(*_what_was_exported(options, first, len(dataset)), "", *_loading(split, configs)),
    )
    return card_of(facts, _configs(split, reports))


def _counts(report: TargetReport) -> dict[str, Counter[str]]:
    counts = no_counts()
    for fact in report.facts:
        for name, found in fact["counts"].items():
            counts[name].update(found)
    return counts


def _configs(split: str, reports: Sequence[TargetReport]) -> dict[str, Any]:
    """Return the header's fields on where the files of each config are, and how much it is."""
    configs: list[dict[str, Any]] = []
    infos: list[dict[str, Any]] = []
    for report in reports:
        name = report.target.config
        files = [{"split": split, "path": f"{name}/{split}-*.parquet"}]
        default = {} if configs else {"default": True}
        configs.append({"config_name": name, **default, "data_files": files})
        size = {"num_bytes": report.num_bytes, "num_examples": report.num_samples}
        infos.append(
            {
                "config_name": name,
                "splits": [{"name": split, **size}],
                "download_size": sum(fact["file_bytes"] for fact in report.facts),
                "dataset_size": report.num_bytes,
            }
        )
    return {"configs": configs, "dataset_info": infos}


def _what_was_exported(options: ExportOptions, report: TargetReport, num_there: int) -> list[str]:
    """Say which of the source's samples these are, in which order."""
    chosen = "all samples" if options.where is None else f"the samples with {code(options.where)}"
    order = "" if options.shuffle is None else f", shuffled with seed {options.shuffle}"
    lines = [f"Exported from {counted(num_there, 'sample')}: {chosen}{order}."]
    if report.skipped:
        reasons = ", ".join(f"{num:,} {code(reason)}" for reason, num in report.skipped.items())
        lines.append(f"Left out, since they could not be read: {reasons}.")
    return lines


def _loading(split: str, configs: Sequence[str]) -> list[str]:
    calls = (f'{name} = load_dataset("DIR", "{name}", split="{split}")' for name in configs)
    return ["```python", "from datasets import load_dataset", "", *calls, "```"]
