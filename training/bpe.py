"""Learn CLIP's byte-level BPE from texts, write it as Hugging Face's CLIPTokenizer, apply it.

The algorithm is that of CLIP's `simple_tokenizer.py` (openai/CLIP), less ftfy: entities unescaped,
spaces folded, lower-cased, split by its pattern, bytes as printable characters, the last of a word
marked `</w>`.
"""

import html
import json
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import regex

START, END = "<|startoftext|>", "<|endoftext|>"
_WORD = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE,
)


def bytes_to_characters() -> dict[int, str]:
    """Return GPT-2's one-to-one map of bytes to printable characters, in vocabulary order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {
        byte: chr(256 + place) for place, byte in enumerate(others)
    }


_CHARACTERS = bytes_to_characters()


def split(text: str) -> list[str]:
    """Return the cleaned words of a text, each as the characters of its bytes."""
    text = " ".join(html.unescape(html.unescape(text)).split()).lower()
    return ["".join(_CHARACTERS[byte] for byte in word.encode()) for word in _WORD.findall(text)]


def learn(texts: Iterable[str], vocab_size: int) -> list[tuple[str, str]]:
    """Return merges, the most frequent first; ties go to the lesser pair, for reproducibility."""
    counts = Counter(word for text in texts for word in split(text))
    words = [([*word[:-1], word[-1] + "</w>"], count) for word, count in sorted(counts.items())]
    merges: list[tuple[str, str]] = []
    while len(merges) < vocab_size - 514:  # 256 bytes, 256 with </w>, START and END
        pairs: Counter[tuple[str, str]] = Counter()
        for parts, count in words:
            for pair in pairwise(parts):
                pairs[pair] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = [(_merge(parts, best), count) for parts, count in words]
    return merges


def _merge(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


def save(merges: list[tuple[str, str]], folder: Path) -> int:
    """Write vocab.json and merges.txt; return the size of the vocabulary."""
    singles = list(_CHARACTERS.values())
    names = [*singles, *(name + "</w>" for name in singles), *("".join(pair) for pair in merges)]
    # two merges may spell the same token, which then has one id
    vocab = {name: place for place, name in enumerate(dict.fromkeys([*names, START, END]))}
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return len(vocab)


class Tokenizer:
    """Turn texts into ids, (START, ..., END), cut to the context length with END kept last."""

    def __init__(self, folder: Path, context_length: int) -> None:
        self.vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()[1:]
        self.ranks = {tuple(line.split()): rank for rank, line in enumerate(lines)}
        self.context_length = context_length
        self._word_ids = lru_cache(maxsize=100_000)(self._ids_of_word)

    def _ids_of_word(self, word: str) -> tuple[int, ...]:
        if word in (START, END):
            return (self.vocab[word],)
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            pairs = list(pairwise(parts))
            best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            parts = _merge(parts, best)
        return tuple(self.vocab[part] for part in parts)

    def __call__(self, text: str) -> list[int]:
        ids = [self.vocab[START]]
        for word in split(text):
            ids.extend(self._word_ids(word))
        return [*ids[: self.context_length - 1], self.vocab[END]]
