"""Units of extract: grouped in order, pure, whole or not there."""

from __future__ import annotations

import pickle
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.museum_warcs import PAGES, members, sound_records

from webpairs.crawl.inputs import Input
from webpairs.extract.page import ExtractRules, ExtractStats
from webpairs.extract.unit import UNIT_BYTES, extract_unit, plan_units

RULES = ExtractRules(("alt",), ("src",), 5, ("any",))


def an_input(name: str, num_bytes: int) -> Input:
    return Input(f"/crawl/{name}", name, "warc", num_bytes)


def test_small_inputs_are_grouped_in_order(tmp_path: Path) -> None:
    sizes = [UNIT_BYTES // 2, UNIT_BYTES // 2, 1, 2 * UNIT_BYTES, 0, 5]
    inputs = [an_input(str(number), size) for number, size in enumerate(sizes)]
    units = plan_units(inputs, tmp_path, RULES, archive=False)
    assert [[one.name for one in unit.inputs] for unit in units] == [
        ["0", "1"],
        ["2"],
        ["3"],
        ["4", "5"],
    ]
    assert [unit.name for unit in units] == ["00000", "00001", "00002", "00003"]
    assert units[3].candidates_path == str(tmp_path / "00003.parquet")
    assert units[3].images_path is None
    assert plan_units([], tmp_path, RULES, archive=True) == []


def a_unit(folder: Path):
    inputs: list[Input] = []
    for name in ("a.warc.gz", "b.warc"):
        records = sound_records() if name == "b.warc" else members(sound_records())
        path = folder / name
        path.write_bytes(b"".join(records))
        inputs.append(Input(str(path), name, "warc", path.stat().st_size))
    (unit,) = plan_units(inputs, folder / "out", RULES, archive=True)
    return unit


def test_unit_travels_and_gives_the_same_again(tmp_path: Path) -> None:
    unit = pickle.loads(pickle.dumps(a_unit(tmp_path)))
    stats = extract_unit(unit)
    assert isinstance(pickle.loads(pickle.dumps(stats)), ExtractStats)
    assert (stats.inputs, stats.pages, stats.written) == (2, 2 * PAGES, 2 * PAGES)
    assert stats.captures == 2 * PAGES
    assert stats.found == stats.written + sum(stats.drops.values())
    out = tmp_path / "out"
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    assert sorted(first) == ["00000.images.parquet", "00000.parquet"]
    assert extract_unit(unit) == stats
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    files = pq.read_table(unit.images_path)["file"].to_pylist()
    assert files == ["a.warc.gz"] * PAGES + ["b.warc"] * PAGES


def test_nothing_is_left_of_a_unit_that_fails(tmp_path: Path) -> None:
    unit = a_unit(tmp_path)
    (tmp_path / "b.warc").unlink()
    with pytest.raises(FileNotFoundError):
        extract_unit(unit)
    assert list((tmp_path / "out").iterdir()) == []
