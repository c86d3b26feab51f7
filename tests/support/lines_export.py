"""A format for tests of the driver: a shard is a file of lines, one a sample."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from webpairs.dataset.dataset import Dataset
from webpairs.export.exporter import (
    Batch,
    OutputShard,
    Target,
    TargetReport,
    wanted_configs,
)
from webpairs.export.options import ExportOptions
from webpairs.files import write_json, write_whole


def is_skipped(caption: str) -> bool:
    """Say whether this format leaves a sample out: every tenth."""
    return caption.split(",")[0].endswith("0")


class LinesExporter:
    """Write key, columns and sizes of what is there as JSON lines."""

    def __init__(self, options: ExportOptions) -> None:
        self._options = options

    def targets(self, dataset: Dataset) -> Sequence[Target]:
        """Return a target for each config that is there."""
        return [
            Target(
                config=config,
                folder=Path(self._options.out) / config,
                columns=("caption", "url", *(self._options.columns or ())),
                images=config == "images",
                embeddings=config == "embeddings",
                samples_per_shard=7,
            )
            for config in wanted_configs(dataset, self._options.config)
        ]

    def write_shard(self, shard: OutputShard, batches: Iterator[Batch]) -> None:
        """Write a shard; every tenth sample is skipped."""
        time.sleep(float(os.environ.get("LINES_EXPORT_SLEEP_S", "0")))
        path = shard.target.folder / f"{shard.number:03d}-of-{shard.num_shards:03d}.jsonl"
        with write_whole(path) as temporary, temporary.open("wb") as file:
            for batch in batches:
                for place, row in enumerate(batch.table.to_pylist()):
                    if is_skipped(row["caption"]):
                        shard.skip("tenth", row["key"], row["caption"])
                        continue
                    if batch.images is not None:
                        row["image"] = batch.images[place].hex()
                    if batch.image_embeddings is not None and batch.text_embeddings is not None:
                        row["embeddings"] = [
                            batch.image_embeddings[place].tolist(),
                            batch.text_embeddings[place].tolist(),
                        ]
                    shard.num_samples += 1
                    shard.num_bytes += file.write(json.dumps(row).encode() + b"\n")

    def finish(self, reports: Sequence[TargetReport]) -> None:
        """Write how many samples there are."""
        for report in reports:
            write_json(report.target.folder / "index.json", {"samples": report.num_samples})


exporter = LinesExporter


def read_lines(folder: Path) -> list[dict[str, object]]:
    """Return all samples, shard by shard."""
    return [
        orjson.loads(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
