"""The towers compute what open_clip and transformers compute, on random weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.peers import import_peer
from support.random_checkpoints import (
    SMALL,
    Sizes,
    open_clip_config,
    random_tensors,
    save_checkpoint,
)

from webpairs.clip.model import load_model
from webpairs.clip.onnx_runtime import OnnxModel

pytestmark = [pytest.mark.compare, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]

B32 = Sizes(512, 224, 32, 768, 64, 12, 512, 8, 12, 77, 580)
OPENAI_SMALL = replace(SMALL, width=128, head_width=64, text_width=64, text_heads=1)
TEXTS = [f"{'the rat ate ' * (n % 9)}tea {n}" for n in range(24)] + ["x" * 400]

# float32 carries 24 bits; a dozen layers of sums in another order lose the last few.
MOST_DIFFERENT = 2e-6
MOST_DIFFERENT_CENTRED = 1e-5


def _images(side: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    coarse = rng.integers(0, 256, (8, 7, 7, 3))
    smooth = coarse.repeat(-(-side // 7), 1).repeat(-(-side // 7), 2)[:, :side, :side]
    return np.clip(smooth + rng.integers(-9, 9, smooth.shape), 0, 255).astype(np.uint8)


def _pixels(torch: Any, images: np.ndarray, model: OnnxModel) -> Any:
    mean, std = (
        torch.tensor(values).view(1, 3, 1, 1)
        for values in (model.preprocessing.mean, model.preprocessing.std)
    )
    floats = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float().div(255)
    return floats.sub(mean).div(std)


def _padded(torch: Any, model: OnnxModel, context_length: int) -> Any:
    ids = torch.zeros(len(TEXTS), context_length, dtype=torch.long)
    for row, text in enumerate(model._tokenizer.encode(TEXTS)):
        ids[row, : len(text)] = torch.tensor(text)
    return ids


def _check(what: str, ours: np.ndarray, theirs: Any) -> None:
    """Compare embeddings, and their cosines after the mean is taken off, which random share."""
    reference = theirs.double().numpy()
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    difference = np.abs(ours - reference).max()
    centre = reference.mean(0)
    a, b = ours - centre, reference - centre
    cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    print(
        f"\n{what}: max |difference| {difference:.2e}, 1 - centred cosine {1 - cosines.min():.2e}"
    )
    assert np.linalg.norm(b, axis=1).min() > 0.01, "the samples are too alike to compare"
    assert difference < MOST_DIFFERENT
    assert 1 - cosines.min() < MOST_DIFFERENT_CENTRED


def _load(folder: Path) -> OnnxModel:
    model = load_model(str(folder), threads=2, runtime="onnxruntime")
    assert isinstance(model, OnnxModel)
    return model


@pytest.mark.parametrize("quick_gelu", [False, True], ids=["gelu", "quick_gelu"])
@pytest.mark.parametrize("sizes", [SMALL, B32], ids=["small", "B32"])
def test_open_clip(tmp_path: Path, sizes: Sizes, quick_gelu: bool) -> None:
    torch, open_clip = import_peer("torch"), import_peer("open_clip")
    tensors = random_tensors(sizes)
    folder = save_checkpoint(
        tmp_path / "c", "open_clip", sizes, quick_gelu=quick_gelu, tensors=tensors
    )
    model = _load(folder)
    peer = open_clip.CLIP(**open_clip_config(sizes, quick_gelu=quick_gelu)["model_cfg"]).eval()
    peer.load_state_dict({name: torch.from_numpy(t) for name, t in tensors.items()})
    images = _images(sizes.side_px)
    with torch.inference_mode():
        theirs = peer.encode_image(_pixels(torch, images, model))
        their_texts = peer.encode_text(_padded(torch, model, sizes.context_length))
    _check("open_clip images", model.embed_images(images), theirs)
    _check("open_clip texts", model.embed_texts(TEXTS), their_texts)


def test_openai_layout(tmp_path: Path) -> None:
    torch, open_clip = import_peer("torch"), import_peer("open_clip")
    tensors = random_tensors(OPENAI_SMALL)
    folder = save_checkpoint(tmp_path / "c", "openai", OPENAI_SMALL, tensors=tensors)
    model = _load(folder)
    state = {name: torch.from_numpy(t) for name, t in tensors.items()}
    state |= {name: torch.tensor(0) for name in ("input_resolution", "context_length")}
    from open_clip.model import build_model_from_openai_state_dict

    assert open_clip
    peer = build_model_from_openai_state_dict(state, cast_dtype=torch.float32).float()
    images = _images(OPENAI_SMALL.side_px)
    with torch.inference_mode():
        theirs = peer.encode_image(_pixels(torch, images, model))
        their_texts = peer.encode_text(_padded(torch, model, OPENAI_SMALL.context_length))
    # build_model_... keeps the weights in half precision, as OpenAI does
    halves = {n: t.astype(np.float16).astype(np.float32) for n, t in tensors.items()}
    for name in halves:
        if ".ln_" in name or name.startswith("ln_") or "embedding" in name:
            halves[name] = tensors[name]
    model = _load(save_checkpoint(tmp_path / "h", "openai", OPENAI_SMALL, tensors=halves))
    _check("openai images", model.embed_images(images), theirs)
    _check("openai texts", model.embed_texts(TEXTS), their_texts)


@pytest.mark.parametrize("quick_gelu", [False, True], ids=["gelu", "quick_gelu"])
@pytest.mark.parametrize("sizes", [SMALL, B32], ids=["small", "B32"])
def test_transformers(tmp_path: Path, sizes: Sizes, quick_gelu: bool) -> None:
    torch, transformers = import_peer("torch"), import_peer("transformers")
    folder = save_checkpoint(tmp_path / "c", "transformers", sizes, quick_gelu=quick_gelu)
    model = _load(folder)
    peer = transformers.CLIPModel.from_pretrained(folder).eval()
    images, ids = _images(sizes.side_px), _padded(torch, model, sizes.context_length)
    with torch.inference_mode():
        theirs = peer.get_image_features(_pixels(torch, images, model)).pooler_output
        their_texts = peer.get_text_features(ids).pooler_output
    _check("transformers images", model.embed_images(images), theirs)
    _check("transformers texts", model.embed_texts(TEXTS), their_texts)
    # what transformers itself writes is read as well
    peer.save_pretrained(tmp_path / "theirs")
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / "theirs" / name).write_bytes((folder / name).read_bytes())
    assert np.array_equal(
        _load(tmp_path / "theirs").embed_images(images), model.embed_images(images)
    )


@pytest.mark.parametrize("layout", ["open_clip", "transformers"])
def test_torch_runtime(tmp_path: Path, layout: str) -> None:
    import_peer("open_clip")
    folder = save_checkpoint(tmp_path / "c", layout, quick_gelu=True)
    model = load_model(str(folder), runtime="torch")
    ours = _load(folder)
    assert model.runtime.startswith("torch ")
    assert (model.dim, model.side_px) == (ours.dim, ours.side_px)
    assert model.weights_sha256 == ours.weights_sha256
    images = _images(SMALL.side_px)
    assert np.abs(model.embed_images(images) - ours.embed_images(images)).max() < MOST_DIFFERENT
    assert np.abs(model.embed_texts(TEXTS) - ours.embed_texts(TEXTS)).max() < MOST_DIFFERENT
    assert model.embed_images(images[:0]).shape == (0, SMALL.dim)
    assert model.embed_texts([]).shape == (0, SMALL.dim)
