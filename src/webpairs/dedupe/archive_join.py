"""Finding each unique candidate's image among the records of an archive.

    unique candidates + candidates/*.images.parquet -> unique/00000.parquet, in reading order

A lookup takes, of the captures of a URL, the one nearest in time to when it was asked for: among
those that can give an image before those that cannot, by the URL itself before its SURT key, then
by distance, date, file and offset. A redirect found is the next lookup, five times at most; a
revisit stands for the capture it repeats. Nearest in time is an as-of join, earlier and later,
so that a logo captured ten thousand times and shown on a million pages costs no product of both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.checks import resolve_workers
from webpairs.crawl.redirects import MAX_REDIRECTS
from webpairs.dedupe.cut import UNIQUE_SCHEMA, Cut, Feed, cut_rows, open_parquet, read_cut
from webpairs.dedupe.dedupe import COLLAPSED_SCHEMA, DedupeUnit, count_unique, ordered_rows
from webpairs.drops import Drop
from webpairs.external_sort import BATCH_ROWS, expose, from_plain, open_duckdb, stream
from webpairs.extract.url import surt_key
from webpairs.run_folder.schema import IMAGE_INDEX, arrow_schema

_INDEX_SCHEMA: Final = arrow_schema(IMAGE_INDEX)
_NUMBERED_SCHEMA: Final = COLLAPSED_SCHEMA.append(pa.field("n", pa.int64()))
_ASKED_SCHEMA: Final = pa.schema(
    [pa.field("n", pa.int64()), pa.field("url", pa.string()), pa.field("moment", pa.int64())]
)
_ANSWERS_SCHEMA: Final = pa.schema(
    [
        pa.field("place", pa.int64()),
        *(UNIQUE_SCHEMA.field(n) for n in UNIQUE_SCHEMA.names if n not in COLLAPSED_SCHEMA.names),
    ]
)
_LOCATED_SCHEMA: Final = pa.schema([*COLLAPSED_SCHEMA, *_ANSWERS_SCHEMA])


def join_archive(
    units: Sequence[DedupeUnit], images: Sequence[str], folder: Path, *, memory_bytes: int
) -> Cut:
    """Cut what dedupe wrote into `folder`/00000.parquet and on, by where the images lie.

    `images` are the files of the image index. Rows are ordered by image file, offset and uid, so
    that reading is one forward pass and texts of one image are neighbours; candidates without an
    image come last, by uid, with `drop` saying why. Does nothing twice. Raises RunError when
    memory or disk do not suffice.
    """
    rules = units[0].rules
    if (done := read_cut(folder, rules.shard_size)) is not None:
        return done
    num_rows, over_limit = count_unique(units)
    temporary = Path(units[0].folder) / "spill-join"
    with open_duckdb(
        temporary,
        memory_bytes=memory_bytes,
        threads=resolve_workers(None),
    ) as duck:
        duck.create_function(  # pyright: ignore[reportCallIssue]  # names of types will do
            "surt_key",
            _surt_keys,
            ["VARCHAR"],  # pyright: ignore[reportArgumentType]
            "VARCHAR",
            type="arrow",  # pyright: ignore[reportArgumentType]
        )
        _load_captures(duck, images)
        _resolve_revisits(duck)
        _make_places(duck)
        _ask(duck, _first_rows(units, num_rows))
        for hop in range(MAX_REDIRECTS + 1):
            _look_up(duck)
            _settle(duck, hop)
            if not _any_rows(duck, "open"):
                break
        answers = temporary / "answers.parquet"
        _write_answers(duck, answers)
        return cut_rows(
            _in_reading_order(duck, _first_rows(units, num_rows), answers),
            folder,
            num_rows=num_rows,
            shard_size=rules.shard_size,
            over_limit=over_limit,
        )


def _load_captures(duck: duckdb.DuckDBPyConnection, images: Sequence[str]) -> None:
    """Make `captures`, numbered by file and offset, each with what it can give.

    `image`     bytes: a resource, or a response with status 200
    `redirect`  the next URL
    `revisit`   what an earlier capture gave (WARC 1.1, section 6.7), unless that was an error
    `error`     nothing
    """
    expose(duck, "index", _read_index(images), _INDEX_SCHEMA)
    duck.execute("""
        CREATE TABLE captures AS
        SELECT
            row_number() OVER (ORDER BY file, "offset") AS id,
            *,
            CASE
                WHEN kind = 'resource' OR (kind = 'response' AND status = 200) THEN 'image'
                WHEN kind IN ('redirect', 'revisit') AND location IS NOT NULL
                    AND status BETWEEN 300 AND 399 AND status != 304 THEN 'redirect'
                WHEN kind = 'revisit' AND status < 400 THEN 'revisit'
                ELSE 'error'
            END AS gives
        FROM index
    """)
    duck.unregister("index")


def _resolve_revisits(duck: duckdb.DuckDBPyConnection) -> None:
    """Make `revisits`: for each revisit the capture it stands for, where that is archived.

    In this order: the capture of exactly the URL and date it refers to; the nearest in time of
    that URL whose digest does not say otherwise; one with the same digest. "Server not modified"
    (status 304) says nothing of a digest (its own is that of no bytes): the nearest of the URL it
    refers to, else the last image of its own URL before it. Source: WARC 1.1, sections 5.15,
    5.16 and 6.7; the order: the more it says, the sooner it is believed.
    """
    duck.execute("""
        CREATE TABLE revisits (id BIGINT, target BIGINT);
        CREATE TABLE originals AS SELECT * FROM captures WHERE gives IN ('image', 'redirect')
            AND kind != 'revisit';
        INSERT INTO revisits
        SELECT r.id, min(o.id)
        FROM captures AS r
        JOIN originals AS o ON o.url = r.refers_to_url AND o.date = r.refers_to_date
        WHERE r.gives = 'revisit'
        GROUP BY r.id;
    """)
    near = "coalesce(refers_to_date, date)"
    for key, moment, whose, place_key, of_which in (
        # A digest that both name, a digest that the original lacks, a digest nobody asks for.
        (
            "refers_to_url || chr(0) || digest",
            near,
            "status != 304",
            "url || chr(0) || digest",
            "true",
        ),
        ("refers_to_url", near, "status != 304 AND digest IS NOT NULL", "url", "digest IS NULL"),
        ("refers_to_url", near, "status = 304 OR digest IS NULL", "url", "true"),
        ("digest", "date", "status != 304", "digest", "gives = 'image'"),
    ):
        duck.execute(f"""
            CREATE OR REPLACE TABLE places AS
            SELECT {place_key} AS key, date, min(id) AS id FROM originals
            WHERE {of_which} AND {place_key} IS NOT NULL GROUP BY ALL;
            CREATE OR REPLACE TABLE asked AS
            SELECT id AS n, {key} AS key, {moment} AS moment FROM captures
            ANTI JOIN revisits USING (id)
            WHERE gives = 'revisit' AND {key} IS NOT NULL AND ({whose});
        """)
        _take_nearest(duck, "places", "revisits")
    duck.execute("""
        INSERT INTO revisits
        SELECT r.id, o.id
        FROM (SELECT * FROM captures ANTI JOIN revisits USING (id)
              WHERE gives = 'revisit' AND status = 304) AS r
        ASOF JOIN (SELECT url, date, min(id) AS id FROM originals
                   WHERE gives = 'image' GROUP BY url, date) AS o
        ON r.url = o.url AND r.date >= o.date;
        DROP TABLE places; DROP TABLE asked; DROP TABLE originals;
    """)


def _make_places(duck: duckdb.DuckDBPyConnection) -> None:
    """Make what each capture comes to, and where to look for captures.

    `outcomes` says of a capture whose bytes or location it stands for (`target`: its own or, for
    a revisit, the original's) and what comes of it: an `image`, a redirect to `follow`, or a drop
    reason. A revisit of what is not archived can give no image, like an error.
    """
    reasons = ("not_archived", "redirect", "http_429", "http_4xx", "http_5xx", "protocol")
    names = ", ".join(f"'{name}'" for name in ("image", "follow", *map(Drop, reasons)))
    duck.execute(f"""
        CREATE TYPE outcome AS ENUM ({names});
        CREATE TABLE outcomes AS
        SELECT
            c.id,
            c.date,
            coalesce(r.target, c.id) AS target,
            CASE
                WHEN r.target IS NOT NULL THEN r.gives
                WHEN c.gives = 'image' THEN 'image'
                WHEN c.gives = 'redirect' THEN 'follow'
                WHEN c.gives = 'revisit' THEN 'not_archived'
                WHEN c.status = 429 THEN 'http_429'
                WHEN c.status BETWEEN 400 AND 499 THEN 'http_4xx'
                WHEN c.status BETWEEN 500 AND 599 THEN 'http_5xx'
                WHEN c.status BETWEEN 300 AND 399 THEN 'redirect'
                ELSE 'protocol'
            END::outcome AS outcome
        FROM captures AS c
        LEFT JOIN (
            SELECT v.id, v.target, if(t.gives = 'redirect', 'follow', 'image') AS gives
            FROM revisits AS v JOIN captures AS t ON t.id = v.target
        ) AS r USING (id);
        DROP TABLE revisits;
    """)
    for key in ("url", "surt"):
        for good in ("good", "bad"):
            duck.execute(f"""
                CREATE TABLE {good}_{key} AS
                SELECT c.{key} AS key, c.date, min(id) AS id
                FROM captures AS c JOIN outcomes AS o USING (id)
                WHERE {"" if good == "good" else "NOT"} outcome IN ('image', 'follow')
                GROUP BY ALL
            """)


def _ask(duck: duckdb.DuckDBPyConnection, tables: Iterable[pa.Table]) -> None:
    """Make `open`, the lookups still to do, and `answers`, those that are done."""

    def questions() -> Iterator[pa.RecordBatch]:
        for table in tables:
            # A candidate that knows no date asks as of 1970: for the first capture.
            dates = table.column("crawl_date").cast(pa.int64()).fill_null(0)
            yield from pa.table(
                [table.column("n"), table.column("url"), dates], schema=_ASKED_SCHEMA
            ).to_batches()

    expose(duck, "questions", questions(), _ASKED_SCHEMA)
    duck.execute("""
        CREATE TABLE open AS SELECT * FROM questions;
        CREATE TABLE answers (n BIGINT, id BIGINT, missing_url VARCHAR, "drop" VARCHAR);
    """)
    duck.unregister("questions")


def _look_up(duck: duckdb.DuckDBPyConnection) -> None:
    """Make `found`: for each open lookup the capture it takes, where there is one."""
    duck.execute("CREATE OR REPLACE TABLE found (n BIGINT, id BIGINT)")
    for places, key in (
        ("good_url", "url"),
        ("good_surt", "surt_key(url)"),
        ("bad_url", "url"),
        ("bad_surt", "surt_key(url)"),
    ):
        duck.execute(f"""
            CREATE OR REPLACE TABLE asked AS
            SELECT n, {key} AS key, moment FROM open ANTI JOIN found USING (n)
        """)
        if not _any_rows(duck, "asked"):
            return
        _take_nearest(duck, places, "found")


def _settle(duck: duckdb.DuckDBPyConnection, hop: int) -> None:
    """Turn what was found into answers, or, for redirects, into the next lookups."""
    duck.execute(f"""
        INSERT INTO answers
        SELECT n, NULL, {"url" if hop else "NULL"}, 'not_archived' FROM open
        ANTI JOIN found USING (n);
        CREATE OR REPLACE TABLE taken AS
        SELECT n, target, date AS moment, outcome FROM found JOIN outcomes USING (id);
        INSERT INTO answers
        SELECT
            n,
            target,
            NULL,
            CASE outcome WHEN 'image' THEN NULL WHEN 'follow' THEN 'redirect' ELSE outcome END
        FROM taken
        WHERE outcome != 'follow' OR {hop} = {MAX_REDIRECTS};
        CREATE OR REPLACE TABLE open AS
        SELECT n, location AS url, moment
        FROM taken JOIN captures ON id = target
        WHERE outcome = 'follow';
    """)


def _write_answers(duck: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write the answers in the order of the candidates, and make room."""
    duck.execute("""
        CREATE TABLE located AS
        SELECT
            n,
            CASE WHEN a."drop" IS NULL THEN id END AS place,
            CASE
                WHEN id IS NULL THEN missing_url
                WHEN a."drop" = 'redirect' AND location IS NOT NULL THEN location
                ELSE url
            END AS final_url,
            status AS http_status,
            date AS fetch_date,
            CASE WHEN a."drop" IS NULL THEN file END AS image_file,
            CASE WHEN a."drop" IS NULL THEN "offset" END AS image_offset,
            CASE WHEN a."drop" IS NULL THEN length END AS image_length,
            a."drop"
        FROM answers AS a LEFT JOIN captures USING (id)
    """)
    for (table,) in duck.execute("SELECT table_name FROM duckdb_tables()").fetchall():
        if table != "located":
            duck.execute(f"DROP TABLE {table}")
    with open_parquet(path, _ANSWERS_SCHEMA) as writer:
        for batch in stream(duck, "SELECT * EXCLUDE n FROM located ORDER BY n"):
            writer.write_table(from_plain(batch, _ANSWERS_SCHEMA))
    duck.execute("DROP TABLE located")


def _in_reading_order(
    duck: duckdb.DuckDBPyConnection, tables: Iterable[pa.Table], answers: Path
) -> Iterator[pa.Table]:
    """Yield the candidates with their answers, in the order of the archive."""

    def side_by_side() -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(answers) as file:
            feed = Feed(pa.Table.from_batches([b]) for b in file.iter_batches(BATCH_ROWS))
            for table in tables:
                located = feed.take(table.num_rows)
                columns = [*table.select(COLLAPSED_SCHEMA.names).columns, *located.columns]
                yield from pa.Table.from_arrays(columns, schema=_LOCATED_SCHEMA).to_batches()

    expose(duck, "located", side_by_side(), _LOCATED_SCHEMA)
    # Captures are numbered by file and offset.
    sql = "SELECT * FROM located ORDER BY place NULLS LAST, uid_high, uid_low"
    for batch in stream(duck, sql):
        yield from_plain(batch, UNIQUE_SCHEMA)


def _take_nearest(duck: duckdb.DuckDBPyConnection, places: str, into: str) -> None:
    """Insert (n, id) for each of `asked` (n, key, moment) that has one: the place nearest in time.

    `places` (key, date, id) has one row for a key and date. Of two as near, the earlier. One join
    at a time, its result in a table: DuckDB spills one join, but not several at once. An as-of
    join sorts both sides, so those that nobody asks for are left out before.
    """
    duck.execute(f"""
        CREATE OR REPLACE TABLE wanted AS SELECT * FROM {places} SEMI JOIN asked USING (key);
        CREATE OR REPLACE TABLE near AS
        SELECT a.n, a.key, a.moment, p.id, p.date
        FROM asked AS a ASOF LEFT JOIN wanted AS p ON a.key = p.key AND a.moment >= p.date;
        INSERT INTO {into}
        SELECT n, id FROM (
            SELECT
                b.n,
                CASE WHEN p.id IS NULL OR b.moment - b.date <= p.date - b.moment
                    THEN b.id ELSE p.id END AS id
            FROM near AS b ASOF LEFT JOIN wanted AS p ON b.key = p.key AND b.moment < p.date
        ) WHERE id IS NOT NULL
    """)


def _any_rows(duck: duckdb.DuckDBPyConnection, table: str) -> bool:
    return bool(duck.execute(f"SELECT * FROM {table} LIMIT 1").fetchall())


def _first_rows(units: Sequence[DedupeUnit], num_rows: int) -> Iterator[pa.Table]:
    """Yield the first `num_rows` rows of the dataset's order, numbered."""
    start = 0
    for table in ordered_rows(units):
        rows = table.slice(0, num_rows - start)
        if not rows.num_rows:
            return
        numbers = np.arange(start, start + rows.num_rows)
        yield rows.append_column(_NUMBERED_SCHEMA.field("n"), pa.array(numbers))
        start += rows.num_rows


def _read_index(images: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for path in images:
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(BATCH_ROWS, columns=_INDEX_SCHEMA.names)


def _surt_keys(urls: pa.ChunkedArray) -> pa.Array:
    return pa.array([surt_key(url) for url in urls.to_pylist()], pa.string())
