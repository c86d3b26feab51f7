"""Nothing came out, or nearly nothing: the likeliest cause is said, with the option to try."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs import cli
from webpairs.drops import Drop
from webpairs.extract.unread import holds_rows
from webpairs.run.advice import NOTHING_KEPT, REMEDIES, TELLING, Outcome, advise

OUT = Path("my dataset")


def outcome(num: int, kept: int, drops: dict[Drop, int], **changes: Any) -> Outcome:
    return Outcome(out=OUT, num_candidates=num, num_kept=kept, drops=drops, **changes)


def test_every_reason_has_a_remedy() -> None:
    assert set(REMEDIES) == set(Drop) - {Drop.RECORD_BROKEN}
    assert set(REMEDIES) >= TELLING


def test_remedies_name_options_that_there_are() -> None:
    folder = Path(cli.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    known = set(re.findall(r'"(--[a-z-]+)"', source))
    named = {one for line in REMEDIES.values() for one in re.findall(r"--[a-z][a-z-]+", line)}
    assert named
    assert named <= known


@pytest.mark.parametrize("drop", sorted(REMEDIES))
def test_one_reason_that_took_all_is_named_with_its_remedy(drop: Drop) -> None:
    (line,) = advise(outcome(1_000, 0, {drop: 1_000}))
    assert line.startswith("nothing was kept: all 1,000 candidates ended as ")
    assert drop in line
    assert "\n" not in line
    assert not re.search(r"[{}]", line)


@pytest.mark.parametrize(
    ("drops", "changes", "words"),
    [
        ({Drop.SIMILARITY: 9}, {"model": "tiny"}, ["photographs", "--model ViT-B-32/openai"]),
        ({Drop.SIMILARITY: 9}, {"model": "ViT-B-32/openai"}, ["--threshold"]),
        ({Drop.ADDRESS_FORBIDDEN: 9}, {}, ["--allow-network"]),
        ({Drop.HASH_MISMATCH: 9}, {}, ["column of hashes"]),
        ({Drop.LANGUAGE: 9}, {}, ["--languages any"]),
        ({Drop.TEXT_TOO_SHORT: 9}, {}, ["--text-column", "--recipe download"]),
        ({Drop.URL_INVALID: 9}, {}, ["--url-column"]),
        ({Drop.NOT_ARCHIVED: 9}, {}, ["--images web"]),
        ({Drop.TOO_SMALL: 9}, {}, ["--min-bytes"]),
        ({Drop.HTTP_429: 9}, {}, ["--per-host-rate"]),
        ({Drop.DNS: 3, Drop.CONNECT: 3, Drop.HTTP_4XX: 3}, {}, ["most, 6,", "dns and connect"]),
        ({Drop.TIMEOUT: 5, Drop.HTTP_4XX: 4}, {}, ["most, 5,", "timeout", "--timeout"]),
    ],
    ids=str,
)
def test_nothing_kept(drops: dict[Drop, int], changes: dict[str, Any], words: list[str]) -> None:
    (line,) = advise(outcome(9, 0, drops, **changes))
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("num", "kept", "drops", "changes", "words"),
    [
        # Of what reached its stage, not of all: languages and copies go before anyone asks.
        (
            1_000,
            10,
            {Drop.LANGUAGE: 600, Drop.DUPLICATE: 40, Drop.DNS: 350},
            {},
            ["97%", "(350 of 360)", "dns"],
        ),
        (100, 5, {Drop.DNS: 50, Drop.CONNECT: 45}, {}, ["95%", "dns and connect", "online"]),
        (100, 3, {Drop.ADDRESS_FORBIDDEN: 97}, {}, ["97%", "--allow-network"]),
        (100, 2, {Drop.HASH_MISMATCH: 98}, {}, ["98%", "hashes"]),
        (100, 5, {Drop.SIMILARITY: 95}, {"model": "tiny"}, ["photographs"]),
        (100, 5, {Drop.SIMILARITY: 95}, {"model": "ViT-B-32/openai"}, []),  # a usual day
        (100, 20, {Drop.DNS: 80}, {}, []),
        (10, 1, {Drop.DNS: 9}, {}, []),  # too few to tell
        (100, 100, {}, {}, []),
        (100, 5, {Drop.DUPLICATE: 95}, {}, []),
    ],
    ids=str,
)
def test_nearly_nothing_kept(
    num: int, kept: int, drops: dict[Drop, int], changes: dict[str, Any], words: list[str]
) -> None:
    lines = advise(outcome(num, kept, drops, **changes))
    assert len(lines) == bool(words)
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("changes", "words", "is_fault"),
    [
        ({"num_broken": 3, "num_records": 3}, ["nothing could be read", "3 records"], True),
        ({"num_incomplete": 1}, ["nothing could be read"], True),
        ({}, ["hold no record and no row"], False),
        ({"num_records": 7}, ["no candidates", "7 records", "--texts"], False),
    ],
    ids=str,
)
def test_no_candidates(changes: dict[str, Any], words: list[str], is_fault: bool) -> None:
    made = outcome(0, 0, {}, input_bytes=2_000, **changes)
    (line,) = advise(made)
    for word in words:
        assert word in line
    assert made.kept_nothing == is_fault, "inputs without candidates are not a fault"


@given(
    st.dictionaries(st.sampled_from(sorted(REMEDIES)), st.integers(0, 10**9)),
    st.integers(0, 10**6),
    st.sampled_from([None, "tiny", "ViT-B-32/openai"]),
)
def test_any_counts_give_at_most_one_sentence(
    drops: dict[Drop, int], kept: int, model: str | None
) -> None:
    made = outcome(kept + sum(drops.values()), kept, drops, model=model)
    lines = advise(made)
    assert len(lines) <= 1
    if made.kept_nothing:
        assert lines


def test_commands_are_as_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    made = outcome(9, 0, {Drop.HTTP_5XX: 9})
    monkeypatch.setenv("WEBPAIRS_COMMAND", "./run webpairs")
    assert "./run webpairs retry 'my dataset'" in advise(made, typed=True)[0]
    assert "webpairs retry DIR" in advise(made)[0], "a manifest names no folder of this machine"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", False),
        (b"url,text", False),
        (b"url,text\n\n \r\n", False),
        (b"\xef\xbb\xbfurl,text\n", False),
        (b"[]", False),
        (b"{\n}", False),
        (b"PAR1...\r...PAR1", False),
        (b"url,text\rhttp://a.example/,b\r", True),
        ("url,text\u2028http://a.example/,b".encode(), True),
        (b"url,text\x85http://a.example/,b".decode("latin-1").encode(), True),
        (gzip.compress(b"url,text\rhttp://a.example/,b\r"), True),
    ],
    ids=str,
)
def test_a_table_without_rows_is_empty_or_unread(
    tmp_path: Path, data: bytes, expected: bool
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(data)
    assert holds_rows(str(path)) == expected


# The command

TABLES: list[tuple[str, bytes, tuple[str, ...], int, list[str]]] = [
    ("a.csv", b"url,text\n", (), 0, ["no record and no row"]),
    ("a.csv", b"url,text\nhttp://a.example/1.jpg,ab\n", (), NOTHING_KEPT, ["text_too_short"]),
    (
        "a.csv",
        b"url,text\nhttp://a.example/1.jpg,Der rote Wagen steht in einer kleinen Strasse\n",
        (),
        NOTHING_KEPT,
        ["language", "--languages any"],
    ),
    ("a.jsonl", b'{"url":"http://a.example/1.jpg","text":"a red car in a street"}\n', (), 0, []),
    (
        "a.jsonl",
        b'{"url":"no url","text":"a red car in a street"}\n',
        ("--url-column", "url"),
        NOTHING_KEPT,
        ["url_invalid", "--url-column"],
    ),
]


@pytest.mark.parametrize(("name", "data", "options", "code", "words"), TABLES, ids=str)
def test_extract_ends_with_a_code_of_its_own(
    tmp_path: Path, name: str, data: bytes, options: tuple[str, ...], code: int, words: list[str]
) -> None:
    from typer.testing import CliRunner

    from webpairs.cli import app

    table, out = tmp_path / name, tmp_path / "out"
    table.write_bytes(data)
    arguments = ["extract", str(table), "--out", str(out), "--workers", "1", *options]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    advice = json.loads((out / "manifest.json").read_bytes())["advice"]
    assert len(advice) == bool(words)
    for word in words:
        assert word in result.output
        assert word in advice[0]
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == code, "a run that was finished before ends as it did"


def test_a_limit_is_not_a_cause(tmp_path: Path) -> None:
    """What --limit left alone says nothing about what it took."""
    drops = {Drop.LIMIT: 311, Drop.ADDRESS_FORBIDDEN: 5}
    (sentence,) = advise(Outcome(tmp_path, 316, 0, drops))
    assert "address_forbidden" in sentence
    assert "--limit" not in sentence
