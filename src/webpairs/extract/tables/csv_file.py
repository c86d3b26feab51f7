"""Reading tables whose rows are fields between delimiters: CSV, TSV and their relatives.

Quotes are as RFC 4180 has them, or escaped by a backslash, as MySQL and Spark write them. Lines end
in LF, CRLF or CR, mixed too. Rows that are broken come as the number 1, so that whoever counts can
count them.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final

from webpairs.errors import ConfigError
from webpairs.extract.tables.columns import (
    Row,
    TableColumns,
    find_layout,
    names_url_column,
    unique_names,
)
from webpairs.extract.tables.lines import (
    BROKEN,
    MAX_LINE_BYTES,
    Line,
    RowsOf,
    decoded,
    first_lines,
)

_MAX_QUOTED_LINES: Final = 100
"""A quote that is not closed within so many lines was no quote."""
_HTTP: Final = ("http://", "https://")
_DELIMITERS: Final = (",", "\t", ";", "|")

_BACKSLASH: Final = '\\"'
_ESCAPED_FIELD: Final = re.compile(r'"((?:[^"\\]++|\\.|"")*+)"', re.DOTALL)
_ESCAPE: Final = re.compile(r'(?:\\|"(?="))(["\\])')

Record = list[str] | None
"""The fields of a line; None when it is broken."""


def read_csv(path: str, lines: Iterator[Line], columns: TableColumns, delimiter: str) -> RowsOf:
    """Read fields between delimiters, quoted as RFC 4180 has it, with or without a header.

    The first row is a header if it names the URL's column; a header that another delimiter cuts
    right counts as well. If it holds a URL instead, there is no header.
    """
    sample, lines = first_lines(lines)
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
                yield BROKEN
            else:
                yield dict(zip(names, record, strict=True))

    return layout, rows()


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
        text = decoded(line)
        if text is None:
            yield None
            continue
        if not text:
            continue
        if "\r" in text:
            text, *more = _at_returns(text, delimiter, width)
            ahead.extendleft(one.encode() for one in reversed(more))
        if '"' not in text or not (text[0] == '"' or quoted in text):
            fields = text.split(delimiter)
        else:
            fields = _quoted_record(text, lines, ahead, delimiter, width)
        width = width or len(fields)
        yield fields


_END: Final[Any] = object()


def _at_returns(text: str, delimiter: str, width: int) -> list[str]:
    """Return the records in a line that has CRs: one, unless most of its pieces are records.

    `width` is the number of fields of a record, 0 where this is the first one. A CR between quotes
    ends nothing; a text with a stray CR stays whole.
    """
    pieces: list[str] = []
    is_open = False
    for piece in text.split("\r"):
        if is_open:
            pieces[-1] += f"\r{piece}"
        else:
            pieces.append(piece)
        is_open ^= piece.count('"') % 2 == 1
    pieces = [piece for piece in pieces if piece] or [""]
    closed = pieces[:-1] if is_open and len(pieces) > 1 else pieces
    widths = [len(_split_quoted(one, delimiter) or one.split(delimiter)) for one in closed]
    return pieces if 2 * widths.count(width or widths[0]) > len(closed) else [text]


def _quoted_record(
    text: str, lines: Iterator[Line], ahead: deque[Line], delimiter: str, width: int
) -> list[str]:
    """Return the fields of a record that has quotes, and of the lines that it goes on over."""
    fields = _split_quoted(text, delimiter)
    if _BACKSLASH in text and (fields is None or len(fields) != width):
        escaped = _split_quoted(text, delimiter, backslash=True)
        if escaped is not None and len(escaped) == (width or len(escaped)):
            return escaped
    is_even = text.count('"') % 2 == 0
    if is_even and (fields is not None or _BACKSLASH not in text):
        return fields or text.split(delimiter)
    for backslash in (False, True):
        more = _until_closed(text, lines, ahead, delimiter, width, backslash=backslash)
        if more is None:
            continue
        joined = _split_quoted("\n".join((text, *more)), delimiter, backslash=backslash)
        if joined is not None and (not backslash or len(joined) == width):
            for _ in more:
                ahead.popleft()
            return joined
    return text.split(delimiter)


def _until_closed(
    text: str,
    lines: Iterator[Line],
    ahead: deque[Line],
    delimiter: str,
    width: int,
    *,
    backslash: bool,
) -> list[str] | None:
    """Return the lines that a quote left open in `text` goes on over, None if it is not a quote.

    They stay in `ahead`. Where this line and the next are records as they stand, the quote belongs
    to a text and is not the beginning of several lines.
    """
    more: list[str] = []
    if _num_quotes(text, backslash=backslash) % 2 == 0:
        return None
    num_chars = len(text)
    while len(more) < _MAX_QUOTED_LINES and num_chars <= MAX_LINE_BYTES:
        if len(more) == len(ahead):
            line = next(lines, _END)
            if line is _END:
                return None
            ahead.append(line)
        following = decoded(ahead[len(more)])
        if following is None:
            return None
        if not more and _are_whole(text.split(delimiter), following.split(delimiter), width):
            return None
        head, tail = following, ""
        if "\r" in following:
            head, tail = _cut_where_closed(following, backslash=backslash)
        more.append(head)
        num_chars += len(head)
        if _num_quotes(head, backslash=backslash) % 2:
            if tail:
                ahead[len(more) - 1] = head.encode()
                ahead.insert(len(more), tail.encode())
            return more
    return None


def _cut_where_closed(text: str, *, backslash: bool) -> tuple[str, str]:
    """Return what an open quote holds up to the CR that ends its record, and what comes after."""
    pieces = text.split("\r")
    num_quotes = 0
    for place, piece in enumerate(pieces, 1):
        num_quotes += _num_quotes(piece, backslash=backslash)
        if num_quotes % 2:
            return "\r".join(pieces[:place]), "\r".join(pieces[place:])
    return text, ""


def _are_whole(one: list[str], other: list[str], width: int) -> bool:
    """Say whether both have the fields of the first record, and a URL in the same place."""
    return len(one) == len(other) == width and any(
        _is_url(a) and _is_url(b) for a, b in zip(one, other, strict=True)
    )


def _num_quotes(text: str, *, backslash: bool) -> int:
    return text.count('"') - (text.count(_BACKSLASH) if backslash else 0)


def _split_quoted(text: str, delimiter: str, *, backslash: bool = False) -> list[str] | None:
    """Return the fields of a record, None when something stands between quote and delimiter.

    With `backslash` a quote inside quotes is escaped by one, else it is doubled.
    """
    fields: list[str] = []
    at = 0
    while True:
        if text.startswith('"', at):
            if backslash:
                found = _ESCAPED_FIELD.match(text, at)
                if found is None:
                    return None
                end = found.end() - 1
                fields.append(_ESCAPE.sub(r"\1", found[1]))
            else:
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
