"""The files of an index, and its manifest, which says what is indexed.

    index/manifest.json        written last, whole or not at all: what is named in it is complete
    index/image-0.faiss        centroids and codec, as faiss writes them
    index/image-0.lists        codes and row numbers, list after list; read by mapping it
    index/image-0.npz          sizes of the lists, and the held-out queries with their truth
    index/rows-0.arrow         what results show of every sample (row_store.py)
    index/work/                parts of an index that is being built

Files of an index that was extended have the next number, so that whoever reads the old ones can go
on. An exact index has no lists: the embeddings themselves are searched.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.dataset.sources.source import Source
from webpairs.errors import ConfigError, DamagedFile
from webpairs.files import open_regular
from webpairs.quantities import counted
from webpairs.run_folder.funnel import read_json
from webpairs.run_folder.manifest import NAME, read_manifest
from webpairs.search.index.fingerprint import fingerprints
from webpairs.search.index.vectors import Vectors

FORMAT: Final = 3
FOLDER: Final = "index"
WORK: Final = "work"
EXACT: Final = "exact"
"""Kind of an index without files."""
_DAMAGED: Final = (OSError, ValueError, TypeError, MemoryError, OverflowError, RecursionError)
_OURS: Final = re.compile(r"(image|text)-\d+\.(faiss|lists|npz)|rows-\d+\.arrow")


@dataclass(frozen=True, slots=True)
class ListFiles:
    """The paths of the files of one inverted index."""

    trained: Path
    lists: Path
    facts: Path

    @classmethod
    def of(cls, folder: Path, kind: str, number: int) -> ListFiles:
        """Return where index `number` of a kind of embeddings has its files."""
        stem = f"{kind}-{number}"
        names = (f"{stem}.faiss", f"{stem}.lists", f"{stem}.npz")
        return cls(*(folder / name for name in names))

    @property
    def all(self) -> tuple[Path, ...]:
        """Return every file."""
        return self.trained, self.lists, self.facts

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every file, by name."""
        return {path.name: path.stat().st_size for path in self.all}


def index_folder(source: Source, out: str | None) -> Path:
    """Return where the index of a source is, or goes; ConfigError where that must be said."""
    if out is not None:
        if not out or "://" in out:
            raise ConfigError(f"the folder {out!r} cannot hold an index: name a local folder")
        return Path(out)
    if isinstance(source, RunFolder):
        return source.folder / FOLDER
    raise ConfigError(
        f"{source.folder} is {source.kind}, which webpairs does not write into: say --out FOLDER "
        "for the index, and search with --index FOLDER"
    )


def model_of(source: Source) -> dict[str, Any] | None:
    """Return spec, weights and size of the model that made the embeddings; None: nobody says."""
    if not isinstance(source, RunFolder):
        return None
    model = (read_manifest(source.folder) or {}).get("model")
    if model is None:
        return None
    return {name: model.get(name) for name in ("spec", "weights_sha256", "dim")}


def read_index_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest of an index; None where there is none that this version can read."""
    try:
        manifest = read_json(folder / NAME)
    except ValueError:
        return None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        return None
    return manifest


def check_index(folder: Path, manifest: Mapping[str, Any], vectors: Vectors) -> None:
    """Raise ConfigError, saying why and what to do, unless this is an index of these vectors.

    It may be of the first shards alone: a dataset grows by retries.
    """
    source = vectors.source
    again = f"type {index_command(source, folder)} again"
    if manifest["dim"] != vectors.dim:
        raise ConfigError(
            f"{folder} is of embeddings of {manifest['dim']} numbers, those of {source.folder} "
            f"have {vectors.dim}: {again}"
        )
    here, there = model_of(source), manifest["model"]
    if here is not None and there is not None and here != there:
        raise ConfigError(
            f"{folder} was made of embeddings of {_named(there)}, those of {source.folder} are of "
            f"{_named(here)}: {again}"
        )
    known, shards = manifest["source"], len(source.names)
    if known["shards"] > shards or known["rows"] > vectors.num_rows:
        raise ConfigError(
            f"{folder} is of {counted(known['rows'], 'sample')} in "
            f"{counted(known['shards'], 'shard')}, "
            f"{source.folder} has {vectors.num_rows:,} in {shards:,}: {again}"
        )
    if fingerprints(vectors, [known["shards"]])[0].as_json() != known:
        raise ConfigError(
            f"embeddings or metadata of {source.folder} are not those that {folder} was made of: "
            f"{again}"
        )


def index_command(source: Source, folder: Path) -> str:
    """Return what to type for an index of a source in a folder."""
    usual = isinstance(source, RunFolder) and folder == source.folder / FOLDER
    return f"webpairs index {source.folder}" + ("" if usual else f" --out {folder}")


def read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a `.npz` file that an index has; ConfigError where it is not one.

    Its members are not compressed, so that none of them is larger than the file.
    """
    try:
        with open_regular(path) as file:
            with zipfile.ZipFile(file) as members:
                num_bytes = sum(member.file_size for member in members.infolist())
            if num_bytes > file.seek(0, os.SEEK_END):
                raise ValueError(f"its members say that they have {num_bytes:,} bytes")
            file.seek(0)
            with np.load(file) as arrays:
                return {name: arrays[name] for name in arrays.files}
    except (*_DAMAGED, zipfile.BadZipFile, EOFError, LookupError, NotImplementedError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: BaseException) -> DamagedFile:
    """Return the error to raise for a file of an index that cannot be read."""
    return DamagedFile(path, error, f"remove {path.parent}, then type webpairs index again")


def rows_path(folder: Path, number: int) -> Path:
    """Return where the rows of an index of this number are."""
    return folder / f"rows-{number}.arrow"


def number_of(files: Mapping[str, int]) -> int:
    """Return the number that some files of an index have."""
    return int(min(files).partition("-")[2].partition(".")[0])


def sizes_of(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return every file that a manifest names, and how many bytes it has."""
    sizes = dict(manifest["rows"]["files"])
    for one in manifest["indexes"].values():
        sizes |= one["files"]
    return sizes


def are_whole(folder: Path, sizes: Mapping[str, int]) -> bool:
    """Say whether files of an index are there and have their sizes."""
    try:
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except OSError:
        return False


def check_files(folder: Path, sizes: Mapping[str, int], source: Source) -> None:
    """Raise ConfigError where a file of a source's index is missing or cut."""
    for name, size in sizes.items():
        path = folder / name
        there = path.stat().st_size if path.exists() else None
        if there != size:
            what = "is missing" if there is None else f"has {there:,} bytes instead of {size:,}"
            raise ConfigError(f"{path} {what}: type {index_command(source, folder)} again")


def unused(folder: Path, manifest: Mapping[str, Any] | None) -> list[Path]:
    """Return files of indexes that the manifest does not name: of earlier ones, or stopped ones."""
    named = {} if manifest is None else sizes_of(manifest)
    ours = (path for path in folder.iterdir() if _OURS.fullmatch(path.name))
    return [path for path in ours if path.name not in named]


def _named(model: Mapping[str, Any]) -> str:
    return f"{model['spec']} (weights {str(model['weights_sha256'])[:12]})"
