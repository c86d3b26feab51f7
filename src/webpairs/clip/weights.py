"""Reading a checkpoint's tensors from safetensors files under one set of names: open_clip's.

OpenAI's and open_clip's checkpoints have these names already; transformers' are translated, its
three projections of attention joined to one and its linear projections turned.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.errors import ConfigError
from webpairs.files import open_regular, read_regular, require_regular

Array = npt.NDArray[np.float32]

# Tensors of the training, or of older transformers, that no embedding depends on;
# `input_resolution` and its like are how openai/CLIP wrote sizes.
_UNUSED: Final = re.compile(
    r"logit_scale|logit_bias|attn_mask|.*position_ids|input_resolution|context_length|vocab_size"
)
_OPENAI_SIZES: Final = {"input_resolution", "context_length", "vocab_size"}

_TRANSFORMERS_NAMES: Final = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "visual_projection.weight": "visual.proj",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "text_projection.weight": "text_projection",
}
_TRANSFORMERS_BLOCK: Final = re.compile(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)")
_TRANSFORMERS_PARTS: Final = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_TURNED: Final = ("visual.proj", "text_projection")


class Weights:
    """Handing out tensors by open_clip's names, each read from its file when asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Read the files' headers; raise ConfigError where one is not safetensors."""
        from safetensors import SafetensorError, safe_open

        self.files = tuple(files)
        self._shape_of: dict[str, tuple[int, ...]] = {}
        self._file_of: dict[str, Any] = {}
        for path in self.files:
            try:
                require_regular(path)
                file = safe_open(path, framework="numpy")
                for name in file.keys():  # noqa: SIM118 - not a dict
                    self._file_of[name] = file
                    self._shape_of[name] = tuple(file.get_slice(name).get_shape())
            except (SafetensorError, OSError, ValueError, OverflowError) as error:
                raise ConfigError(
                    f"{path} is not a readable safetensors file ({error}): fetch it again"
                ) from error
        self.is_openai = self._file_of.keys() >= _OPENAI_SIZES
        self.is_transformers = "vision_model.embeddings.class_embedding" in self._file_of
        self._sources = canonical_sources(self._file_of.keys())

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor as `read` returns it."""
        shapes: dict[str, tuple[int, ...]] = {}
        for name, sources in self._sources.items():
            first, *rest = self._shape_of[sources[0]]
            shape = (first * len(sources), *rest)
            shapes[name] = shape[::-1] if self._is_turned(name) else shape
        return shapes

    def read(self, name: str) -> Array:
        """Return one tensor as float32, in memory of its own."""
        if name not in self._sources:
            raise ConfigError(f"{self.files[0]} has no tensor {name}: it is not a whole CLIP")
        from safetensors import SafetensorError

        try:
            parts = [_read(self._file_of[source], source) for source in self._sources[name]]
            whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        except (SafetensorError, LookupError, TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"the tensor {name} of {self.files[0]} cannot be read ({error}): fetch it again"
            ) from error
        return np.ascontiguousarray(whole.T) if self._is_turned(name) else whole

    def _is_turned(self, name: str) -> bool:
        return self.is_transformers and name in _TURNED

    def sha256(self) -> str:
        """Hash the file; of several, hash their hashes (hex, a line each, by name)."""
        digests = [_file_sha256(path) for path in sorted(self.files)]
        if len(digests) == 1:
            return digests[0]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def shard_files(index: Path) -> list[Path]:
    """Return the files that a `*.safetensors.index.json` names, all in its folder."""
    try:
        names = set(json.loads(read_regular(index))["weight_map"].values())
        files = [index.parent / Path(name).name for name in sorted(names)]
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{index} does not list the files of a checkpoint ({type(error).__name__}: {error}): "
            "fetch it again"
        ) from error
    for path in files:
        if not path.exists():
            raise ConfigError(f"{index} names {path.name}, which is not beside it")
    return files


def canonical_sources(names: Any) -> dict[str, tuple[str, ...]]:
    """Map open_clip's name of each tensor to the file's; several are joined along axis 0."""
    sources: dict[str, tuple[str, ...]] = {}
    for name in names:
        if _UNUSED.fullmatch(name):
            continue
        # CustomTextCLIP, another class of open_clip's, keeps the text tower under `text.`
        canonical = name.removeprefix("text.")
        if match := _TRANSFORMERS_BLOCK.fullmatch(name):
            tower, layer, part = match.groups()
            prefix = "visual." if tower == "vision" else ""
            part, _, kind = part.rpartition(".")
            if part in ("self_attn.k_proj", "self_attn.v_proj"):
                continue
            block = f"{prefix}transformer.resblocks.{layer}."
            if part == "self_attn.q_proj":
                start = name.removesuffix(f"q_proj.{kind}")
                sources[f"{block}attn.in_proj_{kind}"] = (
                    name,
                    f"{start}k_proj.{kind}",
                    f"{start}v_proj.{kind}",
                )
                continue
            canonical = f"{block}{_TRANSFORMERS_PARTS.get(part, part)}.{kind}"
        elif name in _TRANSFORMERS_NAMES:
            canonical = _TRANSFORMERS_NAMES[name]
        elif (norm := name.rpartition("."))[0] in _TRANSFORMERS_NAMES:
            canonical = f"{_TRANSFORMERS_NAMES[norm[0]]}.{norm[2]}"
        sources[canonical] = (name,)
    return sources


def _read(file: Any, name: str) -> Array:
    if file.get_slice(name).get_dtype() == "BF16":
        import ml_dtypes  # noqa: F401 # pyright: ignore[reportUnusedImport] - teaches numpy bfloat16
    return np.asarray(file.get_tensor(name), dtype=np.float32)


def _file_sha256(path: Path) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
