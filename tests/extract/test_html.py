"""Pages: charset, base, images with their texts, licence and opt-outs; hostile pages."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webpairs.extract.charset import decode_html
from webpairs.extract.encodings import encoding_of
from webpairs.extract.html import read_html
from webpairs.extract.license import License
from webpairs.extract.page import ExtractRules

LAION = ExtractRules(("alt",), ("src",), 5, ("any",))
EVERYTHING = ExtractRules(
    ("alt", "title", "caption"), ("src", "srcset", "picture", "data-src"), 5, ("any",)
)


def pairs(html: str | bytes, rules: ExtractRules = LAION) -> list[tuple[str, str]]:
    data = html.encode() if isinstance(html, str) else html
    page = read_html(data, "text/html; charset=utf-8", rules)
    return list(zip(page.urls, page.texts, strict=True))


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("", []),
        ("no image", []),
        ("<img>", []),
        ("<img src=a>", []),
        ("<img alt=b>", []),
        ("<img src='' alt=b>", []),
        ("<img src=a alt=''>", []),
        ("<img src=a alt=b>", [("a", "b")]),
        ("<IMG SRC=a ALT=b>", [("a", "b")]),
        ("<img\nsrc = 'a'\talt = \"b c\"/>", [("a", "b c")]),
        ("<img src=a src=b alt=c alt=d>", [("a", "c")]),
        ("<img src='a?x=1&amp;y=2' alt='&lt;b&gt; &eacute;'>", [("a?x=1&y=2", "<b> é")]),
        ("<img src=a alt=b<img src=c alt=d>", [("a", "b<img")]),
        ("<image src=a alt=b>", [("a", "b")]),
        ("<!-- <img src=a alt=b> -->", []),
        ("<script>'<img src=a alt=b>'</script>", []),
        ("<textarea><img src=a alt=b></textarea>", []),
        ("<title><img src=a alt=b></title>", []),
        ("<noscript><img src=a alt=b></noscript>", [("a", "b")]),
        ("<template><img src=a alt=b></template>", []),
        ("<table><img src=a alt=b></table>", [("a", "b")]),
        ("<svg><image href=a /></svg><img src=a alt=b>", [("a", "b")]),
        ("<img src=a alt=b><plaintext><img src=c alt=d>", [("a", "b")]),
    ],
)
def test_src_and_alt(html: str, found: list[tuple[str, str]]) -> None:
    assert pairs(html) == found
    # The quick way for these rules, and the way for any rules, are one.
    rules = ExtractRules(("alt", "alt"), ("src",), 5, ("any",))
    assert pairs(html, rules) == found


def test_position_is_the_rank_among_all_images() -> None:
    page = read_html(b"<img><img src=a alt=b><img src=c><p><img src=d alt=e>", None, LAION)
    assert page.positions == [1, 3]
    assert page.image_sources == ["src", "src"]
    assert page.text_sources == ["alt", "alt"]


@pytest.mark.parametrize(
    ("html", "base"),
    [
        ("<base href=/x/>", "/x/"),
        ("<base target=_top><base href=a><base href=b>", "a"),
        ("<BASE HREF='a'>", "a"),
        ("<p>late<base href=a>", "a"),
        ("<!--<base href=a>-->", None),
        ("", None),
    ],
)
def test_base(html: str, base: str | None) -> None:
    assert read_html(f"{html}<img src=a alt=b>".encode(), None, LAION).base == base


@pytest.mark.parametrize(
    ("html", "found"),
    [
        ("<img src=a title=t>", [("a", "t", "src", "title")]),
        ("<img src=a alt=b title=t>", [("a", "b", "src", "alt"), ("a", "t", "src", "title")]),
        ("<img src=a alt=b title=b>", [("a", "b", "src", "alt")]),
        ("<img src=a alt=' '>", []),
        ("<img data-src=a alt=b>", [("a", "b", "data-src", "alt")]),
        ("<img data-lazy-src=a alt=b>", [("a", "b", "data-src", "alt")]),
        ("<img data-original=a alt=b>", [("a", "b", "data-src", "alt")]),
        ("<img data-src='' data-original=a alt=b>", [("a", "b", "data-src", "alt")]),
        ("<img src=p data-src=a alt=b>", [("p", "b", "src", "alt"), ("a", "b", "data-src", "alt")]),
        ("<img src=a data-src=a alt=b>", [("a", "b", "src", "alt")]),
        ("<img srcset='a 1x, c 2x' alt=b>", [("c", "b", "srcset", "alt")]),
        ("<img data-srcset='a 1w, c 2w' alt=b>", [("c", "b", "srcset", "alt")]),
        ("<img srcset='a 1q' alt=b>", []),
        (
            "<picture><source srcset='s 1w, m 2w'><source srcset='l 3w'><img src=i alt=b>",
            [("i", "b", "src", "alt"), ("l", "b", "picture", "alt")],
        ),
        (
            "<picture><source srcset='a 9w' type=image/avif><source srcset='j 1w' "
            "type='image/jpeg'><img alt=b><source srcset='late 99w'></picture>",
            [("j", "b", "picture", "alt")],
        ),
        ("<picture><img alt=b></picture>", []),
        ("<video><source srcset=a><img alt=b></video>", []),
        (
            "<figure><div><img src=a></div><figcaption>A <b>bold</b> cat</figcaption></figure>",
            [("a", "A bold cat", "src", "caption")],
        ),
        (
            "<figure><figcaption>out</figcaption><figure><img src=a><figcaption>in</figcaption>"
            "</figure></figure>",
            [("a", "in", "src", "caption")],
        ),
        (
            "<figure><img src=a><img src=c><figcaption>both</figcaption></figure>",
            [("a", "both", "src", "caption"), ("c", "both", "src", "caption")],
        ),
        ("<figure></figure><img src=a><figcaption>stray</figcaption>", []),
        (
            "<div class='thumb tright'><div class='thumbinner x'><a><img src=a alt=b></a>"
            "<div class=thumbcaption>old wiki</div></div></div>",
            [("a", "b", "src", "alt"), ("a", "old wiki", "src", "caption")],
        ),
    ],
)
def test_every_source_and_text(html: str, found: list[tuple[str, str, str, str]]) -> None:
    page = read_html(html.encode(), None, EVERYTHING)
    columns = (page.urls, page.texts, page.image_sources, page.text_sources)
    assert list(zip(*columns, strict=True)) == found


CC = "https://creativecommons.org/licenses/by/4.0/"


@pytest.mark.parametrize(
    ("html", "where"),
    [
        (f"<a href={CC}>", "a"),
        (f"<a rel=license href={CC}>", "a"),
        (f"<link rel=license href={CC}>", "link"),
        (f"<link rel=stylesheet href={CC}>", None),
        (f"<meta name=dcterms.license content={CC}>", "meta"),
        (f"<meta property=dc:rights content={CC}>", "meta"),
        (f"<meta name=description content={CC}>", None),
        (f'<script type=application/ld+json>{{"license":"{CC}"}}</script>', "json-ld"),
        (
            f'<script type=application/ld+json>[{{"@graph":[{{"license":{{"@id":"{CC}"}}}}]}}]'
            "</script>",
            "json-ld",
        ),
        (f'<script type=application/ld+json>{{"license":"{CC}</script>', None),
        (f'<script>{{"license":"{CC}"}}</script>', None),
        (f"<!-- {CC} -->", None),
        (CC, None),
    ],
)
def test_licence(html: str, where: str | None) -> None:
    page = read_html(f"<img src=a alt=b>{html}".encode(), None, LAION)
    if where is None:
        assert page.license is None
    else:
        assert isinstance(page.license, License)
        assert (page.license.id, page.license.where) == ("CC-BY-4.0", where)


def test_metas() -> None:
    html = (
        "<meta name=Robots content='noai, noimageai'><meta name=tdm-reservation content=1>"
        "<meta name=googlebot content=noindex><meta name=description content=robots>"
        "<meta name=ccbot><img src=a alt=b>"
    )
    page = read_html(html.encode(), None, LAION)
    assert page.metas == [("robots", "noai, noimageai"), ("tdm-reservation", "1"), ("ccbot", "")]


TEXT = "Bär, žába, кот, 猫"


@pytest.mark.parametrize(
    ("data", "content_type", "text"),
    [
        (TEXT.encode(), None, TEXT),
        (codecs.BOM_UTF8 + TEXT.encode(), "text/html; charset=koi8-r", TEXT),
        (codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"), None, TEXT),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), None, TEXT),
        ("кот".encode("koi8-r"), 'text/html; charset="KOI8-R"', "кот"),
        ("кот".encode("cp1251"), "text/html;charset=windows-1251", "кот"),
        ("“ß”".encode("cp1252"), "text/html; charset=iso-8859-1", "“ß”"),
        ("猫①".encode("cp932"), "text/html; charset=Shift_JIS", "猫①"),
        ("똠".encode("cp949"), "text/html; charset=euc-kr", "똠"),
        ("猫€".encode("gb18030"), "text/html; charset=gb2312", "猫€"),
        ("ß".encode(), "text/html; charset=no-such-charset", "ß"),
        ("“ß”".encode("cp1252"), None, "“ß”"),
        (b"\xff", "text/html; charset=utf-8", "\ufffd"),
    ],
)
def test_charset(data: bytes, content_type: str | None, text: str) -> None:
    assert decode_html(data, content_type) == text


@pytest.mark.parametrize(
    "meta",
    [
        "<meta charset=windows-1251>",
        "<META CHARSET = 'cp1251'>",
        '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251">',
        "<!-- <meta charset=utf-8> --><meta charset=windows-1251>",
        "<meta charset=no-such><meta charset=windows-1251>",
    ],
)
def test_charset_in_meta(meta: str) -> None:
    assert decode_html((meta + "кот").encode("cp1251")).endswith("кот")
    # The header goes before.
    assert decode_html((meta + "кот").encode("koi8-r"), "a/b; charset=koi8-r").endswith("кот")


def test_charset_guessed() -> None:
    text = "Привет, это страница о кошках и собаках, которые живут в нашем городе."
    assert decode_html(text.encode("cp1251")) == text
    text = "これは日本語のページです。猫と犬について書いてあります。"
    assert decode_html(text.encode("euc_jp")) == text


def test_utf16_in_meta_is_utf8() -> None:
    assert encoding_of("utf-16") == "utf-16-le"
    assert decode_html("<meta charset=utf-16>ß".encode()).endswith("ß")


def test_utf16_page_without_images_in_ascii() -> None:
    html = f"<img src=a alt='{TEXT}'>"
    for encoded in (
        codecs.BOM_UTF16_LE + html.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + html.encode("utf-16-be"),
    ):
        assert pairs(encoded) == [("a", TEXT)]


HOSTILE = {
    "attributes": "<img " + " ".join(f"a{i}=1" for i in range(60_000)) + ">",
    "attributes-with-brackets": "<img " + " ".join(f"a{i}='>'" for i in range(60_000)) + ">",
    "options": "<select>" + "<option>" * 60_000,
    "depth": "<div>" * 200_000,
    "formatting": "<b><p>" * 20_000,
    "figures": "<figure>" * 3_000 + "<img src=a title=t>" * 3_000,
    "figures-with-captions": "<figure><figcaption>c</figcaption>" * 3_000 + "<img src=a>" * 3_000,
    "sources": "<picture>" + "<source srcset=a>" * 3_000 + "<img alt=b>" * 3_000,
    "json": "<script type=application/ld+json>" + '{"a":' * 5_000 + f'"{CC}"' + "}" * 5_000,
    "srcset": f"<img alt=b srcset='{'a 1x,' * 50_000}'>",
    "template-in-svg": "<svg><template>\n",
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_page_ends(name: str) -> None:
    """Each took from ten seconds to hours while its cost was quadratic; now 0.3 s at most."""
    html = f"<a href={CC}></a><img src=first alt=text>{HOSTILE[name]}"
    page = read_html(html.encode(), None, EVERYTHING)
    assert page.urls[0] == "first"


TAGS = st.sampled_from(
    [
        "<img src=a alt=b>",
        "<img srcset='a 1x' title=t>",
        "<picture>",
        "<source srcset=a>",
        "<figure>",
        "<figcaption>",
        "</figure>",
        "<base href=x>",
        "<meta name=robots content=noai>",
        "<template>",
        "<svg>",
        "<select><option>",
        "<table>",
        "<!--",
        "-->",
        "<script type=application/ld+json>",
        "</script>",
        f"<a href={CC}>",
        "<meta charset=",
        "<![CDATA[",
        "&#x110000;",
        "\0",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(TAGS | st.text(max_size=8), max_size=30))
def test_never_raises_on_any_page(parts: list[str]) -> None:
    page = read_html("".join(parts).encode("utf-8", "replace"), None, EVERYTHING)
    assert len(page.urls) == len(page.texts) == len(page.positions)
    assert page.positions == sorted(page.positions)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.text(max_size=20) | st.none())
def test_never_raises_on_any_bytes(data: bytes, content_type: str | None) -> None:
    decode_html(data, f"text/html; charset={content_type}" if content_type else None)
    page = read_html(b"<img src=a alt=b>" + data, content_type, EVERYTHING)
    assert len(page.urls) == len(page.texts) == len(page.positions)
