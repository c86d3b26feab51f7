"""A build from the hostile web, and what came of each of its behaviours."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from webpairs.demo.score import NOWHERE, read_fates
from webpairs.demo.truth import uid_hex

if TYPE_CHECKING:
    from webpairs.progress import RunProgress

TIMEOUT_S: Final = 8.0
"""Whoever hangs, hangs so long, and once more: long enough for 50 MB from this machine."""
RETRIES: Final = 1
"""Some behaviours mend themselves at the second try; none needs a third."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """How one behaviour was met."""

    name: str
    expected: str
    """A fate."""
    found: str
    """The fate of its URLs; several with their numbers, when they differ."""

    @property
    def agrees(self) -> bool:
        """Say whether all came as the table says."""
        return self.found == self.expected


@dataclass(frozen=True, slots=True)
class HostileCheck:
    """How a build met the hostile web."""

    out: Path
    """The dataset."""
    meetings: tuple[Meeting, ...]
    num_trapped: int
    """Connections to an address that must not be reached; every one is a fault."""

    @property
    def num_agreeing(self) -> int:
        """Return how many behaviours were met as they must be."""
        return sum(meeting.agrees for meeting in self.meetings)

    @property
    def passed(self) -> bool:
        """Say whether everything was as it must be."""
        return self.num_agreeing == len(self.meetings) and not self.num_trapped


def check_hostile(
    folder: Path, *, workers: int | None = None, progress: RunProgress | None = None
) -> HostileCheck:
    """Serve the hostile web and build `folder/dataset` from its URLs, without a model.

    Starts anew each time, for its ports are new ones. Without certificates: TLS behaviours that
    need one are left out. Raises as `build_dataset` does.
    """
    from webpairs.demo.hostile.behaviour import SERVED_AT
    from webpairs.demo.hostile.server import HostileWeb
    from webpairs.extract.url import normalise_url
    from webpairs.options import BuildOptions
    from webpairs.run.run import build_dataset

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    table, dataset = folder / "urls.jsonl", folder / "dataset"
    with HostileWeb() as web:
        rows = [
            (behaviour, url, f"what came of {behaviour.name} at URL {number}")
            for number, (behaviour, url) in enumerate(web.urls)
        ]
        table.write_bytes(
            b"".join(orjson.dumps({"url": url, "text": text}) + b"\n" for _, url, text in rows)
        )
        options = BuildOptions(
            inputs=(str(table),),
            out=str(dataset),
            images="web",
            model="none",
            recipe="laion400m",
            languages=("any",),
            allow_network=(f"{SERVED_AT}/32",),
            per_host_rate=0,
            timeout_s=TIMEOUT_S,
            retries=RETRIES,
            workers=workers,
        )
        build_dataset(options, progress, resolver=web.resolver)
        fates = read_fates(dataset)
        found: dict[str, Counter[str]] = {}
        for behaviour, url, text in rows:
            uid = uid_hex(normalise_url(url) or url, text)
            found.setdefault(behaviour.name, Counter())[fates.get(uid, NOWHERE)] += 1
        meetings = tuple(
            Meeting(one.name, str(one.expect), _told(found[one.name])) for one in web.behaviours
        )
        return HostileCheck(dataset, meetings, len(web.trapped))


def _told(fates: Counter[str]) -> str:
    if len(fates) == 1:
        return next(iter(fates))
    return ", ".join(f"{fate} {num}" for fate, num in sorted(fates.items()))
