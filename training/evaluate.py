"""Measure a checkpoint on pictures of scenes that were held out of training."""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from bpe import Tokenizer
from render import render
from safetensors.torch import load_file
from tiny_clip import TinyClip

from webpairs.demo.pictures import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    HARD_ATTRIBUTES,
    SHAPES,
    Scene,
    caption,
    hard_negative,
    junk_text,
    unrelated_caption,
)

CHECKPOINT = Path(__file__).parent.parent / "src" / "webpairs" / "clip" / "tiny"

# The mix of texts in the demo: half true, a quarter near misses, the rest others.
DEMO_MIX = {"true": 0.50, "hard": 0.25, "unrelated": 0.15, "junk": 0.10}


def decode(indexes: list[int]) -> Scene:
    """Return the scene of four indexes."""
    count, colour, shape, background = indexes
    return Scene(COUNTS[count], list(COLOURS)[colour], SHAPES[shape], BACKGROUNDS[background])


def load(folder: Path) -> tuple[TinyClip, Tokenizer, float]:
    """Return the model with the stored weights in float32, its tokenizer and its threshold."""
    described = json.loads((folder / "open_clip_config.json").read_text())
    model = TinyClip(described["model_cfg"])
    weights = load_file(folder / "model.safetensors")
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    tokenizer = Tokenizer(folder, described["model_cfg"]["text_cfg"]["context_length"])
    return model.eval(), tokenizer, described["webpairs"]["threshold"]


@torch.no_grad()
def embed_texts(model: TinyClip, tokenizer: Tokenizer, texts: list[str]) -> np.ndarray:
    parts = []
    for start in range(0, len(texts), 500):
        rows = [tokenizer(text) for text in texts[start : start + 500]]
        tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for place, row in enumerate(rows):
            tokens[place, : len(row)] = torch.tensor(row)
        parts.append(model.encode_text(tokens).numpy())
    return np.concatenate(parts)


@torch.no_grad()
def embed_pictures(model: TinyClip, pictures: np.ndarray) -> np.ndarray:
    parts = []
    for start in range(0, len(pictures), 250):
        part = torch.from_numpy(pictures[start : start + 250]).permute(0, 3, 1, 2).float()
        parts.append(model.encode_image(part / 127.5 - 1).numpy())
    return np.concatenate(parts)


def area_under_curve(positives: np.ndarray, negatives: np.ndarray) -> float:
    """Return the chance that a positive scores above a negative."""
    order = np.sort(negatives)
    below = np.searchsorted(order, positives, "left")
    not_above = np.searchsorted(order, positives, "right")
    return float((below + not_above).mean() / 2 / len(negatives))


def evaluate(folder: Path, pictures: np.ndarray, scenes: np.ndarray, seed: int) -> dict:
    """Return what a checkpoint does on pictures (n, 64, 64, 3) of scenes (n, 4)."""
    model, tokenizer, threshold = load(folder)
    rng = random.Random(seed)
    known = [decode(row) for row in scenes.tolist()]
    images = embed_pictures(model, pictures)

    def scores(texts: list[str]) -> np.ndarray:
        return (images * embed_texts(model, tokenizer, texts)).sum(1)

    true_texts = [caption(scene, rng) for scene in known]
    true = scores(true_texts)
    false = {
        name: scores([hard_negative(scene, rng, name) for scene in known])
        for name in HARD_ATTRIBUTES
    }
    false["unrelated"] = scores([unrelated_caption(scene, rng) for scene in known])
    false["junk"] = scores([junk_text(rng) for _ in known])

    rejected = {name: float((score < threshold).mean()) for name, score in false.items()}

    def demo(cut: float) -> tuple[float, float]:
        """Return precision and recall of score >= cut in the demo's mix."""
        passed = DEMO_MIX["true"] * float((true >= cut).mean())
        slipped = DEMO_MIX["hard"] * float(
            np.mean([(false[name] >= cut).mean() for name in HARD_ATTRIBUTES])
        )
        slipped += DEMO_MIX["unrelated"] * float((false["unrelated"] >= cut).mean())
        slipped += DEMO_MIX["junk"] * float((false["junk"] >= cut).mean())
        return passed / max(passed + slipped, 1e-9), passed / DEMO_MIX["true"]

    cuts = np.arange(-0.2, 0.9, 0.01)
    accuracies = [
        ((true >= cut).mean() + np.mean([(false[name] < cut).mean() for name in HARD_ATTRIBUTES]))
        / 2
        for cut in cuts
    ]
    best = np.flatnonzero(np.isclose(accuracies, max(accuracies)))
    precision, recall = demo(threshold)

    texts = embed_texts(model, tokenizer, [caption(s, rng, with_background=True) for s in known])
    hits, tried = 0, 0
    for start in range(0, len(known) - 99, 100):
        part = known[start : start + 100]
        found = (images[start : start + 100] @ texts[start : start + 100].T).argmax(1)
        hits += sum(part[place] == part[other] for place, other in enumerate(found.tolist()))
        tried += 100
    return {
        "num_pictures": len(pictures),
        "threshold": threshold,
        "at_threshold": {
            "precision_demo_mix": round(precision, 4),
            "recall": round(recall, 4),
            "rejected": {name: round(value, 4) for name, value in rejected.items()},
        },
        "area_under_curve": {
            name: round(area_under_curve(true, score), 5) for name, score in false.items()
        },
        "best_cut_true_against_hard": {
            "from": round(float(cuts[best[0]]), 2),
            "to": round(float(cuts[best[-1]]), 2),
            "balanced_accuracy": round(float(max(accuracies)), 4),
        },
        "demo_mix_at_other_cuts": {
            f"{cut:.2f}": [round(value, 4) for value in demo(cut)]
            for cut in (0.2, 0.25, 0.3, 0.35, 0.4)
        },
        "similarity_quantiles_1_50_99": {
            name: [round(float(value), 3) for value in np.quantile(score, (0.01, 0.5, 0.99))]
            for name, score in {"true": true, **false}.items()
        },
        "first_of_100": round(hits / max(tried, 1), 4),
    }


def write_report(checkpoint: Path, work: Path, folder: Path, processes: int) -> None:
    """Measure a checkpoint on pictures that nobody looked at before; write report.json, REPORT.md.

    The pictures have seeds of their own: 5,000 of held-out scenes, and 2,500 of the scenes that
    training drew from. `run.json` in the folder, which training wrote, is taken in.
    """
    drawn = work / "pictures"
    unseen = render(drawn, 2, seed=20_000, held_out=True, processes=processes)
    seen = render(drawn, 1, seed=30_000, held_out=False, processes=processes)
    report = {
        "held_out": evaluate(checkpoint, *unseen, seed=101),
        "combinations_of_training": evaluate(checkpoint, *seen, seed=102),
        "training": json.loads((folder / "run.json").read_text(encoding="utf-8")),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (folder / "REPORT.md").write_text(as_text(report), encoding="utf-8")


def as_text(report: dict) -> str:
    """Return the report as Markdown."""
    new, old, run = report["held_out"], report["combinations_of_training"], report["training"]
    lines = [
        "# What `tiny` was measured to do",
        "",
        "Written by `training/evaluate.py`; the figures are in `report.json`.",
        "",
        f"{run['num_weights']:,} weights; trained for {run['seconds'] / 60:.0f} minutes on "
        f"{run['num_pictures']:,} drawn pictures, {run['num_shown']:,} times shown in all.",
        f"Measured on {new['num_pictures']:,} new pictures whose colour and shape were never shown "
        f"together in training, and on {old['num_pictures']:,} new pictures of pairs that were.",
        "",
        f"| at similarity >= {new['threshold']} | held-out pairs | pairs of training |",
        "|---|---|---|",
    ]

    def row(name: str, *path: str) -> None:
        values = []
        for side in (new, old):
            for step in path:
                side = side[step]
            values.append(f"{side:.4f}")
        lines.append(f"| {name} | {values[0]} | {values[1]} |")

    row("precision in the demo's mix of texts", "at_threshold", "precision_demo_mix")
    row("recall: true texts kept", "at_threshold", "recall")
    for name in new["at_threshold"]["rejected"]:
        kind = f"wrong {name}" if name in HARD_ATTRIBUTES else f"{name} text"
        row(f"dropped: {kind}", "at_threshold", "rejected", name)
    for name in new["area_under_curve"]:
        kind = f"wrong {name}" if name in HARD_ATTRIBUTES else f"{name} text"
        row(f"area under the curve: true against {kind}", "area_under_curve", name)
    row("its own text first of 100", "first_of_100")
    best = new["best_cut_true_against_hard"]
    mix = ", ".join(f"{share:.0%} {name}" for name, share in DEMO_MIX.items())
    lines += [
        "",
        f"The demo's mix: {mix}. Best cut between true texts and near misses on the held-out "
        f"pairs: {best['from']:.2f} to {best['to']:.2f}, balanced accuracy "
        f"{best['balanced_accuracy']:.4f}.",
        "",
        "| cut | precision | recall |",
        "|---|---|---|",
        *(
            f"| {cut} | {precision:.4f} | {recall:.4f} |"
            for cut, (precision, recall) in new["demo_mix_at_other_cuts"].items()
        ),
        "",
        "| similarity of held-out pairs | 1 % | 50 % | 99 % |",
        "|---|---|---|---|",
    ]
    for name, values in new["similarity_quantiles_1_50_99"].items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=write_report.__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for drawn pictures")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--report", type=Path, default=Path(__file__).parent)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    write_report(options.checkpoint, options.work, options.report, options.threads)


if __name__ == "__main__":
    main()
