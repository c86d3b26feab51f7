"""Choosing rows by a SQL expression over the page's features and the source's own columns.

    similarity > 0.32 and nsfw = 'UNLIKELY' and original_width >= 512

DuckDB parses and runs it, over arrow tables that are handed to it, with no access to files or
network. It is one expression: what else SQL has (subqueries, several statements, functions whose
answer changes from call to call, or that make much of little, casts to lists) is refused, and
before DuckDB sees it, what is too long or too deep (where_text.py). `nsfw` is the label's name
here. Whoever runs expressions of strangers bounds time and memory from outside besides
(serve/filter_process.py).

A name means a feature of the page, then a column of the source, both as spelled; then either in
whatever case. So `nsfw` is the page's (UNTAGGED where there is none), `NSFW` LAION's own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson
import pyarrow as pa

from webpairs.dataset.features import TABULAR
from webpairs.dataset.sources.source import Rows, Shard
from webpairs.dataset.where_text import (
    DOUBLING,
    JSON_PATHS,
    LAMBDAS,
    LOOKING,
    TYPES,
    check_size,
    shown,
)
from webpairs.errors import ConfigError
from webpairs.safe_text import visible
from webpairs.url_user import without_user

if TYPE_CHECKING:
    import duckdb

_ALLOWED: Final = frozenset(
    (
        *("BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION"),
        *("CONSTANT", "FUNCTION", "LAMBDA", "LAMBDA_REF", "OPERATOR", "TYPE"),
    )
)
"""DuckDB's classes of expressions that look at one row and nothing else."""
_TABLE: Final = "samples"
_STREAM_ROWS: Final = 65_536
_MAX_MESSAGE_CHARS: Final = 300
"""Of a message of DuckDB's, after users and passwords of URLs were left out of it."""
_LONGEST_URL: Final = 10_000
_MEMORY: Final = "256MB"
"""What DuckDB may take for an expression over so many rows; it spills nothing to the disk."""
_MAX_LEVELS: Final = 240
"""Of a tree as JSON; orjson writes 254 and reads 1,024."""
_local: Final = threading.local()


@dataclass(frozen=True, slots=True)
class Expression:
    """A checked expression: `sql` calls the columns `names` c0, c1 and on."""

    text: str
    sql: str
    names: tuple[str, ...]

    def rows(self, shard: Shard) -> Rows:
        """Return the rows of a shard for which it is true, rising."""
        found: list[Rows] = [np.zeros(0, np.int64)]
        for rows, table in shard.stream(self.names, None, _STREAM_ROWS, label_names=True):
            found.append(rows[_true_rows(self, table, len(rows))])
        return np.concatenate(found)

    def rows_of(self, table: pa.Table) -> Rows:
        """Return the rows of a table that has its columns for which it is true, rising."""
        return _true_rows(self, table, table.num_rows)


def parse(text: str, column_names: Sequence[str]) -> Expression:
    """Check an expression over a source's columns, but for their types.

    Raises ConfigError that says what is wrong with it and names the columns there are.
    """
    check_size(text)
    tree = _parsed(text)
    for one in _expressions(tree):
        if one["class"] not in _ALLOWED:
            kind = str(one["class"]).lower().replace("_", " ")
            raise ConfigError(
                f"where {shown(text)}: a {kind} is not possible here: write one expression over "
                "the columns of a row"
            )
        if one["class"] == "FUNCTION":
            _check_function(text, one)
        if one["class"] == "TYPE":
            _check_type(text, one)
        if one["class"] == "LAMBDA" and any(
            inner["class"] == "LAMBDA" for inner in _expressions(one["expr"])
        ):
            raise ConfigError(f"where {shown(text)}: a lambda within a lambda is not possible here")
    _check_json_paths(text, tree)
    names: dict[str, int] = {}
    _rename(tree, _Names(text, column_names), names, frozenset())
    return Expression(text, _as_sql(tree), tuple(names))


def check(expression: Expression, shard: Shard) -> None:
    """Run an expression over a row of a shard; ConfigError when its types do not fit."""
    for rows, table in shard.stream(expression.names, None, 1, label_names=True):
        _true_rows(expression, table, len(rows))
        return


class _Names:
    """Finding out which column a name means."""

    def __init__(self, text: str, column_names: Sequence[str]) -> None:
        self._text = text
        self._names = tuple(dict.fromkeys((*TABULAR, *column_names)))

    def resolve(self, name: str) -> str:
        """Return the column's name as it is spelled; the page's come first."""
        if name in self._names:
            return name
        for known in self._names:
            if known.lower() == name.lower():
                return known
        lowered = {known.lower(): known for known in reversed(self._names)}
        near = [lowered[one] for one in get_close_matches(name.lower(), lowered, n=3)]
        meant = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ConfigError(
            f"where {shown(self._text)}: no column {name}{meant}; there are "
            + ", ".join(self._names)
        )


def _parsed(text: str) -> dict[str, Any]:
    """Return DuckDB's tree of the expression; ConfigError when it is not just one."""
    if not text.strip():
        raise ConfigError("where '': write an expression, such as similarity > 0.32")
    tree = _serialized(f"SELECT 1 FROM {_TABLE} WHERE (\n{text}\n)", text)
    if tree.get("error"):
        message = str(tree.get("error_message", "")).splitlines()[0]
        raise ConfigError(f"where {shown(text)} is not a SQL expression: {message}")
    # What is around the expression has to be as it was written here: `1) LIMIT (1` is more.
    if _around(tree) != _around(orjson.loads(_frame())):
        raise ConfigError(f"where {shown(text)}: write one expression, such as similarity > 0.32")
    return tree["statements"][0]["node"]["where_clause"]


def _serialized(sql: str, text: str) -> dict[str, Any]:
    try:
        row = _connection().execute("SELECT json_serialize_sql(?)", [sql]).fetchall()[0]
        tree = orjson.loads(row[0])
    except (ValueError, _duckdb_error()) as error:
        raise ConfigError(f"where {shown(text)} cannot be read: {error}") from error
    if _levels(tree) > _MAX_LEVELS:
        raise ConfigError(f"where {shown(text)} is nested too deeply: use a simpler expression")
    return tree


def _levels(tree: Any) -> int:
    """Return how many levels of dictionaries and lists a tree has."""
    levels, here = 0, [tree]
    while here:
        levels += 1
        here = [
            inner
            for one in here
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
    return levels


@cache
def _frame() -> bytes:
    """Return the tree of a query with the simplest expression, as JSON."""
    return orjson.dumps(_serialized(f"SELECT 1 FROM {_TABLE} WHERE (\nTRUE\n)", "TRUE"))


def _around(tree: dict[str, Any]) -> Any:
    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                name: plain(one)
                for name, one in value.items()
                if name != "where_clause" and not name.startswith("query_location")
            }
        return [plain(one) for one in value] if isinstance(value, list) else value

    return plain(tree)


def _as_sql(where: dict[str, Any]) -> str:
    """Return a tree as SQL, for the WHERE of a query."""
    tree = orjson.loads(_frame())
    tree["statements"][0]["node"]["where_clause"] = where
    query = "SELECT json_deserialize_sql(?::JSON)"
    sql = str(_connection().execute(query, [orjson.dumps(tree).decode()]).fetchall()[0][0])
    return sql.partition(" WHERE ")[2]


def _expressions(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every node of a tree that is an expression."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for one in tree.values():
            yield from _expressions(one)
    elif isinstance(tree, list):
        for one in tree:
            yield from _expressions(one)


def _check_function(text: str, node: dict[str, Any]) -> None:
    name = str(node["function_name"]).lower()
    if name not in LOOKING and not _is_consistent(name):
        raise ConfigError(
            f"where {shown(text)}: {name}() does not answer the same every time: write the value "
            "out"
        )
    if name not in LOOKING:
        near = get_close_matches(name, LOOKING, n=3)
        meant = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise ConfigError(
            f"where {shown(text)}: {name}() is not possible here{meant}: use functions that look "
            "at values and make none that are longer, such as contains, regexp_matches, length"
        )
    within = [one for one in _expressions(node) if one is not node]
    if name in DOUBLING and any(one.get("function_name") in DOUBLING for one in within):
        raise ConfigError(f"where {shown(text)}: {name}() within hex() is not possible here")


@cache
def _is_consistent(name: str) -> bool:
    """Tell whether a function, if there is one, answers the same every time."""
    query = (
        "SELECT DISTINCT stability FROM duckdb_functions() "
        "WHERE function_name = ? AND function_type IN ('scalar', 'macro')"
    )
    kinds = _connection().execute(query, [name]).fetchall()
    return all(stability in ("CONSISTENT", None) for (stability,) in kinds)


def _check_json_paths(text: str, tree: Any) -> None:
    """Raise ConfigError where a path into JSON has a wildcard, or is not written out."""
    lambdas = {
        id(argument["expression"])
        for one in _expressions(tree)
        if one["class"] == "FUNCTION" and one["function_name"].lower() in LAMBDAS
        for argument in one["arguments"]
    }
    for one in _expressions(tree):
        if one["class"] == "FUNCTION" and one["function_name"].lower() in JSON_PATHS:
            paths = [argument["expression"] for argument in one["arguments"][1:]]
        elif one["class"] == "LAMBDA" and id(one) not in lambdas:
            paths = [one["expr"]]  # `->` is read as a lambda wherever it stands
        else:
            continue
        for part in _expressions(paths):
            written_out = part["class"] in ("CONSTANT", "CAST", "TYPE") or (
                part["class"] == "FUNCTION" and part["function_name"] == "list_value"
            )
            if not written_out or "*" in (path := _literal(part)) or ".." in path:
                raise ConfigError(
                    f"where {shown(text)}: a path into JSON must be written out, without * and "
                    "..: use one such as '$.name' or '$[0]'"
                )


def _literal(node: dict[str, Any]) -> str:
    """Return a constant as it is written, empty for other nodes."""
    return str(node["literal"].get("text", "")) if node["class"] == "CONSTANT" else ""


def _check_type(text: str, node: dict[str, Any]) -> None:
    name = str(node["type_name"]).lower()
    if name not in TYPES:
        raise ConfigError(
            f"where {shown(text)}: the type {name} is not possible here: cast to a number, a text, "
            "a truth, a date or a time"
        )


def _rename(tree: Any, known: _Names, names: dict[str, int], bound: frozenset[str]) -> None:
    """Replace the names of columns by c0, c1 and on; `bound` are parameters of lambdas."""
    if isinstance(tree, list):
        for one in tree:
            _rename(one, known, names, bound)
        return
    if not isinstance(tree, dict):
        return
    if tree.get("class") == "COLUMN_REF":
        path: list[str] = tree["column_names"]
        if len(path) > 1 and path[0].lower() == _TABLE:
            del path[0]
        if path[0] not in bound:
            name = known.resolve(path[0])
            path[0] = f"c{names.setdefault(name, len(names))}"
        return
    if tree.get("class") == "LAMBDA":
        parameters = [
            one["column_names"][0]
            for one in _expressions(tree["lhs"])
            if one["class"] == "COLUMN_REF"
        ]
        _rename(tree["expr"], known, names, bound | frozenset(parameters))
        return
    for one in tree.values():
        _rename(one, known, names, bound)


def _true_rows(expression: Expression, table: pa.Table, num_rows: int) -> Rows:
    columns: list[Any] = [table.column(name) for name in expression.names]
    renamed = pa.Table.from_arrays(
        [*columns, pa.array(np.arange(num_rows))],
        names=[*(f"c{place}" for place in range(len(columns))), "row"],
    )
    connection = _connection()
    connection.register(_TABLE, renamed)
    try:
        sql = f"SELECT row FROM {_TABLE} WHERE {expression.sql} ORDER BY row"
        found = _interruptible(connection, sql)["row"]
    except _duckdb_error() as error:
        message = str(error).splitlines()[0]
        for place, name in enumerate(expression.names):
            message = message.replace(f'"c{place}"', name)
        # It may repeat the value that it could not cast, which is a row's.
        message = visible(without_user(message[:_LONGEST_URL]), _MAX_MESSAGE_CHARS)
        raise ConfigError(f"where {shown(expression.text)}: {message}") from error
    finally:
        connection.unregister(_TABLE)
    return np.asarray(found, np.int64)


def _interruptible(connection: duckdb.DuckDBPyConnection, sql: str) -> dict[str, Any]:
    """Return the columns that a query finds, which Ctrl-C and SIGTERM end.

    Python's handlers of signals run in the main thread, and not before DuckDB has returned to it.
    So there another thread asks, for which the main thread waits.
    """
    if threading.current_thread() is not threading.main_thread():
        return connection.execute(sql).fetchnumpy()
    with ThreadPoolExecutor(1, "where") as pool:
        asked = pool.submit(connection.execute, sql)
        try:
            return asked.result().fetchnumpy()
        finally:
            if not asked.done():
                connection.interrupt()


def prepare() -> None:
    """Open this thread's connection, so that the first expression need not wait for it."""
    _frame()


def _connection() -> duckdb.DuckDBPyConnection:
    """Return this thread's connection, which can reach neither files nor network.

    One that a forked process inherited is not used: its threads stayed behind.
    """
    if getattr(_local, "process", None) != os.getpid():
        import duckdb

        _local.connection = duckdb.connect(
            config={
                "enable_external_access": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "threads": 1,
                "memory_limit": _MEMORY,
                "max_temp_directory_size": "0B",
            }
        )
        _local.connection.execute("SET enable_progress_bar = false")
        _local.connection.execute("SET lock_configuration = true")
        _local.process = os.getpid()
    return _local.connection


def _duckdb_error() -> type[Exception]:
    import duckdb

    return duckdb.Error
