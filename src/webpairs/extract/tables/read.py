"""Reading candidates from tables of URLs and texts: extract's third reader.

docs/tables.md says which shapes are read and what becomes of their columns.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, BinaryIO, Final

from webpairs.crawl.gunzip import GunzipReader
from webpairs.crawl.inputs import Input, open_input, table_suffix
from webpairs.drops import Drop
from webpairs.errors import ConfigError
from webpairs.extract.candidates import CandidateWriter
from webpairs.extract.license import MAX_LICENSE_CHARS
from webpairs.extract.page import ExtractStats, TableRows
from webpairs.extract.tables.columns import (
    MAX_SIMILARITY,
    NSFW_LABELS,
    Layout,
    Row,
    TableColumns,
    boxes_column,
    hash_of,
    shown,
)
from webpairs.extract.tables.csv_file import read_csv
from webpairs.extract.tables.encoding import Utf8Reader
from webpairs.extract.tables.json_file import is_one_json_value, read_json
from webpairs.extract.tables.lines import (
    RowsOf,
    read_json_lines,
    read_lines,
    read_url_list,
)
from webpairs.extract.tables.parquet import read_parquet
from webpairs.extract.tables.partition import with_partitions
from webpairs.extract.unread import holds_rows
from webpairs.image.blur import read_boxes
from webpairs.run_folder.given import given_json, merge_types

_BATCH_ROWS: Final = 8_192
_MAX_REPEATED_CHARS: Final = 64 << 20
"""A row's other columns are repeated for each of its texts: 8 MB of them eight times."""
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
        if columns.boxes is not None and boxes_column(names_given(layout), columns.boxes) is None:
            raise ConfigError(
                f"{one.path}: no column {columns.boxes!r} of boxes beside URL and text "
                f"({shown(names_given(layout))}): mend --blur-boxes"
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
    before = stats.records
    with _open_table(path, name, writer.rules.table_columns, stats) as (layout, rows):
        boxes = boxes_column(names_given(layout), writer.rules.table_columns.boxes)
        for batch in _batches(name, layout, rows, stats, boxes):
            writer.add_rows(batch)
    if stats.records == before and holds_rows(path):
        stats.warnings.append(f"{name}: no row could be read from its lines")


@contextmanager
def _open_table(
    path: str, name: str, columns: TableColumns, stats: ExtractStats
) -> Generator[RowsOf]:
    """Yield the layout of a table and its rows; what is wrong with the file goes to `stats`."""
    with open_input(path) as file:
        if file.read(len(_PARQUET)) == _PARQUET:
            file.seek(0)
            yield with_partitions(path, read_parquet(path, name, file, columns, stats))
            stats.bytes_read += file.seek(0, 2)
            return
        reader, table = _read_text(path, file, columns)
        yield with_partitions(path, table)
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
    text = Utf8Reader(reader)
    lines = read_lines(text)
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
    return reader, read_json(path, Utf8Reader(reader), columns)


def _batches(
    name: str,
    layout: Layout,
    rows: Iterable[Row | int],
    stats: ExtractStats,
    boxes: str | None,
) -> Iterator[TableRows]:
    """Yield the rows of a table as columns of candidates, some at a time; count broken ones.

    What is known is taken out of each row; the rest of it is carried. A row whose column `boxes`
    holds no boxes is broken: what was to be blurred in its picture is not known.
    """
    url_key, text_key, similarity_key = layout.url, layout.text, layout.similarity
    nsfw_key, license_key, hash_key = layout.nsfw, layout.license, layout.hash
    renamed = layout.renamed
    batch = TableRows(name)
    num_chars = number = num_broken = 0
    for row in rows:
        if isinstance(row, int):
            number += row
            num_broken += row
            continue
        take = row.pop
        url = _text(take(url_key, None))
        texts = _texts(None if text_key is None else take(text_key, None))
        label = None if nsfw_key is None else take(nsfw_key, None)
        link = "" if license_key is None else _text(take(license_key, None))
        digest = None if hash_key is None else take(hash_key, None)
        similarity = None if similarity_key is None else take(similarity_key, None)
        if renamed:  # all taken before any is put: a new name may be another's old one
            row.update([(new, take(old)) for old, new in renamed if old in row])
        try:
            similarity = _similarity(similarity)
            if boxes is not None:
                read_boxes(row.get(boxes))
            given = given_json(row)
            if len(texts) * len(given or "") > _MAX_REPEATED_CHARS:
                raise ValueError(f"{len(texts)} texts, each with {len(given or '')} characters")
        except (TypeError, ValueError, OverflowError):
            number += 1
            num_broken += 1
            continue
        nsfw = label if isinstance(label, str) and label in NSFW_LABELS else None
        license = link.strip() if 0 < len(link) <= MAX_LICENSE_CHARS else ""
        hash_given = None if digest is None else hash_of(digest, layout.hash_digits)
        for text in texts:
            batch.numbers.append(number)
            batch.urls.append(url)
            batch.texts.append(text)
            batch.similarities.append(similarity)
            batch.nsfw.append(nsfw)
            batch.licenses.append(license)
            batch.hashes.append(hash_given)
            batch.given.append(given)
            num_chars += len(url) + len(text) + len(given or "")
            if len(batch.urls) >= _BATCH_ROWS or num_chars >= _BATCH_CHARS:
                yield batch
                batch = TableRows(name)
                num_chars = 0
        number += 1
    yield batch
    stats.records += number
    stats.found += num_broken  # the writer counts the others
    stats.drop(Drop.ROW_BROKEN, num_broken)


def names_given(layout: Layout) -> list[str]:
    """Return the names in the dataset of the columns that are carried."""
    return [name for _, name, _ in layout.given]


def _texts(value: Any) -> list[str]:
    """Return the texts of a row: several where its column holds a list of them, one at least."""
    if not isinstance(value, list):
        return [_text(value)]
    items: list[Any] = value
    return list(dict.fromkeys(text for text in map(_text, items) if text)) or [""]


def _text(value: Any) -> str:
    """Return a value as text, empty for what is none."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if isinstance(value, bytes):  # parquet of writers that do not say what is text
        return value.decode(errors="replace")
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value:
        return str(value)
    return ""


def _similarity(value: Any) -> float | None:
    """Return a given similarity, None for none; ValueError when columns were shifted."""
    if type(value) is float and -1 <= value <= 1:
        return value
    if value is None or value == "":
        return None
    number = float(value)
    if math.isnan(number):
        return None
    if abs(number) > MAX_SIMILARITY or isinstance(value, bool):
        raise ValueError(number)
    return number
