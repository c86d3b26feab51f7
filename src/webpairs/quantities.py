"""Numbers with their units, as people read them: `1 shard`, `1,204 shards`, `55.6 kB`."""

from __future__ import annotations

from rich.filesize import decimal


def counted(num: int, noun: str, plural: str | None = None) -> str:
    """Return the number and its noun, in the plural unless `num` is 1."""
    return f"{num:,} {noun if num == 1 else plural or noun + 's'}"


def size_of(num_bytes: float) -> str:
    """Return a number of bytes in the largest decimal unit that leaves digits before the point."""
    return decimal(int(num_bytes)).replace(".0 ", " ")
