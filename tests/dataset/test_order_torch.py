"""What a training reads, and when, without torch: orders, shares of ranks, states, gathering."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.foreign_folders import write_img2dataset

import webpairs
from webpairs.dataset.order import WINDOW_SHARDS, Epochs, Order, Share, Span
from webpairs.dataset.torch_loader import gather
from webpairs.errors import ConfigError

shards = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60)
seeds = st.one_of(st.none(), st.integers())


def located(order: Order, epoch: int, start: int, stop: int) -> list[tuple[int, int]]:
    places, rows = order.locate(epoch, start, stop)
    return list(zip(places.tolist(), rows.tolist(), strict=True))


def order_of(shards: list[tuple[int, int]], shuffle: int | None, window: int = 50) -> Order:
    """Return an order of shards of which as many rows are chosen, and others are not."""
    counts = [chosen for chosen, _ in shards]
    return Order(counts, [chosen + others for chosen, others in shards], shuffle, window)


@settings(deadline=None)
@given(shards, seeds, st.integers(1, 200), st.integers(0, 3), st.data())
def test_an_epoch_has_every_sample_once_whatever_part_is_asked_for(
    shards: list[tuple[int, int]], seed: int | None, window: int, epoch: int, data: st.DataObject
) -> None:
    order = order_of(shards, seed, window)
    num = order.num_samples
    everything = [(place, row) for place, (count, _) in enumerate(shards) for row in range(count)]
    found = located(order, epoch, 0, num)
    assert sorted(found) == everything
    if seed is None:
        assert found == everything
    start = data.draw(st.integers(0, num))
    stop = data.draw(st.integers(start, num))
    assert located(order_of(shards, seed, window), epoch, start, stop) == found[start:stop]


@settings(deadline=None)
@given(shards, st.integers(), st.integers(1, 200), st.integers(0, 3))
def test_few_shards_are_read_at_a_time(
    shards: list[tuple[int, int]], seed: int, window: int, epoch: int
) -> None:
    order = order_of(shards, seed, window)
    found = np.array(located(order, epoch, 0, order.num_samples)).reshape(-1, 2)
    extents = {
        place: (np.flatnonzero(found[:, 0] == place)[[0, -1]].tolist())
        for place in set(found[:, 0].tolist())
    }
    for position in range(order.num_samples):
        here = [place for place, (first, last) in extents.items() if first <= position <= last]
        assert len(here) <= WINDOW_SHARDS
        assert len(here) == 1 or sum(sum(shards[place]) for place in here) <= window


def test_it_shuffles() -> None:
    order = Order([100] * 50, [100] * 50, 7, 1000)
    first, again, second = (located(order, epoch, 0, 5000) for epoch in (0, 0, 1))
    other = located(Order([100] * 50, [100] * 50, 8, 1000), 0, 0, 5000)
    assert first == again
    for one, another in ((first, second), (first, other), (second, other)):
        assert sum(a == b for a, b in zip(one, another, strict=True)) < 10
    numbers = np.array([100 * place + row for place, row in first])
    assert (np.abs(np.diff(numbers)) < 10).mean() < 0.05
    assert len({place for place, _ in first[:100]}) == 10
    assert [place for place, _ in first[:1000]] != sorted(place for place, _ in first[:1000])
    windows = [{place for place, _ in first[at : at + 1000]} for at in range(0, 5000, 1000)]
    assert sorted(place for window in windows for place in window) == list(range(50))
    assert max(max(window) - min(window) for window in windows) > 30


shares = st.tuples(st.integers(1, 9), st.integers(1, 5), st.booleans())


@settings(deadline=None)
@given(st.integers(0, 100), shares, st.data())
def test_ranks_part_an_epoch(num: int, share: tuple[int, int, bool], data: st.DataObject) -> None:
    batch_size, world_size, drop_last = share
    begin = data.draw(st.integers(0, num))
    ranks = [Share(batch_size, rank, world_size, drop_last) for rank in range(world_size)]
    spans = [list(rank.spans(3, begin, num)) for rank in ranks]
    read = sorted(at for mine in spans for one in mine for at in range(one.start, one.stop))
    together = batch_size * world_size
    end = num - (num - begin) % together if drop_last else num
    assert read == list(range(begin, end))
    sizes = [[one.stop - one.start for one in mine] for mine in spans]
    if drop_last:
        assert sizes == [[batch_size] * ((num - begin) // together)] * world_size
    for mine, own in zip(sizes, ranks, strict=True):
        assert all(size == batch_size for size in mine[:-1])
        assert abs(sum(mine) - sum(sizes[0])) <= 1
        if begin == 0:
            assert len(mine) == own.num_batches(num)
    for at in range(min(map(len, spans))):  # all of them are as far after as many batches
        assert len({mine[at].end for mine in spans}) == 1


@settings(deadline=None)
@given(shards, seeds, shares, shares, st.data())
def test_a_state_goes_on_exactly_with_other_ranks_and_batches(
    shards: list[tuple[int, int]],
    seed: int | None,
    before: tuple[int, int, bool],
    after: tuple[int, int, bool],
    data: st.DataObject,
) -> None:
    order = order_of(shards, seed)
    everything = located(order, 2, 0, order.num_samples)
    states, read = [], []
    for rank in range(before[1]):
        epochs = Epochs(order, Share(before[0], rank, before[1], before[2]))
        epochs.set_epoch(2)
        epochs.begin()
        spans = list(epochs)  # workers read ahead of what is handed out
        if rank == 0:
            steps = data.draw(st.integers(0, len(spans)))
        for span in spans[:steps]:
            read += located(order, span.epoch, span.start, span.stop)
            epochs.reached(span)
        states.append(epochs.state_dict())
    if steps and steps == order.num_samples // (before[0] * before[1]) + 1:
        states = states[:1]  # a rank had nothing of the last batch
    assert all(state == states[0] for state in states)
    for rank in range(after[1]):
        epochs = Epochs(order_of(shards, seed), Share(after[0], rank, after[1], after[2]))
        epochs.load_state_dict(states[0])
        assert epochs.epoch == 2
        epochs.begin()
        for span in epochs:
            read += located(order, span.epoch, span.start, span.stop)
    assert len(set(read)) == len(read)
    if after[2]:
        left_out = (len(everything) - int(states[0]["position"])) % (after[0] * after[1])
        assert sorted(read) == sorted(everything[: len(everything) - left_out])
    else:
        assert sorted(read) == sorted(everything)


def positions(epochs: Epochs, num: int | None = None) -> list[Span]:
    """Hand out `num` batches, or all and finish the epoch."""
    spans = []
    epochs.begin()
    for span in epochs:
        if len(spans) == num:
            return spans
        spans.append(span)
        epochs.reached(span)
    epochs.finish()
    return spans


def test_epochs_follow_each_other_and_states_say_where() -> None:
    order = Order([10], [10], 1)
    epochs = Epochs(order, Share(4))
    assert len(epochs) == 3
    assert [span[:3] for span in positions(epochs)] == [(0, 0, 4), (0, 4, 8), (0, 8, 10)]
    assert (epochs.epoch, epochs.state_dict()["position"]) == (1, 0)
    assert [span[:3] for span in positions(epochs, 2)] == [(1, 0, 4), (1, 4, 8)]
    state = epochs.state_dict()
    assert (state["epoch"], state["position"]) == (1, 8)
    # Who breaks off and iterates again starts the epoch anew; so it was with set_epoch.
    epochs.set_epoch(1)
    assert [span.start for span in positions(epochs, 1)] == [0]

    again = Epochs(order, Share(4))
    again.load_state_dict(state)
    again.set_epoch(1)  # what a training's loop says also of the epoch it goes on with
    assert [span[:3] for span in positions(again)] == [(1, 8, 10)]
    assert [span.start for span in positions(again)] == [0, 4, 8]
    again.set_epoch(0)
    assert positions(again)[0][:2] == (0, 0)

    again.load_state_dict(state | {"position": 10})  # saved after the last batch, in the loop
    assert positions(again) == []
    assert again.epoch == 2
    again.load_state_dict(state)
    again.set_epoch(5)
    assert positions(again, 1)[0][:2] == (5, 0)


def test_a_state_of_another_order_is_refused() -> None:
    state = Epochs(Order([10, 5], [10, 5], 1, 100), Share(4)).state_dict()
    for other in (
        Order([10, 6], [10, 6], 1, 100),
        Order([5, 10], [5, 10], 1, 100),
        Order([10, 5], [10, 9], 1, 100),
        Order([10, 5], [10, 5], 2, 100),
        Order([10, 5], [10, 5], None, 100),
        Order([10, 5], [10, 5], 1, 99),
    ):
        with pytest.raises(ConfigError, match="the state is of another order"):
            Epochs(other, Share(4)).load_state_dict(state)
    with pytest.raises(ConfigError, match=r"no state of a loader: \['epoch'\]"):
        Epochs(Order([1], [1], 1), Share(1)).load_state_dict({"epoch": 0})


def test_wrong_options_are_named() -> None:
    for options, message in (
        ((0,), "batch_size 0: use 1 or more"),
        ((1, 2, 2), "rank 2 of 2"),
        ((1, -1, 2), "rank -1 of 2"),
        ((1, 0, 0), "rank 0 of 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            Share(*options)
    with pytest.raises(ConfigError, match="shuffle True: use a seed"):
        Order([1], [1], True)
    with pytest.raises(ConfigError, match="window 0"):
        Order([1], [1], 1, 0)


def test_without_torch_the_error_says_what_to_install(
    loose_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ConfigError, match=r"pip install 'webpairs\[torch\]'"):
        webpairs.open(loose_run).torch(8)


NAMES = ("key", "caption", "image", "similarity", "text_embedding", "WIDTH", "NSFW")


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_gathering_reads_what_is_asked_for_in_that_order(
    loose_run: Path, data: st.DataObject
) -> None:
    ds = webpairs.open(loose_run)
    if data.draw(st.booleans()):
        ds = ds.where("similarity > 0.3")
    if data.draw(st.booleans()):
        ds = ds.select(range(1, len(ds), 2))
    counts = [ds.view.count(place, ds.shard) for place in range(len(ds.source.names))]
    ends = np.cumsum(counts)
    numbers = data.draw(st.lists(st.integers(0, len(ds) - 1), unique=True, min_size=1, max_size=40))
    places = np.searchsorted(ends, numbers, "right")
    rows = np.array(numbers) - (ends - counts)[places]
    gathered = gather(ds, NAMES, places, rows)
    columns, num = gathered.columns, len(gathered.rows)
    assert (num, list(columns)) == (len(numbers), list(NAMES))
    assert columns["similarity"].dtype == np.float64
    assert columns["text_embedding"].shape == (num, 512)
    for at, number in enumerate(numbers):
        sample = ds.sample(number, decode=None)
        assert columns["caption"][at] == sample["caption"]
        assert columns["WIDTH"][at] == sample["original_width"]
        assert np.array_equal(columns["text_embedding"][at], sample["text_embedding"])
        assert columns["image"][at] == sample["image"]
        assert ds[columns["key"][at]]["url"] == sample["url"]
        shard = ds.shard(gathered.places[at])
        assert shard.image(gathered.rows[at]) == sample["image"]
    assert ds.problems.counts() == {}


def test_gathering_leaves_out_and_counts_what_is_not_there(tmp_path: Path) -> None:
    samples = write_img2dataset(tmp_path, num_shards=2, failed=0)
    (tmp_path / "00001.tar").write_bytes(bytes(1024))
    ds = webpairs.open(tmp_path)
    wanted = np.array([50, 1, 3, 79, 0])
    found = gather(ds, ("image",), wanted // 40, wanted % 40)
    assert found.columns == {"image": [samples[row]["image"] for row in (1, 3, 0)]}
    assert (found.places.tolist(), found.rows.tolist()) == ([0, 0, 0], [1, 3, 0])
    assert ds.problems.counts() == {"no_image": 2}
    nothing = gather(ds, ("key", "image"), np.array([1]), np.array([3]))
    assert (nothing.columns, len(nothing.rows)) == ({}, 0)
