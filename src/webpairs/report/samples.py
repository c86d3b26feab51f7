"""Counting what the samples of a dataset are: one pass over its metadata, in bounded pieces."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute

from webpairs.dataset.dataset import Dataset
from webpairs.dataset.features import (
    MISSING_SIMILARITY,
    MOST_SIMILARITY,
    TABULAR,
    numbers,
    one_array,
    raw_name,
    strings,
)
from webpairs.dataset.hosts import host_names
from webpairs.dataset.sources.source import Rows, Shard
from webpairs.report.examples import TEXT_CHARS, Example, Nearest
from webpairs.report.names import NameCounts
from webpairs.report.tally import Floats, Tally, growing_edges, octave_edges, unit_edges
from webpairs.run_folder.texts_per_image import MANY_TEXTS

pc: Any = pyarrow.compute  # its functions are made at run time

STREAM_ROWS: Final = 65_536
NAMED: Final = {
    # kind: columns that hold it, the first that is there counts (LAION-5B has capitals)
    "language": ("language", "LANGUAGE"),
    "license_id": ("license_id",),
    "license_where": ("license_where",),
    "opt_out": ("opt_out",),
    "image_source": ("image_source",),
    "text_source": ("text_source",),
    "format": ("format",),
    "permissions": ("permissions",),
    "http_status": ("http_status",),
}
_FURTHER: Final = (
    *("bytes", "copies", "crawl_date", "crawl_file", "sha256", "similarity_given", "tags"),
    "texts_per_image",
)
_CRAWL: Final = r"(?P<crawl>CC-MAIN-\d{4}-\d{2})/"
"""The crawl in the path of a file of Common Crawl."""
_NAME: Final = (r"^.*/", r"(\.(gz|zst|warc|wat|parquet|csv|tsv|jsonl?|txt))+$")
_NUMBERS: Final = r"[-_.]\d+(?:[-_.]\d+)*$"

NUM_TEXTS_DIGITS: Final = 10
"""A `placeholder` is so many digits, then the image's SHA-256 in hex."""
MAX_PLACEHOLDERS: Final = 2_000
"""Of so many images under many texts a sample is kept, until the few are known that are shown."""

SIMILARITY_EDGES: Final = np.arange(-1000, 1002) / 1000
"""From -1 to 1.001, beyond which nothing is a cosine (`load.features`)."""
SIDE_EDGES: Final = growing_edges(4096, 2**17)
BYTES_EDGES: Final = growing_edges(256, 2**31)
ASPECT_EDGES: Final = 2.0 ** (np.arange(-64 * 8, 64 * 8 + 1) / 64)
"""Width / height from 1:256 to 256:1, in steps of 1.1 %."""
CHARS_EDGES: Final = growing_edges(4096, 2**20)
FEW_EDGES: Final = growing_edges(1024, 2**31)

BINS: Final[dict[str, tuple[float, ...]]] = {
    "similarity": tuple(k / 100 for k in range(-100, 101)),
    "shorter_side": (1, *octave_edges(4, 13, 4), math.inf),
    "longer_side": (1, *octave_edges(4, 13, 4), math.inf),
    "aspect": tuple(2 ** (k / 8) for k in range(-20, 21)),
    "bytes": (0, *octave_edges(10, 24, 2), math.inf),
    "caption_chars": (1, *range(5, 151, 5), math.inf),
    "copies": (1, 2, 3, 4, 5, 10, 20, 50, 100, 1000, math.inf),
    "texts_per_image": (1, 2, 3, 4, 5, 10, 20, 50, 100, 1000, math.inf),
    "num_tags": (0, 1, 2, 3, 4, 5, 10, 20, math.inf),
}
"""What each tally is shown in; a bin ends before the next one's edge, the outmost take the rest."""


def new_tallies() -> dict[str, Tally]:
    """Return tallies of all numbers that are counted."""
    return {
        "similarity": Tally(SIMILARITY_EDGES),
        "shorter_side": Tally(SIDE_EDGES),
        "longer_side": Tally(SIDE_EDGES),
        "aspect": Tally(ASPECT_EDGES),
        "bytes": Tally(BYTES_EDGES),
        "caption_chars": Tally(CHARS_EDGES),
        "copies": Tally(FEW_EDGES),
        "texts_per_image": Tally(FEW_EDGES),
        "num_tags": Tally(unit_edges(64)),
    }


class SamplePass:
    """Counts of one dataset's samples, shard after shard."""

    def __init__(self, ds: Dataset, names: NameCounts, *, given: bool) -> None:
        """With `given` similarities are those that a table gave: the run scored nothing."""
        self.tallies = new_tallies()
        self.nearest = Nearest(above=True)
        self.num_samples = 0
        self.placeholders: dict[str, Example] = {}
        """A sample of each image under many texts, by the name that it is counted by."""
        self.columns_met: set[str] = set()
        """Features and further columns that some shard has."""
        self._ds = ds
        self._names = names
        self._given = given

    def read(self, place: int, wanted: Rows) -> dict[int, Example]:
        """Count the samples of a shard; return those at the rows `wanted`."""
        shard = self._ds.shard(place)
        columns = self._columns(shard)
        self.columns_met.update(columns)
        found: dict[int, Example] = {}
        for rows, table in shard.stream(columns, None, STREAM_ROWS, label_names=True):
            self._count(place, rows, table)
            for one in np.flatnonzero(np.isin(rows, wanted)).tolist():
                found[int(rows[one])] = self._example(place, rows, table, one)
        return found

    def _columns(self, shard: Shard) -> list[str]:
        """Return which features and columns of a shard are read."""
        there = shard.column_names
        features = [name for name in TABULAR if raw_name(name, there) is not None]
        named = (next((n for n in names if n in there), None) for names in NAMED.values())
        further = [name for name in _FURTHER if name in there]
        return list(dict.fromkeys(("key", *features, *filter(None, named), *further)))

    def _count(self, place: int, rows: Rows, table: pa.Table) -> None:
        self.num_samples += len(rows)
        there = frozenset(table.column_names)
        if "url" in there:
            self._names.add("host", host_names(table.column("url")))
        if "caption" in there:
            chars = one_array(pc.utf8_length(table.column("caption"))).to_numpy()
            self.tallies["caption_chars"].add(np.where(chars > 0, chars, np.nan))
        self._count_similarity(place, rows, table)
        self._count_sizes(table)
        self._count_names(table)
        self._count_crawls(table)
        self._count_images(place, rows, table)

    def _count_similarity(self, place: int, rows: Rows, table: pa.Table) -> None:
        values = self._similarities(table)
        self.tallies["similarity"].add(values)
        self.nearest.add(values, place, rows, lambda one: self._example(place, rows, table, one))

    def _similarities(self, table: pa.Table) -> Floats:
        """Return similarities, NaN where there is none or what cannot be one."""
        name = "similarity_given" if self._given else "similarity"
        if name not in table.column_names:
            return np.full(table.num_rows, np.nan)
        values = numbers(table.column(name), table.num_rows)
        believable = np.abs(values) <= MOST_SIMILARITY
        if not self._given:
            believable &= values != MISSING_SIMILARITY
        return np.where(believable, values, np.nan)

    def _example(self, place: int, rows: Rows, table: pa.Table, one: int) -> Example:
        row = table.slice(one, 1)
        similarity = float(self._similarities(row)[0])
        host = host_names(row.column("url"))[0].as_py() if "url" in row.column_names else None
        return Example(
            place=place,
            row=int(rows[one]),
            similarity=None if np.isnan(similarity) else similarity,
            key=_text(row, "key"),
            text=_text(row, "caption")[:TEXT_CHARS],
            host=host or "",
            nsfw=_text(row, "nsfw"),
        )

    def _count_sizes(self, table: pa.Table) -> None:
        if not {"original_width", "original_height"} <= set(table.column_names):
            return
        width, height = (
            numbers(table.column(name), table.num_rows)
            for name in ("original_width", "original_height")
        )
        known = (width > 0) & (height > 0)
        width, height = np.where(known, width, np.nan), np.where(known, height, np.nan)
        self.tallies["shorter_side"].add(np.minimum(width, height))
        self.tallies["longer_side"].add(np.maximum(width, height))
        self.tallies["aspect"].add(width / height)
        shapes = ("landscape", "portrait", "square")
        nums = [(width > height).sum(), (width < height).sum(), (width == height).sum()]
        self._names.add_counts("shape", pa.array(shapes), pa.array(nums, pa.int64()))

    def _count_names(self, table: pa.Table) -> None:
        there = table.column_names
        if "nsfw" in there:
            self._names.add("nsfw", table.column("nsfw"))
        if "license" in there:  # empty where there is none
            licences = one_array(table.column("license"))
            self._names.add("license", licences.filter(pc.not_equal(licences, "")))
        for kind, columns in NAMED.items():
            for column in columns:
                if column in there:
                    self._names.add(kind, strings(table.column(column), table.num_rows))
                    break
        if "tags" in there and pa.types.is_list(table.schema.field("tags").type):
            tags = one_array(table.column("tags"))
            num_tags = pc.fill_null(pc.list_value_length(tags), 0)
            self.tallies["num_tags"].add(num_tags.to_numpy().astype(np.float64))
            flat = pc.list_flatten(tags)
            if pa.types.is_struct(flat.type):
                flat = pc.struct_field(flat, "name")
            self._names.add("tag", strings(pa.chunked_array([flat]), len(flat)))

    def _count_crawls(self, table: pa.Table) -> None:
        there = table.column_names
        if "crawl_file" in there:
            counts = pc.value_counts(strings(table.column("crawl_file"), table.num_rows))
            files = counts.field("values")
            known = files.is_valid()
            crawls = crawl_names(files.filter(known))
            self._names.add_counts("crawl", crawls, counts.field("counts").filter(known))
        if "crawl_date" in there and pa.types.is_timestamp(table.schema.field("crawl_date").type):
            years = pc.year(table.column("crawl_date"))
            self._names.add("year", years.cast(pa.string()))

    def _count_images(self, place: int, rows: Rows, table: pa.Table) -> None:
        there = table.column_names
        for name in ("bytes", "copies", "texts_per_image"):
            if name in there:
                self.tallies[name].add(numbers(table.column(name), table.num_rows))
        if not {"texts_per_image", "sha256"} <= set(there):
            return
        texts = numbers(table.column("texts_per_image"), table.num_rows)
        many = np.flatnonzero(texts >= MANY_TEXTS).tolist()
        hashes = table.column("sha256").take(pa.array(many, pa.int64())).to_pylist()
        # An image's number of texts is part of its name here: all of its rows have the same.
        marked = [
            f"{int(texts[one]):0{NUM_TEXTS_DIGITS}d}{sha256.hex()}"
            for one, sha256 in zip(many, hashes, strict=True)
        ]
        self._names.add("placeholder", pa.array(marked, pa.string()))
        for name, one in zip(marked, many, strict=True):
            if name not in self.placeholders:
                self.placeholders[name] = self._example(place, rows, table, one)
        if len(self.placeholders) > MAX_PLACEHOLDERS:
            kept = sorted(self.placeholders, reverse=True)[: MAX_PLACEHOLDERS // 2]
            self.placeholders = {name: self.placeholders[name] for name in kept}


def crawl_names(files: pa.Array) -> pa.Array:
    """Return which crawl each crawl file is of: CC-MAIN-2024-22, or its name without numbers."""
    crawls = pc.struct_field(pc.extract_regex(files, pattern=_CRAWL), "crawl")
    if not crawls.null_count:
        return crawls
    names: Any = files
    for pattern in _NAME:
        names = pc.replace_substring_regex(names, pattern=pattern, replacement="")
    bare = pc.replace_substring_regex(names, pattern=_NUMBERS, replacement="")
    # A name that is nothing but numbers stays what it is.
    return pc.coalesce(crawls, pc.if_else(pc.equal(bare, ""), names, bare))


def _text(row: pa.Table, name: str) -> str:
    return row.column(name)[0].as_py() or "" if name in row.column_names else ""
