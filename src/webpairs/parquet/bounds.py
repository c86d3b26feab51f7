"""What a column of a parquet file becomes when it is decoded, told by its pages before it is.

A file of a few kilobytes may hold a string of two gigabytes, or a list of a hundred million nulls:
pages are compressed, runs of equal values are stored as one, and a dictionary's value is stored
once however often it is used. The footer's sizes need not be true. So the headers of the pages are
read first: a page is never decoded to another size than its header says, or the reader fails.

    header      what is bounded                              bound
    any page    bytes after decompression, and what texts    MAX_PAGE_BYTES
                share with the one before
    data page   in lists: values, nulls included             MAX_PAGE_VALUES
    dictionary  its longest value, times the column's values MAX_DECODED_BYTES (if longer than
                                                             LONG_VALUE_BYTES)
    column      in lists: bytes and levels of a row group    MAX_DECODED_BYTES

Source of the format: Apache Parquet, `parquet.thrift` (PageHeader), Thrift's compact protocol.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.parquet.prefixes import prefix_bytes
from webpairs.parquet.varint import read_varint, signed
from webpairs.quantities import size_of

MAX_FOOTER_BYTES: Final = 32_000_000
"""In memory a footer takes about forty times its bytes: `extract` took 405 MB for one of 6.7 MB
(20,000 row groups of 8 columns), 128 MB without it."""
MAX_PAGE_BYTES: Final = 64_000_000
"""Writers cut pages at 1 MB (parquet-cpp, parquet-java), so only a very long value makes a large
one."""
MAX_PAGE_VALUES: Final = 4_000_000
"""Writers cut pages at 20,000 rows; 1 MB has 262,144 numbers of 4 bytes. Columns that are not lists
are decoded some rows at a time, and old writers put 10 million nulls into one page."""
MAX_DECODED_BYTES: Final = 500_000_000
"""Of a column in a row group, where a single row may hold all of it."""
LONG_VALUE_BYTES: Final = 8 << 10
"""Shorter values of a dictionary are not multiplied: a batch of rows of them is 64 MB."""
MAX_CHUNK_PAGES: Final = 1_000_000
_LEVEL_BYTES: Final = 4
"""Repetition and definition level of a value, as the decoder holds them."""
_HEADER_BYTES: Final = (256, 64 << 10)
"""First as much as most headers have, then as much as one with statistics may have."""
_MAX_DEPTH: Final = 8
_PADDING_BYTES: Final = 100
"""Old parquet-mr counts less than it writes (PARQUET-816): decoders read on, so this does too."""
_TAIL: Final = struct.Struct("<I4s")
"""Length of the footer, and the file's last bytes."""
_MAGIC: Final = b"PAR1"
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_DELTA_BYTE_ARRAY: Final = 7
_BOOLS: Final = (1, 2)
_DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 7, 8, 9, 10, 11, 12


@dataclass(slots=True)
class Chunk:
    """What the headers of a column chunk's pages say."""

    num_values: int = 0
    num_bytes: int = 0
    """Of all pages, after decompression."""
    largest_page: int = 0
    most_values: int = 0
    """Of a page."""
    bytes_a_row: float = 0.0
    """In the page where it is most; in lists a value counts as a row."""
    longest: int = 0
    """Bytes of the longest value of a dictionary of texts or bytes."""

    def fault(self, *, nested: bool) -> str | None:
        """Return why this is not to be decoded, as the end of a sentence, or None."""
        if self.largest_page > MAX_PAGE_BYTES:
            return f"has a page of {size_of(self.largest_page)} (limit {size_of(MAX_PAGE_BYTES)})"
        if nested and self.most_values > MAX_PAGE_VALUES:
            return f"has {self.most_values:,} values in a page (limit {MAX_PAGE_VALUES:,})"
        num_bytes = 0
        if nested:
            num_bytes = self.num_bytes + _LEVEL_BYTES * self.num_values
        if self.longest > LONG_VALUE_BYTES:
            num_bytes += self.longest * self.num_values
        if num_bytes > MAX_DECODED_BYTES:
            return f"may become {size_of(num_bytes)} (limit {size_of(MAX_DECODED_BYTES)})"
        return None


def require_footer(file: BinaryIO) -> None:
    """Raise ValueError where a file's footer is too large to be read; its position is changed.

    What is not a parquet file passes.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _TAIL.size))
    tail = file.read(_TAIL.size)
    file.seek(0)
    if len(tail) < _TAIL.size:
        return
    num_bytes, magic = _TAIL.unpack(tail)
    if magic == _MAGIC and size >= num_bytes > MAX_FOOTER_BYTES:
        raise ValueError(
            f"its footer has {size_of(num_bytes)} (limit {size_of(MAX_FOOTER_BYTES)}): "
            "write it in fewer row groups"
        )


class ChunkReader:
    """What the pages of a file's column chunks say."""

    def __init__(self, file: BinaryIO) -> None:
        """Read pages of `file`, whose position is changed."""
        self._file = file
        self._left = file.seek(0, 2)
        """Bytes of the file that are in no chunk yet: a file of chunks that overlap would be read
        again and again."""

    def read(self, column: pq.ColumnChunkMetaData, leaf: pq.ColumnSchema) -> Chunk:
        """Read the headers of a column chunk's pages; raises ValueError for what is not one.

        Dictionaries of texts are read too, and texts that are stored by what they share.
        """
        offset = column.data_page_offset
        # A decoder takes 0 for "none", so that what is read here is what it reads.
        if column.has_dictionary_page and (column.dictionary_page_offset or 0) > 0:
            offset = min(offset, column.dictionary_page_offset)
        self._left -= column.total_compressed_size
        if self._left < 0:
            raise ValueError("its row groups are larger than the file")
        end = offset + column.total_compressed_size + _PADDING_BYTES
        chunk = Chunk()
        for _ in range(MAX_CHUNK_PAGES):
            if chunk.num_values >= column.num_values:
                return chunk
            if offset >= end:
                raise ValueError(f"pages hold {chunk.num_values} of {column.num_values} values")
            header, length = _read_header(self._file, offset, end)
            num_bytes, num_stored = _size(header, 2, offset), _size(header, 3, offset)
            page = _Page(header, num_bytes, num_stored, offset + length)
            chunk.largest_page = max(chunk.largest_page, num_bytes)
            if header.get(1) == _DICTIONARY:
                chunk.longest = self._longest(page, column, leaf)
            elif header.get(1) in (_DATA, _DATA_V2):
                values = page.num_values
                if num_bytes <= MAX_PAGE_BYTES:
                    num_bytes += self._shared(page, column, leaf)
                chunk.largest_page = max(chunk.largest_page, num_bytes)
                chunk.num_values += values
                chunk.most_values = max(chunk.most_values, values)
                chunk.bytes_a_row = max(chunk.bytes_a_row, num_bytes / max(1, values))
            chunk.num_bytes += num_bytes
            offset = page.start + num_stored
        raise ValueError(f"it has more than {MAX_CHUNK_PAGES:,} pages")

    def _longest(self, page: _Page, column: pq.ColumnChunkMetaData, leaf: pq.ColumnSchema) -> int:
        """Return the bytes of the longest value of a dictionary of texts or bytes."""
        if column.physical_type == "FIXED_LEN_BYTE_ARRAY":
            return leaf.length
        if column.physical_type != "BYTE_ARRAY" or page.num_bytes > MAX_PAGE_BYTES:
            return 0
        return _longest(_inflated(self._stored(page), column.compression, page.num_bytes))

    def _shared(self, page: _Page, column: pq.ColumnChunkMetaData, leaf: pq.ColumnSchema) -> int:
        """Return how many bytes texts take from those before them (DELTA_BYTE_ARRAY)."""
        first, second = page.header.get(5) or {}, page.header.get(8) or {}
        if _DELTA_BYTE_ARRAY not in (first.get(2), second.get(4)):
            return 0
        data = self._stored(page)
        if page.header[1] == _DATA_V2:
            levels = _size(second, 5, page.start) + _size(second, 6, page.start)
            data, num_bytes = data[levels:], page.num_bytes - levels
            if second.get(7, True):
                data = _inflated(data, column.compression, max(0, num_bytes))
        else:
            data = _inflated(data, column.compression, page.num_bytes)
            for most in (leaf.max_repetition_level, leaf.max_definition_level):
                if most:
                    data = data[4 + int.from_bytes(data[:4], "little") :]
        return prefix_bytes(data, page.num_values) if page.num_values else 0

    def _stored(self, page: _Page) -> bytes:
        self._file.seek(page.start)
        return self._file.read(page.num_stored)


@dataclass(frozen=True, slots=True)
class _Page:
    """A page whose header is known."""

    header: dict[int, Any]
    num_bytes: int
    """After decompression."""
    num_stored: int
    start: int
    """Where in the file the bytes behind the header begin."""

    @property
    def num_values(self) -> int:
        """Nulls included."""
        described = self.header.get(5) or self.header.get(8) or {}
        return _size(described, 1, self.start)


def _size(header: dict[int, Any], field: int, offset: int) -> int:
    number = header.get(field)
    if not isinstance(number, int) or number < 0:
        raise ValueError(f"no page begins at byte {offset}")
    return number


def _read_header(file: BinaryIO, offset: int, end: int) -> tuple[dict[int, Any], int]:
    """Return the fields of a page's header, and its length."""
    for num_bytes in _HEADER_BYTES:
        file.seek(offset)
        try:
            return read_struct(file.read(min(num_bytes, end - offset)), 0, 0)
        except ValueError:
            if num_bytes == _HEADER_BYTES[-1]:
                raise
    raise AssertionError("unreachable")


def _inflated(data: bytes, compression: str, num_bytes: int) -> bytes:
    if compression == "UNCOMPRESSED":
        return data
    name = {"LZ4": "lz4_raw", "LZ4_RAW": "lz4_raw"}.get(compression, compression.lower())
    try:
        return pa.Codec(name).decompress(data, num_bytes, asbytes=True)
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"a dictionary cannot be decompressed ({error})") from error


def _longest(dictionary: bytes) -> int:
    """Return the longest of values that stand each behind its length (PLAIN encoding)."""
    longest = at = 0
    unpack, end = struct.Struct("<I").unpack_from, len(dictionary) - 4
    while at <= end:
        (length,) = unpack(dictionary, at)
        if length > longest:
            longest = length
        at += 4 + length
    return longest


def read_struct(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Return the fields of a struct of Thrift's compact protocol, and where it ends.

    Texts are passed over and are None. Raises ValueError where it does not end.
    """
    if depth > _MAX_DEPTH:
        raise ValueError("a page header is nested too deep")
    found: dict[int, Any] = {}
    field = 0
    while True:
        try:
            byte = data[at]
        except IndexError:
            raise ValueError("a page header does not end") from None
        at += 1
        if byte == 0:
            return found, at
        kind = byte & 15
        if byte >> 4:
            field += byte >> 4
        else:
            field, at = read_varint(data, at)
            field = signed(field)
        found[field], at = _read_value(data, at, kind, depth, in_list=False)


def _read_value(data: bytes, at: int, kind: int, depth: int, *, in_list: bool) -> tuple[Any, int]:
    if kind in _BOOLS:
        return kind == _BOOLS[0], at + in_list
    if kind == 3:
        return None, at + 1
    if kind in (4, 5, 6):
        number, at = read_varint(data, at)
        return signed(number), at
    if kind == _DOUBLE:
        return None, at + 8
    if kind == _BINARY:
        length, at = read_varint(data, at)
        return None, at + length
    if kind in (_LIST, _SET):
        if at >= len(data):
            raise ValueError("a page header does not end")
        num, inner = data[at] >> 4, data[at] & 15
        at += 1
        if num == 15:
            num, at = read_varint(data, at)
        for _ in range(min(num, len(data))):
            _, at = _read_value(data, at, inner, depth + 1, in_list=True)
        return None, at
    if kind == _STRUCT:
        return read_struct(data, at, depth + 1)
    raise ValueError(f"a page header has a field of kind {kind}")
