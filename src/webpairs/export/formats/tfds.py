"""Writing TFDS datasets: what `tfds.load` and `tfds.data_source` read, without TensorFlow or Beam.

    OUT/NAME/.config/metadata.json             the default config
    OUT/NAME/CONFIG/1.0.0/dataset_info.json features.json nsfw.labels.txt
    OUT/NAME/CONFIG/1.0.0/NAME-train.tfrecord-00000-of-00005     or .array_record-...

Under the name `laion400m` the features are encoded as TFDS's registered class of that name reads
them, which turns float64 and float16 into float32; under any other name they are exact, and every
sample has its `key`. `docs/tfds.md` says more.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa

from webpairs.dataset.dataset import Dataset
from webpairs.dataset.features import FEATURES, LABELS, TABULAR
from webpairs.dataset.problems import Problem
from webpairs.errors import ConfigError, DataError
from webpairs.export.exporter import (
    Batch,
    OutputShard,
    Target,
    TargetReport,
    samples_for,
    schema_of,
    wanted_configs,
)
from webpairs.export.formats.tensorflow_image import for_tensorflow
from webpairs.export.formats.tf_example import examples
from webpairs.export.formats.tfds_features import FeatureSpec, encode, feature_specs, features_json
from webpairs.export.formats.tfrecord import TFRecordWriter
from webpairs.export.options import DEFAULT_NAME, ExportOptions
from webpairs.files import write_json, write_whole
from webpairs.quantities import counted
from webpairs.version import __version__

VERSION: Final = "1.0.0"
SPLIT: Final = "train"
TRANSCODED: Final = "images that TensorFlow cannot decode, written as PNG"
SHARD_BYTES: Final = 100_000_000
"""TFDS itself makes shards of 64 to 128 MB until there are 1,024 of them."""
_ROWS_AT_ONCE: Final = 512
"""Rows of embeddings that are encoded at a time: 2 MB, copied about four times."""
_TEMPLATE: Final = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
_HOMEPAGE: Final = "https://laion.ai/blog/laion-400-open-dataset/"
_DESCRIPTION: Final = """\
Image-text pairs in the form of LAION-400M: images and the alternative texts that stand beside them
on web pages, with the cosine similarity of their CLIP embeddings."""
_CITATION: Final = """\
@article{DBLP:journals/corr/abs-2111-02114,
  author    = {Christoph Schuhmann and
               Richard Vencu and
               Romain Beaumont and
               Robert Kaczmarczyk and
               Clayton Mullis and
               Aarush Katta and
               Theo Coombes and
               Jenia Jitsev and
               Aran Komatsuzaki},
  title     = {{LAION-400M:} Open Dataset of CLIP-Filtered 400 Million Image-Text
               Pairs},
  journal   = {CoRR},
  volume    = {abs/2111.02114},
  year      = {2021},
  url       = {https://arxiv.org/abs/2111.02114},
  eprinttype = {arXiv},
  eprint    = {2111.02114},
  timestamp = {Fri, 05 Nov 2021 15:25:54 +0100},
  biburl    = {https://dblp.org/rec/journals/corr/abs-2111-02114.bib},
  bibsource = {dblp computer science bibliography, https://dblp.org}
}"""


class RecordWriter(Protocol):
    """Append records to a file."""

    def write(self, records: Iterable[bytes]) -> None:
        """Write records in their order."""
        ...


class TfdsExporter:
    """Writer of the page's two configs; see the module's docstring."""

    def __init__(self, options: ExportOptions) -> None:
        self._options = options
        self._format = "array_record" if options.to == "tfds-array-record" else "tfrecord"
        self._exact = options.name != DEFAULT_NAME
        if self._format == "array_record":
            check_array_record()

    def targets(self, dataset: Dataset) -> Sequence[Target]:
        """Return a target for each config."""
        configs = wanted_configs(dataset, self._options.config)
        source = dataset.source
        if not configs:
            raise ConfigError(
                f"{source.folder} ({source.kind}) has neither images nor embeddings, and TFDS's "
                f"{DEFAULT_NAME} has one or the other: use --to csv or --to laion"
            )
        columns = tuple(dict.fromkeys((*TABULAR, *self._extra)))
        schema = schema_of(dataset, columns)
        return [self._target(config, columns, schema, dataset) for config in configs]

    def write_shard(self, shard: OutputShard, batches: Iterator[Batch]) -> None:
        """Write the records of a shard; images that cannot be decoded are left out."""
        specs = self._specs(shard.target)
        path = shard.target.folder / self._file_name(shard.number, shard.num_shards)
        with write_whole(path) as temporary, self._writer(temporary) as writer:
            for batch in batches:
                for part in batch.parts(_ROWS_AT_ONCE):
                    readable = _readable(part, shard) if shard.target.images else part
                    records = examples([encode(spec, readable) for spec in specs])
                    writer.write(records)
                    shard.num_samples += len(records)
                    shard.num_bytes += sum(map(len, records))

    def finish(self, reports: Sequence[TargetReport]) -> None:
        """Write what TFDS looks at first."""
        for report in reports:
            folder = report.target.folder
            with write_whole(folder / "nsfw.labels.txt") as temporary:
                temporary.write_text("".join(f"{label}\n" for label in LABELS))
            write_json(folder / "features.json", features_json(self._specs(report.target)))
            write_json(folder / "dataset_info.json", self._info(report))
        home = Path(self._options.out) / self._options.name
        has_images = (home / "images" / VERSION / "dataset_info.json").exists()
        default = "images" if has_images else "embeddings"
        write_json(home / ".config" / "metadata.json", {"default_config_name": default})

    @property
    def _extra(self) -> tuple[str, ...]:
        """Return the columns beside the page's features."""
        asked = self._options.columns
        if asked is None:
            return ("key",) if self._exact else ()
        return tuple(name for name in asked if name not in FEATURES)

    def _target(
        self, config: str, columns: tuple[str, ...], schema: pa.Schema, dataset: Dataset
    ) -> Target:
        size = dataset.source.embedding_size
        images = config == "images"
        num_bytes = 0 if images or size is None else size * (4 if self._exact else 8)
        target = Target(
            config=config,
            folder=Path(self._options.out) / self._options.name / config / VERSION,
            columns=columns,
            images=images,
            embeddings=not images,
            samples_per_shard=samples_for(
                SHARD_BYTES, dataset, images=images, embedding_bytes=num_bytes
            ),
            even=True,
            schema=schema,
            embedding_size=size,
        )
        self._specs(target)
        return target

    def _specs(self, target: Target) -> tuple[FeatureSpec, ...]:
        assert target.schema is not None
        return feature_specs(
            target.config,
            target.schema,
            self._extra,
            embedding_size=target.embedding_size,
            exact=self._exact,
        )

    def _file_name(self, number: int, num_shards: int) -> str:
        name, of = self._options.name, f"{number:05d}-of-{num_shards:05d}"
        return f"{name}-{SPLIT}.{self._format}-{of}"

    @contextmanager
    def _writer(self, path: Path) -> Generator[RecordWriter]:
        if self._format == "array_record":
            from webpairs.export.formats.array_record import ArrayRecordFile

            with ArrayRecordFile(path) as file:
                yield file
        else:
            with path.open("wb") as file:
                yield TFRecordWriter(file)

    def _info(self, report: TargetReport) -> dict[str, Any]:
        """Return what stands in `dataset_info.json`."""
        options = self._options
        part = "" if options.where is None else f" where {options.where}"
        written = (
            f"{counted(report.num_samples, 'sample')}{part}, written by webpairs {__version__}."
        )
        return {
            "name": options.name,
            "version": VERSION,
            "configName": report.target.config,
            "description": f"{_DESCRIPTION}\n\n{written}",
            "citation": _CITATION,
            "location": {"urls": [_HOMEPAGE]},
            "releaseNotes": {VERSION: "Initial release."},
            "fileFormat": self._format,
            "splits": [
                {
                    "name": SPLIT,
                    "filepathTemplate": _TEMPLATE,
                    # As in protobuf's JSON, 64-bit integers are strings.
                    "numBytes": str(report.num_bytes),
                    "shardLengths": [str(num) for num in report.shard_samples],
                }
            ],
        }


exporter: Final = TfdsExporter


def check_array_record() -> None:
    """Raise ConfigError where the library for ArrayRecord files is not installed."""
    from importlib.util import find_spec

    if find_spec("array_record") is None:
        raise ConfigError(
            "--to tfds-array-record needs the library array_record: install webpairs[tfds], or use "
            "--to tfds"
        )


def _readable(batch: Batch, shard: OutputShard) -> Batch:
    """Return the batch with images that TensorFlow decodes, without those that nobody does."""
    assert batch.images is not None
    images: list[bytes] = []
    rows: list[int] = []
    for row, image in enumerate(batch.images):
        try:
            data, is_new = for_tensorflow(image)
        except DataError as error:
            key = batch.table.column("key")[row].as_py()
            shard.skip(str(Problem.IMAGE_BROKEN), key, str(error))
            continue
        if is_new:
            shard.noted[TRANSCODED] += 1
        images.append(data)
        rows.append(row)
    if len(rows) == batch.num_rows:
        return replace(batch, images=images)
    return replace(batch, images=images, table=batch.table.take(pa.array(rows, pa.int64())))
