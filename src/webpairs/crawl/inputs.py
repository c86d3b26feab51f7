"""Inputs: the crawl files and tables that a command line names, told apart by content.

An argument is a file, a folder (searched by name: for crawl files, else for tables), a glob or an
fsspec URL.
"""

from __future__ import annotations

import glob
import io
import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Literal, cast

from webpairs.errors import ConfigError
from webpairs.files import regular_descriptor
from webpairs.url_user import without_user

if TYPE_CHECKING:
    from typing_extensions import Buffer

Kind = Literal["wat", "warc", "table"]

SUFFIXES: Final = (".warc", ".warc.gz", ".wat", ".wat.gz")
"""Names taken from a folder. A crawl file named on the command line may have any name."""
TABLE_SUFFIXES: Final = (".parquet", ".csv", ".tsv", ".jsonl", ".json", ".txt")
"""Names of tables, in any case; those of text also with .gz."""

_IN_FOLDERS: Final = (
    SUFFIXES,
    (".parquet", ".csv", ".tsv", ".jsonl"),
    (".json", ".txt"),
)
"""What a folder is read for: the first of these that it holds. Crawl files come with lists of
names, tables with statistics and notes, so what may be that is taken only where nothing else is."""

_FIX: Final = (
    "give .warc, .warc.gz, .wat or .warc.wat.gz files, or tables: .parquet, or .csv, .tsv, "
    ".jsonl, .json, .txt, gzip-compressed or not"
)
_BLOCK_BYTES: Final = 1 << 20
_LOOK_BYTES: Final = 1 << 16  # of the file
_LOOK_DECODED_BYTES: Final = 1 << 18
_LOOK_RECORDS: Final = 8

_PARQUET: Final = b"PAR1"
_MAGIC: Final = (
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"GIF8", "a GIF image"),
    (b"RIFF", "a RIFF file (WebP, WAV)"),
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a ZIP archive (unpack it; WACZ files hold their WARCs in archive/)"),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed (unpack it: zstd -d)"),
    (b"\x5d\x2a\x4d\x18", "zstd-compressed with a dictionary (unpack it first)"),
    (b"BZh", "bzip2-compressed (unpack it: bunzip2)"),
    (b"\xfd7zXZ", "xz-compressed (unpack it: unxz)"),
    (b"version https://git-lfs", "a pointer that Git LFS left for a file (fetch it: git lfs pull)"),
    (b"filedesc://", "an ARC file, the format before WARC (convert it: warcio recompress)"),
)


@dataclass(frozen=True, slots=True)
class Input:
    """One crawl file or table to read."""

    path: str
    """Absolute local path, or URL."""
    name: str
    """What stands for it in the dataset: the basename, longer only where that is not unique."""
    kind: Kind
    bytes: int
    """Size as stored, 0 where a server does not say."""


def find_inputs(arguments: Sequence[str]) -> list[Input]:
    """Return the distinct crawl files and tables that `arguments` name, sorted by name.

    Raises ConfigError, with the value and the fix, for what is missing, empty or neither.
    """
    if not arguments:
        raise ConfigError(f"no input: {_FIX}, folders of them, globs or URLs")
    sizes: dict[str, int] = {}
    for argument in arguments:
        if _is_url(argument):
            sizes.update(_find_remote(argument))
        else:
            for path in _find_local(argument):
                sizes[os.path.realpath(path)] = _local_size(path)
    names = _names(list(sizes))
    found = [Input(path, names[path], _kind_of(path, size), size) for path, size in sizes.items()]
    return sorted(found, key=lambda source: source.name)


def open_input(path: str) -> BinaryIO:
    """Open a local path or an fsspec URL for reading bytes, buffered."""
    if not _is_url(path):
        return io.BufferedReader(_Told(regular_descriptor(path)), _BLOCK_BYTES)
    system, inner = _file_system(path)
    return cast(BinaryIO, system.open(inner, "rb", block_size=4 * _BLOCK_BYTES))


@contextmanager
def told_of_reads(listener: Callable[[int], None]) -> Generator[None]:
    """Call `listener` with the number of bytes of every read from a local input in this block."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


_listener: ContextVar[Callable[[int], None] | None] = ContextVar("_listener", default=None)


class _Told(io.FileIO):
    """A file that reports each read, so that the bar of a large file moves."""

    def readinto(self, buffer: Buffer, /) -> int | None:
        num_bytes = super().readinto(buffer)
        listener = _listener.get()
        if listener is not None and num_bytes:
            listener(num_bytes)
        return num_bytes


def _is_url(argument: str) -> bool:
    return "://" in argument and not os.path.exists(argument)


def _find_local(argument: str) -> list[str]:
    argument = os.path.expanduser(argument)
    if os.path.isdir(argument):
        paths = _to_read(
            os.path.join(folder, name)
            for folder, _, names in os.walk(argument, followlinks=True)
            for name in names
            if os.path.isfile(os.path.join(folder, name))
        )
        if not paths:
            raise ConfigError(f"{argument}: no crawl file or table in this folder: {_FIX}")
        return paths
    if os.path.isfile(argument):
        return [argument]
    if os.path.exists(argument):
        raise ConfigError(f"{argument}: is a device or a pipe: inputs are read twice, {_FIX}")
    if glob.has_magic(argument):
        paths = [path for path in glob.glob(argument, recursive=True) if os.path.isfile(path)]
        if not paths:
            raise ConfigError(f"{argument}: no file matches: check the pattern and its quotes")
        return paths
    raise ConfigError(f"{argument}: no such file or folder: check the spelling")


def table_suffix(path: str) -> str:
    """Return the suffix that says what kind of table a file is, without `.gz`; else nothing."""
    if path.startswith(("http://", "https://")):
        path = path.partition("#")[0].partition("?")[0]
    path = path.lower().removesuffix(".gz")
    return next((suffix for suffix in TABLE_SUFFIXES if path.endswith(suffix)), "")


def _to_read(paths: Iterable[str]) -> list[str]:
    """Return those of the files found in a folder that are to be read, by their names."""
    seen = [path for path in paths if not path.rpartition("/")[2].startswith(".")]
    for suffixes in _IN_FOLDERS:
        if suffixes is SUFFIXES:
            found = [path for path in seen if path.endswith(suffixes)]
        else:  # Spark's and Hadoop's own files begin with an underscore
            names = ((path, path.rpartition("/")[2]) for path in seen)
            found = [p for p, name in names if table_suffix(name) in suffixes and name[0] != "_"]
        if found:
            return found
    return []


def _local_size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error


def _file_system(url: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URL (untyped), and the path inside it."""
    from fsspec.core import url_to_fs

    try:
        system, inner = url_to_fs(url)
    except ImportError as error:  # fsspec names the package to install
        raise ConfigError(f"{url}: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{url}: {error}: use a protocol fsspec knows, e.g. https://") from error
    return system, str(inner)


def _find_remote(url: str) -> dict[str, int]:
    system, inner = _file_system(url)
    try:
        if glob.has_magic(inner) and not system.exists(inner):
            inners = [str(path) for path in system.glob(inner)]
        elif url.startswith(("http://", "https://")):  # no folders; a 404 is seen when sniffing
            inners = [inner]
        elif system.isdir(inner):
            inners = _to_read(map(str, system.find(inner)))
        elif system.exists(inner):
            inners = [inner]
        else:
            raise ConfigError(f"{url}: no such file or folder: check the spelling")
        if not inners:
            raise ConfigError(f"{url}: no crawl file or table there: {_FIX}")
        return {str(system.unstrip_protocol(path)): int(system.size(path) or 0) for path in inners}
    except ConfigError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise ConfigError(f"{url}: cannot be read: {_one_line(error)}") from error


def _names(paths: list[str]) -> dict[str, str]:
    """Return for each path its basename, or the shortest end that tells it from its namesakes."""
    shown = {path: without_user(path) for path in paths}
    if list(shown.values()) != paths and len(set(shown.values())) == len(paths):
        names_shown = _names(list(shown.values()))
        return {path: names_shown[one] for path, one in shown.items()}
    namesakes: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        namesakes[path.rpartition("/")[2]].append(path)
    names: dict[str, str] = {}
    for same in namesakes.values():
        for num_parts in range(1, 1 + max(path.count("/") + 1 for path in same)):
            ends = {"/".join(path.split("/")[-num_parts:]): path for path in same}
            if len(ends) == len(same):
                names.update((path, end) for end, path in ends.items())
                break
    return names


def _kind_of(path: str, size: int) -> Kind:
    if size == 0 and not _is_url(path):
        raise ConfigError(f"{path}: the file is empty: fetch it again")
    try:
        with open_input(path) as file:
            head = file.read(_LOOK_BYTES)
    except ConfigError:
        raise
    except Exception as error:  # OSError here, a file system's own error there
        raise ConfigError(f"{path}: cannot be read: {_one_line(error)}") from error
    if not head:
        raise ConfigError(f"{path}: the file is empty: fetch it again")
    data = head
    if head.startswith(b"\x1f\x8b"):
        data = _gunzip_start(head)
        if not data:
            raise ConfigError(f"{path}: nothing in this gzip file can be read: fetch it again")
    data = data.lstrip(b"\r\n")
    if data.startswith(b"WARC/"):
        return _kind_of_records(path, data)
    if head.startswith(_PARQUET):
        return "table"
    what_else = _what_else(path, data)
    if what_else is not None:
        raise ConfigError(f"{path}: {what_else}: {_FIX}")
    return "table"


def _kind_of_records(path: str, data: bytes) -> Kind:
    """Look at the first records: a WAT's are JSON metadata with an Envelope."""
    for headers, body in _first_records(data):
        kind = headers.get(b"warc-type", b"")
        if kind == b"metadata" and headers.get(b"content-type", b"").startswith(
            b"application/json"
        ):
            # Long records are cut off here; Envelope is one of the two members at the top.
            return "wat" if b'"Envelope"' in body or b'"Container"' in body else "warc"
        if kind != b"warcinfo":
            return "warc"
    return "wat" if path.endswith((".wat", ".wat.gz")) else "warc"


def _first_records(data: bytes) -> Iterator[tuple[dict[bytes, bytes], bytes]]:
    position = 0
    for _ in range(_LOOK_RECORDS):
        while data[position : position + 1] in (b"\r", b"\n"):
            position += 1
        if not data.startswith(b"WARC/", position):
            return
        end = min((e for e in (data.find(s, position) for s in _BLANK) if e >= 0), default=-1)
        if end < 0:  # cut off: the name must do
            return
        block = data[position:end]
        lines = [line.partition(b":") for line in block.splitlines()[1:]]
        headers = {name.strip().lower(): value.strip().lower() for name, _, value in lines}
        start = end + (4 if data.startswith(_BLANK[0], end) else 2)
        length = headers.get(b"content-length", b"")
        position = start + (int(length) if length.isdigit() and len(length) < 16 else 0)
        yield headers, data[start:position]


_BLANK: Final = (b"\r\n\r\n", b"\n\n")


def _gunzip_start(head: bytes) -> bytes:
    """Return what the first bytes of a gzip file hold, as far as they decode."""
    data = bytearray()
    while head.startswith(b"\x1f\x8b") and len(data) < _LOOK_DECODED_BYTES:
        member = zlib.decompressobj(31)
        try:
            data += member.decompress(head, _LOOK_DECODED_BYTES - len(data))
        except zlib.error:
            data += _decode_bytewise(head, _LOOK_DECODED_BYTES - len(data))
            break
        head = member.unused_data
    return bytes(data)


def _decode_bytewise(head: bytes, max_bytes: int) -> bytes:
    """Decode the sound beginning of a broken gzip member: zlib drops what it had on an error."""
    member = zlib.decompressobj(31)
    data = bytearray()
    try:
        for position in range(len(head)):
            data += member.decompress(head[position : position + 1], max_bytes - len(data) or 1)
            if len(data) >= max_bytes:
                break
    except zlib.error:
        pass
    return bytes(data)


def _what_else(path: str, data: bytes) -> str | None:
    """Say what a file is that is neither crawl file nor parquet; None if it is another table."""
    if data.startswith(_PARQUET):
        return "is parquet inside gzip (unpack it: gunzip)"
    for magic, what in _MAGIC:
        if data.startswith(magic):
            return f"is {what}, not a crawl file or table"
    if data[:1024].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is an HTML or XML page, not a crawl file (an error page instead of the download?)"
    suffix = table_suffix(path)
    if suffix == ".parquet":
        return "is named .parquet, but is none (fetch it again)"
    if suffix:
        return None
    return "is not a crawl file: it does not begin with WARC/, nor is it named as a table"


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
