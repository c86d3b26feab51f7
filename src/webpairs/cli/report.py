"""The verb that reports; no logic lives here."""

from __future__ import annotations

from typing import Annotated

import typer

from webpairs.cli.app import make_progress, verb


@verb(
    "report",
    "webpairs report my-dataset --images",
    "webpairs report old-dataset new-dataset --out compared.html",
)
def report_verb(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="DIR",
            help="A run folder, img2dataset output, LAION metadata or embedding folders; "
            "recognised by content.",
            show_default=False,
        ),
    ],
    other: Annotated[
        str | None,
        typer.Argument(
            metavar="[DIR2]", help="Another one, to compare it with.", show_default=False
        ),
    ] = None,
    out: Annotated[
        str,
        typer.Option(
            "--out", metavar="FILE", help="Page to write; its numbers go beside it, as .json."
        ),
    ] = "report.html",
    images: Annotated[
        bool, typer.Option("--images", help="Show thumbnails of the samples that are shown.")
    ] = False,
) -> None:
    """Say in one page what is in a dataset, or what differs between two."""
    from webpairs.cli.print_build import print_report_result
    from webpairs.report.options import ReportOptions
    from webpairs.report.write import write_report

    folders = (folder,) if other is None else (folder, other)
    options = ReportOptions(folders=folders, out=out, images=images)
    print_report_result(write_report(options, make_progress()))
