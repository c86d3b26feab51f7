"""Writing a dataset card: README.md as the Hugging Face Hub has it, from the data themselves.

Every figure is counted when the card is made, and nothing is said that the files do not say: of
what others wrote nobody knows here which rules and opt-outs were followed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute

from webpairs.dataset.dataset import Dataset, open_dataset
from webpairs.dataset.features import LABELS
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.describe.card_header import card_header, table_configs
from webpairs.describe.croissant import TableFolder, meaning_of, table_folders
from webpairs.describe.info import run_status
from webpairs.drops import Drop
from webpairs.extract.license import license_id
from webpairs.progress import RunProgress, StageTotal
from webpairs.quantities import counted
from webpairs.run_folder.status import Status

pc: Any = pyarrow.compute  # its functions are made at run time

NUM_SHOWN: Final = 20
"""Languages, licences and inputs that a card lists; all are counted."""
NO_LICENSE: Final = "none stated"
OTHER_LICENSE: Final = "another link"
UNKNOWN: Final = "not known"
COUNTED: Final = ("nsfw", "license", "language", "license_id", "opt_out")
"""The columns that are counted, where they are there."""
_STORED: Final = {
    "border": "a {kind}, scaled so that its longer side has {px} pixels, on a white square of "
    "{px}x{px}",
    "keep-ratio": "a {kind}, scaled so that its shorter side has {px} pixels",
    "keep-ratio-largest": "a {kind}, scaled so that its longer side has {px} pixels",
    "center-crop": "a {kind}: the middle square, scaled to {px}x{px}",
    "none": "as it was received (JPEG, PNG or WebP), without its metadata",
}
"""What the modes of --resize store."""


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says."""

    name: str
    kind: str
    num_samples: int
    num_shards: int
    has_images: bool
    embedding_size: int | None
    tables: tuple[TableFolder, ...]
    status: Status | None
    """None of what webpairs did not build."""
    counts: Mapping[str, Counter[str]] = field(default_factory=dict[str, Counter[str]])
    """Of nsfw, license, language and opt_out: how many samples have which value."""
    loading: tuple[str, ...] = ()
    """Lines that say how to load it, where it is not a folder that webpairs opens."""


def make_card(
    folder: str | Path, *, name: str | None = None, progress: RunProgress | None = None
) -> str:
    """Return the card of a dataset; reads some columns of all its metadata.

    `name` is by default the folder's. Raises ConfigError as `webpairs.open` does.
    """
    return card_of(read_facts(folder, name=name, progress=progress))


def read_facts(
    folder: str | Path, *, name: str | None = None, progress: RunProgress | None = None
) -> CardFacts:
    """Count what a card says of a dataset."""
    ds = open_dataset(folder)
    source = ds.source
    return CardFacts(
        name=name or source.folder.resolve().name,
        kind=source.kind,
        num_samples=len(ds),
        num_shards=len(source.names),
        has_images=source.has_images,
        embedding_size=source.embedding_size,
        tables=tuple(table_folders(source.folder)),
        status=run_status(source.folder) if isinstance(source, RunFolder) else None,
        counts=_count(ds, progress or RunProgress(quiet=True)),
    )


def card_of(facts: CardFacts, configs: Mapping[str, Any] | None = None) -> str:
    """Return the whole card; `configs` are the header's fields on what there is to load."""
    languages = [name for name, _ in facts.counts["language"].most_common() if len(name) == 2]
    if configs is None:
        configs = table_configs(facts.tables[0]) if facts.tables else {}
    header = card_header(facts.name, facts.num_samples, languages, configs)
    return f"---\n{header}---\n\n{card_body(facts)}"


def card_body(facts: CardFacts) -> str:
    """Return a card without its header, in Markdown."""
    sections = [[f"# {_cell(facts.name)}", "", *_what(facts)]]
    if facts.status is not None:
        sections += [_rules(facts.status), _funnel(facts.status)]
    sections += [
        _columns(facts),
        _counts_of(facts, "language", "Languages", "of the texts, as the column language says"),
        _licences(facts),
        _counts_of(
            facts, "nsfw", "NSFW tags", "as the files have them; UNTAGGED where they have none"
        ),
        _opt_outs(facts),
        _loading(facts),
        _limits(facts),
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def count_values(counts: Mapping[str, Counter[str]], table: pa.Table) -> None:
    """Add what the columns `COUNTED` of a table hold; nsfw and license are features."""
    labels = pa.array(LABELS).take(table.column("nsfw").combine_chunks())
    counts["nsfw"].update(_values(labels))
    if "license_id" in table.column_names:
        named = table.column("license_id").fill_null(NO_LICENSE)
        counts["license"].update(_values(named))
    else:
        for link, num in _values(table.column("license")).items():
            counts["license"][_license(link)] += num
    if "language" in table.column_names:
        counts["language"].update(_values(table.column("language").fill_null(UNKNOWN)))
    if "opt_out" in table.column_names:
        counts["opt_out"].update(_values(table.column("opt_out").drop_null()))


def no_counts() -> dict[str, Counter[str]]:
    """Return what `count_values` adds to."""
    return {name: Counter[str]() for name in ("nsfw", "license", "language", "opt_out")}


def _count(ds: Dataset, progress: RunProgress) -> dict[str, Counter[str]]:
    counts = no_counts()
    names = [name for name in COUNTED if name in ds.column_names]
    places = range(len(ds.source.names))
    with progress.stage(StageTotal("count", "shards", len(places))):
        for place in places:
            for piece in ds.pieces(names, places=[place]):
                count_values(counts, piece.table)
            progress.add({"done": 1})
    return counts


def _values(column: pa.Array | pa.ChunkedArray) -> Counter[str]:
    pairs = pc.value_counts(column).to_pylist()
    return Counter({str(pair["values"]): pair["counts"] for pair in pairs})


def _license(link: str) -> str:
    if not link:
        return NO_LICENSE
    return license_id(link) or OTHER_LICENSE


def _what(facts: CardFacts) -> Iterator[str]:
    has = "Image-text pairs" if facts.has_images else "URLs of images and their texts"
    vectors = (
        ""
        if facts.embedding_size is None
        else f", with CLIP embeddings of image and text ({facts.embedding_size} numbers each)"
    )
    samples, shards = counted(facts.num_samples, "sample"), counted(facts.num_shards, "shard")
    yield f"{has} from the web{vectors}: {samples} in {shards}."
    if facts.status is None:
        yield ""
        yield (
            f"The files are {facts.kind}; this card was counted from them by webpairs. Which rules "
            "chose the samples is not in the files."
        )
        return
    manifest = facts.status.manifest
    inputs = [str(one["name"]) for one in manifest["inputs"]]
    shown = ", ".join(code(name) for name in inputs[:NUM_SHOWN])
    more = f" and {len(inputs) - NUM_SHOWN:,} more" if len(inputs) > NUM_SHOWN else ""
    yield ""
    yield (
        f"Made by webpairs {manifest['webpairs']} from {counted(len(inputs), 'input')}: "
        f"{shown}{more}."
    )
    if not facts.status.finished:
        yield ""
        yield "**The run is not finished: more samples are to come.**"


def _hash_of_recipe(options: Mapping[str, Any]) -> str:
    """Tell the hash of a recipe that is a file; those of the package have none."""
    sha256 = options.get("recipe.sha256")
    return "" if sha256 is None else f" (a file with SHA-256 {sha256[:12]})"


def _stored_kind(options: Mapping[str, Any]) -> str:
    """Name what a resized picture is stored as; datasets of earlier versions have JPEGs."""
    kind = options.get("recipe.image_format", "jpeg")
    if kind == "png":
        return "PNG"
    name, quality = ("WebP", "webp") if kind == "webp" else ("JPEG", "jpeg")
    return f"{name} of quality {options[f'recipe.{quality}_quality']}"


def _rules(status: Status) -> Iterator[str]:
    options, model = status.manifest["options"], status.manifest["model"]
    stored = _STORED[options["recipe.resize"]].format(
        kind=_stored_kind(options), px=options["recipe.image_size_px"]
    )
    shape = ""
    if least := options.get("recipe.min_side_px"):
        shape += f", sides of {least:,} pixels or more"
    if (most := options.get("recipe.max_aspect")) is not None:
        shape += f", sides of at most {most:g} to 1"
    where = (
        "fetched from the web"
        if options["images"] == "web"
        else "taken from the response records of the crawl"
    )
    rows = [
        ("recipe", f"{code(options['recipe.name'])}{_hash_of_recipe(options)}"),
        ("texts", f"{_list(options['recipe.texts'])}, {options['recipe.min_text_chars']} "
         "characters or more"),
        ("languages", _list(options["recipe.languages"])),
        ("image URLs", _list(options["recipe.image_sources"])),
        ("images", f"{where}; {_list(options['recipe.formats'])} of "
         f"{options['recipe.min_image_bytes']:,} bytes or more{shape}"),
        ("stored as", stored),
    ]  # fmt: skip
    if model is None:
        rows.append(
            ("judged by", "no model: similarities, where there are any, came with the input")
        )
    else:
        judged = f"{code(model['spec'])} (weights {model['weights_sha256'][:12]}), cosine of "
        rows.append(("judged by", f"{judged}image and text {model['threshold']:g} or more"))
    if options["limit"] is not None:
        rows.append(("limit", f"a random {options['limit']:,} of the unique candidates"))
    yield from ("## How it was made", "", *_table(("rule", "value"), rows))


def _funnel(status: Status) -> Iterator[str]:
    funnel = status.funnel
    found = "of the tables" if _from_tables(status) else f"found on {counted(funnel.pages, 'page')}"
    rows = [("extract", f"candidates {found}", f"{funnel.found:,}")]
    rows += [
        (drop.stage, f"`{drop}`", f"-{funnel.drops[drop]:,}") for drop in Drop if funnel.drops[drop]
    ]
    if funnel.left:
        rows.append(("", "left to do", f"{funnel.left:,}"))
    rows.append(("write", "samples", f"{funnel.samples:,}"))
    yield from ("## Funnel", "", *_table(("stage", "what", "candidates"), rows))


def _columns(facts: CardFacts) -> Iterator[str]:
    for number, table in enumerate(facts.tables):
        yield from ("## Columns",) if not number else ("",)
        rows = [
            (code(one.name), code(str(one.type)), meaning_of(one.name, table.schema))
            for one in table.schema
        ]
        yield from ("", f"{code(table.pattern)}: {table.rows}.", "")
        yield from _table(("column", "type", "meaning"), rows)


def _counts_of(facts: CardFacts, name: str, title: str, what: str) -> Iterator[str]:
    counts = facts.counts[name]
    if not counts:
        return
    yield from (f"## {title}", "", f"{title} {what}.", "")
    yield from _share_table(name, counts, facts.num_samples)


def _licences(facts: CardFacts) -> Iterator[str]:
    yield from ("## Licences", "")
    if facts.status is not None and not _from_tables(facts.status):
        yield (
            "What the page of a sample states, if it states a Creative Commons licence: it may "
            "not be meant of this picture, and nobody checked whether it is the owner's."
        )
    else:
        yield "What the files say; nobody checked here whether it is right for the picture."
    yield (
        "The pictures and texts belong to their owners. No licence is granted here: whoever "
        "publishes this card may license the collection, not what is collected."
    )
    yield ""
    yield from _share_table("licence", facts.counts["license"], facts.num_samples)


def _opt_outs(facts: CardFacts) -> Iterator[str]:
    yield from ("## Opt-outs", "")
    if facts.status is None:
        yield "The files do not say whether pages, images or sites that opt out were left out."
        return
    options, drops = facts.status.manifest["options"], facts.status.funnel.drops
    from_tables = _from_tables(facts.status)
    who = "Images" if from_tables else "Pages and images"
    opting_out = f"{who} that opt out of AI use in a form that a machine can read were"
    if options["keep_opted_out"]:
        yield f"{opting_out} **kept**, and the signal stands in the column `opt_out`."
    else:
        numbers = [
            *(
                []
                if from_tables
                else [f"{counted(drops[Drop.OPTED_OUT_PAGE], 'candidate')} by their page"]
            ),
            f"{drops[Drop.OPTED_OUT_IMAGE]:,} by their image",
        ]
        yield f"{opting_out} left out: {', '.join(numbers)}."
    if from_tables:
        yield "The pages that the images stood on were not looked at."
    if options["images"] != "web":
        yield "No site was asked, so that robots.txt and tdmrep.json were not read."
    elif "robots.txt" not in options["ignore_signals"]:
        yield (
            f"Sites were asked by their robots.txt: "
            f"{counted(drops[Drop.ROBOTS], 'candidate')} dropped."
        )
    if options["ignore_signals"]:
        yield f"Not asked and not honoured: {_list(options['ignore_signals'])}."
    if kept := facts.counts["opt_out"]:
        yield ""
        yield from _share_table("signal of a sample that was kept", kept, facts.num_samples)


def _loading(facts: CardFacts) -> Iterator[str]:
    yield from ("## How to load it", "")
    if facts.loading:
        yield from facts.loading
        return
    yield from ("```python", "import webpairs", "")
    yield 'ds = webpairs.open("DIR")'
    yield "ds[0]  # a sample, with " + ", ".join(_shown_features(facts))
    yield "```"
    if facts.tables:
        yield from ("", "With this card as README.md in the folder, also:", "")
        yield from ("```python", "from datasets import load_dataset", "")
        yield 'rows = load_dataset("DIR", split="train")'
        yield "```"
    tars = "images/*.tar" if facts.status is not None else "*.tar"
    if facts.has_images and (facts.status is not None or "parquet" not in facts.kind):
        yield ""
        yield f"`{tars}` are WebDataset tars: `KEY.jpg`, `KEY.txt`, `KEY.json`."


def _shown_features(facts: CardFacts) -> Iterator[str]:
    yield "caption, url, similarity, nsfw"
    if facts.has_images:
        yield "image"
    if facts.embedding_size is not None:
        yield "image_embedding, text_embedding"


def _limits(facts: CardFacts) -> Iterator[str]:
    yield from ("## Limits", "")
    yield (
        "- Nothing here is child-safety detection. No tag and no model score finds illegal "
        "material reliably; that is for hash matching by the bodies entitled to it, before the "
        "images are used or passed on."
    )
    yield (
        "- Texts and images are the web's: they can be wrong, offensive, or about people who were "
        "never asked. Take out what its owners or the people shown want out."
    )
    yield "- URLs stop working, and what they show changes."
    status = facts.status
    model = None if status is None else status.manifest["model"]
    if model is not None:
        yield (
            f"- A cosine above {model['threshold']:g} is what one model takes for a match; it has "
            "the model's biases, and is not comparable with other models'."
        )
        if model["spec"] == "tiny":
            yield (
                "- The model `tiny` is made for demonstrations and is blind to the real world: "
                "this is not a dataset to train on."
            )
    if set(facts.counts["nsfw"]) <= {"UNTAGGED"}:
        yield "- No sample has an NSFW tag."


def _from_tables(status: Status) -> bool:
    """Say whether the candidates came from tables, so that no page was looked at."""
    return all(one["kind"] == "table" for one in status.manifest["inputs"])


def _share_table(name: str, counts: Counter[str], total: int) -> Iterator[str]:
    shown = counts.most_common(NUM_SHOWN)
    rows = [(_cell(value), f"{num:,}", f"{num / max(total, 1):.1%}") for value, num in shown]
    if len(counts) > len(shown):
        rest = counts.total() - sum(num for _, num in shown)
        more = f"{len(counts) - len(shown):,} others"
        rows.append((more, f"{rest:,}", f"{rest / max(total, 1):.1%}"))
    yield from _table((name, "samples", "share"), rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _list(values: Sequence[str]) -> str:
    return ", ".join(map(str, values))


def _cell(text: str) -> str:
    """Return a text for Markdown: names of files and columns are others' words."""
    shown = "".join(one if one.isprintable() else " " for one in text)
    for one in "\\`*_[]<|":
        shown = shown.replace(one, f"\\{one}")
    return shown


def code(text: str) -> str:
    """Return a text as code, also within a table."""
    shown = "".join(one if one.isprintable() and one != "`" else " " for one in text)
    return f"`{shown}`".replace("|", "\\|")
