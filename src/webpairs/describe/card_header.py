"""Writing the YAML at the top of a dataset card: what the Hub and `load_dataset` go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import pyarrow as pa

from webpairs.describe.croissant import TableFolder

_SIZES: Final = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
"""Bounds of the Hub's size categories, each ten times the one before."""


def card_header(
    name: str, num_samples: int, languages: Sequence[str], configs: Mapping[str, Any]
) -> str:
    """Return the YAML at the top of a card; `languages` are codes of ISO 639-1.

    `configs` are its fields on what `load_dataset` gives, `configs` and `dataset_info`.
    """
    from huggingface_hub import DatasetCardData

    data = DatasetCardData(
        pretty_name=name,
        language=list(languages) or None,
        license="other",
        size_categories=[size_category(num_samples)],
        task_categories=["image-to-text", "text-to-image", "zero-shot-image-classification"],
        tags=["image-text", "webpairs"],
        **configs,
    )
    return data.to_yaml() + "\n"


def table_configs(table: TableFolder) -> dict[str, Any]:
    """Return the header's fields on one table.

    With its columns told, `load_dataset` reads bytes of one width too.
    """
    data_files = [{"split": "train", "path": table.pattern}]
    config = {"config_name": table.name, "default": True, "data_files": data_files}
    fields: dict[str, Any] = {"configs": [config]}
    features = [hub_feature(one) for one in table.schema]
    if None not in features:
        fields["dataset_info"] = [{"config_name": table.name, "features": features}]
    return fields


def size_category(num_samples: int) -> str:
    """Return the Hub's word for how large a dataset is."""
    bound = 1_000
    if num_samples < bound:
        return f"n<{_SIZES[0]}"
    for least, most in pairwise(_SIZES):
        bound *= 10
        if num_samples < bound:
            return f"{least}<n<{most}"
    return f"n>{_SIZES[-1]}"


def hub_feature(field: pa.Field) -> dict[str, Any] | None:
    """Return a column as the Hub's YAML describes it, None when it has no word for the type."""
    kind = _hub_type(field.type)
    return None if kind is None else {"name": field.name, **kind}


def _hub_type(kind: pa.DataType) -> dict[str, Any] | None:
    if pa.types.is_dictionary(kind):
        return _hub_type(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        inner = _hub_type(kind.value_type)
        if inner is None or "list" in inner:
            return None
        return {"list": inner.get("struct") or inner["dtype"]}
    if pa.types.is_struct(kind):
        parts = [hub_feature(part) for part in kind]
        return None if None in parts else {"struct": parts}
    if pa.types.is_fixed_size_binary(kind) or pa.types.is_binary(kind):
        return {"dtype": "binary"}
    names = {pa.float32(): "float32", pa.float64(): "float64", pa.float16(): "float16"}
    if kind in names:
        return {"dtype": names[kind]}
    plain = (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_timestamp)
    return {"dtype": str(kind)} if any(check(kind) for check in plain) else None
