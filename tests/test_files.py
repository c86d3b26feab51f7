"""A file is there whole or not at all, whatever goes wrong while it is written."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import orjson
import pytest

from webpairs import files
from webpairs.files import (
    is_leftover,
    remove_leftovers,
    sync,
    temporary_name,
    write_json,
    write_whole,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_whole_makes_the_folder_and_leaves_only_the_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.bin"
    with write_whole(path) as temporary:
        temporary.write_bytes(b"all of it")
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert names(path.parent) == ["file.bin"]


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("before", [None, b"the old bytes"])
def test_whatever_is_raised_inside_the_old_file_stays(
    tmp_path: Path, before: bytes | None, error: BaseException
) -> None:
    path = tmp_path / "file.bin"
    if before is not None:
        path.write_bytes(before)

    def write_half() -> None:
        with write_whole(path) as temporary:
            temporary.write_bytes(b"half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert names(tmp_path) == ([] if before is None else ["file.bin"])
    assert before is None or path.read_bytes() == before


@pytest.mark.parametrize("step", ["sync", "replace"])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"run": 1})

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if step == "sync":
        monkeypatch.setattr(files, "sync", refuse)
    else:
        monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {"run": 2})
    assert orjson.loads(path.read_bytes()) == {"run": 1}
    assert names(tmp_path) == ["file.json"]


def test_bytes_reach_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that outlives a power cut while its bytes do not would be a half written file."""
    steps: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (steps.append("sync"), fsync(fd)))
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (steps.append("rename"), replace(self, to))[1]
    )
    write_json(tmp_path / "file.json", [1])
    assert steps == ["sync", "rename", "sync"]


def test_json_ends_with_a_line_and_reads_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, "é\0\u2028"], "b": {"c": True}}
    write_json(tmp_path / "file.json", value)
    data = (tmp_path / "file.json").read_bytes()
    assert data.endswith(b"}\n")
    assert orjson.loads(data) == value


def test_temporary_names_differ_between_processes_and_are_known_as_leftovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "00000.tar"
    mine = temporary_name(path)
    assert mine.parent == tmp_path
    assert is_leftover(mine)
    assert not is_leftover(path)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    assert temporary_name(path) != mine


def test_leftovers_go_at_any_depth_and_nothing_else(tmp_path: Path) -> None:
    kept = [tmp_path / "a.json", tmp_path / "deep" / "er" / "b.tmp", tmp_path / "deep" / "tmp-1"]
    left = [temporary_name(path) for path in kept]
    kept[1].parent.mkdir(parents=True)
    for path in (*kept, *left):
        path.write_bytes(b"x")
    assert remove_leftovers(tmp_path) == 3
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in left)
    assert remove_leftovers(tmp_path) == 0


def test_no_descriptor_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x")
    for _ in range(20):
        sync(path)
    # Those of this file: threads of earlier tests may open and close others meanwhile.
    links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    assert not [link for link in links if os.path.exists(link) and os.path.samefile(link, path)]
