"""What a unit of work may ask of the coordinator and tell it, whichever process it runs in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from webpairs.obtain.fetcher import Outcome
    from webpairs.obtain.received import ReceivedAnswers

Preprocess = Callable[[Any], npt.NDArray[np.uint8]]
"""PIL RGB image -> (side, side, 3) uint8; picklable, thread-safe."""


class Link(Protocol):
    """Connect a unit to the run: the only model, the only fetcher, the progress shown.

    Several units may ask at once.
    """

    @property
    def preprocess(self) -> Preprocess:
        """Return the model's own preprocessing, which runs where the image was decoded."""
        ...

    def embed_images(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Embed (n, side, side, 3) uint8 as (n, d) float32, L2-normalised."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed n texts as (n, d) float32, L2-normalised."""
        ...

    def fetch(
        self, urls: Sequence[str], deadline_s: float, keep_in: ReceivedAnswers | None = None
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield (number of the URL, what came of it) as answers come, each URL once.

        Answers are written into the folder of `keep_in` first, if it is given.
        """
        ...

    def report(self, counts: Mapping[str, float]) -> None:
        """Add `counts` to the progress shown."""
        ...
