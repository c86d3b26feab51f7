"""Finding ids that stand in more than one place of a dataset, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from webpairs.checks import resolve_workers
from webpairs.errors import DataError
from webpairs.external_sort import expose, from_plain, open_duckdb, stream
from webpairs.run_folder.schema import UID
from webpairs.verify.findings import Fault, Findings

MEMORY_BYTES: Final = 1_000_000_000
"""What does not fit is spilled to the folder for temporary files: 16 bytes and a little an id."""
NUM_LOOKED_UP: Final = 1_000
"""Repeated ids whose places are looked up; all are counted."""

_SCHEMA: Final = pa.schema([pa.field("uid", UID)])

Ids = Sequence[tuple[bytes, str]]
"""Ids of 16 bytes, and the keys of the samples that have them."""


@dataclass(frozen=True, slots=True)
class Repeats:
    """How many samples have an id that was there before, and which: (shard, key, first)."""

    num: int
    listed: tuple[tuple[int, str, str], ...]
    """Number of the shard, the sample's key, and the key of the first sample with its id."""


def find_repeats(read: Callable[[int], Iterable[Ids]], num_shards: int) -> Repeats:
    """Find ids that are there twice; `read` yields those of a shard, some at a time.

    Shards are read twice when there are any. Raises RunError when disk does not suffice.
    """
    with (
        tempfile.TemporaryDirectory(prefix="webpairs-verify-") as folder,
        open_duckdb(
            Path(folder) / "spill", memory_bytes=MEMORY_BYTES, threads=resolve_workers(None)
        ) as duck,
    ):
        expose(duck, "ids", _batches(read, num_shards), _SCHEMA)
        duck.execute(
            "CREATE TABLE repeated AS SELECT uid_high, uid_low, count(*) AS num FROM ids "
            "GROUP BY uid_high, uid_low HAVING count(*) > 1"
        )
        ((num,),) = duck.execute(
            "SELECT coalesce(sum(num - 1), 0)::BIGINT FROM repeated"
        ).fetchall()
        sql = f"SELECT uid_high, uid_low FROM repeated ORDER BY ALL LIMIT {NUM_LOOKED_UP}"
        looked_up = {
            uid
            for batch in stream(duck, sql)
            for uid in from_plain(batch, _SCHEMA).column("uid").to_pylist()
        }
    return Repeats(num, tuple(_places(read, num_shards, looked_up)) if looked_up else ())


def _batches(read: Callable[[int], Iterable[Ids]], num_shards: int) -> Iterator[pa.RecordBatch]:
    for shard in range(num_shards):
        for ids in read(shard):
            uids = pa.array([uid for uid, _ in ids], UID)
            yield pa.RecordBatch.from_arrays([uids], schema=_SCHEMA)


def _places(
    read: Callable[[int], Iterable[Ids]], num_shards: int, wanted: set[bytes]
) -> Iterator[tuple[int, str, str]]:
    first: dict[bytes, str] = {}
    for shard in range(num_shards):
        for ids in read(shard):
            for uid, key in ids:
                if uid in first:
                    yield shard, key, first[uid]
                elif uid in wanted:
                    first[uid] = key


FLOAT16_NOISE: Final = 1e-3
"""How far a norm, or a product of two embeddings, may be off. Rounding to float16 changes each
number by at most 2^-11 of it, so a vector of length 1 by at most 2^-11, and the product of two by
at most 2^-10 + 2^-22 = 0.00098."""
_TURNED: Final = 5
"""From this EXIF orientation on (to 8) width and height change places: EXIF 2.32, tag 0x0112."""


def check_norms(
    embeddings: npt.NDArray[np.floating[Any]], keys: Sequence[str], file: str, findings: Findings
) -> None:
    """Note which of (n, d) embeddings are not of length 1, or hold what is not a number."""
    norms = np.linalg.norm(embeddings.astype(np.float64, copy=False), axis=1)
    for place in np.flatnonzero(~(np.abs(norms - 1) <= FLOAT16_NOISE)).tolist():
        findings.add(Fault.NORM_WRONG, file, f"its length is {norms[place]:.6f}", keys[place])


def check_size(
    data: bytes, size: tuple[int | None, int | None], file: str, key: str, findings: Findings
) -> None:
    """Decode an image; note when it cannot be, or is not of this width and height (None: any)."""
    from webpairs.image.decode_stored import decode_rgb

    try:
        height, width, _ = decode_rgb(data).shape
    except DataError as error:
        findings.add(Fault.IMAGE_BROKEN, file, str(error), key)
        return
    if None in size or size == (width, height):
        return
    if size != (height, width) or not _is_turned(data):
        detail = f"it decodes to {width}x{height}, its row says {size[0]}x{size[1]}"
        findings.add(Fault.SIZE_WRONG, file, detail, key)


def _is_turned(data: bytes) -> bool:
    """Say whether an image is to be shown lying on its side."""
    from webpairs.image.container import read_container
    from webpairs.image.sniff import FORMATS, sniff

    format = sniff(data)
    try:
        return format in FORMATS and read_container(data, format).orientation >= _TURNED
    except DataError:
        return False
