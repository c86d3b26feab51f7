"""What `verify` finds: a closed list of faults, each with what to do about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from webpairs.dataset.problems import Problem, Problems

NUM_LISTED: Final = 10
"""Findings of one fault in one file that are listed; all are counted."""

_RESTORE: Final = "restore the file from a copy of the dataset, or make the dataset anew"
_MEND: Final = "take the shard from a copy of the dataset, or make the dataset anew"


class Fault(StrEnum):
    """What can be wrong with a dataset: the whole list."""

    # of a run folder as a whole
    MANIFEST_BROKEN = "manifest_broken"
    """`manifest.json` cannot be read, or says other than a build writes."""
    UNFINISHED = "unfinished"
    """The run was not finished."""
    SHARD_MISSING = "shard_missing"
    """A shard that the run planned, or whose number lies between others, is not there."""
    FUNNEL_WRONG = "funnel_wrong"
    """Stats and manifest give other counts, or they do not add up."""
    UNCOMMITTED = "uncommitted"
    """A file of a shard that has no commit mark (`stats/NNNNN.json`)."""
    STRANGER = "stranger"
    """A file that nobody owns."""
    # of a file
    STATS_BROKEN = "stats_broken"
    """A file of counts cannot be read, or says other than a build writes."""
    FILE_MISSING = "file_missing"
    """A file that its shard must have is not there."""
    FILE_CHANGED = "file_changed"
    """Its size or SHA-256 is not that of the stats."""
    FILE_BROKEN = "file_broken"
    """It cannot be read to its end as what it is."""
    COUNT_WRONG = "count_wrong"
    """It holds another number of rows than other files of its shard say."""
    SCHEMA_WRONG = "schema_wrong"
    """A column that must be there is not, or is of another type."""
    INDEX_WRONG = "index_wrong"
    """A `.tar.idx` that does not lead to the samples of its tar."""
    ORDER_WRONG = "order_wrong"
    """Rows or members that do not stand in the order of the keys, or a sample's are apart."""
    # of rows and members
    KEY_WRONG = "key_wrong"
    """A key that is not of its shard and of the dataset's width, or a SAMPLE_ID that is not it."""
    KEY_REPEATED = "key_repeated"
    """A key that was there before."""
    UID_WRONG = "uid_wrong"
    """A uid that is not that of the row's URL and TEXT."""
    UID_REPEATED = "uid_repeated"
    """A sample whose uid another sample has."""
    VALUE_WRONG = "value_wrong"
    """A value that cannot be meant so."""
    MEMBER_MISSING = "member_missing"
    """A sample without its image, its text or its JSON."""
    MEMBER_EXTRA = "member_extra"
    """A member that belongs to no row, or that a sample has too many."""
    MEMBER_WRONG = "member_wrong"
    """A text or JSON in the tar that is not what the metadata says."""
    IMAGE_CHANGED = "image_changed"
    """An image whose SHA-256 is not the row's stored_sha256."""
    IMAGE_BROKEN = "image_broken"
    """An image that cannot be decoded (deep)."""
    SIZE_WRONG = "size_wrong"
    """An image that decodes to another size than its row says (deep)."""
    NORM_WRONG = "norm_wrong"
    """An embedding that is not of length 1."""
    SIMILARITY_WRONG = "similarity_wrong"
    """Embeddings whose product is not the row's similarity (deep)."""
    COLUMN_KEYS_WRONG = "column_keys_wrong"
    """A column file whose keys are not those of the metadata."""
    DROP_WRONG = "drop_wrong"
    """A drop whose stage is another reason's, or that keeps what a sensitive one must not."""

    @property
    def fix(self) -> str:
        """Say what to do about it."""
        return _FIXES[self]


_FIXES: Final = {
    Fault.MANIFEST_BROKEN: _RESTORE,
    Fault.UNFINISHED: "type the line that started the run again",
    Fault.SHARD_MISSING: "type the run's line again if it is not finished; else take the shard "
    "from a copy",
    Fault.FUNNEL_WRONG: "restore stats/ and manifest.json from one copy of the dataset",
    Fault.UNCOMMITTED: "type the run's line again if it is not finished; else restore its stats, "
    "or remove it: no reader looks at it",
    Fault.STRANGER: "remove it, or move it out of the run folder",
    Fault.STATS_BROKEN: _RESTORE,
    Fault.FILE_MISSING: _RESTORE,
    Fault.FILE_CHANGED: _RESTORE,
    Fault.FILE_BROKEN: _RESTORE,
    Fault.COUNT_WRONG: _MEND,
    Fault.SCHEMA_WRONG: _RESTORE,
    Fault.INDEX_WRONG: "restore the index; readers fall back on the tar itself",
    Fault.ORDER_WRONG: _MEND,
    Fault.KEY_WRONG: _MEND,
    Fault.KEY_REPEATED: "leave one of the two out: readers take the first",
    Fault.UID_WRONG: _MEND,
    Fault.UID_REPEATED: "leave one of the two out",
    Fault.VALUE_WRONG: "readers take it as missing; restore the row if it was right once",
    Fault.MEMBER_MISSING: "readers leave the sample out; " + _MEND,
    Fault.MEMBER_EXTRA: "readers leave it out; " + _MEND,
    Fault.MEMBER_WRONG: _MEND,
    Fault.IMAGE_CHANGED: _MEND,
    Fault.IMAGE_BROKEN: "readers leave the sample out; " + _MEND,
    Fault.SIZE_WRONG: _MEND,
    Fault.NORM_WRONG: "embed the sample again, or " + _RESTORE,
    Fault.SIMILARITY_WRONG: _MEND,
    Fault.COLUMN_KEYS_WRONG: "make the column file anew from this dataset's metadata",
    Fault.DROP_WRONG: _RESTORE,
}

_OF_PROBLEM: Final = {
    Problem.SHARD_UNREADABLE: Fault.FILE_BROKEN,
    Problem.IMAGES_MISSING: Fault.FILE_MISSING,
    Problem.METADATA_MISSING: Fault.FILE_MISSING,
    Problem.KEY_MISSING: Fault.SCHEMA_WRONG,
    Problem.EMBEDDINGS_MISSING: Fault.FILE_MISSING,
    Problem.EMBEDDINGS_BROKEN: Fault.FILE_BROKEN,
    Problem.EMBEDDINGS_UNALIGNED: Fault.COUNT_WRONG,
    Problem.TAR_BROKEN: Fault.FILE_BROKEN,
    Problem.INDEX_WRONG: Fault.INDEX_WRONG,
    Problem.COUNT_WRONG: Fault.COUNT_WRONG,
    Problem.ROW_CORRUPT: Fault.VALUE_WRONG,
    Problem.KEY_REPEATED: Fault.KEY_REPEATED,
    Problem.NO_IMAGE: Fault.MEMBER_MISSING,
    Problem.NO_EMBEDDING: Fault.FILE_MISSING,
    Problem.NO_ROW: Fault.MEMBER_EXTRA,
    Problem.IMAGE_BROKEN: Fault.IMAGE_BROKEN,
}
"""What the problems that readers meet are called here."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """What is wrong where; `key` is empty for a whole file, `file` relative to the dataset."""

    file: str
    key: str
    fault: Fault
    detail: str

    @property
    def line(self) -> str:
        """Return it as a line for people: file, key, fault, detail and the fix."""
        where = f"{self.file} {self.key}".rstrip()
        return f"{where}: {self.fault}: {self.detail} - {self.fault.fix}"

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "file": self.file,
            "key": self.key,
            "fault": str(self.fault),
            "detail": self.detail,
            "fix": self.fault.fix,
        }


class Findings:
    """Collection of findings: the first `NUM_LISTED` of each fault in each file, and all counts."""

    def __init__(self) -> None:
        self._listed: list[Finding] = []
        self._counts: Counter[tuple[str, Fault]] = Counter()

    def add(self, fault: Fault, file: str, detail: str, key: str = "", num: int = 1) -> None:
        """Note one finding that stands for `num`."""
        if self._counts[file, fault] < NUM_LISTED:
            self._listed.append(Finding(file, key, fault, detail))
        self._counts[file, fault] += num

    def add_problems(self, problems: Problems, file_of: Callable[[Problem], str]) -> None:
        """Note what a reader met in a shard; `file_of` says in which of its files."""
        left = Counter(problems.counts())
        for found in problems.listed():
            fault, file = _OF_PROBLEM[found.problem], file_of(found.problem)
            detail = "its shard lacks it" if fault is Fault.FILE_MISSING else found.detail
            self.add(fault, file, detail or found.problem, found.key)
            left[found.problem] -= 1
        for name, num in left.items():
            if num:
                problem = Problem(name)
                self._counts[file_of(problem), _OF_PROBLEM[problem]] += num

    def merge(self, other: Findings) -> None:
        """Take over what was found elsewhere, in other files."""
        self._listed += other._listed
        self._counts += other._counts

    @property
    def listed(self) -> list[Finding]:
        """Return those that are listed, by file, key and fault."""
        return sorted(self._listed)

    @property
    def unlisted(self) -> dict[tuple[str, Fault], int]:
        """Return how many more there are of each fault in each file."""
        listed = Counter((one.file, one.fault) for one in self._listed)
        more = {where: num - listed[where] for where, num in sorted(self._counts.items())}
        return {where: num for where, num in more.items() if num}

    def counts(self) -> dict[str, int]:
        """Return how many there are of each fault."""
        counts: Counter[Fault] = Counter()
        for (_, fault), num in self._counts.items():
            counts[fault] += num
        return {str(fault): counts[fault] for fault in Fault if counts[fault]}

    def __bool__(self) -> bool:
        return bool(self._counts)
