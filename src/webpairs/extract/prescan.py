"""Finding the encoding that a page names in its first bytes, by the steps of the HTML standard.

Source: HTML, 13.2.3.2, "prescan a byte stream to determine its encoding" and "get an XML encoding",
and 2.5.1, "extracting a character encoding from a meta element" (2025).
"""

from __future__ import annotations

import re
from typing import Final

from webpairs.extract.encodings import encoding_of

PRESCAN_BYTES: Final = 1024

_SPACE: Final = b"\t\n\f\r "
_ATTRIBUTE: Final = re.compile(
    rb"[\t\n\f\r /]*+(?:(?P<end>>)|(?P<name>=?[^\t\n\f\r />=]*+)"
    rb"(?:[\t\n\f\r ]*+=[\t\n\f\r ]*+"
    rb"(?:\"(?P<double>[^\"]*+)\"|'(?P<single>[^']*+)'|(?P<open>[\"'])"
    rb"|(?P<bare>[^\t\n\f\r >]++)|(?=>)))?+)"
)
_META: Final = re.compile(rb"<meta[\t\n\f\r /]", re.IGNORECASE)
_TAG: Final = re.compile(rb"</?[a-zA-Z][^\t\n\f\r >]*+")
_CHARSET: Final = re.compile(r"charset[\t\n\f\r ]*+=[\t\n\f\r ]*+", re.IGNORECASE)
_BARE: Final = re.compile(r"[^\t\n\f\r ;]*")
_RAW_TEXT: Final = re.compile(
    rb"<(script|style|title|textarea|xmp|iframe|noembed|noframes)[\s/>].*?(?:</\1[\s/>]|\Z)",
    re.IGNORECASE | re.DOTALL,
)
_LATE_META: Final = re.compile(rb"<meta[\s/][^>]*?charset", re.IGNORECASE)


class _OutOfBytes(Exception):
    """The end of what is scanned."""


def declared_encoding(data: bytes) -> str | None:
    """Return the encoding that the first PRESCAN_BYTES name, in a `<meta>` or XML declaration."""
    data = data[:PRESCAN_BYTES]
    if data.startswith(b"<\0?\0x\0"):
        return "utf-16-le"
    if data.startswith(b"\0<\0?\0x"):
        return "utf-16-be"
    return _meta_encoding(data) or xml_encoding(data)


def late_encoding(data: bytes) -> str | None:
    """Return the encoding of a `<meta>` anywhere in `data` outside scripts, styles and the like.

    The parser meets it there and changes the encoding ("changing the encoding while parsing").
    """
    if _LATE_META.search(data) is None:
        return None
    return _meta_encoding(_RAW_TEXT.sub(b"", data))


def xml_encoding(data: bytes) -> str | None:
    """Return the encoding of the XML declaration that `data` begins with, or None."""
    if not data.startswith(b"<?xml"):
        return None
    end = data.find(b">")
    at = data.find(b"encoding")
    if not 0 <= at <= end:
        return None
    at = _skip(data, at + len(b"encoding"))
    if data[at : at + 1] != b"=":
        return None
    at = _skip(data, at + 1)
    quote = data[at : at + 1]
    if quote not in (b'"', b"'") or not quote:
        return None
    close = data.find(quote, at + 1)
    label = data[at + 1 : close]
    if close < 0 or any(byte <= 0x20 for byte in label):
        return None
    return _declared(encoding_of(label.decode("latin-1")))


def _skip(data: bytes, at: int) -> int:
    while at < len(data) and data[at] <= 0x20:
        at += 1
    return at


def _declared(encoding: str | None) -> str | None:
    """Return what a declaration means: readable as ASCII so far, it cannot be UTF-16."""
    if encoding is not None and encoding.startswith("utf-16"):
        return "utf-8"
    return encoding


def _meta_encoding(data: bytes) -> str | None:
    at = data.find(b"<")
    try:
        while at >= 0:
            if data.startswith(b"<!--", at):
                close = data.find(b"-->", at + 2)
                if close < 0:
                    return None
                at = close + 2
            elif _META.match(data, at):
                encoding, at = _read_meta(data, at + len(b"<meta"))
                if encoding is not None:
                    return encoding
            elif (tag := _TAG.match(data, at)) is not None:
                at = tag.end()
                while (attribute := _attribute(data, at))[0] is not None:
                    at = attribute[2]
                at = attribute[2] - 1
            elif data[at + 1 : at + 2] in (b"!", b"/", b"?"):
                at = data.find(b">", at)
                if at < 0:
                    return None
            at = data.find(b"<", at + 1)
    except _OutOfBytes:
        pass
    return None


def _attribute(data: bytes, at: int) -> tuple[bytes | None, bytes, int]:
    """Return name, value and end of the attribute at `at`; no name at the end of its tag."""
    found = _ATTRIBUTE.match(data, at)
    if found is None or found.end() >= len(data) + (found["end"] is not None):
        raise _OutOfBytes
    if found["end"] is not None:
        return None, b"", found.end()
    if found["open"] is not None:
        raise _OutOfBytes  # a quote that nothing closes
    if not found["name"]:
        raise _OutOfBytes
    value = found["double"] or found["single"] or found["bare"] or b""
    return found["name"].lower(), value.lower(), found.end()


def _read_meta(data: bytes, at: int) -> tuple[str | None, int]:
    """Return the encoding that a `<meta>` names, and where its tag ends."""
    seen: set[bytes] = set()
    got_pragma = False
    need_pragma: bool | None = None
    charset: str | None = None
    while True:
        name, value, at = _attribute(data, at)
        if name is None:
            break
        if name in seen:
            continue
        seen.add(name)
        if name == b"http-equiv":
            got_pragma = value == b"content-type"
        elif name == b"content":
            named = encoding_in_content(value.decode("latin-1"))
            if named is not None and charset is None:
                charset, need_pragma = named, True
        elif name == b"charset":
            charset, need_pragma = encoding_of(value.decode("latin-1")), False
    if need_pragma is None or (need_pragma and not got_pragma):
        charset = None
    if charset == "x-user-defined":
        charset = "cp1252"
    return _declared(charset), at - 1


def encoding_in_content(content: str) -> str | None:
    """Return the encoding in the `content` of a `<meta http-equiv>`, or None."""
    found = _CHARSET.search(content)
    if found is None:
        return None
    at = found.end()
    quote = content[at : at + 1]
    if quote and quote in "\"'":
        close = content.find(quote, at + 1)
        return encoding_of(content[at + 1 : close]) if close >= 0 else None
    bare = _BARE.match(content, at)
    return encoding_of(bare[0]) if bare is not None else None
