"""Verifying one shard of a run folder: its files against its stats, and against each other."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.build.shard_writer import DROPS_SCHEMA
from webpairs.dataset.features import LABELS
from webpairs.dataset.sources.mapped import MappedArray
from webpairs.dataset.sources.run_folder import COLUMNS
from webpairs.drops import Drop
from webpairs.engine.link import Link
from webpairs.files import open_regular, read_regular
from webpairs.ids import uids_of
from webpairs.parquet.file import UNREADABLE, open_bounded
from webpairs.quantities import counted
from webpairs.run_folder.layout import ShardFiles
from webpairs.run_folder.schema import METADATA
from webpairs.verify.findings import Fault, Findings
from webpairs.verify.ids import FLOAT16_NOISE, check_norms
from webpairs.verify.tar import RunTar

BATCH_ROWS: Final = 1_024
CHUNK_BYTES: Final = 4_000_000
_READ: Final = (
    *("SAMPLE_ID", "URL", "TEXT", "HEIGHT", "WIDTH", "LICENSE", "NSFW", "similarity", "key", "uid"),
    *("sha256", "stored_sha256", "stored_width", "stored_height", "language", "license_id"),
    *("page_url", "crawl_file", "crawl_offset"),
)
"""What is looked at of the metadata: the ids, and what the tar repeats."""
_SENSITIVE: Final = ("uid", "url_hash", "reason", "stage", "signal")
"""All that a drop for a sensitive reason may keep."""


@dataclass(frozen=True, slots=True)
class ShardUnit:
    """Which shard is to be verified, and what its run says of all shards."""

    out: Path
    name: str
    key_width: int
    embedding_size: int | None
    """None when nothing was embedded."""
    threshold: float | None
    columns: tuple[str, ...]
    """Names of the column files."""
    deep: bool


@dataclass(frozen=True, slots=True)
class ShardReport:
    """What was found in a shard, and how many samples it has."""

    findings: Findings
    num_samples: int


def verify_shard(unit: ShardUnit, link: Link) -> ShardReport:
    """Verify one shard; reports the MB of its files that are done."""
    check = _Check(unit, link)
    num_samples = check.run()
    return ShardReport(check.findings, num_samples)


def data_bytes(out: Path, name: str) -> int:
    """Return how many bytes the files of a shard have."""
    return sum(_size(path) for path in ShardFiles.of(out, name).data)


class _Check:
    def __init__(self, unit: ShardUnit, link: Link) -> None:
        self.unit = unit
        self.files = ShardFiles.of(unit.out, unit.name)
        self.findings = Findings()
        self._link = link
        self._left = data_bytes(unit.out, unit.name)

    def run(self) -> int:
        """Check everything; return how many samples there are."""
        keys: list[str] = []
        stats = self._read_stats()
        if stats is not None:
            self._check_files(stats)
            keys = self._check_samples(stats["samples"])
            self._check_column_files(keys)
            self._check_drops(stats["drops"])
        self._tell(self._left)
        return len(keys)

    def _add(self, fault: Fault, path: Path, detail: str, key: str = "") -> None:
        self.findings.add(fault, path.relative_to(self.unit.out).as_posix(), detail, key)

    def _tell(self, num_bytes: int) -> None:
        told = min(num_bytes, self._left)
        self._left -= told
        self._link.report({"done": told / 1e6})

    def _read_stats(self) -> dict[str, Any] | None:
        """Return the stats, None when they are not what a build writes."""
        path = self.files.stats
        stats: dict[str, Any] = {}
        try:
            stats = orjson.loads(read_regular(path))
            wrong = _wrong_stats(stats, self.unit.name)
        except (OSError, ValueError) as error:
            wrong = str(error)
        if wrong is not None:
            self._add(Fault.STATS_BROKEN, path, wrong)
            return None
        num_dropped = sum(stats["drops"].values())
        if stats["candidates"] != stats["samples"] + num_dropped:
            self._add(
                Fault.COUNT_WRONG,
                path,
                f"{stats['candidates']} candidates are not {stats['samples']} samples and "
                f"{num_dropped} drops",
            )
        return stats

    def _check_files(self, stats: dict[str, Any]) -> None:
        """Compare the files with the digests in the stats."""
        files = self.files
        wanted: list[Path] = []
        if stats["samples"]:
            wanted += [files.tar, files.index, files.metadata]
            if self.unit.embedding_size is not None:
                wanted += [files.image_embeddings, files.text_embeddings]
        if stats["drops"]:
            wanted.append(files.drops)
        names = {path.relative_to(self.unit.out).as_posix(): path for path in wanted}
        listed: dict[str, Any] = stats["files"]
        for name in sorted({*names, *listed}):
            if name not in listed:
                self._add(Fault.STATS_BROKEN, files.stats, f"{name} is not among its files")
            elif name not in names:
                detail = f"{name} is none of the files that its counts ask for"
                self._add(Fault.STATS_BROKEN, files.stats, detail)
            else:
                self._check_digest(names[name], listed[name])
        for path in files.data:
            if path not in wanted and path.exists():
                self._add(Fault.STRANGER, path, "its shard has no such file, by its stats")

    def _check_digest(self, path: Path, fact: dict[str, Any]) -> None:
        size = _size(path)
        if not path.is_file():
            self._add(Fault.FILE_MISSING, path, "the stats of its shard name it")
            return
        digest = hashlib.sha256()
        try:
            with open_regular(path) as file:
                while chunk := file.read(CHUNK_BYTES):
                    digest.update(chunk)
                    # The tar counts as done when its samples are.
                    self._tell(0 if path == self.files.tar else len(chunk))
        except OSError as error:
            self._add(Fault.FILE_BROKEN, path, str(error))
            return
        if size != fact["bytes"]:
            self._add(Fault.FILE_CHANGED, path, f"{size} bytes, {fact['bytes']} by the stats")
        elif digest.hexdigest() != fact["sha256"]:
            detail = f"SHA-256 {digest.hexdigest()}, {fact['sha256']} by the stats"
            self._add(Fault.FILE_CHANGED, path, detail)

    def _check_samples(self, num_declared: int) -> list[str]:
        """Go over the rows with their members and embeddings; return the keys."""
        path = self.files.metadata
        keys: list[str] = []
        if not path.is_file():
            return keys  # told with the files, or there are no samples
        try:
            with open_bounded(path) as file:
                if not self._check_schema(file.schema_arrow):
                    return keys
                keys = file.read(["key"]).column("key").to_pylist()
                if len(keys) != num_declared:
                    detail = (
                        f"{counted(len(keys), 'row')}, {counted(num_declared, 'sample')} "
                        "by the stats"
                    )
                    self._add(Fault.COUNT_WRONG, path, detail)
                self._check_keys(keys)
                tar = RunTar(self.files, keys, self.findings, self.unit.out)
                vectors = self._open_embeddings(len(keys))
                start = 0
                names = [name for name in _READ if name in file.schema_arrow.names]
                for batch in file.iter_batches(BATCH_ROWS, columns=names):
                    rows = batch.select(names).to_pylist()
                    self._check_rows(rows)
                    if vectors is not None:
                        self._check_embeddings(vectors, start, rows)
                    self._check_in_tar(tar, rows)
                    start += len(rows)
        except UNREADABLE as error:
            self._add(Fault.FILE_BROKEN, path, _first_line(error))
        return keys

    def _check_schema(self, schema: pa.Schema) -> bool:
        """Compare the columns with those that a build writes; say whether rows can be checked."""
        path = self.files.metadata
        wrong = False
        for column in METADATA:
            if column.name in schema.names:
                found = schema.field(column.name).type
                if found != column.type:
                    detail = f"{column.name} is {found}, not {column.type}"
                    self._add(Fault.SCHEMA_WRONG, path, detail)
                    wrong = True
            elif not column.nullable or column.name in _READ:
                self._add(Fault.SCHEMA_WRONG, path, f"it has no column {column.name}")
                wrong = True
        return not wrong

    def _check_keys(self, keys: Sequence[str]) -> None:
        path, unit = self.files.metadata, self.unit
        before = ""
        for key in keys:
            if len(key) != unit.key_width or not key.isdigit() or not key.startswith(unit.name):
                detail = f"keys of this shard are {unit.name} and a row, {unit.key_width} digits"
                self._add(Fault.KEY_WRONG, path, detail, key)
            if key == before:
                self._add(Fault.KEY_REPEATED, path, "the row before has it too", key)
            elif key < before:
                self._add(Fault.ORDER_WRONG, path, f"it stands after {before}", key)
            before = key

    def _check_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Check what a row says of itself."""
        path = self.files.metadata
        uids = uids_of([row["URL"] for row in rows], [row["TEXT"] for row in rows])
        for row, uid in zip(rows, uids, strict=True):
            key = row["key"]
            if key.isdigit() and row["SAMPLE_ID"] != int(key):
                self._add(Fault.KEY_WRONG, path, f"SAMPLE_ID is {row['SAMPLE_ID']}", key)
            if row["uid"] != uid:
                detail = f"uid is {row['uid'].hex()}, that of its URL and TEXT {uid.hex()}"
                self._add(Fault.UID_WRONG, path, detail, key)
            if row["NSFW"] is not None and row["NSFW"] not in LABELS:
                self._add(Fault.VALUE_WRONG, path, f"NSFW is {row['NSFW']!r}", key)
            self._check_similarity(row["similarity"], key)

    def _check_similarity(self, similarity: float | None, key: str) -> None:
        path, threshold = self.files.metadata, self.unit.threshold
        if similarity is None:
            if self.unit.embedding_size is not None:
                self._add(Fault.VALUE_WRONG, path, "similarity is null in a scored dataset", key)
        elif not abs(similarity) <= 1 + FLOAT16_NOISE:
            self._add(Fault.VALUE_WRONG, path, f"similarity {similarity} is not a cosine", key)
        elif threshold is not None and similarity < threshold:
            detail = f"similarity {similarity} is below the threshold {threshold}"
            self._add(Fault.VALUE_WRONG, path, detail, key)

    def _check_in_tar(self, tar: RunTar, rows: Sequence[dict[str, Any]]) -> None:
        """Compare rows with their members."""
        done = 0
        for row in rows:
            sample = tar.by_key.get(row["key"])
            if sample is None:
                continue  # told when the tar was opened
            tar.check_texts(sample, row)
            done += tar.check_image(sample, row, deep=self.unit.deep)
        tar.release(rows)
        self._tell(done)

    def _open_embeddings(self, num_rows: int) -> tuple[MappedArray, MappedArray] | None:
        """Map both files; None when one cannot be used, which is told."""
        if self.unit.embedding_size is None:
            return None
        shape = (num_rows, self.unit.embedding_size)
        opened: list[MappedArray] = []
        for path in (self.files.image_embeddings, self.files.text_embeddings):
            if not path.is_file():
                continue  # told with the files
            try:
                array = MappedArray(path)
            except UNREADABLE as error:
                self._add(Fault.FILE_BROKEN, path, _first_line(error))
                continue
            if array.rows.dtype != np.dtype("<f2"):
                self._add(Fault.SCHEMA_WRONG, path, f"{array.rows.dtype}, not float16")
            elif array.rows.shape != shape:
                self._add(Fault.COUNT_WRONG, path, f"shape {array.rows.shape}, not {shape}")
            else:
                opened.append(array)
        return (opened[0], opened[1]) if len(opened) == 2 else None

    def _check_embeddings(
        self, vectors: tuple[MappedArray, MappedArray], start: int, rows: Sequence[dict[str, Any]]
    ) -> None:
        end = start + len(rows)
        keys = [row["key"] for row in rows]
        paths = (self.files.image_embeddings, self.files.text_embeddings)
        image, text = (array.rows[start:end].astype(np.float64) for array in vectors)
        for path, part in zip(paths, (image, text), strict=True):
            name = path.relative_to(self.unit.out).as_posix()
            check_norms(part, keys, name, self.findings)
        if self.unit.deep:
            products = np.einsum("nd,nd->n", image, text)
            wanted = np.array([row["similarity"] for row in rows], np.float64)  # null: NaN
            for place in np.flatnonzero(np.abs(products - wanted) > FLOAT16_NOISE).tolist():
                detail = f"the product of its embeddings is {products[place]:.6f}, its similarity "
                self._add(
                    Fault.SIMILARITY_WRONG, paths[0], f"{detail}{wanted[place]:.6f}", keys[place]
                )
        for array in vectors:
            array.release(start, end - 1)

    def _check_column_files(self, keys: Sequence[str]) -> None:
        """Compare the keys of column files with those of the metadata."""
        for name in self.unit.columns:
            path = self.unit.out / COLUMNS / name / f"{self.unit.name}.parquet"
            if not path.is_file():
                if keys:
                    self._add(Fault.FILE_MISSING, path, "other shards have this column")
                continue
            try:
                with open_bounded(path) as file:
                    if "key" not in file.schema_arrow.names:
                        self._add(Fault.SCHEMA_WRONG, path, "it has no column key")
                        continue
                    found = [key for (key,) in _rows(file, ["key"])]
                    for _ in file.iter_batches(BATCH_ROWS):  # every page can be read
                        pass
            except UNREADABLE as error:
                self._add(Fault.FILE_BROKEN, path, _first_line(error))
                continue
            known = set(keys)
            counted = Counter(found)
            for key in keys:
                if not counted[key]:
                    self._add(Fault.COLUMN_KEYS_WRONG, path, "it has no such key", key)
            for key, num in counted.items():
                if key not in known:
                    detail = "the metadata has no such key"
                    self._add(Fault.COLUMN_KEYS_WRONG, path, detail, str(key))
                elif num > 1:
                    self._add(Fault.COLUMN_KEYS_WRONG, path, f"it has this key {num} times", key)

    def _check_drops(self, declared: dict[str, int]) -> None:
        """Count the drops by reason, and look for what sensitive ones must not keep."""
        path = self.files.drops
        if not path.is_file():
            return  # told with the files, or there are no drops
        counts: Counter[str] = Counter()
        try:
            with open_bounded(path) as file:
                missing = [name for name in _SENSITIVE if name not in file.schema_arrow.names]
                if missing:
                    self._add(Fault.SCHEMA_WRONG, path, f"it has no column {', '.join(missing)}")
                    return
                for batch in file.iter_batches(BATCH_ROWS):
                    counts.update(self._check_drop_rows(batch))
        except UNREADABLE as error:
            self._add(Fault.FILE_BROKEN, path, _first_line(error))
            return
        for reason in sorted({*counts, *declared}):
            if counts[reason] != declared.get(reason, 0):
                detail = f"{counts[reason]} rows of {reason}, {declared.get(reason, 0)} by the "
                self._add(Fault.COUNT_WRONG, path, f"{detail}stats")

    def _check_drop_rows(self, batch: pa.RecordBatch) -> list[str]:
        path = self.files.drops
        reasons: list[str] = []
        private = [n for n in batch.schema.names if n in DROPS_SCHEMA.names and n not in _SENSITIVE]
        for row in batch.to_pylist():
            reasons.append(row["reason"])
            uid = row["uid"].hex()
            try:
                drop = Drop(row["reason"])
            except ValueError:
                self._add(Fault.DROP_WRONG, path, f"reason {row['reason']!r} is none", uid)
                continue
            if row["stage"] != drop.stage:
                detail = f"{drop} belongs to the stage {drop.stage}, not {row['stage']}"
                self._add(Fault.DROP_WRONG, path, detail, uid)
            kept = [name for name in private if drop.sensitive and row[name] is not None]
            if kept:
                detail = f"{drop} must keep ids alone, and it has {', '.join(kept)}"
                self._add(Fault.DROP_WRONG, path, detail, uid)
        return reasons


def _wrong_stats(stats: Any, name: str) -> str | None:
    """Say what is wrong with a shard's stats as such, None if nothing is."""
    if not isinstance(stats, dict):
        return "it is not JSON object"
    if stats.get("shard") != name:
        return f"it is of shard {stats.get('shard')!r}"
    for field in ("candidates", "samples"):
        if not _is_count(stats.get(field)):
            return f"{field} is {stats.get(field)!r}, no count"
    drops, files = stats.get("drops"), stats.get("files")
    if not isinstance(drops, dict) or not isinstance(files, dict):
        return "it has no drops or no files"
    for reason, num in drops.items():
        if reason not in frozenset(Drop) or not _is_count(num) or not num:
            return f"drops of {reason!r} are {num!r}"
    for file, fact in files.items():
        if not (
            isinstance(fact, dict)
            and _is_count(fact.get("bytes"))
            and isinstance(fact.get("sha256"), str)
        ):
            return f"{file} has no size or no SHA-256"
    return None


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _rows(file: pq.ParquetFile, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    for batch in file.iter_batches(BATCH_ROWS, columns=list(names)):
        yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
