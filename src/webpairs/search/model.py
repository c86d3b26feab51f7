"""Loading the model that made a dataset's embeddings, or say why it cannot be had."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from webpairs.dataset.sources.source import Source
from webpairs.errors import ConfigError, DataError
from webpairs.files import open_regular
from webpairs.image.decode import ImageRules, decode
from webpairs.image.limits import MAX_QUERY_BYTES
from webpairs.quantities import size_of
from webpairs.search.index.file import model_of
from webpairs.search.index.vectors import Floats

if TYPE_CHECKING:
    from PIL.Image import Image

    from webpairs.clip.model import Model

RULES: Final = ImageRules(
    min_bytes=0,
    max_pixels=50_000_000,
    formats=("jpeg", "png", "webp"),
    size_px=256,
    resize="none",
    jpeg_quality=95,
)
"""What a picture that is searched for may be."""


class NoModel(ConfigError):
    """There is no model to embed with: what needs none still works."""


def load_model_of(source: Source, dim: int, spec: str | None = None) -> Model:
    """Return the model of a dataset's embeddings, by its own word or by `spec`.

    A dataset's own word fetches nothing: the folder may be a stranger's, and the hub would be sent
    the user's token. Raises NoModel when nobody says which it is or it is not here, and ConfigError
    when the one that is named has other weights, or embeddings of another size.
    """
    from webpairs.clip.model import load_model

    known = model_of(source)
    if spec is None and known is None:
        raise NoModel(
            f"{source.folder} ({source.kind}) does not say which model made its embeddings: say "
            "--model NAME"
        )
    asked = str((known or {})["spec"]) if spec is None else spec
    try:
        model = load_model(asked, download=spec is not None)
    except ConfigError as error:
        if spec is not None:
            raise
        raise NoModel(
            f"{error}; it is what the manifest of {source.folder} names: if you trust it, say "
            f"--model {asked[:200]!r}, which fetches it where it has to"
        ) from error
    if known is not None and model.weights_sha256 != known["weights_sha256"]:
        raise ConfigError(
            f"model {model.spec} has other weights ({model.weights_sha256[:12]}) than the one that "
            f"made the embeddings of {source.folder} ({known['spec']}, "
            f"{str(known['weights_sha256'])[:12]}): use that one"
        )
    if model.dim != dim:
        raise ConfigError(
            f"model {model.spec} makes embeddings of {model.dim} numbers, those of {source.folder} "
            f"have {dim}: name the model that made them with --model"
        )
    return model


def embed_images(model: Model, images: Sequence[bytes]) -> Floats:
    """Return the embeddings of encoded images, (n, d), of length 1.

    They are checked and decoded as those of a build; raises ConfigError for one that cannot be.
    """
    pixels = [model.preprocess(decode_query(data)) for data in images]
    if not pixels:
        return np.zeros((0, model.dim), np.float32)
    return model.embed_images(np.stack(pixels))


def decode_query(data: bytes) -> Image:
    """Return the RGB picture of an encoded image; ConfigError where it cannot be searched for."""
    if len(data) > MAX_QUERY_BYTES:
        raise ConfigError(
            f"an image of {size_of(len(data))} is too large: use at most {size_of(MAX_QUERY_BYTES)}"
        )
    try:
        return decode(data, RULES).rgb
    except DataError as error:
        raise ConfigError(f"the image cannot be searched for: {error}") from error


def read_image(path: str) -> bytes:
    """Return the bytes of an image file; ConfigError where it cannot be read."""
    try:
        with open_regular(path) as file:
            data = file.read(MAX_QUERY_BYTES + 1)
            size = file.seek(0, os.SEEK_END)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"--image {path}: {reason}") from error
    if size > MAX_QUERY_BYTES:
        raise ConfigError(
            f"--image {path} has {size_of(size)}: use an image of at most "
            f"{size_of(MAX_QUERY_BYTES)}"
        )
    return data
