"""A finder of rows that misbehaves as it is told."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from webpairs.dataset.sources.source import Rows


class Finder:
    """Does what an expression could do if it escaped every check."""

    num_rows = 10

    def find(self, expression: str) -> Rows:
        """Misbehave as told, or return three rows."""
        if expression == "memory":
            bytearray(2_000_000_000)
        elif expression.startswith("/"):
            Path(expression).write_text("x")
        elif expression == "abort":
            os.abort()
        elif expression == "fault":
            raise KeyError(expression)
        elif expression.startswith("loop"):
            while True:
                pass
        return np.array([1, 2, 5])
