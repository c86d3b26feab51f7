"""Every fact of one sample, sorted by the questions that people ask."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from webpairs.dataset.features import raw_name
from webpairs.run_folder.schema import METADATA
from webpairs.search.result import Hit
from webpairs.serve.answers.find import picture_path
from webpairs.serve.collection import Served
from webpairs.serve.limits.refusal import UNKNOWN, Refusal
from webpairs.serve.options import ServeOptions

_TIMESTAMP: Final = "%Y%m%d%H%M%S"
"""Of replay URLs: 14 digits, as the Internet Archive's Wayback Machine has them."""
_GROUPS: Final[Mapping[str, str]] = {
    "Scores": "similarity similarity_given NSFW nsfw nsfw_score tags punsafe language "
    "language_score copies texts_per_image",
    "Where it was found": "page_url crawl_file crawl_offset crawl_date text_source image_source "
    "text_given TEXT text caption",
    "Where the picture came from": "URL url url_given final_url http_status fetch_date image_file "
    "image_offset",
    "Licence and permissions": "LICENSE license license_id license_where opt_out permissions",
    "Picture": "WIDTH HEIGHT original_width original_height width height format bytes "
    "stored_width stored_height",
    "Ids and hashes": "key uid SAMPLE_ID sha256 stored_sha256",
}
"""Columns by the question they answer; names as sources spell them."""
_OTHERS: Final = "Other columns"
_TITLES: Final = {
    "similarity": "Similarity of caption and picture",
    "similarity_given": "Similarity in the table",
    "NSFW": "NSFW tag",
    "nsfw": "NSFW tag",
    "nsfw_score": "NSFW score",
    "copies": "Times found",
    "texts_per_image": "Texts of this picture",
    "page_url": "Page",
    "crawl_file": "Crawl file",
    "crawl_offset": "Offset in it",
    "crawl_date": "Captured",
    "text_source": "Caption taken from",
    "image_source": "Picture taken from",
    "TEXT": "Caption",
    "URL": "Picture's URL",
    "url": "Picture's URL",
    "final_url": "URL after redirects",
    "http_status": "HTTP status",
    "fetch_date": "Fetched or captured",
    "image_file": "Crawl file of the picture",
    "image_offset": "Offset in it",
    "LICENSE": "Licence as written",
    "license": "Licence as written",
    "license_id": "Licence",
    "license_where": "Licence stood in",
    "opt_out": "Opt-out that was overruled",
    "permissions": "What the site was asked",
    "bytes": "Bytes as received",
    "SAMPLE_ID": "Sample id",
    "uid": "Uid",
    "sha256": "SHA-256 as received",
    "stored_sha256": "SHA-256 as stored",
}
_MEANINGS: Final = {column.name: column.meaning for column in METADATA}


def describe_rows(
    served: Served, rows: Sequence[int], options: ServeOptions
) -> list[dict[str, Any]]:
    """Return the facts of samples, every column in one group, and where links lead.

    Raises Refusal when the shard of one cannot be read.
    """
    hits = served.searcher.hits(np.array(rows, np.int64), None, served.columns)
    if missing := [*set(rows).difference(hit.row for hit in hits)]:
        message = f"the metadata of sample {missing[0]} of {served.name} cannot be read"
        raise Refusal(UNKNOWN, message)
    return [_describe(served, hit, options) for hit in hits]


def _describe(served: Served, hit: Hit, options: ServeOptions) -> dict[str, Any]:
    columns = {**hit.columns, "key": hit.key}
    if hit.uid is not None:
        columns["uid"] = hit.uid

    whole = {name: value for name, value in columns.items() if name not in hit.cut}
    caption = columns.get(raw_name("caption", served.columns) or "")
    return {
        "dataset": served.name,
        "row": hit.row,
        "key": hit.key,
        "uid": hit.uid,
        "caption": str(caption or ""),
        "image": picture_path(served, hit.key) if served.has_images else None,
        "cut": list(hit.cut),
        "links": _links(
            whole, whole.get(raw_name("url", served.columns) or ""), options.replay_url
        ),
        "groups": _groups(columns),
    }


def _groups(columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    groups: dict[str, Iterable[str]] = {title: names.split() for title, names in _GROUPS.items()}
    grouped = {name for names in groups.values() for name in names}
    groups[_OTHERS] = [name for name in columns if name not in grouped]
    return [
        {"title": title, "facts": facts}
        for title, names in groups.items()
        if (facts := [_fact(name, columns[name]) for name in names if name in columns])
    ]


def _fact(name: str, value: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": _TITLES.get(name, name.replace("_", " ").capitalize()),
        "meaning": _MEANINGS.get(name),
        "value": value,
        "text": _text(value),
    }


def _text(value: Any) -> str:
    """Return a value as people read it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S") + (" UTC" if value.tzinfo else "")
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "–"
    if isinstance(value, dict):
        return " ".join(map(_text, value.values()))
    return str(value)


def _links(columns: Mapping[str, Any], url: Any, replay: str | None) -> list[dict[str, str]]:
    """Return where a sample came from: pages and pictures, live and as an archive replays them."""
    page, captured = columns.get("page_url"), columns.get("crawl_date")
    picture, fetched = columns.get("final_url") or url, columns.get("fetch_date")
    links = [("Page", page), ("Picture", url)]
    if replay is not None:
        links.append(("Page in the archive", _replayed(replay, page, captured)))
        links.append(("Picture in the archive", _replayed(replay, picture, fetched or captured)))
    return [{"title": title, "url": str(one)} for title, one in links if _is_link(one)]


def _replayed(template: str, url: Any, date: Any) -> str | None:
    if not _is_link(url):
        return None
    timestamp = date.strftime(_TIMESTAMP) if isinstance(date, datetime) else "2"
    return template.replace("{timestamp}", timestamp).replace("{url}", str(url))


def _is_link(url: Any) -> bool:
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
