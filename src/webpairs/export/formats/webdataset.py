"""Pack samples anew as WebDataset: what webdataset, open_clip, `datasets` and img2dataset know.

    00000.tar      KEY.jpg KEY.txt KEY.json of each sample, one after the other; images are the
                   bytes they were, under the extension of what they are; with `--config both`
                   also KEY.img_emb.npy KEY.text_emb.npy, float16 (d,)
    00000.tar.idx  n + 1 u64, little-endian: where each sample starts, and the end of the last one
    00000.parquet  the metadata, a row a sample in the order of the tar
    sizes.json     {"00000.tar": n, ...}: how open_clip knows how many samples there are

Keys are those of the source, so that all that names a sample by its key still does. They do not
begin with the number of the shard that a sample is in now, and the parquet says so, else webpairs
would take them for those of img2dataset's first version, which start anew in each shard. Samples
stand in the order in which they are exported: with `--shuffle` keys do not rise.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from webpairs.build.shard_writer import NOT_KNOWN
from webpairs.dataset.dataset import Dataset
from webpairs.dataset.features import TABULAR, feature_array, one_array, raw_name
from webpairs.dataset.sources.img2dataset import KEYS_ARE_UNIQUE
from webpairs.dataset.sources.tar import BLOCK, IMAGE_EXTENSIONS
from webpairs.errors import ConfigError
from webpairs.export.columns import (
    as_text,
    is_text,
    json_default,
    row_groups,
    with_label_names,
)
from webpairs.export.exporter import Batch, OutputShard, Target, TargetReport, wanted_configs
from webpairs.export.options import ExportOptions
from webpairs.files import write_json, write_parquet, write_whole
from webpairs.image.sniff import sniff

SAMPLES_PER_SHARD: Final = 10_000
"""As img2dataset and LAION-400M's tars: 150 MB at 256 pixels."""
BUFFER_BYTES: Final = 1_000_000
KEY_UNUSABLE: Final = "key_unusable"
"""A key that is not a name of a member of a tar: its sample is left out."""
_USABLE_KEY: Final = re.compile(r"(?![./])(?:[^\0]*/)?[^./\0]+")
_EXTENSIONS: Final = {"jpeg": "jpg", "tiff": "tif"}
"""Where what `sniff` says is not what readers look for."""

# The parts of a header that no file changes: mode 644, no owner, no time.
_NAME_BYTES: Final = 100
_TEMPLATE: Final = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)
_MODE: Final = _TEMPLATE[100:124]
_TIME: Final = _TEMPLATE[136:148]
_REST: Final = _TEMPLATE[156:]
_SUM: Final = sum(_MODE + _TIME + _REST) + 8 * ord(" ")
"""Of their bytes; the checksum counts as blanks."""
_ZEROS: Final = bytes(BLOCK)
_JSON_NAMES: Final = {
    # img2dataset's names, which readers of its tars know.
    "URL": "url",
    "TEXT": "caption",
    "WIDTH": "original_width",
    "HEIGHT": "original_height",
    "stored_width": "width",
    "stored_height": "height",
}


class WebDatasetExporter:
    """Writer of tars with their index and metadata."""

    def __init__(self, options: ExportOptions) -> None:
        if options.config == "embeddings":
            raise ConfigError(
                "--config embeddings: WebDataset is for images; use --config both, which adds "
                "embeddings to them, or --to laion"
            )
        self._options = options

    def targets(self, dataset: Dataset) -> Sequence[Target]:
        """Return one target: tars of images, and of embeddings only where they are asked for."""
        configs = wanted_configs(dataset, self._options.config or "images")
        return [
            Target(
                config="both" if "embeddings" in configs else "images",
                folder=Path(self._options.out),
                columns=columns_beside_images(dataset, self._options.columns),
                images=True,
                embeddings="embeddings" in configs,
                samples_per_shard=SAMPLES_PER_SHARD,
            )
        ]

    def write_shard(self, shard: OutputShard, batches: Iterator[Batch]) -> None:
        """Write a tar, its index and its metadata; the tar takes its name last."""
        folder, name = shard.target.folder, f"{shard.number:05d}"
        assert shard.target.schema is not None
        schema = with_label_names(shard.target.schema.empty_table()).schema
        schema = schema.with_metadata({KEYS_ARE_UNIQUE: b"in the dataset"})
        with ExitStack() as stack:
            temporary = stack.enter_context(write_whole(folder / f"{name}.tar"))
            index = stack.enter_context(write_whole(folder / f"{name}.tar.idx"))
            metadata = stack.enter_context(write_parquet(folder / f"{name}.parquet", schema))
            with temporary.open("wb", buffering=BUFFER_BYTES) as file:
                tar = TarOfSamples(file)
                usable = (_usable(shard, batch) for batch in batches)
                for group, _ in row_groups(usable):
                    table = with_label_names(group.table)
                    _add(tar, group, table)
                    metadata.write_table(table.cast(schema))
                    shard.num_samples += group.num_rows
                tar.close()
            tar.starts().tofile(index)
            shard.num_bytes = temporary.stat().st_size

    def finish(self, reports: Sequence[TargetReport]) -> None:
        """Write how many samples each tar has."""
        (report,) = reports
        sizes = {f"{place:05d}.tar": num for place, num in enumerate(report.shard_samples)}
        write_json(report.target.folder / "sizes.json", sizes)


exporter = WebDatasetExporter


class TarOfSamples:
    """A tar of samples that is written, and the place where each of them starts.

    The bytes are those that `tarfile` writes in its format ustar, with headers made in 2
    microseconds instead of 25; a name that ustar has no room for gets a header of GNU's before it.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._starts: list[int] = []
        self._place = 0

    def add(self, key: str, members: Sequence[tuple[str, bytes]]) -> None:
        """Add a sample: its members by extension."""
        self._starts.append(self._place)
        stem = key.encode()
        parts: list[bytes] = []
        for extension, data in members:
            header = _header(b"%b.%b" % (stem, extension.encode()), len(data))
            parts += (header, data, _ZEROS[: -len(data) % BLOCK])
        self._place += self._file.write(b"".join(parts))

    def close(self) -> None:
        """Write the end of the tar, filled up to a record as `tarfile` does."""
        self._starts.append(self._place)
        end = self._place + 2 * BLOCK
        self._file.write(bytes(2 * BLOCK + -end % tarfile.RECORDSIZE))

    def starts(self) -> npt.NDArray[np.uint64]:
        """Return where each sample starts and, once closed, where the last one ends."""
        return np.array(self._starts, "<u8")


def columns_beside_images(dataset: Dataset, chosen: Sequence[str] | None) -> tuple[str, ...]:
    """Return all columns of the source, or the chosen ones and what features are made from."""
    own = dataset.source.column_names
    if chosen is not None:
        needed = {raw_name(name, own) for name in TABULAR}
        own = tuple(name for name in own if name in needed or name in chosen)
    return tuple(dict.fromkeys(("key", *own)))


def image_extension(image: bytes) -> str:
    """Return the extension of an encoded image by its first bytes; jpg where these do not help."""
    kind = sniff(image) or ""
    extension = _EXTENSIONS.get(kind, kind)
    return extension if extension in IMAGE_EXTENSIONS else "jpg"


def _header(name: bytes, size: int) -> bytes:
    """Return the header of a file of this name and size."""
    if len(name) > _NAME_BYTES:
        member = tarfile.TarInfo(name.decode())
        member.size = size
        return member.tobuf(tarfile.GNU_FORMAT)
    digits = b"%011o\0" % size
    checksum = b"%06o\0 " % (_SUM + sum(name) + sum(digits))
    return b"".join((name.ljust(_NAME_BYTES, b"\0"), _MODE, digits, _TIME, checksum, _REST))


def _usable(shard: OutputShard, batch: Batch) -> Batch:
    """Return the samples of a batch whose keys can be names in a tar; the others are skipped."""
    keys = batch.table.column("key").to_pylist()
    usable = [_USABLE_KEY.fullmatch(key) is not None for key in keys]
    if all(usable):
        return batch
    for key, is_usable in zip(keys, usable, strict=True):
        if not is_usable:
            shard.skip(KEY_UNUSABLE, key, "no name of a member of a tar")
    chosen = np.flatnonzero(usable)
    images = [(batch.images or [])[place] for place in chosen.tolist()]
    embeddings = (
        None if rows is None else rows[chosen]
        for rows in (batch.image_embeddings, batch.text_embeddings)
    )
    return Batch(batch.table.take(pa.array(chosen)), images, *embeddings)


def _add(tar: TarOfSamples, batch: Batch, table: pa.Table) -> None:
    """Add the samples of a batch, with what `table` says of them."""
    texts = texts_of(table)
    described = json_rows(table)
    embeddings: list[list[tuple[str, bytes]]] = [[] for _ in texts]
    for kind, rows in (("img_emb", batch.image_embeddings), ("text_emb", batch.text_embeddings)):
        if rows is not None:
            header = _npy_header(rows.shape[1])
            for members, row in zip(embeddings, rows, strict=True):
                members.append((f"{kind}.npy", header + row.tobytes()))
    keys = table.column("key").to_pylist()
    for key, image, text, row, more in zip(
        keys, batch.images or [], texts, described, embeddings, strict=True
    ):
        members = [(image_extension(image), image), ("txt", text.encode()), ("json", row)]
        tar.add(key, members + more)


def texts_of(table: pa.Table) -> list[str]:
    """Return the captions of a table, whatever its column of them is called."""
    raw = raw_name("caption", table.column_names)
    column = None if raw is None else table.column(raw)
    return feature_array("caption", column, table.num_rows).to_pylist()


def json_rows(table: pa.Table) -> list[bytes]:
    """Return each row as JSON, under img2dataset's names where it has any; bytes as hex.

    Every row has the same members in the same types (`json_column`).
    """
    names = named_as_img2dataset(table).column_names
    columns = [json_column(one_array(column)) for column in table.columns]
    return [
        orjson.dumps(dict(zip(names, values, strict=True)), default=json_default)
        for values in zip(*columns, strict=True)
    ]


def named_as_img2dataset(table: pa.Table) -> pa.Table:
    """Return a table whose columns have img2dataset's names where it has any."""
    there = table.column_names
    better = [_JSON_NAMES.get(name, name) for name in there]
    names = [new if new not in there else old for old, new in zip(there, better, strict=True)]
    return table.rename_columns(names)


def json_column(array: pa.Array) -> list[Any]:
    """Return a column's values for JSON, none of them null, all of one type.

    `datasets` and others infer types from the first few samples. A text, time or list that is not
    known is an empty text, a number -1, a truth value false. Lists and structs are texts of JSON,
    as are integers that need all of 64 bits without a sign. The parquet beside the tar has nulls.
    """
    kind = array.type
    if pa.types.is_dictionary(kind):
        array = array.cast(kind.value_type)
        kind = array.type
    if pa.types.is_boolean(kind):
        return array.fill_null(False).to_pylist()
    if pa.types.is_floating(kind):
        values = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return np.where(np.isfinite(values), values, NOT_KNOWN).tolist()
    if pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
        return array.cast(pa.int64()).fill_null(int(NOT_KNOWN)).to_pylist()
    if is_text(kind) or pa.types.is_temporal(kind):
        return ["" if value is None else value for value in array.to_pylist()]
    return as_text(pa.chunked_array([array])).fill_null("").to_pylist()


def _npy_header(size: int) -> bytes:
    """Return what stands before the numbers of one embedding in an npy file."""
    header = io.BytesIO()
    np.save(header, np.zeros(size, np.float16))
    return header.getvalue()[: -2 * size]
