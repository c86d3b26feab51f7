"""A shard on disk: names, the files a finished shard has, and how they are committed.

    images/00000.tar       WebDataset members <key>.<ext> <key>.txt <key>.json, adjacent, sorted
    images/00000.tar.idx   n + 1 u64 little-endian: each sample's start, then the last one's end
    metadata/00000.parquet, embeddings/{img,text}_emb/{img,text}_emb_00000.npy (n, d) float16
    drops/00000.parquet
    stats/00000.json       counts, bytes, seconds, SHA-256 of the files above: the commit mark

Row i of every file is the same sample. All but the stats depend on content alone.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.build.journal import JournalEntry, ShardJournal
from webpairs.files import sync, temporary_name, write_json
from webpairs.run_folder.layout import ROW_GROUP_ROWS, ShardFiles
from webpairs.run_folder.rows import DroppedCandidate, Sample
from webpairs.run_folder.schema import DROPS, METADATA, arrow_schema

GivenColumns = tuple[tuple[str, str], ...]
"""Name and arrow type of each column that a table has beside those webpairs knows."""

METADATA_SCHEMA: Final = arrow_schema(METADATA)
DROPS_SCHEMA: Final = arrow_schema(DROPS)
PENDING_ROWS: Final = 4_096
NOT_KNOWN: Final = -1.0
"""A number that is not known, where null is not at hand. Source: TFDS `laion400m`."""
_GIVEN: Final = "given"


class ShardWriter:
    """Collection of a shard's samples and drops, in row order, and commit them once.

    The tar streams to a temporary file; rows and embeddings wait in memory (bounded by the
    shard's size). Samples and drops may come in any order: `commit` puts them in that of the keys
    and of the candidates. Leaving the `with` block without `commit` removes everything.
    """

    def __init__(
        self,
        files: ShardFiles,
        given_columns: GivenColumns = (),
        journal: ShardJournal | None = None,
    ) -> None:
        """`given_columns` are the names and types of a table's own columns (`extract.table`).

        With a `journal` the tar grows in its folder, and `note` writes all else there.
        """
        self._files = files
        self._journal = journal
        self._given_columns = given_columns
        self._temporary = {path: temporary_name(path) for path in files.data}
        self._stack = ExitStack()
        if journal is not None:
            self._temporary[files.tar] = journal.tar
        self._tar: tarfile.TarFile | None = None
        self._tar_file: BinaryIO
        self._starts: list[int] = []
        self._keys: list[str] = []
        self._drop_numbers: list[int] = []
        self._rows = _Rows(METADATA_SCHEMA.append(pa.field(_GIVEN, pa.string())))
        self._drops = _Rows(DROPS_SCHEMA)
        self._image_embeddings: list[npt.NDArray[np.float16]] = []
        self._text_embeddings: list[npt.NDArray[np.float16]] = []

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, *error: object) -> None:
        # Closing a tar writes its end, which on a full disk fails as well.
        with suppress(OSError):
            self._stack.close()
        if self._journal is not None:
            self._temporary.pop(self._files.tar)
        for temporary in self._temporary.values():
            temporary.unlink(missing_ok=True)

    def add_sample(
        self,
        row: Sample,
        image: bytes,
        extension: str,
        embeddings: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None,
    ) -> None:
        """Add one sample: `row` has the metadata columns, and `given` where it came from a table.

        `embeddings` of image and text are (d,) float32, None for all samples of a dataset that has
        none.
        """
        tar = self._open_tar()
        key = row["key"]
        self._keys.append(key)
        self._starts.append(tar.offset)
        for suffix, data in (
            (extension, image),
            ("txt", row["TEXT"].encode()),
            ("json", sample_json(row, with_given=bool(self._given_columns))),
        ):
            # TarInfo's defaults are what makes tars equal: mtime 0, owner 0, mode 644.
            member = tarfile.TarInfo(f"{key}.{suffix}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        self._rows.add(row)
        if embeddings is not None:
            self._image_embeddings.append(embeddings[0].astype(np.float16))
            self._text_embeddings.append(embeddings[1].astype(np.float16))

    def add_drop(self, number: int, row: DroppedCandidate) -> None:
        """Add one dropped candidate, the shard's `number`th: `row` has the drops columns."""
        self._drop_numbers.append(number)
        self._drops.add(row)

    def restore(self) -> list[JournalEntry]:
        """Take over what the journal holds of this shard; return its entries."""
        if self._journal is None:
            return []
        self._journal.tar.parent.mkdir(parents=True, exist_ok=True)
        # A run that was killed in the middle of a commit had renamed the tar already.
        if not self._journal.tar.exists() and self._files.tar.exists():
            self._files.tar.rename(self._journal.tar)
        entries = self._journal.replay()
        for entry in entries:
            self._keys += entry.rows.column("key").to_pylist()
            self._starts += entry.tar_starts
            self._drop_numbers += entry.drop_numbers
            self._rows.take(entry.rows)
            self._drops.take(entry.drops)
            self._image_embeddings += list(entry.embeddings[0])
            self._text_embeddings += list(entry.embeddings[1])
        if self._keys:
            self._open_tar(entries[-1].tar_end)
        return entries

    def note(self, facts: Callable[[], dict[str, Any]]) -> None:
        """Write what is new into the journal, if it is time; `facts` is kept beside it."""
        if self._journal is None or not self._journal.is_due():
            return
        if self._tar is not None:
            file = self._tar_file
            file.flush()
            os.fdatasync(file.fileno())
        rows, drops = self._rows.fresh(), self._drops.fresh()
        first, end = len(self._keys) - rows.num_rows, len(self._keys)
        pairs = [self._image_embeddings[first:end], self._text_embeddings[first:end]]
        self._journal.append(
            JournalEntry(
                rows=rows,
                drops=drops,
                tar_starts=self._starts[first:],
                tar_end=0 if self._tar is None else self._tar.offset,
                drop_numbers=self._drop_numbers[len(self._drop_numbers) - drops.num_rows :],
                embeddings=np.array(pairs) if pairs[0] else np.zeros((2, 0, 0), np.float16),
                facts=facts(),
            )
        )

    def commit(self, stats: Mapping[str, object]) -> None:
        """Sync every file, rename them to their names, and write the commit mark last."""
        written = self._write_files()
        digests = {path: _digest(self._temporary[path]) for path in written}
        for path in written:
            sync(self._temporary[path])
        for path in self._files.data:
            if path in written:
                self._temporary[path].replace(path)
            else:
                path.unlink(missing_ok=True)
        for folder in {path.parent for path in written}:
            sync(folder)
        root = self._files.stats.parent.parent
        files = {
            path.relative_to(root).as_posix(): {"bytes": path.stat().st_size, "sha256": digest}
            for path, digest in digests.items()
        }
        write_json(self._files.stats, {**stats, "files": files})
        if self._journal is not None:
            self._journal.remove()

    def _open_tar(self, end: int = 0) -> tarfile.TarFile:
        """Return the tar, open to go on at byte `end`."""
        if self._tar is None:
            path = self._temporary[self._files.tar]
            path.parent.mkdir(parents=True, exist_ok=True)
            file = self._stack.enter_context(path.open("r+b" if end else "wb"))
            file.truncate(end)
            file.seek(end)
            self._tar_file = file
            self._tar = self._stack.enter_context(
                tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)
            )
        return self._tar

    def _write_files(self) -> list[Path]:
        """Write all temporary files and return the final names of those that are not empty."""
        files = self._files
        written: list[Path] = []
        if self._tar is not None:
            end = self._tar.offset
            self._tar.close()
            self._tar_file.close()
            order = np.argsort(np.array(self._keys), kind="stable")
            starts = np.array([*self._starts, end], dtype="<u8")
            if (order[1:] < order[:-1]).any():
                starts = self._sort_tar(order, starts)
            self._path(files.index).write_bytes(starts.tobytes())
            rows = _with_given_columns(self._rows.table(order), self._given_columns)
            _write_rows(self._path(files.metadata), rows)
            written += [files.tar, files.index, files.metadata]
            if self._image_embeddings:
                for path, rows in (
                    (files.image_embeddings, self._image_embeddings),
                    (files.text_embeddings, self._text_embeddings),
                ):
                    write_npy(self._path(path), [rows[place] for place in order])
                    written.append(path)
        if len(self._drops):
            order = np.argsort(np.array(self._drop_numbers), kind="stable")
            _write_rows(self._path(files.drops), self._drops.table(order))
            written.append(files.drops)
        return written

    def _sort_tar(
        self, order: npt.NDArray[np.int64], starts: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.uint64]:
        """Write the tar anew with its samples in `order`; return where they start now.

        A sample's members are one range of bytes that does not depend on its place.
        """
        unsorted = self._temporary[self._files.tar]
        # Beside the journal's tar, which its entries are about until the shard is committed.
        in_order = temporary_name(self._files.tar.with_suffix(".sorted"))
        in_order.parent.mkdir(parents=True, exist_ok=True)
        self._temporary[in_order] = in_order
        sizes = np.diff(starts)[order]
        ends = starts[order] + sizes
        with unsorted.open("rb") as source, in_order.open("wb") as target:
            for start, stop in zip(starts[order].tolist(), ends.tolist(), strict=True):
                source.seek(start)
                target.write(source.read(stop - start))
            source.seek(int(starts[-1]))
            target.write(source.read())  # the end of a tar
        if self._journal is None:
            unsorted.unlink()
        self._temporary[self._files.tar] = in_order
        return np.concatenate((np.zeros(1, "<u8"), np.cumsum(sizes, dtype="<u8")))

    def _path(self, path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        return self._temporary[path]


def sample_json(row: Sample, *, with_given: bool) -> bytes:
    """Return the tar's `.json` member: img2dataset's names first, so that its readers work.

    Every sample of a dataset has the same members in the same types, because readers such as
    `datasets` infer types from the first few samples: a text that is not known is empty, a number
    is -1, and a table's own columns are one text of JSON (`with_given`). Times stay out of it: the
    tar depends on content alone.
    """
    similarity = row["similarity"]
    offset = row["crawl_offset"]
    return orjson.dumps(
        {
            "url": row["URL"],
            "caption": row["TEXT"],
            "key": row["key"],
            "uid": row["uid"].hex(),
            "width": row["stored_width"],
            "height": row["stored_height"],
            "original_width": row["WIDTH"],
            "original_height": row["HEIGHT"],
            "sha256": row["sha256"].hex(),
            "stored_sha256": row["stored_sha256"].hex(),
            "similarity": NOT_KNOWN if similarity is None else similarity,
            "NSFW": row["NSFW"] or "",
            "LICENSE": row["LICENSE"] or "",
            "license_id": row["license_id"] or "",
            "language": row["language"] or "",
            "page_url": row["page_url"] or "",
            "crawl_file": row["crawl_file"] or "",
            "crawl_offset": int(NOT_KNOWN) if offset is None else offset,
        }
        | ({"given": row.get(_GIVEN) or "{}"} if with_given else {})
    )


class _Rows:
    """Rows as arrow tables of a few thousand: a tenth of the memory of dicts."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._tables: list[pa.Table] = []
        self._pending: list[Mapping[str, Any]] = []
        self._num_noted = 0
        """Tables that the journal has."""

    def __len__(self) -> int:
        return sum(table.num_rows for table in self._tables) + len(self._pending)

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row; columns that `row` lacks are null."""
        self._pending.append(row)
        if len(self._pending) >= PENDING_ROWS:
            self._convert()

    def take(self, rows: pa.Table) -> None:
        """Append rows that the journal has."""
        self._tables.append(rows)
        self._num_noted = len(self._tables)

    def fresh(self) -> pa.Table:
        """Return the rows that the journal does not have yet, which it gets now."""
        self._convert()
        fresh = self._tables[self._num_noted :]
        self._num_noted = len(self._tables)
        return pa.concat_tables(fresh) if fresh else self._schema.empty_table()

    def table(self, order: npt.NDArray[np.int64]) -> pa.Table:
        """Return the rows in `order`."""
        self._convert()
        return pa.concat_tables(self._tables).take(pa.array(order)).combine_chunks()

    def _convert(self) -> None:
        if not self._pending:
            return
        self._tables.append(pa.Table.from_pylist(self._pending, self._schema))
        self._pending = []


def _with_given_columns(rows: pa.Table, given_columns: GivenColumns) -> pa.Table:
    """Replace the column `given` by the columns it holds."""
    given = rows.column(_GIVEN).to_pylist()
    rows = rows.drop_columns([_GIVEN])
    if given_columns:
        from webpairs.run_folder.given import given_arrays

        arrays = given_arrays(given, given_columns)
        for (name, _), array in zip(given_columns, arrays, strict=True):
            rows = rows.append_column(name, array)
    return rows


def _write_rows(path: Path, rows: pa.Table) -> None:
    """Write parquet whose bytes depend on the rows alone."""
    pq.write_table(rows, path, compression="zstd", row_group_size=ROW_GROUP_ROWS)


def write_npy(path: Path, rows: Iterable[npt.NDArray[np.float16]]) -> None:
    """Write (n, d) float16 embeddings."""
    stacked = np.stack(list(rows))
    header = np.lib.format.header_data_from_array_1_0(stacked)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        # Not np.save, which does not say when the disk is full (its error has no errno).
        file.write(stacked.data)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
