"""Embeddings do not depend on companions; layouts agree; other architectures are refused."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from support.random_checkpoints import SMALL, Sizes, random_tensors, save_checkpoint

from webpairs.clip.model import load_model
from webpairs.clip.onnx_runtime import OnnxModel
from webpairs.errors import ConfigError, RunError

TEXTS = [f"{'the rat ate ' * (n % 7)}tea {n}" for n in range(40)]


def _load(folder: Path, threads: int = 2) -> OnnxModel:
    model = load_model(str(folder), threads=threads, runtime="onnxruntime")
    assert isinstance(model, OnnxModel)
    return model


def _pixels(n: int, side: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


# Widths of the real models, so that the kernels of real shapes are what is guarded; few layers.
B32 = Sizes(512, 224, 32, 768, 64, 2, 512, 8, 2, 77, 580)


@pytest.mark.parametrize("sizes", [SMALL, B32], ids=["small", "widths of ViT-B/32"])
def test_embeddings_are_the_same_bits_in_any_batch(tmp_path: Path, sizes: Sizes) -> None:
    folder = save_checkpoint(tmp_path / "c", "open_clip", sizes)
    model, single = _load(folder), _load(folder, threads=1)
    images = _pixels(19, sizes.side_px)
    expected_images, expected_texts = model.embed_images(images), model.embed_texts(TEXTS)
    for other in (model, single):
        for most in (1, 2, 3, 5, 8, 16):
            parts = [other.embed_images(images[i : i + most]) for i in range(0, 19, most)]
            assert np.array_equal(np.concatenate(parts), expected_images)
            parts = [other.embed_texts(TEXTS[i : i + most]) for i in range(0, 40, most)]
            assert np.array_equal(np.concatenate(parts), expected_texts)
        assert np.array_equal(other.embed_images(images[::-1])[::-1], expected_images)
        assert np.array_equal(other.embed_texts(TEXTS[::-1])[::-1], expected_texts)


def test_a_batch_larger_than_the_runtime_takes_at_once_is_cut(tmp_path: Path) -> None:
    model = _load(save_checkpoint(tmp_path / "c", "open_clip"))
    images = _pixels(70, SMALL.side_px)
    whole = model.embed_images(images)
    assert np.array_equal(whole[69:], model.embed_images(images[69:]))
    assert np.allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-6)


def test_nothing_in_nothing_out(tmp_path: Path) -> None:
    model = _load(save_checkpoint(tmp_path / "c", "open_clip"))
    assert model.embed_images(_pixels(0, SMALL.side_px)).shape == (0, SMALL.dim)
    assert model.embed_texts([]).shape == (0, SMALL.dim)


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_layouts_agree(tmp_path: Path, quick_gelu: bool) -> None:
    images, embedded = _pixels(3, SMALL.side_px), []
    for layout in ("open_clip", "transformers"):
        model = _load(save_checkpoint(tmp_path / layout, layout, quick_gelu=quick_gelu))
        embedded.append(np.concatenate([model.embed_images(images), model.embed_texts(TEXTS)]))
    assert np.array_equal(*embedded)


def test_openai_layout_needs_no_configuration(tmp_path: Path) -> None:
    sizes = replace(SMALL, width=128, head_width=64, text_width=64, text_heads=1)
    tensors = random_tensors(sizes)
    plain = _load(save_checkpoint(tmp_path / "a", "open_clip", sizes, quick_gelu=True))
    openai = _load(save_checkpoint(tmp_path / "b", "openai", sizes, tensors=tensors))
    images = _pixels(3, sizes.side_px)
    assert np.array_equal(plain.embed_images(images), openai.embed_images(images))
    assert np.array_equal(plain.embed_texts(TEXTS), openai.embed_texts(TEXTS))


def test_activations_differ(tmp_path: Path) -> None:
    images = _pixels(2, SMALL.side_px)
    exact, quick = (
        _load(save_checkpoint(tmp_path / str(q), "open_clip", quick_gelu=q)).embed_images(images)
        for q in (False, True)
    )
    assert 1e-4 < np.abs(exact - quick).max() < 0.5


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_weights_are_read(tmp_path: Path, dtype: str) -> None:
    import ml_dtypes

    kind = np.float16 if dtype == "float16" else ml_dtypes.bfloat16
    halves = {name: tensor.astype(kind) for name, tensor in random_tensors(SMALL).items()}
    floats = {name: tensor.astype(np.float32) for name, tensor in halves.items()}
    images = _pixels(2, SMALL.side_px)
    narrow = _load(save_checkpoint(tmp_path / "a", "open_clip", tensors=halves))
    wide = _load(save_checkpoint(tmp_path / "b", "open_clip", tensors=floats))
    assert np.array_equal(narrow.embed_images(images), wide.embed_images(images))
    assert narrow.weights_sha256 != wide.weights_sha256


def test_no_norm_before_the_blocks(tmp_path: Path) -> None:
    tensors = {n: t for n, t in random_tensors(SMALL).items() if "ln_pre" not in n}
    model = _load(save_checkpoint(tmp_path / "c", "open_clip", tensors=tensors))
    assert model.embed_images(_pixels(1, SMALL.side_px)).shape == (1, SMALL.dim)


@pytest.mark.parametrize("extra", ["visual.attn_pool.query", "visual.conv1.bias"])
def test_tensors_of_another_architecture_are_refused(tmp_path: Path, extra: str) -> None:
    tensors = random_tensors(SMALL) | {extra: np.zeros(SMALL.width, np.float32)}
    folder = save_checkpoint(tmp_path / "c", "open_clip", tensors=tensors)
    with pytest.raises(ConfigError, match=extra):
        _load(folder)


def test_weights_in_parts(tmp_path: Path) -> None:
    import json

    folder = save_checkpoint(tmp_path / "c", "open_clip")
    whole = _load(folder)
    (folder / "open_clip_model.safetensors").unlink()
    tensors = sorted(random_tensors(SMALL).items())
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    halves = (dict(tensors[:20]), dict(tensors[20:]))
    for name, half in zip(names, halves, strict=True):
        save_file(half, folder / name)
    weight_map = {t: name for name, half in zip(names, halves, strict=True) for t in half}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    parts = _load(folder)
    images = _pixels(2, SMALL.side_px)
    assert np.array_equal(parts.embed_images(images), whole.embed_images(images))
    (folder / names[1]).unlink()
    with pytest.raises(ConfigError, match=names[1]):
        _load(folder)


def test_tiny_tells_its_texts_apart() -> None:
    model = load_model("tiny", threads=1)
    assert (model.dim, model.side_px, model.threshold) == (512, 64, 0.3)
    embedded = model.embed_texts(["two red circles", "a blue square", "two red circles"])
    assert np.array_equal(embedded[0], embedded[2])
    assert embedded[0] @ embedded[1] < 0.9


def test_no_room_for_the_weights_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(RunError, match="TMPDIR"):
        load_model("tiny")


def test_nothing_is_left_of_loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    load_model("tiny")
    assert not list(tmp_path.iterdir())
