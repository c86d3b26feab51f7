"""Reading tables that are one JSON value: rows, or columns as pandas and SBU have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from webpairs.crawl.lenient_json import read_json_value
from webpairs.errors import ConfigError
from webpairs.extract.tables.columns import Row, TableColumns, find_layout
from webpairs.extract.tables.encoding import Readable
from webpairs.extract.tables.lines import SAMPLE_ROWS, RowsOf, json_object

MAX_JSON_BYTES: Final = 256 << 20
"""It must be in memory as a whole, at about six times its size. SBU's has some 150 MB."""

_BLOCK_BYTES: Final = 1 << 20
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_FIX: Final = "write a JSON object a line (.jsonl), or parquet"


def is_one_json_value(suffix: str, first_line: bytes | None) -> bool:
    """Say whether a file is one JSON value, by its first line that is not empty.

    A row of JSON lines is a whole object; so is a table by columns, all of whose members are lists
    or objects. A .json whose first line is not a whole value goes on over several. None is a line
    that is too long to be a row.
    """
    line = (first_line or b"").removeprefix(_BYTE_ORDER_MARK).strip()
    if line.startswith(b"["):
        return True
    if suffix != ".json":
        return False
    row = json_object(line)
    if isinstance(row, int):
        return True
    return bool(row) and all(isinstance(member, list | dict) for member in row.values())


def read_json(path: str, reader: Readable, columns: TableColumns) -> RowsOf:
    """Read `[{"url": ...}, ...]`, `{"url": [...], ...}` or `{"url": {"0": ...}, ...}`."""
    value = _load(path, reader)
    if isinstance(value, dict):
        members: dict[str, Any] = value
        if members and all(isinstance(member, list) for member in members.values()):
            return _by_columns(path, members, columns)
        if members and all(isinstance(member, dict) for member in members.values()):
            # pandas: row labels to values, in every column.
            labels = list(dict.fromkeys(label for m in members.values() for label in m))
            lists = {name: [m.get(label) for label in labels] for name, m in members.items()}
            return _by_columns(path, lists, columns)
        value = [members]
    if not isinstance(value, list):
        raise ConfigError(f"{path}: is JSON, but neither rows nor columns: {_FIX}")
    items: list[Any] = value
    sample: list[Row] = [item for item in items[:SAMPLE_ROWS] if isinstance(item, dict)]
    if items and not sample:
        raise ConfigError(f"{path}: no JSON object in its first {SAMPLE_ROWS} items: {_FIX}")
    headings = list(dict.fromkeys(key for row in sample for key in row))
    layout = find_layout(path, headings, sample, columns)
    return layout, (item if isinstance(item, dict) else 1 for item in items)


def _by_columns(path: str, lists: dict[str, list[Any]], columns: TableColumns) -> RowsOf:
    lengths = {name[:40]: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise ConfigError(f"{path}: its columns are not of one length ({lengths}): {_FIX}")

    def rows() -> Iterator[Row]:
        for values in zip(*lists.values(), strict=True):
            yield dict(zip(lists, values, strict=True))

    sample = [row for row, _ in zip(rows(), range(SAMPLE_ROWS), strict=False)]
    return find_layout(path, list(lists), sample, columns), rows()


def _load(path: str, reader: Readable) -> Any:
    data = bytearray()
    buffer = bytearray(_BLOCK_BYTES)
    with memoryview(buffer) as view:
        while num := reader.readinto(view):
            data += view[:num]
            if len(data) > MAX_JSON_BYTES:
                raise ConfigError(
                    f"{path}: more than {MAX_JSON_BYTES >> 20} MB of JSON in one value: {_FIX}"
                )
    try:
        return read_json_value(bytes(data.removeprefix(_BYTE_ORDER_MARK)))
    except ValueError as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({error}): {_FIX}") from error
