"""Run folders whose rows were written by somebody who means ill."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

TAGS = ("UNLIKELY", "UNLIKELY", "UNSURE", "UNLIKELY", "NSFW", "UNLIKELY")
CAPTIONS = (
    "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>",
    "\"' onmouseover=\"document.title='owned'\" x='",
    "{{ 7 * 7 }} {% include 'page.html' %} ${7 * 7}",
    "</script><script>document.title='owned'</script>",
    "turned \u202eround\u202c and \u2066left\u2069",
    "z" + "\u0301" * 200 + "algo",
    "W" * 3_000,
    "اقرأ هذا",
    "a line\nand another\x00\x1b[31m",
    '=HYPERLINK("http://evil.example","x")',
)
URLS = (
    "javascript:document.title='owned'",
    "data:text/html,<script>document.title='owned'</script>",
    'http://evil.example/" onerror="document.title=1',
)


def write_hostile(source: Path, out: Path) -> Path:
    """Copy a run folder; its first rows get hostile captions and URLs, all of them NSFW tags."""
    shutil.copytree(source, out)
    number = 0
    for path in sorted((out / "metadata").glob("*.parquet")):
        table = pq.read_table(path)
        rows = table.to_pylist()
        for row in rows:
            row["NSFW"] = TAGS[number % len(TAGS)]
            if number < len(CAPTIONS):
                row["TEXT"] = CAPTIONS[number]
            if number < len(URLS):
                row["URL"] = row["page_url"] = row["final_url"] = URLS[number]
            if number == 8:
                row["similarity"] = float("nan")
            number += 1
        pq.write_table(pa.Table.from_pylist(rows, table.schema), path)
    return out
