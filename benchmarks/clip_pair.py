"""Time image + text of a pair with ViT-B/32 on the CPU, beside torch fp32 eager at 77 tokens.

    uv run python benchmarks/clip_pair.py --peer PYTHON [--pairs 64] [--rounds 9] [--threads 2]

PYTHON is an interpreter with torch and transformers, e.g. of `uv venv peer && uv pip install
--python peer/bin/python torch transformers`; without it our own figures are printed alone. Weights
are random, written to a temporary folder; both sides read the same file, and their embeddings are
compared. Each round times both, one after the other; what counts is the median of the rounds'
ratios, so that other work on the machine disturbs less. Tokenising our texts is within our time;
torch gets ids, padded to 77 as CLIP's own tokenizer pads them.

Lengths of texts are log-normal around a mean of 16 tokens and the two marks: COYO-700M's README
gives its 747 million alt texts' mean as 15.75 tokens (11.13 words); their spread, 0.6 of a natural
logarithm, is our assumption.
"""

from __future__ import annotations

import argparse
import json
import statistics
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CONTEXT, VOCAB = 77, 49_408
END_ID = 513  # of the little vocabulary below
TORCH_BATCH = 16  # its fastest here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter with torch, transformers")
    # As many as a build embeds at once.
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_torch(arguments.serve, arguments.threads)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), arguments)


def compare(folder: Path, arguments: argparse.Namespace) -> None:
    """Write the inputs, run the rounds, print both sides and the ratio."""
    from webpairs.clip.model import load_model

    write_checkpoint(folder)
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (arguments.pairs, 224, 224, 3), dtype=np.uint8)
    words = np.clip(rng.lognormal(np.log(16) - 0.18, 0.6, arguments.pairs).round(), 3, 75)
    texts = [" ".join(rng.choice(list(string.ascii_lowercase), int(n))) for n in words]
    started = time.perf_counter()
    model = load_model(str(folder), threads=arguments.threads, runtime="onnxruntime")
    print(
        f"{model.runtime}, {arguments.threads} threads: {time.perf_counter() - started:.1f} s load"
    )
    print(f"{arguments.pairs} pairs a round; texts of {words.mean() + 2:.1f} tokens on average")
    np.save(folder / "images.npy", images)
    ids = np.zeros((arguments.pairs, CONTEXT), np.int64)
    for row, text in enumerate(model._tokenizer.encode(texts)):  # pyright: ignore
        ids[row, : len(text)] = text
    np.save(folder / "ids.npy", ids)
    ours = {"images": lambda: model.embed_images(images), "texts": lambda: model.embed_texts(texts)}
    peer = Peer(arguments.peer, folder, arguments.threads) if arguments.peer else None
    rounds: list[dict[str, float]] = []
    for _ in range(arguments.rounds + 1):
        times = {f"our {kind}": timed(embed) for kind, embed in ours.items()}
        if peer:
            times |= {f"torch {kind}": peer.time(kind) for kind in ours}
        rounds.append(times)
    rounds = rounds[1:]  # the first one warms up
    for name in rounds[0]:
        times_ms = [r[name] / arguments.pairs * 1000 for r in rounds]
        middle, least = statistics.median(times_ms), min(times_ms)
        print(f"{name:13} {middle:7.1f} ms each (least {least:.1f})")
    if peer:
        report(rounds, peer, {kind: embed() for kind, embed in ours.items()}, folder)


def report(rounds: list[dict[str, float]], peer: Peer, ours: dict[str, Any], folder: Path) -> None:
    """Print how many times faster, and how different the numbers are."""
    ratios = [
        (r["torch images"] + r["torch texts"]) / (r["our images"] + r["our texts"]) for r in rounds
    ]
    for kind, embedded in ours.items():
        theirs = peer.embeddings(kind, folder)
        print(f"{kind}: max |difference| {np.abs(embedded - theirs).max():.1e}")
    print(f"a pair: {statistics.median(ratios):.2f} times as fast (median of {len(ratios)} rounds,")
    print(f"  {min(ratios):.2f} to {max(ratios):.2f}); target: at least 2")
    peer.close()


def timed(function: Any) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


class Peer:
    """Drive a process that holds the torch model."""

    def __init__(self, python: str, folder: Path, threads: int) -> None:
        line = [python, __file__, "--serve", str(folder), "--threads", str(threads)]
        self._process = subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        print(self._ask("hello"))

    def _ask(self, request: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(request, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()

    def time(self, kind: str) -> float:
        return float(self._ask(kind))

    def embeddings(self, kind: str, folder: Path) -> Any:
        self._ask(f"save {kind}")
        return np.load(folder / f"torch-{kind}.npy")

    def close(self) -> None:
        self._process.communicate("")


def serve_torch(folder: Path, threads: int) -> None:
    """Answer requests on stdin: seconds for all images or texts, or their embeddings in a file."""
    # Towers do not need torchvision, and one built for CUDA fails beside a CPU torch.
    sys.modules["torchvision"] = None  # pyright: ignore[reportArgumentType]
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.set_num_threads(threads)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    images = torch.from_numpy(np.load(folder / "images.npy"))
    ids = torch.from_numpy(np.load(folder / "ids.npy"))

    def embed(kind: str) -> Any:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(ids), TORCH_BATCH):
                rows = slice(start, start + TORCH_BATCH)
                if kind == "images":
                    pixels = images[rows].permute(0, 3, 1, 2).float().div(255)
                    features = model.get_image_features(pixels.sub(mean).div(std))
                else:
                    features = model.get_text_features(ids[rows])
                features = getattr(features, "pooler_output", features)
                parts.append(torch.nn.functional.normalize(features))
        return torch.cat(parts)

    for line in sys.stdin:
        request = line.strip()
        if request == "hello":
            print(f"torch {torch.__version__}, transformers {transformers.__version__}, fp32 eager")
        elif request.startswith("save "):
            kind = request.removeprefix("save ")
            np.save(folder / f"torch-{kind}.npy", embed(kind).numpy())
            print("saved")
        else:
            print(timed(lambda request=request: embed(request)))
        sys.stdout.flush()


def write_checkpoint(folder: Path) -> None:
    """Write a ViT-B/32 of random weights in transformers' layout, with a tokenizer of bytes."""
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    tensors: dict[str, Any] = {}

    def draw(name: str, *shape: int, scale: float = 0.0) -> None:
        values = rng.standard_normal(shape, dtype=np.float32)
        tensors[name] = values * np.float32(scale or shape[-1] ** -0.5)

    def norm(name: str, width: int) -> None:
        tensors[f"{name}.weight"] = np.ones(width, np.float32)
        draw(f"{name}.bias", width, scale=0.05)

    for tower, width, heads_in in (("vision", 768, "visual"), ("text", 512, "text")):
        for layer in range(12):
            block = f"{tower}_model.encoder.layers.{layer}."
            for part, out, inner in (
                *((f"self_attn.{letter}_proj", width, width) for letter in ("q", "k", "v", "out")),
                ("mlp.fc1", 4 * width, width),
                ("mlp.fc2", width, 4 * width),
            ):
                draw(f"{block}{part}.weight", out, inner)
                draw(f"{block}{part}.bias", out, scale=0.02)
            norm(f"{block}layer_norm1", width)
            norm(f"{block}layer_norm2", width)
        draw(f"{heads_in}_projection.weight", 512, width)
    norm("vision_model.pre_layrnorm", 768)
    norm("vision_model.post_layernorm", 768)
    norm("text_model.final_layer_norm", 512)
    draw("vision_model.embeddings.class_embedding", 768)
    draw("vision_model.embeddings.patch_embedding.weight", 768, 3, 32, 32, scale=0.02)
    draw("vision_model.embeddings.position_embedding.weight", 50, 768, scale=0.5)
    draw("text_model.embeddings.token_embedding.weight", VOCAB, 512, scale=0.5)
    draw("text_model.embeddings.position_embedding.weight", CONTEXT, 512, scale=0.2)
    tensors["logit_scale"] = np.array(4.6, np.float32)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    text = {"eos_token_id": END_ID, "bos_token_id": END_ID - 1, "projection_dim": 512}
    config = {"model_type": "clip", "projection_dim": 512, "text_config": text, "vision_config": {}}
    (folder / "config.json").write_text(json.dumps(config))
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    characters = [chr(byte) for byte in (*printable, *range(256, 512 - len(printable)))]
    marks = ["<|startoftext|>", "<|endoftext|>"]
    tokens = [*characters, *(f"{character}</w>" for character in characters), *marks]
    vocab = {token: place for place, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocab))
    (folder / "merges.txt").write_text("#version: 0.2\n")


if __name__ == "__main__":
    main()
