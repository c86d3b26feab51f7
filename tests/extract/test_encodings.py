"""Encodings, as the Encoding and HTML standards have them; compared with html5lib and webencodings.

The digests were computed from the standard's own index files (whatwg/encoding, index-*.txt, of
2025): every lead byte with every second byte and `!` behind them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest
import webencodings
from html5lib._inputstream import EncodingParser
from hypothesis import given, settings
from hypothesis import strategies as st

from webpairs.crawl.media_type import charset_of, media_type
from webpairs.extract.charset import decode_html
from webpairs.extract.encodings import ERROR, decode, encoding_of
from webpairs.extract.prescan import declared_encoding, late_encoding, xml_encoding

LABELS = dict(webencodings.LABELS)
OURS = {name: encoding_of(name) for name in sorted(set(LABELS.values()))}
SINGLE = {
    name: name
    for name in OURS
    if name.startswith(("windows-", "iso-8859", "koi8", "mac", "x-mac", "ibm"))
    and name != "iso-8859-8-i"
}


def digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


def name_of(label: str) -> str:
    found = encoding_of(label)
    assert found is not None, label
    return found


def test_every_label() -> None:
    for label, name in LABELS.items():
        if name == "x-user-defined" or label in ("replacement",):
            continue
        for written in (label, f" \t{label.upper()}\n\f\r"):
            assert encoding_of(written) == OURS[name] is not None
    for label in ("csiso2022kr", "hz-gb-2312", "iso-2022-cn", "iso-2022-cn-ext", "iso-2022-kr"):
        assert decode(b"any bytes", name_of(label)) == ERROR
    for label in ("", "utf-7", "utf-32", "cp037", "ebcdic", "\u212aoi8-r", "\xa0utf-8"):
        assert encoding_of(label) is None


def test_single_bytes() -> None:
    lines = {f"{name} {decode(bytes(range(128, 256)), name_of(name))}" for name in SINGLE}
    assert digest(sorted(lines)) == "ee25d2c669d8eadbd9217cfd7420ddc3"
    for name in SINGLE:
        assert decode(bytes(range(128)), name_of(name)) == "".join(map(chr, range(128)))
    assert decode(b"a\x80\xff", name_of("x-user-defined")) == "a\uf780\uf7ff"


LEADS = [*range(0x81, 0xFF)]
PAIRS = {
    "big5": (LEADS, "fefbf3f2444b28cfd5b6cb94549215a6"),
    "euc-kr": (LEADS, "a4674e0579851673f04498ab93d32aa5"),
    "gbk": (LEADS, "3fc0baf9634aa331b63ec09db1ea3559"),
    "shift_jis": ([*range(0x81, 0xA0), *range(0xE0, 0xFD)], "971643d4eb7224653ce61dd40c219ab8"),
    "euc-jp": ([0x8E, *range(0xA1, 0xFF)], "90d0a83d2abb345c5cec03d9bc05e2d5"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair(name: str) -> None:
    leads, expected = PAIRS[name]
    encoding = name_of(name)
    pairs = [
        bytes((lead, trail))
        for lead in leads
        for trail in range(256)
        if not (name == "gbk" and 0x30 <= trail <= 0x39)  # of four bytes
    ]
    assert digest(decode(pair + b"!", encoding) for pair in pairs) == expected


def test_jis_0212_and_iso_2022_jp() -> None:
    high, low = range(0xA1, 0xFF), range(0x21, 0x7F)
    found = (decode(bytes((0x8F, a, b)), "euc_jp") for a in high for b in high)
    assert digest(found) == "816cdd19b564072aaf82fd12367000d2"
    encoding = name_of("iso-2022-jp")
    found = (decode(b"\x1b$B" + bytes((a, b)), encoding) for a in low for b in low)
    assert digest(found) == "740f3c368feb6faebf51e4c53d3ae891"


def test_four_bytes_of_gb18030() -> None:
    def four(at: int) -> bytes:
        return bytes(
            (at // 12600 + 0x81, at // 1260 % 10 + 0x30, at // 10 % 126 + 0x81, at % 10 + 0x30)
        )

    pointers = [*range(39430), *range(188990, 1237600, 37)]
    assert digest(decode(four(at), "gb18030") for at in pointers) == (
        "a426305d0ff64e791f01afa0ee935995"
    )


@pytest.mark.parametrize(
    ("label", "data", "text"),
    [
        ("latin1", b"\x80\x81\x9d\xa0", "€\x81\x9d\xa0"),
        ("windows-1251", b"\x98\xcf", "\x98П"),
        ("gb2312", b"\x80\xff<", "€\ufffd<"),
        ("gbk", b"\x81", ERROR),
        ("gbk", b"\x81\x30", ERROR),
        ("gbk", b"\x81\x30\x81", ERROR),
        ("gbk", b"\x81\x30<img>", "\ufffd0<img>"),
        ("gbk", b"\x81\x30\x81<", "\ufffd0\ufffd<"),
        ("gbk", b"\xff\x30\x81\x30", "\ufffd0\ufffd"),
        ("big5", b"\x87\x7a\x88\x62\xa1\x45", "㡵\u00ca\u0304‧"),
        ("big5", b"\xa1<p>\x80", "\ufffd<p>\ufffd"),
        ("shift_jis", b"\x80\xb1\xa0\xfd\x81<", "\x80ｱ\ufffd\ufffd\ufffd<"),
        ("sjis", b"\xf0\x40", "\ue000"),
        ("euc-jp", b"\xa1\xc1\xad\xa1\x8e\xb1\x8f\xa2\xb7", "～①ｱ～"),
        ("euc-jp", b"\x8f\xa1<\x8f\xa1", "\ufffd<\ufffd"),
        ("euc-jp", b"\x8e<\x80", "\ufffd<\ufffd"),
        ("iso-2022-jp", b'a\x1b$B$"\x1b(B<', "aあ<"),
        ("iso-2022-jp", b"\x1b(J\\~\x1b(I1\x1b(B", "¥‾ｱ"),
        ("iso-2022-jp", b"\x1b$B\x1b(Bx", "\ufffdx"),
        ("iso-2022-jp", b"\x1b$B\x24\x1b(B<\x80\x0e", "\ufffd<\ufffd\ufffd"),
        ("iso-2022-jp", b"\x1b[0m", "\ufffd[0m"),
        ("euc-kr", b"\x8c\x63\xff\x81<", "똠\ufffd\ufffd<"),
        ("koi8-ru", b"\xae\xbe", "ўЎ"),
        ("utf-8", b"\xf0\x9f\x98<\xed\xa0\xbd", "\ufffd<\ufffd\ufffd\ufffd"),
        ("utf-16", b"a\0\x3d\xd8b\0\x3d\xd8", "a\ufffdb\ufffd"),
        ("utf-16", b"a\0\x3d\xd8\0", "a\ufffd"),
        ("utf-16be", b"\xd8\x3d\xde\0\0", "😀\ufffd"),
    ],
)
def test_odd_bytes(label: str, data: bytes, text: str) -> None:
    assert decode(data, name_of(label)) == text


TEXTS = {
    "gb18030": "汉字 ḿ 龴 €",
    "big5": "漢字，臺灣",
    "shift_jis": "日本語 ①㈱ｶﾅ",
    "euc-jp": "日本語のページ",
    "euc-kr": "한국어 똠방각하",
}


@given(st.sampled_from(sorted(OURS)), st.binary(max_size=60), st.binary(max_size=9))
@settings(max_examples=400)
def test_any_bytes_are_read(name: str, data: bytes, more: bytes) -> None:
    encoding = name_of(name)
    text = decode(data, encoding)
    text.encode()  # no surrogates
    if name in PAIRS or name == "gb18030":
        # An error does not touch what stands before it.
        sound = TEXTS["gb18030" if name == "gbk" else name]
        coded = sound.encode({"shift_jis": "cp932", "gbk": "gb18030"}.get(name, name))
        if ERROR not in (read := decode(coded, encoding)):
            assert decode(coded + b" " + data, encoding) == f"{read} {text}"
    assert isinstance(decode(data + more, encoding), str)


BODY = "<p>кот"


@pytest.mark.parametrize(
    "head",
    [
        '<?xml version="1.0" encoding="windows-1251"?>',
        "<?xml version='1.0' encoding = 'cp1251' ?>",
        '<meta content="text/html; charset=windows-1251" http-equiv=Content-Type>',
        "<meta/charset=windows-1251>",
        "<meta http-equiv='refresh' content='text/html;charset=utf-8'><meta charset=cp1251>",
        "<meta content='charset=utf-8'><meta charset=cp1251>",
        "<meta charset=cp1251 charset=utf-8>",
        "<!--><meta charset=cp1251>-->",
        '<!-- > <meta charset="utf-8"> --><meta charset="cp1251">',
        "<a title='<meta charset=utf-8>'><meta charset=cp1251>",
        "<?php <meta charset=utf-8> ?><meta charset=cp1251>",
        "</b title='<meta charset=utf-8>'><meta charset=cp1251>",
        '<?xml version="1.0" encoding="utf-8"?><meta charset=cp1251>',
        "<script>" + "x" * 3000 + "</script><meta charset=cp1251>",
        "<style>"
        + "x" * 900
        + "<meta charset=utf-8 "
        + "x" * 200
        + "</style><meta charset=cp1251>",
    ],
)
def test_where_a_page_names_its_encoding(head: str) -> None:
    assert decode_html((head + BODY).encode("cp1251")).endswith(BODY)


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (b"<meta charset=utf-16le>", "utf-8"),
        (b"<meta charset=x-user-defined>", "cp1252"),
        (b"<meta charset=iso-2022-kr>", "replacement"),
        (b"<meta charset=cp1251", None),
        (b"<meta http-equiv=content-type content='text/html; charset=\"cp1251'>", None),
        (b"<metacharset=cp1251>", None),
        (b"<!-- <meta charset=cp1251>", None),
        (b"<\0?\0x\0m\0", "utf-16-le"),
        (b"\0<\0?\0x\0m", "utf-16-be"),
        (b'<?xml encoding="utf-16"?>', "utf-8"),
        (b'<?xml version="1.0"?> encoding="cp1251">', None),
        (b"<?xml encoding=cp1251?>", None),
        (b'<?xml encoding="cp 1251"?>', None),
        (b' <?xml encoding="cp1251"?>', None),
        (b"<p " + b"x" * 1024 + b"><meta charset=cp1251>", None),
    ],
)
def test_prescan(data: bytes, encoding: str | None) -> None:
    assert declared_encoding(data) == encoding


_SPACE = st.sampled_from(["", " ", "\n", "\t\r\n", "/ "])
_LABEL = st.sampled_from(["windows-1251", "KOI8-R", "utf-8", "shift_jis", "Big5", "latin1"])
_QUOTE = st.sampled_from(['"', "'"])
_META = st.one_of(
    st.builds("<meta charset={1}{0}{1}>".format, _LABEL, _QUOTE),
    st.builds("<META {1}charset = {0}{2}>".format, _LABEL, _SPACE, st.sampled_from([" ", ""])),
    st.builds(
        "<meta http-equiv='Content-Type' {1} content={2}text/html; charset={0}{2}>".format,
        _LABEL,
        _SPACE,
        _QUOTE,
    ),
    st.builds('<meta content="x; charset={0}" http-equiv=content-type>'.format, _LABEL),
    st.builds("<meta name=x content='text/html; charset={0}'>".format, _LABEL),
)
_PIECE = st.one_of(
    _META,
    st.builds("<!-- {0} -->".format, _META),
    st.builds('<a title="{0}" b>'.format, _META.filter(lambda meta: '"' not in meta)),
    st.sampled_from(["text > ", "<p>", "</p>", "< ", "<!doctype html>", "<?x y?>", "<b c d=e/>"]),
)


@given(st.lists(_PIECE, max_size=7))
@settings(max_examples=300)
def test_prescan_finds_what_html5lib_finds(pieces: list[str]) -> None:
    data = "".join(pieces).encode()[:1024]
    found = EncodingParser(data).getEncoding()
    expected = None if found is None else encoding_of(found.name)
    assert declared_encoding(data) == expected


@given(st.binary(max_size=300) | st.text("<meta charset=\"'=/>-! ?xmlencoding").map(str.encode))
def test_never_raises_on_any_bytes(data: bytes) -> None:
    for prefix in (b"", b"<meta ", b"<?xml ", b"<!--", b"<meta charset=cp1251 x"):
        declared_encoding(prefix + data)
        late_encoding(prefix + data)
        xml_encoding(prefix + data)
        decode_html(prefix + data, data.decode("latin-1"))


@pytest.mark.parametrize(
    ("value", "kind", "charset"),
    [
        ("text/html", "text/html", None),
        (" Text/HTML ;Charset=KOI8-R", "text/html", "KOI8-R"),
        ('text/html; charset="utf-8"; x=y', "text/html", "utf-8"),
        ("text/html; charset='utf-8'", "text/html", "utf-8"),
        ("text/html; charset=utf-8, text/html", "text/html", "utf-8"),
        ("text/html; charset=utf-8, text/html; charset=koi8-r", "text/html", "koi8-r"),
        ("text/html; charset=utf-8, image/png", "image/png", None),
        ('text/html; x="a,b/c;charset=koi8-r", */*', "text/html", None),
        ("text/html, garbage, ,", "text/html", None),
        ('text/html; x="', "text/html", None),
        ("", "", None),
        ("no-type", "", None),
    ],
)
def test_content_types(value: str, kind: str, charset: str | None) -> None:
    assert media_type(value) == (kind, charset)
    assert charset_of(value) == charset


@given(st.text(max_size=60) | st.text('text/html;charset="\\,= ', max_size=60))
def test_content_types_never_raise(value: str) -> None:
    media_type(value)
    charset_of(value)
