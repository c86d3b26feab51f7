"""Damage a run folder: one thing at a time, as if it had been so from the beginning."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from webpairs.run_folder.layout import ShardFiles

SHARD = "00001"
Members = list[tuple[str, bytes]]
TAR, INDEX, METADATA = f"images/{SHARD}.tar", f"images/{SHARD}.tar.idx", f"metadata/{SHARD}.parquet"
IMAGE_NPY = f"embeddings/img_emb/img_emb_{SHARD}.npy"
TEXT_NPY = f"embeddings/text_emb/text_emb_{SHARD}.npy"
DROPS, STATS = f"drops/{SHARD}.parquet", f"stats/{SHARD}.json"
COLUMN = f"columns/texts_per_image/{SHARD}.parquet"


def files_of(run: Path, shard: str = SHARD) -> ShardFiles:
    return ShardFiles.of(run, shard)


def commit_again(run: Path, shard: str = SHARD, **changes: Any) -> None:
    """Write the digests of a shard's files anew: what is wrong has been so from the beginning."""
    files = files_of(run, shard)
    stats = orjson.loads(files.stats.read_bytes()) | changes
    stats["files"] = {
        path.relative_to(run).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        }
        for path in files.data
        if path.exists()
    }
    files.stats.write_bytes(orjson.dumps(stats))


def change_json(path: Path, **changes: Any) -> None:
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | changes))


def change_table(
    path: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]] | None]
) -> None:
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows = change(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


def change_tar(
    run: Path, change: Callable[[Members], Members | None], *, index: bool = True
) -> None:
    """Write the tar anew with other members, and an index that leads to its samples."""
    files = files_of(run)
    with tarfile.open(files.tar) as tar:
        members = [(one.name, tar.extractfile(one).read()) for one in tar.getmembers()]  # type: ignore[union-attr]
    members = change(members) or members
    starts: list[int] = []
    with tarfile.open(files.tar, "w", format=tarfile.USTAR_FORMAT) as tar:
        before = ""
        for name, data in members:
            if name.partition(".")[0] != before:
                before = name.partition(".")[0]
                starts.append(tar.offset)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        starts.append(tar.offset)
    if index:
        np.array(starts, "<u8").tofile(files.index)
    commit_again(run)


def change_rows(run: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    change_table(files_of(run).metadata, lambda rows: change(rows) or rows)
    commit_again(run)


def change_embeddings(run: Path, change: Callable[[np.ndarray], Any], kind: str = "image") -> None:
    path = getattr(files_of(run), f"{kind}_embeddings")
    rows = np.load(path)
    changed = change(rows)
    np.save(path, rows if changed is None else changed)
    commit_again(run)


def jpeg(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(out, "JPEG")
    return out.getvalue()


def without(end: str) -> Callable[[Members], Members]:
    return lambda members: [
        one for number, one in enumerate(members) if number >= 9 or not one[0].endswith(end)
    ]


def swapped(first: int, second: int) -> Callable[[list[Any]], None]:
    def change(rows: list[Any]) -> None:
        rows[first], rows[second] = rows[second], rows[first]

    return change


def swap_samples(members: Members) -> Members:
    return [*members[3:6], *members[:3], *members[6:]]


def repeat_row(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [rows[0], *rows]


def set_row(number: int = 2, **values: Any) -> Callable[[list[dict[str, Any]]], None]:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[number] |= values

    return change


def set_member(end: str, data: bytes) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        place = next(n for n, (name, _) in enumerate(members) if n > 5 and name.endswith(end))
        return [*members[:place], (members[place][0], data), *members[place + 1 :]]

    return change


def swap_embeddings(rows: np.ndarray) -> None:
    rows[[0, 3]] = rows[[3, 0]]


def scale(factor: float) -> Callable[[np.ndarray], None]:
    def change(rows: np.ndarray) -> None:
        rows[2] = rows[2] * np.float16(factor)

    return change


def drop_rows_of(run: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    change_table(files_of(run).drops, change)
    commit_again(run)


def leak_a_url(run: Path) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        kept = {"url": "https://example.org/private.jpg"}
        rows[0] |= {"reason": "opted_out_image", "stage": "obtain"} | kept

    change_table(files_of(run).drops, change)
    rows = pq.read_table(files_of(run).drops).column("reason").to_pylist()
    commit_again(run, drops={reason: rows.count(reason) for reason in set(rows)})


def change_column(run: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    change_table(run / COLUMN, change)


def cut(path: Path, share: float = 0.6) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def copy_uid(run: Path) -> None:
    """Give a sample the URL and text of one in another shard, and all that follows from them."""
    other = pq.read_table(files_of(run, "00000").metadata).to_pylist()[0]
    same = {name: other[name] for name in ("URL", "TEXT", "uid")}
    change_rows(run, set_row(2, **same))
    key = pq.read_table(files_of(run).metadata, columns=["key"]).column("key")[2].as_py()

    def change(members: Members) -> Members:
        changed: Members = []
        for name, data in members:
            if name == f"{key}.txt":
                data = other["TEXT"].encode()
            elif name == f"{key}.json":
                fields = {"url": other["URL"], "caption": other["TEXT"], "uid": other["uid"].hex()}
                data = orjson.dumps(orjson.loads(data) | fields)
            changed.append((name, data))
        return changed

    change_tar(run, change)


def set_key(rows: list[dict[str, Any]]) -> None:
    rows[-1] |= {"key": "000020000", "SAMPLE_ID": 20000}
