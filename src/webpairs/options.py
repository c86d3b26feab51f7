"""What a user may ask of `build` and `extract`, checked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from webpairs.build.hash_check import CHECKS
from webpairs.checks import check_one, check_range
from webpairs.errors import ConfigError
from webpairs.fetch_options import FetchOptions
from webpairs.obtain.limits import FetchRules
from webpairs.obtain.permissions import check_signals
from webpairs.quantities import counted, size_of
from webpairs.recipes import load_recipe
from webpairs.recipes.languages import check_languages
from webpairs.recipes.limits import MAX_IMAGE_SIZE_PX, MAX_SIDE_PX, QUALITIES
from webpairs.recipes.recipe import IMAGE_SOURCES, RESIZE_MODES, STORED_FORMATS, TEXTS, Recipe

IMAGES: Final = ("web", "archive")
NO_MODEL: Final = "none"
DOWNLOAD_RECIPE: Final = "download"
"""The recipe of `--model none`: nothing is judged, so nothing is left out that can be stored."""
DEFAULT_RECIPE: Final = "laion400m"
CRAWL_SHARD_SIZE: Final = 50_000
"""Candidates of a crawl in a shard: most are dropped, about one in ten is kept."""
TABLE_SHARD_SIZE: Final = 10_000
"""Candidates of a table in a shard, where most are kept: img2dataset's number too."""
MAX_SHARD_SIZE: Final = 1_000_000
MIN_MEMORY_BYTES: Final = 500_000_000
_QUALITY_FIELDS: Final = {
    "jpeg": "jpeg_quality",
    "png": "png_compression",
    "webp": "webp_quality",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions(FetchOptions):
    """Options of `webpairs build`; None means the recipe's or the machine's value.

    Raises ConfigError naming the value, the limit and the fix.
    """

    inputs: tuple[str, ...]
    out: str
    images: str = "web"
    model: str | None = None
    threshold: float | None = None
    recipe: str | Recipe | None = None
    """A name, or the recipe itself."""
    image_size: int | None = None
    resize: str | None = None
    image_format: str | None = None
    image_quality: int | None = None
    min_bytes: int | None = None
    min_side: int | None = None
    max_aspect: float | None = None
    blur_boxes: str | None = None
    """A table's column of boxes to blur."""
    languages: tuple[str, ...] | None = None
    texts: tuple[str, ...] | None = None
    image_sources: tuple[str, ...] | None = None
    keep_opted_out: bool = False
    url_column: str | None = None
    text_column: str | None = None
    check_hashes: str = "on"
    ignore_signals: tuple[str, ...] = ()
    shard_size: int | None = None
    limit: int | None = None
    seed: int = 0
    workers: int | None = None
    max_memory_bytes: int = 4_000_000_000
    metrics_port: int | None = None
    """Of 127.0.0.1, for Prometheus while the run works; 0 takes any that is free."""

    def __post_init__(self) -> None:
        check_lists(self)
        check_one("--images", self.images, IMAGES)
        check_one("--check-hashes", self.check_hashes, CHECKS)
        _check_common(self)
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise ConfigError(
                f"--threshold {self.threshold:g} is not a cosine: use a value from -1 (keep all) "
                "to 1"
            )
        if self.model == NO_MODEL and self.threshold is not None:
            raise ConfigError(
                f"--threshold {self.threshold:g} needs scores, and --model none makes none: "
                "leave one of them out"
            )
        self.fetch_rules()
        if self.resize is not None:
            check_one("--resize", self.resize, RESIZE_MODES)
        if self.image_size is not None:
            check_range("--image-size", self.image_size, 16, MAX_IMAGE_SIZE_PX, "pixels")
        if self.image_format is not None:
            check_one("--image-format", self.image_format, STORED_FORMATS)
        if self.min_bytes is not None:
            check_range("--min-bytes", self.min_bytes, 0, 2**31 - 1, "bytes")
        if self.min_side is not None:
            check_range("--min-side", self.min_side, 0, MAX_SIDE_PX, "pixels")
        if self.max_aspect is not None and not 1 <= self.max_aspect <= MAX_SIDE_PX:
            raise ConfigError(
                f"--max-aspect {self.max_aspect:g} is out of range: use 1 (squares alone) or more, "
                "such as 3"
            )
        if self.shard_size is not None:
            check_range("--shard-size", self.shard_size, 1, MAX_SHARD_SIZE, "candidates")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"--limit {self.limit} keeps nothing: use at least 1 candidate")
        check_range("--seed", self.seed, 0, 2**63 - 1, "")
        if self.metrics_port is not None:
            check_range("--metrics-port", self.metrics_port, 0, 65_535, "")
        recipe = self.resolved_recipe()
        if recipe.model == NO_MODEL and self.threshold is not None:
            raise ConfigError(
                f"--threshold {self.threshold:g} needs scores, and recipe {recipe.name} has the "
                "model none: leave it out, or say --model"
            )
        self._check_stored(recipe)

    def resolved_recipe(self) -> Recipe:
        """Return the recipe with this build's options laid over it."""
        default = DOWNLOAD_RECIPE if self.model == NO_MODEL else DEFAULT_RECIPE
        named = self.recipe or default
        recipe = load_recipe(named) if isinstance(named, str) else named
        image_format = self.image_format or recipe.image_format
        changes: dict[str, Any] = {
            "model": self.model,
            "image_size_px": self.image_size,
            "resize": self.resize,
            "image_format": self.image_format,
            _QUALITY_FIELDS[image_format]: self.image_quality,
            "min_image_bytes": self.min_bytes,
            "min_side_px": self.min_side,
            "max_aspect": self.max_aspect,
            "languages": self.languages,
            "texts": self.texts,
            "image_sources": self.image_sources,
        }
        return replace(recipe, **{name: v for name, v in changes.items() if v is not None})

    def _check_stored(self, recipe: Recipe) -> None:
        """Raise ConfigError for a quality that the format does not have, or that nothing uses."""
        for option, value in (
            ("--image-format", self.image_format),
            ("--image-quality", self.image_quality),
            ("--blur-boxes", self.blur_boxes),
        ):
            if value is not None and recipe.resize == "none":
                raise ConfigError(
                    f"{option} {value} is for pictures that are encoded, and --resize none stores "
                    "what was received: leave one of them out"
                )
        if self.image_quality is not None:
            least, most = QUALITIES[recipe.image_format]
            unit = f"for {recipe.image_format}"
            check_range("--image-quality", self.image_quality, least, most, unit)

    @property
    def scores(self) -> bool:
        """Say whether a model judges."""
        return self.resolved_recipe().model != NO_MODEL

    def fetch_rules(self) -> FetchRules:
        """Return how the web is asked; raise ConfigError for what cannot be."""
        check_signals(self.ignore_signals)
        return self.rules_with(
            ignored_signals=frozenset(self.ignore_signals), keep_opted_out=self.keep_opted_out
        )

    def dataset_options(self) -> dict[str, Any]:
        """Return the options that change the dataset's bytes: a resume must have the same."""
        options: dict[str, Any] = {
            f"recipe.{k}": v for k, v in asdict(self.resolved_recipe()).items()
        }
        options |= {
            "images": self.images,
            "threshold": self.threshold,
            "keep_opted_out": self.keep_opted_out,
            "url_column": self.url_column,
            "text_column": self.text_column,
            "check_hashes": self.check_hashes,
            "blur_boxes": self.blur_boxes,
            "ignore_signals": sorted(self.ignore_signals),
            "shard_size": self.shard_size,
            "limit": self.limit,
            "seed": self.seed,
        }
        return options


RETRY_REASONS: Final = ("dns", "connect", "timeout", "too_slow", "http_429", "http_5xx", "protocol")
"""What passes, as a rule: tried again unless other reasons are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryOptions(FetchOptions):
    """Options of `webpairs retry`; fields as in `BuildOptions`.

    What decides on the dataset's rows is as in its build. How the web is asked is as the run
    folder remembers, unless it is given.
    """

    out: str
    reasons: tuple[str, ...] = RETRY_REASONS
    check_hashes: str | None = None
    """None means as in the build."""
    workers: int | None = None
    max_memory_bytes: int = 4_000_000_000
    metrics_port: int | None = None

    def __post_init__(self) -> None:
        check_lists(self)

    def build_options(self, built_with: Mapping[str, Any]) -> BuildOptions:
        """Lay these over the options of the build; raise ConfigError as `BuildOptions` does."""
        mine = {field.name: getattr(self, field.name) for field in fields(self)}
        del mine["reasons"]
        if self.check_hashes is None:
            del mine["check_hashes"]
        return BuildOptions(**{**built_with, **mine})


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractOptions:
    """Options of `webpairs extract`; fields as in `BuildOptions`."""

    inputs: tuple[str, ...]
    out: str
    recipe: str = "laion400m"
    languages: tuple[str, ...] | None = None
    texts: tuple[str, ...] | None = None
    image_sources: tuple[str, ...] | None = None
    url_column: str | None = None
    text_column: str | None = None
    workers: int | None = None
    max_memory_bytes: int = 4_000_000_000

    def __post_init__(self) -> None:
        check_lists(self)
        _check_common(self)
        load_recipe(self.recipe)

    def resolved_recipe(self) -> Recipe:
        """Return the recipe with these options laid over it."""
        changes: dict[str, Any] = {
            "languages": self.languages,
            "texts": self.texts,
            "image_sources": self.image_sources,
        }
        return replace(
            load_recipe(self.recipe), **{name: v for name, v in changes.items() if v is not None}
        )


def check_lists(options: Any) -> None:
    """Raise ConfigError where a dataclass of options has a text in place of a list of texts."""
    for field in fields(options):
        value = getattr(options, field.name)
        if isinstance(value, str) and str(field.type).startswith("tuple["):
            raise ConfigError(f"{field.name}={value!r} is a text: give a list, such as [{value!r}]")


def _check_common(options: BuildOptions | ExtractOptions) -> None:
    if not options.inputs:
        raise ConfigError("no INPUT: name at least one WARC, WAT or table, a folder or a glob")
    if not options.out:
        raise ConfigError("--out is empty: name the folder to write to")
    for name, values, known in (
        ("--texts", options.texts, TEXTS),
        ("--image-sources", options.image_sources, IMAGE_SOURCES),
    ):
        if values is not None:
            if not values:
                raise ConfigError(f"{name} is empty: use one or more of {', '.join(known)}")
            for value in values:
                check_one(name, value, known)
    if options.languages is not None:
        check_languages("--languages", options.languages)
    if options.workers is not None:
        check_range("--workers", options.workers, 1, 1024, "processes")
    if options.max_memory_bytes < MIN_MEMORY_BYTES:
        raise ConfigError(
            f"--max-memory {counted(options.max_memory_bytes, 'byte')} is too little: use at least "
            f"{size_of(MIN_MEMORY_BYTES)}"
        )
