"""Hosts of URLs, many at a time."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute

from webpairs.dataset.features import one_array

pc: Any = pyarrow.compute  # its functions are made at run time

_HOST: Final = r"^[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#@]*@)?(?P<host>\[[^\]/?#]*\]|[^/?#:]+)"


def host_names(urls: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return the host of each URL in lower case, null where there is none."""
    found = pc.struct_field(pc.extract_regex(one_array(urls), pattern=_HOST), "host")
    return pc.ascii_lower(found)
