"""Read tables that are text, a row a line, in memory that does not grow: CSV, TSV, JSONL, lists.

Rows that are broken come as the number 1, so that whoever counts can count them.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

import orjson

from webpairs.errors import ConfigError
from webpairs.extract.gunzip import GunzipReader
from webpairs.extract.table_columns import (
    NAMED_AS_USUAL,
    Layout,
    Row,
    TableColumns,
    find_layout,
    names_url_column,
    unique_names,
)

SAMPLE_ROWS: Final = 1_000
"""The first rows tell where the URLs are and what types there are."""
MAX_LINE_BYTES: Final = 8 << 20
"""A longer line is a broken row. The longest text in CommonPool has a million characters."""
_MAX_QUOTED_LINES: Final = 100
"""A quote that is not closed within so many lines was no quote."""
_BLOCK_BYTES: Final = 1 << 20
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_HTTP: Final = ("http://", "https://")
_DELIMITERS: Final = (",", "\t", ";", "|")
_BROKEN: Final = 1

Line = bytes | None
"""A line without its end; None for one that is too long."""
Record = list[str] | None
"""The fields of a line; None when it is broken."""
RowsOf = tuple[Layout, Iterator[Row | int]]
"""What the columns are for, and the rows; an integer stands for so many broken rows."""


def read_lines(reader: GunzipReader) -> Iterator[Line]:
    """Yield the lines of a file, empty ones too."""
    buffer = bytearray(_BLOCK_BYTES)
    rest = b""
    skipping = False
    with memoryview(buffer) as view:
        while num := reader.readinto(view):
            *lines, rest = (rest + view[:num]).split(b"\n")
            if skipping:
                if not lines:
                    rest = b""
                    continue
                del lines[0]
                skipping = False
                yield None
            for line in lines:
                yield _without_return(line)
            if len(rest) > MAX_LINE_BYTES:
                rest = b""
                skipping = True
    if skipping:
        yield None
    elif rest:
        yield _without_return(rest)


def read_url_list(path: str, lines: Iterator[Line]) -> RowsOf:
    """Read one URL a line: commas and spaces are part of it, a tab is not and breaks the row."""
    sample, lines = _sample(path, lines)
    if not any(line.strip().lower().startswith((b"http://", b"https://")) for line in sample):
        raise ConfigError(
            f"{path}: no http(s) URL in its first {len(sample)} lines: "
            "a .txt has one URL a line; name a table .csv, .tsv or .jsonl"
        )
    layout = find_layout(path, ("url",), (), NAMED_AS_USUAL)

    def rows() -> Iterator[Row | int]:
        for line in lines:
            text = _decoded(line)
            if text is None or "\t" in text.strip():
                yield _BROKEN
            elif text.strip():
                yield {"url": text.strip()}

    return layout, rows()


def read_json_lines(path: str, lines: Iterator[Line], columns: TableColumns) -> RowsOf:
    """Read a JSON object a line."""
    sample, lines = _sample(path, lines)
    found = [row for row in _json_rows(sample) if not isinstance(row, int)]
    if not found:
        raise ConfigError(
            f"{path}: no JSON object in its first {len(sample)} lines: write one a line"
        )
    headings = list(dict.fromkeys(key for row in found for key in row))
    return find_layout(path, headings, found, columns), _json_rows(lines)


def read_csv(path: str, lines: Iterator[Line], columns: TableColumns, delimiter: str) -> RowsOf:
    """Read fields between delimiters, quoted as RFC 4180 has it, with or without a header.

    The first row is a header if it names the URL's column; a header that another delimiter cuts
    right counts as well. If it holds a URL instead, there is no header.
    """
    sample, lines = _sample(path, lines)
    for cut in (delimiter, *_DELIMITERS):
        records = [record for record in _records(iter(sample), cut) if record is not None]
        if records and names_url_column(records[0], columns):
            break
    else:
        cut = delimiter
        records = [record for record in _records(iter(sample), cut) if record is not None]
        if not records:
            raise ConfigError(f"{path}: no row in its first {len(sample)} lines: fetch it again")
    headings: Sequence[str] = records[0]
    has_header = names_url_column(headings, columns) or not any(map(_is_url, headings))
    if not has_header:
        headings = unique_names([""] * len(headings))
        columns = _columns_by_content(path, headings, records, columns)
    names = unique_names(headings)
    width = len(names)
    found = [
        dict(zip(names, record, strict=True))
        for record in records[has_header:]
        if len(record) == width
    ]
    layout = find_layout(path, headings, found, columns, ["string"] * width)

    def rows() -> Iterator[Row | int]:
        all_records = _records(lines, cut)
        if has_header:
            next((record for record in all_records if record is not None), None)
        for record in all_records:
            if record is None or len(record) != width:
                yield _BROKEN
            else:
                yield dict(zip(names, record, strict=True))

    return layout, rows()


def _sample(path: str, lines: Iterator[Line]) -> tuple[list[bytes], Iterator[Line]]:
    """Return the first lines that are not empty, and all lines.

    Bounded in bytes, too. Takes the byte order mark off; raises ConfigError for UTF-16.
    """
    first: list[Line] = []
    num_lines = num_bytes = 0
    for line in lines:
        if line is not None and not first:
            if line.startswith(_UTF16):
                raise ConfigError(f"{path}: is UTF-16: convert it to UTF-8 (iconv -f utf-16)")
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
            yield _BROKEN
        elif line and not line.isspace():
            yield json_object(line)


def json_object(text: bytes) -> Row | int:
    """Return the JSON object that `text` is, else the number of rows that are broken: 1."""
    try:
        row: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        row = _json_of_python(text) if b"NaN" in text or b"Infinity" in text else None
    return row if isinstance(row, dict) else _BROKEN


def _json_of_python(text: bytes) -> Any:
    """Read what Python's json writes of numbers that JSON does not have."""
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _columns_by_content(
    path: str, names: Sequence[str], records: list[list[str]], columns: TableColumns
) -> TableColumns:
    """Return the column of a headerless table that holds URLs, in half its fields at least.

    Of two columns the other one holds the texts.
    """
    rows = [record for record in records if len(record) == len(names)]
    places: list[int] = []
    for place in range(len(names)):
        fields = [row[place] for row in rows if row[place].strip()]
        if fields and 2 * sum(map(_is_url, fields)) >= len(fields):
            places.append(place)
    url, text = columns.url, columns.text
    if url is None:
        if len(places) != 1:
            raise ConfigError(
                f"{path}: no header, and {len(places)} of its {len(names)} columns hold URLs: "
                "name one as --url-column column_1, column_2 ..., or add a header"
            )
        url = names[places[0]]
    if text is None and len(names) == 2:
        text = next((name for name in names if name != url), None)
    return TableColumns(url, text)


def _records(lines: Iterator[Line], delimiter: str) -> Iterator[Record]:
    """Yield the fields of each line that is not empty, of several lines where a quote is open.

    What is quoted wrongly is read as it stands: quotes of captions that nobody escaped.
    """
    ahead: deque[Line] = deque()
    width = 0
    quoted = delimiter + '"'

    def following() -> Iterator[Line]:
        while True:
            if ahead:
                yield ahead.popleft()
            else:
                line = next(lines, _END)
                if line is _END:
                    return
                yield line

    for line in following():
        text = _decoded(line)
        if text is None:
            yield None
            continue
        if not text:
            continue
        if '"' not in text or not (text[0] == '"' or quoted in text):
            fields = text.split(delimiter)
        elif text.count('"') % 2 == 0:
            fields = _split_quoted(text, delimiter) or text.split(delimiter)
        else:
            more = _until_closed(text, lines, ahead, delimiter, width)
            joined = None if more is None else _split_quoted("\n".join((text, *more)), delimiter)
            if more is None or joined is None:
                fields = text.split(delimiter)
            else:
                fields = joined
                for _ in more:
                    ahead.popleft()
        width = width or len(fields)
        yield fields


_END: Final[Any] = object()


def _until_closed(
    text: str, lines: Iterator[Line], ahead: deque[Line], delimiter: str, width: int
) -> list[str] | None:
    """Return the lines that a quote left open in `text` goes on over, None if it is no quote.

    They stay in `ahead`. Where this line and the next are records as they stand, the quote belongs
    to a text and is not the beginning of several lines.
    """
    more: list[str] = []
    num_chars = len(text)
    while len(more) < _MAX_QUOTED_LINES and num_chars <= MAX_LINE_BYTES:
        if len(more) == len(ahead):
            line = next(lines, _END)
            if line is _END:
                return None
            ahead.append(line)
        following = _decoded(ahead[len(more)])
        if following is None:
            return None
        if not more and _are_whole(text.split(delimiter), following.split(delimiter), width):
            return None
        more.append(following)
        num_chars += len(following)
        if following.count('"') % 2:
            return more
    return None


def _are_whole(one: list[str], other: list[str], width: int) -> bool:
    """Say whether both have the fields of the first record, and a URL in the same place."""
    return len(one) == len(other) == width and any(
        _is_url(a) and _is_url(b) for a, b in zip(one, other, strict=True)
    )


def _split_quoted(text: str, delimiter: str) -> list[str] | None:
    """Return the fields of a record, None when something stands between quote and delimiter."""
    fields: list[str] = []
    at = 0
    while True:
        if text.startswith('"', at):
            end = text.find('"', at + 1)
            while end >= 0 and text.startswith('"', end + 1):
                end = text.find('"', end + 2)
            if end < 0:
                return None
            fields.append(text[at + 1 : end].replace('""', '"'))
            at = end + 1
            if at < len(text) and text[at] != delimiter:
                return None
        else:
            end = text.find(delimiter, at)
            fields.append(text[at:] if end < 0 else text[at:end])
            at = len(text) if end < 0 else end
        if at >= len(text):
            return fields
        at += 1


def _is_url(field: str) -> bool:
    return field.strip().lower().startswith(_HTTP)


def _decoded(line: Line) -> str | None:
    try:
        return None if line is None else line.decode()
    except UnicodeDecodeError:
        return None


def _without_return(line: bytes) -> Line:
    return None if len(line) > MAX_LINE_BYTES else line.removesuffix(b"\r")
