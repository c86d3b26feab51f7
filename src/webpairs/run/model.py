"""The model of a run: its threshold, what the manifest keeps of it, and the same one again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from webpairs.clip.model import Model, describe_model, load_model
from webpairs.errors import ConfigError
from webpairs.recipes.recipe import Recipe


def threshold_of(recipe: Recipe, asked: float | None) -> float:
    """Return the threshold: as asked, else the model's own; a model without one needs it asked."""
    own = describe_model(recipe.model).threshold
    if asked is not None:
        return asked
    if own is None:
        raise ConfigError(
            f"model {recipe.model} has no threshold of its own (0.3 belongs to ViT-B-32/openai): "
            "say --threshold X, or --threshold -1 to keep all and choose later by similarity"
        )
    return own


def model_facts(model: Model, threshold: float | None) -> dict[str, Any]:
    """Return what the manifest keeps of a model."""
    return {
        "spec": model.spec,
        "weights_sha256": model.weights_sha256,
        "dim": model.dim,
        "side_px": model.side_px,
        "threshold": threshold,
        "runtime": model.runtime,
    }


def same_model(
    out: Path, facts: Mapping[str, Any] | None
) -> tuple[Model, float | None] | tuple[None, None]:
    """Return the model and threshold that `out` was built with; None where nothing was scored.

    Raises ConfigError when the model of that name has other weights now.
    """
    if facts is None:
        return None, None
    spec = str(facts["spec"])
    try:
        model = load_model(spec, progress=True, download=False)
    except ConfigError as error:
        raise ConfigError(
            f"{out} was built with a model that cannot be loaded: {error}. A manifest does not "
            f"decide what is fetched: if you know it, fetch it first (hf download ORG/NAME)"
        ) from error
    if model.weights_sha256 != facts["weights_sha256"]:
        raise ConfigError(
            f"model {facts['spec']} has other weights ({model.weights_sha256[:12]}) "
            f"than {out} was built with ({facts['weights_sha256'][:12]}): put those back"
        )
    return model, facts["threshold"]
