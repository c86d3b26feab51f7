"""A shard on disk: other people's readers read it, its files agree, it is committed once."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import TESTS

from webpairs.build.shard_writer import DROPS_SCHEMA, METADATA_SCHEMA, ShardWriter, write_npy
from webpairs.drops import Drop
from webpairs.run_folder.layout import Keys, ShardFiles

KEYS = Keys.for_dataset(3, 10_000)
DIM = 8
LONG = "a photo of " + "very " * 40_000 + "long text"
Row = dict[str, Any]
TEXTS = [
    "a red circle",
    "grüne Äpfel, 緑のりんご, تفاح أخضر",
    "two lines\nand a\ttab",
    "NUL \0 inside",
    '"quotes", \\ and {"json": 1}',
    "\U0001f34e\u200d\U0001f34f e\u0301 \ufeff \u2028",
    LONG,
    "a red circle",
]


def sample(number: int, text: str, image: bytes) -> Row:
    key = KEYS.sample(1, number)
    url = f"https://example.org/{number}.jpg?q=é"
    return {
        "SAMPLE_ID": int(key),
        "URL": url,
        "TEXT": text,
        "HEIGHT": 300 + number,
        "WIDTH": 400,
        "LICENSE": "?",
        "NSFW": None,
        "similarity": 0.3 + number / 1000,
        "key": key,
        "uid": hashlib.blake2b(f"{url}\0{text}".encode(), digest_size=16).digest(),
        "sha256": hashlib.sha256(b"received" + image).digest(),
        "stored_sha256": hashlib.sha256(image).digest(),
        "bytes": 8 + len(image),
        "format": "jpeg",
        "stored_width": 256,
        "stored_height": 256,
        "language": "en",
        "language_score": 0.5,
        "license_id": None,
        "license_where": None,
        "opt_out": None,
        "image_source": "src",
        "text_source": "alt",
        "page_url": "https://example.org/",
        "crawl_file": "a.warc.gz",
        "crawl_offset": 12,
        "crawl_date": datetime(2024, 5, 18, tzinfo=UTC),
        "copies": 1,
        "final_url": url,
        "http_status": 200,
        "fetch_date": datetime(2024, 5, 18, tzinfo=UTC),
        "image_file": "a.warc.gz",
        "image_offset": 99,
        "nsfw_score": None,
        "tags": [],
        "not a column": "is ignored",
    }


def drop(number: int, text: str) -> Row:
    return {
        "uid": hashlib.blake2b(text.encode(), digest_size=16).digest(),
        "url_hash": bytes([number % 256]) * 8,
        "reason": str(Drop.SIMILARITY),
        "stage": "judge",
        "similarity": 0.1,
        "url": f"https://example.org/{number}.jpg",
        "text": text,
    }


def embedding(number: int, kind: int) -> Any:
    vector = np.random.default_rng([number, kind]).normal(size=DIM).astype(np.float32)
    return vector / np.linalg.norm(vector)


def write_shard(
    out: Path,
    texts: list[str],
    num_drops: int = 2,
    image: Callable[[int], bytes] = lambda number: b"\xff\xd8" + bytes([number % 256]) * 700,
) -> ShardFiles:
    """Write shard 1; candidates at odd places are the gaps in its keys."""
    files = ShardFiles.of(out, KEYS.shard(1))
    with ShardWriter(files) as writer:
        for number, text in enumerate(texts):
            data = image(number)
            writer.add_sample(
                sample(2 * number, text, data),
                data,
                "jpg",
                (embedding(number, 0), embedding(number, 1)),
            )
        for number in range(num_drops):
            writer.add_drop(2 * number + 1, drop(2 * number + 1, "dropped"))
        writer.commit({"samples": len(texts), "drops": {"similarity": num_drops}})
    return files


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> ShardFiles:
    return write_shard(tmp_path_factory.mktemp("run"), TEXTS)


def read_members(tar: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(tar) as archive:
        return [(one.name, archive.extractfile(one).read()) for one in archive]  # type: ignore[union-attr]


def contents(out: Path) -> dict[str, bytes]:
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file()
    }


def data_only(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: data for name, data in files.items() if not name.startswith("stats/")}


def test_keys_are_of_one_width_and_fit() -> None:
    assert Keys.for_dataset(1, 1) == Keys(5, 4)
    assert Keys.for_dataset(0, 10_000) == Keys(5, 4)
    assert Keys.for_dataset(100_000, 10_001) == Keys(5, 5)
    assert Keys.for_dataset(100_001, 1_000_000) == Keys(6, 6)
    keys = Keys.for_dataset(1, 10_000)
    assert (keys.shard(0), keys.sample(1, 23)) == ("00000", "000010023")


def test_members_are_adjacent_sorted_and_always_all_three(shard: ShardFiles) -> None:
    names = [name for name, _ in read_members(shard.tar)]
    keys = [KEYS.sample(1, 2 * number) for number in range(len(TEXTS))]
    assert names == [f"{key}.{suffix}" for key in keys for suffix in ("jpg", "txt", "json")]
    assert keys == sorted(keys)


# webdataset leaves closing the tar to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_webdataset_reads_the_tar(shard: ShardFiles) -> None:
    dataset = webdataset.WebDataset(str(shard.tar), shardshuffle=False)
    samples = list(dataset)
    assert [one["__key__"] for one in samples] == [
        KEYS.sample(1, 2 * number) for number in range(len(TEXTS))
    ]
    assert [one["txt"].decode() for one in samples] == TEXTS
    assert all(one["jpg"].startswith(b"\xff\xd8") for one in samples)
    assert [json.loads(one["json"])["caption"] for one in samples] == TEXTS


def test_the_index_points_at_every_sample(shard: ShardFiles) -> None:
    offsets = np.frombuffer(shard.index.read_bytes(), dtype="<u8").tolist()
    assert len(offsets) == len(TEXTS) + 1
    data = shard.tar.read_bytes()
    for number, (start, end) in enumerate(pairwise(offsets)):
        # A sample's bytes are a tar of their own once the two closing blocks are added.
        with tarfile.open(fileobj=io.BytesIO(data[start:end] + bytes(1024))) as archive:
            names = archive.getnames()
        key = KEYS.sample(1, 2 * number)
        assert names == [f"{key}.jpg", f"{key}.txt", f"{key}.json"]
    assert not data[offsets[-1] :].strip(b"\0"), "nothing but padding follows the last sample"


def test_the_files_agree_row_by_row(shard: ShardFiles) -> None:
    table = pq.read_table(shard.metadata)
    assert table.schema.equals(METADATA_SCHEMA)
    rows = table.to_pylist()
    members = dict(read_members(shard.tar))
    images, texts = np.load(shard.image_embeddings), np.load(shard.text_embeddings)
    assert images.dtype == texts.dtype == np.float16
    assert images.shape == texts.shape == (len(rows), DIM)
    for number, row in enumerate(rows):
        said = json.loads(members[f"{row['key']}.json"])
        assert members[f"{row['key']}.txt"].decode() == row["TEXT"] == said["caption"]
        assert hashlib.sha256(members[f"{row['key']}.jpg"]).digest() == row["stored_sha256"]
        assert said["key"] == row["key"]
        assert int(row["key"]) == row["SAMPLE_ID"]
        assert said["uid"] == row["uid"].hex()
        assert said["url"] == row["URL"]
        assert said["similarity"] == row["similarity"]
        assert said["sha256"] == row["sha256"].hex()
        assert (said["width"], said["height"]) == (row["stored_width"], row["stored_height"])
        assert (said["original_width"], said["original_height"]) == (row["WIDTH"], row["HEIGHT"])
        assert np.array_equal(images[number], embedding(number, 0).astype(np.float16))
        assert np.array_equal(texts[number], embedding(number, 1).astype(np.float16))


def test_duckdb_reads_the_parquet(shard: ShardFiles) -> None:
    with duckdb.connect() as duck:
        found = duck.execute(
            "select key, TEXT, WIDTH, similarity from read_parquet(?) order by key",
            [str(shard.metadata)],
        ).fetchall()
        drops = duck.execute(
            "select reason, count(*) from read_parquet(?) group by reason", [str(shard.drops)]
        ).fetchall()
    rows = pq.read_table(shard.metadata).to_pylist()
    assert found == [(r["key"], r["TEXT"], r["WIDTH"], r["similarity"]) for r in rows]
    assert drops == [("similarity", 2)]


def test_laions_eight_columns_come_first_in_its_order() -> None:
    assert METADATA_SCHEMA.names[:8] == [
        "SAMPLE_ID",
        "URL",
        "TEXT",
        "HEIGHT",
        "WIDTH",
        "LICENSE",
        "NSFW",
        "similarity",
    ]


def test_the_stats_digest_every_file(shard: ShardFiles) -> None:
    out = shard.stats.parent.parent
    stats = json.loads(shard.stats.read_bytes())
    assert stats["samples"] == len(TEXTS)
    assert {out / name for name in stats["files"]} == set(shard.data)
    for name, fact in stats["files"].items():
        data = (out / name).read_bytes()
        assert fact == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_the_same_shard_is_the_same_bytes(tmp_path: Path) -> None:
    write_shard(tmp_path / "one", TEXTS)
    write_shard(tmp_path / "two", TEXTS)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_npy_files_are_what_numpy_writes(tmp_path: Path) -> None:
    rows = [embedding(number, 0).astype(np.float16) for number in range(5)]
    write_npy(tmp_path / "ours.npy", rows)
    np.save(tmp_path / "numpy.npy", np.stack(rows))
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


def test_a_shard_without_samples_has_no_tar_and_one_without_drops_no_drops(tmp_path: Path) -> None:
    empty = write_shard(tmp_path / "empty", [], num_drops=0)
    assert list(contents(tmp_path / "empty")) == ["stats/00001.json"]
    assert json.loads(empty.stats.read_bytes())["files"] == {}
    write_shard(tmp_path / "dropped", [], num_drops=1)
    assert list(contents(tmp_path / "dropped")) == ["drops/00001.parquet", "stats/00001.json"]
    write_shard(tmp_path / "kept", ["text"], num_drops=0)
    assert "drops/00001.parquet" not in contents(tmp_path / "kept")


def test_files_of_an_uncommitted_try_do_not_stay_beside_an_empty_shard(tmp_path: Path) -> None:
    write_shard(tmp_path, TEXTS).stats.unlink()
    write_shard(tmp_path, [], num_drops=0)
    assert list(contents(tmp_path)) == ["stats/00001.json"]


def test_more_rows_than_wait_in_memory_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"text {number}" for number in range(11)]
    write_shard(tmp_path / "one", texts, num_drops=9)
    monkeypatch.setattr("webpairs.build.shard_writer.PENDING_ROWS", 4)
    files = write_shard(tmp_path / "pieces", texts, num_drops=9)
    assert pq.read_table(files.metadata).column("TEXT").to_pylist() == texts
    assert pq.read_table(files.drops).num_rows == 9
    assert pq.read_table(files.metadata).equals(
        pq.read_table(ShardFiles.of(tmp_path / "one", "00001").metadata)
    )


def test_leaving_without_commit_leaves_nothing(tmp_path: Path) -> None:
    with ShardWriter(ShardFiles.of(tmp_path, "00001")) as writer:
        writer.add_sample(sample(0, "text", b"x"), b"x", "jpg", (embedding(0, 0), embedding(0, 1)))
        writer.add_drop(1, drop(1, "dropped"))
        assert contents(tmp_path) != {}
    assert contents(tmp_path) == {}


def test_a_disk_that_fills_while_the_tar_grows_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even the tar's own end can be written then: the first error is the one that is told."""

    class FullDisk(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > 3_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    opened = Path.open

    def open_full(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.suffix == ".tar":
            return FullDisk(path, "wb")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(OSError, match="No space left"):
        write_shard(tmp_path, TEXTS)
    assert contents(tmp_path) == {}


STEPS = ("fsync", "replace", "unlink")
"""What commit does to the file system; a crash comes before one of these calls."""


class Crash(BaseException):
    pass


def crash_before(step: int, monkeypatch: pytest.MonkeyPatch, crash: Callable[[], None]) -> None:
    num_done = 0

    def stepping(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal num_done
            num_done += 1
            if num_done == step:
                crash()
            return function(*arguments, **options)

        return call

    for name in STEPS:
        monkeypatch.setattr(os, name, stepping(getattr(os, name)))


def complete(out: Path) -> bool:
    """Say whether shard 1 is committed; if it is, everything it names must be there, whole."""
    stats = ShardFiles.of(out, "00001").stats
    if not stats.exists():
        return False
    for name, fact in orjson.loads(stats.read_bytes())["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == fact["sha256"], name
    return True


def test_an_exception_at_any_step_of_commit_leaves_a_whole_shard_or_none(tmp_path: Path) -> None:
    whole = contents(write_shard(tmp_path / "whole", TEXTS).stats.parent.parent)

    def crash() -> None:
        raise Crash

    for step in range(1, 100):
        out = tmp_path / str(step)
        crashed = False
        with pytest.MonkeyPatch.context() as patch:
            crash_before(step, patch, crash)
            try:
                write_shard(out, TEXTS)
            except Crash:
                crashed = True
        if not crashed:
            break
        assert not [name for name in contents(out) if ".tmp-" in name], step
        complete(out)
        write_shard(out, TEXTS)
        assert contents(out) == whole, step
    # 6 files and 5 folders are synced, 6 files renamed, then the stats: sync, rename, sync.
    assert step > 6 + 5 + 6 + 3


_DIE = """
import os, sys
from pathlib import Path
import pytest, test_shard_writer

out = Path(sys.argv[1])
for step in range(1, 100):
    child = os.fork()
    if child == 0:
        test_shard_writer.crash_before(step, pytest.MonkeyPatch(), lambda: os._exit(9))
        test_shard_writer.write_shard(out / str(step), test_shard_writer.TEXTS)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
print(step)
"""


def test_death_at_any_step_of_commit_leaves_a_whole_shard_or_none(tmp_path: Path) -> None:
    whole = contents(write_shard(tmp_path / "whole", TEXTS).stats.parent.parent)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _DIE, str(tmp_path)],
        cwd=Path(__file__).parent,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    num_steps = int(done.stdout)
    assert num_steps > 6 + 5 + 6 + 3
    committed = []
    for step in range(1, num_steps):
        out = tmp_path / str(step)
        committed.append(complete(out))
        files = write_shard(out, TEXTS)
        left = data_only(contents(out))
        assert {name: data for name, data in left.items() if ".tmp-" not in name} == data_only(
            whole
        ), step
        assert files.stats.exists()
    assert committed == sorted(committed), "once committed, always committed"
    # Only the last steps, after the stats were renamed, may leave a committed shard.
    assert committed.count(True) <= 7


def test_stats_are_renamed_after_everything_else_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    replace, fsync = os.replace, os.fsync

    def replaced(source: Any, target: Any) -> None:
        order.append(Path(target).parent.name)
        replace(source, target)

    def synced(descriptor: int) -> None:
        order.append("sync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "fsync", synced)
    write_shard(tmp_path, TEXTS)
    assert order.index("stats") > max(
        place for place, name in enumerate(order) if name in ("images", "metadata", "drops")
    )
    for folder in ("images", "metadata", "img_emb", "text_emb", "drops"):
        assert order.index(folder) < order.index(f"sync {folder}") < order.index("stats")


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(texts, st.binary(max_size=1_500)), max_size=4), st.integers(0, 3))
def test_write_then_read_is_identity(samples: list[tuple[str, bytes]], num_drops: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = write_shard(
            Path(folder),
            [text for text, _ in samples],
            num_drops,
            image=lambda number: samples[number][1],
        )
        if num_drops:
            assert pq.read_table(files.drops).schema.equals(DROPS_SCHEMA)
            assert pq.read_table(files.drops).num_rows == num_drops
        if not samples:
            assert not files.tar.exists()
            return
        members = read_members(files.tar)
        assert [data for name, data in members if name.endswith(".jpg")] == [i for _, i in samples]
        assert [d.decode() for name, d in members if name.endswith(".txt")] == [
            text for text, _ in samples
        ]
        table = pq.read_table(files.metadata)
        assert table.column("TEXT").to_pylist() == [text for text, _ in samples]
        wanted = [sample(2 * number, text, image) for number, (text, image) in enumerate(samples)]
        for column in METADATA_SCHEMA.names:
            assert table.column(column).to_pylist() == [row.get(column) for row in wanted]
