"""What a tar of samples holds, member by member, and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import orjson

from webpairs.build.shard_writer import NOT_KNOWN, sample_json
from webpairs.dataset.sources.mapped import MappedFile
from webpairs.dataset.sources.tar import BLOCK, IMAGE_EXTENSIONS, Walked, split, walk
from webpairs.files import read_regular
from webpairs.quantities import counted
from webpairs.run_folder.layout import ShardFiles
from webpairs.run_folder.rows import Sample
from webpairs.verify.findings import Fault, Findings
from webpairs.verify.ids import check_size

Extent = tuple[int, int]
"""Where the bytes of a member start and end."""

TEXT: Final = "txt"
JSON: Final = "json"


@dataclass(slots=True)
class TarSample:
    """Neighbouring members of one key, in their order."""

    key: str
    start: int
    """Where the member before it ends; extended headers may come before its own."""
    header: int
    """Where the header of its first member starts."""
    end: int
    """Where its last member ends."""
    members: dict[str, Extent] = field(default_factory=dict[str, Extent])
    repeated: list[str] = field(default_factory=list[str])

    @property
    def images(self) -> list[str]:
        """Return the extensions of its images."""
        return [name for name in self.members if name in IMAGE_EXTENSIONS]

    @property
    def image(self) -> Extent | None:
        """Return its first image."""
        return self.members[self.images[0]] if self.images else None

    def take(self, other: TarSample) -> None:
        """Take over members that stand elsewhere in the tar."""
        for name, extent in other.members.items():
            if name in self.members:
                self.repeated.append(name)
            else:
                self.members[name] = extent
        self.repeated += other.repeated


def samples_of(walked: Walked) -> list[TarSample]:
    """Return the samples as a reader of the stream meets them: neighbours of one key are one."""
    samples: list[TarSample] = []
    position = 0
    for name, start, end in walked.members:
        key, extension = (part.decode(errors="replace") for part in split(name))
        extension = extension.lower()
        if not samples or samples[-1].key != key:
            samples.append(TarSample(key, position, start - BLOCK, 0))
        sample = samples[-1]
        sample.end = position = end + -end % BLOCK
        if extension in sample.members:
            sample.repeated.append(extension)
        else:
            sample.members[extension] = (start, end)
    return samples


def join_apart(samples: Sequence[TarSample], file: str, findings: Findings) -> dict[str, TarSample]:
    """Return the samples by key; members that stand apart are joined, and noted."""
    by_key: dict[str, TarSample] = {}
    for sample in samples:
        if (first := by_key.setdefault(sample.key, sample)) is not sample:
            first.take(sample)
            findings.add(
                Fault.ORDER_WRONG, file, "its members do not stand side by side", sample.key
            )
    return by_key


def check_members(sample: TarSample, file: str, findings: Findings) -> None:
    """Note what a sample lacks and what it has too many: one image, text and JSON are right."""
    images = sample.images
    if not images:
        findings.add(Fault.MEMBER_MISSING, file, "it has no image", sample.key)
    for name in (TEXT, JSON):
        if name not in sample.members:
            findings.add(Fault.MEMBER_MISSING, file, f"it has no .{name}", sample.key)
    for name in _extra(sample, images):
        findings.add(Fault.MEMBER_EXTRA, file, f"it has a .{name} too many", sample.key)
    in_order = [name for name in (*images[:1], TEXT, JSON) if name in sample.members]
    if [name for name in sample.members if name in in_order] != in_order:
        found = ", ".join(f".{name}" for name in sample.members)
        findings.add(Fault.ORDER_WRONG, file, f"its members stand as {found}", sample.key)


def _extra(sample: TarSample, images: Sequence[str]) -> Iterator[str]:
    known = {*images[:1], TEXT, JSON}
    yield from (name for name in sample.members if name not in known)
    yield from sample.repeated


def check_order(
    found: Sequence[str], wanted: Sequence[str], file: str, what: str, findings: Findings
) -> None:
    """Note the first key of `found` that does not stand where `wanted` has it; others may lack."""
    common = set(found) & set(wanted)
    ours = [key for key in dict.fromkeys(found) if key in common]
    theirs = [key for key in dict.fromkeys(wanted) if key in common]
    for one, other in zip(ours, theirs, strict=True):
        if one != other:
            findings.add(Fault.ORDER_WRONG, file, f"{what} {other} belongs here", one)
            return


def check_index(
    data: bytes, samples: Sequence[TarSample], last: int, file: str, findings: Findings
) -> None:
    """Compare an index with where the samples start; its end is from the last sample's to `last`.

    A start may be that of the sample's extended headers.
    """
    found = np.frombuffer(data[: len(data) // 8 * 8], "<u8").tolist()
    if len(data) != 8 * (len(samples) + bool(samples)):
        detail = f"{counted(len(data), 'byte')} for {counted(len(samples), 'sample')}"
        findings.add(Fault.INDEX_WRONG, file, detail)
        return
    for one, sample in zip(found, samples, strict=False):
        if one not in (sample.start, sample.header):
            detail = f"it has {one}, the sample starts at {sample.start}"
            findings.add(Fault.INDEX_WRONG, file, detail, sample.key)
            return
    if samples and not samples[-1].end <= found[-1] <= last:
        detail = f"it ends with {found[-1]}, the samples with {samples[-1].end}"
        findings.add(Fault.INDEX_WRONG, file, detail)


class RunTar:
    """What the tar of a run folder's shard has of each of its keys."""

    def __init__(
        self, files: ShardFiles, keys: Sequence[str], findings: Findings, out: Path
    ) -> None:
        """Note what is wrong with the tar as a whole, and with its index."""
        self.file = files.tar.relative_to(out).as_posix()
        self.findings = findings
        self.by_key: dict[str, TarSample] = {}
        try:
            self._tar = MappedFile(files.tar)
        except OSError:
            self._tar = MappedFile(None)
            return  # told with the files
        walked = walk(self._tar)
        if walked.broken is not None:
            findings.add(Fault.FILE_BROKEN, self.file, walked.broken)
        samples = samples_of(walked)
        self.by_key = join_apart(samples, self.file, findings)
        known = set(keys)
        for key, sample in self.by_key.items():
            if key in known:
                check_members(sample, self.file, findings)
            else:
                num = len(sample.members) + len(sample.repeated)
                detail = "the metadata has no such key"
                findings.add(Fault.MEMBER_EXTRA, self.file, detail, key, num)
        for key in keys:
            if key not in self.by_key:
                findings.add(Fault.MEMBER_MISSING, self.file, "it has no such sample", key)
        check_order([sample.key for sample in samples], keys, self.file, "in the tar", findings)
        if files.index.is_file():
            name = files.index.relative_to(out).as_posix()
            last = samples[-1].end if samples else 0
            check_index(read_regular(files.index), samples, last, name, findings)

    def check_texts(self, sample: TarSample, row: dict[str, Any]) -> None:
        """Compare the text and the JSON of a sample with its row."""
        text = sample.members.get(TEXT)
        if text is not None and self._tar.data[slice(*text)] != row["TEXT"].encode():
            detail = "its .txt is not the row's TEXT"
            self.findings.add(Fault.MEMBER_WRONG, self.file, detail, sample.key)
        extent = sample.members.get(JSON)
        if extent is None:
            return
        data, wanted = (
            self._tar.data[slice(*extent)],
            sample_json(cast("Sample", row), with_given=False),
        )
        if data != wanted and (wrong := _wrong_fields(data, orjson.loads(wanted))):
            detail = f"its .json has another {wrong} than the row"
            self.findings.add(Fault.MEMBER_WRONG, self.file, detail, sample.key)

    def check_image(self, sample: TarSample, row: dict[str, Any], *, deep: bool) -> int:
        """Compare the image of a sample with its row; return how many bytes the sample has."""
        if sample.image is not None:
            data = self._tar.data[slice(*sample.image)]
            if hashlib.sha256(data).digest() != row["stored_sha256"]:
                detail = "SHA-256 of the image is not the row's stored_sha256"
                self.findings.add(Fault.IMAGE_CHANGED, self.file, detail, sample.key)
            if deep:
                size = row["stored_width"], row["stored_height"]
                check_size(data, size, self.file, sample.key, self.findings)
        return sample.end - sample.start

    def release(self, rows: Sequence[dict[str, Any]]) -> None:
        """Let go of the part of the tar that holds these rows."""
        there = [self.by_key[row["key"]] for row in rows if row["key"] in self.by_key]
        if there:
            self._tar.release(min(one.start for one in there), max(one.end for one in there))


def _wrong_fields(data: bytes, wanted: dict[str, Any]) -> str:
    """Return which fields of a sample's JSON are other than `wanted`."""
    try:
        found = orjson.loads(data)
    except ValueError:
        return "text, which is not JSON,"
    if not isinstance(found, dict):
        return "value, which is not an object,"
    return ", ".join(
        name
        for name, value in wanted.items()
        # Fields that are not there were not written yet when the dataset was made; what is not
        # known was null before it was an empty text or -1.
        if found.get(name, value) != value
        and not (found[name] is None and value in ("", NOT_KNOWN))
    )
