"""The little web is what its truth says it is."""

from __future__ import annotations

import gzip
import random
import zlib
from collections import Counter
from http.client import HTTPResponse
from io import BytesIO

import ada_url
import brotli
import pytest
from lxml import html as lxml_html
from PIL import Image, ImageOps

from webpairs.demo import image_files
from webpairs.demo.little_web import (
    KINDS,
    LittleWeb,
    clear_language,
    draw_little_web,
)
from webpairs.demo.oddities import ACCENTED, BROKEN, FOREIGN
from webpairs.demo.page import Answer
from webpairs.demo.pictures import HARD_ATTRIBUTES, Scene, draw
from webpairs.demo.truth import SAMPLE, Candidate, uid_hex
from webpairs.drops import Drop
from webpairs.errors import DataError
from webpairs.extract.text import clean_text
from webpairs.image.decode import ImageRules, decode
from webpairs.recipes import load_recipe

# Records and rows that are broken hold no candidates that anybody saw.
EXTRACT_DROPS = {drop for drop in Drop if drop.stage == "extract"} - {
    Drop.RECORD_BROKEN,
    Drop.ROW_BROKEN,
}


@pytest.fixture(scope="module")
def web() -> LittleWeb:
    return draw_little_web(seed=3)


@pytest.fixture(scope="module")
def rules() -> ImageRules:
    recipe = load_recipe("laion400m")
    return ImageRules(
        min_bytes=recipe.min_image_bytes,
        max_pixels=recipe.max_pixels,
        formats=recipe.formats,
        size_px=recipe.image_size_px,
        resize=recipe.resize,
        jpeg_quality=recipe.jpeg_quality,
    )


def by_page(web: LittleWeb) -> dict[str, list[Candidate]]:
    pages: dict[str, list[Candidate]] = {}
    for candidate in web.truth:
        pages.setdefault(candidate.page_url, []).append(candidate)
    return pages


def test_a_seed_gives_one_web() -> None:
    one, again, other = (draw_little_web(seed, 3) for seed in (5, 5, 6))
    assert one == again
    assert one.truth != other.truth


def test_every_fate_and_kind_occurs(web: LittleWeb) -> None:
    fates = web.fates()
    expected = {SAMPLE, *map(str, BROKEN.values()), "duplicate", "opted_out_page", "similarity"}
    expected |= {str(drop) for drop in EXTRACT_DROPS}
    assert set(fates) == expected
    kinds = {candidate.kind for candidate in web.truth}
    hard = {f"hard:{attribute}" for attribute in HARD_ATTRIBUTES}
    assert kinds == {"true", "unrelated", "junk", "accented", "foreign", "short"} | hard
    encodings = {candidate.encoding for candidate in web.truth if candidate.fate == SAMPLE}
    assert encodings == set(image_files.ENCODINGS)


def test_every_fate_occurs_from_15_pages_on(web: LittleWeb) -> None:
    assert set(draw_little_web(seed=4, num_pages=15).fates()) == set(web.fates())


def test_the_mix_is_as_stated(web: LittleWeb) -> None:
    sound = Counter(
        candidate.kind.partition(":")[0]
        for candidate in web.truth
        if candidate.fate in (SAMPLE, "similarity") and candidate.kind != "accented"
    )
    assert 1_000 <= len(web.truth) <= 1_150
    for kind, percent in KINDS:
        assert 100 * sound[kind] / sound.total() == pytest.approx(percent, abs=6)


def test_only_true_texts_become_samples(web: LittleWeb) -> None:
    for candidate in web.truth:
        assert candidate.is_true or candidate.fate != SAMPLE


def test_a_uid_has_one_fate_and_its_oldest_candidate_bears_it(web: LittleWeb) -> None:
    copies: dict[str, list[Candidate]] = {}
    for candidate in web.truth:
        if candidate.uid:
            assert candidate.uid == uid_hex(candidate.url, candidate.text)
            copies.setdefault(candidate.uid, []).append(candidate)
    assert max(map(len, copies.values())) > 1
    for first, *others in copies.values():
        assert first.fate != "duplicate"
        assert first.copies == 1 + len(others)
        for other in others:
            assert (other.fate, other.copies) == ("duplicate", 0)
            assert (other.page_date, other.position) > (first.page_date, first.position)
        opted_out = any(candidate.opt_out for candidate in (first, *others))
        assert (first.fate == "opted_out_page") == opted_out


def test_an_opt_out_reaches_a_copy_that_has_none(web: LittleWeb) -> None:
    silent = {page.url for page in web.pages if not any(s.signal for s in page.signals)}
    assert [c for c in web.truth if c.fate == "opted_out_page" and c.page_url in silent]


def test_html_shows_what_the_truth_tells(web: LittleWeb) -> None:
    """lxml and ada read the pages; only the cleaner is the project's own."""
    truth = by_page(web)
    for page in web.pages:
        tree = lxml_html.fromstring(page.html())
        base = tree.find(".//base")
        assert (None if base is None else base.get("href")) == page.base
        here = page.url if page.base is None else ada_url.join_url(page.url, page.base)
        candidates = {candidate.position: candidate for candidate in truth[page.url]}
        found: set[int] = set()
        for position, img in enumerate(tree.iter("img")):
            alt = img.get("alt") or ""
            if not alt or alt.isspace():
                continue
            candidate, src = candidates[position], img.get("src")
            if candidate.fate in ("url_unwanted", "url_invalid"):
                assert candidate.url == src
            else:
                assert candidate.url == ada_url.join_url(here, src).partition("#")[0]
            assert candidate.text == clean_text(alt)
            found.add(position)
        assert found == set(candidates)


def test_invalid_urls_are_invalid(web: LittleWeb) -> None:
    for candidate in web.truth:
        if candidate.fate == "url_invalid":
            assert not ada_url.check_url(candidate.url)


def test_urls_of_answers_are_normal(web: LittleWeb) -> None:
    for answer in web.answers:
        assert ada_url.normalize_url(answer.url) == answer.url


def test_links_are_written_in_many_ways(web: LittleWeb) -> None:
    sources = [img.src for page in web.pages for img in page.images]
    for start in ("https://", "//", "/", "../", "./", " http"):
        assert any(src.startswith(start) for src in sources), start
    for part in ("bücher", "xn--bcher-kva", "%20", "größe", "#main", "?w=", "my pictures"):
        assert any(part in src for src in sources), part


def test_charsets_and_transfers_occur(web: LittleWeb) -> None:
    assert len({page.charset for page in web.pages}) == 6
    assert len({page.transfer for page in web.pages}) == 6
    assert any("&eacute;" in page.html() or "&uuml;" in page.html() for page in web.pages)


class FakeSocket:
    """Let the standard library's HTTP client read an answer from memory."""

    def __init__(self, answer: Answer) -> None:
        head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
        self._data = f"HTTP/1.1 {answer.status} OK\r\n{head}\r\n".encode() + answer.body

    def makefile(self, mode: str) -> BytesIO:
        return BytesIO(self._data)


def test_pages_travel_unharmed(web: LittleWeb) -> None:
    """What a client decodes, as headers and page tell it to, is the page."""
    undo = {"gzip": gzip.decompress, "deflate": zlib.decompress, "br": brotli.decompress}
    for answer in web.answers:
        if answer.page is None:
            continue
        response = HTTPResponse(FakeSocket(answer))
        response.begin()
        source = response.read()
        encoding = response.headers["Content-Encoding"]
        source = undo[encoding](source) if encoding else source
        charset, where = answer.page.charset
        said = response.headers.get_content_charset()
        assert said == (charset if where == "header" else None)
        if where in ("meta", "http-equiv"):
            assert charset.encode() in source[:1024].lower()
        text = source.decode(charset)
        assert text.startswith("\ufeff" if where == "bom" else "<!DOCTYPE")
        tree = lxml_html.fromstring(text.removeprefix("\ufeff"))
        assert [img.get("alt") for img in tree.iter("img")] == [
            img.alt for img in answer.page.images
        ]


def test_some_texts_are_mojibake_in_the_page(web: LittleWeb) -> None:
    alts = [img.alt or "" for page in web.pages for img in page.images]
    assert any("Ã" in alt for alt in alts)
    assert not any("Ã" in candidate.text for candidate in web.truth)


def test_languages_are_beyond_doubt(web: LittleWeb) -> None:
    assert {clear_language(text) for text in FOREIGN} == {"de", "fr", "es"}
    assert {clear_language(text) for text in ACCENTED} == {"en"}
    for candidate in web.truth:
        if candidate.uid:
            assert clear_language(candidate.text) == "en", candidate.text


def outcome(body: bytes, rules: ImageRules) -> tuple[str, tuple[int, int] | None]:
    """Return what the decoder says of a file: its fate and its size in pixels."""
    try:
        decoded = decode(body, rules)
    except DataError as error:
        return str(error.drop), None
    return SAMPLE, (decoded.width, decoded.height)


def test_images_decode_to_their_fate(web: LittleWeb, rules: ImageRules) -> None:
    captures = Counter(answer.url for answer in web.answers)
    bodies = {
        answer.url: answer.body
        for answer in web.answers
        if answer.status == 200
        and captures[answer.url] == 1
        and answer.revisit is None
        and ("Transfer-Encoding", "chunked") not in answer.headers
    }
    spoilt = {str(drop) for drop in Drop if drop.stage == "decode"} | {"too_small"}
    checked: Counter[str] = Counter()
    for candidate in web.truth:
        body = bodies.get(candidate.url)
        if body is None or not candidate.uid:
            continue
        fate, size = outcome(body, rules)
        checked[fate] += 1
        if fate == SAMPLE:
            assert not candidate.width_px or (candidate.width_px, candidate.height_px) == size
            assert candidate.fate not in spoilt
        else:
            assert candidate.fate == fate, candidate
    assert set(checked) == {SAMPLE, "too_small", "not_an_image", "format", "pixels", "truncated",
                            "undecodable"}  # fmt: skip


@pytest.mark.parametrize(
    ("encoding", "orientation"),
    [(encoding, 6) for encoding in image_files.ENCODINGS]
    + [("jpeg-turned", orientation) for orientation in (2, 3, 4, 5, 7, 8)],
)
def test_a_file_shows_the_picture_upright(encoding: str, orientation: int) -> None:
    drawn = draw(Scene(1, "gray", "cross", "white"), random.Random(1), 200, 120)
    file = image_files.encode(drawn, encoding, orientation=orientation)
    assert len(file) >= 5_000
    shown = ImageOps.exif_transpose(Image.open(BytesIO(file)))
    assert shown is not None
    if encoding == "png-gray-16-bit":
        assert shown.mode == "I;16"
        shown = shown.point(lambda level: level / 257).convert("L")
    if encoding == "png-clear-white":
        assert shown.getchannel("A").getextrema() == (0, 255)
        shown = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
    small = [picture.convert("L").resize((20, 12)) for picture in (drawn, shown)]
    worst = max(abs(a - b) for a, b in zip(*(s.tobytes() for s in small), strict=True))
    assert worst <= 24
