"""Decoding the bytes of an HTML page as a browser would.

Order: byte order mark, charset of the Content-Type header, what the first bytes declare
(`prescan.py`), a `<meta>` further down, then a guess. Source: HTML, 13.2.3, "determining the
character encoding"; the decoders are the Encoding standard's (`encodings.py`).
"""

from __future__ import annotations

import codecs
from typing import Final

from resiliparse.parse.encoding import detect_encoding

from webpairs.crawl.media_type import charset_of
from webpairs.extract.encodings import decode, encoding_of
from webpairs.extract.prescan import declared_encoding, late_encoding

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
)
_LATE_BYTES: Final = 64 << 10
"""How far a `<meta>` is looked for that the parser would meet after the first bytes."""
_GUESS_BYTES: Final = 64 << 10


def decode_html(data: bytes, content_type: str | None = None) -> str:
    """Return the text of a page; never raises: what cannot be decoded becomes U+FFFD."""
    for bom, name in _BOMS:
        if data.startswith(bom):
            return decode(data[len(bom) :], name)
    name = (
        _header_encoding(content_type)
        or declared_encoding(data)
        or late_encoding(data[:_LATE_BYTES])
    )
    if name is not None:
        return decode(data, name)
    try:
        # Not to its end: a page may be cut inside a character.
        text, num_bytes = codecs.utf_8_decode(data, "strict", False)
    except UnicodeDecodeError:
        return decode(data, _guess(data))
    return text if num_bytes == len(data) else text + "\ufffd"


def _header_encoding(content_type: str | None) -> str | None:
    label = charset_of(content_type) if content_type else None
    return encoding_of(label) if label is not None else None


def _guess(data: bytes) -> str:
    guess = encoding_of(detect_encoding(data[:_GUESS_BYTES]) or "")
    # It is not UTF-8, or it would have been read as such; the web's default is windows-1252.
    return "cp1252" if guess in (None, "utf-8", "replacement") else guess
