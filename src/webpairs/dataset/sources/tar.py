"""Reading samples from tars that are memory-mapped, looking at as little of them as possible."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from struct import Struct
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from webpairs.dataset.problems import Problem, Problems
from webpairs.dataset.sources.mapped import MappedFile
from webpairs.dataset.sources.source import Rows
from webpairs.files import read_regular

BLOCK: Final = 512
WALKED_BYTES: Final = 32_000_000
"""What is read around headers is let go of in steps of this: a tar may have gigabytes."""
IMAGE_EXTENSIONS: Final = frozenset(
    ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jxl", "jp2")
)
"""A member is an image by its extension, never for want of another meaning."""
_IMAGE_ENDS: Final = frozenset(extension.encode() for extension in IMAGE_EXTENSIONS)

# Places within a header block: POSIX.1-1988 (ustar).
_SIZE: Final = slice(124, 136)
_OCTAL_SIZE: Final = slice(124, 135)  # a zero byte follows its digits
_CHECKSUM: Final = slice(148, 156)
_MAGIC: Final = slice(257, 262)
_PREFIX: Final = slice(345, 500)
_HEADER: Final = Struct("100s 24x 11s 21x c 100x 5s 83x B")
"""Name, digits of the size, type, magic, and whether the name has a prefix."""
_ZEROS: Final = bytes(BLOCK)
_REGULAR: Final = b"0\0"
_OTHER_FILES: Final = (
    (b"\x1f\x8b", "compressed with gzip: unpack it with gunzip"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd: unpack it with zstd -d"),
    (b"bzh", "compressed with bzip2: unpack it with bunzip2"),
    (b"\xfd7zxz", "compressed with xz: unpack it with unxz"),
    (b"pk\x03\x04", "a ZIP archive: unpack it, and pack its files as a tar"),
    (b"<!doctype", "an HTML page, perhaps an error page instead of the download: fetch it again"),
    (b"<html", "an HTML page, perhaps an error page instead of the download: fetch it again"),
    (b"<?xml", "an XML page, perhaps an error page instead of the download: fetch it again"),
    (b"version https://git-lfs", "a pointer of Git LFS: fetch the file with git lfs pull"),
)
"""First bytes, in lower case, of what is often found under the name of a tar."""
_MOST_DIGITS: Final = 19
"""Of a size: 2^63 has so many."""
_SIZE_PLACES: Final = np.arange(_OCTAL_SIZE.start, _OCTAL_SIZE.stop)
_OCTAL: Final = 8 ** np.arange(len(_SIZE_PLACES) - 1, -1, -1, dtype=np.int64)


class TarImages:
    """Finder of the images of a shard's rows in its tar, by their keys.

    With an index of our own making (`NNNNN.tar.idx`: n + 1 u64, where each sample starts, its
    image first) only the headers of the images asked for are read, and the names in them are
    compared with the keys. Where that fails, and without an index, all headers are read once.
    """

    def __init__(
        self,
        path: Path,
        keys: pa.StringArray,
        shard: str,
        problems: Problems,
        index: Path | None = None,
    ) -> None:
        """`keys` are the names of the samples in the tar, in the order of the rows."""
        self._is_there = True
        try:
            self._tar = MappedFile(path)
        except OSError as error:
            self._tar = MappedFile(None)
            self._is_there = False
            problems.of_shard(Problem.IMAGES_MISSING, shard, str(error))
        self._bytes = np.frombuffer(self._tar.data, np.uint8)
        self._keys = keys
        self._shard = shard
        self._problems = problems
        self._starts: npt.NDArray[np.int64] | None = None
        self._names = _fixed_width(keys)
        if self._is_there and index is not None and self._names is not None:
            self._starts = self._read_index(index)
            if self._starts is None:
                problems.of_shard(Problem.INDEX_WRONG, shard, str(index))

    def images(self, rows: Rows) -> list[bytes | None]:
        """Return the images of `rows`, None where there is none."""
        if self._starts is not None:
            if (found := self._by_index(self._starts, rows)) is not None:
                return found
            self._give_up_index()
        firsts, ends = self._extents
        images: list[bytes | None] = [*self._ranges(firsts[rows], ends[rows])]
        for place in np.flatnonzero(ends[rows] < 0).tolist():
            images[place] = None
        return images

    def image(self, row: int) -> bytes | None:
        """Return one image, much faster than `images` does."""
        data = self._tar.data
        if self._starts is None:
            firsts, ends = self._extents
            return data[firsts[row] : ends[row]] if ends[row] >= 0 else None
        start, stop = self._starts[row : row + 2].tolist()
        header = data[start : start + BLOCK]
        try:
            size = int(header[_OCTAL_SIZE], 8) if header.startswith(self._dotted[row]) else -1
        except ValueError:
            size = -1
        first = start + BLOCK
        if size < 0 or first + size > stop:
            self._give_up_index()
            return self.image(row)
        return data[first : first + size]

    def release(self, rows: Rows) -> None:
        """Let go of the part of the tar from the first of `rows` to the last."""
        if self._starts is not None:
            self._tar.release(int(self._starts[rows[0]]), int(self._starts[rows[-1] + 1]))
        else:
            firsts, ends = self._extents
            self._tar.release(int(firsts[rows].min()), int(ends[rows].max()))

    def _ranges(self, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> list[bytes]:
        data = self._tar.data
        return [data[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]

    def _read_index(self, path: Path) -> npt.NDArray[np.int64] | None:
        """Return where samples start and the last one ends, None when that cannot be so."""
        try:
            numbers = np.frombuffer(read_regular(path, 8 * (len(self._keys) + 1)), "<u8")
        except (OSError, ValueError):
            return None
        # Compared before they are made signed: numbers above 2^63 would wrap.
        if len(numbers) != len(self._keys) + 1 or (numbers > len(self._tar.data)).any():
            return None
        starts = numbers.astype(np.int64)
        return starts if bool((np.diff(starts) >= 2 * BLOCK).all()) else None

    def _by_index(self, starts: npt.NDArray[np.int64], rows: Rows) -> list[bytes | None] | None:
        """Return images as the index says, None when their headers do not confirm it."""
        assert self._names is not None
        begin = starts[rows]
        names = self._names[rows]
        width = names.shape[1]
        # A gather of names and sizes: no header is copied, none looked at twice.
        found = self._bytes[begin[:, None] + np.arange(width)]
        digits = self._bytes[begin[:, None] + _SIZE_PLACES].astype(np.int64) - ord("0")
        first = begin + BLOCK
        end = first + digits @ _OCTAL
        agrees = (found == names).all() and ((digits >= 0) & (digits < 8)).all()
        if not agrees or (end > starts[rows + 1]).any():
            return None
        return [*self._ranges(first, end)]

    def _give_up_index(self) -> None:
        detail = "it does not lead to the samples that metadata has"
        self._problems.of_shard(Problem.INDEX_WRONG, self._shard, detail)
        self._starts = None

    @cached_property
    def _dotted(self) -> list[bytes]:
        return [f"{key}.".encode() for key in self._keys.to_pylist()]

    @cached_property
    def _extents(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Return where the image of each row starts and ends, by reading all headers; -1: none."""
        walked = walk(self._tar) if self._is_there else Walked([], None)
        self._tar.release(0, len(self._tar.data))
        if walked.broken is not None:
            self._problems.of_shard(Problem.TAR_BROKEN, self._shard, walked.broken)
        images: dict[bytes, tuple[int, int]] = {}
        names: list[bytes] = []
        for name, start, end in walked.members:
            key, extension = split(name)
            if extension in _IMAGE_ENDS or extension.lower() in _IMAGE_ENDS:
                names.append(name)
                images.setdefault(key, (start, end))
        if repeated := len(names) - len(set(names)):
            self._problems.of_shard(Problem.KEY_REPEATED, self._shard, "in the tar", repeated)
        keys = [key.encode() for key in self._keys.to_pylist()]
        extents = np.array([images.get(key, (0, -1)) for key in keys], np.int64).reshape(-1, 2)
        if unnamed := len(images) - int((extents[:, 1] >= 0).sum()):
            detail = "images without a row"
            self._problems.of_shard(Problem.NO_ROW, self._shard, detail, unnamed)
        return extents[:, 0], extents[:, 1]


@dataclass(frozen=True, slots=True)
class Walked:
    """Each member's name and where its bytes start and end, and where the tar is broken."""

    members: list[tuple[bytes, int, int]]
    broken: str | None


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a tar by key and extension, as (start, end), and what is wrong."""

    by_key: dict[str, dict[str, tuple[int, int]]]
    num_repeated: int
    broken: str | None

    def image(self, key: str) -> tuple[int, int] | None:
        """Return the image of a sample: its first member that is one."""
        members = self.by_key.get(key, {})
        return next((one for name, one in members.items() if name in IMAGE_EXTENSIONS), None)

    def why(self, key: str) -> str:
        """Return why a sample has no image, where its members tell; else nothing."""
        return _why_no_image(self.by_key.get(key, {}))


def list_members(tar: MappedFile) -> Members:
    """Return the members of each sample, wherever they stand; of one that is twice, the first."""
    walked = walk(tar)
    by_key: dict[str, dict[str, tuple[int, int]]] = {}
    num_repeated = 0
    for name, start, end in walked.members:
        key, extension = (part.decode(errors="replace") for part in split(name))
        members = by_key.setdefault(key, {})
        num_repeated += extension.lower() in members
        members.setdefault(extension.lower(), (start, end))
    return Members(by_key, num_repeated, walked.broken)


def walk(tar: MappedFile) -> Walked:
    """Read every header of a tar of any dialect (v7, ustar, GNU, pax), as far as it goes."""
    data = tar.data
    total = len(data)
    members: list[tuple[bytes, int, int]] = []
    special = _Special()
    position = released = 0
    while (start := position + BLOCK) <= total:
        raw_name, digits, kind, magic, prefixed = _HEADER.unpack_from(data, position)
        # Most headers are plain: a shard has 60,000 of them, which nothing else is called for.
        try:
            plain = magic == b"ustar" and not prefixed and not special.pending
            size = int(digits, 8) if plain else None
            if size is not None and size < 0:
                return Walked(members, _no_header(data, position))
        except ValueError:
            size = None
        if size is not None and kind == b"x":
            content = data[start : start + size]
            if b"path=" not in content and b"size=" not in content:  # a time, as a fraction
                position = start + size + -size % BLOCK
                continue
        if size is not None and kind == b"0":
            name = raw_name.rstrip(b"\0")
        else:
            block = data[position:start]
            if block == _ZEROS:
                return Walked(members, None)
            size = special.size(block)
            if size is None:
                return Walked(members, _no_header(data, position))
            name = special.name(block, data[start : start + size] if kind in b"Lx" else b"")
        end = start + size
        if end > total:
            return Walked(members, f"the member at byte {position} has no end")
        if name is not None:
            members.append((name, start, end))
        position = end + -end % BLOCK
        if position - released > WALKED_BYTES:
            tar.release(released, position)
            released = position
    # Without its blocks of zeros a tar was cut, be it between two members.
    return Walked(members, "it has no end mark")


class _Special:
    """Reader of headers that are not plain, and carry what one says of the next."""

    def __init__(self) -> None:
        self._name: bytes | None = None
        self._size: int | None = None
        self.pending = False
        """Whether the next header's name or size was given by the one before."""

    def size(self, block: bytes) -> int | None:
        """Return the size of what follows a header, None when it is none."""
        size = _number(block[_SIZE])
        if size is None or (block[_MAGIC] != b"ustar" and not _checksum_agrees(block)):
            return None
        return self._size if block[156] in _REGULAR and self._size is not None else size

    def name(self, block: bytes, content: bytes) -> bytes | None:
        """Return the name of a file, None when the header is of something else."""
        kind = block[156]
        if kind == ord("L"):  # GNU: a long name
            self._name = content.rstrip(b"\0")
            self.pending = True
            return None
        if kind == ord("x"):  # pax
            fields = _pax(content)
            self._name = fields.get(b"path", self._name)
            self._size = _decimal(fields.get(b"size", b"")) or self._size
            self.pending = self._name is not None or self._size is not None
            return None
        name = self._name
        if name is None:
            name = block[:100].split(b"\0", 1)[0]
            if block[345] and block[_MAGIC] == b"ustar":
                name = block[_PREFIX].split(b"\0", 1)[0] + b"/" + name
        self._name = self._size = None
        self.pending = False
        return name if kind in _REGULAR else None


def _why_no_image(extensions: Iterable[str]) -> str:
    """Return what is wrong with a sample whose image is named with a dot before its extension."""
    for extension in extensions:
        if "." in extension and extension.rpartition(".")[2] in IMAGE_EXTENSIONS:
            return (
                f"it has a member .{extension}: readers of WebDataset take all that follows the "
                "first dot of a name as its extension, so name samples without dots"
            )
    return ""


def split(name: bytes) -> tuple[bytes, bytes]:
    """Return key and extension: what is before and after the first dot of a name's last part.

    Source: WebDataset.
    """
    if b"/" not in name:
        stem, _, extension = name.partition(b".")
        return stem, extension
    folder, _, last = name.removeprefix(b"./").rpartition(b"/")
    stem, _, extension = last.partition(b".")
    return (folder + b"/" + stem if folder else stem), extension


def _number(field: bytes) -> int | None:
    if field[0] & 0x80:  # GNU: base 256
        return int.from_bytes(field[1:])
    text = field.split(b"\0", 1)[0].strip()
    try:
        return max(int(text, 8), 0) if text else 0
    except ValueError:
        return None


def _decimal(digits: bytes) -> int | None:
    """Return a number of a pax header; None for what is not one, or cannot be a size."""
    return int(digits) if digits.isdigit() and len(digits) <= _MOST_DIGITS else None


def _no_header(data: mmap.mmap | bytes, position: int) -> str:
    """Describe what stands where a header should: at the start of a file, what the file is."""
    if position == 0:
        head = bytes(data[:BLOCK])
        for magic, what in _OTHER_FILES:
            if head.lstrip().lower().startswith(magic):
                return f"it is {what}"
    return f"no header at byte {position}"


def _checksum_agrees(block: bytes) -> bool:
    return _number(block[_CHECKSUM]) == sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")


def _pax(data: bytes) -> dict[bytes, bytes]:
    """Return the fields of a pax header: lines of `LENGTH NAME=VALUE`."""
    fields: dict[bytes, bytes] = {}
    while data:
        digits, _, rest = data.partition(b" ")
        length = _decimal(digits)
        if length is None or length <= len(digits) + 1:
            break
        name, _, value = rest[: length - len(digits) - 2].partition(b"=")
        fields[name] = value
        data = data[length:]
    return fields


def _fixed_width(keys: pa.StringArray) -> npt.NDArray[np.uint8] | None:
    """Return keys of one width, each with the dot that follows it in a tar, as (n, width + 1)."""
    lengths = {len(key) for key in keys.slice(0, 1).to_pylist()}
    dotted = b"".join(f"{key}.".encode() for key in keys.to_pylist())
    width = next(iter(lengths), 0) + 1
    if len(dotted) != width * len(keys) or width > _SIZE.start:
        return None
    return np.frombuffer(dotted, np.uint8).reshape(-1, width)
