"""Files that are not what their names say: pipes and sockets, no tars, numbers that lie."""

from __future__ import annotations

import gzip
import io
import os
import re
import socket
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.foreign_folders import laion_row, picture, write_laion_metadata

import webpairs
from webpairs.dataset.sources.mapped import MappedArray, MappedFile
from webpairs.dataset.sources.tar import list_members, walk
from webpairs.describe.info import read_info
from webpairs.errors import DataError
from webpairs.export.export import export_dataset
from webpairs.export.options import ExportOptions
from webpairs.files import open_regular, read_regular
from webpairs.verify.verify import verify_dataset


def tar_of(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for number, name in enumerate(names):
            data = picture(number) if name.endswith("jpg") else b"text"
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


GOOD = tar_of("00000.jpg", "00000.txt")
NOT_TARS = {
    "noise": (np.random.default_rng(0).bytes(5_000), "no header at byte 0"),
    "empty": (b"", "it has no end mark"),
    "html": (b"\n<!DOCTYPE html><title>404</title>" + bytes(2_000), "an HTML page"),
    "cut in its first member": (GOOD[:700], "has no end"),
    "gzip": (gzip.compress(GOOD), "compressed with gzip"),
    "git lfs": (b"version https://git-lfs.github.com/spec/v1\n" + bytes(600), "Git LFS"),
    "a negative size": (GOOD[:124] + b"-0000002000" + GOOD[135:], "no header at byte 0"),
}


@pytest.mark.parametrize("name", NOT_TARS)
@pytest.mark.parametrize("beside", [True, False], ids=["beside a good one", "alone"])
def test_a_tar_that_is_not_one_is_named(tmp_path: Path, name: str, *, beside: bool) -> None:
    data, reason = NOT_TARS[name]
    if beside:
        (tmp_path / "00000.tar").write_bytes(GOOD)
    (tmp_path / "00001.tar").write_bytes(data)
    checked = verify_dataset(tmp_path, workers=1)
    (finding,) = checked.findings.listed
    assert (finding.file, finding.fault) == ("00001.tar", "file_broken")
    assert reason in finding.detail
    assert read_info(tmp_path).problems == {"tar_broken": 1}
    ds = webpairs.open(tmp_path)
    assert [sample["caption"] for sample in ds.images()] == ["text"] * beside
    assert ds.problems.counts() == {"tar_broken": 1}


def test_dots_in_the_names_of_samples_are_named(tmp_path: Path) -> None:
    """WebDataset takes all that follows the first dot as the extension."""
    data = tar_of("a.jpg", "a.txt", "b.1.jpg", "b.1.txt", "c.2.jpg")
    (tmp_path / "00000.tar").write_bytes(data)
    checked = verify_dataset(tmp_path, workers=1)
    found = [one for one in checked.findings.listed if one.fault == "member_missing"]
    assert [one.key for one in found if "first dot" in one.detail] == ["b", "c"]
    assert read_info(tmp_path).problems == {"no_image": 2}


def fifo(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    before = Path.cwd()
    os.chdir(path.parent)  # names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(before)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


STRANGE: tuple[Callable[[Path], None], ...] = (fifo, unix_socket, folder, device)


@pytest.mark.parametrize("make", STRANGE)
def test_only_regular_files_are_opened(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "file"
    make(path)
    for open_one in (open_regular, read_regular, MappedFile, MappedArray):
        with pytest.raises(OSError, match=r"regular file|[Dd]irectory"):
            open_one(path)


def test_links_to_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"four")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 4) == b"four"
    with pytest.raises(OSError, match="4 bytes are too many, 3 are read at most"):
        read_regular(tmp_path / "link", 3)


@pytest.mark.parametrize("make", STRANGE)
@pytest.mark.parametrize(
    "name", ["00001.tar", "00000.parquet", "00000.tar.idx", "00000_stats.json", "00001.parquet"]
)
def test_what_is_not_a_file_stops_no_reader(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    (tmp_path / "00000.tar").write_bytes(GOOD)
    make(tmp_path / name)
    read_info(tmp_path)
    verify_dataset(tmp_path, workers=1)
    list(webpairs.open(tmp_path).images())


@pytest.mark.parametrize("make", STRANGE)
@pytest.mark.parametrize("kind", ["img_emb", "text_emb", "metadata"])
def test_embedding_folders_of_pipes(
    tmp_path: Path, kind: str, make: Callable[[Path], None]
) -> None:
    for one in ("img_emb", "text_emb", "metadata"):
        (tmp_path / one).mkdir()
    make(tmp_path / kind / f"{kind}_0.{'parquet' if kind == 'metadata' else 'npy'}")
    assert read_info(tmp_path).num_samples == 0
    assert not verify_dataset(tmp_path, workers=1).good


PAX = b"%s path=x\n"


@pytest.mark.parametrize(
    "content",
    [
        PAX % (b"9" * 5_000),
        b"5012 size=" + b"9" * 5_000 + b"\n",
        b"30 size=-99999999999999999999\n",
    ],
)
def test_numbers_of_extended_headers_that_cannot_be(tmp_path: Path, content: bytes) -> None:
    header = tarfile.TarInfo("pax")
    header.type = tarfile.XHDTYPE
    header.size = len(content)
    data = header.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)
    path = tmp_path / "00000.tar"
    path.write_bytes(data + GOOD)
    assert len(walk(MappedFile(path)).members) <= 2
    assert list_members(MappedFile(path)).broken is None


HEADERS = {
    "rows without end": "{'descr': '<f2', 'fortran_order': False, 'shape': (1000000000000, 512), }",
    "negative rows": "{'descr': '<f2', 'fortran_order': False, 'shape': (-1, 1), }",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (2, 2), }",
    "no size": "{'descr': '|V0', 'fortran_order': False, 'shape': (2, 2), }",
    "one dimension": "{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }",
    "brackets": "(" * 3_000,
    "minus": "-" * 9_000 + "1",
    "noise": "\0" * 100,
}


@pytest.mark.parametrize("version", [1, 2, 3, 9])
@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_arrays_that_lie(tmp_path: Path, name: str, version: int) -> None:
    text = HEADERS[name].encode() + b"\n"
    size = struct.pack("<H" if version == 1 else "<I", len(text))
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY" + bytes((version, 0)) + size + text + bytes(64))
    with pytest.raises(ValueError, match=r"a\.npy"):
        MappedArray(path)


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_rows_of_any_order_and_width(tmp_path: Path, dtype: str, order: str) -> None:
    rows = np.arange(12, dtype=np.float64).reshape(4, 3)
    np.save(tmp_path / "a.npy", np.asarray(rows, dtype, order=order))
    mapped = MappedArray(tmp_path / "a.npy")
    assert (mapped.rows == rows).all()
    mapped.release(1, 2)
    assert (mapped.rows == rows).all()


def test_an_index_whose_numbers_wrap_is_not_followed(tmp_path: Path) -> None:
    """Four steps of 2^62 come back to where they started in 64 bits."""
    from webpairs.dataset.problems import Problems
    from webpairs.dataset.sources.tar import TarImages

    keys = [f"{number:05}" for number in range(4)]
    path = tmp_path / "00000.tar"
    path.write_bytes(tar_of(*(f"{key}.jpg" for key in keys)))
    starts = np.arange(5, dtype=np.uint64) << np.uint64(62)
    (tmp_path / "00000.tar.idx").write_bytes((starts + np.uint64(512)).astype("<u8").tobytes())
    import pyarrow as pa

    problems = Problems()
    images = TarImages(path, pa.array(keys), "00000", problems, tmp_path / "00000.tar.idx")
    assert problems.counts() == {"index_wrong": 1}
    assert images.images(np.arange(4)) == [picture(number) for number in range(4)]
    assert images.image(2) == picture(2)


def test_a_parquet_file_that_becomes_too_large_is_named(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    rows = [laion_row(number) for number in range(3)]
    rows[1]["TEXT"] = "x" * 70_000_000
    write_laion_metadata(source / "a.parquet", rows)
    assert (source / "a.parquet").stat().st_size < 4_000_000
    words = r"a\.parquet is damaged \(row group 0: column 'TEXT' has a page of 70 MB"
    dataset = webpairs.open(source)
    with pytest.raises(DataError, match=words):
        dataset[0]
    assert list(dataset.pieces(["caption"])) == []
    assert dataset.problems.counts() == {"shard_unreadable": 1}
    (finding,) = verify_dataset(source, workers=1).findings.listed
    assert (finding.fault, finding.file) == ("file_broken", "a.parquet")
    assert re.search(words, finding.detail)
    options = ExportOptions(source=str(source), out=str(tmp_path / "out"), to="csv", workers=1)
    assert export_dataset(options).problems == {"shard_unreadable": 1}
    assert sum(len(piece.rows) for piece in dataset.pieces(["similarity"])) == 3
