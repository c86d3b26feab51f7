"""Write checkpoints with random weights and a small vocabulary, in three layouts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

Tensors = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Sizes:
    """Size both towers; the defaults are odd on purpose, so that swapped axes do not fit."""

    dim: int = 24
    side_px: int = 48
    patch_px: int = 16
    width: int = 40
    head_width: int = 8
    layers: int = 3
    text_width: int = 30
    text_heads: int = 3
    text_layers: int = 2
    context_length: int = 20
    vocab_size: int = 530
    mlp_ratio: float = 4.0


SMALL = Sizes()


def random_tensors(sizes: Sizes, seed: int = 0) -> Tensors:
    """Draw a whole CLIP under open_clip's names, biases and norms included."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int, scale: float = 0.0, around: float = 0.0) -> npt.NDArray[np.float32]:
        scale = scale or shape[-1] ** -0.5
        return (around + scale * rng.standard_normal(shape)).astype(np.float32)

    def tower(prefix: str, width: int, layers: int) -> Tensors:
        wide, tensors = int(width * sizes.mlp_ratio), Tensors()
        for layer in range(layers):
            block = f"{prefix}transformer.resblocks.{layer}."
            for name, shape in {
                "attn.in_proj_weight": (3 * width, width),
                "attn.out_proj.weight": (width, width),
                "mlp.c_fc.weight": (wide, width),
                "mlp.c_proj.weight": (width, wide),
            }.items():
                tensors[block + name] = draw(*shape)
            for name, size in {
                "attn.in_proj_bias": 3 * width,
                "attn.out_proj.bias": width,
                "mlp.c_fc.bias": wide,
                "mlp.c_proj.bias": width,
            }.items():
                tensors[block + name] = draw(size, scale=0.1)
            for norm in ("ln_1", "ln_2"):
                tensors |= norms(block + norm, width)
        return tensors

    def norms(name: str, width: int) -> Tensors:
        return {
            f"{name}.weight": draw(width, scale=0.2, around=1.0),
            f"{name}.bias": draw(width, scale=0.1),
        }

    grid = sizes.side_px // sizes.patch_px
    return {
        "visual.class_embedding": draw(sizes.width, scale=0.5),
        "visual.conv1.weight": draw(sizes.width, 3, sizes.patch_px, sizes.patch_px, scale=0.05),
        "visual.positional_embedding": draw(grid * grid + 1, sizes.width, scale=0.5),
        "visual.proj": draw(sizes.width, sizes.dim),
        **norms("visual.ln_pre", sizes.width),
        **norms("visual.ln_post", sizes.width),
        **tower("visual.", sizes.width, sizes.layers),
        "token_embedding.weight": draw(sizes.vocab_size, sizes.text_width, scale=0.5),
        "positional_embedding": draw(sizes.context_length, sizes.text_width, scale=0.3),
        "text_projection": draw(sizes.text_width, sizes.dim),
        **norms("ln_final", sizes.text_width),
        **tower("", sizes.text_width, sizes.text_layers),
        "logit_scale": np.array(2.0, np.float32),
    }


def open_clip_config(sizes: Sizes, *, quick_gelu: bool = False, **rest: Any) -> dict[str, Any]:
    """Write down what `open_clip_config.json` says."""
    return {
        "model_cfg": {
            "embed_dim": sizes.dim,
            "quick_gelu": quick_gelu,
            "vision_cfg": {
                "image_size": sizes.side_px,
                "patch_size": sizes.patch_px,
                "layers": sizes.layers,
                "width": sizes.width,
                "head_width": sizes.head_width,
                "mlp_ratio": sizes.mlp_ratio,
            },
            "text_cfg": {
                "context_length": sizes.context_length,
                "vocab_size": sizes.vocab_size,
                "width": sizes.text_width,
                "heads": sizes.text_heads,
                "layers": sizes.text_layers,
                "mlp_ratio": sizes.mlp_ratio,
            },
        },
        **rest,
    }


def transformers_config(sizes: Sizes, *, quick_gelu: bool = False) -> dict[str, Any]:
    """Write down what transformers' `config.json` says."""
    act = "quick_gelu" if quick_gelu else "gelu"
    return {
        "model_type": "clip",
        "projection_dim": sizes.dim,
        "vision_config": {
            "hidden_size": sizes.width,
            "intermediate_size": int(sizes.width * sizes.mlp_ratio),
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.width // sizes.head_width,
            "image_size": sizes.side_px,
            "patch_size": sizes.patch_px,
            "projection_dim": sizes.dim,
            "hidden_act": act,
        },
        "text_config": {
            "hidden_size": sizes.text_width,
            "intermediate_size": int(sizes.text_width * sizes.mlp_ratio),
            "num_hidden_layers": sizes.text_layers,
            "num_attention_heads": sizes.text_heads,
            "max_position_embeddings": sizes.context_length,
            "vocab_size": sizes.vocab_size,
            "projection_dim": sizes.dim,
            "hidden_act": act,
            "bos_token_id": sizes.vocab_size - 2,
            "eos_token_id": sizes.vocab_size - 1,
        },
    }


def to_transformers(tensors: Tensors) -> Tensors:
    """Rename open_clip's tensors as transformers does, attention split in three."""
    parts = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1"}
    parts |= {"mlp.c_proj": "mlp.fc2", "attn.out_proj": "self_attn.out_proj"}
    renamed = {
        "vision_model.embeddings.class_embedding": tensors["visual.class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": tensors["visual.conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": tensors["visual.positional_embedding"],
        "visual_projection.weight": np.ascontiguousarray(tensors["visual.proj"].T),
        "text_model.embeddings.token_embedding.weight": tensors["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": tensors["positional_embedding"],
        "text_projection.weight": np.ascontiguousarray(tensors["text_projection"].T),
        "logit_scale": tensors["logit_scale"],
    }
    for kind in ("weight", "bias"):
        renamed[f"vision_model.pre_layrnorm.{kind}"] = tensors[f"visual.ln_pre.{kind}"]
        renamed[f"vision_model.post_layernorm.{kind}"] = tensors[f"visual.ln_post.{kind}"]
        renamed[f"text_model.final_layer_norm.{kind}"] = tensors[f"ln_final.{kind}"]
    for name, tensor in tensors.items():
        before, found, block = name.partition("transformer.resblocks.")
        if not found:
            continue
        layer, _, rest = block.partition(".")
        side = "vision" if before else "text"
        start = f"{side}_model.encoder.layers.{layer}."
        if rest.startswith("attn.in_proj_"):
            kind = rest.removeprefix("attn.in_proj_")
            for letter, third in zip("qkv", np.split(tensor, 3), strict=True):
                renamed[f"{start}self_attn.{letter}_proj.{kind}"] = third
        else:
            part, _, kind = rest.rpartition(".")
            renamed[f"{start}{parts[part]}.{kind}"] = tensor
    return renamed


def small_vocabulary(size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Make a byte-level BPE of `size` tokens: bytes, bytes at a word's end, merges, start, end."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    characters = [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
    tokens = [*characters, *(f"{character}</w>" for character in characters)]
    letters = "etaoinshr"
    pairs = [(a, b) for a in letters for b in letters if a != b]
    assert 514 <= size <= 514 + len(pairs)
    merges = pairs[: size - 514]
    tokens += ["".join(pair) for pair in merges] + ["<|startoftext|>", "<|endoftext|>"]
    return {token: place for place, token in enumerate(tokens)}, merges


def save_tokenizer(folder: Path, size: int) -> None:
    """Write `vocab.json` and `merges.txt`."""
    vocab, merges = small_vocabulary(size)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def save_checkpoint(
    folder: Path,
    layout: str,
    sizes: Sizes = SMALL,
    *,
    quick_gelu: bool = False,
    tensors: Tensors | None = None,
    **rest: Any,
) -> Path:
    """Write a whole checkpoint in layout open_clip, transformers or openai; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = random_tensors(sizes) if tensors is None else tensors
    name = "model.safetensors"
    if layout == "open_clip":
        name = "open_clip_model.safetensors"
        config = open_clip_config(sizes, quick_gelu=quick_gelu, **rest)
        (folder / "open_clip_config.json").write_text(json.dumps(config))
    elif layout == "transformers":
        tensors = to_transformers(tensors)
        config = transformers_config(sizes, quick_gelu=quick_gelu)
        (folder / "config.json").write_text(json.dumps(config))
    else:
        numbers = (sizes.side_px, sizes.context_length, sizes.vocab_size)
        names = ("input_resolution", "context_length", "vocab_size")
        tensors = tensors | {n: np.array(v) for n, v in zip(names, numbers, strict=True)}
    save_file(tensors, folder / name)
    save_tokenizer(folder, sizes.vocab_size)
    return folder
