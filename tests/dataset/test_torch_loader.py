"""`Dataset.torch`: one order for any number of workers and ranks, exactly resumable."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.foreign_folders import write_img2dataset

import webpairs
from webpairs.dataset.dataset import Dataset
from webpairs.errors import ConfigError, DataError

# More workers than there are cores say nothing of speed here.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")
torch = pytest.importorskip("torch", reason="docs/development.md: tests that need torch")


def keys(loader: Iterable[dict[str, Any]]) -> list[list[str]]:
    return [batch["key"] for batch in loader]


def flat(batches: Iterable[Iterable[str]]) -> list[str]:
    return list(itertools.chain.from_iterable(batches))


@pytest.fixture
def ds(loose_run: Path) -> Dataset:
    return webpairs.open(loose_run)


def test_batches_hold_the_samples(ds: Dataset) -> None:
    seen = 0
    for batch in ds.torch(16, columns=["key", *ds.features]):
        size = len(batch["key"])
        assert batch["image"].shape == (size, 256, 256, 3)
        types = {name: batch[name].dtype for name in batch if isinstance(batch[name], torch.Tensor)}
        assert types == {
            "image": torch.uint8,
            "image_embedding": torch.float16,
            "nsfw": torch.int64,
            "original_height": torch.int32,
            "original_width": torch.int32,
            "similarity": torch.float64,
            "text_embedding": torch.float16,
        }
        for at, key in enumerate(batch["key"]):
            sample = ds[seen + at]
            assert np.array_equal(ds[key]["image"], sample["image"])
            for name, value in sample.items():
                assert np.array_equal(np.asarray(batch[name][at]), value), name
        seen += size
    assert seen == len(ds)


@pytest.mark.parametrize("shuffle", [None, 5])
def test_the_order_is_the_same_whatever_the_number_of_workers(
    ds: Dataset, shuffle: int | None
) -> None:
    loaders = [
        ds.torch(8, shuffle=shuffle, columns=["key"], num_workers=num_workers)
        for num_workers in (0, 1, 3)
    ]
    first, second = ([keys(loader) for loader in loaders] for _ in range(2))
    assert first[0] == first[1] == first[2]
    assert second[0] == second[1] == second[2]
    assert len(first[0]) == len(loaders[0])
    stored = ds.table(["key"]).column("key").to_pylist()
    assert sorted(flat(first[0])) == sorted(flat(second[0])) == stored
    assert (flat(first[0]) == stored) is (shuffle is None)
    assert (first[0] == second[0]) is (shuffle is None)
    loaders[1].set_epoch(0)
    assert keys(loaders[1]) == first[0]


@pytest.mark.parametrize("drop_last", [False, True])
def test_ranks_part_the_samples(ds: Dataset, drop_last: bool) -> None:
    chosen = ds.where("similarity > 0.3")
    loaders = [
        chosen.torch(
            8,
            shuffle=5,
            columns=["key"],
            rank=rank,
            world_size=3,
            num_workers=rank,
            drop_last=drop_last,
        )
        for rank in range(3)
    ]
    read = [keys(loader) for loader in loaders]
    assert [len(batches) for batches in read] == [len(loader) for loader in loaders]
    together = flat(flat(read))
    assert len(set(together)) == len(together)
    whole = keys(chosen.torch(24, shuffle=5, columns=["key"], drop_last=drop_last))
    assert [set(flat(batches)) for batches in zip(*read, strict=True)] == list(map(set, whole))
    if drop_last:
        assert len(together) == len(chosen) - len(chosen) % 24
        assert {len(batch) for batch in flat(read)} == {8}
    else:
        assert sorted(together) == chosen.table(["key"]).column("key").to_pylist()


@pytest.mark.parametrize(("before", "after"), [(0, 2), (3, 0), (2, 3)])
def test_a_state_goes_on_exactly_under_other_workers(ds: Dataset, before: int, after: int) -> None:
    def loader(num_workers: int, **changes: Any) -> Any:
        options = {"shuffle": 9, "columns": ["key"], "num_workers": num_workers} | changes
        return ds.torch(8, **options)

    expected = loader(0)
    expected.set_epoch(1)
    whole = keys(expected)
    for steps in (0, 1, 7, len(whole)):
        interrupted = loader(before)
        interrupted.set_epoch(1)
        read = list(itertools.islice(iter(interrupted), steps))
        state = interrupted.state_dict()
        resumed = loader(after)
        resumed.load_state_dict(state)
        resumed.set_epoch(1)
        assert keys(read) + keys(resumed) == whole
        assert resumed.epoch == 2
        assert sorted(flat(keys(resumed))) == sorted(flat(whole))
    # Two ranks go on where one was.
    state = {"epoch": 1, "position": 24} | {k: state[k] for k in ("num_samples", "order")}
    ranks = [loader(after, rank=rank, world_size=2) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(state)
    assert sorted(flat(keys(ranks[0])) + flat(keys(ranks[1]))) == sorted(flat(whole[3:]))
    with pytest.raises(ConfigError, match="another order"):
        loader(0, shuffle=8).load_state_dict(state)


class Augment:
    """Crop at random, by all three sources of random numbers that transforms draw from."""

    def __call__(self, image: Image.Image) -> Any:
        assert image.mode == "RGB"
        left, top = random.randrange(100), np.random.randint(100)
        pixels = torch.from_numpy(np.array(image.crop((left, top, left + 64, top + 64))))
        return {"pixels": pixels, "noise": torch.rand(2)}


def test_transforms_run_in_workers_and_draw_the_same_for_any_of_them(ds: Dataset) -> None:
    runs = []
    for num_workers in (0, 2):
        loader = ds.torch(16, shuffle=1, decode=Augment(), num_workers=num_workers)
        torch.manual_seed(num_workers)
        random.seed(num_workers)
        np.random.seed(num_workers)
        runs.append([batch["image"] for batch in loader])
        if not num_workers:
            # The training's own random numbers are as if no transform had drawn any.
            own = random.random(), np.random.rand()
            random.seed(0)
            np.random.seed(0)
            assert own == (random.random(), np.random.rand())
        resumed = ds.torch(16, shuffle=1, decode=Augment())
        resumed.load_state_dict(loader.state_dict() | {"epoch": 0, "position": 32})
        assert torch.equal(next(iter(resumed))["image"]["noise"], runs[0][2]["noise"])
    assert runs[0][0]["pixels"].shape == (16, 64, 64, 3)
    for one, other in zip(*runs, strict=True):
        assert torch.equal(one["pixels"], other["pixels"])
        assert torch.equal(one["noise"], other["noise"])
    noise = torch.cat([batch["noise"] for batch in runs[0]])
    assert len(noise.unique()) == noise.numel()


def test_images_encoded_or_of_many_sizes(tmp_path: Path) -> None:
    samples = write_img2dataset(tmp_path, failed=0)
    ds = webpairs.open(tmp_path)
    (batch,) = ds.torch(1000, columns=["image"], decode=None)
    assert batch["image"] == [row["image"] for row in samples]
    (batch,) = ds.torch(1000, columns=["image"])
    for image, sample in zip(batch["image"], ds, strict=True):
        assert np.array_equal(image, sample["image"])
    with pytest.raises(ConfigError, match="decode 'bgr'"):
        ds.torch(8, decode="bgr")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="has no text_embedding"):
        ds.torch(8, columns=["text_embedding"])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_what_cannot_be_read_is_counted_and_ends_nothing(tmp_path: Path, num_workers: int) -> None:
    samples = write_img2dataset(tmp_path, failed=0)
    tar = tmp_path / "00001.tar"
    for row in samples[48:57]:
        broken = row["image"][:40] + bytes(len(row["image"]) - 40)
        tar.write_bytes(tar.read_bytes().replace(row["image"], broken))
    (tmp_path / "00002.tar").write_bytes(bytes(1024))
    left = [row["id"] for row in samples[:48] + samples[57:80]]
    columns = ["key", "image"]
    ds = webpairs.open(tmp_path)
    batches = keys(ds.torch(8, columns=columns, num_workers=num_workers))
    assert flat(batches) == left
    assert [len(batch) for batch in batches] == [8] * 6 + [7, 8, 8]
    assert ds.problems.counts() == {"no_image": 40, "image_broken": 9}
    assert {found.key for found in ds.problems.listed() if found.problem == "image_broken"} == {
        row["id"] for row in samples[48:57]
    }
    loader = ds.torch(7, shuffle=1, columns=columns, num_workers=num_workers, drop_last=True)
    full = keys(loader)
    assert [len(batch) for batch in full] == [7] * (120 // 7)
    assert all(len(set(batch)) == 7 for batch in full)
    assert set(flat(full)) <= set(left)
    assert len(set(flat(full))) > 65
    assert full == keys(ds.torch(7, shuffle=1, columns=columns, drop_last=True))
    with pytest.raises(DataError, match="not enough can be read"):
        next(iter(ds.torch(100, columns=columns, drop_last=True)))


def test_workers_that_are_not_forked_and_distributed_ranks(ds: Dataset) -> None:
    from torch.testing._internal.distributed.fake_pg import FakeStore

    chosen = ds.where("similarity > 0.3").select(range(40))
    spawned = chosen.torch(
        8, shuffle=2, decode=Augment(), num_workers=1, multiprocessing_context="spawn"
    )
    plain = chosen.torch(8, shuffle=2, decode=Augment())
    for one, other in zip(spawned, plain, strict=True):
        assert torch.equal(one["image"]["noise"], other["image"]["noise"])
        assert one["url"] == other["url"]
    torch.distributed.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    try:
        found = keys(chosen.torch(8, columns=["key"]))
    finally:
        torch.distributed.destroy_process_group()
    assert found == keys(chosen.torch(8, columns=["key"], rank=1, world_size=2))
    assert len(flat(found)) == 20
    with pytest.raises(ConfigError, match="give both"):
        chosen.torch(8, rank=1)
