"""Ask `webpairs serve` at a port for what is nearest to embeddings; beside clip-retrieval's server.

    ./run python benchmarks/serve.py --folder FOLDER [--vectors 1000000] [--rates 200 25]
        [--clip-retrieval PEER/bin/python]

A million drawn embeddings (`search_index.py` says how) with captions are indexed and served by a
process of its own; this one asks, with POST /knn-service by embedding: JSON numbers, over
connections that are kept where the server keeps them.

First one request at a time, in turns with the bare search of the same index in this process: what
a request takes beyond that is the server's. Then requests at a fixed rate whether those before are
answered or not; the time of a request counts from when it was due.

`--clip-retrieval` is the Python of an environment with clip-retrieval (docs/development.md). Its
server is started unchanged and asked the same, in turns: with the index that its own `index` makes
of the same image embeddings (autofaiss, its defaults), and a ViT-B/32 of random weights, since it
does not start without a model.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from search_index import SHARD_ROWS, World, vectors_of, write

from webpairs.search.index.build import build_index
from webpairs.search.index.exact import nearest
from webpairs.search.index.index import Index, open_index
from webpairs.search.options import IndexOptions

Milliseconds = npt.NDArray[np.float64]

NUM_QUERIES = 300
RECALL_AT = 10
PATIENCE_S = 20.0
"""How long answers are waited for after the last request of a rate."""
WORDS = ("a", "new", "old", "red", "large", "house", "street", "dog", "garden", "of", "in", "with")
PLAIN: Mapping[str, Any] = {"deduplicate": False, "use_safety_model": False}
CLIENTS: Mapping[str, Any] = {
    "deduplicate": True,
    "use_safety_model": True,
    "use_violence_detector": True,
    "use_mclip": False,
    "aesthetic_score": 9,
    "aesthetic_weight": 0.5,
}
"""ClipClient's defaults; clip-retrieval's server ignores aesthetics without their embeddings, and
the safety model without one."""
CASES: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "10 results": (10, PLAIN),
    "40 results": (40, PLAIN),
    "40 results, ClipClient's defaults": (40, CLIENTS),
}


@dataclass
class Server:
    """Hold a server that was started, and the connections to it that are not in use."""

    name: str
    pid: int
    port: int
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def ask(self, body: bytes) -> bytes:
        """Return the reply to a search, or raise for any status but 200."""
        head = b"POST /knn-service HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
        return await self._send(head % len(body) + body)

    async def searching_s(self) -> tuple[float, float]:
        """Return the seconds that it says its index has been searched, and requests have taken."""
        text = (await self._send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")).decode()
        lines = [line for line in text.splitlines() if " " in line and line[0] != "#"]
        found = dict(line.rsplit(" ", 1) for line in lines)
        names = ("knn_index_time_sum", "full_knn_request_time_sum")
        return float(found[names[0]]), float(found[names[1]])

    async def _send(self, request: bytes) -> bytes:
        there = [pair for pair in self.idle if not pair[0].at_eof()]
        self.idle = there[:-1]
        reader, writer = there[-1] if there else await self._connect()
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = head.partition(b"content-length:")[2].partition(b"\r\n")[0]
        reply = await (reader.readexactly(int(length)) if length else reader.read())
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise ValueError(f"{self.name}: {head!r} {reply[:500]!r}")
        if head.startswith(b"http/1.0") or b"connection: close" in head:
            writer.close()
        else:
            self.idle.append((reader, writer))
        return reply

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, limit=2**24)

    def close(self) -> None:
        for _, writer in self.idle:
            writer.close()
        self.idle.clear()

    def cpu_s(self) -> float:
        """Return the processor seconds that the process has had."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def rest(self) -> None:
        """Wait until it no longer works for those who have gone away."""
        while True:
            cpu_s = self.cpu_s()
            await asyncio.sleep(1)
            if self.cpu_s() - cpu_s < 0.1:
                return

    def memory(self) -> str:
        """Say how much memory the process has of its own, and how much of mapped files."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        known = {name: value for name, _, value in (line.partition(":") for line in lines)}
        own, files = (int(known[name].split()[0]) / 1000 for name in ("RssAnon", "RssFile"))
        return f"{own:,.0f} MB of its own, {files:,.0f} MB of mapped files"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--vectors", type=int, default=1_000_000)
    parser.add_argument("--rates", type=float, nargs="+", default=[200.0, 25.0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clip-retrieval", type=Path)
    arguments = parser.parse_args()
    data, out = arguments.folder / "data", arguments.folder / "index"
    world = World()
    write(world, data, arguments.vectors)
    write_captions(data, arguments.vectors)
    build_index(IndexOptions(source=str(data), out=str(out), what=("image",)))
    queries = world.draw(NUM_QUERIES, seed=2)[0]
    vectors = vectors_of(data)
    truth = nearest(vectors["image"], queries, RECALL_AT, unit=True).rows
    index = open_index(vectors, out)[0]["image"]
    print(f"{arguments.vectors:,} vectors, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with ExitStack() as stack:
        servers = [stack.enter_context(ours(data, out))]
        if arguments.clip_retrieval:
            servers.append(stack.enter_context(peers(arguments, data)))
        asyncio.run(ask_all(arguments, servers, index, queries, truth))


async def ask_all(
    arguments: argparse.Namespace,
    servers: Sequence[Server],
    index: Index,
    queries: npt.NDArray[np.float32],
    truth: npt.NDArray[np.int64],
) -> None:
    for name, case in CASES.items():
        print(f"\n{name}, one request at a time")
        bodies = bodies_of(queries, *case)
        if case[1] is PLAIN:
            for server in servers:
                print(
                    f"{server.name}: recall@{RECALL_AT} {await recall(server, bodies, truth):.3f}"
                )
        await in_turns(servers, index, queries, bodies, case[0], arguments.rounds)
    for rate in arguments.rates:
        print(f"\n{rate:g} requests a second for {arguments.seconds:g} s, 40 results")
        bodies = bodies_of(queries, 40, PLAIN)
        for number in range(arguments.rounds * len(servers)):
            await at_a_rate(servers[number % len(servers)], bodies, rate, arguments.seconds)
    print()
    for server in servers:
        print(f"{server.name}: {server.memory()}")
        server.close()


def bodies_of(
    queries: npt.NDArray[np.float32], num: int, options: Mapping[str, Any]
) -> list[bytes]:
    shared = {"modality": "image", "num_images": num, "num_result_ids": num, "indice_name": None}
    return [
        json.dumps({"embedding_input": query.tolist(), **shared, **options}).encode()
        for query in queries
    ]


async def recall(server: Server, bodies: Sequence[bytes], truth: npt.NDArray[np.int64]) -> float:
    found = [json.loads(await server.ask(body)) for body in bodies]
    ids = [[one["id"] for one in results[:RECALL_AT]] for results in found]
    return sum(map(len, map(np.intersect1d, ids, truth))) / truth.size


async def in_turns(
    servers: Sequence[Server],
    index: Index,
    queries: npt.NDArray[np.float32],
    bodies: Sequence[bytes],
    k: int,
    rounds: int,
) -> None:
    """Time the bare search and every server query by query; the first round is to get warm."""
    bare: list[float] = []
    took: dict[str, list[float]] = {server.name: [] for server in servers}
    bare_cpu_s = 0.0
    cpu_s: dict[str, float] = {}
    searching: dict[str, tuple[float, float]] = {}
    for number in range((1 + rounds) * len(queries)):
        if number == len(queries):
            bare, bare_cpu_s = [], 0.0
            took = {name: [] for name in took}
            cpu_s = {server.name: server.cpu_s() for server in servers}
            searching = {server.name: await server.searching_s() for server in servers}
        place = number % len(queries)
        start = time.perf_counter(), time.thread_time()
        index.search(queries[place : place + 1], k)
        bare.append((time.perf_counter() - start[0]) * 1000)
        bare_cpu_s += time.thread_time() - start[1]
        for server in servers:
            begun = time.perf_counter()
            await server.ask(bodies[place])
            took[server.name].append((time.perf_counter() - begun) * 1000)
    show("bare search", bare, bare_cpu_s)
    for server in servers:
        show(server.name, took[server.name], server.cpu_s() - cpu_s[server.name])
        before, after = searching[server.name], await server.searching_s()
        ms = [(late - early) * 1000 / len(bare) for early, late in zip(before, after, strict=True)]
        print(f"  by its own account {ms[1]:.2f} ms on average, {ms[0]:.2f} of them in its index")
    first, *others = (np.array(times) for times in took.values())
    print(f"{servers[0].name} beyond the bare search: {np.median(first - bare):.2f} ms")
    for server, times in zip(servers[1:], others, strict=True):
        print(f"{server.name} takes {np.median(times) / np.median(first):.1f} times as long")


def show(what: str, times: Sequence[float], cpu_s: float) -> None:
    low, median, high = np.quantile(times, (0.1, 0.5, 0.9))
    print(
        f"{what}: {median:.2f} ms (a tenth below {low:.2f}, a tenth above {high:.2f}), "
        f"{cpu_s * 1000 / len(times):.2f} ms of processor time"
    )


async def at_a_rate(server: Server, bodies: Sequence[bytes], rate: float, seconds: float) -> None:
    """Send requests when they are due, and say how long they took."""
    took: list[float] = []
    loop = asyncio.get_running_loop()

    async def one(body: bytes, due: float) -> None:
        await server.ask(body)
        took.append((loop.time() - due) * 1000)

    cpu_s = server.cpu_s()
    start = loop.time() + 0.1
    tasks: list[asyncio.Task[None]] = []
    for number in range(round(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(due - loop.time(), 0))
        tasks.append(asyncio.create_task(one(bodies[number % len(bodies)], due)))
    await asyncio.wait(tasks, timeout=PATIENCE_S)
    cpu_ms = (server.cpu_s() - cpu_s) * 1000 / max(len(took), 1)
    failed = sum(task.done() and task.exception() is not None for task in tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    times = np.array(took + [np.inf] * (len(tasks) - len(took)))
    half, most = (_within(np.quantile(times, share, method="higher")) for share in (0.5, 0.99))
    print(
        f"{server.name}: half within {half}, 99 % within {most}; {len(took):,} of {len(tasks):,} "
        f"answered, {failed} failed, {cpu_ms:.2f} ms of processor time each; load "
        f"{os.getloadavg()[0]:.1f}",
        flush=True,
    )
    await server.rest()


def _within(ms: float) -> str:
    return f"{ms:.1f} ms" if np.isfinite(ms) else "more than was waited for"


@contextmanager
def started(name: str, command: Sequence[str], port: int, log: Path) -> Iterator[Server]:
    """Yield a server when it listens; its output is in `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    start = time.perf_counter()
    try:
        while True:
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                raise SystemExit(f"{name} ended: see {log}")
            time.sleep(0.05)
        print(f"{name}: listens after {time.perf_counter() - start:.1f} s")
        yield Server(name, process.pid, port)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def ours(data: Path, out: Path) -> Any:
    port = free_port()
    command = [sys.executable, "-m", "webpairs", "serve", str(data), "--index", str(out)]
    return started("webpairs", [*command, "--port", str(port)], port, data.parent / "webpairs.log")


PEER = """
import os, sys
data, out = sys.argv[1:]
if not os.path.exists(out + "/image.index"):
    from clip_retrieval.clip_index import clip_index
    clip_index(data, out, text_subfolder="none", copy_metadata=False)
if not os.path.exists(out + "/weights.pt"):
    import open_clip, torch
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), out + "/weights.pt")
"""


def peers(arguments: argparse.Namespace, data: Path) -> Any:
    """Start clip-retrieval's server; its index is made first, unless it is there."""
    out = (arguments.folder / "clip-retrieval").resolve()
    out.mkdir(exist_ok=True)
    if not (out / "metadata").exists():
        (out / "metadata").symlink_to((data / "metadata").resolve())
    start = time.perf_counter()
    subprocess.run([arguments.clip_retrieval, "-c", PEER, str(data), str(out)], check=True)
    print(f"clip-retrieval: prepared in {time.perf_counter() - start:.0f} s")
    (out / "indices.json").write_text(json.dumps({"data": str(out)}))
    port = free_port()
    command = [
        *(str(arguments.clip_retrieval.parent / "clip-retrieval"), "back", f"--port={port}"),
        *(f"--indices_paths={out / 'indices.json'}", "--enable_mclip_option=False"),
        *(f"--clip_model=open_clip:ViT-B-32/{out / 'weights.pt'}", "--use_jit=False"),
        "--provide_aesthetic_embeddings=False",
    ]
    return started("clip-retrieval", command, port, arguments.folder / "clip-retrieval.log")


def write_captions(data: Path, num: int) -> None:
    """Give the metadata what real ones have beside URLs, unless it has it."""
    for number, start in enumerate(range(0, num, SHARD_ROWS)):
        path = data / "metadata" / f"metadata_{number:05d}.parquet"
        if "caption" in pq.read_schema(path).names:
            continue
        rng = np.random.default_rng(number)
        size = min(SHARD_ROWS, num - start)
        table = pa.table(
            {
                "url": [
                    f"https://example.org/pictures/{start + row:08d}.jpg" for row in range(size)
                ],
                "caption": [" ".join(words) for words in rng.choice(WORDS, (size, 9))],
                "NSFW": rng.choice(["UNLIKELY", "UNSURE", "NSFW"], size, p=[0.95, 0.03, 0.02]),
                "similarity": rng.uniform(0.3, 0.4, size),
                "original_width": rng.integers(256, 2048, size, dtype=np.int32),
                "original_height": rng.integers(256, 2048, size, dtype=np.int32),
            }
        )
        pq.write_table(table, path)


if __name__ == "__main__":
    main()
