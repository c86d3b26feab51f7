"""Running a CLIP on the CPU with onnxruntime: both towers, texts at their real length.

A sample's embedding is the same, bit for bit, in whatever batch it is computed: no operator of
the graph mixes samples and onnxruntime's kernels add up in the same order whatever the number of
rows or threads. `tests/clip/test_onnx_runtime.py` guards it on the processor it runs on.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.clip.preprocess import Pixels, square
from webpairs.errors import ConfigError, RunError

if TYPE_CHECKING:
    from onnx import ModelProto
    from PIL import Image

    from webpairs.clip.checkpoint import Checkpoint
    from webpairs.clip.weights import Array, Weights

Embeddings = npt.NDArray[np.float32]

LENGTH_CLASSES: Final = (8, 12, 16, 20, 24, 32, 48)
"""Texts are padded to the least of these, or to the context. Alt texts are short, 16 tokens and two
marks on average (COYO-700M's README, of 747 million), so that the classes lie close there."""

_MOST_IMAGES: Final = 32  # a larger batch is not faster on CPUs, and takes more memory
_MOST_TOKENS: Final = 1024


class OnnxModel:
    """The sessions of both towers; see `model.Model` for the methods."""

    def __init__(self, spec: str, checkpoint: Checkpoint, *, threads: int | None = None) -> None:
        """Build the graphs and load the weights once; `threads` defaults to all processors."""
        import onnxruntime

        from webpairs.clip.graph import image_tower, text_tower

        weights, architecture = checkpoint.weights, checkpoint.architecture
        self.spec = spec
        self.weights_sha256 = weights.sha256()
        self.dim = architecture.dim
        self.side_px = architecture.preprocessing.side_px
        self.threshold = architecture.threshold
        self.preprocessing = architecture.preprocessing
        self.runtime = f"onnxruntime {onnxruntime.__version__} CPU fp32"
        self.preprocessing = architecture.preprocessing
        self._architecture = architecture
        self._tokenizer = checkpoint.tokenizer
        threads = threads or os.cpu_count() or 1
        used: set[str] = set()
        sessions: list[Any] = []
        for tower in (image_tower, text_tower):
            model, tensors = tower(architecture, weights)
            used |= tensors.keys()
            sessions.append(_session(model, tensors, threads))
        self._image_session, self._text_session = sessions
        _refuse_unread(weights, used)

    def preprocess(self, rgb: Image.Image) -> Pixels:
        """Return the (side, side, 3) uint8 square that the image tower reads."""
        return square(rgb, self.preprocessing)

    def embed_images(self, batch: Pixels) -> Embeddings:
        """Embed (n, side, side, 3) uint8 as (n, dim) float32, L2-normalised; n may be 0."""
        embeddings = np.empty((len(batch), self.dim), np.float32)
        for start in range(0, len(batch), _MOST_IMAGES):
            rows = slice(start, start + _MOST_IMAGES)
            images = np.ascontiguousarray(batch[rows])
            embeddings[rows] = self._image_session.run(None, {"images": images})[0]
        return embeddings

    def embed_texts(self, texts: Sequence[str]) -> Embeddings:
        """Embed n texts as (n, dim) float32, L2-normalised; equal texts once; n may be 0."""
        distinct = list(dict.fromkeys(texts))
        ids = self._tokenizer.encode(distinct)
        row_of = dict(zip(distinct, range(len(distinct)), strict=True))
        return self.embed_ids(ids)[[row_of[text] for text in texts]]

    def embed_ids(self, ids: Sequence[Sequence[int]]) -> Embeddings:
        """Embed texts given as token ids, each from start to end, without padding."""
        rows_of: dict[int, list[int]] = defaultdict(list)
        for row, text in enumerate(ids):
            rows_of[self._length_class(len(text))].append(row)
        embeddings = np.empty((len(ids), self.dim), np.float32)
        for length, rows in rows_of.items():
            most = max(1, _MOST_TOKENS // length)
            for start in range(0, len(rows), most):
                some = rows[start : start + most]
                embeddings[some] = self._embed_padded([ids[row] for row in some], length)
        return embeddings

    def _embed_padded(self, ids: Sequence[Sequence[int]], length: int) -> Embeddings:
        padded = np.zeros((len(ids), length), np.int32)
        ends = np.empty(len(ids), np.int32)
        for row, text in enumerate(ids):
            padded[row, : len(text)] = text
            ends[row] = self._end(text)
        return self._text_session.run(None, {"ids": padded, "ends": ends})[0]

    def _end(self, ids: Sequence[int]) -> int:
        """Return the position at which the text is read."""
        if self._architecture.ends_at_highest_id:
            return int(np.argmax(ids))
        return ids.index(self._tokenizer.end_id)

    def _length_class(self, length: int) -> int:
        context = self._architecture.context_length
        return next((size for size in LENGTH_CLASSES if length <= size <= context), context)


def _session(model: ModelProto, weights: dict[str, Array], threads: int) -> Any:
    """Create a session over weights that go through a temporary file; empty `weights`.

    Measured with ViT-B/32 (605 MB of weights): 0.6 GB stay resident after loading this way, 1.3 GB
    when the arrays are handed over in memory, because the session then keeps them beside what it
    packed. The bits that come out are the same.
    """
    import onnxruntime

    from webpairs.clip.graph import WEIGHTS_FILE, padded

    options: Any = onnxruntime.SessionOptions()  # pyright: ignore[reportAttributeAccessIssue]
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors: its warnings speak of its own optimisations
    try:
        with TemporaryDirectory(prefix="webpairs-") as folder:
            with (Path(folder) / WEIGHTS_FILE).open("wb") as file:
                for name in list(weights):
                    value = weights.pop(name)
                    file.write(value.data)
                    file.write(bytes(padded(value.nbytes) - value.nbytes))
            path = Path(folder) / "model.onnx"
            path.write_bytes(model.SerializeToString())
            return onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
    except OSError as error:
        raise RunError(
            f"could not write the model's weights to {gettempdir()} ({error}): free some space, "
            "or name another folder in TMPDIR"
        ) from error


def _refuse_unread(weights: Weights, used: set[str]) -> None:
    """Raise ConfigError where a checkpoint has tensors that the graphs do not know."""
    used = used | {name for name in weights.shapes if ".attn.in_proj_" in name}
    if unread := sorted(weights.shapes.keys() - used):
        raise ConfigError(
            f"{weights.files[0]} has {len(unread)} tensors that a plain ViT CLIP has not, such as "
            f"{unread[0]}: other architectures need torch (pip install 'webpairs[torch]')"
        )
