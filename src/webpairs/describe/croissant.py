"""A dataset's description in Croissant 1.0: JSON-LD that other tools validate and read.

    python -c "import mlcroissant; mlcroissant.Dataset('DIR/croissant.json').records('metadata')"

The files are given as patterns relative to the description, so it belongs into the dataset's
folder. Each folder of parquet is a record set with a field a column; tars and embeddings are listed
as files: a record set that unpacks tars would be slow, and `webpairs.open` reads them.
Source: http://mlcommons.org/croissant/1.0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from webpairs.dataset.features import FEATURES, LABELS, TABULAR, raw_name
from webpairs.dataset.sources.img2dataset import image_column
from webpairs.dataset.sources.laion import is_laion_metadata, sizes_are_swapped
from webpairs.dataset.sources.run_folder import COLUMNS
from webpairs.errors import ConfigError
from webpairs.parquet.file import UNREADABLE, read_footer, read_schema
from webpairs.quantities import counted
from webpairs.run_folder.manifest import read_manifest
from webpairs.run_folder.schema import METADATA
from webpairs.run_folder.texts_per_image import TEXTS_PER_IMAGE

CONFORMS_TO: Final = "http://mlcommons.org/croissant/1.0"
PARQUET: Final = "application/x-parquet"
_CONTEXT: Final[dict[str, Any]] = {
    # As the specification gives it, appendix 1.
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_OTHER_FILES: Final = (
    ("tars", "*.tar", "application/x-tar", "WebDataset tars: KEY.jpg, KEY.txt and KEY.json"),
    ("image-embeddings", "*img_emb_*.npy", "application/x-npy", "image embeddings, float16 (n, d)"),
    ("text-embeddings", "*text_emb_*.npy", "application/x-npy", "text embeddings, float16 (n, d)"),
)
"""Name, files (of any folder), type and meaning."""
_SWAPPED: Final = {
    "HEIGHT": "width of the image in pixels: the published files have the two sizes swapped",
    "WIDTH": "height of the image in pixels: the published files have the two sizes swapped",
}


@dataclass(frozen=True, slots=True)
class TableFolder:
    """The columns of the parquet files of one folder, named from the dataset's on."""

    folder: str
    """Empty for the dataset's own."""
    schema: pa.Schema

    @property
    def name(self) -> str:
        """Return what its record set is called."""
        return self.folder.rpartition("/")[2] or "metadata"

    @property
    def pattern(self) -> str:
        """Return which files it has."""
        return f"{self.folder}/*.parquet" if self.folder else "*.parquet"

    @property
    def rows(self) -> str:
        """Say what a row is; img2dataset writes one for a URL that failed, too."""
        if "status" in self.schema.names:
            return "a row is a URL that was asked for; of samples, status is success"
        return "a row is a sample"


def make_croissant(folder: str | Path, *, name: str | None = None) -> dict[str, Any]:
    """Return the description of a folder: a run folder, or any that holds parquet.

    `name` is by default the folder's. Raises ConfigError when there is no parquet to read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder} is not a folder: name one that holds a dataset")
    tables = list(table_folders(folder))
    if not tables:
        raise ConfigError(
            f"{folder} has no parquet files, which a Croissant description is made from: "
            "webpairs export --to laion or huggingface writes some"
        )
    manifest = read_manifest(folder) or {}
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS_TO,
        "name": name or folder.resolve().name,
        "description": _description(folder, tables, manifest),
        "isLiveDataset": False,
        "keywords": ["image-text pairs", "CLIP", "web"],
        **({"dateCreated": manifest["finished"]} if manifest.get("finished") else {}),
        "distribution": [
            *(_file_set(f"{one.name}-files", one.pattern, PARQUET, one.rows) for one in tables),
            *_other_files(folder),
        ],
        "recordSet": [_record_set(one) for one in tables],
    }


def _description(folder: Path, tables: Sequence[TableFolder], manifest: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{counted(_num_rows(folder, one), 'row')} of {one.name}" for one in tables)
    text = f"Images and texts from the web: {counts}."
    if "options" in manifest:
        recipe = manifest["options"]["recipe.name"]
        text += f" Made by webpairs {manifest['webpairs']}, recipe {recipe}"
        if (model := manifest["model"]) is not None:
            text += f", model {model['spec']}, similarity {model['threshold']:g} or more"
        text += "."
    return f"{text} Images and texts belong to their owners."


def _num_rows(folder: Path, table: TableFolder) -> int:
    num_rows = 0
    for path in folder.glob(table.pattern):
        try:
            num_rows += read_footer(path).num_rows
        except UNREADABLE:
            continue  # as readers do
    return num_rows


def table_folders(folder: Path) -> Iterator[TableFolder]:
    """Yield the folders that hold parquet: the dataset's own, else those in it."""
    if (folder / "manifest.json").is_file() and (folder / "stats").is_dir():
        folders = [folder / "metadata", *sorted((folder / COLUMNS).glob("*"))]
    elif next(folder.glob("*.parquet"), None) is not None:
        folders = [folder]
    else:
        folders = sorted(path for path in folder.iterdir() if path.is_dir())
    for one in folders:
        schema = _first_schema(one)
        if schema is not None:
            relative = one.relative_to(folder).as_posix()
            yield TableFolder("" if relative == "." else relative, schema)


def meaning_of(name: str, schema: pa.Schema) -> str:
    """Return what a column holds, as far as its name is known; else an empty text."""
    ours = "uid" in schema.names
    if name in _SWAPPED and not ours and sizes_are_swapped(schema):
        return _SWAPPED[name]
    if name in _MEANINGS and (ours or is_laion_metadata(schema)):
        return _MEANINGS[name]
    if name in _ADDED:
        return _ADDED[name]
    if name == "nsfw" and pa.types.is_integer(schema.field(name).type):
        labels = ", ".join(f"{number} {label}" for number, label in enumerate(LABELS))
        return f"{FEATURES[name].description}: {labels}"
    known = {raw_name(one, schema.names): one for one in TABULAR}
    feature = known.get(name, name)
    if feature in FEATURES:
        return FEATURES[feature].description
    return "encoded image" if name == image_column(schema) else ""


_MEANINGS: Final = {column.name: column.meaning for column in METADATA}
_ADDED: Final = {column.name: column.meaning for column in TEXTS_PER_IMAGE}


def _first_schema(folder: Path) -> pa.Schema | None:
    for path in sorted(folder.glob("*.parquet")):
        try:
            return read_schema(path)
        except UNREADABLE:
            continue
    return None


def _file_set(name: str, pattern: str, kind: str, description: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": name,
        "name": name,
        "description": description,
        "encodingFormat": kind,
        "includes": pattern,
    }


def _other_files(folder: Path) -> Iterator[dict[str, Any]]:
    for name, pattern, kind, description in _OTHER_FILES:
        if next(folder.rglob(pattern), None) is not None:
            yield _file_set(name, pattern, kind, description)


def _record_set(table: TableFolder) -> dict[str, Any]:
    name = table.name
    fields = (
        _field(f"{name}/{field.name}", field, meaning_of(field.name, table.schema), f"{name}-files")
        for field in table.schema
    )
    key = {"key": {"@id": f"{name}/key"}} if "key" in table.schema.names else {}
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": table.rows,
        **key,
        "field": [field for field in fields if field is not None],
    }


def _field(identity: str, field: pa.Field, meaning: str, files: str) -> dict[str, Any] | None:
    """Return a field of a record set; None for types that Croissant 1.0 has no word for."""
    described: dict[str, Any] = {
        "@type": "cr:Field",
        "@id": identity,
        "name": field.name,
        **({"description": meaning} if meaning else {}),
    }
    source: dict[str, Any] = {"fileSet": {"@id": files}, "extract": {"column": field.name}}
    kind = field.type
    if _is_image(field):
        transform = {"transform": {"jsonPath": "bytes"}} if pa.types.is_struct(kind) else {}
        return described | {"dataType": "sc:ImageObject", "source": source | transform}
    if _is_list(kind):
        described["repeated"] = True
        kind = kind.value_type
    if pa.types.is_struct(kind):
        return described | {
            "subField": [
                {
                    "@type": "cr:Field",
                    "@id": f"{identity}/{part.name}",
                    "name": part.name,
                    "dataType": data_type,
                    "source": source | {"transform": {"jsonPath": part.name}},
                }
                for part in kind
                if (data_type := _data_type(part.type)) is not None
            ]
        }
    data_type = _data_type(kind)
    return None if data_type is None else described | {"dataType": data_type, "source": source}


def _is_image(field: pa.Field) -> bool:
    kind = field.type
    if pa.types.is_struct(kind):
        return {part.name for part in kind} == {"bytes", "path"}
    return image_column(pa.schema([field])) is not None


def _is_list(kind: pa.DataType) -> bool:
    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in checks)


def _data_type(kind: pa.DataType) -> str | None:
    """Return Croissant's name of a type; bytes, such as ids, are text there."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    for check, name in _DATA_TYPES.items():
        if check(kind):
            return name
    return None


_DATA_TYPES: Final[Mapping[Any, str]] = {
    pa.types.is_boolean: "sc:Boolean",
    pa.types.is_integer: "sc:Integer",
    pa.types.is_floating: "sc:Float",
    pa.types.is_timestamp: "sc:DateTime",
    pa.types.is_date: "sc:Date",
    pa.types.is_string: "sc:Text",
    pa.types.is_large_string: "sc:Text",
    pa.types.is_binary: "sc:Text",
    pa.types.is_large_binary: "sc:Text",
    pa.types.is_fixed_size_binary: "sc:Text",
}
