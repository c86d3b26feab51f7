"""Datasets of any origin: samples by row, by key, in order, in batches.

    ds = webpairs.open("DIR")
    ds[17]["caption"]; ds["000010023"]["image"]
    for sample in ds.where("similarity > 0.32 and nsfw = 'UNLIKELY'").images(): ...

Shards are opened when they are needed, the last ones stay open; a dataset pickles as paths.
Samples that cannot be read are left out and counted in `problems`.
"""

from __future__ import annotations

import operator
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from webpairs.dataset.columns import Columns, Piece, join, of_piece, pick, span
from webpairs.dataset.features import CONFIGS, EMBEDDED, FEATURES, TABULAR, Feature
from webpairs.dataset.open_shards import OpenShards
from webpairs.dataset.order import WINDOW_ROWS, Order
from webpairs.dataset.problems import Problem, Problems
from webpairs.dataset.sources.joined import JoinedEmbeddings
from webpairs.dataset.sources.recognise import recognise
from webpairs.dataset.sources.source import PIECE_ROWS, Rows, Shard, Source, take
from webpairs.dataset.view import AllRows, PickedRows, View, WhereRows
from webpairs.dataset.where import check, parse
from webpairs.drops import Drop
from webpairs.errors import ConfigError, DamagedFile, DataError
from webpairs.quantities import counted

if TYPE_CHECKING:
    from PIL.Image import Image

    from webpairs.dataset.torch_loader import TorchLoader

Sample = dict[str, Any]
Decode = Literal["rgb"] | None
"""How images are handed out: pixels, or the encoded bytes."""

IMAGE_PIECE_ROWS: Final = 128
"""Images that are read ahead at a time: 3 MB at 256 pixels."""


def open_dataset(folder: str | Path, *, embeddings: str | Path | None = None) -> Dataset:
    """Open a folder: a run folder, img2dataset's output, LAION's or clip-retrieval's folders.

    `embeddings` is another one, whose embeddings are joined to the samples by url and caption, or
    by key. Raises ConfigError, naming what was found, when it is none of them.
    """
    source = recognise(Path(folder))
    if embeddings is not None:
        source = JoinedEmbeddings(source, recognise(Path(embeddings)))
    return Dataset(AllRows(source))


class Dataset:
    """Reader of the samples of a source that a view chooses."""

    def __init__(self, view: View, shards: OpenShards | None = None) -> None:
        """`shards` are those of the dataset that this one is a part of."""
        self.view = view
        self.features: dict[str, Feature] = _features(view.source)
        """The features that the source has, in the page's order."""
        self._shards = OpenShards(view.source, tuple(self.features)) if shards is None else shards
        self._offsets: list[int] = [0]
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {"view": self.view, "shards": self._shards}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["view"], state["shards"])

    @property
    def problems(self) -> Problems:
        """Return what was found wrong so far, here and in datasets that share its source."""
        return self._shards.problems

    @property
    def source(self) -> Source:
        """Return what the samples are read from."""
        return self.view.source

    @property
    def column_names(self) -> tuple[str, ...]:
        """Return every column that `table`, `batches` and `where` know."""
        own = self.source.column_names
        return tuple(dict.fromkeys((*self.features, *own)))

    def __len__(self) -> int:
        self._extend_offsets(None)
        return self._offsets[-1]

    def __repr__(self) -> str:
        source = self.source
        return f"<Dataset: {source.kind} {source.folder}, {counted(len(source.names), 'shard')}>"

    def __getitem__(self, which: int | str) -> Sample:
        """Return a sample by its row or its key, its image decoded, with all features there are."""
        return self.sample(which)

    def __iter__(self) -> Iterator[Sample]:
        """Yield every sample with all features there are, images decoded."""
        return self._samples(tuple(self.features), "rgb")

    def sample(self, which: int | str, *, decode: Decode = "rgb") -> Sample:
        """Return a sample by its row or its key; with `decode` None the image is encoded bytes.

        Raises IndexError or KeyError when there is none, DataError when it cannot be read.
        """
        place, row = self._by_key(which) if isinstance(which, str) else self._by_row(which)
        opened = self._shards.opened(place)
        if row >= opened.shard.num_rows:
            raise DataError(Drop.NOT_AN_IMAGE, f"{opened.shard.name} has fewer rows than it says")
        try:
            sample = opened.records.read(row)
        except DamagedFile as error:
            raise DataError(Drop.NOT_AN_IMAGE, str(error)) from error
        if "image" in sample:
            image = opened.shard.image(row)
            if image is None:
                raise DataError(Drop.NOT_AN_IMAGE, f"sample {which} has no image")
            sample["image"] = _decode_rgb(image) if decode else image
        return sample

    def images(self, *, decode: Decode = "rgb") -> Iterator[Sample]:
        """Yield samples with the features of the page's config `images`.

        `image` is (height, width, 3) uint8; with `decode` None it is the encoded bytes.
        """
        self._need("image")
        return self._samples(CONFIGS["images"], decode)

    def embeddings(self) -> Iterator[Sample]:
        """Yield samples with the features of the page's config `embeddings`."""
        self._need(*EMBEDDED)
        return self._samples(CONFIGS["embeddings"], None)

    def batches(
        self, size: int, *, columns: Sequence[str] | None = None, decode: Decode = "rgb"
    ) -> Iterator[dict[str, Any]]:
        """Yield `size` samples at a time, the last time fewer, as a dict of columns.

        `columns` are names of features and of metadata columns; by default all features. Numbers
        and embeddings come as arrays (n,) and (n, d), all else as lists of n.
        """
        if size < 1:
            raise ConfigError(f"batches of {size}: use 1 or more")
        names = tuple(self.features) if columns is None else tuple(columns)
        self._need(*names)
        return self._batches(size, names, decode)

    def torch(
        self,
        batch_size: int,
        *,
        shuffle: int | None = None,
        columns: Sequence[str] | None = None,
        decode: Decode | Callable[[Image], Any] = "rgb",
        rank: int | None = None,
        world_size: int | None = None,
        num_workers: int = 0,
        drop_last: bool = False,
        window: int = WINDOW_ROWS,
        **options: Any,
    ) -> TorchLoader:
        """Return an iterable of batches for PyTorch, resumable by its `state_dict`.

        Each epoch has every sample once over all ranks.

        batch_size: samples of a batch
        columns: names as in `batches`; None: all features
        decode: "rgb" gives (n, h, w, 3) uint8, or a list of (h, w, 3) where sizes differ; None
            gives the encoded bytes; a callable gets a Pillow image in mode RGB, and what it returns
            is collated by torch's `default_collate`
        shuffle: seed of the order, other in each epoch; None: the dataset's own order
        drop_last: give all ranks the same number of batches, all of them full; the last samples
            are left out, and unreadable samples are replaced by later ones
        rank, world_size: by default those of `torch.distributed`
        window: rows that are mixed at a time
        options: those of torch's DataLoader, such as `pin_memory`
        """
        from webpairs.dataset.torch_loader import TorchLoader, share_of

        names = tuple(self.features) if columns is None else tuple(columns)
        self._need(*names)
        share = share_of(batch_size, rank, world_size, drop_last=drop_last)
        self._extend_offsets(None)
        num_rows = [self.source.num_rows(place) for place in range(len(self.source.names))]
        order = Order(np.diff(self._offsets), num_rows, shuffle, window)
        return TorchLoader(self, order, share, names, decode, num_workers, options)

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Return columns of metadata of all samples at once, in memory."""
        names = [name for name in columns if name in TABULAR or name not in FEATURES]
        if len(names) < len(columns):
            raise ConfigError(f"table of {list(columns)}: images and embeddings are in batches()")
        self._need(*names)
        tables = [piece.table for piece in self.pieces(names)]
        if not tables:
            return pa.table({name: pa.array([], pa.null()) for name in names})
        return pa.concat_tables(tables, promote_options="permissive")

    def where(self, expression: str) -> Dataset:
        """Return the samples for which a SQL expression over `column_names` is true.

        Nothing is copied, and nothing is read of samples that do not match but the columns of the
        expression. Raises ConfigError that says what is wrong with the expression.
        """
        checked = parse(expression, self.source.column_names)
        for place in range(len(self.source.names)):
            shard = self.shard(place)
            if shard.num_rows:
                check(checked, shard)
                break
        return Dataset(WhereRows(self.view, checked), self._shards)

    def select(self, rows: Sequence[int] | Rows) -> Dataset:
        """Return the samples at these rows of this dataset, which have to be rising."""
        picked = np.asarray(rows, np.int64)
        if len(picked) and (
            picked[0] < 0 or picked[-1] >= len(self) or (np.diff(picked) < 1).any()
        ):
            raise ConfigError(f"select: rows have to rise from 0 to less than {len(self)}")
        return Dataset(PickedRows(self.view, np.array(self._offsets), picked), self._shards)

    def pieces(
        self,
        columns: Sequence[str],
        *,
        images: bool = False,
        embeddings: bool = False,
        num_rows: int | None = None,
        places: Sequence[int] | None = None,
    ) -> Iterator[Piece]:
        """Yield the samples in order, at most `num_rows` at a time, never across shards.

        `columns` are tabular features and metadata columns; `places` are the shards to read, by
        default all, in order. Samples without an image or embeddings that are asked for are left
        out. What a piece has mapped of a file is let go of when the next is asked for.
        """
        if num_rows is None:
            num_rows = IMAGE_PIECE_ROWS if images else PIECE_ROWS
        for place in range(len(self.source.names)) if places is None else places:
            try:
                rows = self.view.rows(place, self.shard)
                if rows is not None and not len(rows):
                    continue
                shard = self.shard(place)
                for part, table in shard.stream(columns, rows, num_rows):
                    piece = self._piece(place, shard, part, table, images, embeddings)
                    if piece is not None:
                        yield piece
                    if images or embeddings:
                        shard.release(part)
            except DamagedFile as error:  # its footer was whole, the pages are not
                name = self.source.names[place]
                self.problems.of_shard(Problem.SHARD_UNREADABLE, name, str(error))

    def piece(
        self,
        place: int,
        rows: Rows,
        columns: Sequence[str],
        *,
        images: bool = False,
        embeddings: bool = False,
    ) -> Piece | None:
        """Return rising `rows` of one shard as `pieces` does; None when none of them can be read.

        What was mapped of a file is let go of: embeddings may have to be read in again.
        """
        shard = self.shard(place)
        there = rows[rows < shard.num_rows]
        if not len(there):
            return None
        table = take(shard.table(columns), there)
        piece = self._piece(place, shard, there, table, images, embeddings)
        if images or embeddings:
            shard.release(there)
        return piece

    def try_decode(self, place: int, row: int, image: bytes, decode: Callable[[bytes], Any]) -> Any:
        """Return what `decode` makes of a row's image; None, and a problem, on DataError."""
        try:
            return decode(image)
        except DataError as error:
            shard = self.shard(place)
            key = shard.table(["key"]).column("key")[row].as_py()
            self.problems.of_row(Problem.IMAGE_BROKEN, shard.name, row, key, str(error))
            return None

    def with_shards(self, shards: OpenShards) -> Dataset:
        """Return the same dataset with open shards of its own."""
        return Dataset(self.view, shards)

    def shard(self, place: int) -> Shard:
        """Return an open shard of the source by its number."""
        return self._shards.shard(place)

    def _piece(
        self,
        place: int,
        shard: Shard,
        rows: Rows,
        table: pa.Table,
        images: bool,
        embeddings: bool,
    ) -> Piece | None:
        if embeddings:
            there = shard.embedded(rows)
            if not there.all():
                self._note(Problem.NO_EMBEDDING, shard, rows[~there])
                rows, table = rows[there], _those(table, there)
        encoded: list[bytes] | None = None
        if images:
            found = shard.images(rows)
            encoded = [image for image in found if image is not None]
            if len(encoded) < len(found):
                there = np.array([image is not None for image in found])
                self._note(Problem.NO_IMAGE, shard, rows[~there])
                rows, table = rows[there], _those(table, there)
        if not len(rows):
            return None
        pair = shard.embeddings(rows) if embeddings else None
        return Piece(place, rows, table, encoded, *(pair or (None, None)))

    def _note(self, problem: Problem, shard: Shard, rows: Rows) -> None:
        keys = shard.table(["key"]).column("key").take(pa.array(rows)).to_pylist()
        for row, key in zip(rows.tolist(), keys, strict=True):
            self.problems.of_row(problem, shard.name, row, key)

    def _samples(self, names: tuple[str, ...], decode: Decode) -> Iterator[Sample]:
        tabular = [name for name in names if name in TABULAR]
        with_image, with_embeddings = "image" in names, EMBEDDED[0] in names
        for piece in self.pieces(tabular, images=with_image, embeddings=with_embeddings):
            columns: dict[str, Sequence[Any]] = {
                name: _values(piece.table.column(name)) for name in tabular
            }
            if piece.images is not None:
                columns["image"] = piece.images
            if piece.image_embeddings is not None and piece.text_embeddings is not None:
                columns["image_embedding"] = list(piece.image_embeddings)
                columns["text_embedding"] = list(piece.text_embeddings)
            rows = zip(*(columns[name] for name in names), strict=True)
            if not (with_image and decode):
                for values in rows:
                    yield dict(zip(names, values, strict=True))
                continue
            for row, values in zip(piece.rows.tolist(), rows, strict=True):
                sample = dict(zip(names, values, strict=True))
                image = self.try_decode(piece.place, row, sample["image"], _decode_rgb)
                if image is not None:
                    sample["image"] = image
                    yield sample

    def _batches(
        self, size: int, names: tuple[str, ...], decode: Decode
    ) -> Iterator[dict[str, Any]]:
        pending: list[Columns] = []
        num_pending = 0
        for columns, num in self._columns(names, decode, size):
            start = 0
            while start < num:
                end = min(num, start + size - num_pending)
                pending.append(span(columns, start, end))
                num_pending += end - start
                start = end
                if num_pending == size:
                    yield join(pending)
                    pending, num_pending = [], 0
        if pending:
            yield join(pending)

    def _columns(
        self, names: tuple[str, ...], decode: Decode, size: int
    ) -> Iterator[tuple[Columns, int]]:
        """Yield columns, and how many samples they are."""
        tabular = [name for name in names if name in TABULAR or name not in FEATURES]
        with_image = "image" in names
        with_embeddings = any(name in EMBEDDED for name in names)
        num_rows = min(size, IMAGE_PIECE_ROWS) if with_image else max(size, PIECE_ROWS)
        pieces = self.pieces(
            tabular, images=with_image, embeddings=with_embeddings, num_rows=num_rows
        )
        for piece in pieces:
            columns = of_piece(piece, names)
            num = len(piece.rows)
            if with_image and decode:
                columns["image"] = [
                    self.try_decode(piece.place, row, image, _decode_rgb)
                    for row, image in zip(piece.rows.tolist(), columns["image"], strict=True)
                ]
                good = [place for place, one in enumerate(columns["image"]) if one is not None]
                if len(good) < num:
                    columns, num = pick(columns, good), len(good)
            yield columns, num

    def _need(self, *names: str) -> None:
        """Raise ConfigError when the source lacks one of these columns."""
        known = self.column_names
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"{self.source.folder} ({self.source.kind}) has no {name}: "
                    f"there are {', '.join(known)}"
                )

    def _by_row(self, which: int) -> tuple[int, int]:
        number = operator.index(which)
        if number < 0:
            number += len(self)
        if number < 0 or not self._extend_offsets(number):
            raise IndexError(f"row {which}: the dataset has {counted(len(self), 'sample')}")
        place = bisect_right(self._offsets, number) - 1
        row = number - self._offsets[place]
        rows = self.view.rows(place, self.shard)
        return place, row if rows is None else int(rows[row])

    def _by_key(self, key: str) -> tuple[int, int]:
        for place in self.source.places_of(key):
            row = self.shard(place).row_of(key)
            if row is not None:
                rows = self.view.rows(place, self.shard)
                if rows is not None and row not in rows:
                    break
                return place, row
        raise KeyError(key)

    def _extend_offsets(self, number: int | None) -> bool:
        """Count shards until the one with row `number`, None: all; say whether it is there."""
        offsets = self._offsets
        if number is not None and number < offsets[-1]:
            return True
        with self._lock:
            while number is None or offsets[-1] <= number:
                place = len(offsets) - 1
                if place == len(self.source.names):
                    return False
                offsets.append(offsets[-1] + self.view.count(place, self.shard))
        return True


def _features(source: Source) -> dict[str, Feature]:
    """Return the features that a source has, in the page's order."""
    features = dict(FEATURES)
    if not source.has_images:
        del features["image"]
    for name in EMBEDDED:
        if source.embedding_size is None:
            del features[name]
        else:
            features[name] = replace(features[name], shape=(source.embedding_size,))
    return features


def _those(table: pa.Table, there: npt.NDArray[np.bool_]) -> pa.Table:
    # Of no columns arrow does not know the rows.
    return table.filter(pa.array(there)) if table.num_columns else table


def _decode_rgb(image: bytes) -> Any:
    from webpairs.image.decode_stored import decode_rgb

    return decode_rgb(image)


def _values(column: pa.ChunkedArray) -> Sequence[Any]:
    """Return a feature's values as its dtype says: str, or NumPy's scalars."""
    if pa.types.is_string(column.type):
        return column.to_pylist()
    return list(column.to_numpy())
