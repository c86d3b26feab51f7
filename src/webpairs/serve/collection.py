"""The datasets that are served, each with its index, and the models, each once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from webpairs.dataset.features import TABULAR, raw_name
from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.errors import ConfigError
from webpairs.run_folder.manifest import read_manifest
from webpairs.search.index.file import model_of
from webpairs.search.index.vectors import Kind, Vectors
from webpairs.search.model import NoModel, load_model_of
from webpairs.search.searcher import Searcher
from webpairs.serve.encoder import Encoder
from webpairs.serve.filters.pool import FilterPool
from webpairs.serve.limits.refusal import UNKNOWN, Refusal
from webpairs.serve.metrics import Metrics
from webpairs.serve.options import ServeOptions


@dataclass(frozen=True, slots=True)
class Served:
    """One dataset that is served."""

    name: str
    searcher: Searcher
    encoder: Encoder | None
    no_model: str | None
    """Why there is no encoder."""
    manifest: Mapping[str, Any]
    """Of the run that made it; empty for others' folders."""
    counted: dict[str | None, dict[str, Any]] = field(default_factory=dict[str | None, Any])
    """Counts of columns by the filter they were taken for."""
    chances: dict[tuple[Kind, Kind], float | None] = field(
        default_factory=dict[tuple[Kind, Kind], float | None]
    )
    """Similarities that pairs chosen at random reach, by the kinds of their embeddings."""

    def need_encoder(self) -> Encoder:
        """Return the encoder; raise NoModel where there is none."""
        if self.encoder is None:
            raise NoModel(self.no_model or "")
        return self.encoder

    @property
    def vectors(self) -> Vectors:
        """Return embeddings of one of the kinds that are indexed."""
        return next(iter(self.searcher.indexes.values())).vectors

    @property
    def columns(self) -> tuple[str, ...]:
        """Return every column of the dataset's own."""
        return self.searcher.dataset.source.column_names

    @property
    def has_images(self) -> bool:
        """Say whether the dataset holds images."""
        return self.searcher.dataset.source.has_images

    @property
    def has_tags(self) -> bool:
        """Say whether samples are tagged at all."""
        return raw_name("nsfw", self.columns) is not None

    def row_of(self, key: str) -> int:
        """Return a sample's number; Refusal where there is none."""
        try:
            return self.searcher.row_of(key)
        except ConfigError as error:
            raise Refusal(UNKNOWN, str(error)) from error

    def about(self) -> dict[str, Any]:
        """Return what a client has to know of it."""
        searcher = self.searcher
        missing = searcher.not_indexed
        columns = dict.fromkeys((*TABULAR, *self.columns))
        return {
            "name": self.name,
            "samples": self.vectors.num_rows,
            "not_indexed": 0 if missing is None else missing.num_samples,
            "kinds": list(searcher.indexes),
            "recall": {kind: index.recall for kind, index in searcher.indexes.items()},
            "model": {
                "spec": None if self.encoder is None else self.encoder.model.spec,
                "available": self.encoder is not None,
                "reason": self.no_model,
            },
            "has_images": self.has_images,
            "bordered": self.bordered,
            "has_similarity": raw_name("similarity", self.columns) is not None,
            "columns": list(columns),
            "threshold": self.threshold,
        }

    @property
    def bordered(self) -> bool:
        """Say whether pictures were made square by a border."""
        options = self.manifest.get("options") or {}
        return options.get("recipe.resize") == "border"

    @property
    def threshold(self) -> float | None:
        """Return the least similarity of image and caption that was kept; None: nobody says."""
        asked = (self.manifest.get("options") or {}).get("threshold")
        threshold = (self.manifest.get("model") or {}).get("threshold") if asked is None else asked
        return None if threshold is None else float(threshold)


class Collection:
    """All of them, in the order of the command line."""

    def __init__(self, options: ServeOptions, metrics: Metrics) -> None:
        """Open them; raises ConfigError for what is not a dataset, or has no index that fits."""
        self._metrics = metrics
        self._encoders: list[Encoder] = []
        self.filters = FilterPool()
        searchers = [
            Searcher.open(one, index=options.index, find_rows=self.filters.find)
            for one in options.sources
        ]
        for one in searchers:
            self.filters.add(one.finder)
        names = _names([one.dataset.source.folder for one in searchers])
        self._served = {
            name: self._serve(name, searcher, options.model)
            for name, searcher in zip(names, searchers, strict=True)
        }

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    def get(self, name: str | None) -> Served:
        """Return a dataset by its name, the first for None; Refusal where there is none."""
        if name is None:
            return next(iter(self._served.values()))
        if name not in self._served:
            raise Refusal(
                UNKNOWN, f"no dataset {name!r}: there is {', '.join(map(repr, self._served))}"
            )
        return self._served[name]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Return the names of all."""
        return tuple(self._served)

    def _serve(self, name: str, searcher: Searcher, spec: str | None) -> Served:
        source = searcher.dataset.source
        dim = next(iter(searcher.indexes.values())).vectors.dim
        manifest = read_manifest(source.folder) if isinstance(source, RunFolder) else None
        manifest = manifest or {}
        known = model_of(source)
        for encoder in self._encoders:
            model = encoder.model
            same = (
                model.weights_sha256 == known["weights_sha256"]
                if known is not None
                else model.spec == spec
            )
            if same and model.dim == dim:
                return Served(name, searcher, encoder, None, manifest)
        try:
            encoder = Encoder(load_model_of(source, dim, spec), self._metrics)
        except NoModel as error:
            return Served(name, searcher, None, str(error), manifest)
        self._encoders.append(encoder)
        return Served(name, searcher, encoder, None, manifest)


def _names(folders: Sequence[Path]) -> list[str]:
    """Return a name for each folder, its own where no other has it."""
    names: list[str] = []
    for folder in folders:
        name = folder.resolve().name or "dataset"
        number, unique = 2, name
        while unique in names:
            unique, number = f"{name}-{number}", number + 1
        names.append(unique)
    if len(set(map(Path.resolve, folders))) < len(folders):
        raise ConfigError("the same DIR is there twice: name each dataset once")
    return names
