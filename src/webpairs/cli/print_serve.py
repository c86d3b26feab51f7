"""Printing what is served, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from webpairs.quantities import counted

if TYPE_CHECKING:
    from webpairs.serve.collection import Collection
    from webpairs.serve.options import ServeOptions


def print_served(options: ServeOptions, address: str, collection: Collection) -> None:
    """Print each dataset, what cannot be done with it, and the address."""
    console = Console(highlight=False)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    for served in collection:
        kinds = " and ".join(f"{kind}s" for kind in served.searcher.indexes)
        say(f"{served.name}: {counted(served.vectors.num_rows, 'sample')}, searched by {kinds}")
        if served.searcher.not_indexed is not None:
            say(f"  {served.searcher.not_indexed}")
        if served.no_model is not None:
            say(
                f"  no model, so texts and images cannot be embedded; captions are searched "
                f"instead, keys and embeddings work: {served.no_model}"
            )
    if not options.is_local:
        say("whoever reaches this machine may search and see all of it")
    if options.allow_origin:
        say(f"pages of {', '.join(options.allow_origin)} may read all of it (--allow-origin)")
    if not options.fetches_images:
        say("images are not fetched by URL: --allow-image-url lets everybody ask for it")
    say(f"\nopen {address} (Ctrl-C ends it)")
