"""Names are understood, and what is missing is said before work starts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from support.random_checkpoints import SMALL, save_checkpoint

from webpairs.clip import hub
from webpairs.clip.model import describe_model, load_model
from webpairs.clip.pretrained import STANDARD_TOKENIZER, find_pretrained, known_specs
from webpairs.errors import ConfigError


def _cache(monkeypatch: pytest.MonkeyPatch, folders: dict[str, Path]) -> None:
    """Pretend that the hub's cache holds these repositories."""
    monkeypatch.setattr(hub, "_snapshot", folders.get)


def test_tiny_is_described_without_a_runtime() -> None:
    before = set(sys.modules)
    info = describe_model("tiny")
    assert (info.dim, info.side_px, info.threshold, info.needs_download) == (512, 64, 0.3, False)
    assert not {"onnxruntime", "onnx", "torch"} & (set(sys.modules) - before)


def test_threshold_comes_from_the_configuration_or_not_at_all(tmp_path: Path) -> None:
    plain = save_checkpoint(tmp_path / "plain", "open_clip")
    assert describe_model(str(plain)).threshold is None
    own = save_checkpoint(tmp_path / "own", "open_clip", webpairs={"threshold": 0.25})
    assert describe_model(str(own)).threshold == 0.25
    assert describe_model(str(save_checkpoint(tmp_path / "t", "transformers"))).threshold is None


@pytest.mark.parametrize(
    ("spec", "meant"),
    [
        ("ViT-B32/openai", "ViT-B-32/openai"),
        ("vit-b-32/openai", "ViT-B-32/openai"),
        ("ViT-B-32/laion2b", "ViT-B-32/laion2b_"),
        ("ViT-B-32-quickgelu/laion2b_s34b_b79k", "ViT-B-32/laion2b_s34b_b79k"),
        ("tyni", "tiny"),
        ("", "ViT-B-32/openai"),
    ],
)
def test_unknown_names_get_the_nearest(spec: str, meant: str) -> None:
    with pytest.raises(ConfigError, match="unknown model") as caught:
        describe_model(spec)
    assert meant in str(caught.value)


@pytest.mark.parametrize("spec", ["ViT-B-32/openai", "hf:openai/clip-vit-base-patch32"])
def test_out_of_reach_says_what_to_do(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    _cache(monkeypatch, {})
    for call in (describe_model, load_model):
        with pytest.raises(ConfigError, match=r"--model tiny.*give its folder"):
            call(spec)


def test_openai_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the configuration says GELU and other pixels: the table, which says QuickGELU, is right
    folder = save_checkpoint(tmp_path / "c", "open_clip", preprocess_cfg={"mean": [0, 0, 0]})
    known = find_pretrained("ViT-B-32/openai")
    assert known is not None
    _cache(monkeypatch, {known.repo: folder})
    info = describe_model("ViT-B-32/openai")
    assert (info.threshold, info.dim, info.side_px) == (0.3, SMALL.dim, SMALL.side_px)
    model = load_model("ViT-B-32/openai", runtime="onnxruntime")
    quick = save_checkpoint(tmp_path / "quick", "open_clip", quick_gelu=True)
    images = np.full((1, SMALL.side_px, SMALL.side_px, 3), 99, np.uint8)
    expected = load_model(str(quick), runtime="onnxruntime").embed_images(images)
    assert np.array_equal(model.embed_images(images), expected)
    assert model.threshold == 0.3


def test_what_open_clip_cached_is_enough_with_openais_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_checkpoint(tmp_path / "c", "open_clip")
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    for name in ("vocab.json", "merges.txt"):
        (folder / name).rename(tokenizer / name)
    known = find_pretrained("ViT-B-32/laion2b_s34b_b79k")
    assert known is not None
    _cache(monkeypatch, {known.repo: folder})
    with pytest.raises(ConfigError, match="cannot be reached"):
        describe_model("ViT-B-32/laion2b_s34b_b79k")
    _cache(monkeypatch, {known.repo: folder, STANDARD_TOKENIZER: tokenizer})
    assert describe_model("ViT-B-32/laion2b_s34b_b79k").threshold is None


def test_a_download_takes_what_a_checkpoint_needs_and_no_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked = save_checkpoint(tmp_path / "c", "open_clip"), []
    names = [path.name for path in folder.iterdir()]
    listed = [*names, "pytorch_model.bin", "README.md", "run.py"]
    _cache(monkeypatch, {})
    monkeypatch.setattr(hub, "_list_files", lambda repo: listed)

    def download(repo: str, files: list[str], *, progress: bool) -> Path:
        asked.extend(files)
        return folder

    monkeypatch.setattr(hub, "download", download)
    assert describe_model("hf:some/model").needs_download
    with pytest.raises(ConfigError, match=r"the model 'hf:some/model' is not on this machine"):
        load_model("hf:some/model", download=False)
    assert not asked
    assert load_model("hf:some/model", runtime="onnxruntime").dim == SMALL.dim
    assert sorted(asked) == sorted(names)
    listed[:] = ["open_clip_pytorch_model.bin", "open_clip_config.json"]
    with pytest.raises(ConfigError, match="no weights as safetensors"):
        describe_model("hf:some/model")


@pytest.mark.parametrize(
    ("layout", "gone", "said"),
    [
        ("open_clip", "open_clip_config.json", "put open_clip's configuration into"),
        ("transformers", "config.json", "put transformers' configuration into"),
        ("open_clip", "vocab.json", "put the checkpoint's vocab.json and merges.txt"),
        ("open_clip", "open_clip_model.safetensors", "has no weights: put"),
    ],
)
def test_missing_parts(tmp_path: Path, layout: str, gone: str, said: str) -> None:
    folder = save_checkpoint(tmp_path / "c", layout)
    (folder / gone).unlink()
    with pytest.raises(ConfigError, match=said):
        describe_model(str(folder))


def test_a_file_is_read_with_what_lies_beside_it(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "c", "transformers")
    assert describe_model(str(folder / "model.safetensors")).dim == SMALL.dim
    (folder / "merges.txt").unlink()
    with pytest.raises(ConfigError, match="no tokenizer beside"):
        describe_model(str(folder / "model.safetensors"))


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        describe_model(str(tmp_path / "nowhere"))
    pickle = tmp_path / "model.bin"
    pickle.write_bytes(b"\x80\x04.")
    with pytest.raises(ConfigError, match=r"not a \.safetensors file"):
        describe_model(str(pickle))
    with pytest.raises(ConfigError, match="a pickle"):
        describe_model(str(tmp_path))
    folder = save_checkpoint(tmp_path / "c", "open_clip")
    weights = folder / "open_clip_model.safetensors"
    whole = weights.read_bytes()
    for content in (b"", b"rubbish", whole[: len(whole) // 2]):
        weights.write_bytes(content)
        with pytest.raises(ConfigError, match="not a readable safetensors file"):
            describe_model(str(folder))
    weights.write_bytes(whole)
    (folder / "open_clip_config.json").write_text("{")
    with pytest.raises(ConfigError, match="is not JSON"):
        describe_model(str(folder))


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("vision_cfg", "timm_model_name", "convnext_base"),
        ("vision_cfg", "pool_type", "avg"),
        ("text_cfg", "hf_model_name", "roberta-base"),
        ("text_cfg", "no_causal_mask", True),
    ],
)
def test_other_architectures_are_refused(tmp_path: Path, place: str, key: str, value: str) -> None:
    import json

    folder = save_checkpoint(tmp_path / "c", "open_clip")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"][place][key] = value
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=rf"not a plain ViT CLIP.*{key}"):
        describe_model(str(folder))


def test_every_name_of_the_table_is_found() -> None:
    assert len(known_specs()) == len(set(known_specs()))
    for spec in known_specs():
        known = find_pretrained(spec)
        assert known is not None
        assert known.repo.count("/") == 1
        assert (known.threshold == 0.3) == (spec == "ViT-B-32/openai")
    quick, plain = find_pretrained("ViT-B-32-quickgelu/openai"), find_pretrained("ViT-B-32/openai")
    assert quick == plain


def test_an_unknown_runtime_is_refused() -> None:
    with pytest.raises(ConfigError, match="use one of auto, onnxruntime, torch"):
        load_model("tiny", runtime="jax")


@pytest.mark.compare
@pytest.mark.filterwarnings("ignore")
def test_the_table_is_open_clips() -> None:
    from support.peers import import_peer

    open_clip = import_peer("open_clip")
    for spec in known_specs():
        name, _, tag = spec.partition("/")
        theirs, ours = open_clip.get_pretrained_cfg(name, tag), find_pretrained(spec)
        assert ours is not None
        assert theirs["hf_hub"].strip("/") == ours.repo
        assert theirs.get("quick_gelu", False) == ours.quick_gelu
        assert (tuple(theirs["mean"]), tuple(theirs["std"])) == (ours.mean, ours.std)
        assert theirs["resize_mode"] == ours.resize_mode
        head_width = open_clip.get_model_config(name)["vision_cfg"].get("head_width", 64)
        assert head_width == ours.head_width
