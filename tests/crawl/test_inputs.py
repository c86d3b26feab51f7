"""Inputs: found, named and told apart by content; refused in one line that helps."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webpairs.crawl.inputs import find_inputs, open_input, table_suffix
from webpairs.errors import ConfigError


def record(kind: str, content_type: str, body: bytes) -> bytes:
    return (
        (
            f"WARC/1.0\r\nWARC-Type: {kind}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        + body
        + b"\r\n\r\n"
    )


INFO = record("warcinfo", "application/warc-fields", b"software: x\r\n")
REQUEST = record("request", "application/http; msgtype=request", b"GET / HTTP/1.1\r\n\r\n")
RESPONSE = record("response", "application/http; msgtype=response", b"HTTP/1.1 200 OK\r\n\r\nx")
DIGEST = record("metadata", "application/json", b'{"Container":{},"Envelope":{}}')
WARC = INFO + REQUEST + RESPONSE
WAT = INFO + DIGEST + DIGEST


def packed(*records: bytes) -> bytes:
    return b"".join(gzip.compress(part) for part in records)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (WARC, "warc"),
        (WAT, "wat"),
        (RESPONSE, "warc"),
        (DIGEST, "wat"),
        (packed(INFO, REQUEST), "warc"),
        (packed(INFO, DIGEST), "wat"),
        (gzip.compress(WAT), "wat"),
        (INFO, "warc"),
        (b"\r\n\r\n" + WAT, "wat"),
        (WAT.replace(b"\r\n", b"\n"), "wat"),
        (INFO + record("metadata", "application/json", b'{"other":1}'), "warc"),
        (INFO + record("metadata", "application/warc-fields", b"a: b"), "warc"),
        (record("warcinfo", "application/json", b'{"Envelope":{}}') + RESPONSE, "warc"),
        (packed(WARC)[:-9], "warc"),
        (packed(WAT)[:-9], "wat"),
        (gzip.compress(os.urandom(0) + WAT)[:120], "wat"),  # ends inside the first record
        (packed(INFO) + packed(DIGEST)[:30] + b"noise", "warc"),
    ],
)
def test_kind_is_told_by_content(tmp_path: Path, data: bytes, kind: str) -> None:
    path = tmp_path / "any.name"
    path.write_bytes(data)
    if kind == "wat" and len(data) == 120:
        path = path.rename(tmp_path / "x.wat.gz")  # nothing but the name is left to tell
    (found,) = find_inputs([str(path)])
    assert (found.kind, found.bytes, found.name) == (kind, len(data), path.name)
    assert found.path == str(path)
    with open_input(found.path) as file:
        assert file.read() == data


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b/x.warc.gz", "a/x.warc.gz", "a/y.wat", "a/c/x.warc.gz", "c/a/x.warc.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(packed(WARC) if name.endswith(".gz") else WAT)
    (tmp_path / "a/notes").write_text("not a crawl file")
    (tmp_path / "a/paths.txt").write_text("http://a.example/1.jpg")
    (tmp_path / "a/list.csv").write_text("url\n")
    (tmp_path / "a/.hidden.warc").write_text("not a crawl file")
    (tmp_path / "empty").mkdir()
    return tmp_path


def names(*arguments: str | Path) -> list[str]:
    return [found.name for found in find_inputs([str(argument) for argument in arguments])]


def test_folders_globs_and_files(tree: Path) -> None:
    assert names(tree / "b") == ["x.warc.gz"]
    assert names(tree / "*/y.wat") == ["y.wat"]
    assert names(tree / "b", tree / "b/x.warc.gz", tree / "b/*", tree / "b/../b") == ["x.warc.gz"]
    assert names(tree / "**/y.wat", tree / "b") == ["x.warc.gz", "y.wat"]


def test_names_are_as_short_as_they_tell_apart(tree: Path) -> None:
    assert names(tree / "b", tree / "a/x.warc.gz") == ["a/x.warc.gz", "b/x.warc.gz"]
    root = tree.name
    assert names(tree) == [
        *sorted(["a/c/x.warc.gz", "c/a/x.warc.gz", f"{root}/a/x.warc.gz", f"{root}/b/x.warc.gz"]),
        "y.wat",
    ]


def test_a_link_is_the_file_it_leads_to(tree: Path) -> None:
    (tree / "link.warc.gz").symlink_to(tree / "b/x.warc.gz")
    assert names(tree / "link.warc.gz", tree / "b") == ["x.warc.gz"]


def test_urls(tree: Path) -> None:
    (found,) = find_inputs([f"file://{tree}/b/x.warc.gz"])
    assert (found.name, found.kind, found.bytes) == ("x.warc.gz", "warc", len(packed(WARC)))
    with open_input(found.path) as file:
        assert file.read(2) == b"\x1f\x8b"
        file.seek(0)
        assert gzip.GzipFile(fileobj=io.BytesIO(file.read())).read() == WARC
    assert len(names(f"file://{tree}")) == 5
    assert names(f"file://{tree}/*/y.wat") == ["y.wat"]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.warc.gz", b"", "is empty"),
        ("a.warc.gz", b"\xff\xd8\xff\xe0jpeg", "JPEG"),
        ("a.warc.gz", b"\x89PNG\r\n", "PNG"),
        ("a.warc.gz", b"<!DOCTYPE html><title>403", "HTML"),
        ("a.warc.gz", gzip.compress(b"\n<html>"), "HTML"),
        ("a.warc.gz", gzip.compress(b""), "nothing in this gzip file"),
        ("a.warc.gz", b"\x1f\x8b\x08" + b"noise" * 9, "nothing in this gzip file"),
        ("a.warc.zst", b"\x28\xb5\x2f\xfdxxxx", "zstd -d"),
        ("a.arc", b"filedesc://x", "ARC"),
        ("a.wacz", b"PK\x03\x04", "ZIP"),
        ("a.parquet", b"url,text\n", "is named .parquet, but is none"),
        ("a.parquet.gz", gzip.compress(b"PAR1xxxx"), "gunzip"),
        ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        ("a.csv", b"<!DOCTYPE html><title>403", "HTML"),
        ("a.csv.gz", b"PK\x03\x04", "ZIP"),
        ("a.tsv", b"\x28\xb5\x2f\xfdxxxx", "zstd -d"),
        ("a.csv", b"", "is empty"),
        ("a.bin", b"hello", "does not begin with WARC/, nor is it named as a table"),
    ],
)
def test_what_is_no_crawl_file_is_named(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        find_inputs([str(tmp_path / name)])
    message = str(caught.value)
    assert says in message
    assert message.startswith(str(tmp_path / name))
    assert "\n" not in message


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("missing.warc.gz", "no such file or folder"),
        ("empty", "no crawl file or table in this folder"),
        ("*.nothing", "no file matches"),
        ("a/notes", "does not begin with WARC/"),
    ],
)
def test_bad_arguments(tree: Path, argument: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        find_inputs([str(tree / argument)])


def test_bad_urls_and_devices(tree: Path) -> None:
    for argument, says in (
        ("nosuch://x/y.warc.gz", "Protocol not known"),
        (f"file://{tree}/missing.warc.gz", "no such file"),
        (f"file://{tree}/empty", "no crawl file or table there"),
        ("/dev/null", "device"),
    ):
        with pytest.raises(ConfigError, match=says):
            find_inputs([argument])
    with pytest.raises(ConfigError, match="no input"):
        find_inputs([])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.parquet", b"PAR1xxxx"),
        ("a.bin", b"PAR1xxxx"),
        ("a.csv", b"PAR1xxxx"),
        ("a.csv", b"url,text\n"),
        ("A.CSV.GZ", gzip.compress(b"url,text\n")),
        ("a.csv", gzip.compress(b"url,text\n")),
        ("a.tsv.gz", b"not compressed"),
        ("a.jsonl.gz", gzip.compress(b"{}")),
        ("a.json", b"[]"),
        ("a.txt", b"hello"),
    ],
)
def test_tables_are_told_by_content_and_name(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    (found,) = find_inputs([str(tmp_path / name)])
    assert (found.kind, found.bytes, found.name) == ("table", len(data), name)


def test_a_crawl_file_may_be_named_like_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(packed(WARC))
    assert [found.kind for found in find_inputs([str(tmp_path / "a.csv")])] == ["warc"]


@pytest.mark.parametrize(
    ("held", "read"),
    [
        ("x.warc.gz part.parquet urls.txt", "x.warc.gz"),
        ("part.parquet sub/b.CSV c.tsv.gz d.jsonl stats.json 0.txt .e.csv _metadata.parquet", None),
        ("a.json b.txt.gz notes.md _f.txt", "a.json b.txt.gz"),
        ("notes.md", ""),
    ],
)
def test_a_folder_is_read_for_one_kind_of_file(tmp_path: Path, held: str, read: str | None) -> None:
    for name in held.split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(WARC if "warc" in name else b"x")
    if read is None:
        read = "b.CSV c.tsv.gz d.jsonl"  # and part.parquet, which is none and says so
        with pytest.raises(ConfigError, match=r"part\.parquet: is named \.parquet"):
            find_inputs([str(tmp_path)])
        (tmp_path / "part.parquet").unlink()
    for folder in (str(tmp_path), f"file://{tmp_path}"):
        if read:
            assert sorted(names(folder)) == read.split()
        else:
            with pytest.raises(ConfigError, match="no crawl file or table"):
                find_inputs([folder])


def test_crawl_files_and_tables_may_be_mixed(tmp_path: Path) -> None:
    (tmp_path / "a.warc").write_bytes(WARC)
    (tmp_path / "b.csv").write_bytes(b"url\n")
    found = find_inputs([str(tmp_path / "*")])
    assert [(one.name, one.kind) for one in found] == [("a.warc", "warc"), ("b.csv", "table")]


@pytest.mark.parametrize(
    ("path", "suffix"),
    [
        ("a/b.parquet", ".parquet"),
        ("a/B.Csv.GZ", ".csv"),
        ("https://h/x.tsv.gz?download=true#y", ".tsv"),
        ("https://h/x?y=.csv", ""),
        ("a?b.csv", ".csv"),
        ("csv", ""),
    ],
)
def test_table_suffix(path: str, suffix: str) -> None:
    assert table_suffix(path) == suffix


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable(tree: Path) -> None:
    (tree / "b/x.warc.gz").chmod(0)
    with pytest.raises(ConfigError, match="cannot be read"):
        find_inputs([str(tree / "b")])


@given(st.binary(max_size=200), st.sampled_from([b"", b"WARC/1.0\r\n", b"\x1f\x8b\x08"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_an_input_or_a_clear_error(tmp_path: Path, tail: bytes, head: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(head + tail)
    try:
        kinds = {found.kind for found in find_inputs([str(path)])}
    except ConfigError as refused:
        kinds = {str(refused).count("\n")}
    assert kinds in ({"wat"}, {"warc"}, {0})
