"""Listing the samples for which an expression is true, in the order of keys."""

from __future__ import annotations

from webpairs.dataset.bounded import LIST, bounded_rows
from webpairs.dataset.dataset import open_dataset
from webpairs.dataset.sources.source import PIECE_ROWS
from webpairs.export.columns import with_label_names
from webpairs.search.options import SearchOptions
from webpairs.search.result import Hit, SearchResult, shown_columns


def first_rows(options: SearchOptions) -> SearchResult:
    """Return the first k samples of `options.where`; no index and no model is needed.

    Reading stops with the last of them, so that the first ones of a large dataset come at once.
    """
    assert options.where is not None
    dataset = open_dataset(options.source).where(options.where)
    source = dataset.source
    columns = shown_columns(source, options)
    ids = [name for name in ("key", "uid") if name in source.column_names or name == "key"]
    hits: list[Hit] = []
    pictures: list[bytes | None] = []
    place = start = 0
    for piece in dataset.pieces([*ids, *columns], num_rows=min(options.k, PIECE_ROWS)):
        while place < piece.place:
            start += source.num_rows(place)
            place += 1
        left = options.k - len(hits)
        table = with_label_names(piece.table.slice(0, left))
        rows = bounded_rows(table, LIST.share(table.num_rows, options.k))
        for row, found in zip(piece.rows.tolist(), rows, strict=False):
            uid = found.values.get("uid")
            shown = {name: found.values[name] for name in columns}
            text = uid.hex() if isinstance(uid, bytes) else uid
            cut = tuple(name for name in columns if name in found.cut)
            hits.append(Hit(start + row, found.values["key"], text, None, shown, cut=cut))
            if options.pictures:
                shard = dataset.shard(piece.place)
                pictures.append(shard.image(row) if source.has_images else None)
        if len(hits) == options.k:
            break
    return SearchResult(tuple(hits), None, tuple(pictures))
