"""Check that open_clip and transformers read the shipped checkpoint as training wrote it.

python training/compare_open_clip.py        (needs open_clip_torch and transformers)
"""

import json
import random
from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from evaluate import load
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from webpairs.demo.pictures import caption, junk_text, random_scene

CHECKPOINT = Path(__file__).parent.parent / "src" / "webpairs" / "clip" / "tiny"


def main() -> None:
    described = json.loads((CHECKPOINT / "open_clip_config.json").read_text())
    model, tokenizer, _ = load(CHECKPOINT)
    theirs = open_clip.CLIP(**described["model_cfg"]).eval()
    weights = load_file(CHECKPOINT / "model.safetensors")
    theirs.load_state_dict({name: value.float() for name, value in weights.items()})

    rng = random.Random(3)
    pixels = torch.rand(50, 3, 64, 64) * 2 - 1
    texts = [caption(random_scene(rng, held_out=True), rng) for _ in range(500)]
    texts += [junk_text(rng) for _ in range(500)]
    texts += [
        "",
        "Grüße aus Köln &amp; Zürich",
        "日本語 🙂 emoji",
        "x" * 200,
        "don't 12345 -- stop",
    ]
    length = described["model_cfg"]["text_cfg"]["context_length"]
    tokens = torch.zeros(len(texts), length, dtype=torch.long)
    for place, text in enumerate(texts):
        ids = tokenizer(text)
        tokens[place, : len(ids)] = torch.tensor(ids)
    with torch.no_grad():
        ours = model.encode_image(pixels), model.encode_text(tokens)
        others = (
            F.normalize(theirs.encode_image(pixels), dim=-1),
            F.normalize(theirs.encode_text(tokens), dim=-1),
        )
    for name, mine, other in zip(("image", "text"), ours, others, strict=True):
        print(f"{name}: largest difference of an embedding {(mine - other).abs().max():.1e}")

    hugging_face = CLIPTokenizer(
        str(CHECKPOINT / "vocab.json"), str(CHECKPOINT / "merges.txt"), model_max_length=length
    )
    different = 0
    for text in texts:
        ids = hugging_face(text, truncation=True)["input_ids"]
        if "&" not in text:  # transformers does not unescape entities
            different += ids != tokenizer(text)
    print(f"{different} of {len(texts)} texts tokenised differently by transformers")


if __name__ == "__main__":
    main()
