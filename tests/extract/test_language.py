"""Languages: label and score, offline."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webpairs.extract import language
from webpairs.extract.language import detect_languages
from webpairs.extract.text import clean_text
from webpairs.recipes.languages import LANGUAGES


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("A small boat on the lake in the evening", "en"),
        ("SALE OF OLD BOOKS IN THE CITY", "en"),
        ("Ein kleines Boot auf dem See am Abend", "de"),
        ("Un petit bateau sur le lac ce soir", "fr"),
        ("Маленькая лодка на озере вечером", "ru"),
        ("夕方の湖に浮かんでいる小さなボートの写真です", "ja"),
    ],
)
def test_label(text: str, label: str) -> None:
    labels, scores = detect_languages([text])
    assert labels == [label]
    assert 0.3 < scores[0] <= 1


def test_columns_keep_their_order() -> None:
    texts = ["the house on the hill", "das Haus auf dem Berg", "the house on the hill"]
    labels, scores = detect_languages(texts)
    assert labels == ["en", "de", "en"]
    assert scores[0] == scores[2]
    assert detect_languages([]) == ([], [])


@given(st.text())
@settings(max_examples=200)
def test_any_clean_text_has_a_language(raw: str) -> None:
    labels, scores = detect_languages([clean_text(raw)])
    assert labels[0] in LANGUAGES
    assert 0 <= scores[0] <= 1


def test_every_label_of_the_model_is_listed() -> None:
    told = language._model().predict("hello\n", 300, 0.0, "strict")
    assert {label.removeprefix("__label__") for _, label in told} <= LANGUAGES
    assert len(LANGUAGES) == 176
