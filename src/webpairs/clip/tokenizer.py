"""Cutting texts into the token ids that a model's text tower reads.

The reference is OpenAI's `simple_tokenizer.py`, which open_clip copied: mend the text (ftfy),
unescape entities twice, fold white space, lower-case, split by a pattern, byte-level BPE with
`</w>` at the end of a word. The cleaning is done here, splitting and BPE by the Rust library
`tokenizers`. transformers' CLIPTokenizer differs in the cleaning alone: it composes characters
(NFC) where OpenAI mends and unescapes, so that the two agree on texts that are clean already.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from webpairs.errors import ConfigError
from webpairs.files import read_regular

START: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"

# OpenAI's pattern ignores case. The text is lower-case by then, so one thing is left to say here
# ('ſ counts as 's) and one in `clean` (U+0345, an iota written below, matches nothing).
_WORDS: Final = (
    r"<\|startoftext\|>|<\|endoftext\|>|'[sſ]|'t|'re|'ve|'m|'ll|'d"
    r"|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_WRONG: Final = (
    *(ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError),
)
"""What files of another form than a tokenizer's may raise."""


class Tokenizer:
    """Turning texts into ids: start, the words, end; cut to the context with the end kept."""

    def __init__(
        self, vocab: Mapping[str, int], merges: Sequence[tuple[str, str]], context_length: int
    ) -> None:
        """Raise ConfigError where the vocabulary is not one of byte-level BPE with `</w>`."""
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers

        for token in (START, END, "a</w>"):
            if token not in vocab:
                raise ConfigError(
                    f"the tokenizer has no token {token}: webpairs reads CLIP's byte-level BPE"
                )
        self.context_length = context_length
        self.start_id, self.end_id = vocab[START], vocab[END]
        try:
            model = models.BPE(
                vocab=dict(vocab),
                merges=list(merges),
                continuing_subword_prefix="",
                end_of_word_suffix="</w>",
                unk_token=END,
            )
        except Exception as error:  # the library raises this class itself
            raise ValueError(str(error)) from error
        self._tokenizer: Any = Tokenizer(model)
        self._split: Any = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [self._split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return each text's ids, at most `context_length` of them, without padding."""
        cleaned = [clean(text) for text in texts]
        encodings = self._tokenizer.encode_batch_fast(cleaned)
        return [
            [*[self.start_id, *self._ids(text, encoding)][: self.context_length - 1], self.end_id]
            for text, encoding in zip(cleaned, encodings, strict=True)
        ]

    def _ids(self, text: str, encoding: Any) -> list[int]:
        """Read a start or end that a text spells out as OpenAI does: as the token itself."""
        if START not in text and END not in text:
            return encoding.ids
        ids: list[int] = []
        for word, _ in self._split.pre_tokenize_str(text):
            if word in (START, END):
                ids.append(self.start_id if word == START else self.end_id)
            else:
                ids.extend(self._tokenizer.encode(word).ids)
        return ids


def clean(text: str) -> str:
    """Return the text as OpenAI's tokenizer cleans it before it splits it."""
    # ftfy and unescape leave printable ASCII without `&` as it is, which most texts are
    if not (text.isascii() and text.isprintable() and "&" not in text):
        import ftfy

        text = html.unescape(html.unescape(ftfy.fix_text(text)))
        return " ".join(text.split()).lower().replace("\u0345", " ")
    return " ".join(text.split()).lower()


def read_tokenizer(folder: Path, context_length: int, vocab_size: int) -> Tokenizer:
    """Read `vocab.json` and `merges.txt`, or `tokenizer.json`, from a checkpoint's folder.

    Raises ConfigError where they are missing, not CLIP's, or of another vocabulary.
    """
    vocab_file, merges_file = folder / "vocab.json", folder / "merges.txt"
    whole_file = folder / "tokenizer.json"
    try:
        if vocab_file.exists() and merges_file.exists():
            vocab = json.loads(read_regular(vocab_file))
            lines = read_regular(merges_file).decode().split("\n")
            merges = [_pair(line) for line in lines if line and not line.startswith("#version")]
        elif whole_file.exists():
            model = json.loads(read_regular(whole_file))["model"]
            vocab, merges = model["vocab"], [_pair(merge) for merge in model["merges"]]
        else:
            raise ConfigError(
                f"no tokenizer in {folder}: put the checkpoint's vocab.json and merges.txt, "
                "or its tokenizer.json, there"
            )
        if max(vocab.values()) >= vocab_size:
            raise ConfigError(
                f"the tokenizer in {folder} has {len(vocab)} tokens and the weights {vocab_size}: "
                "use the one that came with the weights"
            )
        return Tokenizer(vocab, merges, context_length)
    except _WRONG as error:
        raise ConfigError(
            f"the tokenizer in {folder} is not CLIP's BPE ({_first_line(error)}): fetch its files "
            "again"
        ) from error


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0][:200]}"


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right
