"""The order in which a training meets samples, and which of them each rank gets.

The order of an epoch is a pure function of the seed, the epoch and how many samples each shard
has; so whoever reads, in however many processes, can work out any part of it alone. It shuffles in
two steps, so that few shards are open at a time: shards are permuted, and the samples of so many
shards as make a window, one after the other in that order, are permuted as a whole. Nothing is
listed but shards.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from webpairs.errors import ConfigError

Numbers = npt.NDArray[np.int64]

WINDOW_ROWS: Final = 100_000
"""Rows of the shards that are mixed with each other: 30 MB of captions, URLs and the rest."""
WINDOW_SHARDS: Final = 32
"""Shards that are mixed at most: half of those that stay open (`open_shards.MAX_SHARDS`)."""
_PROBED: Final = 64


class Span(NamedTuple):
    """A batch: positions `start` to `stop` of an epoch's order.

    `end` is how far all ranks together have come when each has its batch.
    """

    epoch: int
    start: int
    stop: int
    end: int


@dataclass(frozen=True, slots=True)
class Share:
    """Cutting an order into batches, of which rank `rank` of `world_size` gets its part.

    Of every `world_size * batch_size` samples in order each rank gets `batch_size` neighbours. What
    is left at the end is left out with `drop_last`, so that all ranks have as many full batches;
    without, it is parted as evenly as it goes, and a rank may have a batch less than others.
    """

    batch_size: int
    rank: int = 0
    world_size: int = 1
    drop_last: bool = False

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ConfigError(f"batch_size {self.batch_size}: use 1 or more")
        if not 0 <= self.rank < self.world_size:
            raise ConfigError(
                f"rank {self.rank} of {self.world_size}: ranks are 0 to world_size - 1"
            )

    def spans(self, epoch: int, position: int, num_samples: int) -> Iterator[Span]:
        """Yield this rank's batches of an epoch from `position` on."""
        together = self.batch_size * self.world_size
        while position < num_samples:
            size = min(together, num_samples - position)
            if size < together and self.drop_last:
                return
            start = position + size * self.rank // self.world_size
            stop = position + size * (self.rank + 1) // self.world_size
            position += size
            if stop > start:
                yield Span(epoch, start, stop, position)

    def num_batches(self, num_samples: int) -> int:
        """Return how many batches `spans` yields of an epoch from its start."""
        full, rest = divmod(num_samples, self.batch_size * self.world_size)
        mine = rest * (self.rank + 1) // self.world_size - rest * self.rank // self.world_size
        return full + (mine > 0 and not self.drop_last)


class Order:
    """Find the samples at positions of an epoch: shards by their place, rows among the chosen."""

    def __init__(
        self,
        counts: Sequence[int] | Numbers,
        num_rows: Sequence[int] | Numbers,
        shuffle: int | None,
        window: int = WINDOW_ROWS,
    ) -> None:
        """`counts` are the samples of each shard, `num_rows` the rows that it has with others.

        Without a seed to `shuffle` by, samples come as they stand.
        """
        if isinstance(shuffle, bool):
            raise ConfigError(f"shuffle {shuffle}: use a seed, such as 1, or None for no shuffling")
        if window < 1:
            raise ConfigError(f"window {window}: use 1 row or more")
        self.shuffle = shuffle
        self.window = window
        self._counts = np.asarray(counts, np.int64)
        self._num_rows = np.asarray(num_rows, np.int64)
        self._layout: _Layout | None = None
        self.num_samples = int(self._counts.sum())

    def locate(self, epoch: int, start: int, stop: int) -> tuple[Numbers, Numbers]:
        """Return the shards of the samples at positions `start` to `stop`, and their rows there."""
        layout = self._layout
        if layout is None or layout.epoch != epoch:
            layout = self._layout = self._lay_out(epoch)
        positions = np.arange(start, stop)
        if self.shuffle is not None:
            window = int(np.searchsorted(layout.windows, start, "right")) - 1
            while start < stop:
                first, last = layout.windows[window : window + 2].tolist()
                here = positions[start - stop :][: last - start]
                mixed = Permutation(last - first, self.seed(epoch, window))
                here[:] = first + mixed(here - first)
                start, window = last, window + 1
        which = np.searchsorted(layout.starts, positions, "right") - 1
        return layout.places[which], positions - layout.starts[which]

    @cached_property
    def fingerprint(self) -> str:
        """Return what differs between orders: of other samples, seeds, windows or permutations."""
        probe = self.locate(0, 0, min(self.num_samples, _PROBED))
        digest = hashlib.blake2b(digest_size=8)
        for part in (self._counts, self._num_rows, *probe):
            digest.update(part.tobytes())
        digest.update(f"{self.shuffle} {self.window}".encode())
        return digest.hexdigest()

    def seed(self, *parts: object) -> int:
        """Return 64 bits for what has to be drawn at random: others for other seeds and parts."""
        text = " ".join(map(str, (self.shuffle, *parts)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())

    def _lay_out(self, epoch: int) -> _Layout:
        places = np.flatnonzero(self._counts)
        if self.shuffle is not None:
            mixed = Permutation(len(places), self.seed(epoch, "shards"))
            places = places[mixed(np.arange(len(places)))]
        starts = np.concatenate(([0], np.cumsum(self._counts[places])))
        firsts: list[int] = []
        num_rows = 0
        for number, rows in enumerate(self._num_rows[places].tolist()):
            num_rows += rows
            if not firsts or num_rows > self.window or number - firsts[-1] == WINDOW_SHARDS:
                firsts.append(number)
                num_rows = rows
        return _Layout(epoch, places, starts, starts[[*firsts, len(places)]])


@dataclass(frozen=True, slots=True)
class _Layout:
    """The order of an epoch's shards: `places` are those that have samples.

    `starts` are the positions at which they start, `windows` those at which windows do, each with
    the end of the last one.
    """

    epoch: int
    places: Numbers
    starts: Numbers
    windows: Numbers


class Epochs:
    """Passes through an order, epoch after epoch, and the state to go on from at any time."""

    def __init__(self, order: Order, share: Share) -> None:
        self._order = order
        self._share = share
        self._start = 0
        self._position = 0
        self.epoch = 0
        """The epoch that is being read, or the next one."""

    def begin(self) -> None:
        """Start where a state that was loaded says, once, else at the epoch's start."""
        self._position, self._start = self._start, 0

    def __iter__(self) -> Iterator[Span]:
        """Yield this rank's batches that are left of the epoch.

        A loader that prefetches must call `reached(span)` when it yields a batch.
        """
        return self._share.spans(self.epoch, self._position, self._order.num_samples)

    def __len__(self) -> int:
        """Return how many batches a whole epoch has for this rank."""
        return self._share.num_batches(self._order.num_samples)

    def reached(self, span: Span) -> None:
        """Note that a batch was handed out."""
        self._position = span.end

    def finish(self) -> None:
        """Go on to the next epoch."""
        self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Read `epoch` next, from its start; nothing changes when that is where it is already."""
        if epoch != self.epoch:
            self.epoch = epoch
            self._start = self._position = 0

    def state_dict(self) -> dict[str, int | str]:
        """Return where all ranks together are: the same on each of them."""
        return {
            "epoch": self.epoch,
            "position": self._position,
            "num_samples": self._order.num_samples,
            "order": self._order.fingerprint,
        }

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        """Go on where a state says, be it with other workers, ranks or sizes of batches.

        Raises ConfigError when it is the state of another order.
        """
        own = self.state_dict()
        if state.keys() != own.keys():
            raise ConfigError(f"no state of a loader: {sorted(state)} instead of {sorted(own)}")
        if (state["num_samples"], state["order"]) != (own["num_samples"], own["order"]):
            raise ConfigError(
                f"the state is of another order ({state['num_samples']} samples, here are "
                f"{own['num_samples']}): open the same samples with the same shuffle and window"
            )
        self.epoch = int(state["epoch"])
        self._start = self._position = int(state["position"])


Numbers = npt.NDArray[np.int64]
_ROUNDS: Final = 6
"""Four rounds of a Feistel network are a strong pseudo-random permutation (Luby and Rackoff 1988)
where the round function is random; two more, since ours is a hash."""
_GOLDEN: Final = 0x9E3779B97F4A7C15
"""Step of SplitMix64 (Steele, Lea, Flood 2014), whose finaliser is the round function."""


class Permutation:
    """Map positions to the numbers 0..n-1, each to another one, in an order that `seed` decides.

    A Feistel network over the least even number of bits that hold n; what falls outside is put
    through it again until it falls inside (cycle walking, Black and Rogaway 2002): less than four
    times on average. Depends on `num`, `seed` and nothing else.
    """

    def __init__(self, num: int, seed: int) -> None:
        self.num = num
        half_bits = max(1, (max(num - 1, 1).bit_length() + 1) // 2)
        self._half_bits = np.uint64(half_bits)
        self._mask = np.uint64((1 << half_bits) - 1)
        state = _mixed(np.array([seed % 2**64], np.uint64))[0]
        steps = np.arange(1, _ROUNDS + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        self._keys = _mixed(state ^ steps)

    def __call__(self, positions: Numbers) -> Numbers:
        """Return the numbers at `positions`, all of them in 0..n-1."""
        numbers = self._once(positions.astype(np.uint64))
        outside = np.flatnonzero(numbers >= self.num)
        while len(outside):
            numbers[outside] = self._once(numbers[outside])
            outside = outside[numbers[outside] >= self.num]
        return numbers.astype(np.int64)

    def _once(self, numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = numbers >> self._half_bits, numbers & self._mask
        for key in self._keys:
            left, right = right, left ^ (_mixed(right ^ key) & self._mask)
        return (left << self._half_bits) | right


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Return SplitMix64's finaliser of each number."""
    mixed = numbers + np.uint64(_GOLDEN)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
