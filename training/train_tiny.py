"""Train `tiny`, the CLIP that webpairs ships for its demo and tests, on drawn pictures alone.

    python training/train_tiny.py --work SCRATCH_FOLDER

The defaults made the shipped weights. Tokenizer, pictures, training and report follow each other;
pictures already drawn in SCRATCH_FOLDER are used again. What is minimised, with s = cosine of
picture and text:

- softplus(-t (s - 0.3)) over true texts and softplus(t (s - 0.3)) over false ones, where the mean
  over true texts weighs as much as the means over false ones together: near misses (one attribute
  wrong), other scenes, junk. So 0.3 itself becomes the cut; t is the checkpoint's `logit_scale`.
- CLIP's contrastive loss (Radford et al. 2021, section 2.3) with every true text of the batch as
  a target.
- Cross-entropy of linear heads, the same for pictures and texts, that read the attributes off an
  embedding; they teach both towers what there is to tell apart, and are thrown away.

A batch holds families: a scene and, per attribute, the scene with that attribute changed. Each text
of a family is so a hard negative of its other pictures.
"""

import argparse
import json
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from bpe import Tokenizer, learn, save
from evaluate import CHECKPOINT, evaluate, write_report
from render import encode, render
from safetensors.torch import save as safetensors_of
from tiny_clip import MODEL_CONFIG, TinyClip
from torch import Tensor, nn

from webpairs.demo.pictures import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    SHAPES,
    Scene,
    caption,
    change,
    is_held_out,
    junk_text,
    random_scene,
)

THRESHOLD = 0.3  # LAION-400M's
VOCAB_SIZE = 3000
NUM_TOKENIZER_TEXTS = 20_000
ATTRIBUTE_SIZES = (len(COUNTS), len(COLOURS), len(SHAPES), len(BACKGROUNDS))
CHANGES = ("count", "colour", "shape", "shape", "background")  # of a family; shape is the hardest
UNTOLD = -1  # the background of a text that does not tell it
PATHS = ("work", "out", "report")  # options that say where, not what


def train_tokenizer(folder: Path) -> int:
    """Learn the vocabulary from true texts, junk and common English words; return its size."""
    rng = random.Random(1)
    texts = [junk_text(rng) for _ in range(NUM_TOKENIZER_TEXTS)]
    texts.extend(
        caption(random_scene(rng, held_out=rng.random() < 0.2), rng)
        for _ in range(NUM_TOKENIZER_TEXTS)
    )
    words = (Path(__file__).parent / "words.txt").read_text(encoding="utf-8")
    texts.extend([words] * 3)
    return save(learn(texts, VOCAB_SIZE), folder)


class Batches:
    """Compose batches of families from the pictures that were drawn."""

    def __init__(
        self, pictures: np.ndarray, scenes: np.ndarray, tokenizer: Tokenizer, seed: int
    ) -> None:
        self.pictures, self.tokenizer = pictures, tokenizer
        self.rng = random.Random(seed)
        self.noise = np.random.Generator(np.random.PCG64(seed))
        self.rows_of = defaultdict(list)
        for row, scene in enumerate(scenes.tolist()):
            self.rows_of[tuple(scene)].append(row)

    def _scene(self, make: Callable[[], Scene]) -> Scene | None:
        """Return a scene that training may show and has a picture of; None if none is found."""
        for _ in range(100):
            scene = make()
            if not is_held_out(scene) and encode(scene) in self.rows_of:
                return scene
        return None

    def _family(self) -> list[Scene]:
        """Return a scene and its changed ones."""
        while True:
            base = self._scene(partial(random_scene, self.rng, held_out=False))
            assert base is not None, "no pictures"
            changes = [self._scene(partial(change, base, self.rng, name)) for name in CHANGES]
            if None not in changes:
                return [base, *(scene for scene in changes if scene is not None)]

    def next(self, num_families: int, num_junk: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return pixels (n, 3, 64, 64), tokens (n + junk, length), told and shown (n, 4)."""
        rng = self.rng
        scenes = [scene for _ in range(num_families) for scene in self._family()]
        shown = np.array([encode(scene) for scene in scenes])
        told, texts = shown.copy(), []
        for row, scene in enumerate(scenes):
            with_background = rng.random() < 0.7
            texts.append(caption(scene, rng, with_background=with_background))
            if not with_background:
                told[row, 3] = UNTOLD
        texts.extend(junk_text(rng) for _ in range(num_junk))
        rows = [rng.choice(self.rows_of[tuple(scene)]) for scene in shown.tolist()]
        return (
            self._augment(self.pictures[rows]),
            tokens_of(texts, self.tokenizer),
            torch.from_numpy(told),
            torch.from_numpy(shown),
        )

    def _augment(self, pictures: np.ndarray) -> Tensor:
        """Mirror half of the pictures, move each by up to 2 pixels, change light and contrast."""
        n = len(pictures)
        padded = np.pad(pictures, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="edge")
        moved = np.empty_like(pictures)
        for row, (down, across) in enumerate(self.noise.integers(0, 5, (n, 2))):
            moved[row] = padded[row, down : down + 64, across : across + 64]
        mirrored = self.noise.random(n) < 0.5
        moved[mirrored] = moved[mirrored, :, ::-1]
        pixels = normalise(moved)
        contrast = torch.from_numpy(self.noise.uniform(0.94, 1.06, (n, 1, 1, 1)).astype(np.float32))
        light = torch.from_numpy(self.noise.uniform(-0.05, 0.05, (n, 1, 1, 1)).astype(np.float32))
        return (pixels * contrast + light).contiguous()


def normalise(pictures: np.ndarray) -> Tensor:
    """Return (n, 3, 64, 64) float32 in -1..1 of (n, 64, 64, 3) uint8: mean and deviation of 0.5."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1


def tokens_of(texts: list[str], tokenizer: Tokenizer) -> Tensor:
    """Return ids (n, length of the longest), filled up with 0."""
    rows = [tokenizer(text) for text in texts]
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = torch.tensor(row)
    return tokens


def loss_of(
    model: TinyClip, heads: nn.Linear, batch: tuple[Tensor, ...], bf16: bool
) -> tuple[Tensor, ...]:
    """Return the sigmoid loss, the contrastive loss and the loss of the heads."""
    pixels, tokens, told, shown = batch
    n = len(pixels)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        images = model.visual(pixels)
    images = F.normalize(images.float(), dim=-1)
    texts = model.encode_text(tokens)
    cosines = images @ texts.T
    scale = model.logit_scale.exp()

    wrong = ((told[None] != shown[:, None]) & (told[None] != UNTOLD)).sum(-1)  # (image, text)
    wrong = torch.cat([wrong, torch.full((n, len(tokens) - n), 9)], dim=1)
    true = wrong == 0
    logits = scale * (cosines - THRESHOLD)
    of_true, of_false = F.softplus(-logits), F.softplus(logits)
    sigmoid = (
        0.50 * of_true[true].mean()
        + 0.30 * of_false[wrong == 1].mean()
        + 0.12 * of_false[(wrong > 1) & (wrong < 9)].mean()
        + 0.08 * of_false[wrong == 9].mean()
    )

    targets = true.float()
    by_image = -(F.log_softmax(scale * cosines, 1) * targets).sum(1) / targets.sum(1)
    targets = targets[:, :n]
    by_text = -(F.log_softmax(scale * cosines[:, :n], 0) * targets).sum(0) / targets.sum(0)
    contrastive = (by_image.mean() + by_text.mean()) / 2

    read = 0.0
    start = 0
    of_images, of_texts = heads(10 * images), heads(10 * texts[:n])
    for place, size in enumerate(ATTRIBUTE_SIZES):
        part = slice(start, start + size)
        read = read + F.cross_entropy(of_images[:, part], shown[:, place])
        read = read + F.cross_entropy(of_texts[:, part], told[:, place], ignore_index=UNTOLD)
        start += size
    return sigmoid, contrastive, read / 8


def rate_at(step: int, num_steps: int, peak: float, warm_up: int) -> float:
    """Return the learning rate: linear warm-up, then a cosine to a hundredth of the peak."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    done = (step - warm_up) / max(1, num_steps - warm_up)
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def write_checkpoint(model: TinyClip, config: dict, folder: Path) -> None:
    """Write float16 weights and the configuration in open_clip's layout."""
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    (folder / "model.safetensors").write_bytes(safetensors_of(weights))
    described = {
        "model_cfg": config,
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "shortest",
        },
        "webpairs": {
            "threshold": THRESHOLD,
            "note": "trained on drawn shapes for demo and tests; blind to the real world",
        },
    }
    (folder / "open_clip_config.json").write_text(json.dumps(described, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for drawn pictures")
    parser.add_argument("--out", type=Path, default=CHECKPOINT, help="where the checkpoint goes")
    parser.add_argument("--report", type=Path, default=Path(__file__).parent)
    parser.add_argument("--parts", type=int, default=24, help="of 2,500 training pictures each")
    parser.add_argument("--steps", type=int, default=3200)
    parser.add_argument("--families", type=int, default=18, help="of 6 pictures, in a batch")
    parser.add_argument("--peak-rate", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()

    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    drawn = options.work / "pictures"
    pictures, scenes = render(
        drawn, options.parts, seed=1000, held_out=False, processes=options.threads
    )
    unseen = render(drawn, 1, seed=9000, held_out=True, processes=options.threads)
    config = json.loads(json.dumps(MODEL_CONFIG))
    config["text_cfg"]["vocab_size"] = train_tokenizer(options.out)
    tokenizer = Tokenizer(options.out, config["text_cfg"]["context_length"])

    model = TinyClip(config)
    heads = nn.Linear(config["embed_dim"], sum(ATTRIBUTE_SIZES))
    matrices = [p for p in (*model.parameters(), *heads.parameters()) if p.ndim >= 2]
    others = [p for p in (*model.parameters(), *heads.parameters()) if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.98),
    )
    num_weights = sum(p.numel() for p in model.parameters())
    print(f"{len(pictures):,} pictures, {num_weights:,} weights", flush=True)

    batches = Batches(pictures, scenes, tokenizer, options.seed)
    started, totals, history = time.monotonic(), np.zeros(3), []
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, options.steps, options.peak_rate, warm_up=200)
        batch = batches.next(options.families, num_junk=12)
        losses = loss_of(model, heads, batch, options.bf16)
        (losses[0] + 0.3 * losses[1] + 0.5 * losses[2]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            model.logit_scale.clamp_(math.log(5), math.log(100))
        totals += [loss.item() for loss in losses]
        if (step + 1) % 50 == 0:
            seconds = time.monotonic() - started
            mean = totals / 50
            print(
                f"{step + 1:6d} {seconds:6.0f} s  sigmoid {mean[0]:.4f}  contrastive {mean[1]:.3f}"
                f"  heads {mean[2]:.4f}  scale {model.logit_scale.exp().item():.1f}",
                flush=True,
            )
            totals[:] = 0
        if (step + 1) % 500 == 0 or step + 1 == options.steps:
            write_checkpoint(model, config, options.out)
            measured = evaluate(options.out, *unseen, seed=77)
            history.append({"step": step + 1, **measured["at_threshold"]})
            print(json.dumps(history[-1]), flush=True)
    run = {
        "options": {name: str(value) for name, value in vars(options).items() if name not in PATHS},
        "num_weights": num_weights,
        "num_pictures": len(pictures),
        "num_shown": options.steps * options.families * (1 + len(CHANGES)),
        "seconds": round(time.monotonic() - started),
        "watched": history,
    }
    (options.report / "run.json").write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")
    write_report(options.out, options.work, options.report, options.threads)


if __name__ == "__main__":
    main()
