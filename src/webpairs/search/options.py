"""What a user may ask of `index` and `search`, checked before any work starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from webpairs.checks import check_one
from webpairs.errors import ConfigError
from webpairs.options import MIN_MEMORY_BYTES, check_lists
from webpairs.quantities import counted, size_of
from webpairs.search.index.vectors import KINDS

LEAST_RECALL: Final = 0.5
MAX_K: Final = 10_000
"""Results of a query; also the most that clip-retrieval's clients may ask of a server."""
MAX_TEXT_CHARS: Final = 2_000
FORMATS: Final = ("table", "json", "html")
FOUND_AT: Final = (
    "page_url",
    "crawl_file",
    "crawl_offset",
    "crawl_date",
    "final_url",
    "image_file",
    "image_offset",
)
"""Columns that tell where a sample was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOptions:
    """Options of `webpairs index`.

    Raises ConfigError naming the value, the limit and the fix.
    """

    source: str
    out: str | None = None
    """Folder of the index; None: `index/` in the run folder."""
    what: tuple[str, ...] = KINDS
    recall: float = 0.95
    max_memory_bytes: int = 4_000_000_000

    def __post_init__(self) -> None:
        check_lists(self)
        _check_source(self.source)
        if not self.what:
            raise ConfigError(f"--what is empty: use one or both of {', '.join(KINDS)}")
        for kind in self.what:
            check_one("--what", kind, KINDS)
        if not LEAST_RECALL <= self.recall <= 1:
            raise ConfigError(
                f"--recall {self.recall:g} is out of range: use {LEAST_RECALL:g} to 1, which is "
                "exact and reads every vector for every query"
            )
        if self.max_memory_bytes < MIN_MEMORY_BYTES:
            raise ConfigError(
                f"--max-memory {counted(self.max_memory_bytes, 'byte')} is too little: use at "
                "least "
                f"{size_of(MIN_MEMORY_BYTES)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Options of `webpairs search`; None means the dataset's or the index's value.

    What is asked for are texts, image files and keys together; `without` are texts to keep away
    from. Raises ConfigError naming the value, the limit and the fix.
    """

    source: str
    texts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    where: str | None = None
    k: int = 20
    kind: str | None = None
    """Which embeddings are searched: image or text; None: images if they are indexed."""
    unique: bool = False
    """Of samples that show the same, only the best."""
    pictures: bool = False
    """Whether the samples' images are handed out too."""
    found_at: bool = False
    """Whether it is told too where the samples were found: page and crawl file."""
    model: str | None = None
    index: str | None = None

    def __post_init__(self) -> None:
        check_lists(self)
        _check_source(self.source)
        if not self.has_query:
            if self.where is None:
                raise ConfigError(
                    "nothing to search for: give a text, --image FILE, --like KEY or --where EXPR"
                )
            for option, is_given in (("--not", self.without), ("--unique", self.unique)):
                if is_given:
                    raise ConfigError(
                        f"{option} needs something to search for beside --where: give a text, "
                        "--image FILE or --like KEY"
                    )
        check_k(self.k)
        for text in (*self.texts, *self.without):
            check_text(text)
        if self.kind is not None:
            check_one("--in", self.kind, KINDS)

    @property
    def has_query(self) -> bool:
        """Whether something is searched for; else the rows of `where` are listed."""
        return bool(self.texts or self.images or self.like)


def check_k(k: int) -> None:
    """Raise ConfigError unless so many results can be asked for."""
    if not 1 <= k <= MAX_K:
        raise ConfigError(f"--k {k} is out of range: use 1 to {MAX_K}")


def check_text(text: str) -> None:
    """Raise ConfigError unless a text can be searched for."""
    if not text.strip():
        raise ConfigError("the text to search for is empty: write some words")
    if len(text) > MAX_TEXT_CHARS:
        raise ConfigError(
            f"a text of {len(text)} characters is too long: use at most {MAX_TEXT_CHARS} (a model "
            "reads the first 77 tokens of it)"
        )


def _check_source(source: str) -> None:
    if not source:
        raise ConfigError("DIR is empty: name a folder that holds a dataset")
