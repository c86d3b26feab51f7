"""Repacked tars: what tarfile, webdataset, open_clip's rules and webpairs find in them."""

from __future__ import annotations

import inspect
import io
import json
import tarfile
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.exports import export, without_first_shard
from support.foreign_folders import Style, expected, picture, write_img2dataset
from support.plain_reading import LABELS, plain_reading
from webdataset.autodecode import Decoder
from webdataset.tariterators import group_by_keys, tar_file_expander

import webpairs
from webpairs.errors import ConfigError
from webpairs.export.formats.webdataset import TarOfSamples


def members(path: Path) -> list[tuple[str, bytes]]:
    """Return names and bytes of a tar's files, in order."""
    found: list[tuple[str, bytes]] = []
    with tarfile.open(path) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            found.append((member.name, file.read()))
    return found


def samples(out: Path) -> list[dict[str, Any]]:
    """Return what webdataset reads, raw, all tars in order."""
    found: list[dict[str, Any]] = []
    for path in sorted(out.glob("*.tar")):
        with path.open("rb") as stream:  # webdataset leaves to chance when it closes a file
            files = tar_file_expander(iter([{"url": path.name, "stream": stream}]))
            found += group_by_keys(files)
    return found


@pytest.fixture(scope="module")
def exported(loose_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("webdataset")
    export(loose_run, out, "webdataset", samples_per_shard=50)
    return out


def test_shards_are_full_and_members_stand_together(exported: Path, loose_run: Path) -> None:
    truth = plain_reading(loose_run)
    sizes = json.loads((exported / "sizes.json").read_bytes())
    num_shards = -(-len(truth) // 50)
    assert list(sizes) == [f"{place:05d}.tar" for place in range(num_shards)]
    assert list(sizes.values())[:-1] == [50] * (num_shards - 1)
    assert sum(sizes.values()) == len(truth)
    names = [name for path in sorted(exported.glob("*.tar")) for name, _ in members(path)]
    assert names == [
        f"{row['key']}.{extension}" for row in truth for extension in ("jpg", "txt", "json")
    ]


def test_webdataset_reads_every_sample(exported: Path, loose_run: Path) -> None:
    truth = plain_reading(loose_run)
    found = samples(exported)
    assert len(found) == len(truth)
    for sample, row in zip(found, truth, strict=True):
        assert sample["__key__"] == row["key"]
        assert sample["jpg"] == row["image"]
        assert sample["txt"].decode() == row["caption"]
        told = json.loads(sample["json"])
        assert (told["key"], told["caption"], told["url"]) == (
            *(row["key"], row["caption"], row["url"]),
        )
        assert told["original_width"] == row["original_width"]
        assert told["original_height"] == row["original_height"]
        assert told["similarity"] == row["similarity"]
        assert LABELS.index(told["NSFW"] or "UNTAGGED") == row["nsfw"]
        assert told["LICENSE"] == (row["license"] or "?")


def test_json_holds_what_that_of_the_run_does(exported: Path, loose_run: Path) -> None:
    """Readers of a run's tars find the same under the same names."""
    theirs = {
        name: json.loads(data)
        for path in sorted((loose_run / "images").glob("*.tar"))
        for name, data in members(path)
        if name.endswith(".json")
    }
    ours = {
        name: json.loads(data)
        for path in sorted(exported.glob("*.tar"))
        for name, data in members(path)
        if name.endswith(".json")
    }
    assert ours.keys() == theirs.keys()
    for name, told in theirs.items():
        assert {field: ours[name][field] for field in told} == told


def test_open_clip_finds_image_and_text(exported: Path) -> None:
    """open_clip counts by sizes.json, and takes samples with txt and one of four extensions."""
    sizes = json.loads((exported / "sizes.json").read_bytes())
    by_tar: dict[str, int] = {}
    for sample in samples(exported):
        assert "txt" in sample
        assert {"png", "jpg", "jpeg", "webp"} & set(sample)
        by_tar[sample["__url__"]] = by_tar.get(sample["__url__"], 0) + 1
    assert by_tar == sizes


def test_the_index_leads_to_each_sample(exported: Path) -> None:
    for path in exported.glob("*.tar"):
        starts = np.fromfile(f"{path}.idx", "<u8").tolist()
        with tarfile.open(path) as tar:
            images = [member for member in tar if member.name.endswith(".jpg")]
        assert starts[:-1] == [member.offset for member in images]
        data = path.read_bytes()
        assert data[starts[-1] :] == bytes(len(data) - starts[-1])
        assert len(data) % tarfile.RECORDSIZE == 0


def test_webpairs_reads_it_again(exported: Path, loose_run: Path) -> None:
    source, again = webpairs.open(loose_run), webpairs.open(exported)
    columns = list(source.source.column_names)
    assert again.table(columns).equals(source.table(columns))
    assert list(again.images(decode=None)) == list(source.images(decode=None))
    for key in source.table(["key"]).column("key").to_pylist()[::17]:
        assert again.sample(key, decode=None)["url"] == source.sample(key, decode=None)["url"]
    with pytest.raises(KeyError):
        again["999999999"]
    assert again.problems.counts() == {}


@pytest.mark.parametrize("style", [Style(), Style(keys="text"), Style(output_format="parquet")])
def test_what_img2dataset_wrote(tmp_path: Path, style: Style) -> None:
    rows = write_img2dataset(tmp_path / "source", style=style)
    export(tmp_path / "source", tmp_path / "out", "webdataset", samples_per_shard=37, shuffle=2)
    wanted = {row["id"]: row for row in rows}
    again = webpairs.open(tmp_path / "out")
    keys = again.table(["key"]).column("key").to_pylist()
    assert sorted(keys) == sorted(wanted)
    assert keys != sorted(keys)
    for key, sample in zip(keys, again.images(decode=None), strict=True):
        assert sample["image"] == wanted[key]["image"]
        truth = expected(wanted[key])
        assert {name: sample[name] for name in truth} == truth
    assert [sample["__key__"] for sample in samples(tmp_path / "out")] == keys


def test_labels_are_written_by_name(tmp_path: Path) -> None:
    """A source's own column nsfw holds names, though a sample's nsfw is a number."""
    source = tmp_path / "source"
    source.mkdir()
    table = {
        "key": ["000000000", "000000001"],
        "caption": ["a", None],
        "nsfw": ["NSFW", None],
        "jpg": [picture(0), picture(1)],
    }
    pq.write_table(pa.table(table), source / "00000.parquet")
    export(source, tmp_path / "out", "webdataset")
    told = [json.loads(sample["json"]) for sample in samples(tmp_path / "out")]
    assert [row["nsfw"] for row in told] == ["NSFW", "UNTAGGED"]
    assert [sample["nsfw"] for sample in webpairs.open(tmp_path / "out")] == [2, 3]
    assert [sample["txt"] for sample in samples(tmp_path / "out")] == [b"a", b""]


def test_columns_choose_what_is_told_of_a_sample(loose_run: Path, tmp_path: Path) -> None:
    export(loose_run, tmp_path, "webdataset", columns=("language", "uid"))
    eight = {"TEXT", "LICENSE", "NSFW", "HEIGHT", "WIDTH", "similarity", "URL"}
    names = set(pq.read_schema(tmp_path / "00000.parquet").names)
    assert names == {"key", "language", "uid", *eight}
    source, again = webpairs.open(loose_run), webpairs.open(tmp_path)
    assert list(again.images(decode=None)) == list(source.images(decode=None))


def test_embeddings_are_members_where_they_are_asked_for(loose_run: Path, tmp_path: Path) -> None:
    export(loose_run, tmp_path, "webdataset", config="both")
    decode = Decoder([])
    truth = plain_reading(loose_run)
    for sample, row in zip(map(decode, samples(tmp_path)), truth, strict=True):
        for name, feature in (("img_emb", "image_embedding"), ("text_emb", "text_embedding")):
            embedding = sample[f"{name}.npy"]
            assert embedding.dtype == np.float16
            assert np.array_equal(embedding, row[feature])
    assert len(webpairs.open(tmp_path)) == len(truth)
    with pytest.raises(ConfigError, match="use --config both"):
        export(loose_run, tmp_path / "other", "webdataset", config="embeddings")


def test_a_key_that_cannot_be_a_name_is_left_out_and_listed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    keys = ["a", "b.c", "d/e.f", "d.e/f", "", "/g", "n" * 150, "é"]
    images = [picture(number) for number in range(len(keys))]
    rows = {"key": keys, "caption": ["x"] * len(keys), "jpg": images}
    pq.write_table(pa.table(rows), source / "00000.parquet")
    (report,) = export(source, tmp_path / "out", "webdataset").reports
    assert report.skipped == {"key_unusable": 4}
    assert [key for _, key, _ in report.listed] == ["b.c", "d/e.f", "", "/g"]
    left = ["a", "d.e/f", "n" * 150, "é"]
    found = samples(tmp_path / "out")
    assert [sample["__key__"] for sample in found] == left
    assert [sample["jpg"] for sample in found] == [images[keys.index(key)] for key in left]
    again = webpairs.open(tmp_path / "out")
    assert [sample["image"] for sample in again.images(decode=None)] == [
        sample["jpg"] for sample in found
    ]


def test_a_shard_without_a_sample_is_an_empty_tar(loose_run: Path, tmp_path: Path) -> None:
    size = without_first_shard(loose_run, tmp_path / "source")
    out = tmp_path / "out"
    export(tmp_path / "source", out, "webdataset", samples_per_shard=size)
    assert members(out / "00000.tar") == []
    assert np.fromfile(out / "00000.tar.idx", "<u8").tolist() == [0]
    sizes = json.loads((out / "sizes.json").read_bytes())
    assert sizes["00000.tar"] == 0
    again, source = webpairs.open(out), webpairs.open(loose_run)
    assert list(again.images(decode=None)) == list(source.images(decode=None))[size:]
    assert len(again) == sum(sizes.values()) == len(source) - size
    assert again.problems.counts() == {}


@pytest.mark.compare
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("is_train", [False, True])
def test_open_clip_trains_on_every_sample(exported: Path, loose_run: Path, is_train: bool) -> None:
    """By its own pipeline, as its script calls it; in training more than one worker or sample a
    batch would not come out even, and it leaves out what is over."""
    data = pytest.importorskip("open_clip_train.data")
    torch = pytest.importorskip("torch")
    if is_train and "eof_value" in inspect.signature(tar_file_expander).parameters:
        pytest.skip("open_clip's training wants webdataset 0.2.86 or older, as its extra says")
    num_shards = len(list(exported.glob("*.tar")))
    shards = f"{exported}/{{00000..{num_shards - 1:05d}}}.tar"
    truth = plain_reading(loose_run)
    assert data.get_dataset_size(shards) == (len(truth), num_shards)
    options = {
        "train_data": shards,
        "val_data": shards,
        "train_num_samples": None,
        "val_num_samples": None,
        "train_data_upsampling_factors": None,
        "dataset_resampled": False,
        "seed": 0,
        "batch_size": 1 if is_train else 10,
        "world_size": 1,
        "workers": 1 if is_train else 2,
    }
    info = data.get_wds_dataset(
        SimpleNamespace(**options),
        lambda image: torch.from_numpy(np.array(image)),
        is_train=is_train,
        tokenizer=lambda text: [text],
    )
    found = [
        (text, image.numpy().tobytes())
        for images, texts in info.dataloader
        for text, image in zip(texts, images, strict=True)
    ]
    wanted = [
        (row["caption"], np.array(Image.open(io.BytesIO(row["image"]))).tobytes()) for row in truth
    ]
    assert sorted(found) == sorted(wanted)
    if is_train:
        assert info.dataloader.num_samples == len(truth)
        assert found != wanted


names = st.text(st.characters(exclude_characters="./\0", codec="utf-8"), min_size=1, max_size=50)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(names, st.binary(max_size=1_100), st.binary(max_size=9)), max_size=5))
def test_the_bytes_are_those_of_tarfile(packed: list[tuple[str, bytes, bytes]]) -> None:
    ours, theirs = io.BytesIO(), io.BytesIO()
    is_long = any(len(key.encode()) > 96 for key, *_ in packed)  # beyond what ustar has room for
    format = tarfile.GNU_FORMAT if is_long else tarfile.USTAR_FORMAT
    tar = TarOfSamples(ours)
    starts: list[int] = []
    with tarfile.open(fileobj=theirs, mode="w", format=format) as peer:
        for key, image, text in packed:
            tar.add(key, [("jpg", image), ("txt", text)])
            starts.append(peer.offset)
            for extension, data in (("jpg", image), ("txt", text)):
                member = tarfile.TarInfo(f"{key}.{extension}")
                member.size = len(data)
                peer.addfile(member, io.BytesIO(data))
        starts.append(peer.offset)
    tar.close()
    assert tar.starts().tolist() == starts
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tar"
        path.write_bytes(ours.getvalue())
        assert members(path) == [
            (f"{key}.{extension}", data)
            for key, image, text in packed
            for extension, data in (("jpg", image), ("txt", text))
        ]
    if not is_long:
        assert ours.getvalue() == theirs.getvalue()
