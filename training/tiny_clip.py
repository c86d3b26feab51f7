"""The network of `tiny` in PyTorch: open_clip's CLIP with a ViT, names and mathematics alike.

open_clip 3.3.0 loads its state dict and gives the same embeddings: `compare_open_clip.py`.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MODEL_CONFIG = {
    "embed_dim": 512,
    "quick_gelu": False,
    "vision_cfg": {
        "image_size": 64,
        "layers": 4,
        "width": 128,
        "head_width": 32,
        "patch_size": 8,
    },
    "text_cfg": {
        "context_length": 32,
        "vocab_size": 3000,  # set to the size of the trained vocabulary
        "width": 128,
        "heads": 4,
        "layers": 3,
    },
}


class Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        n, length, width = x.shape
        mixed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = mixed.view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(y.transpose(1, 2).reshape(n, length, width))


class Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, causal: bool) -> Tensor:
        x = x + self.attn(self.ln_1(x), causal)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        for block in self.resblocks:  # the residual stream keeps its size at the start
            nn.init.normal_(block.attn.out_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)
            nn.init.normal_(block.mlp.c_proj.weight, std=width**-0.5 * (2 * layers) ** -0.5)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        for block in self.resblocks:
            x = block(x, causal)
        return x


class VisionTower(nn.Module):
    def __init__(self, config: dict[str, int], embed_dim: int) -> None:
        super().__init__()
        width, self.patch = config["width"], config["patch_size"]
        num_patches = (config["image_size"] // self.patch) ** 2
        self.conv1 = nn.Conv2d(3, width, self.patch, self.patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn(num_patches + 1, width) * 0.1)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = Transformer(width, width // config["head_width"], config["layers"])
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(torch.randn(width, embed_dim) * width**-0.5)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv1(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(x), 1, -1)
        x = self.ln_pre(torch.cat([first, x], dim=1) + self.positional_embedding)
        return self.ln_post(self.transformer(x)[:, 0]) @ self.proj


class TinyClip(nn.Module):
    def __init__(self, config: dict) -> None:
        super().__init__()
        text, embed_dim = config["text_cfg"], config["embed_dim"]
        self.visual = VisionTower(config["vision_cfg"], embed_dim)
        self.transformer = Transformer(text["width"], text["heads"], text["layers"])
        self.token_embedding = nn.Embedding(text["vocab_size"], text["width"])
        self.positional_embedding = nn.Parameter(
            torch.randn(text["context_length"], text["width"]) * 0.05
        )
        self.ln_final = nn.LayerNorm(text["width"])
        self.text_projection = nn.Parameter(
            torch.randn(text["width"], embed_dim) * text["width"] ** -0.5
        )
        self.logit_scale = nn.Parameter(torch.tensor(math.log(20.0)))
        nn.init.normal_(self.token_embedding.weight, std=0.2)

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Embed normalised pixels (n, 3, 64, 64) as (n, 512), L2-normalised."""
        return F.normalize(self.visual(pixels), dim=-1)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed tokens (n, at most 32) as (n, 512); the end of a text has the highest id."""
        x = self.token_embedding(tokens) + self.positional_embedding[: tokens.shape[1]]
        x = self.ln_final(self.transformer(x, causal=True))
        ends = tokens.argmax(dim=-1)
        return F.normalize(x[torch.arange(len(x)), ends] @ self.text_projection, dim=-1)
