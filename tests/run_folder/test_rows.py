"""The typed rows have the columns of the schema, no more and no fewer, and null where it may be."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest

from webpairs.run_folder.rows import Candidate, DroppedCandidate, Facts, KnownCandidate, Sample
from webpairs.run_folder.schema import DROPS, METADATA, UNIQUE, Column


@pytest.mark.parametrize(
    ("row", "columns", "beside"),
    [(Candidate, UNIQUE, []), (Sample, METADATA, ["given"]), (DroppedCandidate, DROPS, [])],
)
def test_a_row_has_the_columns_of_its_table(
    row: Any, columns: tuple[Column, ...], beside: list[str]
) -> None:
    hints = get_type_hints(row)
    assert list(hints) == [column.name for column in columns] + beside
    for column in columns:
        assert (type(None) in get_args(hints[column.name])) == column.nullable, column.name


def test_facts_are_columns_of_candidates_that_are_known() -> None:
    assert set(get_type_hints(Facts)) <= set(get_type_hints(KnownCandidate))
