"""Names of shards, keys and files of a run folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROW_GROUP_ROWS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of shards and keys of samples; one width for a whole dataset.

    At least 5 digits of shard and 4 of row, as img2dataset and LAION-400M's tars have them.
    """

    shard_digits: int
    row_digits: int

    @classmethod
    def for_dataset(cls, num_shards: int, shard_size: int) -> Keys:
        """Return the narrowest keys that fit."""
        return cls(
            max(5, len(str(max(num_shards - 1, 0)))), max(4, len(str(max(shard_size - 1, 0))))
        )

    def shard(self, number: int) -> str:
        """Return the shard's name, e.g. `00001`."""
        return f"{number:0{self.shard_digits}d}"

    def sample(self, number: int, row: int) -> str:
        """Return the key of candidate `row` of shard `number`, e.g. `000010023`."""
        return f"{number:0{self.shard_digits}d}{row:0{self.row_digits}d}"


@dataclass(frozen=True, slots=True)
class ShardFiles:
    """The paths of one shard's files."""

    tar: Path
    index: Path
    metadata: Path
    image_embeddings: Path
    text_embeddings: Path
    drops: Path
    stats: Path

    @classmethod
    def of(cls, out: Path, name: str) -> ShardFiles:
        """Return where shard `name` of run folder `out` has its files."""
        return cls(
            out / "images" / f"{name}.tar",
            out / "images" / f"{name}.tar.idx",
            out / "metadata" / f"{name}.parquet",
            out / "embeddings" / "img_emb" / f"img_emb_{name}.npy",
            out / "embeddings" / "text_emb" / f"text_emb_{name}.npy",
            out / "drops" / f"{name}.parquet",
            out / "stats" / f"{name}.json",
        )

    @property
    def data(self) -> tuple[Path, ...]:
        """Return every file but the commit mark, in the order they are committed."""
        return (
            self.tar,
            self.index,
            self.metadata,
            self.image_embeddings,
            self.text_embeddings,
            self.drops,
        )
