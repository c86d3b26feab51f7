"""What can be wrong with a run folder: how it is done, and what verify has to say of it.

A name, what plants the fault, and the faults that are found with the files they are in, no more.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
from support.damage import (
    COLUMN,
    DROPS,
    IMAGE_NPY,
    INDEX,
    METADATA,
    STATS,
    TAR,
    TEXT_NPY,
    change_column,
    change_embeddings,
    change_json,
    change_rows,
    change_table,
    change_tar,
    commit_again,
    copy_uid,
    cut,
    drop_rows_of,
    files_of,
    jpeg,
    leak_a_url,
    repeat_row,
    scale,
    set_key,
    set_member,
    set_row,
    swap_embeddings,
    swap_samples,
    swapped,
    without,
)

Plant = Callable[[Path], Any]

FAULTS: list[tuple[str, Plant, set[tuple[str, str]]]] = [
    # a missing or extra tar member
    ("no image", lambda r: change_tar(r, without(".jpg")), {("member_missing", TAR)}),
    ("no text", lambda r: change_tar(r, without(".txt")), {("member_missing", TAR)}),
    ("no json", lambda r: change_tar(r, without(".json")), {("member_missing", TAR)}),
    ("no sample", lambda r: change_tar(r, lambda m: m[3:]), {("member_missing", TAR)}),
    (
        "a sample too many",
        lambda r: change_tar(r, lambda m: [*m, ("000019999.jpg", b"x")]),
        {("member_extra", TAR)},
    ),
    (
        "a member too many",
        lambda r: change_tar(r, lambda m: [*m[:3], (m[0][0][:-3] + "cls", b"1"), *m[3:]]),
        {("member_extra", TAR)},
    ),
    (
        "an image too many",
        lambda r: change_tar(r, lambda m: [*m[:3], (m[0][0][:-3] + "png", m[0][1]), *m[3:]]),
        {("member_extra", TAR)},
    ),
    ("a member twice", lambda r: change_tar(r, lambda m: [m[0], *m]), {("member_extra", TAR)}),
    # order
    ("samples swapped", lambda r: change_tar(r, swap_samples), {("order_wrong", TAR)}),
    ("members swapped", lambda r: change_tar(r, swapped(3, 4)), {("order_wrong", TAR)}),
    (
        "members apart",
        lambda r: change_tar(r, lambda m: [*m[:2], *m[3:], m[2]], index=False),
        {("order_wrong", TAR), ("index_wrong", INDEX)},
    ),
    (
        "rows swapped",
        lambda r: change_rows(r, swapped(1, 2)),
        {("order_wrong", METADATA), ("order_wrong", TAR)},
    ),
    # counts
    (
        "a row too few",
        lambda r: change_rows(r, lambda rows: rows[:-1]),
        {
            ("count_wrong", METADATA),
            ("member_extra", TAR),
            ("count_wrong", IMAGE_NPY),
            ("count_wrong", TEXT_NPY),
            ("column_keys_wrong", COLUMN),
        },
    ),
    (
        "a row twice",
        lambda r: change_rows(r, repeat_row),
        {
            ("key_repeated", METADATA),
            ("uid_repeated", METADATA),
            ("count_wrong", METADATA),
            ("count_wrong", IMAGE_NPY),
            ("count_wrong", TEXT_NPY),
        },
    ),
    (
        "an embedding too few",
        lambda r: change_embeddings(r, lambda rows: rows[1:]),
        {("count_wrong", IMAGE_NPY)},
    ),
    (
        "narrow embeddings",
        lambda r: change_embeddings(r, lambda rows: rows[:, 1:], "text"),
        {("count_wrong", TEXT_NPY)},
    ),
    (
        "wide numbers",
        lambda r: change_embeddings(r, lambda rows: rows.astype(np.float32)),
        {("schema_wrong", IMAGE_NPY)},
    ),
    ("a drop too few", lambda r: drop_rows_of(r, lambda rows: rows[1:]), {("count_wrong", DROPS)}),
    (
        "other stats",
        lambda r: change_json(files_of(r).stats, samples=7),
        {
            ("count_wrong", STATS),
            ("count_wrong", METADATA),
            ("funnel_wrong", "stats"),
            ("funnel_wrong", "manifest.json"),
        },
    ),
    (
        "another funnel",
        lambda r: change_json(
            r / "manifest.json",
            funnel=orjson.loads((r / "manifest.json").read_bytes())["funnel"] | {"samples": 3},
        ),
        {("funnel_wrong", "manifest.json")},
    ),
    (
        "no funnel",
        lambda r: change_json(r / "manifest.json", funnel=5),
        {("funnel_wrong", "stats")},
    ),
    (
        "no opt-outs",
        lambda r: (r / "drops/dedupe.parquet").unlink(),
        {("file_missing", "drops/dedupe.parquet")},
    ),
    (
        "no counts",
        lambda r: (r / "stats/extract.json").unlink(),
        {("file_missing", "stats/extract.json")},
    ),
    (
        "lost opt-outs",
        lambda r: change_table(r / "drops/dedupe.parquet", lambda rows: rows[1:]),
        {("count_wrong", "drops/dedupe.parquet")},
    ),
    # embeddings
    (
        "a longer embedding",
        lambda r: change_embeddings(r, scale(1.01)),
        {("norm_wrong", IMAGE_NPY)},
    ),
    (
        "no number",
        lambda r: change_embeddings(r, scale(float("nan")), "text"),
        {("norm_wrong", TEXT_NPY)},
    ),
    # the index
    (
        "a shifted index",
        lambda r: (np.fromfile(r / INDEX, "<u8") + 512).tofile(r / INDEX) or commit_again(r),
        {("index_wrong", INDEX)},
    ),
    (
        "an index that ends elsewhere",
        lambda r: (
            (r / INDEX).write_bytes((r / INDEX).read_bytes()[:-8] + bytes(8)) and commit_again(r)
        ),
        {("index_wrong", INDEX)},
    ),
    (
        "a short index",
        lambda r: np.fromfile(r / INDEX, "<u8")[:-1].tofile(r / INDEX) or commit_again(r),
        {("index_wrong", INDEX)},
    ),
    # files
    (
        "no commit mark",
        lambda r: (r / STATS).unlink(),
        {
            *(("uncommitted", name) for name in (TAR, INDEX, METADATA, IMAGE_NPY, TEXT_NPY)),
            ("uncommitted", DROPS),
            ("uncommitted", COLUMN),
            ("shard_missing", STATS),
            ("funnel_wrong", "manifest.json"),
        },
    ),
    *(
        (f"no {name}", lambda r, name=name: (r / name).unlink(), {("file_missing", name)})
        for name in (INDEX, IMAGE_NPY, DROPS, COLUMN)
    ),
    ("no tar", lambda r: (r / TAR).unlink(), {("file_missing", TAR)}),
    (
        "no metadata",
        lambda r: (r / METADATA).unlink(),
        {("file_missing", METADATA), ("column_keys_wrong", COLUMN)},
    ),
    *(
        (
            f"a stranger {name}",
            lambda r, name=name: (
                (r / name).parent.mkdir(exist_ok=True) or (r / name).write_bytes(b"?")
            ),
            {("stranger", name)},
        )
        for name in (
            "notes.txt",
            "images/00001.tar.bak",
            "images/00000000001.jpg",
            "embeddings/img_emb/img_emb.npy",
            "stats/summary.json",
            "metadata/.tmp-77-00001.parquet",
            "work/00000.parquet",
        )
    ),
    (
        "another shard's file",
        lambda r: (r / "images/00009.tar").write_bytes(b"?"),
        {("uncommitted", "images/00009.tar")},
    ),
    (
        "a cut tar",
        lambda r: cut(r / TAR) or commit_again(r),
        {("file_broken", TAR), ("member_missing", TAR), ("index_wrong", INDEX)},
    ),
    (
        "cut metadata",
        lambda r: cut(r / METADATA) or commit_again(r),
        {("file_broken", METADATA), ("column_keys_wrong", COLUMN)},
    ),
    ("cut embeddings", lambda r: cut(r / TEXT_NPY) or commit_again(r), {("file_broken", TEXT_NPY)}),
    ("cut drops", lambda r: cut(r / DROPS) or commit_again(r), {("file_broken", DROPS)}),
    (
        "a cut stage",
        lambda r: cut(r / "drops/dedupe.parquet"),
        {("file_broken", "drops/dedupe.parquet")},
    ),
    ("a cut column", lambda r: cut(r / COLUMN), {("file_broken", COLUMN)}),
    ("a cut manifest", lambda r: cut(r / "manifest.json"), {("manifest_broken", "manifest.json")}),
    (
        "a manifest of text",
        lambda r: (r / "manifest.json").write_text('"x"'),
        {("manifest_broken", "manifest.json")},
    ),
    (
        "a manifest without its model",
        lambda r: change_json(r / "manifest.json", model={}),
        {("manifest_broken", "manifest.json"), ("funnel_wrong", "stats")},
    ),
    (
        "cut stats",
        lambda r: cut(r / STATS),
        {("stats_broken", STATS), ("funnel_wrong", "stats")},
    ),
    (
        "another shard's stats",
        lambda r: shutil.copy(files_of(r, "00000").stats, r / STATS),
        {
            ("stats_broken", STATS),
            ("shard_missing", STATS),
            ("funnel_wrong", "manifest.json"),
        },
    ),
    (
        "cut counts",
        lambda r: cut(r / "stats/dedupe.json"),
        {("stats_broken", "stats/dedupe.json")},
    ),
    (
        "no digest",
        lambda r: change_json(
            r / STATS,
            files={
                name: fact
                for name, fact in orjson.loads((r / STATS).read_bytes())["files"].items()
                if name != TEXT_NPY
            },
        ),
        {("stats_broken", STATS)},
    ),
    (
        "a file that its counts do not ask for",
        lambda r: commit_again(
            r, drops={}, candidates=orjson.loads((r / STATS).read_bytes())["samples"]
        ),
        {
            ("stats_broken", STATS),
            ("stranger", DROPS),
            ("count_wrong", DROPS),
            ("funnel_wrong", "stats"),
            ("funnel_wrong", "manifest.json"),
        },
    ),
    (
        "a longer file",
        lambda r: (r / TAR).write_bytes((r / TAR).read_bytes() + bytes(512)),
        {("file_changed", TAR)},
    ),
    # values
    (
        "another's image",
        lambda r: change_tar(r, set_member(".jpg", jpeg(256, 256))),
        {("image_changed", TAR)},
    ),
    (
        "another's text",
        lambda r: change_tar(r, set_member(".txt", b"?")),
        {("member_wrong", TAR)},
    ),
    (
        "another's json",
        lambda r: change_tar(r, set_member(".json", b'{"url": "https://example.org"}')),
        {("member_wrong", TAR)},
    ),
    ("no json in it", lambda r: change_tar(r, set_member(".json", b"?")), {("member_wrong", TAR)}),
    (
        "another number",
        lambda r: change_rows(r, set_row(SAMPLE_ID=5)),
        {("key_wrong", METADATA)},
    ),
    (
        "another shard's key",
        lambda r: change_rows(r, set_key),
        {
            ("key_wrong", METADATA),
            ("member_extra", TAR),
            ("member_missing", TAR),
            ("column_keys_wrong", COLUMN),
        },
    ),
    (
        "another uid",
        lambda r: change_rows(r, set_row(uid=b"u" * 16)),
        {
            ("uid_wrong", METADATA),
            ("member_wrong", TAR),
        },
    ),
    ("a uid twice", copy_uid, {("uid_repeated", METADATA)}),
    (
        "no cosine",
        lambda r: change_rows(r, set_row(similarity=1.5)),
        {("value_wrong", METADATA), ("member_wrong", TAR)},
    ),
    (
        "no similarity",
        lambda r: change_rows(r, set_row(similarity=None)),
        {("value_wrong", METADATA), ("member_wrong", TAR)},
    ),
    (
        "no tag",
        lambda r: change_rows(r, set_row(NSFW="MAYBE")),
        {("value_wrong", METADATA), ("member_wrong", TAR)},
    ),
    (
        "a column too few",
        lambda r: (
            pq.write_table(
                pq.read_table(r / METADATA).drop_columns(["stored_sha256"]), r / METADATA
            )
            or commit_again(r)
        ),
        {("schema_wrong", METADATA), ("column_keys_wrong", COLUMN)},
    ),
    (
        "another type",
        lambda r: (
            pq.write_table(
                (table := pq.read_table(r / METADATA)).set_column(
                    (place := table.schema.get_field_index("WIDTH")),
                    "WIDTH",
                    table.column(place).cast("int64"),
                ),
                r / METADATA,
            )
            or commit_again(r)
        ),
        {("schema_wrong", METADATA), ("column_keys_wrong", COLUMN)},
    ),
    # column files
    (
        "a key too few",
        lambda r: change_column(r, lambda rows: rows[1:]),
        {("column_keys_wrong", COLUMN)},
    ),
    (
        "a key too many",
        lambda r: change_column(r, lambda rows: [*rows, rows[0] | {"key": "000019999"}]),
        {("column_keys_wrong", COLUMN)},
    ),
    (
        "a key twice",
        lambda r: change_column(r, lambda rows: [rows[0], *rows]),
        {("column_keys_wrong", COLUMN)},
    ),
    (
        "a column without keys",
        lambda r: pq.write_table(pq.read_table(r / COLUMN).drop_columns(["key"]), r / COLUMN),
        {("schema_wrong", COLUMN)},
    ),
    # drops
    (
        "a URL that must not be kept",
        leak_a_url,
        {("drop_wrong", DROPS), ("funnel_wrong", "manifest.json")},
    ),
    (
        "drops without signals",
        lambda r: (
            pq.write_table(pq.read_table(r / DROPS).drop_columns(["signal"]), r / DROPS)
            or commit_again(r)
        ),
        {("schema_wrong", DROPS)},
    ),
    (
        "another stage",
        lambda r: drop_rows_of(r, set_row(0, stage="judge")),
        {("drop_wrong", DROPS)},
    ),
    (
        "no reason",
        lambda r: drop_rows_of(r, set_row(0, reason="whim")),
        {("drop_wrong", DROPS), ("count_wrong", DROPS)},
    ),
]

DEEP: list[tuple[str, Plant, set[tuple[str, str]]]] = [
    (
        "image embeddings swapped",
        lambda r: change_embeddings(r, swap_embeddings),
        {("similarity_wrong", IMAGE_NPY)},
    ),
    (
        "text embeddings swapped",
        lambda r: change_embeddings(r, swap_embeddings, "text"),
        {("similarity_wrong", IMAGE_NPY)},
    ),
    (
        "another size",
        lambda r: change_rows(r, set_row(stored_width=255)),
        {("size_wrong", TAR), ("member_wrong", TAR)},
    ),
    (
        "lying on its side",
        lambda r: (
            change_tar(r, set_member(".jpg", jpeg(128, 256)))
            or change_rows(r, set_row(stored_width=256, stored_height=128))
        ),
        {("size_wrong", TAR), ("image_changed", TAR), ("member_wrong", TAR)},
    ),
    (
        "no image in it",
        lambda r: change_tar(r, set_member(".jpg", b"<html>")),
        {("image_broken", TAR), ("image_changed", TAR)},
    ),
]
