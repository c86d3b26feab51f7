"""Check what an image decodes to, and that embeddings have length 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.errors import DataError
from webpairs.load.findings import Fault, Findings

FLOAT16_NOISE: Final = 1e-3
"""How far a norm, or a product of two embeddings, may be off. Rounding to float16 changes each
number by at most 2^-11 of it, so a vector of length 1 by at most 2^-11, and the product of two by
at most 2^-10 + 2^-22 = 0.00098."""
_TURNED: Final = 5
"""From this EXIF orientation on (to 8) width and height change places: EXIF 2.32, tag 0x0112."""


def check_norms(
    embeddings: npt.NDArray[np.floating[Any]], keys: Sequence[str], file: str, findings: Findings
) -> None:
    """Note which of (n, d) embeddings are not of length 1, or hold what is no number."""
    norms = np.linalg.norm(embeddings.astype(np.float64, copy=False), axis=1)
    for place in np.flatnonzero(~(np.abs(norms - 1) <= FLOAT16_NOISE)).tolist():
        findings.add(Fault.NORM_WRONG, file, f"its length is {norms[place]:.6f}", keys[place])


def check_size(
    data: bytes, size: tuple[int | None, int | None], file: str, key: str, findings: Findings
) -> None:
    """Decode an image; note when it cannot be, or is not of this width and height (None: any)."""
    from webpairs.load.decode import decode_rgb

    try:
        height, width, _ = decode_rgb(data).shape
    except DataError as error:
        findings.add(Fault.IMAGE_BROKEN, file, str(error), key)
        return
    if None in size or size == (width, height):
        return
    if size != (height, width) or not _is_turned(data):
        detail = f"it decodes to {width}x{height}, its row says {size[0]}x{size[1]}"
        findings.add(Fault.SIZE_WRONG, file, detail, key)


def _is_turned(data: bytes) -> bool:
    """Say whether an image is to be shown lying on its side."""
    from webpairs.container import read_container
    from webpairs.sniff import FORMATS, sniff

    format = sniff(data)
    try:
        return format in FORMATS and read_container(data, format).orientation >= _TURNED
    except DataError:
        return False
