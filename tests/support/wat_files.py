"""Draw WAT files in the layout of Common Crawl's, with a known truth.

Layout, order of fields and records as in real files: ia-web-commons 1.1.10 of 2024 (three records a
page: request, response, metadata; one gzip member a record) and, by `old=True`, 1.0 of 2014
(`Links` before `Head`, members of a link in alphabetical order). Everything follows from the seed.
The benchmark draws its file here too; sizes of texts and the mix of links are those of the real
CC-MAIN-2022-40 that cc2dataset's tests describe (18 images a page, 55 % with an alt text).
"""

from __future__ import annotations

import gzip
import json
import random
import zlib
from dataclasses import dataclass, field
from typing import Any

FILE = "CC-MAIN-20240517233122-20240518023122-00000.warc.gz"
CC_BY = "https://creativecommons.org/licenses/by/4.0/"

_VOWELS = "aeiou"
_SYLLABLES = [a + b for a in "klmtrnsdpbwfg" for b in _VOWELS] + [
    b + a for a in "nrs" for b in _VOWELS
]
_CJK = "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学"
_CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюя"
_EXTENSIONS = ["jpg"] * 12 + ["png"] * 4 + ["webp"] * 2 + ["gif", "svg"]


@dataclass
class Truth:
    """Count what a right reader finds."""

    records: int = 1
    pages: int = 0
    images: int = 0
    with_alt: int = 0
    """Images with a non-empty alt text."""
    broken: int = 0
    """Records whose JSON is cut; their images are not counted above."""
    pairs: list[tuple[str, str, str, str | None, int]] = field(default_factory=list)
    """Page, source, alt, base and position of each image with an alt text."""


def draw_wat(
    num_pages: int, seed: int = 1, *, old: bool = False, share_broken: float = 0.002, level: int = 6
) -> tuple[bytes, Truth]:
    """Return a gzip-compressed WAT of `num_pages` pages and what is in it."""
    random_ = random.Random(f"wat {seed}")
    words = {
        "latin": [_word(random_) for _ in range(3000)],
        "cjk": ["".join(random_.choices(_CJK, k=random_.randint(1, 4))) for _ in range(2000)],
        "cyrillic": [
            "".join(random_.choices(_CYRILLIC, k=random_.randint(2, 9))) for _ in range(2000)
        ],
    }
    truth = Truth()
    members = [_member(_warcinfo(), level)]
    for number in range(num_pages):
        for record in _page_records(random_, words, number, truth, old, share_broken):
            members.append(_member(record, level))
            truth.records += 1
    return b"".join(members), truth


def plain(wat: bytes) -> bytes:
    """Return a WAT without its compression."""
    return gzip.decompress(wat)


def record(body: dict[str, Any] | bytes, uri: str = "http://a.example/") -> bytes:
    """Return a WAT record around a JSON body."""
    raw = body if isinstance(body, bytes) else _json(body).encode()
    header = (
        f"WARC/1.0\r\nWARC-Type: metadata\r\nWARC-Target-URI: {uri}\r\n"
        "WARC-Date: 2024-05-31T01:17:49Z\r\n"
        "WARC-Record-ID: <urn:uuid:3d3f4785-c69a-4f8c-968c-d23302c55ef4>\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    return header.encode() + raw + b"\r\n\r\n"


def response(
    uri: str,
    links: list[dict[str, Any]] | None,
    head: dict[str, Any] | None = None,
    headers: dict[str, Any] | None = None,
    *,
    old: bool = False,
    offset: int = 4711,
) -> dict[str, Any]:
    """Return the JSON of a page's record; `links` of None makes a page without any."""
    head = {"Title": "a page"} if head is None else head
    html: dict[str, Any] = {"Head": head}
    if links is not None:
        html = {"Links": links, "Head": head} if old else {"Head": head, "Links": links}
        if old:
            html["Links"] = [dict(sorted(link.items())) for link in links]
    answer = {
        "Response-Message": {"Version": "HTTP/1.1", "Status": "200", "Reason": "OK"},
        "Headers-Length": "313",
        "Headers": {"Content-Type": "text/html; charset=UTF-8"} if headers is None else headers,
        "HTML-Metadata": html,
        "Entity-Length": "12345",
        "Entity-Digest": "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ",
        "Entity-Trailing-Slop-Length": "0",
    }
    return _envelope(uri, "response", "HTTP-Response-Metadata", answer, offset)


def image(src: str, alt: str | None = None, **others: str) -> dict[str, Any]:
    """Return an image among a page's links."""
    return {"path": "IMG@/src", "url": src} | ({} if alt is None else {"alt": alt}) | others


def _envelope(
    uri: str, kind: str, key: str, payload: dict[str, Any], offset: int
) -> dict[str, Any]:
    return {
        "Container": {
            "Filename": FILE,
            "Compressed": True,
            "Offset": str(offset),
            "Gzip-Metadata": {"Deflate-Length": "423", "Header-Length": "10", "Footer-Length": "8"},
        },
        "Envelope": {
            "Payload-Metadata": {
                "Actual-Content-Type": f"application/http; msgtype={kind}",
                key: payload,
                "Actual-Content-Length": "12658",
                "Block-Digest": "sha1:IE7NEN3QEJHUCYRRGVMHDDW3BEHFRQ6V",
            },
            "Format": "WARC/1.0",
            "WARC-Header-Length": "640",
            "WARC-Header-Metadata": {
                "WARC-Type": kind,
                "WARC-Date": "2024-05-18T01:58:10Z",
                "WARC-Record-ID": "<urn:uuid:292f457d-203c-42f2-a1b5-69a4dabefd4f>",
                "Content-Length": "12658",
                "Content-Type": f"application/http; msgtype={kind}",
                "WARC-IP-Address": "208.80.154.224",
                "WARC-Target-URI": uri,
                "WARC-Payload-Digest": "sha1:4RUZFQLEBLD46HZUN3VDGDW5FRMAHDDM",
                "WARC-Identified-Payload-Type": "text/html",
            },
        },
    }


def _page_records(
    random_: random.Random,
    words: dict[str, list[str]],
    number: int,
    truth: Truth,
    old: bool,
    share_broken: float,
) -> list[bytes]:
    latin = words["latin"]
    script = random_.choices(list(words.values()), [65, 18, 17])[0]
    vocabulary = random_.choices(script, k=120)

    def text(most: int) -> str:
        return " ".join(random_.choices(vocabulary, k=random_.randint(1, most)))

    def slug(most: int) -> str:
        return "-".join(random_.choices(latin, k=random_.randint(1, most)))

    root = f"https://www.{random_.choice(latin)}{number}.com"
    uri = f"{root}/{slug(4)}/{slug(3)}.html"
    links: list[dict[str, Any]] = []
    for _ in range(min(900, int(random_.lognormvariate(4.5, 0.9)))):
        target = random_.choice([f"/{slug(4)}", f"{root}/{slug(2)}/{slug(6)}", f"#{slug(1)}"])
        links.append({"path": "A@/href", "url": target, "text": text(8)})
        if random_.random() < 0.1:
            links[-1] |= {"title": text(4), "rel": "nofollow"}
    share_alt = random_.choice([0.1, 0.4, 0.6, 0.7, 0.9])
    for _ in range(min(600, int(random_.lognormvariate(2.35, 1.05)))):
        src = _source(random_, slug, root)
        alt = text(12) if random_.random() < share_alt else random_.choice([None, ""])
        links.append(image(src, alt))
        if random_.random() < 0.1:
            links[-1]["title"] = text(3)
    random_.shuffle(links)
    head: dict[str, Any] = {
        "Title": text(12),
        "Metas": [
            {"name": "viewport", "content": "width=device-width, initial-scale=1"},
            {"name": "description", "content": text(30)},
            {"property": "og:title", "content": text(6)},
        ],
        "Link": [
            {"path": "LINK@/href", "url": f"{root}/assets/{slug(2)}.css", "rel": "stylesheet"}
            for _ in range(random_.randint(1, 14))
        ],
        "Scripts": [
            {"path": "SCRIPT@/src", "url": f"{root}/js/{slug(2)}.min.js", "type": "text/javascript"}
            for _ in range(random_.randint(1, 16))
        ],
    }
    base = f"{root}/{slug(1)}/" if random_.random() < 0.03 else None
    if base is not None:
        head["Base"] = base
    kind = random_.random()
    request = _envelope(
        uri, "request", "HTTP-Request-Metadata", {"Headers": {"Host": root}}, number
    )
    fetched = _envelope(uri, "metadata", "WARC-Metadata-Metadata", {"Metadata-Records": []}, number)
    if kind < 0.02:  # no HTML
        page = response(uri, None, offset=number)
        del page["Envelope"]["Payload-Metadata"]["HTTP-Response-Metadata"]["HTML-Metadata"]
    elif kind < 0.03:
        page = response(uri, None, head, offset=number)
        truth.pages += 1
    else:
        page = response(uri, links, head, offset=number, old=old)
        if random_.random() < share_broken:
            truth.broken += 1
            # Cut inside a string, so that no reader can take the rest for whole.
            raw = _json(page).encode()
            cut = raw.rindex(b'"text":"', 0, len(raw) // 2) + 9
            return [record(request, uri), record(raw[:cut], uri), record(fetched, uri)]
        truth.pages += 1
        images = [link for link in links if link["path"] == "IMG@/src"]
        truth.images += len(images)
        for position, found in enumerate(images):
            if found.get("alt"):
                truth.with_alt += 1
                truth.pairs.append((uri, found["url"], found["alt"], base, position))
    return [record(request, uri), record(page, uri), record(fetched, uri)]


def _source(random_: random.Random, slug: Any, root: str) -> str:
    name = f"{slug(4)}-{random_.randint(1, 9999)}.{random_.choice(_EXTENSIONS)}"
    folder = f"wp-content/uploads/2024/{random_.randint(1, 12):02d}"
    return random_.choices(
        [
            f"{root}/{folder}/{name}",
            f"https://cdn.{slug(1)}.net/{folder}/{name}?w=300&q=80",
            f"/{folder}/{name}",
            f"{folder}/{name}",
            f"//cdn.{slug(1)}.net/{name}",
            "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
            f"http://[bad/{name}",
            f"/{folder}/{{{{size}}}}/{name}",  # a template that was never filled in
            f'/{folder}/"quoted"\\{name}',
        ],
        [40, 22, 20, 6, 6, 4.5, 0.1, 0.2, 0.2],
    )[0]


def _warcinfo() -> bytes:
    body = b"Software-Info: ia-web-commons.1.1.10-SNAPSHOT-20240513074037\r\n\r\n"
    header = (
        "WARC/1.0\r\nWARC-Type: warcinfo\r\nWARC-Date: 2024-05-31T01:16:45Z\r\n"
        "Content-Type: application/warc-fields\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return header.encode() + body + b"\r\n\r\n"


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _word(random_: random.Random) -> str:
    return "".join(random_.choices(_SYLLABLES, k=random_.choice([1, 2, 2, 3, 3, 4])))


def _member(data: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, 31)
    return packer.compress(data) + packer.flush()
