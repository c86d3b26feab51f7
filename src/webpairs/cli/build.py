"""The verbs that make datasets; no logic lives here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from webpairs.cli.app import app, exit_if_empty, make_progress, split_list, verb
from webpairs.cli.options import (
    CANDIDATES,
    IMAGES,
    JUDGE,
    SHARDS,
    AllowNetwork,
    Connections,
    Contact,
    ImageSources,
    Inputs,
    Languages,
    MaxMemory,
    MetricsPort,
    Out,
    PerHost,
    PerHostRate,
    RecipeName,
    Retries,
    TextColumn,
    Texts,
    Timeout,
    UrlColumn,
    Workers,
)
from webpairs.version import __version__


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


@verb(
    "build",
    "webpairs build links.parquet --out my-dataset --contact me@example.org",
    "webpairs build crawl/*.warc.gz --images archive --out my-dataset",
    "webpairs build links.parquet --model none --resize keep-ratio --out pictures",
)
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
            metavar="NAME|FILE",
            help="Rules of the dataset: laion400m; download, which keeps whatever can be stored; "
            "or a TOML file of your own. (default: laion400m; download with --model none)",
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
            help="border, keep-ratio (shorter side), keep-ratio-largest (longer side), center-crop "
            "or none (the received picture). (default: the recipe's, border)",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    image_format: Annotated[
        str | None,
        typer.Option(
            "--image-format",
            metavar="jpeg|png|webp",
            help="What stored images are encoded as. (default: the recipe's, jpeg)",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    image_quality: Annotated[
        int | None,
        typer.Option(
            "--image-quality",
            metavar="N",
            help="Of jpeg and webp the quality, 1 to 100; of png the compression, 0 to 9. "
            "(default: the recipe's: 95, of png 6)",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    min_bytes: Annotated[
        int | None,
        typer.Option(
            "--min-bytes",
            metavar="N",
            help="Least bytes of an image as received. (default: the recipe's, 5000)",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    min_side: Annotated[
        int | None,
        typer.Option(
            "--min-side",
            metavar="PX",
            help="Least width and height of an image as received, pixels. (default: the "
            "recipe's, 0)",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    max_aspect: Annotated[
        float | None,
        typer.Option(
            "--max-aspect",
            metavar="X",
            help="Largest ratio of an image's longer side to its shorter, such as 3. (default: "
            "the recipe's, any)",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    blur_boxes: Annotated[
        str | None,
        typer.Option(
            "--blur-boxes",
            metavar="NAME",
            help="Tables: blur the boxes in this column, such as faces: lists of (x0, y0, x1, y1), "
            "in widths and heights of the image. (default: none)",
            rich_help_panel=IMAGES,
            show_default=False,
        ),
    ] = None,
    languages: Languages = None,
    texts: Texts = None,
    image_sources: ImageSources = None,
    url_column: UrlColumn = None,
    text_column: TextColumn = None,
    check_hashes: Annotated[
        str,
        typer.Option(
            "--check-hashes",
            metavar="on|warn|off",
            help="Where a table gives hashes of its images (sha256, md5, hash): drop images that "
            "have another, keep and count them, or do not compare.",
            rich_help_panel=CANDIDATES,
        ),
    ] = "on",
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
    per_host: PerHost = None,
    per_host_rate: PerHostRate = None,
    connections: Connections = None,
    timeout: Timeout = None,
    retries: Retries = None,
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
    metrics_port: MetricsPort = None,
) -> None:
    """Build a CLIP-filtered dataset from crawl files or tables of URLs, or go on with one."""
    from webpairs.checks import parse_bytes
    from webpairs.cli.print_build import print_build_result
    from webpairs.options import BuildOptions
    from webpairs.run.run import build_dataset

    options = BuildOptions(
        inputs=tuple(inputs),
        out=out,
        images=images,
        model=model,
        threshold=threshold,
        recipe=recipe,
        image_size=image_size,
        resize=resize,
        image_format=image_format,
        image_quality=image_quality,
        min_bytes=min_bytes,
        min_side=min_side,
        max_aspect=max_aspect,
        blur_boxes=blur_boxes,
        languages=split_list(languages),
        texts=split_list(texts),
        image_sources=split_list(image_sources),
        url_column=url_column,
        text_column=text_column,
        check_hashes=check_hashes,
        keep_opted_out=keep_opted_out,
        ignore_signals=split_list(ignore_signals) or (),
        per_host=per_host,
        per_host_rate=per_host_rate,
        connections=connections,
        timeout_s=timeout,
        retries=retries,
        allow_network=None if allow_network is None else tuple(allow_network),
        contact=contact,
        shard_size=shard_size,
        limit=limit,
        seed=seed,
        workers=workers,
        max_memory_bytes=parse_bytes(max_memory),
        metrics_port=metrics_port,
    )
    result = build_dataset(options, make_progress())
    print_build_result(result)
    exit_if_empty(kept_nothing=result.kept_nothing)


@verb(
    "retry",
    "webpairs retry my-dataset",
    "webpairs retry my-dataset --reasons timeout,http_5xx --timeout 120",
)
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
    check_hashes: Annotated[
        str | None,
        typer.Option(
            "--check-hashes",
            metavar="on|warn|off",
            help="What to do about hashes that a table gives, as in build. (default: as in the "
            "build)",
            show_default=False,
        ),
    ] = None,
    per_host: PerHost = None,
    per_host_rate: PerHostRate = None,
    connections: Connections = None,
    timeout: Timeout = None,
    retries: Retries = None,
    allow_network: AllowNetwork = None,
    contact: Contact = None,
    workers: Workers = None,
    max_memory: MaxMemory = "4GB",
    metrics_port: MetricsPort = None,
) -> None:
    """Try dropped candidates of a dataset again; what is had joins it in new shards."""
    from webpairs.checks import parse_bytes
    from webpairs.cli.print_build import print_build_result
    from webpairs.options import RETRY_REASONS, RetryOptions
    from webpairs.run.run import retry_dataset

    options = RetryOptions(
        out=folder,
        reasons=RETRY_REASONS if reasons is None else split_list(reasons) or (),
        check_hashes=check_hashes,
        per_host=per_host,
        per_host_rate=per_host_rate,
        connections=connections,
        timeout_s=timeout,
        retries=retries,
        allow_network=None if allow_network is None else tuple(allow_network),
        contact=contact,
        workers=workers,
        max_memory_bytes=parse_bytes(max_memory),
        metrics_port=metrics_port,
    )
    result = retry_dataset(options, make_progress())
    print_build_result(result)
    exit_if_empty(kept_nothing=result.kept_nothing)


@verb(
    "extract",
    "webpairs extract crawl/*.wat.gz --out candidates",
    "webpairs extract crawl/*.warc.gz --out candidates --texts alt,title --languages any",
)
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
    from webpairs.checks import parse_bytes
    from webpairs.cli.print_build import print_extract_result
    from webpairs.options import ExtractOptions
    from webpairs.run.run import extract_candidates

    options = ExtractOptions(
        inputs=tuple(inputs),
        out=out,
        recipe=recipe,
        languages=split_list(languages),
        texts=split_list(texts),
        image_sources=split_list(image_sources),
        url_column=url_column,
        text_column=text_column,
        workers=workers,
        max_memory_bytes=parse_bytes(max_memory),
    )
    result = extract_candidates(options, make_progress())
    print_extract_result(result)
    exit_if_empty(kept_nothing=result.kept_nothing)


@verb(
    "status",
    "webpairs status my-dataset",
)
def status_verb(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A run folder.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show a run folder's funnel, what is done and left, and how long a run at work will take."""
    from webpairs.run_folder.status import read_status

    status = read_status(Path(folder))
    if json:
        from webpairs.cli.print_datasets import as_json, hand_out

        hand_out(as_json(status.as_json()))
    else:
        from webpairs.cli.print_status import print_status

        print_status(status)


@verb(
    "demo",
    "webpairs demo",
    "webpairs demo --images archive --out little-web",
)
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
    from webpairs.cli.print_build import print_demo_result, print_hostile_check

    if hostile:
        from webpairs.demo.hostile_check import check_hostile

        check = check_hostile(Path(out) / "hostile", workers=workers, progress=make_progress())
        print_hostile_check(check)
        if not check.passed:
            raise typer.Exit(1)
        return
    from webpairs.demo.run import run_demo

    result = run_demo(Path(out), images=images, workers=workers, progress=make_progress())
    print_demo_result(result)
