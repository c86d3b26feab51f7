"""An expression chooses rows as SQL means it, and can do nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign_folders import laion_row, write_laion_metadata
from hypothesis import given, settings
from hypothesis import strategies as st

import webpairs
from webpairs.errors import ConfigError
from webpairs.load import where
from webpairs.load.dataset import Dataset
from webpairs.load.where import time_limit


@pytest.fixture(scope="module")
def ds(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    rows = [laion_row(number) for number in range(10)]
    rows[3] |= {"NSFW": None, "LICENSE": None, "similarity": None, "TEXT": None}
    rows[4] |= {"NSFW": "NSFW", "LICENSE": "", "TEXT": "it's 100 % c0"}
    folder = tmp_path_factory.mktemp("laion")
    write_laion_metadata(folder / "part-00000.parquet", rows)
    return webpairs.open(folder)


def chosen(ds: Dataset, expression: str) -> list[int]:
    ids = ds.where(expression).table(["SAMPLE_ID"]).column("SAMPLE_ID").to_pylist()
    return [one - 1000 for one in ids]


@pytest.mark.parametrize(
    ("expression", "rows"),
    [
        ("similarity >= 0.308", [8, 9]),
        ("similarity < 0", [3]),
        ("nsfw = 'UNTAGGED'", [3]),
        # LAION's own columns are as they stand, under their own spelling.
        ("NSFW IS NULL", [3]),
        ("LICENSE = '?' and SAMPLE_ID < 1002", [0, 1]),
        ("license = '?'", []),
        ("LICENSE is distinct from '?'", [3, 4]),
        ("caption = ''", [3]),
        ("TEXT is null", [3]),
        ("caption like '%''s 100 \\% c0' escape '\\'", [4]),
        # Any case will do where one is meant.
        ('Original_Width = 641 or "ORIGINAL_HEIGHT" = 482', [1, 2]),
        ("samples.width = 641", [1]),
        ("sample_id in (1005, 1007)", [5, 7]),
        ("case when similarity > 0.305 then nsfw = 'UNLIKELY' else false end", [6, 7, 8, 9]),
        ("len(list_filter([similarity], lambda x: x > 0.308)) = 1", [9]),
        ("regexp_matches(url, '/[12].jpg$')", [1, 2]),
        ("cast(similarity * 1000 as integer) % 2 = 1 and not (similarity > 0.302)", [1]),
        ("true -- and false", list(range(10))),
        ("len(string_split(lower(trim(caption)), ' ')) > 0 and contains(url, '7')", [7]),
        ("list_contains(['NSFW', 'x'], nsfw) or url[-5:] = '9.jpg'", [4, 9]),
        (
            "hex(md5(url)) > '' and SAMPLE_ID & 1 = 1 and greatest(similarity, 0) > 0.306",
            [7, 9],
        ),
        (
            "not (caption ilike '%cap%' or url similar to '.*jpe?g') is null",
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        ),
        ("null", []),
    ],
)
def test_rows_are_chosen(ds: Dataset, expression: str, rows: list[int]) -> None:
    assert chosen(ds, expression) == rows


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "write an expression"),
        ("1; drop table samples", "not a SQL expression"),
        ("similarity >", "not a SQL expression"),
        ("true) limit (1", "write one expression"),
        ("true) or (true", None),
        ("true) union select (1", "write one expression"),
        ("true) group by (similarity", "write one expression"),
        ("true) order by (1", "write one expression"),
        ("true) qualify (true", "write one expression"),
        ("?", "write one expression"),
        ("$1", "write one expression"),
        ("url in (select content from read_text('/etc/passwd'))", "a subquery is not possible"),
        ("exists (from read_csv('/etc/passwd'))", "a subquery is not possible"),
        ("row_number() over () = 1", "a window is not possible"),
        ("columns('.*') is not null", "a star is not possible"),
        ("read_text('/etc/passwd') is not null", "read_text"),
        ("avg(similarity) > 0", r"avg\(\) is not possible here"),
        ("repeat(caption, 1000000) = ''", r"repeat\(\) is not possible here"),
        ("list_sum(range(1000000000)) > 5", r"range\(\) is not possible here"),
        ("sleep_ms(100000) is null", "sleep_ms"),
        ("caption || caption = ''", r"\|\|\(\) is not possible here"),
        ("[c0 for c0 in [1]] = [1]", "is not possible here"),
        ("contain(caption, 'x')", r"did you mean contains\b"),
        ("hex(lower(hex(url))) = ''", r"within hex\(\)"),
        (
            "len(list_filter([1], lambda x: len(list_filter([2], lambda y: y > x)) > 0)) > 0",
            "a lambda within a lambda",
        ),
        ("random() < 0.5", r"random\(\) does not answer the same every time"),
        ("now() > timestamp '2020-01-01'", r"now\(\) does not answer the same"),
        ("nextval('x') > 1", "nextval"),
        ("caption > 3 + url", "No function matches"),
        ("similarity = 'high'", "high"),
        ("similarty > 0.3", r"no column similarty \(did you mean similarity\?\); there are capt"),
        ("x.y > 1", "no column x"),
        ("image is not null", "no column image"),
        ("c0 = 1", "no column c0"),
    ],
)
def test_all_else_is_refused(ds: Dataset, expression: str, message: str | None) -> None:
    if message is None:  # two halves that make one expression are one
        assert len(ds.where(expression)) == len(ds)
        return
    with pytest.raises(ConfigError, match=message):
        ds.where(expression)


def test_nothing_reaches_files(ds: Dataset, tmp_path: Path) -> None:
    """What would write is no expression; what reads is no function of one row."""
    target = tmp_path / "x.csv"
    for expression in (
        f"true); copy (select 1) to '{target}'; select (1",
        f"(copy (select 1) to '{target}')",
        f"glob('{tmp_path}/*') is not null",
        f"getvariable('{target}') = 1 and pragma_version() = 1",
        "pg_read_file('/etc/passwd') is not null",
    ):
        with pytest.raises(ConfigError):
            ds.where(expression)
    assert not target.exists()


@settings(max_examples=150, deadline=None)
@given(st.text("()'\";-*/ ,.=<>?$[]{}:abcnsfwTRUE01\n\0\\|&~", max_size=30))
def test_whatever_is_typed_is_an_expression_or_refused(ds: Dataset, text: str) -> None:
    try:
        found = len(ds.where(text))
    except ConfigError:
        return
    assert 0 <= found <= len(ds)


def test_they_add_up(ds: Dataset) -> None:
    twice = ds.where("similarity > 0.302").where("similarity <= 0.306")
    assert [sample["similarity"] for sample in twice] == [0.304, 0.305, 0.306]
    assert len(twice.select([1, 2]).where("similarity > 0.305")) == 1


def test_what_takes_too_long_is_stopped(ds: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(where, "LOOKING", where.LOOKING | {"list_sum", "range"})
    slow = "list_sum(range(20000000 + width)) = 0"

    def again_and_again() -> None:
        with time_limit(slow, 0.01):
            for _ in range(1000):
                chosen(ds, slow)

    with pytest.raises(ConfigError, match=r"takes longer than 0\.01 s: use a simpler"):
        again_and_again()
    with time_limit("similarity > 0.308", 60):
        assert chosen(ds, "similarity > 0.308") == [9]
    assert chosen(ds, "similarity > 0.307") == [8, 9]
