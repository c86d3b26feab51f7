"""Read one dataset with our loaders and with others': samples a second, and ratios.

    python benchmarks/loaders.py [--samples 20000] [--rounds 5] [--folder FOLDER] [--only raw ...]

Run it in an environment that has the peers (docs/development.md); those that are absent are left
out, and said. The dataset is drawn: a pool of 256-pixel JPEGs of 25 kB on average, as LAION-400M's
are (10 TB for 400 million), and random embeddings. Others' formats are made from it first. The
readings of a round follow each other in one process, rounds repeat, medians are shown; everything
is in the system's cache. Beside the clock stands processor time of all processes, which other work
on the machine disturbs less.

raw        every sample in order: texts, numbers and the encoded image
random     the same, one sample at a time, at random
embeddings rows of both embeddings, copied: 1,000 in order, or 4,096 at random, at a time
one core   images and captions decoded, in batches of 64, by one process with one thread
all cores  the same by as many workers as there are cores; Grain has threads, and so have we without
           workers
"""

from __future__ import annotations

import argparse
import functools
import gc
import hashlib
import importlib.util
import io
import multiprocessing
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from decode import draw
from PIL import Image, ImageFilter

import webpairs
from webpairs.build.shard_writer import ShardWriter
from webpairs.dataset.torch_loader import gather
from webpairs.files import write_json
from webpairs.run_folder.layout import Keys, ShardFiles

POOL = 200
SHARDS = 4
BATCH = 64
ROWS = 1000
RANDOM_ROWS = 4096
DECODED = 4096
"""Images that are decoded in a reading: 64 batches."""
CORES = os.cpu_count() or 1

Way = Callable[[], Iterable[int]]
"""Reads, and yields how many samples came each time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep what is made there, and use it again")
    parser.add_argument("--only", nargs="*", choices=list(KINDS), default=list(KINDS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        make(folder / "run", arguments.samples)
        dataset = Data(folder)
        size = sum(path.stat().st_size for path in (folder / "run" / "images").glob("*.tar"))
        print(f"{len(dataset.ds):,} samples, {size / 1e6:,.0f} MB of tars, {CORES} cores")
        gc.freeze()  # what was imported need not be looked through again and again
        for name in arguments.only:
            compare(name, dict(KINDS[name](dataset)), arguments.rounds)


def compare(name: str, ways: dict[str, Way], rounds: int) -> None:
    """Run each of `ways` in every round; print medians, and how many times faster ours is."""
    found: dict[str, list[tuple[float, float]]] = {label: [] for label in ways}
    for number in range(rounds + 1):
        for label, way in ways.items():
            measured = measure(way)
            if number:  # the first warms caches
                found[label].append(measured)
    head = f"{'samples/s':>11} {'least to most':>21} {'CPU us':>8} {'ours: x':>8} {'by CPU':>7}"
    print(f"\n{name:<34} {head}")
    ours = medians(found["webpairs"])
    for label, measured in found.items():
        rate, cpu = medians(measured)
        rates = [one for one, _ in measured]
        spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
        ratios = "" if label == "webpairs" else f" {ours[0] / rate:>8.2f} {cpu / ours[1]:>7.2f}"
        print(f"{label:<34} {rate:>11,.0f} {spread:>21} {1e6 * cpu:>8.1f}{ratios}", flush=True)


def medians(measured: list[tuple[float, float]]) -> tuple[float, float]:
    rates, cpus = zip(*measured, strict=True)
    return statistics.median(rates), statistics.median(cpus)


def measure(way: Way) -> tuple[float, float]:
    """Return samples a second, and processor seconds a sample of this process and its workers."""
    gc.collect()
    start, own, workers = time.perf_counter(), time.process_time(), sum(os.times()[2:4])
    num = sum(way())
    seconds, own = time.perf_counter() - start, time.process_time() - own
    gc.collect()  # ends workers: their time is known once they are gone
    return num / seconds, (own + sum(os.times()[2:4]) - workers) / num


class Data:
    """Hold the dataset, and make others' formats of it when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ds = webpairs.open(folder / "run")
        self.tars = sorted((folder / "run" / "images").glob("*.tar"))
        self.order = np.random.default_rng(2).permutation(len(self.ds)).tolist()

    @functools.cached_property
    def mapped(self) -> Any:
        """Return a memory-mapped table of Hugging Face's, images as bytes."""
        import datasets

        path = self.folder / "rows.parquet"
        if not path.exists():
            names = [name for name in next(self.ds.images(decode=None)) if name != "image"]
            parts = [
                piece.table.append_column("image", pa.array(piece.images, pa.binary()))
                for piece in self.ds.pieces(names, images=True)
            ]
            pq.write_table(pa.concat_tables(parts), path)
        cache = str(self.folder / "hf")
        return datasets.load_dataset(
            "parquet", data_files=str(path), split="train", cache_dir=cache
        )

    @functools.cached_property
    def webshart(self) -> Any:
        """Return tars with the indexes that webshart wants, which are links to ours."""
        import webshart

        folder = self.folder / "webshart"
        if not folder.exists():
            folder.mkdir()
            for tar in self.tars:
                (folder / tar.name).symlink_to(tar)
            webshart.MetadataExtractor().extract_metadata(str(folder), str(folder))
        return webshart.discover_dataset(str(folder))

    @functools.cached_property
    def litdata(self) -> str:
        """Return litdata's folder of the images that are decoded."""
        import litdata

        folder = self.folder / "litdata"
        if not (folder / "index.json").exists():
            litdata.optimize(
                functools.partial(lit_sample, self.ds),
                list(range(min(DECODED, len(self.ds)))),
                output_dir=str(folder),
                chunk_bytes="64MB",
                num_workers=1,
            )
            multiprocessing.set_start_method("fork", force=True)  # it says spawn for all others
        return str(folder)

    @functools.cached_property
    def array_record(self) -> Any:
        """Return Grain's source of the same: the length of the caption, caption, image."""
        import grain
        from array_record.python.array_record_module import ArrayRecordWriter

        path = self.folder / "samples.array_record"
        if not path.exists():
            writer = ArrayRecordWriter(str(path), "group_size:1")
            for sample in self.ds.select(range(min(DECODED, len(self.ds)))).images(decode=None):
                caption = sample["caption"].encode()
                writer.write(len(caption).to_bytes(4, "little") + caption + sample["image"])
            writer.close()
        return grain.sources.ArrayRecordDataSource([str(path)])


def lit_sample(ds: webpairs.Dataset, number: int) -> dict[str, Any]:
    sample = ds.sample(number, decode=None)
    return {"image": Image.open(io.BytesIO(sample["image"])), "caption": sample["caption"]}


def has(name: str) -> bool:
    """Say whether a peer is installed, and that it is left out if not."""
    there = importlib.util.find_spec(name) is not None
    if not there:
        print(f"{name} is not installed: left out")
    return there


def raw(data: Data) -> Iterator[tuple[str, Way]]:
    yield "webpairs", lambda: (1 for _ in data.ds.images(decode=None))
    if has("webdataset"):
        import webdataset

        tars = list(map(str, data.tars))
        yield "webdataset", lambda: (1 for _ in webdataset.WebDataset(tars, shardshuffle=False))
    if has("datasets"):
        mapped = data.mapped
        yield "HF datasets, map-style", lambda: (1 for _ in mapped)
    if has("webshart"):
        import webshart

        def members() -> Iterator[int]:
            loader = webshart.TarDataLoader(data.webshart)
            return (entry.path.endswith(".jpg") for entry in loader)

        yield "webshart, all members", members


def at_random(data: Data) -> Iterator[tuple[str, Way]]:
    ds, order = data.ds, data.order
    yield "webpairs", lambda: (ds.sample(row, decode=None) is not None for row in order)
    if has("datasets"):
        mapped = data.mapped
        yield "HF datasets, map-style", lambda: (mapped[row] is not None for row in order[:4000])
    if has("webshart"):
        readers = [data.webshart.open_shard(shard) for shard in range(SHARDS)]
        num = len(ds) // SHARDS
        yield (
            "webshart, images alone",
            lambda: (
                # Texts count as samples: every other one is an image.
                readers[row // num].read_sample(2 * (row % num)) is not None
                for row in order
            ),
        )


EMBEDDINGS = {"image_embedding": "img_emb", "text_embedding": "text_emb"}


def embeddings(data: Data) -> Iterator[tuple[str, Way]]:
    def ours() -> Iterator[int]:
        for batch in data.ds.batches(ROWS, columns=list(EMBEDDINGS)):
            yield np.stack([batch[name] for name in EMBEDDINGS]).shape[1]

    def plain() -> Iterator[int]:
        for pair in zip(*mapped_embeddings(data), strict=True):
            for start in range(0, len(pair[0]), ROWS):
                yield np.stack([one[start : start + ROWS] for one in pair]).shape[1]

    yield "webpairs", ours
    yield "numpy.load(mmap_mode='r')", plain


def random_embeddings(data: Data) -> Iterator[tuple[str, Way]]:
    num = len(data.ds) // SHARDS
    rows = np.array(data.order)
    parts = [rows[start : start + RANDOM_ROWS] for start in range(0, len(rows), RANDOM_ROWS)]

    def ours() -> Iterator[int]:
        for part in parts:
            yield len(gather(data.ds, list(EMBEDDINGS), part // num, part % num).rows)

    def plain() -> Iterator[int]:
        files = mapped_embeddings(data)
        for part in parts:
            pair = np.empty((2, len(part), 512), np.float16)
            for shard in range(SHARDS):
                here = part // num == shard
                for which, shards in enumerate(files):
                    pair[which, here] = shards[shard][part[here] % num]
            yield len(part)

    yield "webpairs", ours
    yield "numpy.load(mmap_mode='r')", plain


def mapped_embeddings(data: Data) -> list[list[np.ndarray]]:
    """Return image and text embeddings of each shard; opened anew, as for another epoch."""
    folders = [data.folder / "run" / "embeddings" / name for name in EMBEDDINGS.values()]
    return [[np.load(p, mmap_mode="r") for p in sorted(one.iterdir())] for one in folders]


def one_core(data: Data) -> Iterator[tuple[str, Way]]:
    return decoded(data, 0)


def all_cores(data: Data) -> Iterator[tuple[str, Way]]:
    return decoded(data, CORES)


def decoded(data: Data, workers: int) -> Iterator[tuple[str, Way]]:
    """Yield ways to batches of pixels and captions; the first images of the dataset, in order."""
    import torch

    num = min(DECODED, len(data.ds))
    part = data.ds.select(range(num))

    def ours(threads: int = 1, **options: Any) -> Iterator[int]:
        torch.set_num_threads(threads)
        options = {"num_workers": workers} | options
        for batch in part.torch(BATCH, columns=["image", "caption"], **options):
            yield len(batch["image"])
        torch.set_num_threads(1)

    yield "webpairs", ours
    if workers:
        yield "webpairs, no workers", functools.partial(ours, threads=CORES, num_workers=0)
    yield "webpairs, shuffled", functools.partial(ours, shuffle=1)
    if has("webdataset"):
        import webdataset

        def pipeline() -> Iterator[int]:
            # A worker takes whole tars; each reads its part of the images.
            samples = webdataset.WebDataset(list(map(str, data.tars)), shardshuffle=False)
            samples = samples.decode("rgb8").to_tuple("jpg", "txt").batched(BATCH)
            samples = samples.with_epoch(num // BATCH // max(1, workers))
            loader = webdataset.WebLoader(samples, batch_size=None, num_workers=workers)
            return (len(image) for image, _ in loader)

        yield "webdataset", pipeline
    if has("litdata"):
        import litdata

        def streaming() -> Iterator[int]:
            samples = litdata.StreamingDataset(data.litdata)
            loader = litdata.StreamingDataLoader(samples, batch_size=BATCH, num_workers=workers)
            return (len(batch["image"]) for batch in loader)

        yield "litdata", streaming
    if has("grain") and has("array_record"):
        import grain

        threads = grain.ReadOptions(num_threads=16 if workers else 0)  # 16: its default
        records = grain.MapDataset.source(data.array_record).map(decoded_record)
        batches = records.batch(BATCH, batch_fn=stacked).to_iter_dataset(threads)
        yield "Grain, ArrayRecord, Pillow", lambda: (len(images) for images, _ in batches)
    if has("webshart"):
        samples = Webshart(data.webshart, num)

        def pictures() -> Iterator[int]:
            loader = torch.utils.data.DataLoader(samples, BATCH, num_workers=workers)
            return (len(images) for images, _ in loader)

        yield "webshart, Pillow", pictures


class Webshart:
    """Read images and captions through webshart: what torch calls a map-style dataset."""

    def __init__(self, shards: Any, num: int) -> None:
        self._readers = [shards.open_shard(shard) for shard in range(SHARDS)]
        self._per_shard = shards.get_shard_sample_count(0) // 2
        self._num = num

    def __len__(self) -> int:
        return self._num

    def __getitem__(self, number: int) -> tuple[np.ndarray, str]:
        shard, place = divmod(number, self._per_shard)
        reader = self._readers[shard]
        # Texts count as samples, every other one.
        image, text = reader.read_sample(2 * place), reader.read_sample(2 * place + 1)
        return np.array(Image.open(io.BytesIO(image))), text.decode()


def decoded_record(record: bytes) -> tuple[np.ndarray, str]:
    end = 4 + int.from_bytes(record[:4], "little")
    return np.array(Image.open(io.BytesIO(record[end:]))), record[4:end].decode()


def stacked(samples: list[tuple[np.ndarray, str]]) -> tuple[np.ndarray, list[str]]:
    images, captions = zip(*samples, strict=True)
    return np.stack(images), list(captions)


KINDS = {
    "raw": raw,
    "random": at_random,
    "embeddings": embeddings,
    "embeddings at random": random_embeddings,
    "one core": one_core,
    "all cores": all_cores,
}


def make(out: Path, num_samples: int) -> None:
    """Write a run folder, unless it is there: shards of equal size, embeddings of length 1."""
    if (out / "manifest.json").exists():
        return
    rng = np.random.default_rng(1)
    words = ["a", "the", "of", "red", "blue", "old", "house", "river", "street", "photo", "cat"]
    pictures = [encoded(seed) for seed in range(POOL)]
    per_shard = -(-num_samples // SHARDS)
    keys = Keys.for_dataset(SHARDS, per_shard)
    for shard in range(SHARDS):
        files = ShardFiles.of(out, keys.shard(shard))
        num = min(per_shard, num_samples - shard * per_shard)
        with ShardWriter(files) as writer:
            for place in range(num):
                key = keys.sample(shard, place)
                image = pictures[int(rng.integers(POOL))]
                pair = rng.normal(size=(2, 512)).astype(np.float32)
                pair /= np.linalg.norm(pair, axis=1, keepdims=True)
                text = " ".join(rng.choice(words, 10))
                writer.add_sample(row(key, text, image), image, "jpg", (pair[0], pair[1]))
            writer.commit({"shard": keys.shard(shard), "candidates": num, "samples": num})
    write_json(out / "manifest.json", {"verb": "build"})


def encoded(seed: int) -> bytes:
    """Return a picture as webpairs stores it."""
    out = io.BytesIO()
    soft = draw(256, 256, seed).filter(ImageFilter.GaussianBlur(1.1))
    soft.save(out, "JPEG", quality=95, subsampling="4:2:0")
    return out.getvalue()


def row(key: str, text: str, image: bytes) -> dict[str, Any]:
    url = f"https://images.example.org/of/quite/some/length/{key}/picture-of-something.jpg"
    digest = hashlib.sha256(image).digest()
    return {
        "SAMPLE_ID": int(key),
        "URL": url,
        "TEXT": text,
        "HEIGHT": 768,
        "WIDTH": 1024,
        "LICENSE": "?",
        "NSFW": "UNLIKELY",
        "similarity": 0.3 + int(key) % 1000 / 10_000,
        "key": key,
        "uid": hashlib.blake2b(f"{url}\0{text}".encode(), digest_size=16).digest(),
        "sha256": digest,
        "stored_sha256": digest,
        "bytes": len(image),
        "format": "jpeg",
        "stored_width": 256,
        "stored_height": 256,
        "license_id": None,
        "language": "en",
        "page_url": "https://example.org/",
        "crawl_file": "a.warc.gz",
        "crawl_offset": 0,
        "copies": 1,
    }


if __name__ == "__main__":
    main()
