"""Turning what stands after `--model` into a model: two towers, preprocessing, a threshold.

tiny                 the checkpoint shipped with webpairs, for demo and tests
ViT-B-32/openai      open_clip's NAME/PRETRAINED
hf:ORG/NAME          a repository of the Hugging Face hub
FOLDER               a checkpoint in OpenAI's, open_clip's or transformers' layout
FILE.safetensors     its weights, with configuration and tokenizer beside them
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from webpairs.clip import hub
from webpairs.clip.checkpoint import Checkpoint, has_tokenizer, open_checkpoint
from webpairs.clip.pretrained import (
    OPENAI_VITB32_THRESHOLD,
    STANDARD_TOKENIZER,
    Pretrained,
    find_pretrained,
    known_specs,
)
from webpairs.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    from webpairs.clip.architecture import Preprocessing

TINY: Final = "tiny"
RUNTIMES: Final = ("auto", "onnxruntime", "torch")

# The same weights under other names.
_THRESHOLD_OF_REPO: Final = {
    "openai/clip-vit-base-patch32": OPENAI_VITB32_THRESHOLD,
    "timm/vit_base_patch32_clip_224.openai": OPENAI_VITB32_THRESHOLD,
}


class Model(Protocol):
    """Embed images and texts; a sample's embedding does not depend on what is embedded with it."""

    spec: str
    weights_sha256: str
    """Of the weight file; of several, of their hashes."""
    dim: int
    side_px: int
    threshold: float | None
    """The cosine below which pairs are dropped; None where nobody has said."""
    runtime: str
    """What computes, e.g. `onnxruntime 1.32.0 CPU fp32`, for manifest and log."""
    preprocessing: Preprocessing
    """What `preprocess` does, as data that can go to another process."""

    def preprocess(self, rgb: Image.Image) -> npt.NDArray[np.uint8]:
        """Return an RGB image as (side, side, 3) uint8: resized, the centre. Thread-safe."""
        ...

    def embed_images(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed (n, side, side, 3) uint8 as (n, dim) float32, L2-normalised; n may be 0."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed n texts as (n, dim) float32, L2-normalised; equal texts once; n may be 0."""
        ...


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a model before its weights are loaded, or even downloaded."""

    spec: str
    threshold: float | None
    dim: int | None = None
    side_px: int | None = None
    needs_download: bool = False


@dataclass(frozen=True, slots=True)
class _Source:
    """Where a spec's checkpoint is: a path, or a repository of the hub."""

    path: Path | None = None
    repo: str = ""
    known: Pretrained | None = None
    threshold: float | None = None


def describe_model(spec: str) -> ModelInfo:
    """Check a spec and say what it names, without loading weights.

    Raises ConfigError for an unknown name (with the nearest right ones), a checkpoint with a part
    missing, or weights that are neither on this machine nor within reach: so that a run can stop
    before it starts. Asks the hub only when the weights are not in its cache.
    """
    source = _source(spec)
    if source is None:
        return ModelInfo(spec, threshold=None, needs_download=True)  # torch_runtime's
    folder = source.path or hub.cached_folder(source.repo, with_config=source.known is None)
    tokenizer = _tokenizer_folder(folder, source)
    if folder is None or tokenizer is None:
        hub.remote_files(source.repo)
        return ModelInfo(spec, threshold=source.threshold, needs_download=True)
    found = open_checkpoint(folder, source.known, tokenizer).architecture
    threshold = found.threshold if source.threshold is None else source.threshold
    return ModelInfo(spec, threshold, found.dim, found.preprocessing.side_px)


def load_model(
    spec: str,
    *,
    threads: int | None = None,
    progress: bool = False,
    runtime: str = "auto",
    download: bool = True,
) -> Model:
    """Load a model, downloading its weights if need be, with bars on stderr if `progress`.

    Without `download`, what is not on this machine is a ConfigError, and nobody is asked for it:
    for specs that the user did not give, such as that of a run folder's manifest. The hub would
    be sent the user's token.

    `threads` are those of a CPU, all by default. `runtime` is one of `RUNTIMES`; `auto` takes torch
    where it is installed and sees a GPU, or where the architecture is not a plain ViT, and
    onnxruntime otherwise. Raises ConfigError like `describe_model`.
    """
    if runtime not in RUNTIMES:
        raise ConfigError(f"unknown runtime {runtime!r}: use one of {', '.join(RUNTIMES)}")
    source = _source(spec)
    if source is None:
        if not download:
            raise ConfigError(_not_here(spec))
        from webpairs.clip.torch_runtime import load_open_clip

        return load_open_clip(spec)
    if not download and not _is_here(source):
        raise ConfigError(_not_here(spec))
    checkpoint = _open(source, progress=progress)
    if runtime == "torch" or (runtime == "auto" and spec != TINY and _sees_gpu()):
        from webpairs.clip.torch_runtime import load_plain

        return load_plain(spec, checkpoint)
    from webpairs.clip.onnx_runtime import OnnxModel

    return OnnxModel(spec, checkpoint, threads=threads)


def _source(spec: str) -> _Source | None:
    """Parse a spec; None is a name that open_clip has to resolve, with torch."""
    if spec == TINY:
        return _Source(Path(str(resources.files("webpairs.clip") / "tiny")))
    if spec.startswith("hf:"):
        repo = spec.removeprefix("hf:")
        return _Source(repo=repo, threshold=_THRESHOLD_OF_REPO.get(repo))
    if known := find_pretrained(spec):
        return _Source(repo=known.repo, known=known, threshold=known.threshold)
    path = Path(spec).expanduser()
    if (
        (spec and path.exists())
        or path.suffix == ".safetensors"
        or spec.startswith(("/", ".", "~"))
    ):
        return _Source(path)
    if _open_clip_knows(spec):
        return None
    raise ConfigError(_unknown(spec))


def _open(source: _Source, *, progress: bool) -> Checkpoint:
    folder = source.path or hub.cached_folder(source.repo, with_config=source.known is None)
    tokenizer = _tokenizer_folder(folder, source)
    if folder is None or tokenizer is None:
        files = hub.remote_files(source.repo)
        folder = hub.download(source.repo, files, progress=progress)
        tokenizer = _tokenizer_folder(folder, source)
        if tokenizer is None and source.known is not None:
            tokenizer = hub.download_tokenizer(STANDARD_TOKENIZER, progress=progress)
    return open_checkpoint(folder, source.known, tokenizer)


def _is_here(source: _Source) -> bool:
    """Tell whether a checkpoint is on this machine, with its tokenizer."""
    folder = source.path or hub.cached_folder(source.repo, with_config=source.known is None)
    return folder is not None and _tokenizer_folder(folder, source) is not None


def _not_here(spec: str) -> str:
    return f"the model {spec[:200]!r} is not on this machine"


def _tokenizer_folder(folder: Path | None, source: _Source) -> Path | None:
    """Say where a checkpoint's tokenizer is on this machine: beside it, or OpenAI's own."""
    if source.path is not None:
        return source.path if source.path.is_dir() else source.path.parent
    if folder is not None and has_tokenizer(folder):
        return folder
    return hub.cached_tokenizer(STANDARD_TOKENIZER) if source.known is not None else None


def _open_clip_knows(spec: str) -> bool:
    if spec.count("/") != 1 or find_spec("open_clip") is None:
        return False
    from webpairs.clip.torch_runtime import open_clip_specs

    return spec in open_clip_specs()


def _sees_gpu() -> bool:
    if find_spec("torch") is None or find_spec("open_clip") is None:
        return False
    from webpairs.clip.torch_runtime import best_device

    return best_device() != "cpu"


def _unknown(spec: str) -> str:
    names = {name.lower(): name for name in (TINY, *known_specs())}
    nearest = [names[name] for name in get_close_matches(spec.lower(), names, n=3, cutoff=0.5)]
    meant = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    return (
        f"unknown model {spec!r}: {meant}Known are tiny, open_clip's NAME/PRETRAINED such as "
        "ViT-B-32/openai, hf:ORG/NAME, a folder, a .safetensors file; open_clip's other "
        "architectures need torch (pip install 'webpairs[torch]')"
    )
