"""The features of a TFDS dataset: what `features.json` says of them, and how they are encoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from webpairs.dataset.features import CONFIGS, EMBEDDED, FEATURES
from webpairs.errors import ConfigError
from webpairs.export.exporter import Batch
from webpairs.export.formats.tf_example import (
    Parts,
    bytes_entries,
    floats_entries,
    integer_entries,
    raw_entries,
)

_CLASSES: Final = "tensorflow_datasets.core.features."
FEATURES_DICT: Final = _CLASSES + "features_dict.FeaturesDict"
_TEXT: Final = {"pythonClassName": _CLASSES + "text_feature.Text", "text": {}}
_LABEL: Final = {"pythonClassName": _CLASSES + "class_label_feature.ClassLabel"}
_IMAGE: Final = {
    "pythonClassName": _CLASSES + "image_feature.Image",
    "image": {"dtype": "uint8", "shape": {"dimensions": ["-1", "-1", "3"]}},
}
_DESCRIPTIONS: Final = {
    # As on the page; `FEATURES` says more of sizes than the page does.
    "original_height": "original height of the image",
    "original_width": "original width of the image",
}
SIMILARITY_RANGE: Final = "[-1.0, 1.0]"
"""The page says [0.0, 1.0] and -1.0 for a missing one, which is not in it."""


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """How one feature is declared and encoded."""

    name: str
    json: dict[str, Any]
    encoding: str
    """text, label, image, integer, float (float32), raw (bytes of float64 or float16)."""


def feature_specs(
    config: str,
    schema: pa.Schema,
    extra: Sequence[str],
    *,
    embedding_size: int | None,
    exact: bool,
) -> tuple[FeatureSpec, ...]:
    """Return the features of a config and `extra` columns, sorted by name.

    With `exact` floats are encoded as their bytes; else as the registered class `laion400m` reads
    them, which is as float32. Raises ConfigError for a column that is not text and no number.
    """
    names = sorted({*CONFIGS[config], *extra})
    return tuple(
        _page_spec(name, embedding_size, exact=exact)
        if name in CONFIGS[config]
        else _column_spec(name, schema.field(name).type)
        for name in names
    )


def encode(spec: FeatureSpec, batch: Batch) -> Parts:
    """Return the entries of a feature for each row of a batch."""
    name = spec.name
    if spec.encoding == "image":
        assert batch.images is not None
        return bytes_entries(name, batch.images)
    if name in EMBEDDED and spec.encoding in ("float", "raw"):
        rows = batch.image_embeddings if name == EMBEDDED[0] else batch.text_embeddings
        assert rows is not None
        return floats_entries(name, rows) if spec.encoding == "float" else raw_entries(name, rows)
    column = batch.table.column(name)
    if spec.encoding == "text":
        return bytes_entries(name, _texts(column))
    if spec.encoding == "integer":
        return integer_entries(name, column.cast(pa.int64()).fill_null(-1).to_pylist())
    numbers = column.cast(pa.float64()).fill_null(np.nan).to_numpy().reshape(-1, 1)
    return floats_entries(name, numbers) if spec.encoding == "float" else raw_entries(name, numbers)


def features_json(specs: Sequence[FeatureSpec]) -> dict[str, Any]:
    """Return what stands in `features.json`."""
    return {
        "pythonClassName": FEATURES_DICT,
        "featuresDict": {"features": {spec.name: spec.json for spec in specs}},
    }


def _page_spec(name: str, embedding_size: int | None, *, exact: bool) -> FeatureSpec:
    feature = FEATURES[name]
    described = {"description": _DESCRIPTIONS.get(name, feature.description)}
    if feature.kind == "text":
        return FeatureSpec(name, {**described, **_TEXT}, "text")
    if feature.kind == "image":
        return FeatureSpec(name, {**described, **_IMAGE}, "image")
    if feature.kind == "label":
        labels = {"classLabel": {"numClasses": str(len(feature.labels))}}
        return FeatureSpec(name, {**described, **_LABEL, **labels}, "integer")
    if feature.kind == "tensor":
        shape = {"dimensions": [str(embedding_size)]}
        json = _tensor(feature.dtype, "bytes" if exact else "none", shape)
        return FeatureSpec(name, {**described, **json}, "raw" if exact else "float")
    if name == "similarity":
        json = _tensor("float64", "bytes", {}) if exact else _scalar("float64")
        ranged = {**described, **json, "valueRange": SIMILARITY_RANGE}
        return FeatureSpec(name, ranged, "raw" if exact else "float")
    return FeatureSpec(name, {**described, **_scalar(feature.dtype)}, "integer")


def _column_spec(name: str, kind: pa.DataType) -> FeatureSpec:
    described = {"description": f"column {name} of the metadata"}
    if pa.types.is_integer(kind):
        return FeatureSpec(name, {**described, **_scalar("int64")}, "integer")
    if pa.types.is_boolean(kind):
        return FeatureSpec(name, {**described, **_scalar("bool")}, "integer")
    if pa.types.is_floating(kind):
        # A column of ours is never read by the registered class, so it can be exact.
        return FeatureSpec(name, {**described, **_tensor("float64", "bytes", {})}, "raw")
    if pa.types.is_nested(kind) or pa.types.is_null(kind):
        raise ConfigError(f"--columns {name}: it is {kind}, and TFDS takes texts and numbers here")
    return FeatureSpec(name, {**described, **_TEXT}, "text")


def _scalar(dtype: str) -> dict[str, Any]:
    tensor = {"dtype": dtype, "encoding": "none", "shape": {}}
    return {"pythonClassName": _CLASSES + "scalar.Scalar", "tensor": tensor}


def _tensor(dtype: str, encoding: str, shape: dict[str, Any]) -> dict[str, Any]:
    tensor = {"dtype": dtype, "encoding": encoding, "shape": shape}
    return {"pythonClassName": _CLASSES + "tensor_feature.Tensor", "tensor": tensor}


def _texts(column: pa.ChunkedArray) -> list[bytes]:
    """Return UTF-8, empty for null; binary columns, such as hashes, as hexadecimal digits."""
    kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return [b"" if one is None else one.hex().encode() for one in column.to_pylist()]
    if not pa.types.is_string(kind):
        column = column.cast(pa.string())
    return column.cast(pa.binary()).fill_null(b"").to_pylist()
