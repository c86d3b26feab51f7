"""Find, without any of webpairs' code, what a build from an archive must come to.

    python tests/support/independent.py FILE.warc.gz...   prints counts, then samples as JSON lines

warcio reads the records, lxml (libxml2) the pages, Pillow the pictures. Written to be read, not to
be fast: everything is held in memory. It does what `webpairs build FILE... --images archive
--languages any --threshold -1` does by its rules for `<img src alt>`, and is simpler where that
makes no difference on the crawls it is used with:

- an alt text is cleaned by collapsing white space, no more (no mojibake, no NFC, no controls);
- a URL is joined by `urllib.parse.urljoin`; what browsers percent-encode in a path and a query is
  encoded, hosts are lower-cased and default ports cut; nothing else of the URL standard;
- a page is read in the charset of its header, else its `<meta>`, else UTF-8, else Latin-1;
- of the picture only the kind, the number of bytes, the pixels and the hash are told.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import sys
import warnings
import zlib
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import lxml.html
from PIL import Image, ImageOps
from warcio.archiveiterator import ArchiveIterator

MIN_TEXT_CHARS = 5
MIN_IMAGE_BYTES = 5_000
FORMATS = ("JPEG", "PNG", "WEBP")
REDIRECTS = (301, 302, 303, 307, 308)
UNWANTED = (".svg", ".svgz", ".gif", ".ico")


@dataclass(frozen=True)
class Sample:
    """A candidate whose picture is in the archive."""

    url: str
    text: str
    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class Capture:
    url: str
    date: datetime
    status: int
    kind: str
    location: str | None
    digest: str | None
    refers_to: tuple[str, str] | None
    body: bytes


@dataclass
class Found:
    """What the files hold: distinct (url, text), and the distinct samples among them."""

    pages: int = 0
    rows: int = 0
    """Candidates before duplicates are taken out."""
    candidates: set[tuple[str, str]] = field(default_factory=set)
    archived: set[tuple[str, str]] = field(default_factory=set)
    """Those whose URL was answered with 200 by anything."""
    samples: list[Sample] = field(default_factory=list)


def expect(paths: list[Path]) -> Found:
    """Return the candidates and samples of these files, taken together as one archive."""
    found = Found()
    captures: list[Capture] = []
    asked: dict[tuple[str, str], datetime] = {}
    for path in paths:
        for page, pairs in read_file(path, captures):
            found.pages += 1
            found.rows += len(pairs)
            for pair in pairs:
                asked[pair] = min(asked.get(pair, page), page)
    found.candidates = set(asked)
    archive = Archive(captures)
    for (url, text), date in sorted(asked.items()):
        capture = archive.find(url, date)
        if capture is None:
            continue
        found.archived.add((url, text))
        size = picture_size(capture.body)
        if size is not None:
            sha256 = hashlib.sha256(capture.body).hexdigest()
            found.samples.append(Sample(url, text, *size, sha256))
    return found


def read_file(path: Path, captures: list[Capture]):
    """Add the file's captures, yield (date, [(url, text)]) of each page."""
    with path.open("rb") as file:
        for record in ArchiveIterator(file):
            if record.rec_type not in ("response", "revisit", "resource"):
                continue
            url = (record.rec_headers.get_header("WARC-Target-URI") or "").strip("<>")
            if not url.lower().startswith(("http://", "https://")):
                continue
            date = parse_date(record.rec_headers.get_header("WARC-Date"))
            http = record.http_headers
            status = 200
            if http is not None:
                status = int(http.get_statuscode())
            body = decode(record.raw_stream.read(), http)
            location = http.get_header("Location") if http and status in REDIRECTS else None
            refers_to = record.rec_headers.get_header("WARC-Refers-To-Target-URI")
            captures.append(
                Capture(
                    url=normalise(url),
                    date=date,
                    status=status,
                    kind=record.rec_type,
                    location=normalise(urljoin(url, location)) if location else None,
                    digest=record.rec_headers.get_header("WARC-Payload-Digest"),
                    refers_to=(
                        normalise(refers_to.strip("<>")),
                        record.rec_headers.get_header("WARC-Refers-To-Date") or "",
                    )
                    if refers_to
                    else None,
                    body=body,
                )
            )
            kind = (http.get_header("Content-Type") or "") if http else ""
            if record.rec_type == "response" and status == 200 and "html" in kind.lower():
                yield date, list(read_page(body, url, kind))


def read_page(body: bytes, url: str, kind: str):
    """Yield (url, text) of each `<img>` with a source and a text that are worth a candidate."""
    if not body.strip():
        return
    charset = re.search(rb"charset=[\"']?([\w-]+)", kind.encode() + b" " + body[:4096], re.I)
    encoding = charset[1].decode() if charset else "utf-8"
    try:
        text = body.decode(encoding, "strict" if charset is None else "replace")
    except (LookupError, UnicodeDecodeError):
        text = body.decode("latin-1")
    # As text: libxml2 would believe an XML declaration, which HTML does not know.
    text = re.sub(r"^\s*<\?xml[^>]*>", "", text.replace("\0", ""))
    document = lxml.html.document_fromstring(text)
    bases = document.xpath("//base[@href]/@href")
    base = urljoin(url, bases[0].strip()) if bases else url
    for image in document.iter("img"):
        alt = " ".join(image.get("alt", "").split())
        source = image.get("src", "").strip()
        if len(alt) < MIN_TEXT_CHARS or not source:
            continue
        scheme = re.match(r"([a-zA-Z][a-zA-Z0-9+.-]*):", source)
        if scheme and scheme[1].lower() not in ("http", "https"):
            continue
        joined = normalise(urljoin(base, source))
        if urlsplit(joined).path.lower().endswith(UNWANTED):
            continue
        yield joined, alt


def normalise(url: str) -> str:
    """Write a URL as browsers serialise it, as far as the module's docstring says."""
    parts = urlsplit(url.strip())
    host = parts.netloc.lower()
    for scheme, port in (("http", ":80"), ("https", ":443")):
        if parts.scheme == scheme and host.endswith(port):
            host = host.removesuffix(port)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._[]|\\^")
    query = quote(parts.query, safe="/%:@!$&()*+,;=~-._?[]|\\^`{}")
    return urlunsplit((parts.scheme, host, path, query, ""))


def loose(url: str) -> str:
    """Return what URLs that differ in scheme or www have in common."""
    return re.sub(r"^https?://(www\d*\.)?", "", url)


def parse_date(text: str) -> datetime:
    date = datetime.fromisoformat(text)
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def decode(body: bytes, http) -> bytes:
    """Undo chunks and gzip or deflate; other codings do not occur in the crawls used."""
    if http is None:
        return body
    if "chunked" in (http.get_header("Transfer-Encoding") or "").lower():
        body = unchunk(body)
    coding = (http.get_header("Content-Encoding") or "").lower()
    if coding == "gzip" and body[:2] == b"\x1f\x8b":
        return gzip.decompress(body)
    if coding == "deflate":
        try:
            return zlib.decompress(body)
        except zlib.error:
            return zlib.decompress(body, -15)
    return body


def unchunk(body: bytes) -> bytes:
    """Join chunks; a body that does not begin with a chunk's size was stored joined."""
    stream, out = io.BytesIO(body), b""
    while line := stream.readline():
        size = re.fullmatch(rb"\s*([0-9a-fA-F]+)\s*(;.*)?\r?\n", line)
        if size is None:
            return out or body
        if not int(size[1], 16):
            break
        out += stream.read(int(size[1], 16))
        stream.readline()
    return out


class Archive:
    """Answer for a URL as it was at a time."""

    def __init__(self, captures: list[Capture]) -> None:
        self.exact: dict[str, list[Capture]] = {}
        self.loosely: dict[str, list[Capture]] = {}
        self.by_digest: dict[str, list[Capture]] = {}
        for capture in captures:
            self.exact.setdefault(capture.url, []).append(capture)
            self.loosely.setdefault(loose(capture.url), []).append(capture)
            if capture.digest and capture.kind != "revisit" and capture.status == 200:
                self.by_digest.setdefault(capture.digest, []).append(capture)

    def find(self, url: str, date: datetime, redirects_left: int = 5) -> Capture | None:
        """Return the capture that gives the picture nearest in time, or None."""
        for held, name in ((self.exact, url), (self.loosely, loose(url))):
            nearest = sorted(held.get(name, ()), key=lambda c: abs(c.date - date))
            for capture in nearest:
                if capture.location:
                    if not redirects_left:
                        return None
                    return self.find(capture.location, capture.date, redirects_left - 1)
                if capture.kind == "revisit":
                    if (original := self.original(capture)) is not None:
                        return original
                elif capture.status == 200:
                    return capture
        return None

    def original(self, revisit: Capture) -> Capture | None:
        if revisit.refers_to is not None:
            url, date = revisit.refers_to
            for capture in self.exact.get(url, ()):
                same = not date or capture.date == parse_date(date)
                if same and capture.kind != "revisit" and capture.status == 200:
                    return capture
        held = self.by_digest.get(revisit.digest or "", [])
        return min(held, key=lambda c: abs(c.date - revisit.date), default=None)


def picture_size(body: bytes) -> tuple[int, int] | None:
    """Return width and height as displayed of a picture that is whole and kept, else None."""
    if len(body) < MIN_IMAGE_BYTES:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(body)) as image:
                if image.format not in FORMATS:
                    return None
                image.load()
                return ImageOps.exif_transpose(image).size
    except Exception:
        return None


if __name__ == "__main__":
    result = expect([Path(argument) for argument in sys.argv[1:]])
    print(
        f"{result.pages} pages, {result.rows} candidates, {len(result.candidates)} distinct, "
        f"{len(result.archived)} archived, {len(result.samples)} usable",
        file=sys.stderr,
    )
    for sample in result.samples:
        print(json.dumps(asdict(sample), ensure_ascii=False))
