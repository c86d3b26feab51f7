"""Texts are cut into the tokens that OpenAI's tokenizer cuts them into."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.peers import import_peer
from support.random_checkpoints import save_tokenizer, small_vocabulary

from webpairs.clip.tokenizer import END, START, Tokenizer, clean, read_tokenizer
from webpairs.errors import ConfigError


def _is_settled(character: str) -> bool:
    """Say whether Unicode had the character years ago, so that every library knows its kind."""
    return unicodedata.ucd_3_2_0.category(character) != "Cn"


VOCAB, MERGES = small_vocabulary(540)
SMALL = Tokenizer(VOCAB, MERGES, 20)


def _words(ids: list[int]) -> list[str]:
    names = {place: token for token, place in VOCAB.items()}
    return "".join(names[i] for i in ids[1:-1]).split("</w>")[:-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A Tea", ["a", "tea"]),
        ("it's", ["it", "'s"]),
        ("it'ſ", ["it", "'Å¿"]),  # ſ is C5 BF
        ("42nd!?", ["4", "2", "nd", "!?"]),
        ("a &amp;amp; b", ["a", "&", "b"]),
        ("schÃ¶n", ["schÃ¶n"]),  # mojibake is mended to ö, which is C3 B6
        ("a\u0345b", ["a", "b"]),
        ("  a \t\n b ", ["a", "b"]),
        ("", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert _words(SMALL.encode([text])[0]) == words


def test_long_texts_are_cut_and_keep_their_end() -> None:
    (ids,) = SMALL.encode(["a " * 50])
    assert len(ids) == 20
    assert (ids[0], ids[-1]) == (SMALL.start_id, SMALL.end_id)
    assert SMALL.encode(["a " * 18])[0] == ids
    assert len(SMALL.encode(["a " * 17])[0]) == 19


def test_special_tokens_spelt_out_are_themselves() -> None:
    (ids,) = SMALL.encode([f"a {END} {START} b!{END}"])
    # after the mark the pattern takes `!<|` as one word: OpenAI's does so too
    assert ids[2:4] == [SMALL.end_id, SMALL.start_id]
    assert ids.count(SMALL.end_id) == 2


@given(st.text())
@example("Ünïcödé")
@example("a\x1b[31mred")
def test_any_text_is_cleaned_to_something_lower_case_and_spaced_singly(text: str) -> None:
    cleaned = clean(text)
    assert cleaned == cleaned.lower()
    assert "  " not in cleaned.replace("\u0345", " ") or "\u0345" in text.lower()
    assert len(SMALL.encode([text])[0]) >= 2


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="&")))
def test_the_short_way_of_cleaning_is_the_long_way(text: str) -> None:
    import html

    import ftfy

    whole = html.unescape(html.unescape(ftfy.fix_text(text)))
    assert clean(text) == " ".join(whole.split()).lower()


def test_files(tmp_path: Path) -> None:
    save_tokenizer(tmp_path, 540)
    texts = ["the rat ate a tree", "Tea, 3 cups"]
    expected = SMALL.encode(texts)
    assert read_tokenizer(tmp_path, 20, 540).encode(texts) == expected
    with pytest.raises(ConfigError, match="540 tokens and the weights 530"):
        read_tokenizer(tmp_path, 20, 530)
    (tmp_path / "vocab.json").unlink()
    with pytest.raises(ConfigError, match=r"vocab\.json and merges\.txt"):
        read_tokenizer(tmp_path, 20, 540)
    for merges in (MERGES, [" ".join(merge) for merge in MERGES]):  # new and old tokenizer.json
        model = {"model": {"vocab": VOCAB, "merges": merges}}
        (tmp_path / "tokenizer.json").write_text(json.dumps(model))
        assert read_tokenizer(tmp_path, 20, 540).encode(texts) == expected


@pytest.mark.parametrize("content", ["{}", "[1]", "no json", '{"model": {"vocab": {"a": 0}}}'])
def test_other_tokenizers_are_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError):
        read_tokenizer(tmp_path, 20, 540)


@pytest.mark.compare
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_tokens_are_openais() -> None:
    import_peer("open_clip")
    from open_clip.tokenizer import SimpleTokenizer

    # openai/CLIP spells the special tokens otherwise than open_clip; the rest is the same code
    peer = SimpleTokenizer()
    vocab = {**peer.encoder}
    vocab[START], vocab[END] = vocab.pop("<start_of_text>"), vocab.pop("<end_of_text>")
    ours = Tokenizer(vocab, sorted(peer.bpe_ranks, key=peer.bpe_ranks.__getitem__), 77)

    @settings(max_examples=1500, deadline=None, derandomize=True)
    @given(
        st.text(st.characters(exclude_categories=["Cs"]).filter(_is_settled))
        | st.text("abcdefsrvmlt'’ ABC0123ſİıßΣςé&;#amp<>|.,!?-\u0345\u200d\ufe0f😀日本語")
        | st.from_regex(r"([A-Za-z']{1,9}[ ,.&;]){1,20}", fullmatch=True)
    )
    @example("I'LL we've they're it's don't i'd I'm")
    @example("&lt;b&gt;Tom &amp;amp; Jerry&lt;/b&gt; caf\u00c3\u00a9")
    @example("ǅ ⅷ ² ½ ٣ 𝔘𝔫𝔦 \u00ad\u200b")
    def check(text: str) -> None:
        expected = peer([text])[0].tolist()
        (ids,) = ours.encode([text])
        assert ids == expected[: len(ids)]
        assert not any(expected[len(ids) :])

    check()


@pytest.mark.compare
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_tokens_are_transformers_on_clean_texts() -> None:
    transformers = import_peer("transformers")
    peer = transformers.CLIPTokenizer(vocab=dict(VOCAB), merges=list(MERGES))

    @settings(max_examples=500, deadline=None, derandomize=True)
    @given(st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="&<>|")))
    def check(text: str) -> None:
        expected = peer([text], truncation=True, max_length=20)["input_ids"][0]
        assert SMALL.encode([text])[0] == list(expected)

    check()
