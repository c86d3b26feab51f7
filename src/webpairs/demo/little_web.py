"""Drawing a little web: pages and pictures, of which it is known what is true.

On its pages stand true and false texts beside pictures, and what real crawls are full of: the same
picture with many texts, the same text twice, opt-outs, licences, links written in every way, and
pictures that are missing, broken or no pictures at all. The truth says for each candidate (an image
URL and a text beside it) what a perfect build makes of it: a sample, or which `Drop`.

All hosts end in `.example`, which RFC 2606 reserves. The pictures of a little web lie in the crawl
files; of one that is drawn live they do not, and `server.py` serves them on this machine.
"""

from __future__ import annotations

import hashlib
import posixpath
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from webpairs.demo import image_files
from webpairs.demo.archive import JPEG, Archive
from webpairs.demo.live import LiveArchive
from webpairs.demo.oddities import (
    ACCENTED,
    FOREIGN,
    INVALID,
    LICENCES,
    NO_OPT_OUTS,
    OPT_OUTS,
    SHORT,
    UNWANTED,
)
from webpairs.demo.page import (
    CHARSETS,
    TRANSFERS,
    Answer,
    Img,
    Licence,
    OptOut,
    WebPage,
)
from webpairs.demo.pictures import (
    HARD_ATTRIBUTES,
    Scene,
    caption,
    draw,
    hard_negative,
    junk_text,
    random_scene,
    unrelated_caption,
)
from webpairs.demo.truth import SAMPLE, Candidate, uid_hex
from webpairs.drops import Drop
from webpairs.extract.language import detect_languages

KINDS: Final = (("true", 50), ("hard", 25), ("unrelated", 15), ("junk", 10))
"""What the texts beside sound pictures are, in percent."""

_NEW_PICTURES: Final = 7
_SEEN_PICTURES: Final = 7
_ODDITIES: Final = 4
"""Per page: pictures shown here first, pictures seen elsewhere too, things gone wrong."""

_FIRST_DATE: Final = datetime(2024, 5, 18, tzinfo=UTC)
_CRAWL_MINUTES: Final = 7 * 24 * 60

_UNICODE_HOST: Final = ("xn--bcher-kva.example", "bücher.example")

_SIZES_PX: Final = ((256, 256), (320, 256), (256, 340), (400, 300), (300, 400))


@dataclass(frozen=True, slots=True)
class LittleWeb:
    """A whole little web and the truth about it."""

    seed: int
    answers: tuple[Answer, ...]
    """Pages and images, in the order of their dates."""
    truth: tuple[Candidate, ...]
    addresses: Mapping[str, str] = field(default_factory=dict[str, str])
    """The IP address of each host of a live web; without any it is archived, not live."""

    @property
    def crawled(self) -> tuple[Answer, ...]:
        """Return what a crawler took home: everything, of a live web the pages alone."""
        if not self.addresses:
            return self.answers
        return tuple(answer for answer in self.answers if answer.page is not None)

    @property
    def pages(self) -> list[WebPage]:
        """Return the pages, in the order of their dates."""
        return [answer.page for answer in self.answers if answer.page is not None]

    def fates(self) -> Counter[str]:
        """Count the candidates by fate: the funnel of a perfect build."""
        return Counter(candidate.fate for candidate in self.truth)


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture that pages can show: where it is, what is on it, and its fate when broken."""

    url: str
    scene: Scene
    width_px: int = 0
    height_px: int = 0
    encoding: str = ""
    sha256: str = ""
    fate: str = SAMPLE


@dataclass(slots=True)
class _Draft:
    """A page in the making."""

    number: int
    url: str
    date: datetime
    base: str | None
    opt_out: OptOut | None
    licence: Licence | None
    images: list[Img] = field(default_factory=list[Img])


def draw_little_web(
    seed: int, num_pages: int = 60, *, live: bool = False, port: int = 80
) -> LittleWeb:
    """Draw a little web of about 17 candidates a page; everything follows from the arguments.

    All scenes are held out: the model `tiny` never saw their pairs of colour and shape. With
    15 pages or more everything that can go wrong does so at least once. With `live` the pictures
    are to be fetched from a `WebServer` on `port`, and fates are those the live web gives.
    """
    rng = random.Random(seed)
    if not live:
        archive = Archive(rng)
        truth = _Maker(rng, archive, num_pages).make()
        return LittleWeb(seed, archive.by_date(), truth)
    servers = LiveArchive(rng, port)
    truth = _Maker(rng, servers, num_pages).make()
    servers.add_site_files(_FIRST_DATE)
    return LittleWeb(seed, servers.by_date(), truth, servers.addresses)


def clear_language(text: str) -> str | None:
    """Return the language of a text, or None when that is open to doubt.

    The little web holds no doubtful texts, so that its truth does not hang on the third decimal
    of a probability.
    """
    labels, scores = detect_languages((text, text.lower()))
    return labels[0] if labels[0] == labels[1] and min(scores) >= 0.5 else None


class _Maker:
    """Making pages one after another; keep what they share: archive, pictures, truth."""

    def __init__(self, rng: random.Random, archive: Archive, num_pages: int) -> None:
        self._rng = rng
        self._archive = archive
        self._pictures: list[_Picture] = []
        self._truth: list[Candidate] = []
        self._used: set[tuple[str, str]] = set()
        self._changing: set[str] = set()
        self._num_accented = 0
        # No two pages have the same date, so that the oldest copy of a candidate is one page's.
        minutes = rng.sample(range(_CRAWL_MINUTES), num_pages)
        self._dates = [_FIRST_DATE + timedelta(minutes=minute) for minute in minutes]

    def make(self) -> tuple[Candidate, ...]:
        """Fill the archive; return the truth about it, by date of page."""
        oddities: list[Callable[[_Draft], None]] = [
            self._add_copy,
            self._add_short,
            self._add_foreign,
            self._add_accented,
            self._add_unwanted,
            self._add_noisy,
            self._add_invalid,
            self._add_silent,
        ]
        if self._archive.keeps_captures:
            oddities.append(self._add_changing)
        oddities += [partial(self._add_broken, name=name) for name in self._archive.broken]
        num_odd = 0
        for number, date in enumerate(self._dates):
            draft = self._draft(number, date)
            todo: list[Callable[[_Draft], None]] = [self._add_new] * _NEW_PICTURES
            todo += [self._add_seen] * _SEEN_PICTURES
            if draft.opt_out is not None:
                todo += [self._add_copy] * 2
            else:
                todo += [oddities[(num_odd + i) % len(oddities)] for i in range(_ODDITIES)]
                num_odd += _ODDITIES
            self._rng.shuffle(todo)
            for add in todo:
                add(draft)
            self._publish(draft)
        return self._settled()

    # Pages

    def _draft(self, number: int, date: datetime) -> _Draft:
        hosts = self._archive.hosts
        folder = ("", "album/", "news/2024/")[number % 3]
        bases = {1: "/pictures/", 3: f"{self._archive.cdn}/2024/", 6: "../"}
        return _Draft(
            number=number,
            url=f"{hosts[number % len(hosts)]}/{folder}page-{number}.html",
            date=date,
            base=bases.get(number % 8),
            opt_out=OPT_OUTS[number // 7 % len(OPT_OUTS)] if number % 7 == 6 else None,
            licence=LICENCES[number % len(LICENCES)],
        )

    def _publish(self, draft: _Draft) -> None:
        number = draft.number
        signals = () if draft.opt_out is None else (draft.opt_out,)
        if draft.opt_out is None and number % 3 == 2:
            signals = (NO_OPT_OUTS[number // 3 % len(NO_OPT_OUTS)],)
        page = WebPage(
            url=draft.url,
            date=draft.date,
            title=f"Page {number} of the little web – très joli",
            base=draft.base,
            images=tuple(draft.images),
            licence=draft.licence,
            signals=signals,
            charset=CHARSETS[number % len(CHARSETS)],
            transfer=TRANSFERS[(number + number // len(TRANSFERS)) % len(TRANSFERS)],
            with_entities=number % 5 == 0,
        )
        self._archive.add(page.answer())

    # What stands on pages

    def _add_new(self, draft: _Draft) -> None:
        picture = self._new_picture(draft)
        self._pictures.append(picture)
        self._add_text(draft, picture)

    def _add_seen(self, draft: _Draft) -> None:
        if self._pictures:
            self._add_text(draft, self._rng.choice(self._pictures))

    def _add_text(self, draft: _Draft, picture: _Picture) -> None:
        rng, scene = self._rng, picture.scene
        kind = rng.choices([name for name, _ in KINDS], [share for _, share in KINDS])[0]
        match kind:
            case "true":
                text = self._english(picture, lambda: caption(scene, rng))
            case "hard":
                attribute = rng.choice(HARD_ATTRIBUTES)
                kind = f"hard:{attribute}"
                text = self._english(picture, lambda: hard_negative(scene, rng, attribute))
            case "unrelated":
                text = self._english(picture, lambda: unrelated_caption(scene, rng))
            case _:
                text = self._english(picture, lambda: junk_text(rng))
        self._add(draft, picture, text, kind)

    def _add_copy(self, draft: _Draft) -> None:
        """Repeat an earlier candidate, of this page or another."""
        settled = (SAMPLE, Drop.SIMILARITY)
        known = [
            old
            for old in self._truth
            if old.uid and old.fate in settled and old.url not in self._changing
        ]
        if known:
            old = self._rng.choice(known)
            draft.images.append(Img(self._written(draft, old.url), old.text))
            fate = old.fate if draft.opt_out is None else Drop.OPTED_OUT_PAGE
            self._note(draft, replace(old, fate=fate))

    def _add_short(self, draft: _Draft) -> None:
        alt = self._rng.choice(SHORT)
        url = self._seen_url(draft)
        draft.images.append(Img(self._written(draft, url), alt))
        self._note_dropped(draft, url, " ".join(alt.split()), "short", Drop.TEXT_TOO_SHORT)

    def _add_foreign(self, draft: _Draft) -> None:
        text = self._rng.choice(FOREIGN)
        url = self._seen_url(draft)
        draft.images.append(Img(self._written(draft, url), text))
        self._note_dropped(draft, url, text, "foreign", Drop.LANGUAGE)

    def _add_unwanted(self, draft: _Draft) -> None:
        self._add_no_url(draft, self._rng.choice(UNWANTED), Drop.URL_UNWANTED)

    def _add_invalid(self, draft: _Draft) -> None:
        self._add_no_url(draft, self._rng.choice(INVALID), Drop.URL_INVALID)

    def _add_no_url(self, draft: _Draft, src: str, reason: Drop) -> None:
        text = "a picture that is not worth a look"
        draft.images.append(Img(src, text))
        self._note_dropped(draft, src, text, "junk", reason)

    def _add_silent(self, draft: _Draft) -> None:
        """Show a picture without a text: no candidate."""
        src = self._written(draft, self._seen_url(draft))
        draft.images.append(Img(src, self._rng.choice((None, "", " ", "\u00a0"))))

    def _add_noisy(self, draft: _Draft) -> None:
        """Write a true text as careless authors and editors do."""
        picture = self._new_picture(draft)
        text = self._english(picture, lambda: caption(picture.scene, self._rng))
        first, _, rest = text.partition(" ")
        noisy = self._rng.choice(
            (
                f"{first}\u00a0{rest}",
                f"\n    {first}\n    {rest}  ",
                f"\u200e{text}\u200e",
                f"{first}\t {rest}",
                f"{first}&nbsp;{rest}",  # escaped twice once it is in the page
            )
        )
        self._add(draft, picture, text, "true", alt=noisy)

    def _add_accented(self, draft: _Draft) -> None:
        picture = self._new_picture(draft)
        text = self._rng.choice(ACCENTED)
        # Every other one was decoded by the wrong charset before it came into the page.
        self._num_accented += 1
        alt = text.encode().decode("windows-1252") if self._num_accented % 2 else text
        self._add(draft, picture, text, "accented", alt=alt)

    def _add_changing(self, draft: _Draft) -> None:
        """Show a URL whose picture changed between captures: the one nearest in time counts."""
        rng = self._rng
        now = self._new_picture(draft)
        self._changing.add(now.url)
        for days in (-2, 2):
            then = self._unlike(now.scene)
            body = image_files.encode(draw(then, rng, 256, 256), "jpeg")
            date = draft.date + timedelta(days=days)
            self._archive.answer(now.url, date, 200, body, JPEG)
            text = self._english(now, lambda then=then: caption(then, rng, with_background=True))
            self._add(draft, now, text, "unrelated")
        self._add(draft, now, self._english(now, lambda: caption(now.scene, rng)), "true")

    def _add_broken(self, draft: _Draft, name: str) -> None:
        rng = self._rng
        scene = random_scene(rng, held_out=True)
        drawn = draw(scene, rng, 256, 256)
        url = self._archive.hold_broken(draft.url, draft.date, drawn, name)
        picture = _Picture(url, scene, fate=self._archive.broken[name])
        self._add(draft, picture, self._english(picture, lambda: caption(scene, rng)), "true")

    def _add(
        self, draft: _Draft, picture: _Picture, text: str, kind: str, *, alt: str | None = None
    ) -> None:
        """Put a picture with a text on the page; `alt` is how the text stands in the source."""
        draft.images.append(Img(self._written(draft, picture.url), text if alt is None else alt))
        fate = picture.fate
        if draft.opt_out is not None:
            fate = Drop.OPTED_OUT_PAGE
        elif fate == SAMPLE and kind != "true":
            fate = Drop.SIMILARITY
        uid = uid_hex(picture.url, text)
        candidate = Candidate(
            "",
            "",
            0,
            picture.url,
            text,
            uid,
            kind,
            fate,
            width_px=picture.width_px,
            height_px=picture.height_px,
            encoding=picture.encoding,
            sha256=picture.sha256,
        )
        self._note(draft, candidate)

    def _note_dropped(self, draft: _Draft, url: str, text: str, kind: str, reason: Drop) -> None:
        self._note(draft, Candidate("", "", 0, url, text, "", kind, reason))

    def _note(self, draft: _Draft, candidate: Candidate) -> None:
        """Note the truth about the page's newest picture."""
        opt_out, licence = draft.opt_out, draft.licence
        self._truth.append(
            replace(
                candidate,
                page_url=draft.url,
                page_date=draft.date.isoformat(),
                position=len(draft.images) - 1,
                opt_out=None if opt_out is None else opt_out.signal,
                license_id=None if licence is None else licence.spdx,
                license_where=None if licence is None else licence.where,
            )
        )

    def _settled(self) -> tuple[Candidate, ...]:
        """Return the truth by date, after the oldest of equal candidates was chosen."""
        self._truth.sort(key=lambda candidate: (candidate.page_date, candidate.position))
        copies: dict[str, list[Candidate]] = defaultdict(list)
        for candidate in self._truth:
            copies[candidate.uid].append(candidate)
        settled: list[Candidate] = []
        for candidate in self._truth:
            equal = copies[candidate.uid]
            if candidate.uid and candidate is not equal[0]:
                candidate = replace(candidate, fate=Drop.DUPLICATE, copies=0)
            elif candidate.uid:
                signal = min((copy.opt_out for copy in equal if copy.opt_out), default=None)
                fate = candidate.fate if signal is None else Drop.OPTED_OUT_PAGE
                candidate = replace(candidate, fate=fate, copies=len(equal), opt_out=signal)
            settled.append(replace(candidate, fate=str(candidate.fate)))
        return tuple(settled)

    # Texts

    def _english(self, picture: _Picture, write: Callable[[], str]) -> str:
        """Return a text that is clearly English, and new beside this picture."""
        while True:
            text = write()
            if (picture.url, text) not in self._used and clear_language(text) == "en":
                self._used.add((picture.url, text))
                return text

    def _unlike(self, scene: Scene) -> Scene:
        while True:
            other = random_scene(self._rng, held_out=True)
            if all(getattr(other, name) != getattr(scene, name) for name in HARD_ATTRIBUTES):
                return other

    # Pictures and their URLs

    def _new_picture(self, draft: _Draft) -> _Picture:
        rng, number = self._rng, len(self._pictures)
        encodings = image_files.ENCODINGS
        encoding = encodings[number // 4 % len(encodings)] if number % 4 == 3 else "jpeg"
        hues = {"black", "white", "gray"}
        while True:
            scene = random_scene(rng, held_out=True)
            if encoding == "png-gray-16-bit" and not {scene.colour, scene.background} <= hues:
                continue
            if encoding == "png-clear-white" and scene.background != "white":
                continue
            break
        width_px, height_px = rng.choice(_SIZES_PX)
        drawn = draw(scene, rng, width_px, height_px)
        body = image_files.encode(drawn, encoding, orientation=2 + number % 7)
        kind = f"image/{encoding.partition('-')[0]}"
        ways = self._archive.ways
        way = ways[number // 6 % len(ways)] if number % 6 == 5 else "plain"
        url = self._archive.hold(draft.url, draft.date, body, kind, way)
        sha256 = hashlib.sha256(body).hexdigest()
        return _Picture(url, scene, width_px, height_px, encoding, sha256)

    def _seen_url(self, draft: _Draft) -> str:
        """Return the URL of some sound picture."""
        if not self._pictures:
            self._pictures.append(self._new_picture(draft))
        return self._rng.choice(self._pictures).url

    def _written(self, draft: _Draft, url: str) -> str:
        """Return one of the ways in which the page may write a URL."""
        here = urlsplit(draft.url if draft.base is None else urljoin(draft.url, draft.base))
        there = urlsplit(url)
        query = f"?{there.query}" if there.query else ""
        ways = [url, f"{url}#main", f" {url}\n"]
        if there.hostname == _UNICODE_HOST[0]:
            ways.append(url.replace(*_UNICODE_HOST))
        if here.scheme == there.scheme:
            ways.append(url.partition(":")[2])
            if here.netloc == there.netloc:
                relative = posixpath.relpath(there.path, posixpath.dirname(here.path))
                ways += [there.path + query, relative + query, f"./{relative}{query}"]
                ways += [unquote(relative) + query] * 2
        return self._rng.choice(ways)
