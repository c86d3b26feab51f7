"""Decoding text by the Encoding standard (WHATWG), as browsers do: every label, every odd byte.

Python's codecs do the work, in C, wherever they agree with the standard; compared with its indexes
they differ in 21 characters of GB 18030, 203 of Big5, EUC-JP's rows 13 and 89 to 92, and in bytes
that single-byte code pages leave undefined. A text in which that may matter, or that has an error,
is decoded again by the standard's own steps (below), which are slower by two orders.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

from resiliparse.parse.encoding import map_encoding_to_html5

ERROR: Final = "\ufffd"
_ASCII_SPACE: Final = "\t\n\f\r "

_NAMES: Final = {
    # resiliparse gives Python's name for a label; the standard has these besides.
    "x-mac-cyrillic": "mac-cyrillic",
    "x-mac-ukrainian": "mac-cyrillic",
    "x-user-defined": "x-user-defined",
    **dict.fromkeys(
        ("csiso2022kr", "hz-gb-2312", "iso-2022-cn", "iso-2022-cn-ext", "iso-2022-kr"),
        "replacement",
    ),
    "replacement": "replacement",
}
_CODECS: Final = {
    "gbk": "gb18030",  # one decoder for both (Encoding, 10.1.1)
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "iso8859-11": "cp874",
}
_KOI8_U: Final = {0xAE: "ў", 0xBE: "Ў"}
_WINDOWS_1255: Final = {0xCA: "\u05ba"}
_C1: Final = range(0x80, 0xA0)
"""Where code pages of Windows leave a byte undefined the standard gives the control character."""

_GB18030: Final = {
    0xA3A0: "\u3000",
    0xA6D9: "︐︒︑︓︔︕︖",
    0xA6EC: "︗︘",
    0xA6F3: "︙",
    0xA8BC: "ḿ",
    0xFE59: "龴",
    0xFE61: "龵",
    0xFE66: "龶龷",
    0xFE6D: "龸",
    0xFE7E: "龹",
    0xFE90: "龺",
    0xFEA0: "龻",
}
"""Runs of characters by the bytes of the first, where the standard's index is not Python's."""
_GB18030_DIFFERS: Final = re.compile("[\ue5e5\ue78d-\ue796\ue7c7\ue81e-\ue864ḿ]")
_BIG5: Final = {
    0x877A: "㡵𡵓𣚞𦀡㻬",
    0x87A1: "𥣞㫵竼龗𤅡𨤍𣇪𠪊𣉞䌊蒄龖鐯䤰蘓墖靊鈘秐稲晠権袝瑌篅枂稬剏遆㓦珄𥶹瓆鿇"
    "垳䤯呌䄱𣚎堘穲𧭥讏䚮𦺈䆁𥶙箮𢒼鿈𢓁𢓉𢓌鿉蔄𣖻䂴鿊䓡𪷿拁灮鿋",
    0x8E69: "箸",
    0x8E6F: "簆",
    0x8E7E: "糎",
    0x8EAB: "緒",
    0x8EB4: "縝",
    0x8ECD: "者",
    0x8ED0: "耨",
    0x8F57: "菁",
    0x8F69: "蒨",
    0x8F6E: "萏",
    0x8FCB: "覦覩",
    0x8FFE: "起",
    0x906D: "都",
    0x907A: "銹",
    0x90DC: "靜",
    0x90F1: "響",
    0x91BF: "鼖",
    0x9244: "蔃",
    0x92AF: "兙兛兝兞",
    0x92C8: "鍮",
    0x92D1: "瑹",
    0x9447: "浧",
    0x94CA: "禛",
    0x95D9: "邗",
    0x9644: "靝",
    0x96ED: "瀞",
    0x96FC: "嬨",
    0x9B76: "爁",
    0x9B78: "矗",
    0x9B7B: "纇",
    0x9BC6: "駖",
    0x9BDE: "釔",
    0x9BEC: "惞",
    0x9BF6: "澶",
    0x9C42: "輶",
    0x9C53: "侻",
    0x9C62: "營",
    0x9C68: "鄄",
    0x9C6B: "鷰",
    0x9C77: "菏",
    0x9CBC: "尐秣",
    0x9CD0: "婧",
    0x9D57: "輋",
    0x9D5A: "筑",
    0x9DC4: "拐",
    0x9EA9: "恢",
    0x9EEF: "痹",
    0x9EFD: "汊",
    0x9F60: "鬮",
    0x9F66: "鼗",
    0x9FCB: "僭",
    0x9FD8: "弌",
    0xA063: "蠏",
    0xA077: "拎",
    0xA0D5: "瑨",
    0xA0DF: "煢",
    0xA0E4: "牐",
    0xA145: "‧",
    0xA14E: "﹑",
    0xA1C2: "¯",
    0xA1E3: "～",
    0xA1F2: "⊕⊙",
    0xA241: "∕﹨",
    0xA244: "￥",
    0xA246: "￠￡",
    0xA3C0: "␀␁␂␃␄␅␆␇␈␉␊␋␌␍␎␏␐␑␒␓␔␕␖␗␘␙␚␛␜␝␞␟␡€",
    0xC6CF: "廴",
    0xC6D3: "无",
    0xC6D5: "癶",
    0xC6D7: "隶",
    0xC6DE: "〃仝",
    0xFA5F: "倩",
    0xFA66: "偽",
    0xFABD: "包",
    0xFAC5: "卄",
    0xFAD5: "卿",
    0xFB48: "嘅",
    0xFBB8: "婷",
    0xFBF3: "幵",
    0xFBF9: "廐",
    0xFC4F: "彘",
    0xFC6C: "悤",
    0xFCB9: "撐",
    0xFCE2: "晴",
    0xFCF1: "杞",
    0xFDB7: "沜渝",
    0xFDBB: "港",
    0xFDF1: "煮",
    0xFE52: "猪",
    0xFE6F: "瑜",
    0xFEAA: "瓩",
    0xFEDD: "砉",
}
_BIG5_DIFFERS: Final = re.compile("[•､‾∼♁☉／＼¥¢£]")
_CP932_DIFFERS: Final = re.compile("[\xa0\uf8f0-\uf8f3]")
_EUC_JP: Final = (("〜", "～"), ("‖", "∥"), ("−", "－"), ("¢", "￠"), ("£", "￡"), ("¬", "￢"))
_EUC_JP_TILDE: Final = b"\x8f\xa2\xb7"

_ASCII: Final = re.compile(rb"[\x00-\x7f]+")
_ASCII_BUT_ESCAPES: Final = re.compile(rb"[\x00-\x0d\x10-\x1a\x1c-\x7f]+")


def encoding_of(label: str) -> str | None:
    """Return the encoding that a label names ("get an encoding"), or None.

    The name is Python's for its codec where there is one.
    """
    label = label.strip(_ASCII_SPACE)
    if not label.isascii():
        return None
    label = label.lower()
    return _NAMES.get(label) or map_encoding_to_html5(label, False)


def decode(data: bytes, encoding: str) -> str:
    """Return the text of bytes in an encoding of `encoding_of`; errors become U+FFFD."""
    if encoding == "utf-8":
        return data.decode("utf-8", "replace")
    if encoding == "replacement":
        return ERROR if data else ""
    if encoding in ("utf-16-le", "utf-16-be"):
        return _decode_utf16(data, encoding)
    if encoding == "iso2022_jp":
        return _decode_iso_2022_jp(data)
    codec = _CODECS.get(encoding, encoding)
    many = _MANY_BYTES.get(codec)
    if many is None:
        # A string is a table as well, which typeshed does not know.
        table: Any = _single_bytes(codec)
        return codecs.charmap_decode(data, "strict", table)[0]
    try:
        text = data.decode(codec)
    except UnicodeDecodeError:
        return many(data)
    if codec == "euc_jp":
        if _EUC_JP_TILDE in data:
            return many(data)
        for old, new in _EUC_JP:
            text = text.replace(old, new)
        return text
    differs = _DIFFERS.get(codec)
    return many(data) if differs is not None and differs.search(text) else text


@lru_cache
def _single_bytes(codec: str) -> str:
    """Return the character of each byte of a single-byte encoding."""
    if codec == "x-user-defined":
        return "".join(map(chr, [*range(0x80), *range(0xF780, 0xF800)]))
    characters = [bytes([byte]).decode(codec, "replace") for byte in range(256)]
    if codec.startswith("cp") and codec != "cp866":
        for byte in _C1:
            characters[byte] = characters[byte].replace(ERROR, chr(byte))
    fixes = {"koi8-u": _KOI8_U, "cp1255": _WINDOWS_1255}.get(codec, {})
    for byte, character in fixes.items():
        characters[byte] = character
    return "".join(characters)


def _decode_utf16(data: bytes, encoding: str) -> str:
    """Decode UTF-16: a surrogate without its other half is one error, so is an odd byte at the end.

    A text that ends in both has one error (Encoding, 14.2.1).
    """
    text = data[: len(data) & ~1].decode(encoding, "surrogatepass")
    if len(data) & 1:
        if text and "\ud800" <= text[-1] < "\udc00":
            text = text[:-1]
        text += ERROR
    return _LONE_SURROGATE.sub(ERROR, text)


_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _character(data: tuple[int, ...], codec: str) -> str | None:
    try:
        return bytes(data).decode(codec)
    except UnicodeDecodeError:
        return None


@lru_cache
def _pairs(codec: str) -> dict[int, str]:
    """Return the characters of two bytes, by these as a number."""
    pairs: dict[int, str] = {}
    for lead in range(0x81, 0xFF):
        for trail in range(0x40, 0xFF):
            text = _character((lead, trail), codec)
            if text is not None:
                pairs[lead << 8 | trail] = text
    for first, characters in {"gb18030": _GB18030, "big5hkscs": _BIG5}.get(codec, {}).items():
        pairs |= {first + at: character for at, character in enumerate(characters)}
    return pairs


def _pairs_with(codec: str, singles: dict[int, str]) -> Callable[[bytes], str]:
    """Return a decoder for bytes that stand alone or in pairs."""

    def decode(data: bytes) -> str:
        pairs = _pairs(codec)
        parts: list[str] = []
        at, end = 0, len(data)
        while at < end:
            byte = data[at]
            if byte < 0x80:
                run = _ASCII.match(data, at)
                assert run is not None
                parts.append(run[0].decode("ascii"))
                at = run.end()
                continue
            if byte in singles:
                parts.append(singles[byte])
                at += 1
                continue
            if at + 1 == end:
                parts.append(ERROR)
                break
            trail = data[at + 1]
            if codec == "gb18030" and 0x30 <= trail <= 0x39 and byte < 0xFF:
                text, num_bytes = _four_bytes(data[at : at + 4])
            else:
                text = pairs.get(byte << 8 | trail, ERROR)
                # Of a wrong pair an ASCII byte is read again.
                num_bytes = 1 if text == ERROR and trail < 0x80 else 2
            parts.append(text)
            at += num_bytes
        return "".join(parts)

    return decode


def _four_bytes(data: bytes) -> tuple[str, int]:
    """Return the character of four bytes of GB 18030, and how many bytes it takes."""
    if len(data) < 4:
        if len(data) < 3 or 0x81 <= data[2] <= 0xFE:
            return ERROR, len(data)  # the text ends within it
        return ERROR, 1
    if not (0x81 <= data[2] <= 0xFE and 0x30 <= data[3] <= 0x39):
        return ERROR, 1
    if data == b"\x81\x35\xf4\x37":
        return "\ue7c7", 4
    text = data.decode("gb18030", "replace")
    return (text if len(text) == 1 else ERROR), 4


@lru_cache
def _jis_rows() -> tuple[dict[int, str], dict[int, str]]:
    """Return JIS X 0208 (with the rows of NEC and IBM) and JIS X 0212, by EUC-JP's two bytes."""
    jis0208: dict[int, str] = {}
    for pointer in range(94 * 94):
        lead, trail = divmod(pointer, 188)
        shifted = (lead + (0x81 if lead < 0x1F else 0xC1), trail + (0x40 if trail < 0x3F else 0x41))
        text = _character(shifted, "cp932")
        if text is not None:
            row, cell = divmod(pointer, 94)
            jis0208[(row + 0xA1) << 8 | cell + 0xA1] = text
    jis0212: dict[int, str] = {}
    for row in range(0xA1, 0xFF):
        for cell in range(0xA1, 0xFF):
            text = _character((0x8F, row, cell), "euc_jp")
            if text is not None:
                jis0212[row << 8 | cell] = text
    jis0212[0xA2B7] = "～"
    return jis0208, jis0212


def _decode_euc_jp(data: bytes) -> str:
    """Decode by the steps of the standard (13.1.1)."""
    jis0208, jis0212 = _jis_rows()
    parts: list[str] = []
    at, end = 0, len(data)
    while at < end:
        byte = data[at]
        if byte < 0x80:
            run = _ASCII.match(data, at)
            assert run is not None
            parts.append(run[0].decode("ascii"))
            at = run.end()
            continue
        if not (byte in (0x8E, 0x8F) or 0xA1 <= byte <= 0xFE):
            parts.append(ERROR)
            at += 1
            continue
        rows, lead = jis0208, at
        if byte == 0x8F and at + 1 < end and 0xA1 <= data[at + 1] <= 0xFE:
            rows, lead = jis0212, at + 1
        if lead + 1 >= end:
            parts.append(ERROR)
            break
        trail = data[lead + 1]
        if byte == 0x8E and 0xA1 <= trail <= 0xDF:
            text = chr(0xFF61 - 0xA1 + trail)
        else:
            text = rows.get(data[lead] << 8 | trail, ERROR)
        parts.append(text)
        at = lead + (1 if text == ERROR and trail < 0x80 else 2)
    return "".join(parts)


_ISO_2022_JP_STATES: Final = {b"(B": "ascii", b"(J": "roman", b"(I": "katakana"} | {
    b"$@": "pair",
    b"$B": "pair",
}


def _decode_iso_2022_jp(data: bytes) -> str:
    """Decode by the steps of the standard (13.2.1)."""
    jis0208 = _jis_rows()[0]
    parts: list[str] = []
    state, gave = "ascii", False
    at, end = 0, len(data)
    while at < end:
        byte = data[at]
        if byte == 0x1B:
            following = _ISO_2022_JP_STATES.get(data[at + 1 : at + 3])
            if following is None:
                parts.append(ERROR)
                gave = False
                at += 1
                continue
            if gave:  # two escapes with nothing between them
                parts.append(ERROR)
            state, gave = following, True
            at += 3
            continue
        gave = False
        if state == "pair":
            if not 0x21 <= byte <= 0x7E or at + 1 == end or data[at + 1] == 0x1B:
                parts.append(ERROR)
                at += 1
            else:
                trail = data[at + 1]
                sound = 0x21 <= trail <= 0x7E
                pair = (byte << 8 | trail) + 0x8080
                parts.append(jis0208.get(pair, ERROR) if sound else ERROR)
                at += 2
            continue
        if state == "katakana":
            parts.append(chr(0xFF61 - 0x21 + byte) if 0x21 <= byte <= 0x5F else ERROR)
            at += 1
            continue
        run = _ASCII_BUT_ESCAPES.match(data, at)
        if run is None:
            parts.append(ERROR)
            at += 1
            continue
        text = run[0].decode("ascii")
        if state == "roman":
            text = text.replace("\\", "\u00a5").replace("~", "\u203e")
        parts.append(text)
        at = run.end()
    return "".join(parts)


_DIFFERS: Final = {
    "gb18030": _GB18030_DIFFERS,
    "big5hkscs": _BIG5_DIFFERS,
    "cp932": _CP932_DIFFERS,
}
"""What Python's codec gives where the standard's index may have another character."""
_MANY_BYTES: Final[dict[str, Callable[[bytes], str]]] = {
    "gb18030": _pairs_with("gb18030", {0x80: "€", 0xFF: ERROR}),
    "big5hkscs": _pairs_with("big5hkscs", {0x80: ERROR, 0xFF: ERROR}),
    "cp949": _pairs_with("cp949", {0x80: ERROR, 0xFF: ERROR}),
    "cp932": _pairs_with(
        "cp932",
        {0x80: "\x80", 0xA0: ERROR, 0xFD: ERROR, 0xFE: ERROR, 0xFF: ERROR}
        | {byte: chr(0xFF61 - 0xA1 + byte) for byte in range(0xA1, 0xE0)},
    ),
    "euc_jp": _decode_euc_jp,
}
