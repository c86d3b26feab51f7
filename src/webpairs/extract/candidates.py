"""Filter, clean, identify and write candidates: pages go in, a parquet file by bucket comes out.

Rows of tables go in as well. A candidate of a page is an image with a text that is more than
whitespace; of a table, any row. Rules apply in this order, and
the first that fails names the drop: the cleaned text is too short (`text_too_short`); the source
is of a kind nobody wants (`url_unwanted`); it leads to no http(s) URL (`url_invalid`); the text's
language is not asked for (`language`). Opt-outs are marked, not dropped.

The file has one row group per non-empty bucket and flush, the bucket being the first byte of the
uid; the parquet key-value metadata `webpairs.buckets` holds the bucket of each row group, in order
and comma-separated, so that a reader takes one bucket's row groups without reading the others.
Within a row group rows are sorted by (uid, date, crawl file, offset, position).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from webpairs.drops import Drop
from webpairs.extract.language import detect_languages
from webpairs.extract.license import NO_LICENSE, license_id
from webpairs.extract.page import ExtractRules, ExtractStats, Page, TableRows
from webpairs.extract.text import clean_texts
from webpairs.extract.url import is_unwanted, join_urls
from webpairs.files import write_parquet
from webpairs.ids import uids_of
from webpairs.recipes.recipe import ANY_LANGUAGE
from webpairs.run_folder.schema import CANDIDATES, UID, arrow_schema
from webpairs.url_user import without_user

NUM_BUCKETS: Final = 256
"""Buckets whatever the memory: the first byte of the uid."""

BUCKETS_KEY: Final = b"webpairs.buckets"

DEFAULT_MAX_ROWS: Final = 250_000
"""About 0.4 KB a row in Arrow: 100 MB, and as much again while a flush sorts."""

_RAW_ROWS: Final = 16_384
"""Rows held as Python strings before they become Arrow columns."""
_MAX_RAW_CHARS: Final = 16 << 20
_MAX_BYTES: Final = 256 << 20
"""Flush at this many bytes of Arrow columns, however few the rows."""

_SCHEMA: Final = arrow_schema(CANDIDATES)
_REPETITIVE: Final = [
    "license",
    "language",
    "license_id",
    "license_where",
    "opt_out",
    "image_source",
    "text_source",
    "page_url",
    "crawl_file",
    "nsfw_given",
]


class CandidateWriter:
    """Writer of the candidates of one unit of extract to `path`, atomically.

    A context manager: on a clean exit the file is synced and renamed to `path`; on an error
    nothing is left behind. Memory is bounded by `max_rows_in_memory`, whatever goes in.
    """

    def __init__(
        self,
        path: str | Path,
        rules: ExtractRules,
        stats: ExtractStats,
        *,
        max_rows_in_memory: int = DEFAULT_MAX_ROWS,
    ) -> None:
        self._path = Path(path)
        self.rules = rules
        self._stats = stats
        self._max_rows = max(1, max_rows_in_memory)
        self._any_language = ANY_LANGUAGE in rules.languages
        self._buckets: list[int] = []
        self._stack = ExitStack()
        self._parquet: pq.ParquetWriter | None = None
        self._clear_raw()
        self._clear_tables()

    def __enter__(self) -> Self:
        self._parquet = self._stack.enter_context(
            write_parquet(self._path, _SCHEMA, use_dictionary=_REPETITIVE, write_statistics=False)
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            assert self._parquet is not None
            self._settle()
            self._flush()
            buckets = ",".join(map(str, self._buckets)).encode()
            self._parquet.add_key_value_metadata({BUCKETS_KEY: buckets})

    def add_page(
        self,
        page: Page,
        urls: Sequence[str],
        texts: Sequence[str],
        image_sources: Sequence[str],
        text_sources: Sequence[str],
        positions: Sequence[int],
    ) -> None:
        """Take the images of a page, one row for each image and text beside it, as written.

        Attributes are unescaped already, once, by the HTML parser or by JSON. Rows whose text is
        empty or whitespace are not candidates and are not counted.
        """
        rows = [row for row, text in enumerate(texts) if text and not text.isspace()]
        if not rows:
            return
        if len(rows) < len(texts):
            urls = [urls[row] for row in rows]
            texts = [texts[row] for row in rows]
            image_sources = [image_sources[row] for row in rows]
            text_sources = [text_sources[row] for row in rows]
            positions = [positions[row] for row in rows]
        self._stats.found += len(rows)
        self._pages.append(page)
        self._rows_of_page.append(len(rows))
        self._urls.extend(urls)
        self._texts.extend(texts)
        self._image_sources.extend(image_sources)
        self._text_sources.extend(text_sources)
        self._positions.extend(positions)
        self._raw_chars += sum(map(len, urls)) + sum(map(len, texts))
        if len(self._urls) >= min(_RAW_ROWS, self._max_rows) or self._raw_chars > _MAX_RAW_CHARS:
            self._settle()
            self._flush_if_full()

    def add_rows(self, table: TableRows) -> None:
        """Take rows of a table; each is a candidate, whether it has a text or not."""
        num = len(table.urls)
        if not num:
            return
        self._stats.found += num
        texts = clean_texts(table.texts)
        kept = self._sift(table.urls, texts, [(None, "", num)])
        rows = kept.rows
        licenses = [table.licenses[row] for row in rows]
        ids = {license: license_id(license) for license in set(licenses)}

        def column(values: Sequence[str | int | float | None], kind: pa.DataType) -> pa.Array:
            return pa.array([values[row] for row in rows], kind)

        self._add(
            kept,
            {
                "license": pa.array([_utf8(one) or NO_LICENSE for one in licenses], pa.string()),
                "license_id": pa.array([ids[one] for one in licenses], pa.string()),
                "crawl_file": pa.repeat(pa.scalar(_utf8(table.crawl_file)), len(rows)),
                "crawl_offset": column(table.numbers, pa.int64()),
                "position": pa.array(np.zeros(len(rows), np.int32)),
                "similarity_given": column(table.similarities, pa.float64()),
                "url_given": _where_other(
                    [without_user(table.urls[row]) for row in rows], kept.urls
                ),
                "text_given": _where_other([table.texts[row] for row in rows], kept.texts),
                "nsfw_given": column(table.nsfw, pa.string()),
                "hash_given": column(table.hashes, pa.string()),
                "given": column([one and without_user(one) for one in table.given], pa.string()),
            },
        )
        self._flush_if_full()

    def _clear_raw(self) -> None:
        self._pages: list[Page] = []
        self._rows_of_page: list[int] = []
        self._urls: list[str] = []
        self._texts: list[str] = []
        self._image_sources: list[str] = []
        self._text_sources: list[str] = []
        self._positions: list[int] = []
        self._raw_chars = 0

    def _clear_tables(self) -> None:
        self._tables: list[pa.Table] = []
        self._num_rows = 0
        self._num_bytes = 0

    def _settle(self) -> None:
        """Turn the rows of pages at hand into a table of those that pass the rules."""
        if not self._urls:
            return
        spans = [
            (page.base, page.url, num)
            for page, num in zip(self._pages, self._rows_of_page, strict=True)
        ]
        kept = self._sift(self._urls, clean_texts(self._texts), spans)
        self._add(kept, self._columns_of_pages(kept.rows))
        self._clear_raw()

    def _sift(
        self,
        sources: Sequence[str],
        texts: Sequence[str],
        spans: Sequence[tuple[str | None, str, int]],
    ) -> _Kept:
        """Return the rows that pass the rules, and count the others.

        `spans` are base, URL and number of rows of each page in turn.
        """
        rules, drop = self.rules, self._stats.drop
        urls: list[str] = []
        rows: list[int] = []
        too_short = unwanted = invalid = 0
        start = 0
        for base, page_url, num in spans:
            wanted: list[int] = []
            for row in range(start, start + num):
                if len(texts[row]) < rules.min_text_chars:
                    too_short += 1
                elif is_unwanted(sources[row]):
                    unwanted += 1
                else:
                    wanted.append(row)
            start += num
            joined = join_urls(base, page_url, [sources[row] for row in wanted])
            for row, url in zip(wanted, joined, strict=True):
                if url is None:
                    invalid += 1
                else:
                    rows.append(row)
                    urls.append(url)
        drop(Drop.TEXT_TOO_SHORT, too_short)
        drop(Drop.URL_UNWANTED, unwanted)
        drop(Drop.URL_INVALID, invalid)
        texts = [texts[row] for row in rows]
        languages, scores = _languages(texts)
        if not self._any_language:
            kept = [i for i, label in enumerate(languages) if label in rules.languages]
            drop(Drop.LANGUAGE, len(rows) - len(kept))
            rows = [rows[i] for i in kept]
            urls = [urls[i] for i in kept]
            texts = [texts[i] for i in kept]
            languages = [languages[i] for i in kept]
            scores = [scores[i] for i in kept]
        return _Kept(rows, urls, texts, languages, scores)

    def _columns_of_pages(self, rows: list[int]) -> dict[str, pa.Array]:
        page_of_row = np.repeat(np.arange(len(self._pages)), self._rows_of_page)[rows]
        pages = self._pages

        def of_page(values: Sequence[str | int | None], kind: pa.DataType) -> pa.Array:
            return pa.array(values, kind).take(pa.array(page_of_row))

        return {
            "license": of_page([_utf8(page.license) or "?" for page in pages], pa.string()),
            "license_id": of_page([page.license_id for page in pages], pa.string()),
            "license_where": of_page([page.license_where for page in pages], pa.string()),
            "opt_out": of_page([page.opt_out for page in pages], pa.string()),
            "image_source": pa.array([self._image_sources[row] for row in rows], pa.string()),
            "text_source": pa.array([self._text_sources[row] for row in rows], pa.string()),
            "page_url": of_page([without_user(_utf8(page.url)) for page in pages], pa.string()),
            "crawl_file": of_page([_utf8(page.crawl_file) for page in pages], pa.string()),
            "crawl_offset": of_page([page.crawl_offset for page in pages], pa.int64()),
            "crawl_date": of_page([page.crawl_date_ms for page in pages], pa.int64()).cast(
                _SCHEMA.field("crawl_date").type
            ),
            "position": pa.array([self._positions[row] for row in rows], pa.int32()),
        }

    def _add(self, kept: _Kept, columns: dict[str, pa.Array]) -> None:
        """Hold rows that passed; columns of candidates that neither has are null."""
        num = len(kept.rows)
        if not num:
            return
        columns = columns | {
            "uid": pa.array(uids_of(kept.urls, kept.texts), UID),
            "url": pa.array(kept.urls, pa.string()),
            "text": pa.array(kept.texts, pa.string()),
            "language": pa.array(kept.languages, pa.string()),
            "language_score": pa.array(kept.scores, pa.float32()),
        }
        table = pa.table(
            [columns.get(field.name, pa.nulls(num, field.type)) for field in _SCHEMA],
            schema=_SCHEMA,
        )
        self._tables.append(table)
        self._num_rows += num
        self._num_bytes += table.nbytes
        self._stats.written += num

    def _flush_if_full(self) -> None:
        if self._num_rows >= self._max_rows or self._num_bytes >= _MAX_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Write what is held, sorted, a row group per non-empty bucket."""
        if not self._num_rows:
            return
        assert self._parquet is not None
        table = pa.concat_tables(self._tables).combine_chunks()
        self._clear_tables()
        order, buckets = _order(table)
        table = table.take(pa.array(order))
        edges = np.searchsorted(buckets, np.arange(NUM_BUCKETS + 1))
        for bucket in range(NUM_BUCKETS):
            start, end = int(edges[bucket]), int(edges[bucket + 1])
            if start < end:
                group = table.slice(start, end - start)
                self._parquet.write_table(group, row_group_size=end - start)
                self._buckets.append(bucket)


class _Kept(NamedTuple):
    """The rows of a batch that passed the rules: columns of equal length."""

    rows: list[int]
    """Where they stood in the batch."""
    urls: list[str]
    texts: list[str]
    languages: list[str | None]
    scores: list[float | None]


def bucket_row_groups(parquet_metadata: pq.FileMetaData) -> dict[int, list[int]]:
    """Return the row groups of each bucket that a candidates file holds."""
    groups: dict[int, list[int]] = {}
    held = (parquet_metadata.metadata or {})[BUCKETS_KEY].decode()
    for group, bucket in enumerate(held.split(",") if held else ()):
        groups.setdefault(int(bucket), []).append(group)
    return groups


def _order(table: pa.Table) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return the order of rows (uid, date, file, offset, position) and their buckets, ordered."""
    uids = b"".join(table.column("uid").to_pylist())
    words = np.frombuffer(uids, ">u8").reshape(-1, 2).astype(np.uint64)
    files = np.array(table.column("crawl_file").to_pylist(), dtype=object)
    rank_of = {file: rank for rank, file in enumerate(sorted(set(files.tolist())))}
    ranks = np.fromiter((rank_of[file] for file in files), np.int64, len(files))
    # Rows of tables have no date and come last, as they do in dedupe.
    dates = table.column("crawl_date").cast(pa.int64()).fill_null(np.iinfo(np.int64).max)
    order = np.lexsort(
        (
            table.column("position").to_numpy(),
            table.column("crawl_offset").to_numpy(),
            ranks,
            dates.to_numpy(),
            words[:, 1],
            words[:, 0],
        )
    )
    return order, (words[order, 0] >> np.uint64(56)).astype(np.uint8)


def _languages(texts: Sequence[str]) -> tuple[list[str | None], list[float | None]]:
    """Return the languages of texts and their probabilities; an empty text has none."""
    labels: list[str | None] = [None] * len(texts)
    scores: list[float | None] = [None] * len(texts)
    rows = [row for row, text in enumerate(texts) if text]
    if rows:
        found = detect_languages([texts[row] for row in rows])
        for row, label, score in zip(rows, *found, strict=True):
            labels[row] = label
            scores[row] = score
    return labels, scores


def _where_other(stood: Sequence[str], used: Sequence[str]) -> pa.Array:
    """Return what stood in a table where it is not what is used of it; null where there is none."""
    pairs = zip(stood, used, strict=True)
    return pa.array([_utf8(a) if a and a != b else None for a, b in pairs], pa.string())


def _utf8(text: str) -> str:
    """Return `text` with what UTF-8 cannot hold (lone surrogates) replaced."""
    return text.encode("utf-8", "replace").decode()
