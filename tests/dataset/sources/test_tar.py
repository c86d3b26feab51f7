"""Tars of every dialect list as `tarfile` lists them; cut ones as far as they go."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webpairs.dataset.problems import Problems
from webpairs.dataset.sources.mapped import MappedFile
from webpairs.dataset.sources.tar import TarImages, list_members

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
Files = list[tuple[str, bytes]]


def write(path: Path, files: Files, format: int = tarfile.USTAR_FORMAT) -> None:
    with tarfile.open(path, "w", format=format) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def listed(path: Path) -> dict[tuple[str, str], bytes]:
    tar = MappedFile(path)
    return {
        (key, extension): tar.data[slice(*member)]
        for key, members in list_members(tar).by_key.items()
        for extension, member in members.items()
    }


stems = st.text("abc0é_-", min_size=1, max_size=8) | st.just("n" * 150)
folders = st.sampled_from(["", "a/", "./", "f" * 120 + "/", "p" * 90 + "/" + "q" * 60 + "/"])
extensions = st.sampled_from(["jpg", "txt", "json", "tar.gz", "JPG"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(folders, stems, extensions, st.binary(max_size=1_100)), max_size=8),
    st.sampled_from(FORMATS),
)
def test_members_are_those_that_tarfile_finds(
    tmp_path_factory: pytest.TempPathFactory,
    members: list[tuple[str, str, str, bytes]],
    format: int,
) -> None:
    files: Files = []
    for folder, stem, extension, data in members:
        name = f"{folder}{stem}.{extension}"
        # ustar has no room for longer names.
        if format != tarfile.USTAR_FORMAT or (len(stem) < 80 and len(folder) < 100):
            files.append((name, data))
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    write(path, files, format)
    truth: dict[tuple[str, str], bytes] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            folder, slash, name = member.name.removeprefix("./").rpartition("/")
            stem, _, extension = name.partition(".")
            truth.setdefault((f"{folder}{slash}{stem}", extension.lower()), file.read())
    assert listed(path) == truth
    assert list_members(MappedFile(path)).broken is None


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 6_000))
def test_a_cut_tar_gives_what_is_whole(
    tmp_path_factory: pytest.TempPathFactory, num_bytes: int
) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    files = [(f"{number}.jpg", bytes([number]) * 300 * number) for number in range(5)]
    write(path, files)
    with tarfile.open(path) as tar:
        ends = [member.offset_data + member.size for member in tar]
    path.write_bytes(path.read_bytes()[:num_bytes])
    whole = [file for file, end in zip(files, ends, strict=True) if end <= num_bytes]
    assert listed(path) == {(name[0], "jpg"): data for name, data in whole}
    end_mark = -(-ends[-1] // 512) * 512 + 512
    assert (list_members(MappedFile(path)).broken is None) == (num_bytes >= end_mark)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=2_000), st.integers(0, 2_000), st.integers(0, 255))
def test_no_bytes_make_it_raise(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, place: int, byte: int
) -> None:
    path = tmp_path_factory.mktemp("tar") / "a.tar"
    path.write_bytes(noise)
    list_members(MappedFile(path))
    write(path, [("a.jpg", b"x" * 700), ("b" * 120, b"y")], tarfile.PAX_FORMAT)
    data = bytearray(path.read_bytes())
    data[place] = byte
    path.write_bytes(data)
    list_members(MappedFile(path))


def test_old_tars_have_no_magic_and_are_told_by_their_checksum(tmp_path: Path) -> None:
    path = tmp_path / "v7.tar"
    write(path, [("a.jpg", b"image")])
    data = bytearray(path.read_bytes())
    data[257:265] = bytes(8)  # what ustar added
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    path.write_bytes(data)
    assert listed(path) == {("a", "jpg"): b"image"}
    data[0] += 1
    path.write_bytes(data)
    assert listed(path) == {}
    assert list_members(MappedFile(path)).broken == "no header at byte 0"


def test_the_first_image_of_a_sample_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write(path, [("k.txt", b"t"), ("k.png", b"first"), ("k.jpg", b"second"), ("k.png", b"third")])
    problems = Problems()
    images = TarImages(path, pa.array(["none", "k"]), "a", problems)
    assert images.images(np.array([0, 1])) == [None, b"first"]
    assert (images.image(0), images.image(1)) == (None, b"first")
    assert problems.counts() == {"key_repeated": 1}
