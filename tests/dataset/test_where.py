"""An expression chooses rows as SQL means it, and can do nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.foreign_folders import laion_row, write_laion_metadata

import webpairs
from webpairs.dataset import where, where_text
from webpairs.dataset.dataset import Dataset
from webpairs.dataset.where_text import LOOKING
from webpairs.errors import ConfigError


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
        *(
            (expression, "a path into JSON must be written out")
            for expression in (
                "json_extract(caption, '$.*') is null",
                "json_extract(caption, '$..a') is null",
                "json_extract_string(caption, ['$.a', '$[*].b']) is null",
                "json_array_length(caption, '/a/*') > 1",
                "json_exists(caption, '$[*]'::varchar)",
                "json_type(caption, url) = 'ARRAY'",
                "json_value(caption, lower('$.A')) = '1'",
                "(caption -> '$.*') is null",
                "(caption ->> '$[*]') is null",
                "(caption -> url) is null",
                "list_filter([1], lambda x: json_exists(caption, '$.*')) = [1]",
            )
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
    """What would write is not an expression; what reads is not a function of one row."""
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


DEEP = {
    "open brackets": "(" * 5_000,
    "brackets": "(" * 65 + "true" + ")" * 65,
    "brackets after an END that is a field": "(x.end = 1 and " * 65 + "true" + ")" * 65,
    "calls": "abs(" * 100 + "1" + ")" * 100 + " = 1",
    "lists": "[" * 70 + "1" + "]" * 70 + " is null",
    "not": "not " * 70 + "true",
    "minus": "- " * 70 + "1 = 1",
    "sums": "+".join(["1"] * 70) + " = 1",
    "comparisons": "=".join(["1"] * 70),
    "casts": "1" + "::int" * 70 + " = 1",
    "slices": "[1]" + "[1:1]" * 70 + " = [1]",
    "fields": "width" + ".a" * 70 + " = 1",
    "is null": "width" + " is null" * 70,
    "collations": "url" + " collate nocase" * 70 + " = 'a'",
    "cases": "case when true and true then " * 70 + "true" + " else false end" * 70,
    "cases in else": "case when false or false then false else " * 70 + "true" + " end" * 70,
    "alternating": "true and (true or " * 40 + "true" + ")" * 40,
    "behind a comment": "-- '\n" + "(" * 70 + "true" + ")" * 70,
    "behind an escaped quote": "url = e'\\'' and " + "(" * 70 + "true" + ")" * 70,
}


@pytest.mark.parametrize("expression", DEEP.values(), ids=DEEP)
def test_what_is_too_deep_is_refused_before_it_is_parsed(
    ds: Dataset, expression: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("DuckDB was asked")

    monkeypatch.setattr(where, "_connection", refuse)
    with pytest.raises(ConfigError, match="is nested too deeply: use at most 64"):
        ds.where(expression)


def test_long_and_flat_is_allowed(ds: Dataset) -> None:
    many = ", ".join(str(number) for number in range(1_005, 6_000))
    assert chosen(ds, f"SAMPLE_ID in ({many})") == [5, 6, 7, 8, 9]
    assert chosen(ds, " or ".join(f"width = {number}" for number in range(641, 1_000))) == [
        *range(1, 10)
    ]
    assert chosen(ds, "(" * 30 + "caption like '((((((%'" + ")" * 30) == []
    with pytest.raises(ConfigError, match="is too long: use at most 100,000 characters"):
        ds.where(f"SAMPLE_ID in ({many}, {many}, {many}, {many})")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("[1]::int[1000][1000][1000] is null", "the type array is not possible here"),
        ("cast(null as int[][][]) is null", "the type list is not possible here"),
        ("try_cast(url as struct(a int[9], b int[9])) is null", "the type struct is not"),
        ("null::map(int, int[9]) is null", "the type map is not possible here"),
        ("null::union(a int, b int[9]) is null", "the type union is not possible here"),
        ("/* ' */ true", r"comments in /\* \*/ are not possible here"),
        ("url = $$a$$", r"\$ is not possible here"),
        ("url = 'it's'", "a ' has no end"),
        ('"url = 1', 'a " has no end'),
        ("true -- \r and false", "a comment holds a carriage return"),
    ],
)
def test_types_and_spellings_that_are_refused(ds: Dataset, expression: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ds.where(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "width::varchar = '641' or cast(width as decimal(9, 2)) = 641.0",
        "width::double = 641 and width::bigint = 641 and try_cast(url as uinteger) is null",
        "width = 641 and '2020-01-01'::timestamp < '2021-01-01'::timestamp with time zone",
        "width = 641 and interval 1 day < interval '2' day and true::boolean",
    ],
)
def test_values_are_cast(ds: Dataset, expression: str) -> None:
    assert chosen(ds, expression) == [1]


def test_functions_that_look_answer_the_same_every_time() -> None:
    kinds = where._connection().execute(
        "SELECT function_name, stability FROM duckdb_functions() "
        "WHERE function_type IN ('scalar', 'macro')"
    )
    changing = {
        name for name, stability in kinds.fetchall() if stability not in ("CONSISTENT", None)
    }
    assert changing & LOOKING == set()


@settings(max_examples=300, deadline=None)
@given(st.text("()[]{}'\"-,.= \n$/*eE\\\r") | st.text())
def test_any_text_has_a_depth_or_is_refused(text: str) -> None:
    try:
        where_text.check_size(text)
    except ConfigError:
        return
    assert max(map(text.count, "([{")) <= where_text.MAX_DEPTH or any(
        one in text for one in ")]}'\"-"
    )


def test_a_message_repeats_no_password_and_no_long_text(tmp_path: Path) -> None:
    rows = [laion_row(1, URL="https://me:s3cret@a.example/x.jpg", TEXT="x" * 1_000_000)]
    write_laion_metadata(tmp_path / "a.parquet", rows)
    dataset = webpairs.open(tmp_path)
    for column in ("url", "caption"):
        with pytest.raises(ConfigError, match="where 'cast") as caught:
            len(dataset.where(f"cast({column} as int) > 0"))
        assert len(str(caught.value)) < 500
        assert "s3cret" not in str(caught.value)


SLOW = (
    "len(list_filter(string_split(caption, 'a'), lambda x: regexp_matches(caption, '(b|a)+x'))) > 0"
)
"""Minutes for a caption of 3,000 letters and 100 rows."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_slow_expression_can_be_stopped(tmp_path: Path, number: int) -> None:
    rows = [laion_row(one, TEXT="a" * 3_000) for one in range(1_000)]
    write_laion_metadata(tmp_path / "a.parquet", rows)
    command = [sys.executable, "-m", "webpairs", "search", str(tmp_path), "--where", SLOW]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        began = time.monotonic()
        while cpu_seconds(process.pid) < 2.5 and time.monotonic() - began < 60:
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()[1]
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert errors.endswith("webpairs: stopped; type the same line again to go on\n")


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
