"""What others wrote is held against itself; sound folders are right, damage is named."""

from __future__ import annotations

import io
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.foreign_folders import (
    Style,
    laion_row,
    picture,
    write_embeddings,
    write_img2dataset,
    write_laion_metadata,
)

from webpairs.verify.source import missing_names
from webpairs.verify.verify import Verification, verify_dataset

Plant = Callable[[Path], Any]
Members = list[tuple[str, bytes]]
TAR, TABLE = "00001.tar", "00001.parquet"


def found(checked: Verification) -> set[tuple[str, str]]:
    return {(str(one.fault), one.file) for one in checked.findings.listed}


def unit_length(folder: Path) -> None:
    for path in folder.rglob("*.npy"):
        rows = np.load(path).astype(np.float32)
        np.save(path, (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16))


def change_tar(folder: Path, change: Callable[[Members], Members], name: str = TAR) -> None:
    with tarfile.open(folder / name) as tar:
        members = [(one.name, tar.extractfile(one).read()) for one in tar.getmembers()]  # type: ignore[union-attr]
    with tarfile.open(folder / name, "w") as tar:
        for member, data in change(members):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def change_table(path: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    table = pq.read_table(path)
    rows = table.to_pylist()
    rows = change(rows) or rows
    pq.write_table(pa.Table.from_pylist(rows, table.schema), path)


def put(end: str, data: bytes) -> Callable[[Members], Members]:
    """Replace the first member whose name ends so."""

    def change(members: Members) -> Members:
        place = next(n for n, (name, _) in enumerate(members) if name.endswith(end))
        return [*members[:place], (members[place][0], data), *members[place + 1 :]]

    return change


def first_done(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["status"] == "success")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def big() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (17, 17)).save(out, "JPEG")
    return out.getvalue()


@pytest.mark.parametrize(
    "style",
    [
        Style(),
        Style(keys="text"),
        Style(keys="number", stats=False),
        Style(output_format="parquet"),
        Style(output_format="parquet", keys="text"),
    ],
    ids=["today", "2021", "2021, numbers", "parquet", "parquet, 2021"],
)
@pytest.mark.parametrize("deep", [False, True])
def test_img2dataset_output_is_right_but_for_its_rows(
    tmp_path: Path, style: Style, deep: bool
) -> None:
    """Its test data has rows that cannot be meant: they are told, and nothing else is."""
    samples = write_img2dataset(tmp_path / "d", style=style)
    odd = [row for row in samples if row["url"] is None or row["NSFW"] == "0.31"]
    checked = verify_dataset(tmp_path / "d", deep=deep, workers=1)
    assert checked.findings.counts() == {"value_wrong": len(odd)}
    assert (checked.num_shards, checked.num_samples) == (3, len(samples))
    assert odd


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """img2dataset output in which every row can be meant so."""
    folder = tmp_path_factory.mktemp("img2dataset") / "d"
    write_img2dataset(folder)
    for path in folder.glob("*.parquet"):

        def mend(rows: list[dict[str, Any]]) -> None:
            for row in rows:
                row["NSFW"] = "UNSURE"
                row["url"] = row["url"] or ""

        change_table(path, mend)
    return folder


FAULTS: list[tuple[str, Plant, set[tuple[str, str]]]] = [
    ("nothing", lambda f: None, set()),
    (
        "a shard gone",
        lambda f: [(f / name).unlink() for name in (TAR, TABLE, "00001_stats.json")],
        {("shard_missing", "00001")},
    ),
    ("no tar", lambda f: (f / TAR).unlink(), {("file_missing", TAR)}),
    (
        "no table",  # the JSON in the tar has what the table had before it was mended
        lambda f: (f / TABLE).unlink(),
        {("file_missing", TABLE), ("value_wrong", TAR)},
    ),
    ("a cut table", lambda f: cut(f / TABLE), {("file_broken", TABLE)}),
    (
        "a cut tar",
        lambda f: (f / TAR).write_bytes((f / TAR).read_bytes()[:40_000]),
        {("file_broken", TAR), ("member_missing", TAR)},
    ),
    (
        "a tar without its end",
        lambda f: (
            change_tar(f, lambda m: m[:-3])
            or (f / TAR).write_bytes((f / TAR).read_bytes().rstrip(b"\0") + bytes(100))
        ),
        {("file_broken", TAR), ("member_missing", TAR)},
    ),
    ("no image", lambda f: change_tar(f, lambda m: m[1:]), {("member_missing", TAR)}),
    ("no text", lambda f: change_tar(f, lambda m: [m[0], *m[2:]]), {("member_missing", TAR)}),
    (
        "an image without a row",
        lambda f: change_tar(f, lambda m: [*m, ("000019999.jpg", picture(1)), *_texts()]),
        {("member_extra", TAR)},
    ),
    ("an image twice", lambda f: change_tar(f, lambda m: [m[0], *m]), {("key_repeated", TABLE)}),
    (
        "members apart",
        lambda f: change_tar(f, lambda m: [*m[1:], m[0]]),
        {("order_wrong", TAR)},
    ),
    ("another's text", lambda f: change_tar(f, put(".txt", b"?")), {("member_wrong", TAR)}),
    ("no json", lambda f: change_tar(f, put(".json", b"?")), {("member_wrong", TAR)}),
    ("a json list", lambda f: change_tar(f, put(".json", b"[]")), {("member_wrong", TAR)}),
    (
        "another's json",
        lambda f: change_tar(f, put(".json", b'{"url": "https://example.org/x"}')),
        {("member_wrong", TAR)},
    ),
    (
        "other stats",
        lambda f: (f / "00001_stats.json").write_text('{"count": 40, "successes": 3}'),
        {("count_wrong", TABLE)},
    ),
    (
        "a row too few",
        lambda f: change_table(f / TABLE, lambda rows: rows.remove(first_done(rows))),
        {("count_wrong", TABLE), ("member_extra", TAR)},
    ),
    (
        "a key twice",
        lambda f: change_table(f / TABLE, lambda rows: rows.append(first_done(rows))),
        {("key_repeated", TABLE)},
    ),
    (
        "no cosine",
        lambda f: change_table(f / TABLE, lambda rows: first_done(rows).update(similarity=6016.0)),
        {("value_wrong", TABLE)},
    ),
    (
        "no image in it (deep)",
        lambda f: change_tar(f, put(".jpg", b"<html>")),
        {("image_broken", TAR)},
    ),
    (
        "another size (deep)",
        lambda f: change_tar(f, put(".jpg", big())),
        {("size_wrong", TAR)},
    ),
]


def _texts() -> Members:
    return [("000019999.txt", b"?"), ("000019999.json", b"{}")]


@pytest.mark.parametrize(
    ("plant", "expected"), [one[1:] for one in FAULTS], ids=[one[0] for one in FAULTS]
)
def test_a_fault_of_img2dataset_output_is_found(
    sound: Path, tmp_path: Path, plant: Plant, expected: set[tuple[str, str]]
) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "d"))
    plant(folder)
    assert found(verify_dataset(folder, deep=True, workers=1)) == expected
    only_deep = {"image_broken", "size_wrong"}
    shallow = {one for one in expected if one[0] not in only_deep}
    assert found(verify_dataset(folder, workers=1)) == shallow


def test_an_index_that_does_not_lead_to_the_samples(sound: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sound, tmp_path / "d"))
    with tarfile.open(folder / TAR) as tar:
        members = tar.getmembers()
        starts = [one.offset for one in members if one.name.endswith(".jpg")] + [tar.offset]
    index = folder / f"{TAR}.idx"
    np.array(starts, "<u8").tofile(index)
    assert verify_dataset(folder, workers=1).good
    starts[2] += 512
    np.array(starts, "<u8").tofile(index)
    assert found(verify_dataset(folder, workers=1)) == {("index_wrong", index.name)}
    index.write_bytes(b"")
    assert found(verify_dataset(folder, workers=1)) == {("index_wrong", index.name)}


def test_parquet_with_images(tmp_path: Path) -> None:
    write_img2dataset(tmp_path / "d", style=Style(output_format="parquet"), failed=0)
    path = tmp_path / "d" / TABLE

    def damage(rows: list[dict[str, Any]]) -> None:
        rows[3]["jpg"] = None
        rows[4]["jpg"] = b"<html>"

    change_table(path, damage)
    counts = verify_dataset(tmp_path / "d", deep=True, workers=1).findings.counts()
    assert {name: counts[name] for name in ("member_missing", "image_broken")} == {
        "member_missing": 1,
        "image_broken": 1,
    }


def test_others_tars_with_a_key_in_two_of_them(tmp_path: Path) -> None:
    for name in ("00000", "00001", "00002"):
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            for key in ("000000007", f"{name}0001"):
                for suffix, data in (("jpg", picture(1)), ("txt", b"x")):
                    info = tarfile.TarInfo(f"{key}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        if name == "00002":  # the first key of the last shard says what keys are like
            change_tar(tmp_path, lambda members: members[2:], name="00002.tar")
    checked = verify_dataset(tmp_path, workers=2)
    assert [(str(f.fault), f.file, f.key, f.detail) for f in checked.findings.listed] == [
        ("key_repeated", "00001.tar", "000000007", "sample 000000007 has it too"),
    ]


def test_laion_metadata(tmp_path: Path) -> None:
    for part in (0, 1, 3):
        rows = [laion_row(number, SAMPLE_ID=number) for number in range(20)]
        write_laion_metadata(tmp_path / f"part-{part:05d}.parquet", rows)
    assert verify_dataset(tmp_path, workers=1).good
    slipped = laion_row(1, NSFW="0.31", similarity=6016.0)
    write_laion_metadata(tmp_path / "part-00001.parquet", [slipped] * 12)
    cut(tmp_path / "part-00003.parquet")
    checked = verify_dataset(tmp_path, workers=1)
    assert checked.findings.counts() == {"file_broken": 1, "value_wrong": 12}
    assert found(checked) == {
        ("file_broken", "part-00003.parquet"),
        ("value_wrong", "part-00001.parquet"),
    }


def test_embedding_folders(tmp_path: Path) -> None:
    for number in range(4):
        write_embeddings(tmp_path, str(number), 30, first=30 * number)
    unit_length(tmp_path)
    assert verify_dataset(tmp_path, deep=True, workers=1).good
    image = tmp_path / "img_emb" / "img_emb_1.npy"
    rows = np.load(image)
    rows[7] *= 2
    np.save(image, rows)
    text = tmp_path / "text_emb" / "text_emb_2.npy"
    np.save(text, np.load(text)[1:])
    (tmp_path / "text_emb" / "text_emb_3.npy").unlink()
    for kind in ("metadata/metadata_0.parquet", "img_emb/img_emb_0.npy"):
        (tmp_path / kind).rename(tmp_path / kind.replace("_0", "_9"))
    (tmp_path / "text_emb" / "text_emb_0.npy").unlink()
    checked = verify_dataset(tmp_path, workers=1)
    assert found(checked) == {
        ("norm_wrong", "img_emb/img_emb_1.npy"),
        ("count_wrong", "img_emb/img_emb_2.npy"),
        ("file_missing", "text_emb/text_emb_3.npy"),
        ("file_missing", "text_emb/text_emb_9.npy"),
        *(("shard_missing", str(number)) for number in (4, 5, 6, 7, 8)),
    }
    assert checked.findings.counts()["norm_wrong"] == 1


def test_numbers_that_lack_between_others() -> None:
    assert missing_names(["00002", "00003", "00006"]) == ["00004", "00005"]
    assert missing_names(["7", "10"]) == ["8", "9"]
    assert missing_names(["a", "00003"]) == missing_names([]) == []
