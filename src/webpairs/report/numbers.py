"""The numbers of a report for programs: what `report.json` has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from webpairs.report.compare import differences
from webpairs.report.gather import Gathered
from webpairs.report.samples import BINS
from webpairs.report.thresholds import other_thresholds
from webpairs.version import __version__

FORMAT: Final = 1


def numbers(datasets: Sequence[Gathered]) -> dict[str, Any]:
    """Return all numbers of one dataset, or of two and what differs."""
    found = {
        "format": FORMAT,
        "webpairs": __version__,
        "datasets": [_dataset(one) for one in datasets],
    }
    if len(datasets) == 2:
        found["differences"] = [one.as_json() for one in differences(*datasets)]
    return found


def _dataset(one: Gathered) -> dict[str, Any]:
    return {
        "name": one.name,
        "kind": one.kind,
        "samples": one.num_samples,
        "shards": one.num_shards,
        "embedding_size": one.embedding_size,
        "columns": sorted(one.columns),
        "problems": dict(one.problems),
        "disagreements": list(one.disagreements),
        "run": None if one.run is None else one.run.as_json(),
        "downloads": None if one.downloads is None else one.downloads.as_json(),
        "numbers": {name: tally.as_json(BINS[name]) for name, tally in one.tallies.items()},
        "dropped_similarity": one.dropped_similarity.as_json(BINS["similarity"]),
        "similarity_is_given": one.given,
        "thresholds": [
            {
                "threshold": threshold,
                "kept": one.tallies["similarity"].at_least(threshold),
                "dropped": one.dropped_similarity.at_least(threshold),
            }
            for threshold in other_thresholds([one])
        ],
        "names": {kind: named.as_json() for kind, named in one.names.items()},
        "hosts": one.hosts.as_json(),
        "random": [example.as_json() for example in one.random],
        "lowest": [example.as_json() for example in one.lowest],
        "highest_dropped": [example.as_json() for example in one.highest_dropped],
        "placeholders": [
            {
                "sha256": image.sha256,
                "texts": image.num_texts,
                "samples": image.num_samples,
                "text": None if example is None else example.text,
            }
            for image, example in one.placeholders
        ],
        "num_placeholders": one.num_placeholders,
        "map": None if one.map is None else one.map.as_json(),
    }
