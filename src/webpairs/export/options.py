"""What a user may ask of `export`, checked before any work starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from webpairs.errors import ConfigError

FORMATS: Final = {
    "tfds": "webpairs.export.formats.tfds",
    "tfds-array-record": "webpairs.export.formats.tfds",
    "huggingface": "webpairs.export.formats.huggingface",
    "webdataset": "webpairs.export.formats.webdataset",
    "laion": "webpairs.export.formats.laion",
    "csv": "webpairs.export.formats.csv_file",
    "files": "webpairs.export.formats.files",
    "parquet": "webpairs.export.formats.parquet",
    "embedding-atlas": "webpairs.export.formats.embedding_atlas",
}
"""What can be written, and the module whose `exporter` does it."""
CONFIGS: Final = ("images", "embeddings", "both")
DEFAULT_NAME: Final = "laion400m"
MAX_SAMPLES_PER_SHARD: Final = 10_000_000
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
"""What TFDS takes for a dataset's name: snake case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """Options of `webpairs export`; None means what the source or the format has.

    Raises ConfigError naming the value, the limit and the fix.
    """

    source: str
    out: str
    to: str
    config: str | None = None
    """images, embeddings or both; None: all that the source has."""
    name: str = DEFAULT_NAME
    where: str | None = None
    columns: tuple[str, ...] | None = None
    shuffle: int | None = None
    """Seed of the order; None: the source's own order."""
    samples_per_shard: int | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        from webpairs.checks import check_one
        from webpairs.options import check_lists

        check_lists(self)
        check_one("--to", self.to, FORMATS)
        if not self.source:
            raise ConfigError("SOURCE is empty: name a folder that holds a dataset")
        if not self.out:
            raise ConfigError("--out is empty: name the folder to write to")
        if "://" in self.out:
            raise ConfigError(f"--out {self.out} is a URL: use a local folder")
        if self.config is not None:
            check_one("--config", self.config, CONFIGS)
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"--name {self.name!r} is not a name of a dataset: use small letters, digits and "
                "_, a letter first"
            )
        if self.columns is not None and not self.columns:
            raise ConfigError("--columns is empty: name columns, or leave it out")
        for option, value, least, most in (
            ("--shuffle", self.shuffle, 0, 2**63 - 1),
            ("--samples-per-shard", self.samples_per_shard, 1, MAX_SAMPLES_PER_SHARD),
            ("--workers", self.workers, 1, 1024),
        ):
            if value is not None and not least <= value <= most:
                raise ConfigError(f"{option} {value} is out of range: use {least} to {most}")
