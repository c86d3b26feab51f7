"""Name the verbs of the `webpairs` command; no logic lives here."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final

import typer

from webpairs import __version__
from webpairs.engine.malloc import share_one_heap
from webpairs.errors import ConfigError, RunError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Turn web crawls into CLIP-filtered image-text datasets in the form of LAION-400M.",
)

CANDIDATES: Final = "Which candidates"
IMAGES: Final = "Which images, and how they are stored"
JUDGE: Final = "Who judges"
WEB: Final = "The web (never changes the dataset, where the web answers the same)"
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
        "--recipe", metavar="NAME", help="Rules of the dataset.", rich_help_panel=CANDIDATES
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
    int,
    typer.Option(
        "--per-host", metavar="N", help="Requests to one host at once.", rich_help_panel=WEB
    ),
]
PerHostRate = Annotated[
    float,
    typer.Option(
        "--per-host-rate",
        metavar="X",
        help="Requests a second to one host; 0 for no limit.",
        rich_help_panel=WEB,
    ),
]
Connections = Annotated[
    int,
    typer.Option(
        "--connections", metavar="N", help="Requests under way at once.", rich_help_panel=WEB
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="S", help="Seconds a request may take in all.", rich_help_panel=WEB
    ),
]
Retries = Annotated[
    int,
    typer.Option(
        "--retries",
        metavar="N",
        help="More tries where they can help: 429, 5xx, connections that fail or break.",
        rich_help_panel=WEB,
    ),
]
AllowNetwork = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-network",
        metavar="CIDR",
        help="Reach this network too, which is not public, e.g. 10.1.0.0/16; may be repeated.",
        rich_help_panel=WEB,
        show_default=False,
    ),
]
Contact = Annotated[
    str | None,
    typer.Option(
        "--contact",
        metavar="MAIL|URL",
        help="Whom the owners of sites can write to; told in the User-Agent.",
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


@app.callback(invoke_without_command=True)
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """Turn web crawls into CLIP-filtered image-text datasets in the form of LAION-400M."""
    if version:
        print(f"webpairs {__version__}")
        raise typer.Exit


@app.command("build")
def build_verb(
    inputs: Inputs,
    out: Out,
    images: Annotated[
        str,
        typer.Option(
            "--images",
            metavar="web|archive",
            help="Where images come from: web fetches them; archive takes them out of the WARC "
            "files themselves.",
            rich_help_panel=IMAGES,
        ),
    ] = "web",
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="SPEC",
            help="tiny, an open_clip NAME/PRETRAINED, hf:ORG/NAME, a folder or a .safetensors "
            "file; none only downloads. (default: the recipe's, ViT-B-32/openai)",
            rich_help_panel=JUDGE,
            show_default=False,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="X",
            help="Least cosine similarity to keep, -1 to 1. (default: the model's own)",
            rich_help_panel=JUDGE,
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME",
            help="Rules of the dataset: laion400m, or download, which keeps whatever can be "
            "stored. (default: laion400m; download with --model none)",
            rich_help_panel=CANDIDATES,
            show_default=False,
        ),
    ] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            "--image-size",
            metavar="PX",
            help="Side of the stored images, pixels. (default: the recipe's, 256)",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(
            "--resize",
            metavar="MODE",
            help="border, keep-ratio, center-crop or none (the received picture).  "
            "(default: the recipe's, border)",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    languages: Languages = None,
    texts: Texts = None,
    image_sources: ImageSources = None,
    url_column: UrlColumn = None,
    text_column: TextColumn = None,
    keep_opted_out: Annotated[
        bool,
        typer.Option(
            "--keep-opted-out",
            help="Keep candidates whose page or image opts out of AI use, marked in the column "
            "opt_out.",
            rich_help_panel=CANDIDATES,
        ),
    ] = False,
    ignore_signals: Annotated[
        str | None,
        typer.Option(
            "--ignore-signals",
            metavar="LIST",
            help="Neither ask nor honour these: robots.txt, content-signal, content-usage, "
            "tdmrep.json, tdm-reservation, x-robots-tag.",
            rich_help_panel=CANDIDATES,
            show_default=False,
        ),
    ] = None,
    per_host: PerHost = 4,
    per_host_rate: PerHostRate = 8.0,
    connections: Connections = 256,
    timeout: Timeout = 60.0,
    retries: Retries = 2,
    allow_network: AllowNetwork = None,
    contact: Contact = None,
    shard_size: Annotated[
        int | None,
        typer.Option(
            "--shard-size",
            metavar="N",
            help="Candidates in a shard. (default: 10000 of tables, 50000 of crawls)",
            rich_help_panel=SHARDS,
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            help="Use a random N of the unique candidates. (default: all)",
            rich_help_panel=SHARDS,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", metavar="N", help="Another random order or sample.", rich_help_panel=SHARDS
        ),
    ] = 0,
    workers: Workers = None,
    max_memory: MaxMemory = "4GB",
) -> None:
    """Build a CLIP-filtered dataset from crawl files or tables of URLs, or go on with one."""
    from webpairs.console import print_build_result
    from webpairs.options import BuildOptions, parse_bytes
    from webpairs.run import build_dataset

    options = BuildOptions(
        inputs=tuple(inputs),
        out=out,
        images=images,
        model=model,
        threshold=threshold,
        recipe=recipe,
        image_size=image_size,
        resize=resize,
        languages=_list(languages),
        texts=_list(texts),
        image_sources=_list(image_sources),
        url_column=url_column,
        text_column=text_column,
        keep_opted_out=keep_opted_out,
        ignore_signals=_list(ignore_signals) or (),
        per_host=per_host,
        per_host_rate=per_host_rate,
        connections=connections,
        timeout_s=timeout,
        retries=retries,
        allow_network=tuple(allow_network or ()),
        contact=contact,
        shard_size=shard_size,
        limit=limit,
        seed=seed,
        workers=workers,
        max_memory_bytes=parse_bytes(max_memory),
    )
    print_build_result(build_dataset(options, _progress()))


@app.command("retry")
def retry_verb(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="A finished dataset whose images came from the web.",
            show_default=False,
        ),
    ],
    reasons: Annotated[
        str | None,
        typer.Option(
            "--reasons",
            metavar="LIST",
            help="Drop reasons to try again, with commas. (default: those that pass: dns, connect, "
            "timeout, too_slow, http_429, http_5xx, protocol)",
            show_default=False,
        ),
    ] = None,
    per_host: PerHost = 4,
    per_host_rate: PerHostRate = 8.0,
    connections: Connections = 256,
    timeout: Timeout = 60.0,
    retries: Retries = 2,
    allow_network: AllowNetwork = None,
    contact: Contact = None,
    workers: Workers = None,
    max_memory: MaxMemory = "4GB",
) -> None:
    """Try dropped candidates of a dataset again; what is had joins it in new shards."""
    from webpairs.console import print_build_result
    from webpairs.options import RETRY_REASONS, RetryOptions, parse_bytes
    from webpairs.run import retry_dataset

    options = RetryOptions(
        out=folder,
        reasons=RETRY_REASONS if reasons is None else _list(reasons) or (),
        per_host=per_host,
        per_host_rate=per_host_rate,
        connections=connections,
        timeout_s=timeout,
        retries=retries,
        allow_network=tuple(allow_network or ()),
        contact=contact,
        workers=workers,
        max_memory_bytes=parse_bytes(max_memory),
    )
    print_build_result(retry_dataset(options, _progress()))


@app.command("extract")
def extract_verb(
    inputs: Inputs,
    out: Out,
    recipe: RecipeName = "laion400m",
    languages: Languages = None,
    texts: Texts = None,
    image_sources: ImageSources = None,
    url_column: UrlColumn = None,
    text_column: TextColumn = None,
    workers: Workers = None,
    max_memory: MaxMemory = "4GB",
) -> None:
    """Extract candidates alone (url, text, where they were found) as parquet."""
    from webpairs.console import print_extract_result
    from webpairs.options import ExtractOptions, parse_bytes
    from webpairs.run import extract_candidates

    options = ExtractOptions(
        inputs=tuple(inputs),
        out=out,
        recipe=recipe,
        languages=_list(languages),
        texts=_list(texts),
        image_sources=_list(image_sources),
        url_column=url_column,
        text_column=text_column,
        workers=workers,
        max_memory_bytes=parse_bytes(max_memory),
    )
    print_extract_result(extract_candidates(options, _progress()))


@app.command("status")
def status_verb(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A run folder.", show_default=False)],
) -> None:
    """Show a run folder's funnel, shards done and left, rates, and what is missing."""
    from webpairs.console import print_status
    from webpairs.status import read_status

    print_status(read_status(Path(folder)))


@app.command("demo")
def demo_verb(
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Folder to write to.")
    ] = "webpairs-demo",
    images: Annotated[
        str,
        typer.Option(
            "--images",
            metavar="web|archive",
            help="web fetches the little web from a server on this machine; archive takes its "
            "pictures out of the crawl files.",
        ),
    ] = "web",
    hostile: Annotated[
        bool,
        typer.Option(
            "--hostile",
            help="Meet a server that does all that servers must not do instead, and say what came "
            "of each behaviour.",
        ),
    ] = False,
    workers: Workers = None,
) -> None:
    """Draw a little web, build a dataset from it, say how well it went."""
    from webpairs.console import print_demo_result, print_hostile_check

    if hostile:
        from webpairs.demo.hostile_check import check_hostile

        check = check_hostile(Path(out) / "hostile", workers=workers, progress=_progress())
        print_hostile_check(check)
        if not check.passed:
            raise typer.Exit(1)
        return
    from webpairs.demo.run import run_demo

    result = run_demo(Path(out), images=images, workers=workers, progress=_progress())
    print_demo_result(result)


class _Stopped(BaseException):
    """Ctrl-C or SIGTERM; not an error, and nothing may swallow it."""


def run() -> None:
    """Run the command; errors a user can mend are one line, exit code 2 (options) or 1 (run)."""
    share_one_heap()
    received: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        raise _Stopped

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        # Not standalone: usage errors are to be one line as all others, not a box.
        sys.exit(app(prog_name="webpairs", standalone_mode=False))
    except BaseException as error:
        # A library that was interrupted, such as DuckDB, may have made an error of its own of it.
        if received:
            # A second Ctrl-C while Python ends would only print a traceback.
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            print("webpairs: stopped; type the same line again to go on", file=sys.stderr)
            sys.exit(128 + received[0])
        if (line := _line_of(error)) is None:
            raise
        if line:
            print(f"webpairs: {line}", file=sys.stderr)
        sys.exit(1 if isinstance(error, RunError) else 2)


def _line_of(error: BaseException) -> str | None:
    """Return the line that tells the user about an error, None for a fault of webpairs."""
    if isinstance(error, (ConfigError, RunError)):
        return str(error)
    # Typer's usage errors; their class is click's or, in later versions, a copy of it.
    format_message: Callable[[], str] | None = getattr(error, "format_message", None)
    if format_message is None:
        return None
    message = " ".join(format_message().split())
    # Without a message it is the missing verb, for which typer has printed the help.
    return f"{message.rstrip('.')}: see webpairs --help" if message else ""


def _list(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(one.strip() for one in text.split(",") if one.strip())


def _progress() -> Any:
    from webpairs.progress import RunProgress

    return RunProgress()
