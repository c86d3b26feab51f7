"""What a file is by its first bytes."""

from __future__ import annotations

import re
from typing import Final

FORMATS: Final = ("jpeg", "png", "webp")
"""The formats that can be read; every other one that `sniff` names is only named."""

_PREFIXES: Final = (
    # WHATWG MIME Sniffing, section 6.1, and each format's own specification.
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"\0\0\1\0", "ico"),
    (b"\0\0\2\0", "ico"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
    (b"8BPS", "psd"),
    (b"%PDF-", "pdf"),
    (b"%!PS", "postscript"),
    (b"PK\3\4", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"\x1aE\xdf\xa3", "webm"),
    (b"OggS", "ogg"),
    (b"FWS", "flash"),
    (b"CWS", "flash"),
)
_RIFF_KINDS: Final = {b"WEBP": "webp", b"AVI ": "avi", b"WAVE": "wav"}
_BRANDS: Final = {
    # ISO 14496-12 files say what they are in the major brand (AVIF 1.1, section 6; HEIF, annex B).
    b"avif": "avif",
    b"avis": "avif",
    b"heic": "heic",
    b"heix": "heic",
    b"hevc": "heic",
    b"hevx": "heic",
    b"mif1": "heic",
    b"msf1": "heic",
}
IMAGES: Final = frozenset(
    {*FORMATS, "gif", "bmp", "tiff", "ico", "jxl", "jp2", "psd", "avif", "heic", "svg"}
)
"""What `sniff` can answer that is an image."""

_SVG: Final = re.compile(rb"<svg[\s>]", re.IGNORECASE)
_HTML: Final = re.compile(
    rb"<(?:!doctype\s+html|html|head|body|title|script|meta|div|p|a|h1)\b", re.IGNORECASE
)
_SNIFFED_BYTES: Final = 1024


def sniff(data: bytes) -> str | None:
    """Name the format by its first bytes, never by URL or Content-Type; None when unknown.

    Images: see `IMAGES`. Others, for messages: html, xml, pdf, zip, mp4 and the like.
    """
    for prefix, name in _PREFIXES:
        if data.startswith(prefix):
            return name
    if data[:4] == b"RIFF":
        return _RIFF_KINDS.get(data[8:12], "riff")
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "mp4")
    head = data[:_SNIFFED_BYTES].removeprefix(b"\xef\xbb\xbf").lstrip()
    while head.startswith(b"<!--"):
        head = head.partition(b"-->")[2].lstrip()
    if head.startswith(b"<"):
        if _HTML.match(head):
            return "html"
        if _SVG.search(head):
            return "svg"
        if head.startswith(b"<?xml"):
            return "xml"
    return None
