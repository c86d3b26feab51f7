"""Decode the bytes of an HTML page as a browser would.

Order: byte order mark, charset of the Content-Type header, `<meta>` in the first bytes, then a
guess. Source: HTML, "determining the character encoding", and the Encoding standard's labels.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_BOMS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
)
_PRESCAN_BYTES: Final = 4096
"""HTML asks for the first 1,024 bytes; browsers look further when the head goes on."""
_GUESS_BYTES: Final = 64 << 10
_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?\s*([^\s\"';,>]+)", re.IGNORECASE)
_COMMENT: Final = re.compile(rb"<!--.*?(?:-->|\Z)", re.DOTALL)
_META: Final = re.compile(rb"<meta[\s/]([^>]*)>", re.IGNORECASE)
_META_CHARSET: Final = re.compile(rb"charset\s*=\s*[\"']?\s*([^\s\"';,/>]+)", re.IGNORECASE)
_SUPERSET: Final = {
    # Decoders of the Encoding standard read more than Python's codec of that name does.
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "euc-kr": "cp949",
    "big5": "big5hkscs",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
}


def decode_html(data: bytes, content_type: str | None = None) -> str:
    """Return the text of a page; never raises: what cannot be decoded becomes U+FFFD."""
    for bom, name in _BOMS:
        if data.startswith(bom):
            return data[len(bom) :].decode(name, "replace")
    name = _header_charset(content_type) or _meta_charset(data)
    if name is None:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError:
            name = _guess(data)
    return data.decode(name, "replace")


def codec_of(label: str) -> str | None:
    """Return the Python codec for a label as pages write it, or None when it is unknown."""
    name = map_encoding_to_html5(label.strip().lower(), False)
    if name is None:
        return None
    name = _SUPERSET.get(name, name)
    try:
        codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    return name


def _header_charset(content_type: str | None) -> str | None:
    found = _CHARSET.search(content_type) if content_type else None
    return codec_of(found[1]) if found else None


def _meta_charset(data: bytes) -> str | None:
    for meta in _META.finditer(_COMMENT.sub(b"", data[:_PRESCAN_BYTES])):
        found = _META_CHARSET.search(meta[1])
        name = codec_of(found[1].decode("latin-1")) if found else None
        if name is not None:
            # Readable as ASCII so far, it cannot be UTF-16 (HTML, "prescan", step 13).
            return "utf-8" if name.startswith("utf-16") else name
    return None


def _guess(data: bytes) -> str:
    guess = codec_of(detect_encoding(data[:_GUESS_BYTES]) or "")
    # It is not UTF-8, or it would have been read as such; the web's default is windows-1252.
    return "cp1252" if guess is None or guess == "utf-8" else guess
