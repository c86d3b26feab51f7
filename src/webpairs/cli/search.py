"""The verbs that index and search datasets; no logic lives here."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from webpairs.cli.app import make_progress, split_list, verb
from webpairs.cli.options import IndexFolder, MaxMemory, SearchModel

Folder = Annotated[
    str,
    typer.Argument(
        metavar="DIR",
        help="A run folder, or embedding folders of LAION or clip-retrieval.",
        show_default=False,
    ),
]


@verb(
    "index",
    "webpairs index my-dataset",
    "webpairs index laion/embeddings --out laion-index --recall 0.99",
)
def index_verb(
    folder: Folder,
    what: Annotated[
        str,
        typer.Option("--what", metavar="image,text", help="Which embeddings to index."),
    ] = "image,text",
    recall: Annotated[
        float,
        typer.Option(
            "--recall",
            metavar="X",
            help="Share of the ten nearest that a search is to find, 0.5 to 1; 1 is exact and "
            "reads everything.",
        ),
    ] = 0.95,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="FOLDER",
            help="Folder of the index. (default: index in a run folder)",
            show_default=False,
        ),
    ] = None,
    max_memory: MaxMemory = "4GB",
) -> None:
    """Index a dataset's embeddings for searching, or add what is new; or go on with it."""
    from webpairs.checks import parse_bytes
    from webpairs.cli.print_search import print_index_result
    from webpairs.search.index.build import build_index
    from webpairs.search.options import IndexOptions

    options = IndexOptions(
        source=folder,
        out=out,
        what=split_list(what) or (),
        recall=recall,
        max_memory_bytes=parse_bytes(max_memory),
    )
    print_index_result(build_index(options, make_progress()))


@verb(
    "search",
    'webpairs search my-dataset "a red car" --not "at night"',
    "webpairs search my-dataset --image photo.jpg --format html > like-it.html",
    "webpairs search my-dataset --like 000010023 --unique",
    'webpairs search my-dataset --where "license_id is not null" --format json',
)
def search_verb(
    folder: Folder,
    texts: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TEXT]...", help="What to find, in words; several are added up."),
    ] = None,
    image: Annotated[
        list[str] | None,
        typer.Option(
            "--image",
            metavar="FILE",
            help="Find what looks like this picture; may be repeated.",
            show_default=False,
        ),
    ] = None,
    like: Annotated[
        list[str] | None,
        typer.Option(
            "--like",
            metavar="KEY",
            help="Find what is like this sample; may be repeated.",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--not",
            metavar="WORDS",
            help="Keep away from this; may be repeated.",
            show_default=False,
        ),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            metavar="EXPR",
            help="Only among samples for which this SQL expression over their columns is true; "
            "alone, all of these in the order of keys, e.g. "
            "\"similarity > 0.32 and nsfw = 'UNLIKELY'\".",
            show_default=False,
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", metavar="N", help="Results, 1 to 10000.")] = 20,
    kind: Annotated[
        str | None,
        typer.Option(
            "--in",
            metavar="image|text",
            help="Whose embeddings are compared. (default: image if indexed)",
            show_default=False,
        ),
    ] = None,
    unique: Annotated[
        bool, typer.Option("--unique", help="Of results that show the same, only the best.")
    ] = False,
    model: SearchModel = None,
    index: IndexFolder = None,
    output: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="table|json|html",
            help="How to print; json has page and crawl file too.",
        ),
    ] = "table",
) -> None:
    """Find samples by text, by picture, by what they are like, or by --where alone."""
    from webpairs.checks import check_one
    from webpairs.cli.print_search import print_search_result
    from webpairs.search.options import FORMATS, SearchOptions
    from webpairs.search.searcher import search_dataset

    check_one("--format", output, FORMATS)
    options = SearchOptions(
        source=folder,
        texts=tuple(texts or ()),
        images=tuple(image or ()),
        like=tuple(like or ()),
        without=tuple(without or ()),
        where=where,
        k=k,
        kind=kind,
        unique=unique,
        pictures=output == "html",
        found_at=output == "json",
        model=model,
        index=index,
    )
    result = search_dataset(options)
    if result.note is not None:
        print(f"webpairs: {result.note}", file=sys.stderr)
    print_search_result(result, output, " + ".join(map(str, texts or image or like or (where,))))
