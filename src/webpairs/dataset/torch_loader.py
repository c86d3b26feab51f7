"""Feeding samples to PyTorch: in one order whatever the workers, and exactly resumable.

The order is that of `order.Order`, cut into batches in the training's process; workers of torch's
`DataLoader` read, decode and put together the batches they are told, and it hands them out in the
order in which it told. So nothing depends on which worker does what, and where a training is takes
two numbers to say.
"""

# The extra is not installed where types are checked.
# pyright: reportMissingImports=false

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.dataset.columns import Columns, join, merge, of_piece, pick
from webpairs.dataset.features import EMBEDDED, FEATURES, TABULAR
from webpairs.dataset.open_shards import OpenShards
from webpairs.dataset.order import Epochs, Order, Share, Span
from webpairs.dataset.problems import Problem, Problems
from webpairs.drops import Drop
from webpairs.errors import ConfigError, DataError
from webpairs.image.decode_stored import decode_image, decode_rgb, jpeg_size

if TYPE_CHECKING:
    from PIL import Image

    from webpairs.dataset.dataset import Dataset

CANVAS_PIXELS: Final = 340_000_000
"""1 GB: what claims to be larger than that together is not believed until it is decoded."""

Transform = Callable[["Image.Image"], Any]
_Task = tuple[int, int, bytes, Any]
"""An image to decode: shard, row there, bytes, and where its pixels are to be, if known."""


class TorchLoader:
    """Yield batches of a dataset as dicts of tensors and lists, an epoch each time it is iterated.

    Not an instance of torch's `DataLoader`, which it holds.
    """

    def __init__(
        self,
        dataset: Dataset,
        order: Order,
        share: Share,
        names: Sequence[str],
        decode: Transform | str | None,
        num_workers: int,
        options: dict[str, Any],
    ) -> None:
        """See `Dataset.torch`; `options` go to torch's DataLoader."""
        torch = _torch()
        self._problems = dataset.problems
        self._epochs = Epochs(order, share)
        if num_workers:
            options = {"persistent_workers": True} | options
        self._loader = torch.utils.data.DataLoader(
            _Batches(dataset, order, share, names, decode),
            sampler=self._epochs,
            batch_size=None,
            num_workers=num_workers,
            collate_fn=_as_it_is,
            **options,
        )

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the batches of an epoch, or what is left of it after `load_state_dict`."""
        self._epochs.begin()
        for span, batch, notes in self._loader:
            notes.add_to(self._problems)
            self._epochs.reached(span)
            if batch:
                yield batch
        self._epochs.finish()

    def __len__(self) -> int:
        """Return how many batches a whole epoch has for this rank."""
        return len(self._epochs)

    @property
    def epoch(self) -> int:
        """Return the epoch that is being read, or that the next iteration reads."""
        return self._epochs.epoch

    def set_epoch(self, epoch: int) -> None:
        """Read `epoch` next, from its start; nothing changes when that is where it is already.

        Without it every iteration reads the epoch after the one before, once that is through.
        """
        self._epochs.set_epoch(epoch)

    def state_dict(self) -> dict[str, int | str]:
        """Return where the training is: after the batch that was handed out last."""
        return self._epochs.state_dict()

    def load_state_dict(self, state: dict[str, int | str]) -> None:
        """Go on where a state says at the next iteration; the same state on all ranks.

        Workers, ranks and sizes of batches may be others. Raises ConfigError when it is of other
        samples, or of another order of them.
        """
        self._epochs.load_state_dict(state)


class _Batches:
    """Read batches by their spans, in whichever process: what torch calls a map-style dataset."""

    def __init__(
        self,
        dataset: Dataset,
        order: Order,
        share: Share,
        names: Sequence[str],
        decode: Transform | str | None,
    ) -> None:
        self._dataset = dataset
        self._order = order
        self._is_full = share.drop_last
        self._names = names
        self._transform: Transform | None = None
        self._decode: Callable[[bytes], Any] | None = None
        if callable(decode):
            self._transform, self._decode = decode, self._transformed
        elif decode == "rgb":
            self._decode = decode_rgb
        elif decode is not None:
            raise ConfigError(f"decode {decode!r}: use 'rgb', None or a function of an image")
        self._notes: _Noting | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._painted: tuple[list[Any] | None, Any] = None, None
        """Images that were decoded last, and the tensor that they are the rows of."""

    def __getitem__(self, span: Span) -> tuple[Span, dict[str, Any], Notes]:
        """Return a batch, empty when none of its samples can be read, and what a worker found."""
        if self._notes is None and _torch().utils.data.get_worker_info() is not None:
            # What the training's process has open stays its own: a fork shares too much of it.
            shards = OpenShards(self._dataset.source, tuple(self._dataset.features))
            shards.problems = self._notes = _Noting()
            self._dataset = self._dataset.with_shards(shards)
        with self._seeded(span):
            batch = self._read(span)
        images, canvas = self._painted
        if images is not None and batch.get("image") is images:
            batch["image"] = canvas
        self._painted = None, None
        batch = _tensors(batch)
        return span, batch, Notes() if self._notes is None else self._notes.taken()

    def _read(self, span: Span) -> Columns:
        """Return a batch's samples; where batches are full, later ones stand in for unreadable."""
        num_samples = self._order.num_samples
        missing = span.stop - span.start
        num_tried = 0
        parts: list[Columns] = []
        while missing and (self._is_full or not num_tried):
            if num_tried == num_samples:
                folder = self._dataset.source.folder
                raise DataError(Drop.NOT_AN_IMAGE, f"{folder}: not enough can be read for a batch")
            start = (span.start + num_tried) % num_samples
            stop = min(start + missing, start + num_samples - num_tried, num_samples)
            places, rows = self._order.locate(span.epoch, start, stop)
            gathered = gather(self._dataset, self._names, places, rows)
            columns, num = self._decoded(gathered)
            if num:
                parts.append(columns)
            missing -= num
            num_tried += stop - start
        return join(parts) if parts else {}

    def _decoded(self, gathered: Gathered) -> tuple[Columns, int]:
        """Return columns with images decoded, and of how many samples they are."""
        columns = gathered.columns
        if self._decode is None or not columns or "image" not in columns:
            return columns, len(gathered.rows)
        encoded: list[bytes] = columns["image"]
        canvas = _canvas(encoded) if self._decode is decode_rgb else None
        outs = [None] * len(encoded) if canvas is None else list(canvas.numpy())
        places, rows = gathered.places.tolist(), gathered.rows.tolist()
        images = self._decode_all(list(zip(places, rows, encoded, outs, strict=True)))
        if canvas is not None and all(map(operator.is_, images, outs)):
            self._painted = images, canvas
        good = [place for place, image in enumerate(images) if image is not None]
        columns = columns | {"image": images}
        return columns if len(good) == len(images) else pick(columns, good), len(good)

    def _decode_all(self, tasks: list[_Task]) -> list[Any]:
        """Decode with as many threads as torch has here: in a worker it has one."""
        num_threads = 1 if self._transform is not None else _torch().get_num_threads()
        if num_threads == 1:
            return self._decode_some(tasks)
        if self._threads is None:
            self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")
        size = -(-len(tasks) // num_threads)
        parts = [tasks[start : start + size] for start in range(0, len(tasks), size)]
        return [image for part in self._threads.map(self._decode_some, parts) for image in part]

    def _decode_some(self, tasks: list[_Task]) -> list[Any]:
        assert self._decode is not None
        decode = self._decode
        return [
            self._dataset.try_decode(
                place, row, image, decode if out is None else partial(decode_rgb, out=out)
            )
            for place, row, image, out in tasks
        ]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_threads": None}

    def _transformed(self, data: bytes) -> Any:
        assert self._transform is not None
        return self._transform(decode_image(data))

    @contextmanager
    def _seeded(self, span: Span) -> Generator[None]:
        """Let a transform draw the same random numbers for a batch whoever makes it, and when."""
        if self._transform is None:
            yield
            return
        generator = _torch().default_generator
        states = random.getstate(), np.random.get_state(), generator.get_state()
        seed = self._order.seed(span.epoch, "transform", span.start)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
            generator.set_state(states[2])


@dataclass(frozen=True, slots=True)
class Notes:
    """Carrying problems from a worker to the training's process."""

    of_shards: list[tuple[Problem, str, str, int]] = field(default_factory=list)
    of_rows: list[tuple[Problem, str, int, str, str]] = field(default_factory=list)

    def add_to(self, problems: Problems) -> None:
        """Note them there."""
        for shard_note in self.of_shards:
            problems.of_shard(*shard_note)
        for row_note in self.of_rows:
            problems.of_row(*row_note)


class _Noting(Problems):
    """Keeping what is noted until it is taken, instead of counting it."""

    def __init__(self) -> None:
        super().__init__()
        self._notes = Notes()

    def of_shard(self, problem: Problem, shard: str, detail: str = "", num: int = 1) -> None:
        """Keep it."""
        self._notes.of_shards.append((problem, shard, detail, num))

    def of_row(self, problem: Problem, shard: str, row: int, key: str, detail: str = "") -> None:
        """Keep it."""
        self._notes.of_rows.append((problem, shard, row, key, detail))

    def taken(self) -> Notes:
        """Return what was noted since this was asked last."""
        taken, self._notes = self._notes, Notes()
        return taken


def share_of(
    batch_size: int, rank: int | None, world_size: int | None, *, drop_last: bool
) -> Share:
    """Return a rank's share; those of `torch.distributed`, if it runs, where none are given."""
    if rank is not None and world_size is not None:
        return Share(batch_size, rank, world_size, drop_last)
    if rank is not None or world_size is not None:
        raise ConfigError(f"rank {rank} of {world_size}: give both rank and world_size, or neither")
    distributed = _torch().distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return Share(batch_size, drop_last=drop_last)
    return Share(batch_size, distributed.get_rank(), distributed.get_world_size(), drop_last)


def _tensors(batch: Columns) -> dict[str, Any]:
    """Return arrays as tensors, and what a transform gives as torch puts it together."""
    torch = _torch()
    return {name: _tensor(torch, name, column) for name, column in batch.items()}


def _canvas(images: list[bytes]) -> Any:
    """Return a tensor for the pixels of JPEGs of one size, in memory that processes share; or None.

    What a worker decodes into it need not be copied on its way to the training's process.
    """
    sizes = {jpeg_size(image) for image in images}
    size = sizes.pop()
    if sizes or size is None or len(images) * math.prod(size) > CANVAS_PIXELS:
        return None
    torch = _torch()
    shape = (len(images), *size, 3)
    if torch.utils.data.get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    # As torch's own default_collate makes it.
    storage = torch.UntypedStorage._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, shape)


def _tensor(torch: Any, name: str, column: Any) -> Any:
    if isinstance(column, torch.Tensor):
        return column
    if isinstance(column, np.ndarray):
        return torch.from_numpy(column if column.flags.writeable else column.copy())
    if name != "image" or isinstance(column[0], bytes):
        return column
    if not isinstance(column[0], np.ndarray):
        return torch.utils.data.default_collate(column)
    if len({image.shape for image in column}) > 1:
        return [torch.from_numpy(image) for image in column]
    if torch.utils.data.get_worker_info() is None:
        # torch would stack with all cores' threads, which wait for each other where others work.
        return torch.from_numpy(np.stack(column))
    return torch.utils.data.default_collate([torch.from_numpy(image) for image in column])


def _as_it_is(batch: Any) -> Any:
    return batch


def _torch() -> Any:
    try:
        import torch
        import torch.utils.data
    except ImportError as error:
        raise ConfigError(
            "loaders for PyTorch need torch (pip install 'webpairs[torch]')"
        ) from error
    return torch


Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gathered:
    """Samples in the order in which they were asked for, without those that have no image."""

    columns: Columns
    """Images are encoded; empty when there are no samples."""
    places: Numbers
    """Their shards."""
    rows: Numbers
    """Their rows there."""


def gather(dataset: Dataset, names: Sequence[str], places: Numbers, rows: Numbers) -> Gathered:
    """Read columns of the samples at `rows` of the shards `places`.

    `rows` count what the dataset chooses of a shard. What cannot be read is left out, and is in
    the dataset's problems.
    """
    tabular = [name for name in names if name in TABULAR or name not in FEATURES]
    images, embeddings = "image" in names, any(name in EMBEDDED for name in names)
    found: list[Columns] = []
    found_asked: list[Numbers] = [np.zeros(0, np.int64)]
    found_rows: list[Numbers] = [np.zeros(0, np.int64)]
    by_shard = np.lexsort((rows, places))
    for asked in np.split(by_shard, np.flatnonzero(np.diff(places[by_shard])) + 1):
        place = int(places[asked[0]])
        chosen = dataset.view.rows(place, dataset.shard)
        here = rows[asked] if chosen is None else chosen[rows[asked]]
        piece = dataset.piece(place, here, tabular, images=images, embeddings=embeddings)
        if piece is None:
            continue
        if len(piece.rows) < len(here):
            asked = asked[np.isin(here, piece.rows, assume_unique=True)]
        found.append(of_piece(piece, names))
        found_asked.append(asked)
        found_rows.append(piece.rows)
    asked = np.concatenate(found_asked)
    in_order = np.argsort(asked)
    columns = merge(found, in_order) if found else {}
    return Gathered(columns, places[asked[in_order]], np.concatenate(found_rows)[in_order])
