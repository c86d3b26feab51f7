"""Every column of every table this package writes: name, type, unit, meaning, source.

This is the one place that defines them; `docs/formats.md` is generated from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

UID: Final = pa.binary(16)
SHA256: Final = pa.binary(32)
DATE: Final = pa.timestamp("ms", tz="UTC")


@dataclass(frozen=True, slots=True)
class Column:
    """Description of one column; `source` says where the value or the rule for it comes from."""

    name: str
    type: pa.DataType
    meaning: str
    source: str = ""
    nullable: bool = True

    def field(self) -> pa.Field:
        """Return the column as an arrow field."""
        return pa.field(self.name, self.type, nullable=self.nullable)


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """Return the arrow schema of a table of these columns, in this order."""
    return pa.schema([column.field() for column in columns])


_UID = Column(
    "uid",
    UID,
    "BLAKE2b-128 of url, a zero byte and text, both normalised and in UTF-8",
    "webpairs: ids come from content",
    nullable=False,
)

_FOUND = (
    Column(
        "language",
        pa.string(),
        "language of the text, ISO 639; null when not asked",
        "fastText lid.176",
    ),
    Column("language_score", pa.float32(), "its probability, 0 to 1", "fastText lid.176"),
    Column("license_id", pa.string(), "SPDX-like id of the page's licence, e.g. CC-BY-4.0", "page"),
    Column("license_where", pa.string(), "where it stood: a, link, meta or json-ld", "page"),
    Column(
        "opt_out",
        pa.string(),
        "the opt-out signal that an option kept the row in spite of",
        "page or image answer",
    ),
    Column("image_source", pa.string(), "src, srcset, picture or data-src", "page"),
    Column("text_source", pa.string(), "alt, title or caption", "page"),
    Column("page_url", pa.string(), "the page the candidate was found on", "WARC-Target-URI"),
    Column(
        "crawl_file",
        pa.string(),
        "the crawl file that holds the page",
        "WAT Container.Filename, else the input's name",
    ),
    Column(
        "crawl_offset",
        pa.int64(),
        "byte offset of the page's record in that file",
        "WAT Container.Offset, else read",
    ),
    Column("crawl_date", DATE, "when the page was captured", "WARC-Date"),
)

_GIVEN = (
    Column(
        "similarity_given",
        pa.float64(),
        "tables: the similarity that stood in the row, -1 to 1",
        "table",
    ),
    Column(
        "url_given", pa.string(), "tables: the URL as it stood, where it was not `url`", "table"
    ),
    Column(
        "text_given", pa.string(), "tables: the text as it stood, where it was not `text`", "table"
    ),
)
_GIVEN_UNTIL_BUILT = (
    Column("nsfw_given", pa.string(), "tables: the NSFW tag that stood in the row", "table"),
    Column(
        "hash_given",
        pa.string(),
        "tables: `sha256:` or `md5:` and the hex digest that the image must have",
        "table",
    ),
    Column(
        "given",
        pa.string(),
        "tables: JSON object of all other columns of the row; columns of their own in metadata",
        "table",
    ),
)

CANDIDATES: Final = (
    _UID,
    Column(
        "url",
        pa.string(),
        "image URL: WHATWG-normalised, absolute, without fragment",
        "WHATWG URL",
        nullable=False,
    ),
    Column("text", pa.string(), "the cleaned text", "alt, title or caption", nullable=False),
    Column(
        "license",
        pa.string(),
        "licence as LAION writes it: the link as it stood, or ?",
        "LAION-400M",
        nullable=False,
    ),
    *_FOUND,
    Column(
        "position",
        pa.int32(),
        "rank of the image among the page's images, from 0",
        "page",
        nullable=False,
    ),
    *_GIVEN,
    *_GIVEN_UNTIL_BUILT,
)
"""`work/candidates/*.parquet`: what extract writes."""

IMAGE_INDEX: Final = (
    Column("url", pa.string(), "normalised URL of the capture", "WARC-Target-URI", nullable=False),
    Column(
        "surt",
        pa.string(),
        "SURT of the URL without scheme and www, for the second join",
        "SURT",
        nullable=False,
    ),
    Column("file", pa.string(), "name of the input that holds the record", "input", nullable=False),
    Column("offset", pa.int64(), "byte offset of the record in that input", "read", nullable=False),
    Column(
        "length",
        pa.int64(),
        "bytes of the record in that input, 0 when unknown",
        "read",
        nullable=False,
    ),
    Column("date", DATE, "when it was captured", "WARC-Date", nullable=False),
    Column(
        "kind",
        pa.string(),
        "response, redirect, revisit or resource",
        "WARC-Type and HTTP status",
        nullable=False,
    ),
    Column(
        "status", pa.int16(), "HTTP status; 200 for a resource", "HTTP status line", nullable=False
    ),
    Column("digest", pa.string(), "payload digest as written", "WARC-Payload-Digest"),
    Column("location", pa.string(), "redirect: normalised target URL", "HTTP Location"),
    Column(
        "refers_to_url",
        pa.string(),
        "revisit: normalised URL it refers to",
        "WARC-Refers-To-Target-URI",
    ),
    Column("refers_to_date", DATE, "revisit: date it refers to", "WARC-Refers-To-Date"),
)
"""`work/candidates/*.images.parquet`: what extract writes beside them in archive mode."""

_OBTAINED = (
    Column("final_url", pa.string(), "URL the image came from after redirects", "web or archive"),
    Column("http_status", pa.int16(), "HTTP status of that answer", "web or archive"),
    Column(
        "fetch_date",
        DATE,
        "when the image was fetched (web) or captured (archive)",
        "web or archive",
    ),
    Column("image_file", pa.string(), "archive: the crawl file that holds the image", "archive"),
    Column("image_offset", pa.int64(), "archive: byte offset of its record", "archive"),
)

UNIQUE: Final = (
    *CANDIDATES,
    Column(
        "copies",
        pa.int32(),
        "how often this url and text were found together",
        "dedupe",
        nullable=False,
    ),
    *_OBTAINED,
    Column(
        "image_length",
        pa.int64(),
        "archive: bytes of the image's record, 0 when unknown",
        "archive",
    ),
    Column(
        "drop",
        pa.string(),
        "archive: a drop reason known before reading, else null",
        "archive join",
    ),
)
"""`work/unique/*.parquet`: a shard's candidates; from final_url on all null for the web."""

METADATA: Final = (
    Column("SAMPLE_ID", pa.int64(), "the key as a number", "LAION-400M", nullable=False),
    Column("URL", pa.string(), "image URL", "LAION-400M", nullable=False),
    Column("TEXT", pa.string(), "the text", "LAION-400M", nullable=False),
    Column(
        "HEIGHT",
        pa.int32(),
        "pixels of the image as displayed, before resizing",
        "LAION-400M",
        nullable=False,
    ),
    Column(
        "WIDTH",
        pa.int32(),
        "pixels of the image as displayed, before resizing",
        "LAION-400M",
        nullable=False,
    ),
    Column(
        "LICENSE", pa.string(), "the licence link as it stood, or ?", "LAION-400M", nullable=False
    ),
    Column(
        "NSFW", pa.string(), "UNLIKELY, UNSURE, NSFW; null when the model cannot tag", "LAION-400M"
    ),
    Column("similarity", pa.float64(), "cosine of image and text embedding, -1 to 1", "LAION-400M"),
    Column(
        "key",
        pa.string(),
        "shard number and candidate row, the name in the tar",
        "webpairs",
        nullable=False,
    ),
    _UID,
    Column("sha256", SHA256, "SHA-256 of the image bytes as received", "webpairs", nullable=False),
    Column(
        "stored_sha256", SHA256, "SHA-256 of the image bytes in the tar", "webpairs", nullable=False
    ),
    Column("bytes", pa.int32(), "bytes of the image as received", "webpairs", nullable=False),
    Column(
        "format",
        pa.string(),
        "format of the image as received: jpeg, png, webp",
        "magic bytes",
        nullable=False,
    ),
    Column(
        "stored_width", pa.int32(), "pixels of the image in the tar", "webpairs", nullable=False
    ),
    Column(
        "stored_height", pa.int32(), "pixels of the image in the tar", "webpairs", nullable=False
    ),
    *_FOUND,
    Column(
        "copies",
        pa.int32(),
        "how often this url and text were found together",
        "dedupe",
        nullable=False,
    ),
    *_OBTAINED,
    Column(
        "permissions",
        pa.string(),
        "web: what the image's site was asked and what it answered, see docs/manners.md",
        "robots.txt, tdmrep.json",
    ),
    *_GIVEN,
    Column(
        "nsfw_score",
        pa.float32(),
        "probability of the NSFW prompts; null when the model cannot tag",
        "CLIP prompt banks",
    ),
    Column(
        "tags",
        pa.list_(pa.struct([pa.field("name", pa.string()), pa.field("score", pa.float32())])),
        "names and scores; empty when the model cannot tag",
        "CLIP prompt banks",
    ),
)
"""`metadata/*.parquet`: one row a sample, in the order of the tar and the embeddings; after these
a table's other columns, under their own names."""

DROPS: Final = (
    _UID,
    Column("url_hash", pa.binary(8), "BLAKE2b-64 of the URL", "webpairs", nullable=False),
    Column("reason", pa.string(), "a Drop", "webpairs", nullable=False),
    Column("stage", pa.string(), "the stage that dropped it", "webpairs", nullable=False),
    Column("signal", pa.string(), "opt-outs: the signal's name", "docs/optout table"),
    Column("similarity", pa.float64(), "cosine, when it was scored", "CLIP"),
    Column("http_status", pa.int16(), "HTTP status, when there was an answer", "web or archive"),
    Column("final_url", pa.string(), "URL after redirects", "web or archive"),
    Column("detail", pa.string(), "what exactly was wrong", "webpairs"),
    Column("copies", pa.int32(), "how often this url and text were found together", "dedupe"),
    *(Column(c.name, c.type, c.meaning, c.source) for c in CANDIDATES if c.name != "uid"),
)
"""`drops/*.parquet`: one row a dropped candidate; sensitive reasons fill only the first five."""
