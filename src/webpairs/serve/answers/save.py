"""Handing out samples that were picked as a file: what to leave out, or what to look at again."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from webpairs.search.result import Hit
from webpairs.serve.limits.refusal import to_json

COLUMNS: Final = ("key", "uid", "url", "caption")
_TYPES: Final = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "txt": "text/plain; charset=utf-8",
}
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def saved(name: str, hits: Sequence[Hit], form: str) -> Response:
    """Return samples as a file to download."""
    rows = [
        (hit.key, hit.uid or "", hit.columns.get("url", ""), hit.columns.get("caption", ""))
        for hit in hits
    ]
    stem = "".join(one if one.isascii() and (one.isalnum() or one in "-_") else "-" for one in name)
    headers = {"content-disposition": f'attachment; filename="{stem}-samples.{form}"'}
    return Response(_WRITERS[form](rows), headers=headers, media_type=_TYPES[form])


def _csv(rows: Sequence[Sequence[Any]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_no_formula(str(one)) for one in row] for row in rows)
    return out.getvalue()


def _no_formula(text: str) -> str:
    """Return a text that spreadsheets do not run (OWASP, CSV Injection)."""
    return "'" + text if text.startswith(_FORMULA) else text


def _jsonl(rows: Sequence[Sequence[Any]]) -> bytes:
    return b"".join(to_json(dict(zip(COLUMNS, row, strict=True))) + b"\n" for row in rows)


def _txt(rows: Sequence[Sequence[Any]]) -> str:
    return "".join(f"{row[0]}\n" for row in rows)


_WRITERS: Final[dict[str, Any]] = {"csv": _csv, "jsonl": _jsonl, "txt": _txt}
