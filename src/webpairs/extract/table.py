"""Read candidates from tables of URLs and texts: extract's third reader.

docs/tables.md says which shapes are read and what becomes of their columns.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from typing import Any, BinaryIO, Final

from webpairs.errors import ConfigError, Drop
from webpairs.extract.candidates import CandidateWriter
from webpairs.extract.gunzip import GunzipReader
from webpairs.extract.license import MAX_LICENSE_CHARS, NO_LICENSE, license_id
from webpairs.extract.page import ExtractStats, TableRows
from webpairs.extract.table_columns import (
    MAX_SIMILARITY,
    NSFW_LABELS,
    Layout,
    Row,
    TableColumns,
    hash_of,
)
from webpairs.extract.table_given import given_json, merge_types
from webpairs.extract.table_json import is_one_json_value, read_json
from webpairs.extract.table_lines import (
    RowsOf,
    read_csv,
    read_json_lines,
    read_lines,
    read_url_list,
)
from webpairs.extract.table_parquet import read_parquet
from webpairs.inputs import Input, open_input, table_suffix

_BATCH_ROWS: Final = 8_192
_BATCH_CHARS: Final = 8 << 20
_PARQUET: Final = b"PAR1"


def given_columns(
    inputs: Iterable[Input], columns: TableColumns, *, min_text_chars: int = 0
) -> tuple[tuple[str, str], ...]:
    """Return name and type (`table_given`) of the columns that all table inputs carry over.

    In the order of inputs and of their columns. This is also the check before work starts: raises
    ConfigError naming the file, its columns and the option for a table whose column of URLs is
    not one, whose texts may be in several, or which has none where `min_text_chars` asks for some.
    """
    types: dict[str, list[str]] = {}
    for one in inputs:
        if one.kind != "table":
            continue
        try:
            with _open_table(one.path, one.name, columns, ExtractStats()) as (layout, _):
                pass
        except OSError as error:
            raise ConfigError(f"{one.path}: cannot be read: {error}") from error
        if layout.text is None and min_text_chars > 0:
            held = ", ".join(repr(key) for key, _, _ in layout.given[:20]) or "none"
            raise ConfigError(
                f"{one.path}: no column is known to hold texts (columns beside the URL: {held}), "
                f"and texts of at least {min_text_chars} characters are asked for: name it with "
                "--text-column, or use --model none"
            )
        for _, name, kind in layout.given:
            types.setdefault(name, []).append(kind)
    return tuple((name, merge_types(kinds)) for name, kinds in types.items())


def extract_table(path: str, name: str, writer: CandidateWriter, stats: ExtractStats) -> None:
    """Hand the rows of a table to `writer`.

    A row that cannot be read as one of the table's is counted (`row_broken`) and passed over.
    Raises OSError when the file itself cannot be read.
    """
    stats.inputs += 1
    with _open_table(path, name, writer.rules.table_columns, stats) as (layout, rows):
        batch = _Batch(name, layout)
        for row in rows:
            if isinstance(row, int):
                batch.skip(row)
                continue
            batch.add(row)
            if len(batch.rows.urls) >= _BATCH_ROWS or batch.num_chars >= _BATCH_CHARS:
                writer.add_rows(batch.rows)
                batch.clear()
        writer.add_rows(batch.rows)
    stats.records += batch.number
    stats.found += batch.num_broken  # the writer counts the others
    stats.drop(Drop.ROW_BROKEN, batch.num_broken)


@contextmanager
def _open_table(
    path: str, name: str, columns: TableColumns, stats: ExtractStats
) -> Generator[RowsOf]:
    """Yield the layout of a table and its rows; what is wrong with the file goes to `stats`."""
    with open_input(path) as file:
        if file.read(len(_PARQUET)) == _PARQUET:
            file.seek(0)
            yield read_parquet(path, name, file, columns, stats)
            stats.bytes_read += file.seek(0, 2)
            return
        reader, table = _read_text(path, file, columns)
        yield table
        stats.bytes_read += file.tell()
        if reader.cut:
            stats.warnings.append(f"{name}: ends inside its compressed data, fetch it again")
        elif reader.num_broken:
            stats.warnings.append(
                f"{name}: {reader.num_broken} damaged gzip members were passed over, fetch it again"
            )


def _read_text(path: str, file: BinaryIO, columns: TableColumns) -> tuple[GunzipReader, RowsOf]:
    file.seek(0)
    reader = GunzipReader(file)
    lines = read_lines(reader)
    suffix = table_suffix(path)
    if suffix in (".csv", ".tsv"):
        return reader, read_csv(path, lines, columns, "\t" if suffix == ".tsv" else ",")
    if suffix == ".txt":
        return reader, read_url_list(path, lines)
    before: list[bytes | None] = []
    for line in lines:
        before.append(line)
        if line is None or line.strip():
            break
    first = before[-1] if before else b""
    if not is_one_json_value(suffix, first):
        return reader, read_json_lines(path, chain(before, lines), columns)
    file.seek(0)
    reader = GunzipReader(file)
    return reader, read_json(path, reader, columns)


@dataclass(slots=True)
class _Batch:
    """Turn rows of a table into columns of candidates."""

    name: str
    layout: Layout
    number: int = 0
    """Of rows seen so far, broken ones included: the next row's number."""
    num_broken: int = 0
    num_chars: int = 0
    rows: TableRows = field(init=False)

    def __post_init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin a new batch; the numbering goes on."""
        self.rows = TableRows(self.name)
        self.num_chars = 0

    def skip(self, num: int) -> None:
        """Count broken rows."""
        self.number += num
        self.num_broken += num

    def add(self, row: Row) -> None:
        """Take a row, or count it as broken; takes what is known out of `row`."""
        layout, rows = self.layout, self.rows
        take = row.pop
        url = _text(take(layout.url, None))
        text = "" if layout.text is None else _text(take(layout.text, None))
        label = None if layout.nsfw is None else take(layout.nsfw, None)
        link = None if layout.license is None else take(layout.license, None)
        digest = None if layout.hash is None else take(layout.hash, None)
        try:
            similarity = None
            if layout.similarity is not None:
                similarity = _similarity(take(layout.similarity, None))
            for key, name in layout.renamed:
                if key in row:
                    row[name] = take(key)
            given = given_json(row)
        except (TypeError, ValueError, OverflowError):
            self.skip(1)
            return
        rows.numbers.append(self.number)
        rows.urls.append(url)
        rows.texts.append(text)
        rows.similarities.append(similarity)
        rows.nsfw.append(label if isinstance(label, str) and label in NSFW_LABELS else None)
        stated, stated_id = _license(_text(link))
        rows.licenses.append(stated)
        rows.license_ids.append(stated_id)
        rows.hashes.append(None if digest is None else hash_of(digest, layout.hash_digits))
        rows.given.append(given)
        self.number += 1
        self.num_chars += len(url) + len(text) + len(given or "")


def _text(value: Any) -> str:
    """Return a value as text, empty for what is none."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):  # parquet of writers that do not say what is text
        return value.decode(errors="replace")
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        return str(value)
    return ""


def _similarity(value: Any) -> float | None:
    """Return a given similarity, None for none; ValueError when columns were shifted."""
    if value is None or value == "":
        return None
    number = float(value)
    if math.isnan(number):
        return None
    if abs(number) > MAX_SIMILARITY or isinstance(value, bool):
        raise ValueError(number)
    return number


def _license(text: str) -> tuple[str, str | None]:
    if not text or len(text) > MAX_LICENSE_CHARS:
        return NO_LICENSE, None
    return _known_license(text.strip())


@cache
def _known_license(link: str) -> tuple[str, str | None]:
    return link or NO_LICENSE, license_id(link)
