"""What the verbs that make datasets hand back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from webpairs.errors import RunError
from webpairs.run.advice import advise, read_outcome, retry_outcome
from webpairs.run.next_steps import next_lines
from webpairs.run.retry import RetryGain
from webpairs.run_folder.funnel import Funnel, read_funnel
from webpairs.run_folder.manifest import read_manifest
from webpairs.run_folder.run_json import ExtractForm, read_form

if TYPE_CHECKING:
    from webpairs.run_folder.texts_per_image import PlaceholderReport


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What `build_dataset` or `retry_dataset` left in the run folder."""

    out: Path
    funnel: Funnel
    warnings: tuple[str, ...]
    """Inputs that extract found incomplete; none after a retry, which reads no inputs."""
    placeholders: PlaceholderReport | None = None
    """None when nothing was left to do."""
    gain: RetryGain | None = None
    """What a retry gained; None after a build, and when there was nothing to try again."""
    advice: tuple[str, ...] = ()
    """Sentences about what went wrong with nearly all candidates, and what to try."""
    kept_nothing: bool = False
    """Whether the dataset is empty although its inputs hold something."""
    next_lines: tuple[str, ...] = ()
    """Commands that lead on."""


@dataclass(frozen=True, slots=True)
class ExtractResult:
    """What `extract_candidates` wrote; fields as in `BuildResult`."""

    out: Path
    funnel: Funnel
    candidates: tuple[Path, ...]
    warnings: tuple[str, ...]
    advice: tuple[str, ...] = ()
    kept_nothing: bool = False


def build_result(
    out: Path,
    placeholders: PlaceholderReport | None,
    gain: RetryGain | None = None,
    *,
    is_retry: bool = False,
) -> BuildResult:
    """Return the result of a build, or of a retry, that is finished in `out`."""
    manifest = read_manifest(out)
    assert manifest is not None
    funnel, outcome = read_funnel(out), read_outcome(out, manifest)
    if gain is not None:
        advice = advise(retry_outcome(out, manifest, gain), typed=True)
    else:
        advice = () if is_retry else advise(outcome, typed=True)
    return BuildResult(
        out=out,
        funnel=funnel,
        warnings=() if is_retry else _warnings(out),
        placeholders=placeholders,
        gain=gain,
        advice=advice,
        kept_nothing=outcome.kept_nothing,
        next_lines=next_lines(out, manifest, funnel),
    )


def extract_result(out: Path) -> ExtractResult:
    """Return the result of an extract that is finished in `out`."""
    manifest = read_manifest(out)
    assert manifest is not None
    outcome = read_outcome(out, manifest)
    candidates = tuple(sorted((out / "candidates").glob("*.parquet")))
    return ExtractResult(
        out=out,
        funnel=read_funnel(out),
        candidates=candidates,
        warnings=_warnings(out),
        advice=advise(outcome, typed=True),
        kept_nothing=outcome.kept_nothing,
    )


def checked_funnel(out: Path) -> Funnel:
    """Return the funnel of a finished run; every candidate is accounted for."""
    funnel = read_funnel(out)
    if funnel.left or not funnel.balanced:
        raise RunError(
            f"the counts of {out} do not add up ({funnel.as_json()}): this is a fault of "
            "webpairs; please report it with the folder stats/"
        )
    return funnel


def _warnings(out: Path) -> tuple[str, ...]:
    """Return what extract found incomplete."""
    stats = read_form(out / "stats" / "extract.json", ExtractForm)
    return tuple(stats["warnings"]) if stats else ()
