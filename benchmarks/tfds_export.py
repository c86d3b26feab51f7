"""Prepare TFDS's laion400m from the same files with webpairs and with TFDS's own Beam builder.

    ./run python benchmarks/tfds_export.py --tfds TFDSENV/bin/python

The peer lives in an environment of its own: `pip install tensorflow-cpu tensorflow-datasets
apache-beam pandas`; without --tfds our own figures are printed alone. The files are drawn: images
as img2dataset writes them when nothing fails (the case in which the builder is right), and
embedding folders. The builder is given their number of shards, and none of its faults. Both sides
start from nothing, imports included (their bytecode is there: each has run once before), and write
tfrecord with their defaults: Beam's direct runner, our process for each core; ours also syncs every
file to the disk. Each round ends with the number
of samples that `dataset_info.json` tells. Memory is the sum of the PSS of all processes, sampled.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import statistics
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

SHARD_SIZE = {"images": 10_000, "embeddings": 100_000}
NUM_PICTURES = 500
OURS, PEER = "webpairs", "TFDS"
HEAD = f"{'':12} {'wall s':>7} {'samples/s':>9} {'cpu s':>7} {'peak MB':>7}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tfds", metavar="PATH", help="Python of the peer's environment")
    parser.add_argument("--images", type=int, default=20_000, metavar="N")
    parser.add_argument("--embeddings", type=int, default=200_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shuffle", type=int, metavar="SEED", help="our order")
    parser.add_argument("--to", default="tfds", help="our format")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--folder", type=Path, help="where to work, and what is drawn stays")
    parser.add_argument("--peer", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        prepare(*options.peer)
        return
    if options.tfds and shutil.which(options.tfds) is None:
        sys.exit(f"{options.tfds} is not an executable: give the Python that has TFDS")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["PYTHONPYCACHEPREFIX"] = str(Path(temporary) / "bytecode")
        folder = options.folder or Path(temporary)
        for config, num, draw in (
            ("images", options.images, draw_images),
            ("embeddings", options.embeddings, draw_embeddings),
        ):
            if num:
                source = folder / f"{config}-{num}"
                if not source.exists():
                    draw(source, num)
                compare(config, num, source, folder / "out", options)


def draw_images(folder: Path, num: int) -> None:
    """Write tars and tables as img2dataset does: 256 px, quality 95, 15 kB on average."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    rng = np.random.default_rng(0)
    pictures: list[bytes] = []
    for _ in range(NUM_PICTURES):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
        pixels = np.asarray(coarse.resize((256, 256), Image.Resampling.BICUBIC), np.int16)
        noise = rng.integers(-4, 5, pixels.shape)
        out = io.BytesIO()
        Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8)).save(
            out, "JPEG", quality=90
        )
        pictures.append(out.getvalue())
    folder.mkdir(parents=True)
    for shard, start in enumerate(range(0, num, SHARD_SIZE["images"])):
        numbers = range(start, min(num, start + SHARD_SIZE["images"]))
        rows = metadata(numbers)
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as tar:
            for index, row in enumerate(rows):
                members = {
                    "jpg": pictures[row["number"] % NUM_PICTURES],
                    "json": json.dumps(row, indent=4).encode(),
                    "txt": row["caption"].encode(),
                }
                for ending, data in members.items():
                    member = tarfile.TarInfo(f"{index:09d}.{ending}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        for index, row in enumerate(rows):
            row |= {"key": f"{index:09d}", "status": "success"}
        pq.write_table(pa.Table.from_pylist(rows), folder / f"{shard:05d}.parquet")


def draw_embeddings(folder: Path, num: int) -> None:
    """Write embedding folders of 512 numbers as clip-retrieval does."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    for kind in ("img_emb", "text_emb", "metadata"):
        (folder / kind).mkdir(parents=True)
    for shard, start in enumerate(range(0, num, SHARD_SIZE["embeddings"])):
        numbers = range(start, min(num, start + SHARD_SIZE["embeddings"]))
        for kind in ("img_emb", "text_emb"):
            array = rng.standard_normal((len(numbers), 512), np.float32).astype(np.float16)
            np.save(folder / kind / f"{kind}_{shard}.npy", array)
        table = pa.Table.from_pylist(metadata(numbers))
        pq.write_table(table, folder / "metadata" / f"metadata_{shard}.parquet")


def metadata(numbers: Sequence[int]) -> list[dict[str, object]]:
    """Return rows of which no field is missing."""
    sentence = "a photo of the old harbour with boats in the evening light and some people"
    words = sentence.split(" ")
    return [
        {
            "number": number,
            "url": f"https://images{number % 977}.example.org/path/to/picture-{number}.jpg",
            "caption": " ".join(words[number % 5 : 7 + number % 9]) + f" {number}",
            "similarity": 0.3 + number % 1000 / 7919,
            "NSFW": ("UNLIKELY", "UNSURE", "NSFW")[number % 3],
            "LICENSE": "",
            "original_width": 300 + number % 1700,
            "original_height": 200 + number % 1300,
        }
        for number in numbers
    ]


def compare(config: str, num: int, source: Path, out: Path, options: argparse.Namespace) -> None:
    """Print every run, medians and ratios of one config."""
    from support.process_tree import Measured, measure

    ours = [
        *(sys.executable, "-m", "webpairs", "export", str(source), "--to", options.to),
        *("--out", str(out), "--workers", str(options.workers)),
        *(() if options.shuffle is None else ("--shuffle", str(options.shuffle))),
    ]
    theirs = [options.tfds, __file__, "--peer", config, str(source), str(out), str(num)]
    commands = {OURS: ours, PEER: theirs} if options.tfds else {OURS: ours}
    runs: dict[str, list[Measured]] = {name: [] for name in commands}
    warm_up(source)
    print(f"{config}: {num:,} samples\n{HEAD}", flush=True)
    for number in range(-1, options.rounds):  # the first one is not counted
        for name in list(commands) if number % 2 == 0 else list(commands)[::-1]:
            shutil.rmtree(out, ignore_errors=True)
            log = source.parent / "log.txt"
            measured = measure(commands[name], log, every_s=0.05)
            found = written(out / "laion400m" / config / "1.0.0")
            if measured.exit_code or found != num:
                sys.exit(f"{name}: {found:,} samples of {num:,}\n{log.read_text()[-3000:]}")
            if number >= 0:
                runs[name].append(measured)
                print(line(name, num, [measured]), flush=True)
    shutil.rmtree(out, ignore_errors=True)
    print("medians")
    for name, measured in runs.items():
        print(line(name, num, measured))
    if options.tfds:
        pairs = list(zip(runs[OURS], runs[PEER], strict=True))
        speed = [theirs.wall_s / ours.wall_s for ours, theirs in pairs]
        memory = [theirs.peak_mb / ours.peak_mb for ours, theirs in pairs]
        cpu = [theirs.cpu_s / ours.cpu_s for ours, theirs in pairs]
        print(f"times as fast: {spread(speed)}; less processor time: {spread(cpu)}; ", end="")
        print(f"less memory: {spread(memory)}\n")


def prepare(config: str, source: str, out: str, num: str) -> None:
    """Run TFDS's own builder; its downloads are the files that are there."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import tensorflow_datasets as tfds
    from etils import epath
    from tensorflow_datasets.vision_language.laion400m import laion400m

    num_shards = -(-int(num) // SHARD_SIZE[config])
    laion400m.LAION400M_IMAGES_CONFIG.num_shards = num_shards
    laion400m.LAION400M_EMBEDDINGS_CONFIG.num_shards = num_shards
    builder = laion400m.Laion400m(config=config, data_dir=out)
    if config == "images":
        manual = tfds.download.DownloadConfig(manual_dir=source)
        builder.download_and_prepare(download_config=manual)
        return
    paths = {path.name: epath.Path(path) for path in Path(source).rglob("*.*")}
    laion400m.Laion400m._download_data = lambda self, manager: paths
    builder.download_and_prepare()


def written(folder: Path) -> int:
    """Return how many samples TFDS would find."""
    path = folder / "dataset_info.json"
    if not path.exists():
        return 0
    (split,) = json.loads(path.read_bytes())["splits"]
    return sum(map(int, split["shardLengths"]))


def warm_up(folder: Path) -> None:
    """Read every file, so that no run waits for the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass


def line(name: str, num: int, runs: Sequence[object]) -> str:
    wall, cpu, peak = (
        statistics.median(getattr(run, field) for run in runs)
        for field in ("wall_s", "cpu_s", "peak_mb")
    )
    return f"{name:12} {wall:7.1f} {num / wall:9,.0f} {cpu:7.1f} {peak:7.0f}"


def spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"


if __name__ == "__main__":
    main()
