"""The features of a sample: names, order, dtypes and meaning as on the TFDS page `laion400m`.

Whatever a source calls its columns, a sample has these names, in this order:

    images      caption image license nsfw original_height original_width similarity url
    embeddings  caption image_embedding license nsfw original_height original_width similarity
                text_embedding url

Missing values become what the page says or means: similarity -1.0, nsfw UNTAGGED, texts empty,
sizes 0; so does what cannot be meant, such as a similarity of 6016.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute  # its functions are made at run time

LABELS: Final = ("UNLIKELY", "UNSURE", "NSFW", "UNTAGGED")
"""Names of the nsfw labels; a label is an index into this. Source: TFDS `laion400m`."""
UNTAGGED: Final = LABELS.index("UNTAGGED")
MISSING_SIMILARITY: Final = -1.0
"""Source: TFDS `laion400m`."""
MISSING_SIZE: Final = 0
"""The page has no word for it; no image has a side of 0 pixels."""
MOST_SIMILARITY: Final = 1.001
"""What is beyond is not a cosine: float16 embeddings of length 1 exceed it by less than this.
LAION-400M's corrupt rows have up to 6016."""


@dataclass(frozen=True, slots=True)
class Feature:
    """Description of one feature: `shape` has None for sizes that differ between samples.

    `kind` is text, image, label, scalar or tensor; `dtype` a NumPy name, or str.
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int | None, ...]
    description: str
    labels: tuple[str, ...] = ()


_SIZE: Final = "of the image as displayed, before resizing; 0 when not known"
_FEATURES: Final = (
    Feature("caption", "text", "str", (), "HTML alt-text attribute"),
    Feature("image", "image", "uint8", (None, None, 3), "image"),
    Feature("image_embedding", "tensor", "float16", (None,), "CLIP image embedding"),
    Feature("license", "text", "str", (), "type of Creative Commons license (if applicable)"),
    Feature(
        "nsfw",
        "label",
        "int64",
        (),
        "NSFW tag (detected with CLIP). Incohesive and missing tags are replaced with UNTAGGED",
        LABELS,
    ),
    Feature("original_height", "scalar", "int32", (), f"height {_SIZE}"),
    Feature("original_width", "scalar", "int32", (), f"width {_SIZE}"),
    Feature(
        "similarity",
        "scalar",
        "float64",
        (),
        "cosine similarity score between the text and image embedding. "
        "Missing values default to -1.0",
    ),
    Feature("text_embedding", "tensor", "float16", (None,), "CLIP text embedding"),
    Feature("url", "text", "str", (), "image URL"),
)
FEATURES: Final = {feature.name: feature for feature in _FEATURES}
"""Every feature by its name, in the page's order, which is that of the alphabet."""

TABULAR: Final = tuple(
    name for name, feature in FEATURES.items() if feature.kind not in ("image", "tensor")
)
"""The features that stand in metadata."""
EMBEDDED: Final = ("image_embedding", "text_embedding")
CONFIGS: Final = {
    "images": tuple(name for name in FEATURES if name not in EMBEDDED),
    "embeddings": tuple(name for name in FEATURES if name != "image"),
}
"""The features of the page's two configs, in its order."""

_RAW: Final = {
    # What sources call it, the first that is there counts: img2dataset and clip-retrieval write
    # caption, url and original sizes, webpairs and LAION-400M capitals.
    "caption": ("caption", "TEXT", "text", "txt", "captions"),
    "license": ("LICENSE", "license"),
    "nsfw": ("NSFW", "nsfw"),
    "original_height": ("original_height", "HEIGHT"),
    "original_width": ("original_width", "WIDTH"),
    "similarity": ("similarity",),
    "url": ("url", "URL"),
}


def raw_name(feature: str, available: Iterable[str]) -> str | None:
    """Return which of the `available` columns of a source holds a tabular feature."""
    names = set(available)
    return next((name for name in _RAW[feature] if name in names), None)


def feature_array(
    feature: str, raw: pa.ChunkedArray | None, num_rows: int, *, label_names: bool = False
) -> pa.Array:
    """Return a tabular feature's values from the source's column, None when it has none.

    Never null. `nsfw` is int64, or its names with `label_names`.
    """
    if feature == "nsfw":
        return _labels(raw, num_rows, names=label_names)
    if FEATURES[feature].kind == "text":
        texts = strings(_first_texts(raw), num_rows).fill_null("")
        if feature == "license":  # LAION's mark for none
            texts = pc.if_else(pc.equal(texts, "?"), "", texts)
        return texts
    if feature == "similarity":
        values = numbers(raw, num_rows)
        believable = np.abs(values) <= MOST_SIMILARITY  # False for NaN
        return pa.array(np.where(believable, values, MISSING_SIMILARITY))
    sizes = numbers(raw, num_rows)
    known = (sizes >= 0) & (sizes <= np.iinfo(np.int32).max)
    return pa.array(np.where(known, sizes, MISSING_SIZE).astype(np.int32))


def raw_needed(names: Iterable[str], available: Sequence[str]) -> list[str]:
    """Return which of a source's `available` columns the columns `names` are made from."""
    raw = (raw_name(name, available) if name in TABULAR else name for name in names)
    return list(dict.fromkeys(name for name in raw if name is not None))


def table_of(names: Iterable[str], raw: pa.Table, *, label_names: bool = False) -> pa.Table:
    """Return the columns `names`, features under the page's names and others as they are."""
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for name in names:
        if name in TABULAR:
            there = raw_name(name, raw.column_names)
            column = None if there is None else raw.column(there)
            columns[name] = feature_array(name, column, raw.num_rows, label_names=label_names)
        else:
            columns[name] = raw.column(name)
    return pa.table(columns)


def corrupt_rows(raw: pa.Table) -> npt.NDArray[np.bool_]:
    """Tell rows whose values cannot be meant so: LAION-400M's, whose columns had slipped.

    Source: `|` in unescaped texts moved what follows by a column (tags outside the three,
    similarities up to 6016, no URL).
    """
    names, num_rows = raw.column_names, raw.num_rows
    corrupt = np.zeros(num_rows, np.bool_)
    if (name := raw_name("nsfw", names)) is not None:
        tags = strings(raw.column(name), num_rows)
        known = pc.or_(pc.is_in(tags, pa.array([*LABELS, ""])), tags.is_null())
        corrupt |= ~known.to_numpy(zero_copy_only=False)
    if (name := raw_name("similarity", names)) is not None:
        corrupt |= np.abs(numbers(raw.column(name), num_rows)) > MOST_SIMILARITY
    for size in ("original_height", "original_width"):
        if (name := raw_name(size, names)) is not None:
            corrupt |= numbers(raw.column(name), num_rows) < 0
    if (name := raw_name("url", names)) is not None:
        corrupt |= raw.column(name).is_null().to_numpy()
    return corrupt


def strings(raw: pa.ChunkedArray | pa.Array | None, num_rows: int) -> pa.StringArray:
    """Return a column as text, null where it is; bytes that are not UTF-8 are replaced."""
    if raw is None:
        return pa.nulls(num_rows, pa.string())
    array = one_array(raw)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_string(array.type):
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            return _replace_broken(array)
        return array
    if pa.types.is_binary(array.type) or pa.types.is_large_string(array.type):
        return _replace_broken(array)
    if pa.types.is_floating(array.type):
        array = pc.if_else(pc.is_nan(array), None, array)  # pandas's word for null
    if pa.types.is_nested(array.type):
        return pa.array([None if one is None else str(one) for one in array.to_pylist()])
    return array.cast(pa.string())


def _first_texts(raw: pa.ChunkedArray | None) -> pa.ChunkedArray | pa.Array | None:
    """Return the first text of each list where a column holds lists of texts, else the column."""
    if raw is None or not (pa.types.is_list(raw.type) or pa.types.is_large_list(raw.type)):
        return raw
    lists: list[list[Any] | None] = raw.to_pylist()
    firsts = (
        next((one for one in held or () if isinstance(one, str) and one), "") for held in lists
    )
    return pa.array(firsts, pa.string())


def numbers(raw: pa.ChunkedArray | None, num_rows: int) -> npt.NDArray[np.float64]:
    """Return a column as numbers, NaN where it has none: also of texts, as CSV leaves them."""
    if raw is None:
        return np.full(num_rows, np.nan)
    array = one_array(raw)
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        text = pc.utf8_trim_whitespace(array)
        is_number = pc.match_substring_regex(text, r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
        array = pc.if_else(is_number, text, None)
    try:
        return array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return np.full(num_rows, np.nan)


def one_array(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """Return a column's values in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.combine_chunks()


def _labels(raw: pa.ChunkedArray | None, num_rows: int, *, names: bool) -> pa.Array:
    values = pa.array(LABELS)
    index = pc.index_in(strings(raw, num_rows), value_set=values).fill_null(UNTAGGED)
    return values.take(index) if names else index.cast(pa.int64())


def _replace_broken(array: pa.Array) -> pa.StringArray:
    binary = pa.large_binary() if pa.types.is_large_string(array.type) else pa.binary()
    pieces: Sequence[Any] = array.cast(binary).to_pylist()
    return pa.array(
        [None if one is None else one.decode(errors="replace") for one in pieces], pa.string()
    )
