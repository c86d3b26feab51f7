"""Write the card of an export to Hugging Face: of its own samples, and of the run they are from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from webpairs.load.card import CardFacts, card_of, code, no_counts
from webpairs.load.croissant import table_folders
from webpairs.load.dataset import open_dataset
from webpairs.load.export_options import ExportOptions
from webpairs.load.exporter import TargetReport
from webpairs.load.info import run_status
from webpairs.load.run_folder import RunFolder
from webpairs.quantities import counted


def export_card(options: ExportOptions, split: str, reports: Sequence[TargetReport]) -> str:
    """Return the card; `facts` of the reports hold `counts` and `file_bytes` of each shard."""
    dataset = open_dataset(options.source)
    source = dataset.source
    configs = [report.target.config for report in reports]
    first = reports[0]
    facts = CardFacts(
        name=options.name,
        kind=f"an export of {source.kind}",
        num_samples=first.num_samples,
        num_shards=len(first.shard_samples),
        has_images="images" in configs,
        embedding_size=first.target.embedding_size if "embeddings" in configs else None,
        tables=tuple(table_folders(Path(options.out))),
        status=run_status(source.folder) if isinstance(source, RunFolder) else None,
        counts=_counts(first),
        loading=(*_what_was_exported(options, first, len(dataset)), "", *_loading(split, configs)),
    )
    return card_of(facts, _configs(split, reports))


def _counts(report: TargetReport) -> dict[str, Counter[str]]:
    counts = no_counts()
    for fact in report.facts:
        for name, found in fact["counts"].items():
            counts[name].update(found)
    return counts


def _configs(split: str, reports: Sequence[TargetReport]) -> dict[str, Any]:
    """Return the header's fields on where the files of each config are, and how much it is."""
    configs: list[dict[str, Any]] = []
    infos: list[dict[str, Any]] = []
    for report in reports:
        name = report.target.config
        files = [{"split": split, "path": f"{name}/{split}-*.parquet"}]
        default = {} if configs else {"default": True}
        configs.append({"config_name": name, **default, "data_files": files})
        size = {"num_bytes": report.num_bytes, "num_examples": report.num_samples}
        infos.append(
            {
                "config_name": name,
                "splits": [{"name": split, **size}],
                "download_size": sum(fact["file_bytes"] for fact in report.facts),
                "dataset_size": report.num_bytes,
            }
        )
    return {"configs": configs, "dataset_info": infos}


def _what_was_exported(options: ExportOptions, report: TargetReport, num_there: int) -> list[str]:
    """Say which of the source's samples these are, in which order."""
    chosen = "all samples" if options.where is None else f"the samples with {code(options.where)}"
    order = "" if options.shuffle is None else f", shuffled with seed {options.shuffle}"
    lines = [f"Exported from {counted(num_there, 'sample')}: {chosen}{order}."]
    if report.skipped:
        reasons = ", ".join(f"{num:,} {code(reason)}" for reason, num in report.skipped.items())
        lines.append(f"Left out, since they could not be read: {reasons}.")
    return lines


def _loading(split: str, configs: Sequence[str]) -> list[str]:
    calls = (f'{name} = load_dataset("DIR", "{name}", split="{split}")' for name in configs)
    return ["```python", "from datasets import load_dataset", "", *calls, "```"]
