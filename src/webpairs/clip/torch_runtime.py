"""Running a CLIP with torch and open_clip: on GPUs, and for architectures that are not plain ViT.

The extra `webpairs[torch]`. The methods are those of `model.Model`. Plain ViTs get the same
weights, tokenizer and preprocessing as with onnxruntime; only the arithmetic is torch's, in fp32.
"""

# The extra is not installed where types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.clip import hub
from webpairs.clip.architecture import Architecture, Preprocessing
from webpairs.clip.preprocess import Pixels, square
from webpairs.errors import ConfigError

if TYPE_CHECKING:
    from PIL import Image

    from webpairs.clip.checkpoint import Checkpoint

Embeddings = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], list[list[int]]]

_MOST_ROWS: Final = 256


class TorchModel:
    """An open_clip network on one device; see `model.Model` for the methods."""

    def __init__(
        self,
        spec: str,
        network: Any,
        preprocessing: Preprocessing,
        encode: Encode,
        *,
        weights_sha256: str,
        threshold: float | None,
        context_length: int,
    ) -> None:
        """Move the network to the best device; `encode` gives token ids without padding."""
        import torch

        device = best_device()
        self.spec = spec
        self.weights_sha256 = weights_sha256
        self.side_px = preprocessing.side_px
        self.threshold = threshold
        name = torch.cuda.get_device_name() if device == "cuda" else device.upper()
        self.runtime = f"torch {torch.__version__} {name} fp32"
        self._device = device
        self._network = network.to(device).eval()
        self.preprocessing = preprocessing
        self._encode = encode
        self._context_length = context_length
        # torchvision's ToTensor and Normalize, in their order
        self._mean, self._std = (
            torch.tensor(values, device=device).view(1, 3, 1, 1)
            for values in (preprocessing.mean, preprocessing.std)
        )
        self.dim = self.embed_texts(["a"]).shape[1]

    def preprocess(self, rgb: Image.Image) -> Pixels:
        """Return the (side, side, 3) uint8 square that the image tower reads."""
        return square(rgb, self.preprocessing)

    def embed_images(self, batch: Pixels) -> Embeddings:
        """Embed (n, side, side, 3) uint8 as (n, dim) float32, L2-normalised; n may be 0."""
        import torch

        def embed(rows: Pixels) -> Any:
            images = torch.from_numpy(np.ascontiguousarray(rows)).to(self._device)
            pixels = images.permute(0, 3, 1, 2).float().div(255).sub(self._mean).div(self._std)
            return self._network.encode_image(pixels, normalize=True)

        return self._in_batches(embed, batch, self.dim)

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed n texts as (n, dim) float32, L2-normalised; equal texts once; n may be 0."""
        import torch

        if not texts:
            return np.empty((0, self.dim), np.float32)
        distinct = list(dict.fromkeys(texts))
        ids = np.zeros((len(distinct), self._context_length), np.int64)
        for row, text in enumerate(self._encode(distinct)):
            ids[row, : len(text)] = text

        def embed(rows: npt.NDArray[np.int64]) -> Any:
            tokens = torch.from_numpy(rows).to(self._device)
            return self._network.encode_text(tokens, normalize=True)

        row_of = dict(zip(distinct, range(len(distinct)), strict=True))
        return self._in_batches(embed, ids, 0)[[row_of[text] for text in texts]]

    def _in_batches(self, embed: Callable[[Any], Any], rows: Any, dim: int) -> Embeddings:
        """Embed full batches, the last one padded: GPU kernels differ with the batch's size."""
        import torch

        if not len(rows):
            return np.empty((0, dim), np.float32)
        most = _MOST_ROWS if self._device != "cpu" else len(rows)
        embedded: list[Embeddings] = []
        with torch.inference_mode():
            for start in range(0, len(rows), most):
                some = rows[start : start + most]
                missing = most - len(some)
                full = np.concatenate([some, np.repeat(some[:1], missing, 0)]) if missing else some
                embedded.append(embed(full)[: len(some)].float().cpu().numpy())
        return np.concatenate(embedded)


def best_device() -> str:
    """Name the device to run on: cuda (also AMD's, under ROCm) if there is one, else cpu."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def load_plain(spec: str, checkpoint: Checkpoint) -> TorchModel:
    """Load a checkpoint of the plain ViT family, in any layout, into open_clip's network."""
    torch, open_clip = _import(spec)
    architecture, weights = checkpoint.architecture, checkpoint.weights
    network = open_clip.CLIP(**open_clip_arguments(architecture, weights.shapes))
    state = {name: torch.from_numpy(weights.read(name)) for name in weights.shapes}
    missing, unknown = network.load_state_dict(state, strict=False)
    if unknown or set(missing) - {"logit_scale", "logit_bias"}:
        raise ConfigError(f"{weights.files[0]} is not a whole plain CLIP: {unknown or missing}")
    return TorchModel(
        spec,
        network,
        architecture.preprocessing,
        checkpoint.tokenizer.encode,
        weights_sha256=weights.sha256(),
        threshold=architecture.threshold,
        context_length=architecture.context_length,
    )


def open_clip_arguments(
    architecture: Architecture, shapes: dict[str, tuple[int, ...]]
) -> dict[str, Any]:
    """Say what an architecture is in the words of open_clip's class CLIP."""
    image, text = architecture.image, architecture.text
    if image.quick_gelu != text.quick_gelu or (image.epsilon, text.epsilon) != (1e-5, 1e-5):
        raise ConfigError("open_clip has one activation and one epsilon for both towers")
    return {
        "embed_dim": architecture.dim,
        "quick_gelu": image.quick_gelu,
        "vision_cfg": {
            "image_size": architecture.preprocessing.side_px,
            "patch_size": architecture.patch_px,
            "width": image.width,
            "layers": image.layers,
            "head_width": image.width // image.heads,
            "mlp_ratio": _mlp_ratio(shapes, "visual.transformer.resblocks.0."),
            "no_ln_pre": "visual.ln_pre.weight" not in shapes,
        },
        "text_cfg": {
            "context_length": architecture.context_length,
            "vocab_size": architecture.vocab_size,
            "width": text.width,
            "heads": text.heads,
            "layers": text.layers,
            "mlp_ratio": _mlp_ratio(shapes, "transformer.resblocks.0."),
        },
    }


def load_open_clip(spec: str) -> TorchModel:
    """Load `NAME/PRETRAINED` of any architecture that open_clip knows, from safetensors alone."""
    _, open_clip = _import(spec)
    name, _, tag = spec.partition("/")
    known = open_clip.get_pretrained_cfg(name, tag)
    repo = str(known.get("hf_hub", "")).strip("/")
    if repo.count("/") != 1:
        raise ConfigError(f"open_clip has {spec} only as a pickle, which can run code")
    place = hub.cached_folder(repo, with_config=False)
    if place is None:
        place = hub.download(repo, hub.remote_files(repo), progress=True)
    weights = _one_file(place, spec)
    network, _, _ = open_clip.create_model_and_transforms(
        name, pretrained=str(weights), force_quick_gelu=bool(known.get("quick_gelu", False))
    )
    pad_to = int(getattr(network, "context_length", 77))
    tokenizer = open_clip.get_tokenizer(name)
    config = {**open_clip.get_model_preprocess_cfg(network), **known}
    size = config["size"]
    from webpairs.clip.weights import Weights

    return TorchModel(
        spec,
        network,
        Preprocessing(
            side_px=size if isinstance(size, int) else size[0],
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            interpolation=config["interpolation"],
            resize_mode=config["resize_mode"],
        ),
        lambda texts: tokenizer(list(texts), context_length=pad_to).tolist(),
        weights_sha256=Weights([weights]).sha256(),
        threshold=None,
        context_length=pad_to,
    )


def open_clip_specs() -> set[str]:
    """List every NAME/PRETRAINED that the installed open_clip knows."""
    import open_clip

    return {f"{name}/{tag}" for name, tag in open_clip.list_pretrained()}


def _one_file(folder: Path, spec: str) -> Path:
    from webpairs.clip.checkpoint import find_weights

    files = find_weights(folder)
    if len(files) != 1:
        raise ConfigError(f"{spec} has its weights in {len(files)} files; open_clip reads one")
    return files[0]


def _mlp_ratio(shapes: dict[str, tuple[int, ...]], block: str) -> float:
    wide, narrow = shapes[f"{block}mlp.c_fc.weight"]
    return wide / narrow


def _import(spec: str) -> tuple[Any, Any]:
    try:
        import open_clip
        import torch
    except ImportError as error:
        raise ConfigError(
            f"{spec} needs torch and open_clip ({error}): pip install 'webpairs[torch]'"
        ) from error
    return torch, open_clip
