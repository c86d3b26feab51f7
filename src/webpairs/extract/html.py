"""Taking from an HTML page what extract needs: its images with their texts, and what it permits.

The page is parsed as browsers parse it (lexbor, through resiliparse), with scripting off, so that
the images in `<noscript>` are there; those in `<template>` are not part of the document.

A candidate is one URL of an `<img>` with one text beside it. An `<img>` gives, for each of the
rules' image sources at most one URL, and for each of the rules' texts at most one text; every URL
is paired with every text. A URL or text that the same `<img>` gave before, as written, is not
given again. `position` is the rank of the `<img>` among all of the page, those without URL too.

| source | URL |
|---|---|
| `src` | the attribute |
| `srcset` | the largest of the attribute, or of `data-srcset` when it is missing |
| `picture` | the largest of the `<source srcset>` (or `data-srcset`) before it in its `<picture>` whose type is a kind of picture that is kept |
| `data-src` | the first there is of `data-src` (lazysizes), `data-lazy-src` (WP Rocket), `data-original` (jQuery Lazy Load) |

| text | |
|---|---|
| `alt`, `title` | the attribute |
| `caption` | the `<figcaption>` of the nearest `<figure>` around it (32 levels up at most), else the `.thumbcaption` of the nearest `.thumbinner` (MediaWiki before 1.40) |
"""  # noqa: E501  # tables

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, TypeGuard

import orjson
from resiliparse.parse.html import DocumentNode, ElementNode, HTMLTree

from webpairs.extract.charset import decode_html
from webpairs.extract.license import HOST, License, LicenseLink, find_license
from webpairs.extract.optout import META_NAMES
from webpairs.extract.page import ExtractRules
from webpairs.extract.srcset import largest, largest_of

LAZY_ATTRIBUTES: Final = ("data-src", "data-lazy-src", "data-original")
"""Where lazy loaders keep the URL; sources: README of lazysizes, WP Rocket's LazyLoad, README of
jQuery Lazy Load 1.9."""

PICTURE_TYPES: Final = frozenset(
    ("", "image/jpeg", "image/jpg", "image/pjpeg", "image/png", "image/webp")
)
"""Types of `<source>` that are looked at: what recipes keep. AVIF and the like are passed over for
the JPEG beside them."""

_HOST: Final = HOST.encode()
_META_WORDS: Final = tuple(name.encode() for name in META_NAMES)
_LICENSE_META_WORDS: Final = ("licen", "rights")
"""Parts of the names of `<meta>` that state a licence: `license`, `dcterms.license`, `dc.rights`,
`copyright` has none: it names an owner."""
_MAX_JSON_DEPTH: Final = 20
_MAX_SOURCES: Final = 64
_MAX_LEVELS: Final = 32


@dataclass(slots=True)
class HtmlImages:
    """The candidates of a page as parallel lists, and what it says of itself."""

    base: str | None = None
    license: License | None = None
    metas: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Name and content of the `<meta>` elements that may be opt-outs."""
    urls: list[str] = field(default_factory=list[str])
    texts: list[str] = field(default_factory=list[str])
    image_sources: list[str] = field(default_factory=list[str])
    text_sources: list[str] = field(default_factory=list[str])
    positions: list[int] = field(default_factory=list[int])


def read_html(data: bytes, content_type: str | None, rules: ExtractRules) -> HtmlImages:
    """Return what the page holds. Raises ValueError when the parser refuses it.

    A page without an `<img>` is not parsed, nor is what it permits looked at.
    """
    page = HtmlImages()
    folded = data.lower()
    if b"\0" in folded[:1024]:  # UTF-16, or not text at all: look at every part
        folded = decode_html(data, content_type).lower().encode("utf-8", "replace")
    if b"<img" not in folded and b"<image" not in folded:
        return page
    tree = HTMLTree.parse(_disarm(decode_html(data, content_type), folded))
    document = tree.document
    if document is None:
        return page
    if rules.texts == ("alt",) and rules.image_sources == ("src",):
        _read_src_and_alt(document, page)
    else:
        _read_images(document, page, rules)
    if not page.urls:
        return page
    if b"<base" in folded:
        page.base = next((e.getattr("href") for e in _select(document, "base[href]")), None)
    if b"<meta" in folded and any(word in folded for word in _META_WORDS):
        page.metas = list(_opt_out_metas(document))
    if _HOST in folded:
        page.license = find_license(_license_links(document))
    return page


_TAG_OF_MANY_ATTRIBUTES: Final = re.compile(
    r"""<[a-zA-Z][^\s/>]*+"""
    r"""(?:[\s/]++[^\s/>=]++(?:\s*+=\s*+(?:"[^"]*+"|'[^']*+'|[^\s>]*+))?+){1000,}+"""
)
_LIST_TAG: Final = re.compile(r"<(/?)(?:select|option|optgroup)(?![a-zA-Z0-9-])", re.IGNORECASE)
_MAX_OPTIONS: Final = 2_000
_SAFE_BYTES: Final = 16 << 10
"""5,000 attributes fit in: 60 ms."""


def _disarm(text: str, folded: bytes) -> str:
    """Take out of a page what the parser needs quadratic time for.

    Measured with lexbor as resiliparse 2.0 has it: 100,000 attributes in one tag, or options in
    one list (0.8 MB of page), take 45 s. Tags of a thousand attributes are cut; in pages of more
    than 2,000 options the lists become plain elements. Neither says anything of images.
    """
    if len(folded) <= _SAFE_BYTES:
        return text
    text = _TAG_OF_MANY_ATTRIBUTES.sub("<cut", text)
    if folded.count(b"<option") > _MAX_OPTIONS:
        text = _LIST_TAG.sub(r"<\1cut", text)
    return text


def _select(node: DocumentNode | ElementNode, selector: str) -> Iterable[ElementNode]:
    # A slice: to iterate over resiliparse 2.0's lists is quadratic in their length.
    return node.query_selector_all(selector)[:]


def _read_src_and_alt(document: DocumentNode, page: HtmlImages) -> None:
    """Do what `_read_images` does for the rules of LAION, in half the time."""
    for position, image in enumerate(_select(document, "img")):
        alt = image.getattr("alt")
        if not alt:
            continue
        src = image.getattr("src")
        if src:
            page.urls.append(src)
            page.texts.append(alt)
            page.positions.append(position)
    page.image_sources = ["src"] * len(page.urls)
    page.text_sources = ["alt"] * len(page.urls)


def _read_images(document: DocumentNode, page: HtmlImages, rules: ExtractRules) -> None:
    captions = _find_captions(document) if "caption" in rules.texts else {}
    for position, image in enumerate(_select(document, "img")):
        texts: dict[str, str] = {}
        for name in rules.texts:
            if name == "caption":
                text = _caption(image, captions) if captions else None
            else:
                text = image.getattr(name)
            if text and not text.isspace():
                texts.setdefault(text, name)
        if not texts:
            continue
        urls: dict[str, str] = {}
        for name in rules.image_sources:
            url = _image_url(image, name)
            if url and not url.isspace():
                urls.setdefault(url, name)
        for url, source in urls.items():
            for text, text_source in texts.items():
                page.urls.append(url)
                page.texts.append(text)
                page.image_sources.append(source)
                page.text_sources.append(text_source)
                page.positions.append(position)


def _image_url(image: ElementNode, source: str) -> str | None:
    if source == "src":
        return image.getattr("src")
    if source == "srcset":
        value = _srcset(image)
        return largest(value) if value else None
    if source == "picture":
        return _picture_url(image)
    values = (image.getattr(name) for name in LAZY_ATTRIBUTES)
    return next((value for value in values if value), None)


def _srcset(element: ElementNode) -> str | None:
    return element.getattr("srcset") or element.getattr("data-srcset")


def _picture_url(image: ElementNode) -> str | None:
    picture = image.parent_element
    if picture is None or picture.local_name != "picture":
        return None
    values: list[str] = []
    source = image.previous_element_sibling
    while source is not None and len(values) < _MAX_SOURCES:
        kind = (source.getattr("type") or "").partition(";")[0].strip().lower()
        wanted = source.local_name == "source" and kind in PICTURE_TYPES
        values.append((_srcset(source) or "") if wanted else "")
        source = source.previous_element_sibling
    values.reverse()
    return largest_of(values)


def _find_captions(document: DocumentNode) -> dict[ElementNode, str]:
    """Return the caption of each figure: the first whose nearest figure it is.

    From the caption to the figure and never down from a figure, so that figures within figures
    cost no more than others.
    """
    captions: dict[ElementNode, str] = {}
    for caption in _select(document, "figcaption, .thumbcaption"):
        figure = _box_of(caption, "figure" if caption.local_name == "figcaption" else "thumbinner")
        if figure is not None and figure not in captions:
            captions[figure] = caption.text_content or ""
    return captions


def _box_of(element: ElementNode, kind: str) -> ElementNode | None:
    """Return the nearest `<figure>` or `.thumbinner` around, at most 32 levels up."""
    box = element.parent_element
    for _ in range(_MAX_LEVELS):
        if box is None:
            return None
        if kind == "figure":
            if box.local_name == "figure":
                return box
        elif kind in (box.getattr("class") or "").split():
            return box
        box = box.parent_element
    return None


def _caption(image: ElementNode, captions: dict[ElementNode, str]) -> str | None:
    for kind in ("figure", "thumbinner"):
        box = _box_of(image, kind)
        if box in captions:
            return captions[box]
    return None


def _opt_out_metas(document: DocumentNode) -> Iterator[tuple[str, str]]:
    for meta in _select(document, "meta[name]"):
        name = (meta.getattr("name") or "").strip().lower()
        if name in META_NAMES:
            yield name, meta.getattr("content") or ""


def _license_links(document: DocumentNode) -> Iterator[LicenseLink]:
    """Give every link that may be a licence, in document order."""
    for element in _select(document, "a[href], link[rel][href], meta[content], script[type]"):
        tag = element.local_name
        if tag == "script":
            if "ld+json" in (element.getattr("type") or "").lower():
                for link in _json_ld_licenses(element.text_content or ""):
                    yield LicenseLink("json-ld", link)
        elif tag == "meta":
            names = f"{element.getattr('name')} {element.getattr('property')}".lower()
            if any(word in names for word in _LICENSE_META_WORDS):
                yield LicenseLink("meta", element.getattr("content") or "")
        else:
            href = element.getattr("href") or ""
            if HOST not in href.lower():
                continue
            rel = element.getattr("rel") or ""
            if tag == "a":
                yield LicenseLink("a", href, rel)
            elif "license" in rel.lower().split():
                yield LicenseLink("link", href, rel)


def _json_ld_licenses(text: str) -> Iterator[str]:
    """Give the values of every `license` in a JSON-LD script (schema.org/license)."""
    if HOST not in text.lower():
        return
    try:
        value: Any = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    yield from _licenses_of(value, 0)


def _licenses_of(value: Any, depth: int) -> Iterator[str]:
    if depth > _MAX_JSON_DEPTH:
        return
    if isinstance(value, list):
        for item in value:
            yield from _licenses_of(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if key == "license":
                yield from _links_of(item)
            else:
                yield from _licenses_of(item, depth + 1)


def _links_of(value: Any) -> Iterator[str]:
    """Give the URLs that a `license` names: a string, an object with @id or url, or a list."""
    for item in value if _is_list(value) else [value]:
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from (item[key] for key in ("@id", "url") if isinstance(item.get(key), str))


def _is_list(value: Any) -> TypeGuard[list[Any]]:
    return isinstance(value, list)
