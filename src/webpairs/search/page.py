"""Showing results as one HTML page that needs no script, no network and no trust in what it shows.

Captions and URLs are other people's: they are escaped, each isolated from the direction of the text
around it, without characters that steer it; pictures are decoded and encoded anew.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Final

from webpairs.errors import ConfigError
from webpairs.safe_text import visible
from webpairs.search.result import Hit
from webpairs.search.thumbnail import thumbnail

SIDE_PX: Final = 256
_STYLE: Final = """
:root { color-scheme: light dark; font: 15px/1.4 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
ol { display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr));
  list-style: none; padding: 0; }
figure { margin: 0; }
img, .none { aspect-ratio: 1; background: #8882; border-radius: .4rem; object-fit: contain;
  width: 100%; }
.none { align-items: center; display: flex; justify-content: center; opacity: .6; }
figcaption { overflow-wrap: anywhere; }
small { display: block; opacity: .7; overflow-wrap: anywhere; }
"""
# Nothing is fetched and nothing runs, whatever the page holds.
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def results_page(
    title: str, hits: Sequence[Hit], pictures: Sequence[bytes | None], note: str | None = None
) -> str:
    """Return a page of results; `pictures` are encoded images, None where there is none."""
    shown = escape(visible(title))
    items = [_item(hit, picture) for hit, picture in zip(hits, pictures, strict=True)]
    said = "" if note is None else f"<p>{escape(visible(note))}</p>\n"
    count = f"{len(hits)} result" + ("" if len(hits) == 1 else "s")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="referrer" content="no-referrer">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{shown}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1><bdi>{shown}</bdi></h1>\n<p>{count}</p>\n{said}<ol>\n{''.join(items)}</ol>\n"
        "</body>\n</html>\n"
    )


def _item(hit: Hit, picture: bytes | None) -> str:
    caption = escape(visible(str(hit.columns.get("caption", ""))))
    url = visible(str(hit.columns.get("url", "")))
    similarity = "" if hit.similarity is None else f"{hit.similarity:.3f} &middot; "
    link = escape(url)
    if url.startswith(("http://", "https://")) and "url" not in hit.cut:
        link = f'<a href="{link}" rel="noopener noreferrer nofollow">{link}</a>'
    return (
        f"<li><figure>{_picture(picture, caption)}"
        f"<figcaption><bdi>{caption}</bdi>"
        f"<small>{similarity}{escape(visible(hit.key))}</small>"
        f"<small><bdi>{link}</bdi></small></figcaption></figure></li>\n"
    )


def _picture(picture: bytes | None, caption: str) -> str:
    try:
        small = None if picture is None else thumbnail(picture, SIDE_PX)
    except ConfigError:
        small = None
    if small is None:
        return '<div class="none">no picture</div>'
    data = base64.b64encode(small).decode()
    return f'<img alt="{caption}" src="data:image/jpeg;base64,{data}">'
