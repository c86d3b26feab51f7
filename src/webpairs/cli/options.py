"""Options that several verbs share: their names, units and help."""

from __future__ import annotations

from typing import Annotated, Final

import typer

CANDIDATES: Final = "Which candidates"
IMAGES: Final = "Which images, and how they are stored"
JUDGE: Final = "Who judges"
WEB: Final = "The web (may change its answers, so the dataset; remembered)"
MACHINE: Final = "The machine (never changes the dataset)"
SHARDS: Final = "Order and shards"

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...",
        help="WARC or WAT files, or tables of URLs and texts (parquet, csv, tsv, jsonl, txt); "
        "folders, globs and fsspec URLs of them; recognised by content.",
        show_default=False,
    ),
]
Out = Annotated[
    str, typer.Option("--out", metavar="DIR", help="Folder to write to.", show_default=False)
]
RecipeName = Annotated[
    str,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="Rules of the dataset: laion400m, download, or a TOML file of your own.",
        rich_help_panel=CANDIDATES,
    ),
]
Languages = Annotated[
    str | None,
    typer.Option(
        "--languages",
        metavar="en|any|LIST",
        help="Languages of texts to keep, ISO 639 codes with commas. (default: the recipe's, en)",
        rich_help_panel=CANDIDATES,
        show_default=False,
    ),
]
Texts = Annotated[
    str | None,
    typer.Option(
        "--texts",
        metavar="LIST",
        help="Where texts come from: alt, title, caption; the last only from WARC. "
        "(default: the recipe's, alt)",
        rich_help_panel=CANDIDATES,
        show_default=False,
    ),
]
ImageSources = Annotated[
    str | None,
    typer.Option(
        "--image-sources",
        metavar="LIST",
        help="Where image URLs come from: src, srcset, picture, data-src; all but src only from "
        "WARC. (default: the recipe's, src)",
        rich_help_panel=CANDIDATES,
        show_default=False,
    ),
]
UrlColumn = Annotated[
    str | None,
    typer.Option(
        "--url-column",
        metavar="NAME",
        help="Tables: the column of URLs. (default: found by its name or content)",
        rich_help_panel=CANDIDATES,
        show_default=False,
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        "--text-column",
        metavar="NAME",
        help="Tables: the column of texts. (default: found by its name)",
        rich_help_panel=CANDIDATES,
        show_default=False,
    ),
]
PerHost = Annotated[
    int | None,
    typer.Option(
        "--per-host",
        metavar="N",
        help="Requests to one host at once. (default: 4)",
        rich_help_panel=WEB,
        show_default=False,
    ),
]
PerHostRate = Annotated[
    float | None,
    typer.Option(
        "--per-host-rate",
        metavar="X",
        help="Requests a second to one host; 0 for no limit. Hosts may refuse who asks too fast. "
        "(default: 8)",
        rich_help_panel=WEB,
        show_default=False,
    ),
]
Connections = Annotated[
    int | None,
    typer.Option(
        "--connections",
        metavar="N",
        help="Requests under way at once. (default: 256)",
        rich_help_panel=WEB,
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        metavar="S",
        help="Seconds a request may take in all; what takes longer is dropped. (default: 60)",
        rich_help_panel=WEB,
        show_default=False,
    ),
]
Retries = Annotated[
    int | None,
    typer.Option(
        "--retries",
        metavar="N",
        help="More tries where they can help: 429, 5xx, connections that fail or break. "
        "(default: 2)",
        rich_help_panel=WEB,
        show_default=False,
    ),
]
AllowNetwork = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-network",
        metavar="CIDR",
        help="Reach this network too, which is not public, e.g. 10.1.0.0/16; may be repeated. "
        "Images at other such addresses are dropped.",
        rich_help_panel=WEB,
        show_default=False,
    ),
]
Contact = Annotated[
    str | None,
    typer.Option(
        "--contact",
        metavar="MAIL|URL",
        help="Whom the owners of sites can write to; told in the User-Agent, which sites may "
        "answer by.",
        rich_help_panel=WEB,
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        metavar="N",
        help="Worker processes; 1 runs everything in one process. (default: one a core)",
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
MaxMemory = Annotated[
    str,
    typer.Option(
        "--max-memory",
        metavar="SIZE",
        help="Memory the run plans with, e.g. 4GB, 500MB.",
        rich_help_panel=MACHINE,
    ),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        "--metrics-port",
        metavar="N",
        help="Serve the run's figures to Prometheus on this port of 127.0.0.1 while it works; 0 "
        "for any that is free.",
        rich_help_panel=MACHINE,
        show_default=False,
    ),
]
SearchModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="The model that made the embeddings. (default: what the dataset says)",
        show_default=False,
    ),
]
IndexFolder = Annotated[
    str | None,
    typer.Option(
        "--index",
        metavar="FOLDER",
        help="Folder of the index. (default: index in a run folder)",
        show_default=False,
    ),
]
