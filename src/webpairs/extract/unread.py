"""Tables that hold text but gave no row: what tells them from those that are truly empty."""

from __future__ import annotations

from typing import Final

from webpairs.crawl.gunzip import GunzipReader
from webpairs.crawl.inputs import open_input

_LOOKED_AT_BYTES: Final = 1 << 16
_PARQUET: Final = b"PAR1"
_EMPTY_JSON: Final = frozenset(("[]", "{}", "null"))


def holds_rows(path: str) -> bool:
    """Return whether a table that gave no row has more than a header.

    A parquet file says itself how many rows it has. Of text, any line end of Unicode counts
    (`str.splitlines`): a file whose lines end in another way than its reader takes is one line to
    that reader. Raises OSError when the file cannot be read.
    """
    with open_input(path) as file:
        if file.read(len(_PARQUET)) == _PARQUET:
            return False
        file.seek(0)
        reader, buffer = GunzipReader(file), bytearray(_LOOKED_AT_BYTES)
        num = 0
        while more := reader.readinto(memoryview(buffer)[num:]):
            num += more
    text = buffer[:num].decode("utf-8", "replace").strip("\ufeff \t\r\n")
    if "".join(text.split()) in _EMPTY_JSON:
        return False
    return len([line for line in text.splitlines() if line.strip()]) > 1
