"""Writing vectors short: the codes that the lists of an index hold.

    sq8      a byte a number: 512 bytes of 512 numbers; the ten nearest by code are the ten nearest
    rabitq2  two bits a number after a random rotation (RaBitQ, Gao and Long 2024): 148 bytes; good
             enough to choose a few hundred, which are compared with the embeddings themselves

With codes of one bit (72 bytes) half of the ten nearest images of a text were not among the best
hundred, with two bits a tenth, with sq8 none (1 M vectors): the nearest of a text are little
nearer than others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from webpairs.dataset.sources.source import Rows
from webpairs.files import require_regular
from webpairs.search.index.faiss_library import load_faiss
from webpairs.search.index.file import damaged
from webpairs.search.index.vectors import Floats

Codes = npt.NDArray[np.uint8]

SQ8: Final = "sq8"
RABITQ2: Final = "rabitq2"
_RABITQ_BITS: Final = 2
_QUERY_BITS: Final = 8
_ROTATION_SEED: Final = 1
ID_BYTES: Final = 8


class Codec:
    """Encoder of vectors, and the faiss index without lists that goes with the codes."""

    def __init__(self, whole: Any) -> None:
        """`whole` is an inverted index, after a rotation where the code has one."""
        faiss = load_faiss()
        self._whole = whole  # owns what is taken out of it below
        inner = faiss.downcast_index(whole)
        self._rotation: Any = None
        if isinstance(inner, faiss.IndexPreTransform):
            self._rotation = faiss.downcast_VectorTransform(inner.chain.at(0))
            inner = faiss.downcast_index(inner.index)
        self.inverted: Any = inner

    @classmethod
    def train(cls, code: str, centroids: Floats, sample: Floats) -> Codec:
        """Return a codec for vectors like those of a sample, divided by centroids."""
        faiss = load_faiss()
        num, dim = centroids.shape
        metric = faiss.METRIC_INNER_PRODUCT
        quantizer = faiss.IndexFlatIP(dim)
        if code == SQ8:
            quantizer.add(np.ascontiguousarray(centroids))
            inverted = faiss.IndexIVFScalarQuantizer(
                quantizer, dim, num, faiss.ScalarQuantizer.QT_8bit, metric, False
            )
            whole = inverted
        else:
            rotation = faiss.RandomRotationMatrix(dim, dim)
            rotation.init(_ROTATION_SEED)
            quantizer.add(rotation.apply(np.ascontiguousarray(centroids)))
            inverted = faiss.IndexIVFRaBitQ(quantizer, dim, num, metric, True, _RABITQ_BITS)
            inverted.qb = _QUERY_BITS
            whole = faiss.IndexPreTransform(rotation, inverted)
        inverted.own_fields = True
        quantizer.this.disown()
        whole.train(np.ascontiguousarray(sample))
        return cls(whole)

    @classmethod
    def read(cls, path: Path) -> Codec:
        """Return a codec that `write` wrote; ConfigError for another file.

        faiss allocates what a file says that its vectors have: here, at most the file's own size.
        """
        faiss = load_faiss()
        try:
            require_regular(path)
            size = path.stat().st_size
            faiss.set_deserialization_vector_byte_limit(size)
            faiss.set_deserialization_loop_limit(size)
            codec = cls(faiss.read_index(str(path)))
            if codec.num_lists * codec.code_bytes == 0:
                raise ValueError("it has no lists")
        except (OSError, RuntimeError, AttributeError, ValueError, MemoryError) as error:
            raise damaged(path, error) from error
        return codec

    def write(self, path: Path) -> None:
        """Write it, with the centroids."""
        load_faiss().write_index(self._whole, str(path))

    @property
    def num_lists(self) -> int:
        """Return how many lists there are."""
        return int(self.inverted.nlist)

    @property
    def code_bytes(self) -> int:
        """Return the bytes of a vector's code."""
        return int(self.inverted.code_size)

    def centroids(self) -> Floats:
        """Return the centroids of all lists, (lists, d), as they were before the rotation."""
        rotated: Floats = self.inverted.quantizer.reconstruct_n(0, self.num_lists)
        return rotated if self._rotation is None else self._rotation.reverse_transform(rotated)

    def rotated(self, vectors: Floats) -> Floats:
        """Return (n, d) vectors as the codes mean them, contiguous."""
        vectors = np.ascontiguousarray(vectors)
        return vectors if self._rotation is None else self._rotation.apply(vectors)

    def encode(self, vectors: Floats, lists: Rows) -> Codes:
        """Return the codes of vectors in their lists, (n, code_bytes) uint8."""
        swig_ptr = load_faiss().swig_ptr
        codes = np.empty((len(vectors), self.code_bytes), np.uint8)
        rotated, lists = self.rotated(vectors), np.ascontiguousarray(lists)
        self.inverted.encode_vectors(
            len(vectors), swig_ptr(rotated), swig_ptr(lists), swig_ptr(codes)
        )
        return codes


def code_bytes(code: str, dim: int) -> int:
    """Return about how many bytes a vector takes in the lists, with the number of its row."""
    size = dim if code == SQ8 else _RABITQ_BITS * dim // 8 + 20
    return size + ID_BYTES


def choose_code(num_vectors: int, dim: int, num_indexes: int, max_memory_bytes: int) -> str:
    """Return the code with which the lists of all indexes fit into memory; else the shortest.

    Lists that do not fit are read from the disk when they are needed.
    """
    needed = num_vectors * num_indexes * code_bytes(SQ8, dim)
    return SQ8 if needed <= max_memory_bytes else RABITQ2
