"""A finished run folder against the truth of the little web it was built from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow.parquet as pq

from webpairs.demo.truth import SAMPLE, Candidate
from webpairs.drops import Drop
from webpairs.run_folder.funnel import read_funnel

NOWHERE: Final = "nowhere"
"""The fate of a candidate that is neither among the samples nor among the drops of a run."""


_COLUMNS: Final = {
    "URL": "url",
    "TEXT": "text",
    "WIDTH": "width_px",
    "HEIGHT": "height_px",
    "sha256": "sha256",
    "page_url": "page_url",
    "crawl_date": "page_date",
    "copies": "copies",
    "license_id": "license_id",
    "license_where": "license_where",
}
"""Columns of the metadata, and the fields of the truth that they must equal."""


@dataclass(frozen=True, slots=True)
class Surprise:
    """A candidate that ended otherwise than the truth says, or a value that is not true."""

    uid: str
    expected: str
    """A fate, or `column = value`."""
    found: str
    truth: Candidate | None
    """None for a candidate that the little web does not hold."""


@dataclass(frozen=True, slots=True)
class Score:
    """How well a build found the true texts, and whether all else went as it must."""

    num_true: int
    """True texts of usable pictures: what a perfect build keeps."""
    num_true_kept: int
    num_false_kept: int
    wrong: tuple[Candidate, ...]
    """Kept, though the text is not true of the picture."""
    missed: tuple[Candidate, ...]
    """True, usable, and not kept."""
    surprises: tuple[Surprise, ...]
    """Unique candidates whose fate is not that of the truth, the model's judgement apart, and
    values of samples that are not what the truth tells."""
    expected: Counter[str]
    """Candidates by fate, in the truth."""
    found: Counter[str]
    """Candidates by fate, in the run's own counts."""

    @property
    def precision(self) -> float:
        """Return the share of the kept samples whose text is true; 1 when none was kept."""
        num_kept = self.num_true_kept + self.num_false_kept
        return self.num_true_kept / num_kept if num_kept else 1.0

    @property
    def recall(self) -> float:
        """Return the share of the true texts of usable pictures that was kept."""
        return self.num_true_kept / self.num_true if self.num_true else 1.0

    @property
    def miscounts(self) -> dict[str, tuple[int, int]]:
        """Return fate -> (expected, found) where the funnel differs from the truth's.

        The model's judgement apart: samples and `similarity` drops count together.
        """
        expected, found = _judged_together(self.expected), _judged_together(self.found)
        return {
            fate: (expected[fate], found[fate])
            for fate in sorted(expected | found)
            if expected[fate] != found[fate]
        }


def score(out: Path, truth: tuple[Candidate, ...]) -> Score:
    """Compare the run folder `out` with the truth (`crawl_files.read_truth`) about its input."""
    first_of = {
        candidate.uid: candidate
        for candidate in truth
        if candidate.uid and candidate.fate != Drop.DUPLICATE
    }
    fates, samples = read_fates(out), _read_samples(out)
    surprises = [
        Surprise(uid, candidate.fate, fates.get(uid, NOWHERE), candidate)
        for uid, candidate in first_of.items()
        if _judged(fates.get(uid, NOWHERE)) != _judged(candidate.fate)
    ]
    surprises += [
        Surprise(uid, NOWHERE, fate, None) for uid, fate in fates.items() if uid not in first_of
    ]
    for uid, row in samples.items():
        surprises += _untrue_values(uid, row, first_of.get(uid))
    kept = set(samples)
    right = {uid for uid in kept if uid in first_of and first_of[uid].is_true}
    usable = {uid for uid, candidate in first_of.items() if candidate.fate == SAMPLE}
    funnel = read_funnel(out)
    found = Counter({str(drop): num for drop, num in funnel.drops.items() if num})
    found[SAMPLE] = funnel.samples
    return Score(
        num_true=len(usable),
        num_true_kept=len(right & usable),
        num_false_kept=len(kept - right),
        wrong=tuple(first_of[uid] for uid in first_of if uid in kept - right),
        missed=tuple(first_of[uid] for uid in first_of if uid in usable - kept),
        surprises=tuple(surprises),
        expected=Counter(candidate.fate for candidate in truth),
        found=found,
    )


def read_fates(out: Path) -> dict[str, str]:
    """Return the fate of each uid (hex) in the tables of a run folder that are committed."""
    fates: dict[str, str] = {}
    for name in _committed(out):
        drops = out / "drops" / f"{name}.parquet"
        if drops.exists():
            for row in pq.read_table(drops, columns=["uid", "reason"]).to_pylist():
                fates[row["uid"].hex()] = row["reason"]
    return fates | dict.fromkeys(_read_samples(out, ()), SAMPLE)


def _read_samples(out: Path, columns: Iterable[str] = tuple(_COLUMNS)) -> dict[str, dict[str, Any]]:
    """Return the columns of each sample, by uid (hex)."""
    samples: dict[str, dict[str, Any]] = {}
    for name in _committed(out):
        metadata = out / "metadata" / f"{name}.parquet"
        if metadata.exists():
            for row in pq.read_table(metadata, columns=["uid", *columns]).to_pylist():
                samples[row["uid"].hex()] = row
    return samples


def _committed(out: Path) -> list[str]:
    """Name the tables that have their stats; others do not count."""
    return [stats.stem for stats in sorted((out / "stats").glob("*.json"))]


def _untrue_values(uid: str, row: dict[str, Any], truth: Candidate | None) -> list[Surprise]:
    """Return a surprise for each of _COLUMNS that is not what the truth tells."""
    if truth is None or not truth.sha256:  # a picture that was to be dropped is a surprise already
        return []
    found = {name: row[name] for name in _COLUMNS}
    found["sha256"] = found["sha256"].hex()
    found["crawl_date"] = found["crawl_date"].isoformat()
    return [
        Surprise(uid, f"{name} = {getattr(truth, field)}", f"{name} = {found[name]}", truth)
        for name, field in _COLUMNS.items()
        if found[name] != getattr(truth, field)
    ]


def _judged(fate: str) -> str:
    """Return one name for what only the model's judgement tells apart."""
    return "judged" if fate in (SAMPLE, Drop.SIMILARITY) else fate


def _judged_together(fates: Counter[str]) -> Counter[str]:
    together: Counter[str] = Counter()
    for fate, num in fates.items():
        together[_judged(fate)] += num
    return together
