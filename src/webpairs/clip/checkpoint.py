"""Opening a checkpoint: the weight files, configuration and tokenizer that lie in one folder."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from webpairs.clip import architecture
from webpairs.clip.architecture import Architecture
from webpairs.clip.pretrained import Pretrained
from webpairs.clip.tokenizer import Tokenizer, read_tokenizer
from webpairs.clip.weights import Weights, shard_files
from webpairs.errors import ConfigError
from webpairs.files import read_regular

WEIGHT_FILES: Final = (
    "open_clip_model.safetensors",
    "model.safetensors",
    "open_clip_model.safetensors.index.json",
    "model.safetensors.index.json",
)
"""Where weights are looked for, in this order: open_clip's name, everybody's, and in parts."""

OPEN_CLIP_CONFIG: Final = "open_clip_config.json"
TRANSFORMERS_CONFIG: Final = "config.json"
CONFIG_FILES: Final = (OPEN_CLIP_CONFIG, TRANSFORMERS_CONFIG, "preprocessor_config.json")
TOKENIZER_FILES: Final = ("vocab.json", "merges.txt", "tokenizer.json")
_WRONG: Final = (
    *(ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError),
)
"""What values of another form than a configuration's may raise."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a model is made of; the tensors are read when they are asked for."""

    weights: Weights
    architecture: Architecture
    tokenizer_folder: Path

    @property
    def tokenizer(self) -> Tokenizer:
        """Read the tokenizer; raise ConfigError where there is none or it does not fit."""
        return read_tokenizer(
            self.tokenizer_folder, self.architecture.context_length, self.architecture.vocab_size
        )


def find_weights(place: Path) -> list[Path]:
    """Return the safetensors files of a folder, or the file itself, or nothing.

    Nothing else is read: other formats (.bin, .pt) are pickles, which run code when opened.
    """
    if place.is_file():
        return [place] if place.suffix == ".safetensors" else []
    for name in WEIGHT_FILES:
        if (found := place / name).exists():
            return shard_files(found) if name.endswith(".json") else [found]
    lone = sorted(place.glob("*.safetensors"))
    return lone if len(lone) == 1 else []


def open_checkpoint(
    place: Path, known: Pretrained | None = None, tokenizer_folder: Path | None = None
) -> Checkpoint:
    """Read the headers of a folder or a safetensors file; `known` is what a name says of it.

    The tokenizer lies beside the weights unless `tokenizer_folder` says otherwise. Raises
    ConfigError where a part is missing, with what to put where.
    """
    files = find_weights(place)
    if not files:
        raise ConfigError(_no_weights(place))
    folder = place if place.is_dir() else place.parent
    weights = Weights(files)
    try:
        read = _architecture(folder, weights, known)
    except _WRONG as error:
        raise ConfigError(
            f"configuration and weights in {folder} do not describe a CLIP "
            f"({type(error).__name__}: {error}): fetch both again, from one place"
        ) from error
    tokenizer_folder = tokenizer_folder or folder
    if not has_tokenizer(tokenizer_folder):
        raise ConfigError(
            f"no tokenizer beside {files[0]}: put the checkpoint's vocab.json and merges.txt, "
            f"or its tokenizer.json, into {tokenizer_folder}"
        )
    return Checkpoint(weights, read, tokenizer_folder)


def has_tokenizer(folder: Path) -> bool:
    """Say whether the files that `read_tokenizer` reads are there."""
    vocab, merges, whole = (folder / name for name in TOKENIZER_FILES)
    return (vocab.exists() and merges.exists()) or whole.exists()


def _architecture(folder: Path, weights: Weights, known: Pretrained | None) -> Architecture:
    if weights.is_transformers:
        read = architecture.from_transformers(
            _read_json(folder / TRANSFORMERS_CONFIG, "transformers' configuration"),
            _read_json(folder / "preprocessor_config.json", None),
            weights.shapes,
        )
    elif weights.is_openai and not (folder / OPEN_CLIP_CONFIG).exists():
        read = architecture.from_openai(weights.shapes)
    else:
        what = None if known else "open_clip's configuration"
        config = _read_json(folder / OPEN_CLIP_CONFIG, what)
        if known is not None and not config:
            config = {"model_cfg": {"vision_cfg": {"head_width": known.head_width}}}
        read = architecture.from_open_clip(config, weights.shapes)
    if known is None:
        return read
    # What open_clip's table says is how a model was trained; files on the hub were made later.
    return replace(
        read,
        image=replace(read.image, quick_gelu=known.quick_gelu),
        text=replace(read.text, quick_gelu=known.quick_gelu),
        preprocessing=replace(
            read.preprocessing,
            mean=known.mean,
            std=known.std,
            interpolation="bicubic",
            resize_mode=known.resize_mode,
        ),
        threshold=known.threshold,
    )


def _read_json(path: Path, required: str | None) -> dict[str, Any]:
    """Read a file of settings; one that is not required may be missing."""
    try:
        settings = json.loads(read_regular(path))
    except FileNotFoundError:
        if required is None:
            return {}
        raise ConfigError(
            f"no {path.name} beside the weights: put {required} into {path.parent} "
            "(it says, among others, whether the model has GELU or QuickGELU)"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({error}): fetch it again") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} is not a JSON object: fetch it again")
    return settings


def _no_weights(place: Path) -> str:
    if not place.exists():
        return f"{place} does not exist: give a folder with a checkpoint, or a .safetensors file"
    if place.is_file():
        return f"{place} is not a .safetensors file, the only format read: others can run code"
    pickles = [path.name for path in sorted(place.iterdir()) if path.suffix in (".bin", ".pt")]
    if pickles:
        return (
            f"{place} has weights only as {pickles[0]}, a pickle, which can run code when opened: "
            "convert it to model.safetensors and put that there"
        )
    return f"{place} has no weights: put model.safetensors or {WEIGHT_FILES[0]} there"
