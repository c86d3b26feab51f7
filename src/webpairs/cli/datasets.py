"""The verbs that read datasets and hand them on; no logic lives here."""

from __future__ import annotations

from typing import Annotated

import typer

from webpairs.cli.app import exit_if_empty, make_progress, split_list, verb
from webpairs.cli.options import Out, Workers

Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A run folder, img2dataset output, LAION metadata or embedding folders; recognised "
        "by content.",
        show_default=False,
    ),
]


@verb(
    "export",
    "webpairs export my-dataset --to huggingface --out hf",
    "webpairs export my-dataset --to tfds --out tfds-data --config both --shuffle 1",
    'webpairs export my-dataset --to csv --where "similarity > 0.32" --out table',
)
def export_verb(
    source: Source,
    out: Out,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="tfds, tfds-array-record, huggingface, webdataset, files, parquet (with images), "
            "laion, csv or embedding-atlas.",
            show_default=False,
        ),
    ],
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            metavar="CONFIG",
            help="images, embeddings or both. (default: what the source has)",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="What the dataset is called.")
    ] = "laion400m",
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="EXPR",
            help="Only samples for which this SQL expression over their columns is true, e.g. "
            "\"similarity > 0.32 and nsfw = 'UNLIKELY'\".",
            show_default=False,
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            metavar="LIST",
            help="Metadata columns to write beside the format's own, with commas.",
            show_default=False,
        ),
    ] = None,
    shuffle: Annotated[
        int | None,
        typer.Option(
            "--shuffle",
            metavar="SEED",
            help="Write the samples in a random order, which this number decides. (default: the "
            "source's order)",
            show_default=False,
        ),
    ] = None,
    samples_per_shard: Annotated[
        int | None,
        typer.Option(
            "--samples-per-shard",
            metavar="N",
            help="Samples in a file. (default: the format's; about 100 MB)",
            show_default=False,
        ),
    ] = None,
    workers: Workers = None,
) -> None:
    """Write a dataset, or a part of it, for another loader; or go on with it."""
    from webpairs.cli.print_build import print_export_result
    from webpairs.export.export import export_dataset
    from webpairs.export.options import ExportOptions

    options = ExportOptions(
        source=source,
        out=out,
        to=to,
        config=config,
        name=name,
        where=where,
        columns=split_list(columns),
        shuffle=shuffle,
        samples_per_shard=samples_per_shard,
        workers=workers,
    )
    result = export_dataset(options, make_progress())
    print_export_result(result)
    exit_if_empty(kept_nothing=result.wrote_nothing)


@verb(
    "show",
    "webpairs show my-dataset 000010023",
    "webpairs show my-dataset https://example.org/cat.jpg --format json",
)
def show_verb(
    source: Source,
    asked: Annotated[
        str,
        typer.Argument(
            metavar="KEY|UID|URL",
            help="A sample's key, a candidate's uid (32 hex digits), or an image's URL.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str, typer.Option("--format", metavar="table|json", help="How to print.")
    ] = "table",
) -> None:
    """Show all facts of a row, sample or drop: where found, licence, scores, where it lies."""
    from webpairs.checks import check_one
    from webpairs.cli.print_show import FORMATS, print_rows
    from webpairs.dataset.row_lookup import show_rows

    check_one("--format", output, FORMATS)
    print_rows(show_rows(source, asked), output)


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@verb(
    "info",
    "webpairs info my-dataset",
    "webpairs info laion-256 --rows 20",
    "webpairs info my-dataset --json",
)
def info_verb(
    source: Source,
    rows: Annotated[int, typer.Option("--rows", metavar="N", help="Samples to show.")] = 5,
    json: Json = False,
) -> None:
    """Say what a folder was recognised as: schema, counts, some rows."""
    from webpairs.cli.print_datasets import as_json, hand_out, print_info
    from webpairs.describe.info import read_info

    info = read_info(source, num_rows=rows, progress=make_progress())
    if json:
        hand_out(as_json(info.as_json()))
    else:
        print_info(info)


@verb(
    "verify",
    "webpairs verify my-dataset",
    "webpairs verify my-dataset --deep --workers 8",
)
def verify_verb(
    source: Source,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep",
            help="Decode every image and multiply embeddings too: minutes for a million images.",
        ),
    ] = False,
    json: Json = False,
    workers: Workers = None,
) -> None:
    """Say what is wrong with a dataset, if anything: a line each, exit code 1."""
    from webpairs.cli.print_datasets import as_json, hand_out, print_verification
    from webpairs.verify.verify import verify_dataset

    checked = verify_dataset(source, deep=deep, workers=workers, progress=make_progress())
    if json:
        hand_out(as_json(checked.as_json()))
    else:
        print_verification(checked)
    if not checked.good:
        raise typer.Exit(1)


@verb(
    "card",
    "webpairs card my-dataset --out my-dataset/README.md",
    "webpairs card my-dataset --croissant --out my-dataset/croissant.json",
)
def card_verb(
    source: Source,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="File to write to, e.g. SOURCE/README.md. (default: standard output)",
            show_default=False,
        ),
    ] = None,
    croissant: Annotated[
        bool,
        typer.Option(
            "--croissant",
            help="Describe it in Croissant 1.0 (JSON-LD, for SOURCE/croissant.json) instead.",
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What the dataset is called. (default: the folder's name)",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write a dataset's card, or its Croissant description, from what is in it."""
    from webpairs.cli.print_datasets import as_json, hand_out

    if croissant:
        from webpairs.describe.croissant import make_croissant

        hand_out(as_json(make_croissant(source, name=name)), out)
        return
    from webpairs.describe.card import make_card

    hand_out(make_card(source, name=name, progress=make_progress()), out)
