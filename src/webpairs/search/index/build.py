"""Building an index, going on with one that was stopped, adding what is new.

    survey     every vector is read once: has it a direction, are all of length 1
    train      centroids and codec from a sample                        work/image.faiss
    encode     codes of some thousand rows, and which of them are        work/image-00000.part
               nearest to the held-out queries                           work/image-00000.npz
    merge      the parts, after the lists of the index that is extended  image-0.lists
    tune       the effort that finds as much as was asked for
    rows       what results show of every sample                         rows-0.arrow
    commit     manifest.json

Each step leaves a file that is whole or not there, so that the same line typed again goes on with
those that are missing. Few vectors need no lists: they are searched as they are.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.dataset.dataset import open_dataset
from webpairs.dataset.problems import Problems
from webpairs.dataset.sources.mapped import as_float32
from webpairs.dataset.sources.source import Rows, Source
from webpairs.errors import ConfigError
from webpairs.files import remove_leftovers, write_json, write_whole
from webpairs.progress import RunProgress, StageTotal
from webpairs.quantities import counted
from webpairs.run_folder.lock import explained, locked
from webpairs.run_folder.manifest import NAME
from webpairs.search.index.build_rows import build_rows
from webpairs.search.index.centroids import SAMPLE_A_LIST, Divider, find_centroids, num_lists
from webpairs.search.index.codec import Codec, choose_code
from webpairs.search.index.file import (
    EXACT,
    FORMAT,
    WORK,
    ListFiles,
    are_whole,
    index_folder,
    model_of,
    number_of,
    read_arrays,
    read_index_manifest,
    sizes_of,
    unused,
)
from webpairs.search.index.fingerprint import Fingerprint, fingerprints
from webpairs.search.index.held_out import (
    Queries,
    Truth,
    from_arrays,
    merged,
    nearest_in_block,
    pick_queries,
    queries_at,
    to_arrays,
)
from webpairs.search.index.inverted import EXACT_ROWS, TUNED_K, Inverted
from webpairs.search.index.lists import read_lists, read_part, write_lists, write_part
from webpairs.search.index.recall import Measured, tune
from webpairs.search.index.vectors import (
    KINDS,
    UNIT,
    Floats,
    Kind,
    Vectors,
    lengths,
    normalised,
    vectors_of,
)
from webpairs.search.options import IndexOptions
from webpairs.version import __version__

GROWN: Final = 4
"""An index of so many times the vectors its centroids were found from is built anew."""
_SURVEY_ROWS: Final = 16_384
_PART_ROWS: Final = 262_144
_BLOCK_ROWS: Final = 32_768
_SEED: Final = 400
_MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What `build_index` made; `manifest` is what stands in the folder."""

    folder: Path
    manifest: Mapping[str, Any]
    done_before: bool
    """Whether there was nothing left to do."""
    notes: tuple[str, ...]
    """Sentences about what was done instead of something else."""


@dataclass(frozen=True, slots=True)
class _Survey:
    unit: bool
    num_usable: int


@dataclass(frozen=True, slots=True)
class _Base:
    """An inverted index that is extended: the first rows of the dataset."""

    files: ListFiles
    rows: int
    trained_rows: int
    code: str


def build_index(options: IndexOptions, progress: RunProgress | None = None) -> IndexResult:
    """Index a dataset, or go on with it, or add what is new; return what is there.

    Raises ConfigError before any work for what cannot be indexed, RunError when the disk is full or
    cannot be written. Memory is about `max_memory_bytes` at most, whatever the dataset.
    """
    progress = progress or RunProgress(quiet=True)
    source = open_dataset(options.source).source
    # An empty run folder has no embeddings either, which would be the wrong thing to say.
    if not any(source.num_rows(place) for place in range(len(source.names))):
        raise ConfigError(
            f"{source.folder} ({source.kind}) has no samples to index{_why_none(source)}"
        )
    folder = index_folder(source, options.out)
    kinds = vectors_of(source)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make {folder}: {error.strerror}") from error
    with explained(folder), locked(folder):
        return _Building(options, folder, kinds, progress).run()


def _why_none(source: Source) -> str:
    """Return what is wrong with the first shard that has no samples, as the end of a sentence."""
    for place in range(len(source.names)):
        problems = Problems()
        source.open(place, problems)
        for found in problems.listed():
            return f": {found.problem}: {found.detail}"
    return ""


class _Building:
    """What the steps of one build share."""

    def __init__(
        self,
        options: IndexOptions,
        folder: Path,
        vectors: Mapping[Kind, Vectors],
        progress: RunProgress,
    ) -> None:
        self._options = options
        self._folder = folder
        self._work = folder / WORK
        self._vectors = vectors
        self._progress = progress
        self._there = read_index_manifest(folder)
        self._notes: list[str] = []
        self._kinds: tuple[Kind, ...] = ()

    def run(self) -> IndexResult:
        """Make the index that was asked for, of each kind."""
        vectors = self._vectors["image"]
        known = self._there
        now, before = self._compare(known)
        if known is not None and before is None:
            self._notes.append("the index that was there is of other embeddings: it is built anew")
            known = None
        # What is there of another kind stays, and has to be of the same samples.
        there = () if known is None else known["indexes"]
        self._kinds = self._wanted_kinds(there)
        if known is not None and before == now and self._is_as_asked(known):
            return IndexResult(self._folder, known, True, ())
        remove_leftovers(self._folder)
        self._check_work(now)
        indexes = {kind: self._build(kind, known, before) for kind in self._kinds}
        rows = build_rows(
            self._folder,
            vectors,
            None if self._there is None else self._there["rows"],
            0 if known is None or before is None else before.shards,
            self._progress,
        )
        if missing := rows["unreadable"]:
            self._notes.append(
                f"metadata of {counted(missing, 'sample')} cannot be read: they are left out "
                "of results; "
                "webpairs verify says which, and the same line typed again reads them again"
            )
        manifest = {
            "format": FORMAT,
            "webpairs": __version__,
            "faiss": version("faiss-cpu"),
            "source": now.as_json(),
            _MODEL: model_of(vectors.source),
            "dim": vectors.dim,
            "asked_recall": self._options.recall,
            "indexes": indexes,
            "rows": rows,
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(self._folder / NAME, manifest)
        for path in unused(self._folder, manifest):
            path.unlink(missing_ok=True)
        shutil.rmtree(self._work, ignore_errors=True)
        return IndexResult(self._folder, manifest, False, tuple(self._notes))

    def _compare(self, known: Mapping[str, Any] | None) -> tuple[Fingerprint, Fingerprint | None]:
        """Return what the dataset is, and what part of it the index there is of, None: of none."""
        vectors = self._vectors["image"]
        num_shards = len(vectors.source.names)
        if known is None:
            return fingerprints(vectors, [num_shards])[0], None
        there = Fingerprint(**known["source"])
        if there.shards > num_shards:
            return fingerprints(vectors, [num_shards])[0], None
        first, now = fingerprints(vectors, [there.shards, num_shards])
        same = known["dim"] == vectors.dim and known[_MODEL] == model_of(vectors.source)
        return now, there if same and first == there else None

    def _is_as_asked(self, known: Mapping[str, Any]) -> bool:
        asked = self._options.recall, set(self._kinds)
        whole = are_whole(self._folder, sizes_of(known)) and not known["rows"]["unreadable"]
        return whole and (known["asked_recall"], set(known["indexes"])) == asked

    def _check_work(self, now: Fingerprint) -> None:
        """Remove what was begun of other embeddings or for other options.

        Parts of a dataset that was added to since are of use: they are of its first rows.
        """
        mark = self._work / NAME
        plan = {
            "max_memory_bytes": self._options.max_memory_bytes,
            "kinds": list(self._kinds),
            _MODEL: model_of(self._vectors["image"].source),
            "source": now.as_json(),
        }
        there = read_index_manifest(self._work)
        if there is not None:
            source = there.pop("source")
            begun = Fingerprint(**source)
            shards = len(self._vectors["image"].source.names)
            fits = begun.shards <= shards and (
                begun == fingerprints(self._vectors["image"], [begun.shards])[0]
            )
            if fits and all(there.get(name) == plan[name] for name in plan if name != "source"):
                return
        shutil.rmtree(self._work, ignore_errors=True)
        for path in unused(self._folder, self._there):
            path.unlink(missing_ok=True)
        write_json(mark, {"format": FORMAT, **plan})

    def _wanted_kinds(self, there: Iterable[str]) -> tuple[Kind, ...]:
        """Return the kinds to index: those that are asked for or indexed, as far as there are any.

        Raises ConfigError where there is none of them.
        """
        wanted: list[Kind] = [kind for kind in KINDS if kind in self._options.what or kind in there]
        found: tuple[Kind, ...] = tuple(kind for kind in wanted if kind in self._vectors)
        missing = [kind for kind in wanted if kind not in found]
        folder = self._vectors["image"].source.folder
        if not found:
            raise ConfigError(f"{folder} has no {missing[0]} embeddings: index those of images")
        self._notes += [f"there are no {kind} embeddings: they are not indexed" for kind in missing]
        return found

    def _build(
        self, kind: Kind, known: Mapping[str, Any] | None, before: Fingerprint | None
    ) -> dict[str, Any]:
        """Return the manifest's entry of a kind's index, whose files are there."""
        vectors = self._vectors[kind]
        survey = self._survey(vectors)
        facts: dict[str, Any] = {
            "count": survey.num_usable,
            "without_direction": vectors.num_rows - survey.num_usable,
            "unit": survey.unit,
        }
        if not survey.num_usable:
            raise ConfigError(f"no {kind} embedding of {vectors.source.folder} has a direction")
        if survey.num_usable <= EXACT_ROWS or self._options.recall == 1:
            recall = {f"at_{k}": 1.0 for k in TUNED_K}
            queries = {query: {"recall": recall} for query in KINDS}
            return {"kind": EXACT, **facts, "files": {}, "queries": queries}
        return facts | self._build_lists(kind, survey, _base(self._folder, kind, known, before))

    def _survey(self, vectors: Vectors) -> _Survey:
        """Read all vectors: how many have a direction, and are all of length 1."""
        unit, num_usable = True, 0
        total = StageTotal("survey", f"{vectors.kind} vectors", vectors.num_rows)
        with self._progress.stage(total):
            for _, block in vectors.blocks(0, vectors.num_rows, _SURVEY_ROWS, release=True):
                found = lengths(as_float32(block))
                usable = found[np.isfinite(found) & (found > 0)]
                num_usable += len(usable)
                unit = unit and bool((np.abs(usable - 1) <= UNIT).all())
                self._progress.add({"done": len(block)})
        return _Survey(unit, num_usable)

    def _build_lists(self, kind: Kind, survey: _Survey, base: _Base | None) -> dict[str, Any]:
        vectors, options = self._vectors[kind], self._options
        code = choose_code(
            survey.num_usable, vectors.dim, len(self._kinds), options.max_memory_bytes
        )
        if base is not None and (
            base.code != code or survey.num_usable > GROWN * base.trained_rows
        ):
            self._notes.append(f"{kind}: so much is new that the index is built anew")
            base = None
        encoder = _Encoder(self._work, kind, vectors, survey, self._queries(kind, base))
        codec = self._codec(encoder, code, base)
        if base is not None and base.rows == vectors.num_rows:
            files = base.files
        else:
            # The next number, so that what the manifest names stays whole until it is replaced.
            named = None if self._there is None else _number(self._there, kind)
            files = ListFiles.of(self._folder, kind, 0 if named is None else named + 1)
            parts = self._encode(encoder, codec, 0 if base is None else base.rows)
            self._merge(encoder, codec, base, parts, files)
        measured = self._tune(encoder, files)
        return {
            "kind": "inverted lists",
            "code": code,
            "lists": codec.num_lists,
            "trained_rows": survey.num_usable if base is None else base.trained_rows,
            "files": files.sizes(),
            "queries": {query: one.as_json() for query, one in measured.items()},
        }

    def _queries(self, kind: Kind, base: _Base | None) -> Queries:
        """Return the queries of the index that is extended, or those that were picked for it."""
        if base is not None:
            return queries_at(read_arrays(base.files.facts)["queries"], self._vectors)
        path = self._work / f"{kind}-queries.npy"
        if not path.exists():
            with write_whole(path) as temporary, temporary.open("wb") as file:
                np.save(file, pick_queries(self._vectors))
        return queries_at(np.load(path), self._vectors)

    def _codec(self, encoder: _Encoder, code: str, base: _Base | None) -> Codec:
        """Return the codec of the index that is extended, or one that is trained, or was."""
        path = encoder.trained
        if base is not None:
            return Codec.read(base.files.trained)
        if not path.exists():
            budget = self._options.max_memory_bytes // 3 // (4 * encoder.vectors.dim)
            num = num_lists(encoder.survey.num_usable, budget)
            with self._progress.stage(StageTotal("train", "lists", num)):
                codec = encoder.train(code, num, budget)
                self._progress.add({"done": num})
            with write_whole(path) as temporary:
                codec.write(temporary)
        return Codec.read(path)

    def _encode(self, encoder: _Encoder, codec: Codec, start: int) -> list[tuple[Path, Path]]:
        """Write the parts that are missing; return all, in the order of their rows."""
        num_rows = encoder.vectors.num_rows
        room = self._options.max_memory_bytes // 4
        size = min(_PART_ROWS, max(_BLOCK_ROWS, room // (2 * codec.code_bytes + 64)))
        starts = range(start, num_rows, size)
        parts = [encoder.part(first, min(first + size, num_rows)) for first in starts]
        done = [index for index, (part, _) in enumerate(parts) if part.exists()]
        known = sum(min(size, num_rows - starts[index]) for index in done)
        divider: Divider | None = None
        total = StageTotal("encode", f"{encoder.vectors.kind} vectors", num_rows - start, known)
        with self._progress.stage(total):
            for index, first in enumerate(starts):
                if index in done:
                    continue
                divider = divider or Divider(codec.centroids())
                end = min(first + size, num_rows)
                encoder.write(codec, divider, first, end, self._progress)
        return parts

    def _merge(
        self,
        encoder: _Encoder,
        codec: Codec,
        base: _Base | None,
        parts: list[tuple[Path, Path]],
        files: ListFiles,
    ) -> None:
        """Write the files of the index."""
        num_rows = encoder.vectors.num_rows
        # Stopped after it, unless samples were added since.
        if files.facts.exists() and int(read_arrays(files.facts)["rows"]) == num_rows:
            return
        known: list[Any] = []
        truth: list[Truth] = []
        if base is not None:
            arrays = read_arrays(base.files.facts)
            known.append(read_lists(base.files.lists, arrays["sizes"], codec.code_bytes))
            truth.append(from_arrays(arrays))
        known += [read_part(part, codec.num_lists, codec.code_bytes) for part, _ in parts]
        for _, path in parts:
            truth.append(from_arrays(read_arrays(path)))
        total = StageTotal("merge", "parts", len(known))
        with self._progress.stage(total):
            sizes = write_lists(files.lists, known, codec.code_bytes)
            self._progress.add({"done": len(known)})
        with write_whole(files.trained) as temporary:
            codec.write(temporary)
        queries = encoder.queries
        means = {f"mean_{kind}": queries.vectors[kind].mean(axis=0) for kind in queries.vectors}
        nearest = to_arrays(merged(truth, len(queries.rows)))
        with write_whole(files.facts) as temporary, temporary.open("wb") as file:
            np.savez(file, rows=num_rows, sizes=sizes, queries=queries.rows, **means, **nearest)

    def _tune(self, encoder: _Encoder, files: ListFiles) -> dict[str, Measured]:
        arrays = read_arrays(files.facts)
        sizes, truth = arrays["sizes"], from_arrays(arrays)
        index = Inverted(
            files.trained, files.lists, sizes, encoder.vectors, unit=encoder.survey.unit
        )
        queries, target = encoder.queries, self._options.recall
        measured: dict[str, Measured] = {}
        with self._progress.stage(StageTotal("tune", "kinds of queries", len(truth))):
            for query, nearest in truth.items():
                vectors = queries.vectors[query]
                measured[query] = tune(index, vectors, queries.rows, nearest, target)
                self._progress.add({"done": 1})
        for query, one in measured.items():
            if (recall := one.recall[TUNED_K[0]]) < target:
                self._notes.append(
                    f"{encoder.vectors.kind}: of the {TUNED_K[0]} nearest to {query} queries "
                    f"{recall:.3f} are found, {target:g} was asked for: give more --max-memory for "
                    "longer codes, or --recall 1, which is exact"
                )
        return measured


class _Encoder:
    """Turning the rows of one kind into parts of an index."""

    def __init__(
        self, work: Path, kind: Kind, vectors: Vectors, survey: _Survey, queries: Queries
    ) -> None:
        self.vectors = vectors
        self.survey = survey
        self.queries = queries
        self.trained = work / f"{kind}.faiss"
        self._work = work
        self._kind: Kind = kind

    def part(self, start: int, end: int) -> tuple[Path, Path]:
        """Return where the lists of the part with these rows are, and its truth."""
        stem = f"{self._kind}-{start:012d}-{end:012d}"
        return self._work / f"{stem}.part", self._work / f"{stem}.npz"

    def train(self, code: str, num: int, budget: int) -> Codec:
        """Find centroids and codec from at most `budget` rows, none of which is a query."""
        wanted = min(SAMPLE_A_LIST * num, budget)
        num_rows = self.vectors.num_rows
        rng = np.random.default_rng(_SEED)
        picked = np.unique(rng.integers(0, num_rows, min(2 * wanted, 4 * num_rows)))
        picked = np.sort(rng.permutation(np.setdiff1d(picked, self.queries.rows))[:wanted])
        sample = self._compared(self.vectors.take_rising(picked))
        if not (usable := _usable(sample)).all():
            sample = sample[usable]
        centroids = find_centroids(sample, num)
        return Codec.train(code, centroids, sample[:: max(1, len(sample) // _BLOCK_ROWS)])

    def write(
        self, codec: Codec, divider: Divider, start: int, end: int, progress: RunProgress
    ) -> None:
        """Write the part of the rows from `start` to `end`."""
        lists: list[Rows] = [np.zeros(0, np.int64)]
        rows: list[Rows] = [np.zeros(0, np.int64)]
        codes = [np.zeros((0, codec.code_bytes), np.uint8)]
        truth: list[Truth] = []
        for first, block in self.vectors.blocks(start, end, _BLOCK_ROWS, release=True):
            here = self._compared(block)
            good = np.flatnonzero(_usable(here))
            if len(good):
                here = here[good]
                lists.append(divider.assign(here))
                rows.append(first + good)
                codes.append(codec.encode(here, lists[-1]))
                truth.append(nearest_in_block(self.queries, here, rows[-1], lists[-1]))
            progress.add({"done": len(block)})
        path, truth_path = self.part(start, end)
        nearest = to_arrays(merged(truth, len(self.queries.rows)))
        with write_whole(truth_path) as temporary, temporary.open("wb") as file:
            np.savez(file, **nearest)
        all_lists = np.concatenate(lists)
        write_part(path, all_lists, np.concatenate(rows), np.concatenate(codes), codec.num_lists)

    def _compared(self, block: npt.NDArray[Any]) -> Floats:
        """Return vectors as a search compares them."""
        return as_float32(block) if self.survey.unit else normalised(block)


def _usable(vectors: Floats) -> npt.NDArray[np.bool_]:
    found = lengths(vectors)
    return np.isfinite(found) & (found > 0)


def _base(
    folder: Path, kind: Kind, known: Mapping[str, Any] | None, before: Fingerprint | None
) -> _Base | None:
    """Return the index that can be extended; None where there is none."""
    if known is None or before is None:
        return None
    number = _number(known, kind)
    if number is None:
        return None
    entry = known["indexes"][kind]
    files = ListFiles.of(folder, kind, number)
    if not are_whole(folder, entry["files"]):
        return None
    return _Base(files, before.rows, entry["trained_rows"], entry["code"])


def _number(manifest: Mapping[str, Any], kind: Kind) -> int | None:
    """Return the number of the files of a kind's index; None where it has none."""
    files = manifest["indexes"].get(kind, {}).get("files")
    return number_of(files) if files else None
