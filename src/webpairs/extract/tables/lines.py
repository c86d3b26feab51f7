"""Reading tables that are text, a row a line, in memory that does not grow: JSONL and lists.

Rows that are broken come as the number 1, so that whoever counts can count them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final

from webpairs.crawl.lenient_json import read_json_value
from webpairs.errors import ConfigError
from webpairs.extract.tables.columns import (
    NAMED_AS_USUAL,
    Layout,
    Row,
    TableColumns,
    find_layout,
)
from webpairs.extract.tables.encoding import Readable

SAMPLE_ROWS: Final = 1_000
"""The first rows tell where the URLs are and what types there are."""
MAX_LINE_BYTES: Final = 8 << 20
"""A longer line is a broken row. The longest text in CommonPool has a million characters."""
_BLOCK_BYTES: Final = 1 << 20
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
BROKEN: Final = 1

Line = bytes | None
"""A line without its end; None for one that is too long."""
RowsOf = tuple[Layout, Iterator[Row | int]]
"""What the columns are for, and the rows; an integer stands for so many broken rows."""


def read_lines(reader: Readable) -> Iterator[Line]:
    """Yield the lines of a file, empty ones too.

    A line ends with LF, its CR taken off. A file, or a stretch longer than any line, that has no LF
    is cut at CR; a CR elsewhere stays in its line, for whoever knows what a row looks like.
    """
    buffer = bytearray(_BLOCK_BYTES)
    rest = b""
    skipping = fed = False
    with memoryview(buffer) as view:
        while num := reader.readinto(view):
            *lines, rest = (rest + view[:num]).split(b"\n")
            fed = fed or bool(lines)
            if skipping:
                if not lines:
                    rest = b""
                    continue
                del lines[0]
                skipping = False
                yield None
            for line in lines:
                yield _without_return(line)
            most = MAX_LINE_BYTES if fed else _BLOCK_BYTES
            if len(rest) > most and b"\r" in rest:
                *lines, rest = rest.split(b"\r")
                for line in lines:
                    yield _without_return(line)
            if len(rest) > MAX_LINE_BYTES:
                rest = b""
                skipping = True
    if skipping:
        yield None
    elif rest:
        lines = [rest] if fed else rest.removesuffix(b"\r").split(b"\r")
        for line in lines:
            yield _without_return(line)


def read_url_list(path: str, lines: Iterator[Line]) -> RowsOf:
    """Read one URL a line: commas and spaces are part of it, a tab is not and breaks the row."""
    sample, lines = first_lines(lines)
    if not any(line.strip().lower().startswith((b"http://", b"https://")) for line in sample):
        raise ConfigError(
            f"{path}: no http(s) URL in its first {len(sample)} lines: "
            "a .txt has one URL a line; name a table .csv, .tsv or .jsonl"
        )
    layout = find_layout(path, ("url",), (), NAMED_AS_USUAL)

    def rows() -> Iterator[Row | int]:
        for line in lines:
            for piece in (None,) if line is None else line.split(b"\r"):
                text = decoded(piece)
                if text is None or "\t" in text.strip():
                    yield BROKEN
                elif text.strip():
                    yield {"url": text.strip()}

    return layout, rows()


def read_json_lines(path: str, lines: Iterator[Line], columns: TableColumns) -> RowsOf:
    """Read a JSON object a line."""
    sample, lines = first_lines(lines)
    found = [row for row in _json_rows(sample) if not isinstance(row, int)]
    if not found:
        raise ConfigError(
            f"{path}: no JSON object in its first {len(sample)} lines: write one a line"
        )
    headings = list(dict.fromkeys(key for row in found for key in row))
    return find_layout(path, headings, found, columns), _json_rows(lines)


def first_lines(lines: Iterator[Line]) -> tuple[list[bytes], Iterator[Line]]:
    """Return the first lines that are not empty, and all lines.

    Bounded in bytes, too. Takes the byte order mark off.
    """
    first: list[Line] = []
    num_lines = num_bytes = 0
    for line in lines:
        if line is not None and not first:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        first.append(line)
        num_lines += bool(line)
        num_bytes += len(line or b"")
        if num_lines >= SAMPLE_ROWS or num_bytes >= MAX_LINE_BYTES:
            break
    return [line for line in first if line], chain(first, lines)


def _json_rows(lines: Iterable[Line]) -> Iterator[Row | int]:
    for line in lines:
        if line is None:
            yield BROKEN
        elif line and not line.isspace():
            row = json_object(line)
            if isinstance(row, int) and b"\r" in line:
                yield from _json_rows(line.split(b"\r"))
            else:
                yield row


def json_object(text: bytes) -> Row | int:
    """Return the JSON object that `text` is, else the number of rows that are broken: 1."""
    try:
        row: Any = read_json_value(text)
    except ValueError:
        return BROKEN
    return row if isinstance(row, dict) else BROKEN


def decoded(line: Line) -> str | None:
    try:
        return None if line is None else line.decode()
    except UnicodeDecodeError:
        return None


def _without_return(line: bytes) -> Line:
    return None if len(line) > MAX_LINE_BYTES else line.removesuffix(b"\r")
