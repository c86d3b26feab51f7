"""Options are checked before any work: the message names the value, the limit and the fix."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webpairs.checks import check_one, parse_bytes, resolve_workers
from webpairs.errors import ConfigError
from webpairs.export.options import ExportOptions
from webpairs.options import (
    MAX_SHARD_SIZE,
    MIN_MEMORY_BYTES,
    BuildOptions,
    ExtractOptions,
    RetryOptions,
)
from webpairs.recipes.limits import MAX_IMAGE_SIZE_PX
from webpairs.report.options import ReportOptions
from webpairs.search.options import IndexOptions, SearchOptions
from webpairs.serve.options import ServeOptions


def build_options(**changes: Any) -> BuildOptions:
    return BuildOptions(**({"inputs": ("a.warc.gz",), "out": "out"} | changes))


# Each message must hold all of the words: what was given, what may be given.
BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"inputs": ()}, ["INPUT", "WARC"]),
    ({"out": ""}, ["--out", "folder"]),
    ({"images": "archiv"}, ["--images", "'archiv'", "did you mean 'archive'"]),
    ({"threshold": 1.01}, ["--threshold 1.01", "-1", "1"]),
    ({"threshold": -2.0}, ["--threshold -2", "-1", "1"]),
    ({"threshold": float("nan")}, ["--threshold nan"]),
    ({"threshold": float("inf")}, ["--threshold inf"]),
    ({"recipe": "laion400"}, ["'laion400'", "laion400m"]),
    ({"resize": "boarder"}, ["--resize", "'boarder'", "did you mean 'border'", "keep-ratio"]),
    ({"image_size": 15}, ["--image-size 15", "16", str(MAX_IMAGE_SIZE_PX), "pixels"]),
    ({"image_size": MAX_IMAGE_SIZE_PX + 1}, [f"--image-size {MAX_IMAGE_SIZE_PX + 1}"]),
    ({"languages": ("eng",)}, ["--languages", "'eng'", "did you mean 'en'"]),
    ({"languages": ("en", "xx")}, ["--languages", "'xx'", "any"]),
    ({"languages": ()}, ["--languages", "any", "en,de"]),
    ({"languages": ("any", "en")}, ["--languages any,en"]),
    ({"texts": ("titel",)}, ["--texts", "'titel'", "did you mean 'title'", "caption"]),
    ({"texts": ()}, ["--texts", "alt, title, caption"]),
    ({"image_sources": ("scrset",)}, ["--image-sources", "'scrset'", "did you mean 'srcset'"]),
    ({"image_sources": ()}, ["--image-sources", "picture"]),
    ({"shard_size": 0}, ["--shard-size 0", "1", str(MAX_SHARD_SIZE)]),
    ({"shard_size": MAX_SHARD_SIZE + 1}, [f"--shard-size {MAX_SHARD_SIZE + 1}"]),
    ({"limit": 0}, ["--limit 0", "at least 1"]),
    ({"limit": -5}, ["--limit -5"]),
    ({"seed": -1}, ["--seed -1", "0"]),
    ({"workers": 0}, ["--workers 0", "1", "processes"]),
    ({"workers": 1025}, ["--workers 1025"]),
    ({"max_memory_bytes": MIN_MEMORY_BYTES - 1}, ["--max-memory 499,999,999 bytes", "500 MB"]),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[str(changes) for changes, _ in BAD])
def test_a_bad_value_is_told_in_one_line(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        build_options(**changes)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "changes",
    [changes for changes, _ in BAD if set(changes) <= set(ExtractOptions.__dataclass_fields__)],
    ids=str,
)
def test_extract_checks_what_it_shares(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ExtractOptions(**({"inputs": ("a.warc.gz",), "out": "out"} | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": -1.0},
        {"threshold": 1.0},
        {"image_size": 16},
        {"image_size": MAX_IMAGE_SIZE_PX},
        {"image_format": "png", "image_quality": 0},
        {"image_format": "png", "image_quality": 9},
        {"image_format": "webp", "image_quality": 100},
        {"min_bytes": 0, "min_side": 0, "max_aspect": 1.0},
        {"shard_size": 1},
        {"shard_size": MAX_SHARD_SIZE},
        {"limit": 1},
        {"seed": 2**63 - 1},
        {"workers": 1024},
        {"languages": ("any",)},
        {"languages": ("en", "de", "zh")},
        {"texts": ("alt", "title", "caption")},
        {"image_sources": ("src", "srcset", "picture", "data-src")},
        {"max_memory_bytes": MIN_MEMORY_BYTES},
    ],
    ids=str,
)
def test_the_limits_themselves_are_allowed(changes: dict[str, Any]) -> None:
    build_options(**changes)


def test_options_lie_over_the_recipe() -> None:
    plain = build_options().resolved_recipe()
    assert (plain.texts, plain.image_sources, plain.languages) == (("alt",), ("src",), ("en",))
    changed = build_options(texts=("title",), image_size=64, model="tiny").resolved_recipe()
    assert (changed.texts, changed.image_size_px, changed.model) == (("title",), 64, "tiny")
    assert changed.image_sources == plain.image_sources


@pytest.mark.parametrize(
    ("image_format", "field"),
    [("jpeg", "jpeg_quality"), ("png", "png_compression"), ("webp", "webp_quality")],
)
def test_the_quality_is_that_of_the_format(image_format: str, field: str) -> None:
    plain = build_options(image_format=image_format).resolved_recipe()
    changed = build_options(image_format=image_format, image_quality=7).resolved_recipe()
    assert changed == replace(plain, **{field: 7})


def test_what_belongs_to_the_machine_is_no_other_dataset() -> None:
    one = build_options(workers=1, max_memory_bytes=10**9, inputs=("x",), out="elsewhere")
    assert one.dataset_options() == build_options().dataset_options()


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "tiny"},
        {"threshold": 0.5},
        {"image_size": 64},
        {"resize": "none"},
        {"resize": "keep-ratio-largest"},
        {"image_format": "png"},
        {"image_quality": 90},
        {"min_bytes": 1},
        {"min_side": 200},
        {"max_aspect": 3.0},
        {"blur_boxes": "faces"},
        {"languages": ("any",)},
        {"texts": ("title",)},
        {"image_sources": ("srcset",)},
        {"keep_opted_out": True},
        {"shard_size": 10},
        {"limit": 3},
        {"seed": 1},
    ],
    ids=str,
)
def test_what_changes_bytes_is_another_dataset(changes: dict[str, Any]) -> None:
    assert build_options(**changes).dataset_options() != build_options().dataset_options()


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [
        ("4GB", 4_000_000_000),
        ("500MB", 500_000_000),
        ("2GiB", 2 * 2**30),
        ("1.5 gb", 1_500_000_000),
        ("1TB", 10**12),
        ("600000000", 600_000_000),
        ("7kib", 7 * 1024),
        (" 4GB ", 4_000_000_000),
    ],
)
def test_amounts_of_memory(text: str, num_bytes: int) -> None:
    assert parse_bytes(text) == num_bytes


@pytest.mark.parametrize(
    "text", ["", "GB", "four", "4 apples", "4GBB", "nan", "infGB", "4PB", "٤GiG"]
)
def test_no_amounts_of_memory(text: str) -> None:
    with pytest.raises(ConfigError, match="is not an amount of memory: write it like 4GB"):
        parse_bytes(text)


@given(st.text(max_size=12))
def test_any_text_is_an_amount_or_a_clear_error(text: str) -> None:
    with suppress(ConfigError):
        assert isinstance(parse_bytes(text), int)


def test_a_value_far_from_all_gets_the_list_and_no_guess() -> None:
    with pytest.raises(ConfigError) as caught:
        check_one("--texts", "qqq", ("alt", "title"))
    assert str(caught.value) == "--texts 'qqq' is unknown: use one of alt, title"


def test_workers_are_as_asked_or_the_usable_cores() -> None:
    assert resolve_workers(3) == 3
    assert resolve_workers(None) == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("kind", "name", "given_too"),
    [
        (BuildOptions, "inputs", {"out": "o"}),
        (BuildOptions, "allow_network", {"inputs": ["a"], "out": "o"}),
        (BuildOptions, "languages", {"inputs": ["a"], "out": "o"}),
        (BuildOptions, "ignore_signals", {"inputs": ["a"], "out": "o"}),
        (ExtractOptions, "inputs", {"out": "o"}),
        (RetryOptions, "reasons", {"out": "o"}),
        (ExportOptions, "columns", {"source": "s", "out": "o", "to": "csv"}),
        (IndexOptions, "what", {"source": "s"}),
        (SearchOptions, "texts", {"source": "s"}),
        (ServeOptions, "sources", {}),
        (ReportOptions, "folders", {}),
    ],
)
def test_a_text_is_not_a_list(kind: Any, name: str, given_too: dict[str, Any]) -> None:
    """Python would take its letters, one by one."""
    with pytest.raises(ConfigError, match=rf"{name}='en' is a text: give a list, such as \['en'\]"):
        kind(**given_too, **{name: "en"})
