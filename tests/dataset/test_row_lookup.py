"""All facts of one row: samples and drops by key, uid and URL, reading little."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.candidate_files import Row
from support.exports import export
from support.hand_made_runs import SAMPLE, candidate, commit_shard, start_run

from webpairs.cli.print_show import print_rows
from webpairs.dataset.row_lookup import find_rows, show_rows
from webpairs.drops import Drop
from webpairs.errors import ConfigError
from webpairs.ids import url_hash


def by_uid(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: row["uid"])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two shards and a retry: `again` was dropped first, `logo` stands under three texts."""
    keys = start_run(tmp_path, 8, 2, 4)
    logos = [candidate("logo", text) for text in ("one", "two", "three")]
    first = by_uid([*logos, candidate("again")])
    second = by_uid([candidate(name) for name in ("kept", "secret", "far")])
    outcome = {row["uid"]: SAMPLE for row in (*first, *second)}
    outcome[logos[2]["uid"]] = str(Drop.SIMILARITY)
    outcome[candidate("again")["uid"]] = str(Drop.HTTP_5XX)
    outcome[candidate("secret")["uid"]] = str(Drop.OPTED_OUT_IMAGE)
    outcome[candidate("far")["uid"]] = str(Drop.SIDE)
    commit_shard(tmp_path, keys, 0, first, outcome)
    commit_shard(tmp_path, keys, 1, second, outcome)
    commit_shard(tmp_path, keys, 2, [candidate("again")], {candidate("again")["uid"]: SAMPLE})
    return tmp_path


def told(run: Path, asked: str) -> list[tuple[str, str, bool]]:
    return [(row.kind, row.shard, row.superseded) for row in show_rows(run, asked).rows]


def test_a_sample_by_key_uid_and_url(run: Path) -> None:
    kept = candidate("kept")
    (row,) = show_rows(run, kept["uid"].hex()).rows
    assert (row.kind, row.shard, row.columns["URL"]) == ("sample", "00001", kept["url"])
    assert row.columns["page_url"] == kept["page_url"]
    assert row.columns["crawl_file"] == kept["crawl_file"]
    assert dict(row.lies_in)["metadata"].endswith("00001.parquet, row 0")
    assert show_rows(run, row.columns["key"]).rows == (row,)
    assert show_rows(run, kept["url"]).rows == (row,)
    # As people have it from a page, before it was normalised.
    assert show_rows(run, kept["url"].replace("https://", "HTTPS://") + "#top").rows == (row,)
    assert show_rows(run, kept["uid"].hex().upper()).rows == (row,)


def test_a_url_with_several_texts(run: Path) -> None:
    found = show_rows(run, candidate("logo")["url"])
    assert [row.kind for row in found.rows] == ["sample", "sample", "drop"]
    texts = {row.columns.get("TEXT") or row.columns["text"] for row in found.rows}
    assert texts == {"one", "two", "three"}
    assert found.num_found == 3


def test_a_drop_says_why(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = show_rows(run, candidate("far")["uid"].hex())
    (row,) = found.rows
    assert (row.kind, row.columns["reason"], row.columns["detail"]) == ("drop", "side", "x")
    assert None not in row.columns.values()
    print_rows(found, "table")
    assert f"side: {Drop.SIDE.meaning}" in capsys.readouterr().out


@pytest.mark.parametrize("by", ["uid", "url"])
def test_a_sensitive_drop_shows_what_is_stored_alone(run: Path, by: str) -> None:
    secret = candidate("secret")
    (row,) = show_rows(run, secret["uid"].hex() if by == "uid" else secret["url"]).rows
    assert row.columns == {
        "uid": secret["uid"],
        "url_hash": url_hash(secret["url"]),
        "reason": "opted_out_image",
        "stage": "obtain",
        "signal": "noai",
    }


def test_what_was_tried_again_says_which_row_counts(run: Path) -> None:
    assert told(run, candidate("again")["url"]) == [
        ("sample", "00002", False),
        ("drop", "00000", True),
    ]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("000000099", ["no sample 000000099", "of shard 00000", "ask for the uid or the URL"]),
        ("999990000", ["no sample '999990000'", "give a key"]),
        ("cat", ["no sample 'cat'"]),
        ("00" * 16, ["no drop of the uid", "only counted", "text_too_short"]),
        ("https://example.org/none", ["no drop of the url"]),
        ("ht!tp://[", ["no drop of the url"]),
    ],
)
def test_what_is_not_there_is_told(run: Path, asked: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        show_rows(run, asked)
    assert not [word for word in words if word not in str(caught.value)]


def test_json_has_every_fact(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(show_rows(run, candidate("logo")["url"]), "json")
    known = orjson.loads(capsys.readouterr().out)
    assert (known["by"], known["num_found"], len(known["rows"])) == ("url", 3, 3)
    assert known["rows"][0]["columns"]["page_url"] == candidate("logo")["page_url"]
    assert len(known["rows"][2]["columns"]["url_hash"]) == 16


def test_row_groups_that_cannot_have_a_value_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.parquet"
    uids = [bytes([n]) * 16 for n in range(40)]
    pq.write_table(pa.table({"uid": pa.array(uids, pa.binary(16))}), path, row_group_size=10)
    read: list[Any] = []
    read_row_group = pq.ParquetFile.read_row_group

    def noted(self: Any, number: int, columns: Any = None, **more: Any) -> pa.Table:
        read.append((number, columns))
        return read_row_group(self, number, columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    assert [*find_rows(path, "uid", [uids[23]])] == [23]
    assert read == [(2, ["uid"])]
    assert [*find_rows(tmp_path / "absent.parquet", "uid", [uids[0]])] == []


def test_a_damaged_file_is_named(run: Path) -> None:
    (run / "drops" / "00001.parquet").write_bytes(b"PAR1 is not enough")
    with pytest.raises(ConfigError, match=r"00001\.parquet cannot be read"):
        show_rows(run, candidate("kept")["uid"].hex())


def test_the_bytes_of_an_image_lie_where_it_is_said(loose_run: Path) -> None:
    row = pq.read_table(loose_run / "metadata" / "00001.parquet").to_pylist()[2]
    (shown,) = show_rows(loose_run, row["key"]).rows
    place = dict(shown.lies_in)["image"]
    path, _, rest = place.partition(", member ")
    size, start = (int(word) for word in rest.split() if word.isdecimal())
    data = Path(path).read_bytes()[start : start + size]
    assert hashlib.sha256(data).digest() == row["stored_sha256"]
    assert rest.startswith(f"{row['key']}.jpg")
    assert shown.columns["texts_per_image"] >= 1  # of a column file


def test_other_sources_have_samples_alone(loose_run: Path, tmp_path: Path) -> None:
    export(loose_run, tmp_path / "wds", "webdataset")
    row = pq.read_table(loose_run / "metadata" / "00001.parquet").to_pylist()[0]
    for asked in (row["key"], row["uid"].hex()):
        (shown,) = show_rows(tmp_path / "wds", asked).rows
        assert shown.columns["key"] == row["key"]
    assert row["key"] in {
        one.columns["key"] for one in show_rows(tmp_path / "wds", row["URL"]).rows
    }
    with pytest.raises(ConfigError, match="no sample of the url"):
        show_rows(tmp_path / "wds", "https://example.org/none")
