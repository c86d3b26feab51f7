"""Samples come out of the reordering in their order, whole, whatever came in how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from webpairs.export import reorder
from webpairs.export.exporter import Batch
from webpairs.export.reorder import reordering


def batch_of(positions: np.ndarray, *, images: bool, embeddings: bool) -> Batch:
    """Return samples that say at which position they belong."""
    numbers = positions.tolist()
    pair = np.repeat(positions[:, None], 3, 1).astype(np.float16)
    return Batch(
        pa.table({"key": [f"{n:05d}" for n in numbers], "size": pa.array(numbers, pa.int32())}),
        [b"%d" % n * (n % 5) for n in numbers] if images else None,
        pair if embeddings else None,
        -pair if embeddings else None,
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
@pytest.mark.parametrize(("images", "embeddings"), [(True, False), (False, True), (True, True)])
def test_every_sample_at_its_position(
    tmp_path: Path,
    images: bool,
    embeddings: bool,
    data: st.DataObject,
) -> None:
    num = data.draw(st.integers(1, 60))
    # Some positions may stay empty: samples that cannot be read.
    present = data.draw(st.permutations(range(num)).map(lambda order: order[: num - num // 7]))
    bucket_rows = data.draw(st.integers(1, num))
    shard_rows = data.draw(st.integers(1, num))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reorder, "BUFFER_BYTES", data.draw(st.sampled_from([1, 500, 10**6])))
        with reordering(tmp_path, num, bucket_rows) as samples:
            for part in np.array_split(np.array(present), data.draw(st.integers(1, 9))):
                if len(part):
                    batch = batch_of(part, images=images, embeddings=embeddings)
                    samples.add(batch, part)
            samples.flush()
            for start in range(0, num, shard_rows):
                end = start + shard_rows  # the last one may be beyond the end
                found = list(samples.between(start, end))
                truth = np.array(sorted(n for n in present if start <= n < end), np.int64)
                assert sum(batch.num_rows for batch in found) == len(truth)
                place = 0
                for one in found:
                    assert 0 < one.num_rows <= bucket_rows
                    part = truth[place : place + one.num_rows]
                    expected = batch_of(part, images=images, embeddings=embeddings)
                    assert one.table.equals(expected.table)
                    assert one.images == expected.images
                    if embeddings:
                        assert np.array_equal(one.image_embeddings, expected.image_embeddings)
                        assert np.array_equal(one.text_embeddings, expected.text_embeddings)
                        assert one.image_embeddings.dtype == np.float16
                    place += one.num_rows
    assert list(tmp_path.iterdir()) == [], "the file has no name"
