"""open_clip's names of pretrained weights, as far as they are plain ViT CLIPs in safetensors.

Source: open_clip 3.3.0, `pretrained.py`: the repository on the Hugging Face hub, whether the model
was trained with QuickGELU, preprocessing where it is not OpenAI's, and (`model_configs/`) the
features of an attention head of the image tower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from webpairs.clip.architecture import OPENAI_MEAN, OPENAI_STD

_HALF: Final = (0.5, 0.5, 0.5)

STANDARD_TOKENIZER: Final = "openai/clip-vit-base-patch32"
"""Holds OpenAI's vocabulary of 49,408 tokens, which every model of this table was trained with."""

OPENAI_VITB32_THRESHOLD: Final = 0.3
"""Source: LAION-400M's announcement, section "Filtering out unsuitable image-text pairs": pairs
with a cosine below 0.3 under OpenAI's ViT-B/32 were dropped."""


@dataclass(frozen=True, slots=True)
class Pretrained:
    """Where the weights called by a name are, and what they were trained with."""

    repo: str
    quick_gelu: bool = False
    mean: tuple[float, float, float] = OPENAI_MEAN
    std: tuple[float, float, float] = OPENAI_STD
    resize_mode: str = "shortest"
    head_width: int = 64
    threshold: float | None = None


def _quick(repo: str, head_width: int = 64) -> Pretrained:
    return Pretrained(repo, quick_gelu=True, head_width=head_width)


def _pools(repo: str, scale: str, filters: str, rest: str) -> dict[str, Pretrained]:
    """Spell out the models trained on DataComp's CommonPool, with each filter and with none."""
    tag = rest.lower().replace("-", "_")
    kept = {
        f"commonpool_{scale}_{kind}_{tag}": Pretrained(
            f"{repo}CommonPool.{scale.upper()}.{kind}-{rest}"
        )
        for kind in filters.split()
    }
    whole = Pretrained(f"{repo}CommonPool.{scale.upper()}-{rest}")
    return {**kept, f"commonpool_{scale}_{tag}": whole}


_B32, _B16, _L14 = (f"laion/CLIP-ViT-{name}-" for name in ("B-32", "B-16", "L-14"))
_FILTERS: Final = "clip laion image text basic"

PRETRAINED: Final[dict[str, dict[str, Pretrained]]] = {
    "ViT-B-32": {
        "openai": Pretrained(
            "timm/vit_base_patch32_clip_224.openai",
            quick_gelu=True,
            threshold=OPENAI_VITB32_THRESHOLD,
        ),
        "laion400m_e31": _quick("timm/vit_base_patch32_clip_224.laion400m_e31"),
        "laion400m_e32": _quick("timm/vit_base_patch32_clip_224.laion400m_e32"),
        "laion2b_e16": Pretrained("timm/vit_base_patch32_clip_224.laion2b_e16"),
        "laion2b_s34b_b79k": Pretrained(f"{_B32}laion2B-s34B-b79K"),
        "datacomp_xl_s13b_b90k": Pretrained(f"{_B32}DataComp.XL-s13B-b90K"),
        "datacomp_m_s128m_b4k": Pretrained(f"{_B32}DataComp.M-s128M-b4K"),
        **_pools(_B32, "m", _FILTERS, "s128M-b4K"),
        "datacomp_s_s13m_b4k": Pretrained(f"{_B32}DataComp.S-s13M-b4K"),
        **_pools(_B32, "s", _FILTERS, "s13M-b4K"),
        "metaclip_400m": _quick("timm/vit_base_patch32_clip_224.metaclip_400m"),
        "metaclip_fullcc": _quick("timm/vit_base_patch32_clip_224.metaclip_2pt5b"),
    },
    "ViT-B-32-256": {"datacomp_s34b_b86k": Pretrained(f"{_B32}256x256-DataComp-s34B-b86K")},
    "ViT-B-16": {
        "openai": _quick("timm/vit_base_patch16_clip_224.openai"),
        "laion400m_e31": Pretrained("timm/vit_base_patch16_clip_224.laion400m_e31"),
        "laion400m_e32": Pretrained("timm/vit_base_patch16_clip_224.laion400m_e32"),
        "laion2b_s34b_b88k": Pretrained(f"{_B16}laion2B-s34B-b88K"),
        "datacomp_xl_s13b_b90k": Pretrained(f"{_B16}DataComp.XL-s13B-b90K"),
        "datacomp_l_s1b_b8k": Pretrained(f"{_B16}DataComp.L-s1B-b8K"),
        **_pools(_B16, "l", _FILTERS, "s1B-b8K"),
        "dfn2b": _quick("apple/DFN2B-CLIP-ViT-B-16"),
        "metaclip_400m": _quick("timm/vit_base_patch16_clip_224.metaclip_400m"),
        "metaclip_fullcc": _quick("timm/vit_base_patch16_clip_224.metaclip_2pt5b"),
    },
    # open_clip's entry laion400m_e32 names the weights of laion400m_e31: left out
    "ViT-B-16-plus-240": {
        "laion400m_e31": Pretrained("timm/vit_base_patch16_plus_clip_240.laion400m_e31")
    },
    "ViT-L-14": {
        "openai": _quick("timm/vit_large_patch14_clip_224.openai"),
        "laion400m_e31": Pretrained("timm/vit_large_patch14_clip_224.laion400m_e31"),
        "laion400m_e32": Pretrained("timm/vit_large_patch14_clip_224.laion400m_e32"),
        "laion2b_s32b_b82k": Pretrained(f"{_L14}laion2B-s32B-b82K", mean=_HALF, std=_HALF),
        "datacomp_xl_s13b_b90k": Pretrained(f"{_L14}DataComp.XL-s13B-b90K"),
        **_pools(_L14, "xl", "clip laion", "s13B-b90K"),
        "metaclip_400m": _quick("timm/vit_large_patch14_clip_224.metaclip_400m"),
        "metaclip_fullcc": _quick("timm/vit_large_patch14_clip_224.metaclip_2pt5b"),
        "dfn2b": _quick("apple/DFN2B-CLIP-ViT-L-14"),
        "dfn2b_s39b": Pretrained("apple/DFN2B-CLIP-ViT-L-14-39B"),
    },
    "ViT-L-14-336": {"openai": _quick("timm/vit_large_patch14_clip_336.openai")},
    "ViT-H-14": {
        "laion2b_s32b_b79k": Pretrained("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", head_width=80),
        "metaclip_fullcc": _quick("timm/vit_huge_patch14_clip_224.metaclip_2pt5b", 80),
        "metaclip_altogether": Pretrained(
            "timm/vit_huge_patch14_clip_224.metaclip_altogether", head_width=80
        ),
        "dfn5b": Pretrained(
            "apple/DFN5B-CLIP-ViT-H-14", quick_gelu=True, resize_mode="squash", head_width=80
        ),
    },
    "ViT-H-14-378": {
        "dfn5b": Pretrained(
            "apple/DFN5B-CLIP-ViT-H-14-378", quick_gelu=True, resize_mode="squash", head_width=80
        )
    },
    "ViT-g-14": {
        "laion2b_s12b_b42k": Pretrained("laion/CLIP-ViT-g-14-laion2B-s12B-b42K", head_width=88),
        "laion2b_s34b_b88k": Pretrained("laion/CLIP-ViT-g-14-laion2B-s34B-b88K", head_width=88),
    },
    "ViT-bigG-14": {
        "laion2b_s39b_b160k": Pretrained(
            "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k", head_width=104
        ),
        "metaclip_fullcc": _quick(
            "timm/vit_gigantic_patch14_clip_224.metaclip_2pt5b", head_width=104
        ),
    },
}


def known_specs() -> list[str]:
    """List every NAME/PRETRAINED of the table."""
    return [f"{name}/{tag}" for name, tags in PRETRAINED.items() for tag in tags]


def find_pretrained(spec: str) -> Pretrained | None:
    """Return what the table knows of `NAME/PRETRAINED`; `NAME-quickgelu` is open_clip's alias."""
    name, _, tag = spec.partition("/")
    found = PRETRAINED.get(name.removesuffix("-quickgelu"), {}).get(tag)
    if found is not None and name.endswith("-quickgelu") and not found.quick_gelu:
        return None
    return found
