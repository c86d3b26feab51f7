"""Index a million drawn embeddings and search them: recall, time a query, memory; beside autofaiss.

    ./run python benchmarks/search_index.py --folder FOLDER [--vectors 1000000]
        [--autofaiss PEER/bin/python] [--max-memory 4GB]

`--autofaiss` is the Python of an environment with autofaiss (`pip install autofaiss "pyarrow<19"`),
which is given the same files, 4 GB for its index and its defaults otherwise.

The embeddings are drawn, 512 numbers, by `World`: 300 topics of 40 subjects each, of unequal sizes,
in 256 directions that matter unequally; images in one narrow cone, texts in another, a text in part
about what its image shows. Sizes are chosen so that cosines are 0.45 between any two images or two
texts, 0.33 between an image and its text (0.3 is LAION-400M's threshold) and 0.18 between others.
Queries are drawn apart from the base. Real embeddings would differ; both sides read the same files.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import webpairs
from webpairs.checks import parse_bytes
from webpairs.search.index.build import build_index
from webpairs.search.index.exact import nearest
from webpairs.search.index.index import Index, open_index
from webpairs.search.index.vectors import KINDS, Kind, Vectors
from webpairs.search.index.vectors import vectors_of as open_vectors
from webpairs.search.options import IndexOptions

Floats = npt.NDArray[np.float32]

DIM = 512
SHARD_ROWS = 10_000
NUM_QUERIES = 500
K = 10


class World:
    """Draw pairs of image and text embeddings."""

    def __init__(self, seed: int = 0, directions: int = 256, topics: int = 300, subjects: int = 40):
        rng = np.random.default_rng(seed)
        axes = np.linalg.qr(rng.standard_normal((DIM, DIM)))[0].T.astype(np.float32)
        self._basis, (self._image_cone, self._text_cone) = axes[:directions], axes[-2:]
        weights = np.arange(1, directions + 1) ** -0.5
        self._weights = (weights / np.linalg.norm(weights)).astype(np.float32)
        self._topics = rng.standard_normal((topics, directions), dtype=np.float32)
        self._subjects = rng.standard_normal((topics, subjects, directions), dtype=np.float32)
        self._shares = [_zipf(topics), _zipf(subjects)]

    def draw(self, num: int, seed: int) -> tuple[Floats, Floats]:
        """Return `num` image and text embeddings, (num, 512) of length 1."""
        rng = np.random.default_rng(seed)
        topic, subject = (rng.choice(len(one), num, p=one) for one in self._shares)

        def noise(width: int, size: float) -> Floats:
            return np.float32(size) * rng.standard_normal((num, width), dtype=np.float32)

        width = len(self._weights)
        meant = 0.55 * self._topics[topic] + 0.6 * self._subjects[topic, subject]
        meant += noise(width, 0.58)
        said = 0.8 * meant + noise(width, 0.6)
        image = 0.74 * (meant * self._weights) @ self._basis + 0.66 * self._image_cone
        image += noise(DIM, 0.12 / np.sqrt(DIM))
        text = 0.26 * (said * self._weights) @ self._basis
        text += 0.26 * self._image_cone + 0.62 * self._text_cone + noise(DIM, 0.68 / np.sqrt(DIM))
        for vectors in (image, text):
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return image, text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--autofaiss", type=Path)
    parser.add_argument("--max-memory", default="4GB")
    parser.add_argument("--build-only", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    data, out = arguments.folder / "data", arguments.folder / f"index-{arguments.max_memory}"
    if arguments.build_only:
        build(data, out, arguments.max_memory)
        return
    world = World()
    write(world, data, arguments.vectors)
    print(f"{arguments.vectors:,} vectors, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    image, text = world.draw(1000, seed=1)
    print(
        f"cosines: image and image {(image[:500] @ image[500:].T).mean():.2f}, text and text "
        f"{(text[:500] @ text[500:].T).mean():.2f}, image and its text "
        f"{(image * text).sum(axis=1).mean():.2f}, and another's "
        f"{(image[:500] @ text[500:].T).mean():.2f}"
    )
    # In a process of its own, whose memory is the build's.
    again = ["--folder", str(arguments.folder), "--max-memory", arguments.max_memory]
    subprocess.run([sys.executable, __file__, *again, "--build-only"], check=True)
    queries: dict[Kind, Floats] = dict(zip(KINDS, world.draw(NUM_QUERIES, seed=2), strict=True))
    vectors = vectors_of(data)
    truth = {
        kind: nearest(vectors["image"], one, K, unit=True).rows for kind, one in queries.items()
    }
    index = opened(vectors, out)
    recalls: dict[Kind, float] = {}
    for kind, one in queries.items():
        recalls[kind], times = timed(
            lambda q, kind=kind: index.search(q, K, of=kind).rows, one, truth[kind]
        )
        show(f"{kind} to image", recalls[kind], times)
    filtered(index, vectors["image"], queries)
    if arguments.autofaiss:
        beside_autofaiss(arguments, data, queries, truth, recalls)


def build(data: Path, out: Path, max_memory: str) -> None:
    before = time.perf_counter(), time.process_time()
    options = IndexOptions(
        source=str(data), out=str(out), what=("image",), max_memory_bytes=parse_bytes(max_memory)
    )
    result = build_index(options)
    wall, cpu = time.perf_counter() - before[0], time.process_time() - before[1]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    entry = result.manifest["indexes"]["image"]
    told = {query: one["recall"] for query, one in entry["queries"].items()}
    print(f"index: {entry.get('code', 'exact')}, told {told}")
    if not result.done_before:
        print(f"build: {wall:.0f} s, {cpu:.0f} s of processor time, {memory:,.0f} MB at most")


def opened(vectors: dict[Kind, Vectors], out: Path) -> Index:
    times: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        index = open_index(vectors, out)[0]["image"]
        times.append(time.perf_counter() - start)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"open: {sorted(times)[2] * 1000:.0f} ms; {size / 1e6:,.0f} MB of files")
    return index


def timed(
    search: Callable[[Floats], Any], queries: Floats, truth: npt.NDArray[np.int64]
) -> tuple[float, npt.NDArray[np.float64]]:
    """Search query by query, twice; return recall and the second round's milliseconds."""
    times: list[float] = []
    hits = 0
    for _ in range(2):
        times, hits = [], 0
        for number in range(len(queries)):
            start = time.perf_counter()
            rows = search(queries[number : number + 1])
            times.append((time.perf_counter() - start) * 1000)
            hits += len(np.intersect1d(rows, truth[number]))
    return hits / truth.size, np.array(times)


def show(what: str, recall: float, times: npt.NDArray[np.float64]) -> None:
    low, median, high = np.quantile(times, (0.1, 0.5, 0.9))
    print(
        f"{what:<30} recall@{K} {recall:.3f}, {median:.2f} ms a query "
        f"(a tenth below {low:.2f}, a tenth above {high:.2f})"
    )


def filtered(index: Index, vectors: Vectors, queries: dict[Kind, Floats]) -> None:
    """Search among rows chosen at random, and among those that are far from a text."""
    rng = np.random.default_rng(3)
    some = {kind: one[:50] for kind, one in queries.items()}
    far = np.concatenate(
        [block @ some["text"][0] for _, block in vectors.blocks(0, vectors.num_rows, 50_000)]
    )
    for share in (0.5, 0.01):
        masks = {
            "at random": rng.random(vectors.num_rows) < share,
            "far from a text": far < np.quantile(far, share),
        }
        for how, mask in masks.items():
            among = np.flatnonzero(mask)
            for kind, one in some.items():
                truth = nearest(vectors, one, K, unit=True, among=among).rows
                found = timed(
                    lambda q, kind=kind, among=among: index.search(q, K, of=kind, among=among).rows,
                    one,
                    truth,
                )
                show(f"{kind}, {share:.0%} {how}", *found)


PEER = """
import json, os, sys, time
import faiss, numpy as np
data, out, cores, wanted = sys.argv[1:]
if not os.path.exists(out + "/build.json"):
    from autofaiss import build_index
    before = time.perf_counter(), time.process_time()
    build_index(data + "/img_emb", index_path=out + "/knn.index",
        index_infos_path=out + "/infos.json", max_index_memory_usage="4G",
        current_memory_available="16G", metric_type="ip", nb_cores=int(cores), verbose=30)
    spent = time.perf_counter() - before[0], time.process_time() - before[1]
    json.dump(spent, open(out + "/build.json", "w"))
faiss.omp_set_num_threads(1)
index = faiss.read_index(out + "/knn.index")
chosen = json.load(open(out + "/infos.json"))["index_param"]
name = chosen.partition("=")[0]

def ask(queries, parameter):
    faiss.ParameterSpace().set_index_parameters(index, parameter)
    for _ in range(2):
        times, rows = [], []
        for n in range(len(queries)):
            start = time.perf_counter()
            rows.append(index.search(queries[n:n + 1], 10)[1][0])
            times.append((time.perf_counter() - start) * 1000)
    return times, np.array(rows)

answers = []
for kind, least in json.loads(wanted).items():
    queries, truth = np.load(out + f"/{kind}.npy"), np.load(out + f"/{kind}-truth.npy")
    # What it chose, and then the least effort that finds as much as the other side.
    for parameter in [chosen, *(f"{name}={round(16 * 1.25 ** step)}" for step in range(24))]:
        times, rows = ask(queries, parameter)
        recall = sum(len(np.intersect1d(*pair)) for pair in zip(rows, truth)) / truth.size
        if parameter == chosen or recall >= least:
            answers.append((kind, parameter, recall, times))
        if parameter != chosen and recall >= least:
            break
json.dump(answers, open(out + "/answers.json", "w"))
"""


def beside_autofaiss(
    arguments: argparse.Namespace,
    data: Path,
    queries: dict[Kind, Floats],
    truth: dict[Kind, npt.NDArray[np.int64]],
    recalls: dict[Kind, float],
) -> None:
    out = arguments.folder / "autofaiss"
    out.mkdir(exist_ok=True)
    for kind, one in queries.items():
        np.save(out / f"{kind}.npy", one)
        np.save(out / f"{kind}-truth.npy", truth[kind])
    cores = str(len(os.sched_getaffinity(0)))
    asked = [str(data), str(out), cores, json.dumps(recalls)]
    subprocess.run([str(arguments.autofaiss), "-c", PEER, *asked], check=True)
    infos = json.loads((out / "infos.json").read_bytes())
    wall, cpu = json.loads((out / "build.json").read_bytes())
    size = (out / "knn.index").stat().st_size
    print(f"autofaiss: {infos['index_key']}, {size / 1e6:,.0f} MB")
    print(f"build: {wall:.0f} s, {cpu:.0f} s of processor time")
    for kind, parameter, recall, times in json.loads((out / "answers.json").read_bytes()):
        show(f"{kind} to image, {parameter}", recall, np.array(times))


def vectors_of(data: Path) -> dict[Kind, Vectors]:
    return open_vectors(webpairs.open(data).source)


def write(world: World, data: Path, num: int) -> None:
    """Write clip-retrieval's folders, unless they are there."""
    starts = range(0, num, SHARD_ROWS)
    if len(list(data.glob("metadata/*.parquet"))) == len(starts):
        return
    for kind in ("img_emb", "text_emb", "metadata"):
        (data / kind).mkdir(parents=True, exist_ok=True)
    for number, start in enumerate(starts):
        size = min(SHARD_ROWS, num - start)
        pair = world.draw(size, seed=1000 + number)
        for kind, vectors in zip(("img_emb", "text_emb"), pair, strict=True):
            np.save(data / kind / f"{kind}_{number:05d}.npy", vectors.astype(np.float16))
        rows = range(start, start + size)
        table = pa.table({"url": [f"https://example.org/{row}.jpg" for row in rows]})
        pq.write_table(table, data / "metadata" / f"metadata_{number:05d}.parquet")


def _zipf(num: int) -> npt.NDArray[np.float64]:
    shares = np.arange(1, num + 1) ** -0.7
    return shares / shares.sum()


if __name__ == "__main__":
    main()
