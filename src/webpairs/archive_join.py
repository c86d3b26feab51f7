"""Find each unique candidate's image among the records of an archive.

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

from webpairs.cut import UNIQUE_SCHEMA, Cut, cut_rows, read_cut
from webpairs.dedupe import COLLAPSED_SCHEMA, DedupeUnit, count_unique, ordered_rows
from webpairs.errors import Drop
from webpairs.extract.url import surt_key
from webpairs.options import resolve_workers
from webpairs.schema import IMAGE_INDEX, arrow_schema
from webpairs.spill import BATCH_ROWS, expose, from_plain, open_duckdb, stream

MAX_REDIRECTS: Final = 5
"""As many as the live web gets (design, "Where images come from")."""

_INDEX_SCHEMA: Final = arrow_schema(IMAGE_INDEX)
_NUMBERED_SCHEMA: Final = COLLAPSED_SCHEMA.append(pa.field("n", pa.int64()))
_ASKED_SCHEMA: Final = pa.schema(
    [pa.field("n", pa.int64()), pa.field("url", pa.string()), pa.field("moment", pa.int64())]
)


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
    with open_duckdb(
        Path(units[0].folder) / "spill-join",
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
            if not _settle(duck, follow=hop < MAX_REDIRECTS):
                break
        return cut_rows(
            _in_reading_order(duck, _first_rows(units, num_rows)),
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
            INSERT INTO revisits {_nearest("places")};
        """)
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
    """Make where to look, in this order: `good_url`, `good_surt`, `bad_url`, `bad_surt`.

    A revisit of what is not archived can give no image, like an error.
    """
    for key in ("url", "surt"):
        for good in ("good", "bad"):
            duck.execute(f"""
                CREATE TABLE {good}_{key} AS
                SELECT {key} AS key, date, min(c.id) AS id
                FROM captures AS c LEFT JOIN revisits AS r USING (id)
                WHERE {"" if good == "good" else "NOT"}
                    (gives IN ('image', 'redirect') OR r.target IS NOT NULL)
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
        CREATE TABLE open AS SELECT n, url, moment, 0 AS hop FROM questions;
        CREATE TABLE answers (n BIGINT, id BIGINT, final_url VARCHAR, "drop" VARCHAR);
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
        duck.execute(f"INSERT INTO found {_nearest(places)}")


def _settle(duck: duckdb.DuckDBPyConnection, *, follow: bool) -> bool:
    """Turn what was found into answers, or, for redirects, into the next lookups.

    Return whether any are left to do.
    """
    duck.execute("""
        CREATE OR REPLACE TABLE taken AS
        SELECT
            o.n, o.url AS asked_url, o.hop, c.date AS moment,
            t.id, t.url, t.gives, t.kind, t.status, t.location
        FROM open AS o
        LEFT JOIN found AS f USING (n)
        LEFT JOIN captures AS c ON c.id = f.id
        LEFT JOIN revisits AS r ON r.id = f.id
        LEFT JOIN captures AS t ON t.id = coalesce(r.target, f.id)
    """)
    duck.execute(
        """
        INSERT INTO answers
        SELECT
            n,
            id,
            CASE
                WHEN id IS NULL THEN CASE WHEN hop > 0 THEN asked_url END
                WHEN gives = 'redirect' THEN location
                ELSE url
            END,
            CASE
                WHEN id IS NULL OR gives = 'revisit' THEN $not_archived
                WHEN gives = 'image' THEN NULL
                WHEN gives = 'redirect' THEN $redirect
                WHEN status = 429 THEN $http_429
                WHEN status BETWEEN 400 AND 499 THEN $http_4xx
                WHEN status BETWEEN 500 AND 599 THEN $http_5xx
                WHEN status BETWEEN 300 AND 399 THEN $redirect
                ELSE $protocol
            END
        FROM taken
        WHERE gives IS DISTINCT FROM 'redirect' OR NOT $follow
        """,
        {
            "follow": follow,
            **{
                drop.value: drop.value
                for drop in (
                    Drop.NOT_ARCHIVED,
                    Drop.REDIRECT,
                    Drop.HTTP_429,
                    Drop.HTTP_4XX,
                    Drop.HTTP_5XX,
                    Drop.PROTOCOL,
                )
            },
        },
    )
    duck.execute("""
        CREATE OR REPLACE TABLE open AS
        SELECT n, location AS url, moment, hop + 1 AS hop FROM taken WHERE gives = 'redirect'
    """)
    return _any_rows(duck, "open")


def _any_rows(duck: duckdb.DuckDBPyConnection, table: str) -> bool:
    return bool(duck.execute(f"SELECT * FROM {table} LIMIT 1").fetchall())


def _in_reading_order(
    duck: duckdb.DuckDBPyConnection, tables: Iterable[pa.Table]
) -> Iterator[pa.Table]:
    """Yield the candidates with their answers, in the order of the archive."""
    batches = (batch for table in tables for batch in table.to_batches())
    expose(duck, "candidates", batches, _NUMBERED_SCHEMA)
    sql = """
        SELECT
            candidates.* EXCLUDE n,
            a.final_url,
            c.status AS http_status,
            c.date AS fetch_date,
            CASE WHEN a."drop" IS NULL THEN c.file END AS image_file,
            CASE WHEN a."drop" IS NULL THEN c."offset" END AS image_offset,
            CASE WHEN a."drop" IS NULL THEN c.length END AS image_length,
            a."drop"
        FROM candidates
        LEFT JOIN answers AS a USING (n)
        LEFT JOIN captures AS c USING (id)
        ORDER BY image_file NULLS LAST, image_offset NULLS LAST, uid_high, uid_low
    """
    for batch in stream(duck, sql):
        yield from_plain(batch, UNIQUE_SCHEMA)


def _nearest(places: str) -> str:
    """Return SQL for (n, id): for each of `asked` (n, key, moment) the place nearest in time.

    `places` (key, date, id) has one row for a key and date. Of two as near, the earlier.
    """
    return f"""
        SELECT n, id FROM (
            SELECT
                a.n,
                CASE WHEN later.id IS NULL OR a.moment - before.date <= later.date - a.moment
                    THEN before.id ELSE later.id END AS id
            FROM asked AS a
            ASOF LEFT JOIN {places} AS before ON a.key = before.key AND a.moment >= before.date
            ASOF LEFT JOIN {places} AS later ON a.key = later.key AND a.moment < later.date
        ) WHERE id IS NOT NULL
    """


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
