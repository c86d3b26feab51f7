"""How large an encoded image may be, wherever it comes from."""

from __future__ import annotations

from typing import Final

MAX_IMAGE_BYTES: Final = 50_000_000
"""Of an image of a dataset: as it travels, when its content coding is undone, and in an archive, so
that a build from the web and one from the archive drop the same images. The decoder's limit of
pixels (89 million) is met before by all but uncompressed images."""
MAX_QUERY_BYTES: Final = 16_000_000
"""Of an image that is searched for: many strangers may send one to a server at the same time."""
