"""Run folders in which one thing is wrong: verify names it, and nothing else that is not."""

from __future__ import annotations

import errno
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.damage import (
    DROPS,
    IMAGE_NPY,
    INDEX,
    METADATA,
    SHARD,
    TAR,
    TEXT_NPY,
    copy_uid,
    files_of,
)
from support.planted_faults import DEEP, FAULTS, Plant

from webpairs.dataset.sources.run_folder import RunFolder
from webpairs.files import open_regular
from webpairs.progress import RunProgress
from webpairs.run.link import CoordinatorLink
from webpairs.verify.findings import Findings
from webpairs.verify.run_folder import plan_run_folder
from webpairs.verify.shard import verify_shard
from webpairs.verify.verify import Verification, verify_dataset


@pytest.fixture
def run(loose_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(loose_run, tmp_path / "run"))


def verify(run: Path, *, deep: bool = False) -> Verification:
    return verify_dataset(run, deep=deep, workers=1)


def found(checked: Verification) -> set[tuple[str, str]]:
    return {(str(one.fault), one.file) for one in checked.findings.listed}


@pytest.mark.parametrize("deep", [False, True])
def test_nothing_is_wrong_with_what_build_wrote(loose_run: Path, deep: bool) -> None:
    checked = verify(loose_run, deep=deep)
    assert checked.findings.listed == []
    assert checked.good
    assert (checked.kind, checked.num_shards) == ("run folder", 6)
    rows = sum(pq.read_metadata(path).num_rows for path in (loose_run / "metadata").iterdir())
    assert checked.num_samples == rows > 0


@pytest.mark.parametrize("name", [TAR, INDEX, METADATA, IMAGE_NPY, TEXT_NPY, DROPS])
def test_a_flipped_byte_is_found_wherever_it_is(run: Path, name: str) -> None:
    """In every file, at its ends and at random; whatever the byte does to its reader."""
    findings = Findings()
    units = plan_run_folder(RunFolder(run), deep=True, findings=findings).units
    assert not findings
    (unit,) = (one for one in units if one.name == SHARD)
    path = run / name
    data = path.read_bytes()
    rng = random.Random(name)
    places = [0, len(data) - 1, *(rng.randrange(len(data)) for _ in range(12))]
    link = CoordinatorLink(RunProgress(quiet=True))
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        report = verify_shard(unit, link)
        assert ("file_changed", name) in {(f.fault, f.file) for f in report.findings.listed}
    path.write_bytes(data)
    assert not verify_shard(unit, link).findings


def test_a_flipped_byte_in_an_image_names_its_sample(run: Path) -> None:
    path = files_of(run).tar
    data = bytearray(path.read_bytes())
    place = int(np.fromfile(f"{path}.idx", "<u8")[3]) + 512 + 900
    data[place] ^= 1
    path.write_bytes(data)
    key = pq.read_table(files_of(run).metadata, columns=["key"]).column("key")[3].as_py()
    assert [(one.fault, one.file, one.key) for one in verify(run).findings.listed] == [
        ("file_changed", TAR, ""),
        ("image_changed", TAR, key),
    ]


@pytest.mark.parametrize(
    ("plant", "expected"), [one[1:] for one in FAULTS], ids=[one[0] for one in FAULTS]
)
def test_a_fault_is_found(run: Path, plant: Plant, expected: set[tuple[str, str]]) -> None:
    plant(run)
    assert found(verify(run)) == expected


@pytest.mark.parametrize(
    ("plant", "expected"), [one[1:] for one in DEEP], ids=[one[0] for one in DEEP]
)
def test_a_fault_is_found_when_deep(
    run: Path, plant: Plant, expected: set[tuple[str, str]]
) -> None:
    plant(run)
    only_deep = {"similarity_wrong", "size_wrong", "image_broken"}
    assert found(verify(run, deep=True)) == expected
    assert found(verify(run)) == {one for one in expected if one[0] not in only_deep}


def test_repeated_ids_are_counted_though_few_are_looked_up(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_uid(run)
    monkeypatch.setattr("webpairs.verify.ids.NUM_LOOKED_UP", 0)
    checked = verify(run)
    assert found(checked) == {("uid_repeated", ".")}
    assert checked.findings.counts() == {"uid_repeated": 1}


def test_a_file_that_the_disk_does_not_give(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> Any:
        if path == run / TAR:
            raise OSError(errno.EIO, "Input/output error")
        return open_regular(path)

    monkeypatch.setattr("webpairs.verify.shard.open_regular", refuse)
    assert found(verify(run)) == {("file_broken", TAR)}
