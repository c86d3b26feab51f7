"""Checkpoints whose files are damaged, or made to harm: a ConfigError that names the file."""

from __future__ import annotations

import json
import os
import shutil
import struct
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from webpairs.clip.checkpoint import open_checkpoint
from webpairs.errors import ConfigError

DEEP = "[" * 100_000
CONFIG, WEIGHTS = "open_clip_config.json", "model.safetensors"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tiny = resources.files("webpairs.clip.tiny")
    for one in tiny.iterdir():
        if one.is_file():
            shutil.copyfile(str(one), tmp_path / one.name)
    for weights in tmp_path.glob("*.safetensors"):
        weights.rename(tmp_path / WEIGHTS)
    return tmp_path


def open_all(folder: Path) -> Any:
    checkpoint = open_checkpoint(folder)
    for name in checkpoint.weights.shapes:
        checkpoint.weights.read(name)
    return checkpoint.tokenizer


def use_vocab(folder: Path, vocab: Any = None, merges: str = "") -> None:
    ours = {"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2, "a": 3, "b</w>": 4, "ab</w>": 5}
    text = vocab if isinstance(vocab, str) else json.dumps(ours if vocab is None else vocab)
    (folder / "vocab.json").write_text(text)
    (folder / "merges.txt").write_text(merges)


def test_what_is_whole_is_opened(folder: Path) -> None:
    assert open_all(folder)
    use_vocab(folder, merges="#version: 0.2\na b</w>\n")
    assert open_all(folder)


TEXTS = ["", "[", DEEP, "null", "[1, 2]", '"text"', "\0\1\2", '{"model_cfg": 5}']


@pytest.mark.parametrize("name", [CONFIG, "tokenizer.json", "vocab.json"])
@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_json_that_cannot_be(folder: Path, name: str, text: str) -> None:
    use_vocab(folder)
    if name == "tokenizer.json":
        (folder / "vocab.json").unlink()
    (folder / name).write_text(text)
    with pytest.raises(ConfigError, match=f"{folder}|the tokenizer has no token"):
        open_all(folder)


@pytest.mark.parametrize(
    ("vocab", "merges"),
    [
        (None, "a\n"),
        (None, "a b c\n"),
        (None, "x y\n"),
        (None, "a b</w>\n" * 3 + "\udcff"),
        ({"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": -1}, ""),
        ({"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2**70}, ""),
        ({"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": "2"}, ""),
        ({"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": [2]}, ""),
        ({"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": 2.5}, ""),
        ({"<|startoftext|>": 0, "<|endoftext|>": 1, "a</w>": None}, ""),
        ({"a": DEEP}, ""),
        ([["a", 1]], ""),
    ],
)
def test_vocabularies_and_merges_that_cannot_be(folder: Path, vocab: Any, merges: str) -> None:
    use_vocab(folder, vocab)
    (folder / "merges.txt").write_bytes(merges.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match="tokenizer"):
        open_all(folder)


def tensor(**changes: Any) -> bytes:
    facts = {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16], **changes}
    header = json.dumps({"t": facts}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(16)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"noise",
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 100_000) + DEEP.encode(),
        struct.pack("<Q", 2) + b"{}",
        tensor(),
        tensor(shape=[2**40, 2**40]),
        tensor(shape=[2**32, 2**32], data_offsets=[0, 2**62]),
        tensor(data_offsets=[16, 0]),
        tensor(dtype="F8_E4M3"),
        tensor(shape=[-1]),
    ],
)
def test_weights_that_cannot_be(folder: Path, data: bytes) -> None:
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(ConfigError):
        open_all(folder)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, "vocab.json", "merges.txt", "index"])
def test_pipes_are_not_waited_for(folder: Path, name: str) -> None:
    use_vocab(folder)
    if name == "index":
        (folder / WEIGHTS).unlink()
        name = "model.safetensors.index.json"
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    with pytest.raises(ConfigError, match=str(folder)):
        open_all(folder)


@pytest.mark.parametrize("text", [*TEXTS, '{"weight_map": {"a": 1}}', '{"weight_map": []}'])
def test_lists_of_weights_that_cannot_be(folder: Path, text: str) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ConfigError, match=str(folder)):
        open_all(folder)
