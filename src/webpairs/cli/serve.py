"""The verb that serves datasets; no logic lives here."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from webpairs.cli.app import verb
from webpairs.cli.options import IndexFolder, SearchModel


@verb(
    "serve",
    "webpairs serve my-dataset",
    "webpairs serve laion/embeddings --index laion-index --port 8080",
)
def serve_verb(
    folders: Annotated[
        list[str],
        typer.Argument(
            metavar="DIR...",
            help="Indexed run folders, or embedding folders of LAION or clip-retrieval.",
            show_default=False,
        ),
    ],
    host: Annotated[
        str,
        typer.Option(
            "--host",
            metavar="ADDRESS",
            help="Where to listen; 0.0.0.0 lets others on the network in, who may see all of it.",
        ),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", help="0: any that is free.")] = 1234,
    allow_image_url: Annotated[
        bool,
        typer.Option(
            "--allow-image-url",
            help="Fetch images by URL for whoever asks; on where only this machine can ask.",
        ),
    ] = False,
    allow_network: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-network",
            metavar="CIDR",
            help="A network that is not public from which such images may be fetched; may be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A name that the server answers as, beside localhost and its address, e.g. behind "
            "a proxy; * for any; may be repeated.",
            show_default=False,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-origin",
            metavar="ORIGIN",
            help="An origin whose pages may read all of it, e.g. https://page.example.org; * for "
            "every website; may be repeated.",
            show_default=False,
        ),
    ] = None,
    replay_url: Annotated[
        str | None,
        typer.Option(
            "--replay-url",
            metavar="URL",
            help="Where an archive replays captures, e.g. "
            "https://web.archive.org/web/{timestamp}/{url}: samples link there.",
            show_default=False,
        ),
    ] = None,
    model: SearchModel = None,
    index: IndexFolder = None,
) -> None:
    """Open a page to search datasets, with an API that clip-retrieval's clients can use."""
    # numpy reads it when it is imported. Requests are answered beside each other: where threads
    # share the arithmetic of one, they wait for each other (ClipClient's requests took 16 and 22 ms
    # instead of 4 and 5; 2 cores, both busy).
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    from webpairs.cli.print_serve import print_served
    from webpairs.serve.options import ServeOptions
    from webpairs.serve.server import serve

    options = ServeOptions(
        sources=tuple(folders),
        host=host,
        port=port,
        allow_image_url=allow_image_url,
        allow_network=tuple(allow_network or ()),
        allow_host=tuple(allow_host or ()),
        allow_origin=tuple(allow_origin or ()),
        replay_url=replay_url,
        model=model,
        index=index,
    )
    serve(options, lambda address, served: print_served(options, address, served))
