"""Verifying shards that others wrote: img2dataset's, LAION's, clip-retrieval's, WebDataset tars.

There is no record of what they were, so they are compared with themselves: tables with tars by
key, embeddings with rows by number, texts in tars with those in tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from webpairs.dataset.features import TABULAR
from webpairs.dataset.problems import Problem, Problems
from webpairs.dataset.sources.img2dataset import Img2datasetFolder, JsonShard, TarShard
from webpairs.dataset.sources.laion import EmbeddingFolders, LaionShard
from webpairs.dataset.sources.mapped import MappedFile
from webpairs.dataset.sources.source import Embeddings, Rows, Shard, Source
from webpairs.dataset.sources.tar import walk
from webpairs.engine.link import Link
from webpairs.errors import DamagedFile
from webpairs.files import read_regular
from webpairs.verify.findings import Fault, Findings
from webpairs.verify.ids import check_norms, check_size
from webpairs.verify.tar import JSON, TEXT, TarSample, check_index, join_apart, samples_of

BATCH_ROWS: Final = 512
_STORED: Final = ("width", "height")
"""img2dataset's columns of the stored image's size."""
_OF_TAR: Final = frozenset(
    (Problem.IMAGES_MISSING, Problem.TAR_BROKEN, Problem.NO_IMAGE, Problem.NO_ROW)
)
_OF_EMBEDDINGS: Final = frozenset(
    (Problem.EMBEDDINGS_MISSING, Problem.EMBEDDINGS_BROKEN, Problem.EMBEDDINGS_UNALIGNED)
)
_IMAGE: Final = "image"


@dataclass(frozen=True, slots=True)
class PlacesUnit:
    """Which shards of a source are to be verified."""

    source: Source
    places: tuple[int, ...]
    num_bytes: tuple[int, ...]
    deep: bool


@dataclass(frozen=True, slots=True)
class PlacesReport:
    """What was found, how many samples there are, and whether every key names its shard."""

    findings: Findings
    num_samples: int
    named: bool


def verify_places(unit: PlacesUnit, link: Link) -> PlacesReport:
    """Verify some shards, one after the other; reports the MB of their files that are done."""
    findings = Findings()
    num_samples = 0
    named = True
    for place, num_bytes in zip(unit.places, unit.num_bytes, strict=True):
        check = _Check(unit, place, num_bytes, findings, link)
        num_samples += check.run()
        named &= check.named
    return PlacesReport(findings, num_samples, named)


def num_bytes(source: Source) -> list[int]:
    """Return how many bytes the files of each shard have; row groups of a file share its bytes."""
    sizes: list[int] = []
    groups = Counter(name.partition(":")[0] for name in source.names)
    for name in source.names:
        paths = [source.folder / file for file in files_of(source, name)]
        size = sum(path.stat().st_size for path in paths if path.exists())
        sizes.append(size // groups[name.partition(":")[0]])
    return sizes


def missing_names(names: Sequence[str]) -> list[str]:
    """Return the numbers that lack between the first shard's and the last one's."""
    if not all(name.isdigit() for name in names) or not names:
        return []
    there = {int(name) for name in names}
    width = len(names[0])
    return [f"{n:0{width}d}" for n in range(min(there), max(there)) if n not in there]


def files_of(source: Source, name: str) -> tuple[str, ...]:
    """Return the files that a shard has or should have, that of its rows first."""
    if isinstance(source, Img2datasetFolder):
        table, tar = f"{name}.parquet", f"{name}.tar"
        return (table, tar) if (source.folder / table).exists() else (tar,)
    if isinstance(source, EmbeddingFolders):
        kinds = (("metadata", "parquet"), ("img_emb", "npy"), ("text_emb", "npy"))
        if not source.has_texts:
            kinds = kinds[:2]
        return tuple(f"{kind}/{kind}_{name}.{suffix}" for kind, suffix in kinds)
    return (name.partition(":")[0],)


class _Check:
    """Check of one shard."""

    def __init__(
        self, unit: PlacesUnit, place: int, num_bytes: int, findings: Findings, link: Link
    ) -> None:
        self.named = True
        """Whether every key begins with the name of its shard."""
        self._unit = unit
        self._place = place
        self._name = unit.source.names[place]
        self._files = files_of(unit.source, self._name)
        self._num_bytes = num_bytes
        self._findings = findings
        self._link = link

    def run(self) -> int:
        """Check everything; return how many samples there are."""
        problems = Problems()
        num_samples = 0
        try:
            shard = self._unit.source.open(self._place, problems)
            num_samples = shard.num_rows
            self._check_rows(shard, problems)
        except DamagedFile as error:
            self._findings.add(Fault.FILE_BROKEN, self._files[0], str(error))
        self._findings.add_problems(problems, self._file_of)
        return num_samples

    def _check_rows(self, shard: Shard, problems: Problems) -> None:
        source = self._unit.source
        tar = self._read_tar(shard, problems) if isinstance(source, Img2datasetFolder) else {}
        sized = isinstance(shard, TarShard) and set(_STORED) <= set(shard.column_names)
        names = [*TABULAR, "key", *(_STORED if sized else ())]
        left = self._num_bytes
        for rows, table in shard.stream(names, None, BATCH_ROWS):
            batch = table.to_pylist()
            if source.has_keys:
                self.named &= all(row["key"].startswith(self._name) for row in batch)
            self._check_images(shard, rows, batch, problems)
            self._check_embeddings(shard, rows, [row["key"] for row in batch])
            if isinstance(shard, TarShard):
                self._check_texts(tar, batch)
            shard.release(rows)
            done = min(left, self._num_bytes * len(rows) // shard.num_rows)
            left -= done
            self._link.report({"done": done / 1e6})
        self._link.report({"done": left / 1e6})

    def _file_of(self, problem: Problem) -> str:
        if problem in _OF_TAR:
            return self._files[-1]
        if problem is Problem.METADATA_MISSING and isinstance(self._unit.source, Img2datasetFolder):
            return f"{self._name}.parquet"
        if problem in _OF_EMBEDDINGS:
            folder = self._unit.source.folder
            missing = [file for file in self._files[1:] if not (folder / file).exists()]
            return (missing or self._files[1:])[0]
        return self._files[0]

    def _check_images(
        self, shard: Shard, rows: Rows, batch: Sequence[dict[str, Any]], problems: Problems
    ) -> None:
        """Note rows without an image, and when deep what does not decode to the size it has."""
        if not self._unit.source.has_images:
            return
        pairs = zip(rows.tolist(), batch, shard.images(rows), strict=True)
        for number, row, image in pairs:
            if image is None:
                problems.of_row(Problem.NO_IMAGE, self._name, number, row["key"])
            elif self._unit.deep:
                size = row.get("width"), row.get("height")
                check_size(image, size, self._files[-1], row["key"], self._findings)

    def _check_embeddings(self, shard: Shard, rows: Rows, keys: Sequence[str]) -> None:
        found: Sequence[Embeddings] | None = shard.embeddings(rows)
        if found is None and isinstance(shard, LaionShard) and shard.single is not None:
            found = (shard.single.rows[rows],)
        if found is not None:
            for file, part in zip(self._files[1:], found, strict=True):
                check_norms(part, keys, file, self._findings)

    def _read_tar(
        self, shard: Shard, problems: Problems
    ) -> dict[str, tuple[MappedFile, TarSample]]:
        """Return the samples of the tar by the key of their row; note what stands apart or lacks.

        A sample must have what most of its shard have: readers of WebDataset infer columns from
        the first ones.
        """
        path = self._unit.source.folder / f"{self._name}.tar"
        if not path.exists():
            return {}
        try:
            tar = MappedFile(path)
        except OSError as error:
            problems.of_shard(Problem.TAR_BROKEN, self._name, str(error))
            return {}
        walked = walk(tar)
        if walked.broken is not None:
            problems.of_shard(Problem.TAR_BROKEN, self._name, walked.broken)
        in_order = samples_of(walked)
        index = path.with_name(f"{path.name}.idx")
        if index.is_file():
            check_index(read_regular(index), in_order, len(tar.data), index.name, self._findings)
        samples = join_apart(in_order, path.name, self._findings)
        kinds = Counter(_kinds(sample) for sample in samples.values())
        wanted = kinds.most_common(1)[0][0] if kinds else frozenset[str]()
        if isinstance(shard, JsonShard):
            wanted -= {_IMAGE}  # told when it was opened
        for sample in samples.values():
            for kind in sorted(wanted - _kinds(sample)):
                detail = f"it has no {kind}, as most samples have"
                self._findings.add(Fault.MEMBER_MISSING, path.name, detail, sample.key)
        prefix = self._prefix()
        return {prefix + key: (tar, sample) for key, sample in samples.items()}

    def _prefix(self) -> str:
        source = self._unit.source
        anew = isinstance(source, Img2datasetFolder) and source.keys_start_anew
        return self._name if anew else ""

    def _check_texts(
        self,
        tar: dict[str, tuple[MappedFile, TarSample]],
        batch: Sequence[dict[str, Any]],
    ) -> None:
        """Compare what the tar says of a sample with what the table says."""
        for row in batch:
            if row["key"] not in tar:
                continue  # it has no image either
            file, sample = tar[row["key"]]
            wrong: list[str] = []
            if (extent := sample.members.get(TEXT)) is not None:
                text = file.data[slice(*extent)].decode(errors="replace")
                wrong += [] if text == row["caption"] else ["its .txt is not the table's caption"]
            if (extent := sample.members.get(JSON)) is not None:
                wrong += _wrong_json(file.data[slice(*extent)], row)
            for detail in wrong:
                self._findings.add(Fault.MEMBER_WRONG, self._files[-1], detail, row["key"])


def _kinds(sample: TarSample) -> frozenset[str]:
    """Return what a sample has: image, .txt, .json and so on."""
    images = sample.images
    others = {f".{name}" for name in sample.members if name not in images}
    return frozenset(others | ({_IMAGE} if images else set()))


def _wrong_json(data: bytes, row: dict[str, Any]) -> list[str]:
    try:
        fields = orjson.loads(data)
    except ValueError:
        return ["its .json is not JSON"]
    if not isinstance(fields, dict):
        return ["its .json is not an object"]
    names = ("caption", "url")
    return [
        f"its .json has another {name} than the table"
        for name in names
        if name in fields and (fields[name] or "") != row[name]
    ]
