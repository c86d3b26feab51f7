"""What network a checkpoint is: read from its configuration and the shapes of its weights.

Sizes come from the weights themselves; the configuration is asked only for what shapes cannot
tell: heads, activation, epsilon, pooling, preprocessing and the threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from webpairs.errors import ConfigError

# Source: openai/CLIP, clip.py `_transform`; open_clip constants.py OPENAI_DATASET_MEAN and _STD.
OPENAI_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD: Final = (0.26862954, 0.26130258, 0.27577711)

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an RGB image becomes the square of pixels that the image tower reads."""

    side_px: int
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    interpolation: str = "bicubic"
    """bicubic or bilinear; Pillow's, which antialias."""
    resize_mode: str = "shortest"
    """shortest: short side to `side_px`, then the centre; squash: both sides to `side_px`."""

    def __post_init__(self) -> None:
        if self.interpolation not in ("bicubic", "bilinear"):
            raise ConfigError(f"interpolation {self.interpolation!r}: use bicubic or bilinear")
        if self.resize_mode not in ("shortest", "squash"):
            raise ConfigError(f"resize mode {self.resize_mode!r}: use shortest or squash")


@dataclass(frozen=True, slots=True)
class Tower:
    """Size one transformer: `width` features in `heads` heads, `layers` pre-norm blocks."""

    width: int
    heads: int
    layers: int
    quick_gelu: bool
    """x * sigmoid(1.702 x) where true (OpenAI), else the exact GELU."""
    epsilon: float = 1e-5
    """Of every LayerNorm; torch's default, which OpenAI and open_clip keep."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Description of a CLIP with a plain ViT and a causal text transformer."""

    dim: int
    patch_px: int
    image: Tower
    text: Tower
    context_length: int
    vocab_size: int
    preprocessing: Preprocessing
    ends_at_highest_id: bool
    """Read the text at its highest token id (OpenAI, open_clip) or at its first end-of-text id."""
    threshold: float | None = None


_PLAIN_IMAGE: Final = {
    "image_size": None,
    "layers": None,
    "width": None,
    "patch_size": None,
    "head_width": None,
    "mlp_ratio": None,
    "no_ln_pre": None,
    # with the class token alone read, a norm before pooling is the norm after it
    "final_ln_after_pool": None,
    "pool_type": "tok",
    # of training alone
    "patch_dropout": None,
}
_PLAIN_TEXT: Final = {
    "context_length": None,
    "vocab_size": None,
    "width": None,
    "heads": None,
    "layers": None,
    "mlp_ratio": None,
    "pool_type": "argmax",
    "proj_type": "linear",
    "eos_id": None,
    "pad_id": None,
}


def from_open_clip(config: Mapping[str, Any], shapes: Shapes) -> Architecture:
    """Read `open_clip_config.json`; raise ConfigError for what is not a plain ViT CLIP.

    `shapes` are those of the weights under open_clip's names, see `weights.canonical_sources`.
    """
    model = config.get("model_cfg", {})
    image, text = model.get("vision_cfg", {}), model.get("text_cfg", {})
    for place, found, plain in (("vision", image, _PLAIN_IMAGE), ("text", text, _PLAIN_TEXT)):
        for key, value in found.items():
            if value and (key not in plain or plain[key] not in (None, value)):
                raise ConfigError(_not_plain(f"its {place}_cfg has {key} = {value!r}"))
    quick_gelu = bool(model.get("quick_gelu", False))
    own = config.get("webpairs", {})
    return _from_shapes(
        shapes,
        # 64 features a head: open_clip model.py CLIPVisionCfg.head_width, CLIPTextCfg.heads
        image_heads=_width(shapes, "visual.ln_post.weight") // int(image.get("head_width", 64)),
        text_heads=int(text.get("heads", _width(shapes, "ln_final.weight") // 64)),
        quick_gelu=(quick_gelu, quick_gelu),
        epsilon=(1e-5, 1e-5),
        preprocessing=_open_clip_preprocessing(config.get("preprocess_cfg", {}), _side_px(shapes)),
        ends_at_highest_id=True,
        threshold=own.get("threshold"),
    )


def from_transformers(
    config: Mapping[str, Any], processor: Mapping[str, Any], shapes: Shapes
) -> Architecture:
    """Read transformers' `config.json` and `preprocessor_config.json`.

    Missing values are those of transformers' CLIPTextConfig and CLIPVisionConfig.
    """
    if config.get("model_type") != "clip":
        raise ConfigError(_not_plain(f"its model_type is {config.get('model_type')!r}"))
    image, text = config.get("vision_config", {}), config.get("text_config", {})
    acts = [tower.get("hidden_act", "quick_gelu") for tower in (image, text)]
    for act in acts:
        if act not in ("gelu", "quick_gelu"):
            raise ConfigError(_not_plain(f"its hidden_act is {act!r}"))
    return _from_shapes(
        shapes,
        image_heads=int(image.get("num_attention_heads", 12)),
        text_heads=int(text.get("num_attention_heads", 8)),
        quick_gelu=(acts[0] == "quick_gelu", acts[1] == "quick_gelu"),
        epsilon=(
            float(image.get("layer_norm_eps", 1e-5)),
            float(text.get("layer_norm_eps", 1e-5)),
        ),
        preprocessing=_transformers_preprocessing(processor, _side_px(shapes)),
        # transformers CLIPTextModel.forward: 2 was written before its PR 24773, and means argmax
        ends_at_highest_id=text.get("eos_token_id", 49407) == 2,
        threshold=None,
    )


def from_openai(shapes: Shapes) -> Architecture:
    """Describe a state dict that openai/CLIP saved, which needs no configuration.

    Source: openai/CLIP model.py `build_model`: 64 features a head; QuickGELU always.
    """
    return _from_shapes(
        shapes,
        image_heads=_width(shapes, "visual.ln_post.weight") // 64,
        text_heads=_width(shapes, "ln_final.weight") // 64,
        quick_gelu=(True, True),
        epsilon=(1e-5, 1e-5),
        preprocessing=Preprocessing(_side_px(shapes)),
        ends_at_highest_id=True,
        threshold=None,
    )


def _from_shapes(
    shapes: Shapes,
    *,
    image_heads: int,
    text_heads: int,
    quick_gelu: tuple[bool, bool],
    epsilon: tuple[float, float],
    preprocessing: Preprocessing,
    ends_at_highest_id: bool,
    threshold: float | None,
) -> Architecture:
    towers = [
        Tower(_width(shapes, norm), heads, _num_layers(shapes, prefix), quick, eps)
        for norm, heads, prefix, quick, eps in zip(
            ("visual.ln_post.weight", "ln_final.weight"),
            (image_heads, text_heads),
            ("visual.transformer.resblocks.", "transformer.resblocks."),
            quick_gelu,
            epsilon,
            strict=True,
        )
    ]
    for tower in towers:
        if tower.heads < 1 or tower.width % tower.heads:
            raise ConfigError(f"a width of {tower.width} does not divide into {tower.heads} heads")
    if preprocessing.side_px != _side_px(shapes):
        raise ConfigError(
            f"the checkpoint's images are {preprocessing.side_px} px by its configuration and "
            f"{_side_px(shapes)} px by its weights: use the configuration that came with them"
        )
    return Architecture(
        dim=shapes["text_projection"][1],
        patch_px=shapes["visual.conv1.weight"][-1],
        image=towers[0],
        text=towers[1],
        context_length=shapes["positional_embedding"][0],
        vocab_size=shapes["token_embedding.weight"][0],
        preprocessing=preprocessing,
        ends_at_highest_id=ends_at_highest_id,
        threshold=threshold,
    )


def _width(shapes: Shapes, norm: str) -> int:
    if norm not in shapes:
        raise ConfigError(_not_plain(f"its weights have no {norm}"))
    return shapes[norm][0]


def _num_layers(shapes: Shapes, prefix: str) -> int:
    return 1 + max(
        (int(name[len(prefix) :].split(".")[0]) for name in shapes if name.startswith(prefix)),
        default=-1,
    )


def _side_px(shapes: Shapes) -> int:
    for name in ("visual.positional_embedding", "visual.conv1.weight"):
        if name not in shapes:
            raise ConfigError(_not_plain(f"its weights have no {name}"))
    num_patches = shapes["visual.positional_embedding"][0] - 1
    return round(num_patches**0.5) * shapes["visual.conv1.weight"][-1]


def _open_clip_preprocessing(config: Mapping[str, Any], side_px: int) -> Preprocessing:
    size = config.get("size") or side_px
    return Preprocessing(
        side_px=int(size if isinstance(size, int) else size[0]),
        mean=_three(config.get("mean") or OPENAI_MEAN),
        std=_three(config.get("std") or OPENAI_STD),
        interpolation=config.get("interpolation") or "bicubic",
        resize_mode=config.get("resize_mode") or "shortest",
    )


def _transformers_preprocessing(config: Mapping[str, Any], side_px: int) -> Preprocessing:
    crop = config.get("crop_size") or side_px
    return Preprocessing(
        side_px=int(crop if isinstance(crop, int) else crop["height"]),
        mean=_three(config.get("image_mean") or OPENAI_MEAN),
        std=_three(config.get("image_std") or OPENAI_STD),
        # Pillow's numbers: 2 bilinear, 3 bicubic
        interpolation={2: "bilinear", 3: "bicubic"}.get(config.get("resample", 3), "unknown"),
    )


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _not_plain(why: str) -> str:
    return (
        f"this checkpoint is not a plain ViT CLIP ({why}): other architectures need torch "
        "(pip install 'webpairs[torch]') and a name that open_clip knows"
    )
